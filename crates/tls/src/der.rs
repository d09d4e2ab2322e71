//! The few fields of an X.509 certificate (RFC 5280 §4.1) that rustls does not tell: from when until when it
//! is valid, for which names, and what its authority knows it by. Signatures and everything else are for rustls to check.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// What a certificate says of itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Facts<'a> {
    /// Number that its authority gave it, as it is encoded.
    pub(crate) serial: &'a [u8],
    /// Name of the authority, as it is encoded, with its header.
    pub(crate) issuer: &'a [u8],
    /// Seconds since 1970.
    pub(crate) not_before: i64,
    /// Seconds since 1970, inclusive.
    pub(crate) not_after: i64,
    /// Common names of the subject.
    pub(crate) common_names: Vec<String>,
    /// Alternative names of the subject, of the kinds that [`San`] has.
    pub(crate) names: Vec<San>,
}

/// An alternative name (RFC 5280 §4.2.1.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum San {
    /// In lower case.
    Dns(String),
    /// As it is written.
    Email(String),
    /// As it is written.
    Uri(String),
    /// IPv4 or IPv6.
    Ip(IpAddr),
}

const INTEGER: u8 = 0x02;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OBJECT_ID: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const IA5_STRING: u8 = 0x16;
const UTC_TIME: u8 = 0x17;
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
pub(crate) const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const EMAIL: u8 = 0x81;
const DNS_NAME: u8 = 0x82;
const URI: u8 = 0x86;
const IP: u8 = 0x87;
/// 2.5.29.17, encoded.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// 2.5.4.3, encoded.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// Reads a certificate; `None` if it is not one.
pub(crate) fn facts(certificate: &[u8]) -> Option<Facts<'_>> {
    let mut to_be_signed = Reader(Reader(Reader(certificate).take(SEQUENCE)?).take(SEQUENCE)?);
    to_be_signed.take(VERSION);
    let serial = to_be_signed.take(INTEGER)?;
    let _signature = to_be_signed.take(SEQUENCE)?;
    let before_issuer = to_be_signed.0;
    let _issuer = to_be_signed.take(SEQUENCE)?;
    let issuer = before_issuer.get(..before_issuer.len() - to_be_signed.0.len())?;
    let mut validity = Reader(to_be_signed.take(SEQUENCE)?);
    let (not_before, not_after) = (time(validity.next()?)?, time(validity.next()?)?);
    let common_names = common_names(to_be_signed.take(SEQUENCE)?)?;
    let _public_key = to_be_signed.take(SEQUENCE)?;
    // Between the key and the extensions may stand two unique identifiers that nobody uses.
    let extensions = to_be_signed.find(EXTENSIONS);
    let names = extensions.map_or(Some(Vec::new()), alternative_names)?;
    Some(Facts { serial, issuer, not_before, not_after, common_names, names })
}

/// Those that are text in an encoding that is a part of UTF-8; nobody should use others (RFC 5280 §4.1.2.4).
fn common_names(subject: &[u8]) -> Option<Vec<String>> {
    let (mut sets, mut names) = (Reader(subject), Vec::new());
    while !sets.0.is_empty() {
        let mut set = Reader(sets.take(SET)?);
        while !set.0.is_empty() {
            let mut attribute = Reader(set.take(SEQUENCE)?);
            let kind = attribute.take(OBJECT_ID)?;
            let (tag, value) = attribute.next()?;
            if kind == COMMON_NAME && [UTF8_STRING, PRINTABLE_STRING, IA5_STRING].contains(&tag) {
                names.push(std::str::from_utf8(value).ok()?.to_owned());
            }
        }
    }
    Some(names)
}

fn alternative_names(extensions: &[u8]) -> Option<Vec<San>> {
    let mut extensions = Reader(Reader(extensions).take(SEQUENCE)?);
    let mut names = Vec::new();
    while !extensions.0.is_empty() {
        let mut extension = Reader(extensions.take(SEQUENCE)?);
        if extension.take(OBJECT_ID)? != SUBJECT_ALT_NAME {
            continue;
        }
        let mut general = Reader(Reader(extension.find(OCTET_STRING)?).take(SEQUENCE)?);
        while let Some((tag, value)) = general.next() {
            let text = || std::str::from_utf8(value).ok().map(str::to_owned);
            match tag {
                EMAIL => names.push(San::Email(text()?)),
                DNS_NAME => names.push(San::Dns(text()?.to_ascii_lowercase())),
                URI => names.push(San::Uri(text()?)),
                IP => names.push(San::Ip(ip(value)?)),
                _ => {}
            }
        }
    }
    Some(names)
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|b| Ipv4Addr::from(b).into()),
        16 => <[u8; 16]>::try_from(bytes).ok().map(|b| Ipv6Addr::from(b).into()),
        _ => None,
    }
}

