//! Fields to header blocks.
//!
//! What is seen a second time goes to the dynamic table, coded by Huffman: that is paid once, and from then on the
//! field is a byte or two. What hardly ever comes again is written as it is, which costs least.

use bytes::{BufMut, BytesMut};

use super::{
    TABLE_DEFAULT,
    fixed::{self, FIXED},
    table::{Entry, Table},
};
use crate::huffman;

/// Larger tables than this are not used, whatever the peer allows.
const TABLE_MAX: usize = TABLE_DEFAULT;
/// Longer values are not worth the room.
const VALUE_MAX: usize = 256;
/// Fields that are remembered; a power of two.
const SEEN: usize = 64;

/// Writes the blocks of one direction of a connection.
#[derive(Debug)]
pub struct Encoder {
    table: Table,
    /// Fields inserted so far.
    inserted: u64,
    /// By hash: fields that came before, and where they are.
    seen: Box<[Seen; SEEN]>,
    /// What the peer has to be told of the table before the next field: its least size since, then its size (§4.2).
    resized: Option<(usize, usize)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    hash: u32,
    /// The how manieth insertion it was; 0 if it is in no table.
    at: u64,
}

/// How a field is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    /// In the table, once it has come twice.
    Indexed,
    /// Never in a table: it hardly comes again.
    Plain,
    /// Never in a table, by nobody on the way: it is a secret that could be guessed by lengths (§7.1).
    Secret,
}

impl Default for Encoder {
    fn default() -> Encoder {
        Encoder {
            table: Table::new(TABLE_DEFAULT),
            inserted: 0,
            seen: Box::new([Seen::default(); SEEN]),
            resized: None,
        }
    }
}

impl Encoder {
    /// The peer's decoder has room for so many bytes.
    pub fn set_max(&mut self, max: usize) {
        let max = max.min(TABLE_MAX);
        if max == self.table.max() && self.resized.is_none() {
            return;
        }
        let least = self.resized.map_or(max, |(least, _)| least.min(max));
        self.resized = Some((least, max));
        self.table.set_max(max);
    }

    /// To be called before the first field of each block.
    pub fn begin(&mut self, out: &mut BytesMut) {
        if let Some((least, max)) = self.resized.take() {
            if least < max {
                integer(0x20, 0x1f, least, out);
            }
            integer(0x20, 0x1f, max, out);
        }
    }

    /// `:status`.
    pub fn status(&mut self, status: http::StatusCode, out: &mut BytesMut) {
        match status.as_u16() {
            200 => out.put_u8(0x88),
            204 => out.put_u8(0x89),
            206 => out.put_u8(0x8a),
            304 => out.put_u8(0x8b),
            400 => out.put_u8(0x8c),
            404 => out.put_u8(0x8d),
            500 => out.put_u8(0x8e),
            _ => self.indexable(8, b":status", status.as_str().as_bytes(), out),
        }
    }

    /// `:method`, `:scheme`, `:authority` and `:path`.
    pub fn request(&mut self, method: &str, scheme: &str, authority: &[u8], path: &[u8], out: &mut BytesMut) {
        match method {
            "GET" => out.put_u8(0x82),
            "POST" => out.put_u8(0x83),
            other => self.indexable(2, b":method", other.as_bytes(), out),
        }
        out.put_u8(if scheme == "https" { 0x87 } else { 0x86 });
        self.indexable(1, b":authority", authority, out);
        match path {
            b"/" => out.put_u8(0x84),
            path => literal(Keep::Plain, 4, b":path", path, out),
        }
    }

    /// `content-length`.
    pub fn length(&mut self, length: u64, out: &mut BytesMut) {
        let mut digits = itoa::Buffer::new();
        literal(Keep::Plain, 28, b"content-length", digits.format(length).as_bytes(), out);
    }

    /// A header; its name may be in any case.
    pub fn field(&mut self, name: &[u8], value: &[u8], out: &mut BytesMut) {
        let index = fixed::index_of(name);
        match keep(index, name) {
            Keep::Indexed if value.len() <= VALUE_MAX => self.indexable(index, name, value, out),
            Keep::Indexed => literal(Keep::Plain, index, name, value, out),
            keep => literal(keep, index, name, value, out),
        }
    }

