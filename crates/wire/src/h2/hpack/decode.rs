//! Header blocks to fields.

use super::{
    TABLE_DEFAULT,
    fixed::FIXED,
    table::{Entry, Table},
};
use crate::{
    h1::lines::{is_token, is_value},
    huffman,
};

/// A block that cannot be read. The tables of both sides differ from here on: the connection is at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct HpackError(pub &'static str);

impl HpackError {
    /// The fields are larger than what is borne: a byte of a block may stand for a field of the table's whole size.
    pub const TOO_FAR: HpackError = HpackError("a block of headers that unfolds far beyond the limit");
}

/// One field of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
    /// Both are what a header may have (RFC 9113 §8.2.1). A pseudo-header's name counts without its colon.
    pub clean: bool,
}

/// Reads the blocks of one direction of a connection.
#[derive(Debug)]
pub struct Decoder {
    table: Table,
    /// What we have told the peer that its table may have.
    max: usize,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder { table: Table::new(TABLE_DEFAULT), max: TABLE_DEFAULT, name: Vec::new(), value: Vec::new() }
    }
}

/// Strings above this give their room back after the block.
const SCRATCH_KEPT: usize = 4096;

impl Decoder {
    /// The peer has acknowledged that its table has so many bytes at most.
    pub fn set_max(&mut self, max: usize) {
        self.max = max;
        if self.table.max() > max {
            self.table.set_max(max);
        }
    }

    /// Reads a whole block and hands each field to `take`, as long as they have no more than `most` bytes together.
    ///
    /// # Errors
    /// If it is no block, or refers to what is not there, or is too large.
    pub fn decode(
        &mut self,
        block: &[u8],
        most: usize,
        mut take: impl FnMut(Field<'_>),
    ) -> Result<(), HpackError> {
        let mut rest = block;
        let mut begun = false;
        let mut size = 0;
        let mut take = |field: Field<'_>| {
            size += field.name.len() + field.value.len();
            take(field);
            if size > most { Err(HpackError::TOO_FAR) } else { Ok(()) }
        };
        while let Some((first, after)) = rest.split_first() {
            let first = *first;
            rest = after;
            match first {
                0x80.. => {
                    let index = integer(first, 0x7f, &mut rest)?;
                    take(self.field(index)?)?;
                }
                0x20..=0x3f => {
                    // Only where a block begins (§4.2).
                    let max = integer(first, 0x1f, &mut rest)?;
                    if begun || max > self.max {
                        return Err(HpackError("bad size of the dynamic table"));
                    }
                    self.table.set_max(max);
                    continue;
                }
                _ => self.literal(first, &mut rest, &mut take)?,
            }
            begun = true;
        }
        self.name.shrink_to(SCRATCH_KEPT);
        self.value.shrink_to(SCRATCH_KEPT);
        Ok(())
    }

    fn literal(
        &mut self,
        first: u8,
        rest: &mut &[u8],
        take: &mut impl FnMut(Field<'_>) -> Result<(), HpackError>,
    ) -> Result<(), HpackError> {
        let indexed = first & 0x40 != 0;
        let index = integer(first, if indexed { 0x3f } else { 0x0f }, rest)?;
        let mut scratch = std::mem::take(&mut self.name);
        let name = if index == 0 {
            string(rest, &mut scratch)?
        } else {
            scratch.clear();
            scratch.extend_from_slice(self.field(index)?.name);
            &scratch
        };
        let value = string(rest, &mut self.value)?;
        let clean = is_name(name) && is_field_value(value);
        take(Field { name, value, clean })?;
        if indexed {
            self.table.insert(Entry::new(name, value, clean));
        }
        self.name = scratch;
        Ok(())
    }

    fn field(&self, index: usize) -> Result<Field<'_>, HpackError> {
        const NONE: HpackError = HpackError("an index that is in no table");
        let place = index.checked_sub(1).ok_or(NONE)?;
        if let Some((name, value)) = FIXED.get(place) {
            return Ok(Field { name: name.as_bytes(), value: value.as_bytes(), clean: true });
        }
        let entry = self.table.get(place - FIXED.len()).ok_or(NONE)?;
        let (name, value) = entry.parts();
        Ok(Field { name, value, clean: entry.clean })
    }

    #[cfg(test)]
    pub(super) fn table(&self) -> &Table {
        &self.table
    }
}

/// A number whose first bits are in `first` (§5.1). More than a block can hold is an error.
fn integer(first: u8, mask: u8, rest: &mut &[u8]) -> Result<usize, HpackError> {
    let start = first & mask;
    if start < mask {
        return Ok(usize::from(start));
    }
    let mut number = usize::from(start);
    for shift in [0, 7, 14, 21] {
        let (byte, after) = rest.split_first().ok_or(HpackError("a number without its end"))?;
        *rest = after;
        number += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(HpackError("too large a number"))
}

/// A string (§5.2); `room` is where it is put if it is coded.
fn string<'t: 'r, 'r>(rest: &mut &'t [u8], room: &'r mut Vec<u8>) -> Result<&'r [u8], HpackError> {
    let (first, after) = rest.split_first().ok_or(HpackError("a string without its length"))?;
    *rest = after;
    let length = integer(*first, 0x7f, rest)?;
    let (text, after) = rest.split_at_checked(length).ok_or(HpackError("a string without its end"))?;
    *rest = after;
    if first & 0x80 == 0 {
        return Ok(text);
    }
    room.clear();
    huffman::decode(text, room).map_err(|broken| HpackError(broken.0))?;
    Ok(room)
}

/// Lower-case tokens; one colon may stand before them.
fn is_name(name: &[u8]) -> bool {
    let bare = name.strip_prefix(b":").unwrap_or(name);
    let upper = bare.iter().fold(false, |bad, b| bad | b.is_ascii_uppercase());
    !upper && is_token(bare) && name.len() <= usize::from(u16::MAX)
}

/// No control characters, and no blanks around it (RFC 9113 §8.2.1).
fn is_field_value(value: &[u8]) -> bool {
    let is_blank = |b: Option<&u8>| matches!(b, Some(b' ' | b'\t'));
    is_value(value) && !is_blank(value.first()) && !is_blank(value.last())
}
