//! Who asks: the peer, or whom trusted proxies say that they ask for.
//!
//! What they say is read from its end, since each of them adds behind what it was told. The first address that is not
//! trusted is the client; what stands before it, anybody may have made up.

use std::{borrow::Cow, net::IpAddr};

use evergate_contract::config::{ClientAddress, Source};
use evergate_wire::Headers;
use http::{HeaderName, HeaderValue, header};

use crate::listen::Peer;

/// More proxies in a row are no good sense.
const HOPS_MAX: usize = 32;

const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Who asks.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Client {
    /// Its address, if it has one.
    pub ip: Option<IpAddr>,
    /// What a trusted proxy said of it; `None` if the peer is none.
    pub told: Option<Told>,
}

/// What trusted proxies say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// The way that the request took, as `X-Forwarded-For` has it: the client first, the peer last.
    pub way: Option<HeaderValue>,
    /// The client spoke HTTPS.
    pub https: bool,
    /// `Forwarded` is what the proxies speak.
    pub forwarded: bool,
}

/// Finds the client of a request. Without `believed`, it is the peer.
pub(crate) fn find(believed: Option<&ClientAddress>, peer: Peer, headers: &Headers) -> Client {
    let trusted = |believed: &&ClientAddress| is_one_of(&believed.trust, peer.ip());
    let Some(believed) = believed.filter(trusted) else { return Client { ip: peer.ip(), told: None } };
    let forwarded = believed.header == header::FORWARDED.as_str();
    let said: Vec<&[u8]> = match HeaderName::try_from(&believed.header) {
        Ok(name) => headers.get_all(name).collect(),
        Err(_) => Vec::new(),
    };
    let hops = if forwarded {
        walk(&believed.trust, said.iter().rev().flat_map(|line| forwarded_hops(line)))
    } else {
        walk(&believed.trust, said.iter().rev().flat_map(|line| hops(line)))
    };
    let way = hops.iter().rev().copied().chain(peer.ip()).map(|ip| ip.to_string());
    let way = way.collect::<Vec<_>>().join(", ");
    let https = headers.get(FORWARDED_PROTO).is_some_and(|proto| proto.eq_ignore_ascii_case(b"https"));
    let told = Told { way: HeaderValue::from_str(&way).ok().filter(|w| !w.is_empty()), https, forwarded };
    Client { ip: hops.last().copied().or(peer.ip()), told: Some(told) }
}

fn is_one_of(trust: &[Source], ip: Option<IpAddr>) -> bool {
    trust.iter().any(|source| source.has(ip))
}

/// From the last hop to the first that is not trusted; ends before what is no address.
fn walk(trust: &[Source], said: impl Iterator<Item = Option<IpAddr>>) -> Vec<IpAddr> {
    let mut hops = Vec::new();
    for hop in said.take(HOPS_MAX) {
        let Some(ip) = hop else { break };
        hops.push(ip);
        if !is_one_of(trust, Some(ip)) {
            break;
        }
    }
    hops
}

/// The entries of a line of `X-Forwarded-For`, the last one first.
fn hops(line: &[u8]) -> impl Iterator<Item = Option<IpAddr>> {
    let entries = line.rsplit(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|entry| !entry.is_empty());
    entries.map(|entry| std::str::from_utf8(entry).ok().and_then(address))
}

/// An address, perhaps with a port behind it.
fn address(text: &str) -> Option<IpAddr> {
    let ip = match text.strip_prefix('[') {
        Some(rest) => {
            let (ip, port) = rest.split_once(']')?;
            let ip: std::net::Ipv6Addr = ip.parse().ok()?;
            (port.is_empty() || port.strip_prefix(':').is_some_and(is_port)).then_some(IpAddr::V6(ip))
        }
        None => text.parse().ok().or_else(|| {
            let (ip, port) = text.split_once(':')?;
            ip.parse().ok().filter(|ip: &IpAddr| ip.is_ipv4() && is_port(port))
        }),
    };
    ip.map(|ip| ip.to_canonical())
}

/// A port, or the name of one that a proxy keeps to itself (RFC 7239 §6).
fn is_port(text: &str) -> bool {
    let digits = !text.is_empty() && text.len() <= 5 && text.bytes().all(|b| b.is_ascii_digit());
    let hidden = text.len() > 1
        && text.starts_with('_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    digits || hidden
}

/// The elements of a line of `Forwarded`, the last one first (RFC 7239 §4). One that cannot be read ends them.
fn forwarded_hops(line: &[u8]) -> Vec<Option<IpAddr>> {
    let Some(elements) = std::str::from_utf8(line).ok().and_then(|line| split(line, b',')) else {
        return vec![None];
    };
    let elements = elements.into_iter().map(str::trim).filter(|element| !element.is_empty());
    elements.rev().map(forwarded_for).collect()
}

/// What an element says after `for=`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut found = None;
    for pair in split(element, b';')? {
        let (name, value) = pair.trim().split_once('=')?;
        if name.eq_ignore_ascii_case("for") {
            if found.is_some() {
                return None;
            }
            found = Some(unquoted(value)?);
        }
    }
    address(&found?)
}

/// The parts of a text between separators that stand in no quotes; `None` if a quote has no end.
fn split(text: &str, separator: u8) -> Option<Vec<&str>> {
    let (mut parts, mut begin, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (i, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if byte == separator && !quoted => {
                parts.push(text.get(begin..i)?);
                begin = i + 1;
            }
            _ => {}
        }
    }
    parts.push(text.get(begin..)?);
    (!quoted).then_some(parts)
}