    fn indexable(&mut self, name_index: u8, name: &[u8], value: &[u8], out: &mut BytesMut) {
        let hash = hash(name, value);
        let Some(seen) = self.seen.get_mut(hash as usize % SEEN) else { return };
        if seen.hash != hash {
            *seen = Seen { hash, at: 0 };
            return literal(Keep::Plain, name_index, name, value, out);
        }
        if seen.at > 0 {
            let place = (self.inserted - seen.at) as usize;
            if let Some(entry) = self.table.get(place) {
                let (known, with) = entry.parts();
                if known.eq_ignore_ascii_case(name) && with == value {
                    return integer(0x80, 0x7f, FIXED.len() + 1 + place, out);
                }
                // Another field of the same hash: it stays out.
                return literal(Keep::Plain, name_index, name, value, out);
            }
        }
        literal(Keep::Indexed, name_index, name, value, out);
        let entry = Entry::new(&name.to_ascii_lowercase(), value, true);
        seen.at = 0;
        if self.table.insert(entry) {
            self.inserted += 1;
            seen.at = self.inserted;
        }
    }
}

fn keep(index: u8, name: &[u8]) -> Keep {
    match index {
        // authorization, cookie, proxy-authorization, set-cookie
        23 | 32 | 49 | 55 => Keep::Secret,
        // age, content-length, content-range, etag, if-…, last-modified, location, range
        21 | 28 | 30 | 34 | 39..=44 | 46 | 50 => Keep::Plain,
        0 if name.eq_ignore_ascii_case(b"x-request-id") => Keep::Plain,
        _ => Keep::Indexed,
    }
}

/// Of the length and of both ends: enough to tell apart what a connection sends again and again.
fn hash(name: &[u8], value: &[u8]) -> u32 {
    const K: u64 = 0x9e37_79b9_7f4a_7c15;
    let ends = |text: &[u8]| {
        let front = text.first_chunk::<8>().map(|b| u64::from_le_bytes(*b));
        let back = text.last_chunk::<8>().map(|b| u64::from_le_bytes(*b));
        match (front, back) {
            (Some(front), Some(back)) => front.wrapping_mul(K) ^ back.rotate_left(29),
            _ => text.iter().fold(0, |hash: u64, b| hash << 8 | u64::from(*b)),
        }
    };
    // Names of any case are one: with this bit set letters have none.
    let name = ends(name) | 0x2020_2020_2020_2020;
    let mixed = (name.wrapping_mul(K).rotate_left(31) ^ ends(value)).wrapping_mul(K);
    let mixed = (mixed ^ value.len() as u64).wrapping_mul(K);
    // 0 is nobody's.
    (mixed >> 32) as u32 | 1 << 31
}

/// A field that no table has. `index` is that of its name, 0 if that is in no table either.
fn literal(keep: Keep, index: u8, name: &[u8], value: &[u8], out: &mut BytesMut) {
    let (pattern, mask) = match keep {
        Keep::Indexed => (0x40, 0x3f),
        Keep::Plain => (0, 0x0f),
        Keep::Secret => (0x10, 0x0f),
    };
    integer(pattern, mask, usize::from(index), out);
    if index == 0 {
        integer(0, 0x7f, name.len(), out);
        let at = out.len();
        out.put_slice(name);
        if let Some(name) = out.get_mut(at..) {
            name.make_ascii_lowercase();
        }
    }
    if keep == Keep::Indexed {
        let coded = huffman::coded_len(value);
        if coded < value.len() {
            integer(0x80, 0x7f, coded, out);
            return huffman::encode(value, out);
        }
    }
    integer(0, 0x7f, value.len(), out);
    out.put_slice(value);
}

/// A number behind the bits of `pattern` (§5.1).
fn integer(pattern: u8, mask: u8, number: usize, out: &mut BytesMut) {
    if number < usize::from(mask) {
        return out.put_u8(pattern | number as u8);
    }
    out.put_u8(pattern | mask);
    let mut rest = number - usize::from(mask);
    while rest >= 0x80 {
        out.put_u8(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.put_u8(rest as u8);
}
