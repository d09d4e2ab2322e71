//! Handshakes of listeners: from the document's `tls` and what it names to what connections begin with.

use std::sync::Arc;

use evergate_conf::path::Path;
use evergate_contract::config::{Carried, ClientTls, Listener, ListenerTls, Name};
use evergate_tls::{CertTable, ClientRule, Handshake, Pem, PemError, ServerTls, Sessions, Terms, alpn};

use super::{Builder, object};
use crate::snapshot::{Credentials, Entrance};

/// What a listener's handshakes are made with.
struct Bench<'a> {
    path: Path,
    credentials: &'a Credentials,
    /// The listener as it was, if it is known.
    before: Option<(&'a ListenerTls, &'a ServerTls)>,
    /// No certificate has changed since then.
    same_credentials: bool,
}

impl Builder<'_> {
    /// How the listener shakes hands. What is wrong has been reported if there is nothing.
    pub(super) fn handshakes(
        &mut self,
        name: &Name,
        listener: &Listener,
        tls: &ListenerTls,
        credentials: &Credentials,
    ) -> Option<Arc<ServerTls>> {
        let before = self.before.and_then(|b| b.snapshot.listeners.get(name));
        let same = self.before.is_some_and(|b| b.snapshot.credentials.is_same(credentials));
        let bench = Bench {
            path: object("listeners", name).join("tls"),
            credentials,
            before: before.and_then(|e: &Arc<Entrance>| Some((e.config.tls.as_ref()?, &**e.tls.as_ref()?))),
            same_credentials: same,
        };
        let sessions = self.sessions(name, &bench.path)?;
        let certificates = bench.table(None, &tls.certificates)?;
        let client = self.rule(tls.client.as_ref(), &bench.path.join("client"))?;
        let terms = Terms::of(tls, certificates, client);
        // Of a stream only its two ends know what is spoken.
        let protocols = match listener.carries() {
            Carried::Http => alpn(&listener.protocols),
            Carried::Tcp | Carried::Udp => Vec::new(),
        };
        let default = self.handshake(&terms, &protocols, &sessions, &bench.path)?;
        let mut names = Vec::with_capacity(tls.names.len());
        for (name, settings) in &tls.names {
            let path = bench.path.join("names").join(name.clone());
            let mut own = terms.named(settings);
            if let Some(certificates) = &settings.certificates {
                own.certificates = bench.table(Some(name), certificates)?;
            }
            if let Some(client) = &settings.client {
                own.client = self.rule(Some(client), &path.join("client"))?;
            }
            names.push((name.clone(), self.handshake(&own, &protocols, &sessions, &path)?));
        }
        Some(Arc::new(ServerTls::new(default, names, tls.strict, sessions)))
    }

    /// Ticket keys belong to the listener's name.
    fn sessions(&mut self, name: &Name, path: &Path) -> Option<Arc<Sessions>> {
        let make = |saved: Option<&str>| {
            let sessions = Sessions::new()?;
            if let Some(Err(error)) = saved.map(|saved| sessions.restore(saved)) {
                tracing::warn!(listener = %name, %error, "clients shake hands in full once");
            }
            Ok::<_, rustls::Error>(sessions)
        };
        match self.shop.keep.try_carried("tls_sessions", name, make) {
            Ok(sessions) => Some(sessions),
            Err(error) => {
                self.problem("tls", path, error.to_string());
                None
            }
        }
    }

    fn handshake(
        &mut self,
        terms: &Terms<'_>,
        protocols: &[Vec<u8>],
        sessions: &Sessions,
        path: &Path,
    ) -> Option<Arc<Handshake>> {
        match Handshake::new(&self.shop.crypto, terms, protocols.to_vec(), sessions) {
            Ok(handshake) => Some(handshake),
            Err(error) => {
                self.problem("tls", path, error.to_string());
                None
            }
        }
    }

    /// Who clients must be; `Some(None)` if nobody asks them.
    fn rule(&mut self, spec: Option<&ClientTls>, path: &Path) -> Option<Option<Arc<ClientRule>>> {
        let Some(spec) = spec else { return Some(None) };
        let ca = match &spec.ca {
            Some(ca) => Some(self.input(&path.join("ca"), &ca.0)?),
            None => None,
        };
        let mut lists = Vec::with_capacity(spec.crl.len());
        for (i, crl) in spec.crl.iter().enumerate() {
            lists.push(self.input(&path.join("crl").join(i.to_string()), &crl.0)?);
        }
        let ca = spec.ca.as_ref().zip(ca.as_deref()).map(|(path, bytes)| Pem { path: &path.0, bytes });
        let pem = |(path, bytes)| Pem { path, bytes };
        let lists: Vec<Pem<'_>> =
            spec.crl.iter().map(|path| &*path.0).zip(lists.iter().map(|bytes| &**bytes)).map(pem).collect();
        match ClientRule::load(&self.shop.keep, &self.shop.crypto, spec, ca, &lists) {
            Ok(rule) => Some(rule),
            Err(errors) => {
                errors.iter().for_each(|error| self.rule_problem(spec, error, path));
                None
            }
        }
    }

    fn rule_problem(&mut self, spec: &ClientTls, error: &PemError, path: &Path) {
        let list = spec.crl.iter().position(|crl| crl.0 == error.path);
        let field = match list {
            Some(i) => path.join("crl").join(i.to_string()),
            None => path.join("ca"),
        };
        self.problem("client_tls", &field, error.to_string());
    }
}

impl Bench<'_> {
    /// The certificates of the listener, or of a name, in the order of the document. Taken over where they are the same:
    /// a table of 100,000 is not made anew for a change elsewhere. Nothing if one could not be read, which has been reported.
    fn table(&self, name: Option<&Name>, wanted: &[Name]) -> Option<Arc<CertTable>> {
        let before = self.before.and_then(|(spec, tls)| match name {
            None => Some((spec.certificates.as_slice(), tls.certificates(None)?)),
            Some(name) => {
                Some((spec.names.get(name)?.certificates.as_deref()?, tls.certificates(Some(name))?))
            }
        });
        if let Some((listed, table)) = before
            && self.same_credentials
            && listed == wanted
        {
            return Some(Arc::clone(table));
        }
        let chosen: Option<Vec<_>> = wanted.iter().map(|name| self.credentials.get(name).cloned()).collect();
        let chosen = chosen?;
        match before {
            Some((_, table)) if table.is_of(&chosen) => Some(Arc::clone(table)),
            _ => Some(Arc::new(CertTable::new(chosen))),
        }
    }
}
