//! The Huffman code of field strings (RFC 7541 Appendix B), read only: what we send goes as it is.
//!
//! The code is canonical, so its lengths say all: tables are made of them when this is compiled.

/// Bits of the code of each byte.
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7,
    8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7,
    15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24,
    23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23,
    23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26,
    26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20,
    21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27,
    27, 27, 26,
];
/// Of the longest code of a byte; the end of the string has 30 too, all of them ones.
const LONGEST: usize = 30;

/// The string is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

struct Tables {
    /// The first code of each length, and how many there are.
    first: [u32; LONGEST + 1],
    count: [u32; LONGEST + 1],
    /// Where the bytes of that length begin in `bytes`, which are in the order of their codes.
    offset: [u32; LONGEST + 1],
    bytes: [u8; 256],
    /// By the next eight bits: the byte and the length of its code; 0 if that is longer.
    short: [(u8, u8); 256],
}

static TABLES: Tables = tables();

const fn tables() -> Tables {
    let mut t = Tables {
        first: [0; LONGEST + 1],
        count: [0; LONGEST + 1],
        offset: [0; LONGEST + 1],
        bytes: [0; 256],
        short: [(0, 0); 256],
    };
    let (mut length, mut code, mut placed) = (1, 0_u32, 0);
    while length <= LONGEST {
        code <<= 1;
        t.first[length] = code;
        t.offset[length] = placed as u32;
        let mut byte = 0;
        while byte < 256 {
            if LENGTHS[byte] as usize == length {
                t.bytes[placed] = byte as u8;
                placed += 1;
                if length <= 8 {
                    let (from, many) = ((code as usize) << (8 - length), 1 << (8 - length));
                    let mut i = from;
                    while i < from + many {
                        t.short[i] = (byte as u8, length as u8);
                        i += 1;
                    }
                }
                code += 1;
                t.count[length] += 1;
            }
            byte += 1;
        }
        length += 1;
    }
    t
}

/// Adds what the string stands for to `out`. Of the last byte less than eight bits may be left, all ones.
pub(super) fn decode(string: &[u8], out: &mut Vec<u8>) -> Result<(), Broken> {
    let mut rest = string.iter();
    // `bits` of `held`, the lowest, are still to be read.
    let (mut held, mut bits) = (0_u64, 0_u32);
    loop {
        while bits <= 56 {
            let Some(byte) = rest.next() else { break };
            held = held << 8 | u64::from(*byte);
            bits += 8;
        }
        match next(held, bits) {
            Some((byte, length)) => {
                out.push(byte);
                bits -= length;
            }
            None if bits < 8 && held & low(bits) == low(bits) => return Ok(()),
            None => return Err(Broken),
        }
    }
}

fn low(bits: u32) -> u64 {
    (1 << bits) - 1
}

fn next(held: u64, bits: u32) -> Option<(u8, u32)> {
    // Ones follow the end, and no code is all ones.
    let ahead = if bits >= 8 { held >> (bits - 8) } else { held << (8 - bits) | low(8 - bits) };
    let (byte, length) = TABLES.short[usize::from(ahead as u8)];
    if length != 0 {
        return (u32::from(length) <= bits).then_some((byte, u32::from(length)));
    }
    let lengths = TABLES.first.iter().zip(&TABLES.count).zip(&TABLES.offset).zip(0_u32..);
    for (((first, count), offset), length) in lengths.skip(9).take_while(|(_, length)| *length <= bits) {
        let code = (held >> (bits - length) & low(length)) as u32;
        if let Some(place) = code.checked_sub(*first).filter(|place| place < count) {
            return Some((*TABLES.bytes.get((offset + place) as usize)?, length));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(hex: &str) -> Result<String, Broken> {
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect();
        let mut out = Vec::new();
        decode(&bytes, &mut out).map(|()| String::from_utf8_lossy(&out).into_owned())
    }

    #[test]
    fn strings_of_the_standard() {
        let check = |hex: &str, text: &str| assert_eq!(read(hex).as_deref(), Ok(text));
        // RFC 7541 Appendix C.4 and C.6.
        check("f1e3c2e5f23a6ba0ab90f4ff", "www.example.com");
        check("a8eb10649cbf", "no-cache");
        check("25a849e95ba97d7f", "custom-key");
        check("d07abe941054d444a8200595040b8166e082a62d1bff", "Mon, 21 Oct 2013 20:13:21 GMT");
        check(
            "94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
            "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
        );
        check("", "");
    }

    #[test]
    fn every_byte_has_its_code() {
        // The last code of all is followed by that of the end, which is all ones.
        assert_eq!(TABLES.first[30] + TABLES.count[30], (1 << 30) - 1);
        for byte in 0..=255_u8 {
            let length = usize::from(LENGTHS[usize::from(byte)]);
            let place = TABLES.bytes.iter().position(|b| *b == byte).unwrap() as u32;
            let code = u64::from(TABLES.first[length] + place - TABLES.offset[length]);
            let padded = code << (64 - length) | low(64 - length as u32);
            let bytes = &padded.to_be_bytes()[..length.div_ceil(8)];
            let mut out = Vec::new();
            assert_eq!((decode(bytes, &mut out), out), (Ok(()), vec![byte]));
        }
    }

    #[test]
    fn what_is_no_string_is_refused() {
        for broken in ["ff", "fffffffc", "ffffffff", "00ffff", "a8eb10649cbfff", "18"] {
            assert_eq!(read(broken), Err(Broken), "{broken}");
        }
    }
}
