//! The PROXY protocol, versions 1 and 2: what a proxy says of a connection before its first byte.
//!
//! As <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt> has it; what it leaves open is refused. Knows
//! nothing of whom to believe.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::{BufMut, BytesMut};

/// How version 2 begins.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// How version 1 begins.
const LINE: &[u8; 6] = b"PROXY ";
/// Longest line of version 1, with its CR LF.
const LINE_MAX: usize = 107;
/// Signature, command, family and length of version 2.
const HEAD: usize = 16;
/// Longest that follows the head of version 2. Certificates of clients can be long; nobody needs more.
const REST_MAX: usize = 16 << 10;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Who connected, and to where.
    From {
        /// The client.
        source: SocketAddr,
        /// What it connected to.
        destination: SocketAddr,
    },
    /// Nothing: the proxy itself asks (a health check), or knows no address of TCP over IP.
    Nothing,
}

/// Versions, as they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    One,
    /// Binary.
    Two,
}

/// Not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no PROXY header: {0}")]
pub struct Malformed(&'static str);

/// Reads a header, of either version: what it says, and how long it is. `None`: it is not all there.
///
/// # Errors
/// If it cannot become one.
pub fn parse(bytes: &[u8]) -> Result<Option<(Said, usize)>, Malformed> {
    if begins(bytes, SIGNATURE) {
        return binary(bytes);
    }
    if begins(bytes, LINE) {
        return line(bytes);
    }
    Err(Malformed("it begins with something else"))
}

/// True if one of the two begins with the other, as far as it goes.
fn begins(bytes: &[u8], with: &[u8]) -> bool {
    let n = bytes.len().min(with.len());
    bytes.get(..n) == with.get(..n)
}

fn line(bytes: &[u8]) -> Result<Option<(Said, usize)>, Malformed> {
    let within = bytes.get(..LINE_MAX).unwrap_or(bytes);
    let Some(end) = within.iter().position(|b| *b == b'\r') else {
        return if within.len() < LINE_MAX { Ok(None) } else { Err(Malformed("the line is too long")) };
    };
    match within.get(end + 1) {
        Some(b'\n') => {}
        None if end + 1 < LINE_MAX => return Ok(None),
        _ => return Err(Malformed("a CR without its LF")),
    }
    let text = within.get(LINE.len()..end).and_then(|text| std::str::from_utf8(text).ok());
    let said = said(text.ok_or(Malformed("not text"))?)?;
    Ok(Some((said, end + 2)))
}

/// What follows `PROXY `.
fn said(text: &str) -> Result<Said, Malformed> {
    let (family, rest) = text.split_once(' ').unwrap_or((text, ""));
    if family == "UNKNOWN" {
        // Whatever follows is to be ignored.
        return Ok(Said::Nothing);
    }
    let mut words = rest.split(' ');
    let mut word = || words.next().ok_or(Malformed("a word is missing"));
    let (source, destination, source_port, destination_port) = (word()?, word()?, word()?, word()?);
    if words.next().is_some() {
        return Err(Malformed("a word too many"));
    }
    let source = SocketAddr::new(address(family, source)?, port(source_port)?);
    let destination = SocketAddr::new(address(family, destination)?, port(destination_port)?);
    Ok(Said::From { source, destination })
}

fn address(family: &str, text: &str) -> Result<IpAddr, Malformed> {
    let address = match family {
        "TCP4" => text.parse().map(IpAddr::V4).ok(),
        "TCP6" => text.parse().map(IpAddr::V6).ok(),
        _ => return Err(Malformed("an unknown family")),
    };
    address.ok_or(Malformed("a bad address"))
}

fn port(text: &str) -> Result<u16, Malformed> {
    let canonical = text == "0" || !text.starts_with('0');
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| canonical && digits).ok_or(Malformed("a bad port"))
}

