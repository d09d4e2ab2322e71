//! What takes two objects to see: references, clashes, and what nobody reaches.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use evergate_conf::{Report, suggest};

use super::index::{Index, Mentions};
use crate::{
    at::At,
    config::{
        Carried, Config, ListenAddress, ListenerTls, Name, Place, Route, Target, Transport, Upstream, Way,
    },
    decode::Decoded,
};

/// Says what is wrong between objects. With the document before and its index, which has no problem, the cost follows the
/// change, unless there is something to say.
pub(super) fn rules(decoded: &Decoded<'_>, before: Option<(&Config, &Index)>, report: &mut Report) -> Index {
    let (config, root) = (&decoded.config, At::root(decoded.document));
    addresses(config, decoded.admin_is_known, root, report);
    let nothing = (Config::default(), Index::default());
    let index = Index::of(config, before.unwrap_or((&nothing.0, &nothing.1)));
    if [&index.listeners, &index.upstreams, &index.certificates].iter().any(|mentions| mentions.dangling) {
        references(decoded, report);
    }
    let used = ways(decoded, report);
    // What is wrong may be what would use it.
    if !report.has_errors() {
        let by_nobody = |name: &str| !used.contains(name);
        unused(&index.upstreams, by_nobody, root.key("upstreams"), "nothing forwards to it", report);
        unused(&index.certificates, |_| true, root.key("certificates"), "nobody uses it", report);
    }
    let routes = root.key("routes");
    for (name, by) in &index.shadowed {
        let message = format!("route `{name}` is never reached: `{by}` matches the same and comes first");
        routes.key(name).warning("unreachable", message, report);
    }
    index
}

fn addresses(config: &Config, admin_is_known: bool, root: At<'_>, report: &mut Report) {
    let admin = Place { address: ListenAddress::Ip(config.admin.address.0), v6_only: false };
    // TCP and UDP have their ports apart.
    let mut by_port: BTreeMap<_, Vec<(&Name, Place)>> = BTreeMap::new();
    let listeners = root.key("listeners");
    for (name, listener) in &config.listeners {
        let (place, transports) = (listener.place(), listener.transports());
        let address = &place.address;
        let listener = listeners.key(name);
        let at = listener.key("address");
        let port = address.ip().map(|ip| ip.port());
        // Port 0 is another port each time.
        if admin_is_known && transports.contains(&Transport::Tcp) && port != Some(0) && place.overlaps(&admin)
        {
            at.problem(
                "address_clash",
                format!("`{address}` is taken by the admin API at {}", admin.address),
                report,
            )
            .help("give the listener or `admin.address` another port");
        }
        if let (ListenAddress::Unix(path), Some(socket)) = (address, &config.admin.socket)
            && admin_is_known
            && path == socket.as_path()
        {
            let message = format!("`{address}` is taken by the admin API");
            at.problem("address_clash", message, report)
                .help("give the listener or `admin.socket` another path");
        }
        let taken = transports.iter().find_map(|transport| {
            let neighbours = by_port.get(&(port, *transport))?;
            neighbours.iter().find(|(_, taken)| taken.overlaps(&place))
        });
        if let Some((other, taken)) = taken {
            let message = format!("`{address}` is taken by listener `{other}` at {}", taken.address);
            at.problem("address_clash", message, report);
        }
        for transport in transports {
            by_port.entry((port, *transport)).or_default().push((name, place.clone()));
        }
    }
}

/// Places are looked for only when there is something to say: of 100,000 names few are wrong.
fn references(decoded: &Decoded<'_>, report: &mut Report) {
    let (config, root) = (&decoded.config, At::root(decoded.document));
    let (listeners, upstreams) = (root.key("listeners"), root.key("upstreams"));
    for (name, listener) in &config.listeners {
        if let Some(tls) = &listener.tls {
            let at = listeners.key(name);
            listener_certificates(tls, decoded, at.key("tls"), report);
        }
    }
    for (name, upstream) in &config.upstreams {
        for certificate in upstream.tls.iter().filter_map(|tls| tls.certificate.as_ref()) {
            if !config.certificates.contains_key(certificate) {
                let at = upstreams.key(name);
                missing("certificate", certificate, decoded, at.key("tls").key("certificate"), report);
            }
        }
    }
    for object in &config.routes {
        route_references(decoded, object, root.key("routes"), report);
    }
}

