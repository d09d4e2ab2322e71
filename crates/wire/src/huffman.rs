//! The Huffman code of HPACK (RFC 7541 §5.2 and appendix B), which QPACK has too (RFC 9204 §4.1.2), both ways by tables.
//!
//! The code is canonical: of codes of one length, those of larger symbols are larger, and longer codes are larger
//! than shorter ones. So the lengths alone say all of it.

/// Length of each symbol's code in bits. The code for the end of the text, 30 ones, is not among them.
const BITS: [u8; 256] = [
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
const BITS_MAX: usize = 30;

/// The text is not coded so, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken(pub(crate) &'static str);

/// Codes of one length.
#[derive(Clone, Copy)]
struct Group {
    bits: u32,
    /// The first code, from the left of 32 bits.
    first: u32,
    /// Behind the last one, in the same way.
    end: u32,
    /// Where its symbols begin in [`Tables::symbols`].
    at: usize,
}

struct Tables {
    codes: [u32; 256],
    /// Symbols by their codes.
    symbols: [u8; 256],
    /// By the next eight bits: symbol and length of the code that they begin with; length 0 for a longer one.
    short: [(u8, u8); 256],
    /// Codes of more than eight bits, shortest first; unused ones at the end are empty.
    long: [Group; BITS_MAX - 8],
}

static TABLES: Tables = tables();

const fn tables() -> Tables {
    let empty = Group { bits: 0, first: 0, end: 0, at: 0 };
    let mut t =
        Tables { codes: [0; 256], symbols: [0; 256], short: [(0, 0); 256], long: [empty; BITS_MAX - 8] };
    let (mut code, mut at, mut bits) = (0_u32, 0, 1);
    while bits <= BITS_MAX {
        code <<= 1;
        let (first, first_at) = (code, at);
        let mut symbol = 0;
        while symbol < 256 {
            if BITS[symbol] as usize == bits {
                t.codes[symbol] = code;
                t.symbols[at] = symbol as u8;
                let mut rest = 0;
                while bits <= 8 && rest < 1 << (8 - bits) {
                    t.short[((code as usize) << (8 - bits)) + rest] = (symbol as u8, bits as u8);
                    rest += 1;
                }
                code += 1;
                at += 1;
            }
            symbol += 1;
        }
        if bits > 8 {
            let left = 32 - bits as u32;
            t.long[bits - 9] =
                Group { bits: bits as u32, first: first << left, end: code << left, at: first_at };
        }
        bits += 1;
    }
    t
}

/// Appends the text that `coded` stands for.
pub(crate) fn decode(coded: &[u8], out: &mut Vec<u8>) -> Result<(), Broken> {
    const BAD: Broken = Broken("bad Huffman code");
    out.reserve(coded.len() * 8 / 5 + 1);
    // The next bits, from the left, and their number.
    let (mut bits, mut have) = (0_u64, 0_u32);
    let mut coded = coded.iter();
    loop {
        while have <= 56 {
            let Some(byte) = coded.next() else { break };
            bits |= u64::from(*byte) << (56 - have);
            have += 8;
        }
        let (mut symbol, short) = TABLES.short[usize::from((bits >> 56) as u8)];
        let mut length = u32::from(short);
        if length == 0 {
            let next = (bits >> 32) as u32;
            let Some(group) = TABLES.long.iter().find(|g| (g.first..g.end).contains(&next)) else {
                // The code of the end alone is in no group; itself it may not stand.
                return Err(BAD);
            };
            length = group.bits;
            let at = group.at + ((next - group.first) >> (32 - length)) as usize;
            symbol = TABLES.symbols.get(at).copied().ok_or(BAD)?;
        }
        if length > have {
            return ending(bits, have);
        }
        out.push(symbol);
        bits <<= length;
        have -= length;
    }
}

/// What is left must be the first bits of the code of the end, fewer than eight (§5.2).
fn ending(bits: u64, have: u32) -> Result<(), Broken> {
    let ones = bits.leading_ones();
    if have < 8 && ones >= have { Ok(()) } else { Err(Broken("bad end of a Huffman code")) }
}

/// Bytes that the text takes when coded.
pub(crate) fn coded_len(text: &[u8]) -> usize {
    let bits: usize = text.iter().map(|b| usize::from(BITS[usize::from(*b)])).sum();
    bits.div_ceil(8)
}

/// Appends the code of the text.
pub(crate) fn encode(text: &[u8], out: &mut impl Extend<u8>) {
    let (mut bits, mut have) = (0_u64, 0_u32);
    for byte in text {
        let symbol = usize::from(*byte);
        let length = u32::from(BITS[symbol]);
        bits = bits << length | u64::from(TABLES.codes[symbol]);
        have += length;
        while have >= 8 {
            have -= 8;
            out.extend([(bits >> have) as u8]);
        }
    }
    if have > 0 {
        out.extend([(bits << (8 - have)) as u8 | 0xff >> have]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_appendix_b() {
        let rows = [
            (b'0', 0x0, 5),
            (b'a', 0x3, 5),
            (b' ', 0x14, 6),
            (b'~', 0x1ffd, 13),
            (0, 0x1ff8, 13),
            (b'\\', 0x7fff0, 19),
            (128, 0xfffe6, 20),
            (b'\n', 0x3fff_fffc, 30),
            (22, 0x3fff_fffe, 30),
            (255, 0x3ff_ffee, 26),
            (249, 0xfff_fffe, 28),
        ];
        for (symbol, code, bits) in rows {
            let symbol = usize::from(symbol);
            assert_eq!((TABLES.codes[symbol], BITS[symbol]), (code, bits), "symbol {symbol}");
        }
    }

    #[test]
    fn there_and_back() {
        let all: Vec<u8> = (0..=255).collect();
        for text in [&b""[..], b"a", b"www.example.com", b"private, max-age=0", &all, &[22; 7]] {
            let (mut coded, mut back) = (Vec::new(), Vec::new());
            encode(text, &mut coded);
            assert_eq!(coded.len(), coded_len(text));
            decode(&coded, &mut back).unwrap();
            assert_eq!(back, text);
        }
    }

    #[test]
    fn bad_ends() {
        let rows: [(&[u8], bool); 8] = [
            // `0` is 00000; what follows fills the byte.
            (&[0b0000_0111], true),
            (&[0b0000_0110], false),
            (&[0b0000_0000], false),
            // A whole byte of ones is one too many, and the end itself may not stand.
            (&[0b0000_0111, 0xff], false),
            (&[0xff], false),
            (&[0xff, 0xff, 0xff, 0xff], false),
            (&[0xff, 0xff, 0xff, 0xfc], false),
            (&[0xff, 0xff, 0xff, 0xfe, 0xff, 0xff], false),
        ];
        for (coded, good) in rows {
            assert_eq!(decode(coded, &mut Vec::new()).is_ok(), good, "{coded:?}");
        }
    }

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
    fn what_is_no_string_is_refused() {
        for broken in ["ff", "fffffffc", "ffffffff", "00ffff", "a8eb10649cbfff", "18"] {
            assert!(read(broken).is_err(), "{broken}");
        }
    }
}
