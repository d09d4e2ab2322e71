//! Field sections in QPACK (RFC 9204) without its dynamic table: each section stands for itself, none waits for
//! another, and a peer can make us remember nothing. The static table is that of the standard.

use bytes::{BufMut, BytesMut};

use super::table::{self, STATIC};
use crate::huffman;

/// The section cannot be read: an error of the connection (RFC 9204 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

impl From<huffman::Broken> for Broken {
    fn from(_: huffman::Broken) -> Broken {
        Broken
    }
}

/// A name and a value.
pub(super) type Field<'f> = (&'f [u8], &'f [u8]);

/// The fields of a section, one after the other.
pub(super) struct Fields<'s> {
    rest: &'s [u8],
    name: Vec<u8>,
    value: Vec<u8>,
}

impl<'s> Fields<'s> {
    /// Of this section.
    pub(super) fn of(section: &'s [u8]) -> Result<Fields<'s>, Broken> {
        let mut rest = section;
        // Nothing was ever inserted, so nothing may be required; the base then means nothing.
        if int(&mut rest, 8)? != 0 {
            return Err(Broken);
        }
        int(&mut rest, 7)?;
        Ok(Fields { rest, name: Vec::new(), value: Vec::new() })
    }

    /// The next field; nothing at the end.
    pub(super) fn next(&mut self) -> Result<Option<Field<'_>>, Broken> {
        let Some(first) = self.rest.first() else { return Ok(None) };
        let (rest, name, value) = (&mut self.rest, &mut self.name, &mut self.value);
        match first {
            0xc0..=0xff => {
                let (name, value) = known(int(rest, 6)?)?;
                Ok(Some((name.as_bytes(), value.as_bytes())))
            }
            0x50..=0x5f | 0x70..=0x7f => {
                let (name, _) = known(int(rest, 4)?)?;
                Ok(Some((name.as_bytes(), string(rest, 7, value)?)))
            }
            0x20..=0x3f => {
                let name = string(rest, 3, name)?;
                Ok(Some((name, string(rest, 7, value)?)))
            }
            // They ask for the dynamic table.
            _ => Err(Broken),
        }
    }
}

fn known(index: u64) -> Result<(&'static str, &'static str), Broken> {
    usize::try_from(index).ok().and_then(|index| STATIC.get(index)).copied().ok_or(Broken)
}

/// A number that begins in the last `prefix` bits of a byte (RFC 7541 §5.1).
fn int(rest: &mut &[u8], prefix: u32) -> Result<u64, Broken> {
    let most = (1 << prefix) - 1;
    let mut value = u64::from(byte(rest)?) & most;
    if value < most {
        return Ok(value);
    }
    // Nothing that we are sent is longer than 2^32.
    for shift in [0, 7, 14, 21, 28] {
        let more = byte(rest)?;
        value += u64::from(more & 0x7f) << shift;
        if more & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Broken)
}

fn byte(rest: &mut &[u8]) -> Result<u8, Broken> {
    let (first, others) = rest.split_first().ok_or(Broken)?;
    *rest = others;
    Ok(*first)
}

/// A string whose length begins in the last `prefix` bits of a byte; the bit before says that it is compressed.
fn string<'o, 's: 'o>(rest: &mut &'s [u8], prefix: u32, room: &'o mut Vec<u8>) -> Result<&'o [u8], Broken> {
    let is_short = rest.first().ok_or(Broken)? & 1 << prefix != 0;
    let length = usize::try_from(int(rest, prefix)?).map_err(|_| Broken)?;
    let (string, others) = rest.split_at_checked(length).ok_or(Broken)?;
    *rest = others;
    if !is_short {
        return Ok(string);
    }
    room.clear();
    huffman::decode(string, room)?;
    Ok(room)
}

/// Begins a section.
pub(super) fn begin(out: &mut BytesMut) {
    out.put_slice(&[0, 0]);
}