fn binary(bytes: &[u8]) -> Result<Option<(Said, usize)>, Malformed> {
    // What is known to be wrong is refused before the rest has come.
    if let Some(byte) = bytes.get(SIGNATURE.len())
        && !matches!(byte, 0x20 | 0x21)
    {
        return Err(Malformed("an unknown version or command"));
    }
    let Some([command, family, high, low]) = bytes.get(SIGNATURE.len()..HEAD) else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if length > REST_MAX {
        return Err(Malformed("it is too long"));
    }
    let Some(rest) = bytes.get(HEAD..HEAD + length) else { return Ok(None) };
    let said = if *command == 0x20 { Said::Nothing } else { addresses(*family, rest)? };
    Ok(Some((said, HEAD + length)))
}

fn addresses(family: u8, rest: &[u8]) -> Result<Said, Malformed> {
    let short = Malformed("the addresses are cut short");
    let (said, used) = match family {
        0x00 => return Ok(Said::Nothing),
        0x11 => (ends(rest, v4).ok_or(short)?, 12),
        0x21 => (ends(rest, v6).ok_or(short)?, 36),
        // A pair of paths, which say nothing that we could use.
        0x31 => (Said::Nothing, 216),
        _ => return Err(Malformed("an unknown family or protocol")),
    };
    skip(rest.get(used..).ok_or(short)?)?;
    Ok(said)
}

/// Two addresses, then their ports.
fn ends<const N: usize>(rest: &[u8], ip: impl Fn([u8; N]) -> IpAddr) -> Option<Said> {
    let (source, rest) = rest.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (source_port, rest) = rest.split_first_chunk::<2>()?;
    let (destination_port, _) = rest.split_first_chunk::<2>()?;
    let end = |address: &[u8; N], port: &[u8; 2]| SocketAddr::new(ip(*address), u16::from_be_bytes(*port));
    Some(Said::From { source: end(source, source_port), destination: end(destination, destination_port) })
}

fn v4(bytes: [u8; 4]) -> IpAddr {
    Ipv4Addr::from(bytes).into()
}

fn v6(bytes: [u8; 16]) -> IpAddr {
    Ipv6Addr::from(bytes).into()
}

/// Steps over type-length-value fields, which have to fit.
fn skip(mut rest: &[u8]) -> Result<(), Malformed> {
    while !rest.is_empty() {
        let length = rest.get(1..3).and_then(|l| l.try_into().ok()).map(u16::from_be_bytes);
        let end = length.map(|length| 3 + usize::from(length));
        rest = end.and_then(|end| rest.get(end..)).ok_or(Malformed("a field is cut short"))?;
    }
    Ok(())
}

/// Writes a header. Addresses of two families are written as IPv6.
pub fn write(out: &mut BytesMut, version: Version, said: Said) {
    let said = match said {
        Said::From { source, destination } if source.is_ipv4() != destination.is_ipv4() => {
            Said::From { source: mapped(source), destination: mapped(destination) }
        }
        same => same,
    };
    match version {
        Version::One => write_line(out, said),
        Version::Two => write_binary(out, said),
    }
}

fn mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

fn write_line(out: &mut BytesMut, said: Said) {
    let line = match said {
        Said::From { source, destination } => {
            let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
            let (from, to) = (source.ip(), destination.ip());
            format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port())
        }
        Said::Nothing => "PROXY UNKNOWN\r\n".to_owned(),
    };
    out.extend_from_slice(line.as_bytes());
}