impl San {
    /// A name as people write it: an address; with `:` a URI; with `@` an e-mail address; else a DNS name.
    #[must_use]
    pub fn parse(text: &str) -> San {
        match text.parse() {
            Ok(ip) => San::Ip(ip),
            Err(_) if text.contains(':') => San::Uri(text.to_owned()),
            Err(_) if text.contains('@') => San::Email(text.to_owned()),
            Err(_) => San::Dns(text.to_ascii_lowercase()),
        }
    }
}

impl fmt::Display for San {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            San::Dns(text) | San::Email(text) | San::Uri(text) => f.write_str(text),
            San::Ip(ip) => ip.fmt(f),
        }
    }
}

/// Reads one value after the other: tag, length, content (X.690 §8.1).
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, first], rest) = self.0.split_first_chunk()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // A certificate fits into 24 bits of length; TLS cannot send more (RFC 8446 §4.4.2).
            0x81..=0x83 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// The next value if it has this tag; otherwise it stays.
    pub(crate) fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        if self.0.first() == Some(&tag) { self.next().map(|(_, content)| content) } else { None }
    }

    /// The first value with this tag; those before it are passed over.
    pub(crate) fn find(&mut self, tag: u8) -> Option<&'a [u8]> {
        while let Some((found, content)) = self.next() {
            if found == tag {
                return Some(content);
            }
        }
        None
    }
}

/// `YYMMDDHHMMSSZ`, where 50 to 99 is the last century, or `YYYYMMDDHHMMSSZ` (RFC 5280 §4.1.2.5).
pub(crate) fn time((tag, text): (u8, &[u8])) -> Option<i64> {
    let digits = text.strip_suffix(b"Z")?;
    let (year, rest) = match (tag, digits.len()) {
        (UTC_TIME, 12) => {
            let (year, rest) = digits.split_at_checked(2)?;
            let year = number(year)?;
            (year + if year < 50 { 2000 } else { 1900 }, rest)
        }
        (GENERALIZED_TIME, 14) => {
            let (year, rest) = digits.split_at_checked(4)?;
            (number(year)?, rest)
        }
        _ => return None,
    };
    let mut pairs = rest.chunks(2).map(number);
    let mut part = |range: std::ops::RangeInclusive<i64>| pairs.next()?.filter(|n| range.contains(n));
    let (month, day) = (part(1..=12)?, part(1..=31)?);
    let (hour, minute, second) = (part(0..=23)?, part(0..=59)?, part(0..=59)?);
    Some(days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, year 0 or later. Years are counted from March,
/// so that the leap day is the last one (Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Maker, date};
    use proptest::prelude::*;

    #[test]
    fn times() {
        let rows: [(u8, &str, Option<i64>); 12] = [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "691231235959Z", Some(-1)),
            (UTC_TIME, "000229120000Z", Some(951_825_600)),
            (UTC_TIME, "491231235959Z", Some(2_524_607_999)),
            (UTC_TIME, "500101000000Z", Some(-631_152_000)),
            (GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000)),
            (GENERALIZED_TIME, "99991231235959Z", Some(253_402_300_799)),
            (GENERALIZED_TIME, "21000301000000Z", Some(4_107_542_400)),
            (GENERALIZED_TIME, "20501301000000Z", None),
            (UTC_TIME, "700101000000", None),
            (UTC_TIME, "7001010000+0Z", None),
            (INTEGER, "700101000000Z", None),
        ];
        for (tag, text, expected) in rows {
            assert_eq!(time((tag, text.as_bytes())), expected, "{text}");
        }
    }

    #[test]
    fn facts_of_a_certificate() {
        let made = Maker::new(&["Example.com", "*.example.com"]).days((2020, 1, 2), (2051, 3, 4)).own();
        let facts = facts(&made.der).unwrap();
        assert_eq!(facts.names, ["Example.com", "*.example.com"].map(San::parse));
        assert_eq!((facts.not_before, facts.not_after), (date(2020, 1, 2), date(2051, 3, 4)));
        assert_eq!(facts.common_names, ["rcgen self signed cert"]);
        assert_eq!(super::facts(&Maker::new(&[]).own().der).unwrap().names, []);
    }

    #[test]
    fn every_cut_of_a_certificate_is_none() {
        let der = Maker::new(&["example.com"]).own().der;
        assert!((0..der.len()).all(|cut| facts(&der[..cut]).is_none()));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0..500_usize, to: u8) {
            let _ = facts(&bytes);
            let mut der = Maker::fixed();
            if let Some(byte) = der.get_mut(at) {
                *byte = to;
            }
            let _ = facts(&der);
        }
    }
}
