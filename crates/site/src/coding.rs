//! Which precompressed sibling of a file a client takes (RFC 9110 §12.5.3).

use evergate_wire::{Headers, headers::as_text};
use http::{HeaderValue, header::ACCEPT_ENCODING};

/// A content coding that a file may have beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstd,
    /// RFC 1952.
    Gzip,
}

use Coding::{Brotli, Gzip, Zstd};

/// The best first, where the client has no preference.
const ALL: [Coding; 3] = [Brotli, Zstd, Gzip];

impl Coding {
    /// What is put behind the file's name, dot and all.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Brotli => ".br",
            Zstd => ".zst",
            Gzip => ".gz",
        }
    }

    /// Its name in `Content-Encoding`.
    pub(crate) fn name(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Brotli => "br",
            Zstd => "zstd",
            Gzip => "gzip",
        })
    }

    fn named(name: &str) -> Option<Coding> {
        match () {
            () if name.eq_ignore_ascii_case("br") => Some(Brotli),
            () if name.eq_ignore_ascii_case("zstd") => Some(Zstd),
            // RFC 9110 §8.4.1.3 wants the old name taken too.
            () if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => Some(Gzip),
            () => None,
        }
    }
}

/// The codings that the client prefers to the bare file, the most wanted first. Without `Accept-Encoding` there
/// are none. The bare file is always there as the last resort, even where the client says it wants it not.
pub(crate) fn wanted(headers: &Headers) -> impl Iterator<Item = Coding> + use<> {
    let (mut codings, mut identity, mut others) = ([None; 3], None, None);
    let elements = headers.get_all(&ACCEPT_ENCODING).filter_map(as_text);
    for element in elements.flat_map(|line| line.split(',')) {
        let mut parts = element.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
        // A weight that cannot be read says nothing good.
        let weight = weight.map_or(1000, |weight| thousandths(weight).unwrap_or(0));
        if let Some(coding) = Coding::named(name) {
            if let Some(slot) = codings.get_mut(coding as usize) {
                *slot = Some(weight);
            }
        } else if name.eq_ignore_ascii_case("identity") {
            identity = Some(weight);
        } else if name == "*" {
            others = Some(weight);
        }
    }
    // Unless it is named, the bare file is acceptable, but any coding that is named is better.
    let least = identity.unwrap_or(0).max(1);
    let weigh = |coding: Coding| codings.get(coding as usize).copied().flatten().or(others).unwrap_or(0);
    let mut wanted = ALL.map(|coding| (weigh(coding), coding));
    wanted.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
    wanted.into_iter().filter(move |(weight, _)| *weight >= least).map(|(_, coding)| coding)
}

/// `0` to `1` with at most three decimals (RFC 9110 §12.4.2).
fn thousandths(weight: &str) -> Option<u16> {
    let (whole, decimals) = weight.split_once('.').unwrap_or((weight, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let decimals: u16 = format!("{decimals:0<3}").parse().ok()?;
    match whole {
        "0" => Some(decimals),
        "1" if decimals == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[&str]) -> Vec<Coding> {
        let mut headers = Headers::new();
        for line in lines {
            headers.append(ACCEPT_ENCODING, line.parse::<HeaderValue>().unwrap());
        }
        wanted(&headers).collect()
    }

    #[test]
    fn the_most_wanted_first() {
        let rows: [(&[&str], &[Coding]); 24] = [
            (&[], &[]),
            (&[""], &[]),
            (&["gzip"], &[Gzip]),
            (&["GZip"], &[Gzip]),
            (&["x-gzip"], &[Gzip]),
            (&["gzip, deflate, br, zstd"], &ALL),
            (&["gzip", "br"], &[Brotli, Gzip]),
            (&["br;q=0.5, gzip"], &[Gzip, Brotli]),
            (&["br ; q=0.5 , gzip;Q=0.501"], &[Gzip, Brotli]),
            (&["br;q=0, gzip"], &[Gzip]),
            (&["br;q=0.000, gzip;q=0.001"], &[Gzip]),
            (&["gzip;q=1.0, br;q=1"], &[Brotli, Gzip]),
            (&["*"], &ALL),
            (&["*;q=0.5, gzip"], &[Gzip, Brotli, Zstd]),
            (&["*, br;q=0"], &[Zstd, Gzip]),
            (&["*;q=0"], &[]),
            (&["identity"], &[]),
            (&["identity, br;q=0.5"], &[]),
            (&["identity;q=0.5, br;q=0.5, gzip;q=0.4"], &[Brotli]),
            (&["identity;q=0, gzip;q=0.1"], &[Gzip]),
            (&["br;q=2"], &[]),
            (&["br;q=0.1234"], &[]),
            (&["br;q=ä"], &[]),
            (&["deflate, compress, brotli"], &[]),
        ];
        for (lines, expected) in rows {
            assert_eq!(of(lines), expected, "{lines:?}");
        }
    }
}