fn write_binary(out: &mut BytesMut, said: Said) {
    out.extend_from_slice(SIGNATURE);
    let Said::From { source, destination } = said else {
        // LOCAL, of no family, without more.
        return out.extend_from_slice(&[0x20, 0, 0, 0]);
    };
    let (family, length) = if source.is_ipv4() { (0x11, 12) } else { (0x21, 36) };
    out.extend_from_slice(&[0x21, family, 0, length]);
    for ip in [source.ip(), destination.ip()] {
        match ip {
            IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
        }
    }
    out.put_u16(source.port());
    out.put_u16(destination.port());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(source: &str, destination: &str) -> Said {
        Said::From { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
    }

    fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    #[test]
    fn lines() {
        for (line, said) in [
            ("PROXY TCP4 1.2.3.4 5.6.7.8 1 65535\r\n", from("1.2.3.4:1", "5.6.7.8:65535")),
            ("PROXY TCP6 2001:db8::1 ::1 0 443\r\n", from("[2001:db8::1]:0", "[::1]:443")),
            ("PROXY UNKNOWN\r\n", Said::Nothing),
            ("PROXY UNKNOWN ff:: whatever 1 2\r\n", Said::Nothing),
        ] {
            for end in 0..line.len() {
                assert_eq!(parse(&line.as_bytes()[..end]), Ok(None), "{:?}", &line[..end]);
            }
            let more = [line.as_bytes(), b"GET / HTTP/1.1"].concat();
            assert_eq!(parse(&more), Ok(Some((said, line.len()))), "{line}");
        }
    }

    #[test]
    fn bad_lines() {
        let long = format!("PROXY UNKNOWN {}\r\n", "a".repeat(LINE_MAX));
        for line in [
            "GET / HTTP/1.1\r\n",
            "PROXY\r\n",
            "PROXY  TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n",
            "PROXY TCP4 1.2.3.04 5.6.7.8 1 2\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n",
            "PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\r\n",
            &long,
        ] {
            assert!(parse(line.as_bytes()).is_err(), "{line:?}");
        }
    }

    #[test]
    fn binary_headers() {
        let v4 = [1, 2, 3, 4, 5, 6, 7, 8, 0, 80, 1, 187];
        let tlv = [0x04, 0, 3, b'a', b'b', b'c', 0x20, 0, 0];
        let with_fields = [&v4[..], &tlv].concat();
        let v6 = [[0; 15].as_slice(), &[1], &[0x20; 16], &[0, 1, 0, 2]].concat();
        for (bytes, said) in [
            (version_2(0x21, 0x11, &v4), from("1.2.3.4:80", "5.6.7.8:443")),
            (version_2(0x21, 0x11, &with_fields), from("1.2.3.4:80", "5.6.7.8:443")),
            (version_2(0x21, 0x21, &v6), from("[::1]:1", "[2020:2020:2020:2020:2020:2020:2020:2020]:2")),
            (version_2(0x20, 0x11, b"whatever"), Said::Nothing),
            (version_2(0x21, 0x00, b"whatever"), Said::Nothing),
            (version_2(0x21, 0x31, &[7; 216]), Said::Nothing),
        ] {
            for end in 0..bytes.len() {
                assert_eq!(parse(&bytes[..end]), Ok(None), "{end} of {bytes:?}");
            }
            assert_eq!(parse(&[&bytes[..], b"GET"].concat()), Ok(Some((said, bytes.len()))), "{bytes:?}");
        }
    }

    #[test]
    fn bad_binary_headers() {
        let v4 = [1, 2, 3, 4, 5, 6, 7, 8, 0, 80, 1, 187];
        for bytes in [
            version_2(0x11, 0x11, &v4),
            version_2(0x22, 0x11, &v4),
            version_2(0x21, 0x11, &v4[..11]),
            version_2(0x21, 0x12, &v4),
            version_2(0x21, 0x21, &v4),
            version_2(0x21, 0x41, &v4),
            version_2(0x21, 0x31, &v4),
            version_2(0x21, 0x11, &[&v4[..], &[4, 0]].concat()),
            version_2(0x21, 0x11, &[&v4[..], &[4, 0, 2, 1]].concat()),
            version_2(0x21, 0x11, &[0; REST_MAX + 1]),
            b"\r\n\r\n\0\r\nQUIT\r".to_vec(),
        ] {
            assert!(parse(&bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let mixed = from("1.2.3.4:1", "[::1]:2");
        let as_v6 = from("[::ffff:1.2.3.4]:1", "[::1]:2");
        for version in [Version::One, Version::Two] {
            let same = [from("1.2.3.4:1", "5.6.7.8:2"), from("[2001:db8::1]:1", "[::1]:2"), Said::Nothing];
            for (said, read) in same.into_iter().map(|s| (s, s)).chain([(mixed, as_v6)]) {
                let mut out = BytesMut::new();
                write(&mut out, version, said);
                assert_eq!(parse(&out), Ok(Some((read, out.len()))), "{version:?}");
            }
        }
    }
}
