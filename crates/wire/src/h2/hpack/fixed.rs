//! The static table of HPACK (RFC 7541 appendix A).

/// Entries from index 1.
pub(super) static FIXED: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// Places for the names; a power of two.
const PLACES: usize = 256;

/// Index of the first entry of each name, by [`place`]; the next places hold those whose own was taken.
static BY_NAME: [u8; PLACES] = {
    let mut table = [0; PLACES];
    let mut i = 0;
    while i < FIXED.len() {
        let name = FIXED[i].0.as_bytes();
        // Entries of one name stand one after the other; the first is meant. Regular names differ from all others.
        let again = i > 0 && same(name, FIXED[i - 1].0.as_bytes());
        if !again {
            let mut at = place(name);
            while table[at] != 0 {
                at = (at + 1) % PLACES;
            }
            table[at] = i as u8 + 1;
        }
        i += 1;
    }
    table
};

const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

/// Where a name is looked for first. Length, first, last and middle letter, without case.
const fn place(name: &[u8]) -> usize {
    if name.is_empty() {
        return 0;
    }
    let (first, last, middle) = (name[0] | 0x20, name[name.len() - 1] | 0x20, name[name.len() / 2] | 0x20);
    (name.len() * 3 + first as usize * 7 + last as usize * 19 + middle as usize * 31) % PLACES
}

/// Index of the first entry of that name, whatever its case; 0 if there is none.
pub(super) fn index_of(name: &[u8]) -> u8 {
    let mut at = place(name);
    loop {
        let index = BY_NAME.get(at).copied().unwrap_or(0);
        let Some((known, _)) = FIXED.get(usize::from(index).wrapping_sub(1)) else { return 0 };
        if known.as_bytes().eq_ignore_ascii_case(name) {
            return index;
        }
        at = (at + 1) % PLACES;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_and_no_other() {
        for (name, _) in FIXED {
            let first = FIXED.iter().position(|(other, _)| *other == name).unwrap() + 1;
            assert_eq!(usize::from(index_of(name.as_bytes())), first, "{name}");
            assert_eq!(usize::from(index_of(name.to_uppercase().as_bytes())), first, "{name}");
        }
        for name in ["", "x", "dates", "x-request-id", "content-typf", ":methods"] {
            assert_eq!(index_of(name.as_bytes()), 0, "{name}");
        }
    }
}