/// What listeners forward to by themselves has to be there and to take it. Listeners are few. Gives the names of the
/// upstreams.
fn ways<'a>(decoded: &'a Decoded<'_>, report: &mut Report) -> BTreeSet<&'a str> {
    let (config, root) = (&decoded.config, At::root(decoded.document));
    let listeners = root.key("listeners");
    let mut used = BTreeSet::new();
    for (name, listener) in &config.listeners {
        for way in listener.forwards() {
            used.extend(way.to.to.iter().map(|target| &*target.upstream));
            way_references(decoded, &way, listeners.key(name), report);
        }
    }
    used
}

fn way_references(decoded: &Decoded<'_>, way: &Way<'_>, listener: At<'_>, report: &mut Report) {
    for (i, Target { upstream, .. }) in way.to.to.iter().enumerate() {
        let found = decoded.config.upstreams.get(upstream).map(|found| (found, way.fits(found)));
        if matches!(found, Some((_, Ok(())))) {
            continue;
        }
        let section = listener.key(way.section);
        let named = way.name.map(|name| section.key(name));
        let forward = named.as_ref().unwrap_or(&section).key("forward");
        let to = forward.key("to");
        let item = to.item(i);
        match found {
            Some((found, Err(wanted))) => unfit(upstream, found, wanted, item.key("upstream"), report),
            Some((_, Ok(()))) => {}
            None => missing("upstream", upstream, decoded, item.key("upstream"), report),
        }
    }
}

/// An upstream whose endpoints take something else than is sent there.
fn unfit(name: &str, found: &Upstream, wanted: &str, at: At<'_>, report: &mut Report) {
    let are = found.carries().schemes();
    let message = format!("the endpoints of upstream `{name}` are {are}, here they have to be {wanted}");
    at.problem("wrong_upstream", message, report)
        .help("an upstream for both is written twice, with endpoints for each");
}

fn listener_certificates(tls: &ListenerTls, decoded: &Decoded<'_>, at: At<'_>, report: &mut Report) {
    let mut look = |certificates: &[Name], at: At<'_>| {
        for (i, certificate) in certificates.iter().enumerate() {
            if !decoded.config.certificates.contains_key(certificate) {
                missing("certificate", certificate, decoded, at.key("certificates").item(i), report);
            }
        }
    };
    look(&tls.certificates, at);
    let names = at.key("names");
    for (name, settings) in &tls.names {
        look(settings.certificates.as_deref().unwrap_or_default(), names.key(name));
    }
}

fn route_references(
    decoded: &Decoded<'_>,
    (name, route): (&Name, &Arc<Route>),
    routes: At<'_>,
    report: &mut Report,
) {
    let config = &decoded.config;
    for (i, listener) in route.listeners.iter().flatten().enumerate() {
        let found = config.listeners.get(listener);
        if found.is_some_and(|found| found.carries() == Carried::Http) {
            continue;
        }
        let at = routes.key(name);
        let at = at.key("listeners");
        if found.is_some() {
            let message = format!("listener `{listener}` carries no HTTP, so no route serves there");
            at.item(i).problem("wrong_listener", message, report);
        } else {
            missing("listener", listener, decoded, at.item(i), report);
        }
    }
    for (i, Target { upstream, .. }) in route.forward.iter().flat_map(|f| &f.to).enumerate() {
        let found = config.upstreams.get(upstream);
        if found.is_some_and(|found| found.carries() == Carried::Http) {
            continue;
        }
        let at = routes.key(name);
        let to = at.key("forward");
        let to = to.key("to");
        let item = to.item(i);
        match found {
            Some(found) => unfit(upstream, found, Carried::Http.schemes(), item.key("upstream"), report),
            None => missing("upstream", upstream, decoded, item.key("upstream"), report),
        }
    }
}

/// A name that no object bears which could be read. If one that could not does, that is the problem, and is reported.
fn missing(kind: &str, name: &str, decoded: &Decoded<'_>, at: At<'_>, report: &mut Report) {
    let Some(names) = decoded.names(&format!("{kind}s")).filter(|names| !names.contains(&name)) else {
        return;
    };
    let found = at.problem("unknown_name", format!("there is no {kind} `{name}`"), report);
    if names.is_empty() {
        found.help(format!("the document has no {kind}s"));
    } else if let Some(near) = suggest(name, names) {
        found.help(format!("did you mean `{near}`?"));
    }
}

fn unused(mentions: &Mentions, also: impl Fn(&str) -> bool, at: At<'_>, why: &str, report: &mut Report) {
    for name in mentions.unused.keys().filter(|name| also(name)) {
        at.key(name).warning("unused", format!("`{name}` has no effect: {why}"), report);
    }
}
