//! Integers of variable length (RFC 9000 §16): the first two bits say how many bytes there are.

use bytes::{BufMut, BytesMut};

/// The integer that `bytes` begins with, and its length; nothing if there are not enough of them.
#[must_use]
pub fn read(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let length = 1 << (first >> 6);
    let bytes = bytes.get(1..length)?;
    let start = u64::from(first & 0x3f);
    Some((bytes.iter().fold(start, |value, byte| value << 8 | u64::from(*byte)), length))
}

/// Adds an integer, which is below 2^62.
pub fn put(value: u64, out: &mut BytesMut) {
    match value {
        0..0x40 => out.put_u8(value as u8),
        0x40..0x4000 => out.put_u16(value as u16 | 0x4000),
        0x4000..0x4000_0000 => out.put_u32(value as u32 | 0x8000_0000),
        _ => out.put_u64(value | 0xc000_0000_0000_0000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_the_standard() {
        // RFC 9000 Appendix A.1.
        let rows: [(&[u8], u64); 4] = [
            (b"\xc2\x19\x7c\x5e\xff\x14\xe8\x8c", 151_288_809_941_952_652),
            (b"\x9d\x7f\x3e\x7d", 494_878_333),
            (b"\x7b\xbd", 15_293),
            (b"\x25", 37),
        ];
        for (bytes, value) in rows {
            assert_eq!(read(bytes), Some((value, bytes.len())));
            assert_eq!(read(&bytes[..bytes.len() - 1]), None);
            let mut out = BytesMut::new();
            put(value, &mut out);
            assert_eq!(out, bytes);
        }
        assert_eq!(read(b"\x40\x25"), Some((37, 2)));
    }
}
