//! What takes two objects to see: references, clashes, and what nobody reaches.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    sync::Arc,
};

use evergate_conf::{Report, suggest};

use crate::{
    at::At,
    config::{Address, Config, Name, Objects, Route},
    decode::Decoded,
};

pub(super) fn rules(decoded: &Decoded<'_>, report: &mut Report) {
    let (config, root) = (&decoded.config, At::root(decoded.document));
    addresses(config, decoded.admin_is_known, root, report);
    let mut used = Used::default();
    references(decoded, &mut used, report);
    // What is wrong may be what would use it.
    if !report.has_errors() {
        unused(&config.upstreams, &used.upstreams, root.key("upstreams"), "no route forwards to it", report);
        unused(&config.certificates, &used.certificates, root.key("certificates"), "nobody uses it", report);
    }
    unreachable(config, root.key("routes"), report);
}

fn addresses(config: &Config, admin_is_known: bool, root: At<'_>, report: &mut Report) {
    let admin = config.admin.address;
    let mut by_port: BTreeMap<u16, Vec<(&Name, Address)>> = BTreeMap::new();
    let listeners = root.key("listeners");
    for (name, listener) in &config.listeners {
        let address = listener.address;
        let listener = listeners.key(name);
        let at = listener.key("address");
        // Port 0 is another port each time.
        if admin_is_known && address.0.port() != 0 && address.overlaps(&admin) {
            at.problem("address_clash", format!("`{address}` is taken by the admin API at {admin}"), report)
                .help("give the listener or `admin.address` another port");
        }
        let neighbours = by_port.entry(address.0.port()).or_default();
        if let Some((other, taken)) = neighbours.iter().find(|(_, taken)| taken.overlaps(&address)) {
            let message = format!("`{address}` is taken by listener `{other}` at {taken}");
            at.problem("address_clash", message, report);
        }
        neighbours.push((name, address));
    }
}

/// Names that somebody mentions.
#[derive(Default)]
struct Used<'a> {
    upstreams: BTreeSet<&'a str>,
    certificates: BTreeSet<&'a str>,
}

/// Places are looked for only when there is something to say: of 100,000 names few are wrong.
fn references<'a>(decoded: &'a Decoded<'_>, used: &mut Used<'a>, report: &mut Report) {
    let (config, root) = (&decoded.config, At::root(decoded.document));
    let (listeners, upstreams) = (root.key("listeners"), root.key("upstreams"));
    for (name, listener) in &config.listeners {
        for (i, certificate) in listener.tls.iter().flat_map(|tls| &tls.certificates).enumerate() {
            used.certificates.insert(certificate);
            if !config.certificates.contains_key(certificate) {
                let at = listeners.key(name);
                missing(
                    "certificate",
                    certificate,
                    decoded,
                    at.key("tls").key("certificates").item(i),
                    report,
                );
            }
        }
    }
    for (name, upstream) in &config.upstreams {
        for certificate in upstream.tls.iter().filter_map(|tls| tls.certificate.as_ref()) {
            used.certificates.insert(certificate);
            if !config.certificates.contains_key(certificate) {
                let at = upstreams.key(name);
                missing("certificate", certificate, decoded, at.key("tls").key("certificate"), report);
            }
        }
    }
    for object in &config.routes {
        route_references(decoded, object, root.key("routes"), used, report);
    }
}

fn route_references<'a>(
    decoded: &'a Decoded<'_>,
    (name, route): (&'a Name, &'a Arc<Route>),
    routes: At<'_>,
    used: &mut Used<'a>,
    report: &mut Report,
) {
    for (i, listener) in route.listeners.iter().flatten().enumerate() {
        if !decoded.config.listeners.contains_key(listener) {
            let at = routes.key(name);
            missing("listener", listener, decoded, at.key("listeners").item(i), report);
        }
    }
    for (i, target) in route.forward.iter().flat_map(|f| &f.to).enumerate() {
        used.upstreams.insert(&target.upstream);
        if !decoded.config.upstreams.contains_key(&target.upstream) {
            let at = routes.key(name);
            let to = at.key("forward");
            missing("upstream", &target.upstream, decoded, to.key("to").item(i).key("upstream"), report);
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

fn unused<T>(objects: &Objects<T>, used: &BTreeSet<&str>, at: At<'_>, why: &str, report: &mut Report) {
    for name in objects.keys().filter(|name| !used.contains(name.as_ref())) {
        at.key(name).warning("unused", format!("`{name}` has no effect: {why}"), report);
    }
}

/// Routes that match the same, in the order of their names. By a sorted list of hashes rather than a map of matches: most
/// of 100,000 routes are alone.
fn alike(routes: &Objects<Route>) -> Vec<Vec<(&Name, &Route)>> {
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    let hashed = routes.iter().map(|(name, route)| (hasher.hash_one(&route.matches), name, &**route));
    let mut hashed: Vec<(u64, &Name, &Route)> = hashed.collect();
    hashed.sort_by_key(|(hash, ..)| *hash);
    let mut groups = Vec::new();
    for chunk in hashed.chunk_by(|a, b| a.0 == b.0).filter(|chunk| chunk.len() > 1) {
        let mut rest: Vec<_> = chunk.iter().map(|(_, name, route)| (*name, *route)).collect();
        while let Some((_, first)) = rest.first() {
            let matches = &first.matches;
            let (same, others) = rest.iter().partition(|(_, route)| route.matches == *matches);
            groups.push(same);
            rest = others;
        }
    }
    groups
}

/// Of routes that match the same, the first in the router's order takes every request.
fn unreachable(config: &Config, at: At<'_>, report: &mut Report) {
    let mut shadowed = Vec::new();
    for mut routes in alike(&config.routes) {
        // Stable: equal priorities stay in the order of their names.
        routes.sort_by_key(|(_, route)| std::cmp::Reverse(route.priority));
        let mut everywhere: Option<&Name> = None;
        let mut on: BTreeMap<&str, &Name> = BTreeMap::new();
        for (name, route) in routes.iter() {
            let taken = |listener: &Name| on.get(listener.as_ref()).copied().or(everywhere);
            let by = match &route.listeners {
                None => everywhere,
                Some(listeners) => {
                    let takers: Option<Vec<_>> = listeners.iter().map(taken).collect();
                    takers.and_then(|takers| takers.first().copied())
                }
            };
            if let Some(by) = by {
                shadowed.push((*name, by));
                continue;
            }
            match &route.listeners {
                None => everywhere = Some(name),
                Some(listeners) => on.extend(listeners.iter().map(|l| (l.as_ref(), *name))),
            }
        }
    }
    shadowed.sort();
    for (name, by) in shadowed {
        let message = format!("route `{name}` is never reached: `{by}` matches the same and comes first");
        at.key(name).warning("unreachable", message, report);
    }
}