/// Adds a field to a section. Names are sent in lower case (RFC 9114 §4.2).
pub(super) fn field(name: &[u8], value: &[u8], out: &mut BytesMut) {
    match table::place(name, value) {
        Some((index, true)) => put_int(0xc0, 6, index, out),
        Some((index, false)) => {
            put_int(0x50, 4, index, out);
            put_string(value, out);
        }
        None => {
            put_int(0x20, 3, name.len() as u64, out);
            out.extend(name.iter().map(u8::to_ascii_lowercase));
            put_string(value, out);
        }
    }
}

/// Adds a field as it is, whatever that may be.
#[cfg(test)]
pub(super) fn literal(name: &[u8], value: &[u8], out: &mut BytesMut) {
    put_int(0x20, 3, name.len() as u64, out);
    out.put_slice(name);
    put_string(value, out);
}

fn put_string(value: &[u8], out: &mut BytesMut) {
    put_int(0, 7, value.len() as u64, out);
    out.put_slice(value);
}

fn put_int(flags: u8, prefix: u32, value: u64, out: &mut BytesMut) {
    let most = (1 << prefix) - 1;
    let Some(mut more) = value.checked_sub(most) else { return out.put_u8(flags | value as u8) };
    out.put_u8(flags | most as u8);
    while more >= 0x80 {
        out.put_u8(more as u8 | 0x80);
        more >>= 7;
    }
    out.put_u8(more as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(section: &[u8]) -> Result<Vec<(String, String)>, Broken> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut fields = Fields::of(section)?;
        let mut all = Vec::new();
        while let Some((name, value)) = fields.next()? {
            all.push((text(name), text(value)));
        }
        Ok(all)
    }

    #[test]
    fn a_section_of_the_standard() {
        // RFC 9204 Appendix B.1.
        let section = b"\x00\x00\x51\x0b/index.html";
        assert_eq!(read(section), Ok(vec![(":path".to_owned(), "/index.html".to_owned())]));
    }

    #[test]
    fn what_is_written_is_read() {
        let long = "v".repeat(70_000);
        let fields = [
            (":status", "200"),
            (":status", "418"),
            ("content-type", "text/html; charset=utf-8"),
            ("content-type", "text/x"),
            ("x-frame-options", "sameorigin"),
            ("x-own", ""),
            ("Date", "now"),
            ("x-a-name-of-more-than-seven", &long),
        ];
        let mut out = BytesMut::new();
        begin(&mut out);
        fields.iter().for_each(|(name, value)| field(name.as_bytes(), value.as_bytes(), &mut out));
        let lower: Vec<_> = fields.map(|(n, v)| (n.to_ascii_lowercase(), v.to_owned())).into();
        assert_eq!(read(&out), Ok(lower));
        for end in 2..out.len().min(60) {
            // A part of it is either the first fields or nothing at all.
            let _ = read(&out[..end]);
        }
    }

    #[test]
    fn compressed_strings() {
        let section = b"\x00\x00\x2f\x01\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x86\xa8\xeb\x10\x64\x9c\xbf";
        assert_eq!(read(section), Ok(vec![("custom-key".to_owned(), "no-cache".to_owned())]));
    }

    #[test]
    fn nothing_dynamic_nothing_cut() {
        let rows: [&[u8]; 12] = [
            b"",
            b"\x00",
            b"\x02\x00\xc1",
            b"\x00\x00\x80",
            b"\x00\x00\x10",
            b"\x00\x00\x00\x00",
            b"\x00\x00\x41\x00",
            b"\x00\x00\xff\x24",
            b"\x00\x00\x51\x0b/index",
            b"\x00\x00\x51\x7f\xff\xff\xff\xff\xff\xff\x00",
            b"\x00\x00\x27\xff\xff\xff\xff\x0fabc",
            b"\x00\x00\x51\x81\xff",
        ];
        for section in rows {
            assert_eq!(read(section), Err(Broken), "{section:?}");
        }
    }
}