/// A token, or what stands in quotes (RFC 9110 §5.6.4).
fn unquoted(value: &str) -> Option<Cow<'_, str>> {
    let Some(inner) = value.strip_prefix('"') else {
        return (!value.contains('"')).then_some(Cow::Borrowed(value));
    };
    let inner = inner.strip_suffix('"')?;
    if !inner.contains(['\\', '"']) {
        return Some(Cow::Borrowed(inner));
    }
    let (mut text, mut escaped) = (String::new(), false);
    for c in inner.chars() {
        match c {
            _ if escaped => {
                text.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return None,
            _ => text.push(c),
        }
    }
    (!escaped).then_some(Cow::Owned(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `lines` of a header, from a peer; the client, and what is told of the way.
    fn check(header: &str, peer: &str, lines: &[&str], client: &str, way: &str) {
        let trust = ["10.0.0.0/8", "2001:db8:1::/48", "unix"].map(|source| source.parse().unwrap()).to_vec();
        let believed = ClientAddress { trust, header: header.to_owned() };
        let mut headers = Headers::new();
        for line in lines {
            headers.append(HeaderName::try_from(header).unwrap(), HeaderValue::from_str(line).unwrap());
        }
        let peer = peer.parse().map_or(Peer::Unix, |ip| Peer::Ip(std::net::SocketAddr::new(ip, 1)));
        let found = find(Some(&believed), peer, &headers);
        let told = found.told.as_ref().and_then(|told| told.way.as_ref()?.to_str().ok()).unwrap_or("");
        assert_eq!(found.ip.map(|ip| ip.to_string()).as_deref().unwrap_or(""), client, "{lines:?}");
        assert_eq!(told, way, "{lines:?}");
    }

    #[test]
    fn x_forwarded_for() {
        let check = |peer: &str, lines: &[&str], client: &str, way: &str| {
            check("x-forwarded-for", peer, lines, client, way);
        };
        check("10.0.0.1", &["1.2.3.4"], "1.2.3.4", "1.2.3.4, 10.0.0.1");
        check("10.0.0.1", &["6.6.6.6, 1.2.3.4, 10.0.0.2"], "1.2.3.4", "1.2.3.4, 10.0.0.2, 10.0.0.1");
        check("10.0.0.1", &["6.6.6.6", "1.2.3.4", "10.0.0.2"], "1.2.3.4", "1.2.3.4, 10.0.0.2, 10.0.0.1");
        check("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3", "10.0.0.3, 10.0.0.2, 10.0.0.1");
        check("10.0.0.1", &[], "10.0.0.1", "10.0.0.1");
        check("10.0.0.1", &["1.2.3.4:567"], "1.2.3.4", "1.2.3.4, 10.0.0.1");
        check("10.0.0.1", &["[2001:db8::1]:80"], "2001:db8::1", "2001:db8::1, 10.0.0.1");
        check("10.0.0.1", &["2001:db8::1"], "2001:db8::1", "2001:db8::1, 10.0.0.1");
        check("10.0.0.1", &["::ffff:1.2.3.4"], "1.2.3.4", "1.2.3.4, 10.0.0.1");
        check("10.0.0.1", &["1.2.3.4, unknown, 10.0.0.2"], "10.0.0.2", "10.0.0.2, 10.0.0.1");
        check("10.0.0.1", &["1.2.3.4, , 10.0.0.2,"], "1.2.3.4", "1.2.3.4, 10.0.0.2, 10.0.0.1");
        check("2001:db8:1::1", &["1.2.3.4"], "1.2.3.4", "1.2.3.4, 2001:db8:1::1");
        check("unix", &["1.2.3.4"], "1.2.3.4", "1.2.3.4");
        check("unix", &[], "", "");
        check("9.9.9.9", &["1.2.3.4"], "9.9.9.9", "");
        let many = vec!["10.0.0.2"; 100].join(",");
        let way = vec!["10.0.0.2"; HOPS_MAX].join(", ") + ", 10.0.0.1";
        check("10.0.0.1", &[&many], "10.0.0.2", &way);
    }

    #[test]
    fn forwarded() {
        let check = |lines: &[&str], client: &str| {
            let way = if client == "10.0.0.1" { client.to_owned() } else { format!("{client}, 10.0.0.1") };
            check("forwarded", "10.0.0.1", lines, client, &way);
        };
        check(&["for=1.2.3.4"], "1.2.3.4");
        check(&["For=\"1.2.3.4:80\";proto=https;by=10.0.0.9"], "1.2.3.4");
        check(&["for=\"[2001:db8:cafe::17]:4711\""], "2001:db8:cafe::17");
        check(&["for=\"[2001:db8:cafe::17]\"; host=\"a,b;c\\\"d\""], "2001:db8:cafe::17");
        check(&["for=6.6.6.6, for=1.2.3.4;host=\"for=7.7.7.7\""], "1.2.3.4");
        check(&["for=\"1.2.3.4:_hidden\""], "1.2.3.4");
        check(&["for=unknown"], "10.0.0.1");
        check(&["for=_secret"], "10.0.0.1");
        check(&["for=6.6.6.6, proto=https"], "10.0.0.1");
        check(&["for=1.2.3.4;for=5.6.7.8"], "10.0.0.1");
        check(&["for=\"1.2.3.4"], "10.0.0.1");
        check(&["for=2001:db8::1"], "2001:db8::1");
    }
}
