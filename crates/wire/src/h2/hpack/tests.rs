use bytes::BytesMut;
use http::StatusCode;

use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

/// Fields as `name: value` lines.
fn read(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<String>, HpackError> {
    let mut lines = Vec::new();
    decoder.decode(block, 1 << 20, |f| {
        let mark = if f.clean { "" } else { "! " };
        lines.push(format!("{mark}{}: {}", f.name.escape_ascii(), f.value.escape_ascii()));
    })?;
    Ok(lines)
}

/// Blocks of one connection: in hexadecimal, the fields, and the size of the table afterwards.
type Blocks<'a> = &'a [(&'a str, &'a [&'a str], usize)];

const REQUESTS: [&[&str]; 3] = [
    &[":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"],
    &[":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com", "cache-control: no-cache"],
    &[
        ":method: GET",
        ":scheme: https",
        ":path: /index.html",
        ":authority: www.example.com",
        "custom-key: custom-value",
    ],
];
const RESPONSES: [&[&str]; 3] = [
    &[
        ":status: 302",
        "cache-control: private",
        "date: Mon, 21 Oct 2013 20:13:21 GMT",
        "location: https://www.example.com",
    ],
    &[
        ":status: 307",
        "cache-control: private",
        "date: Mon, 21 Oct 2013 20:13:21 GMT",
        "location: https://www.example.com",
    ],
    &[
        ":status: 200",
        "cache-control: private",
        "date: Mon, 21 Oct 2013 20:13:22 GMT",
        "location: https://www.example.com",
        "content-encoding: gzip",
        "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
    ],
];

#[test]
fn the_examples_of_appendix_c() {
    let check = |max: usize, blocks: Blocks<'_>| {
        let mut decoder = Decoder::default();
        decoder.set_max(max);
        for (hex, fields, size) in blocks {
            assert_eq!(read(&mut decoder, &bytes(hex)).unwrap(), *fields, "{hex}");
            assert_eq!(decoder.table().size(), *size, "{hex}");
        }
    };
    // C.2
    check(
        4096,
        &[(
            "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
            &["custom-key: custom-header"],
            55,
        )],
    );
    check(4096, &[("040c 2f73 616d 706c 652f 7061 7468", &[":path: /sample/path"], 0)]);
    check(4096, &[("1008 7061 7373 776f 7264 0673 6563 7265 74", &["password: secret"], 0)]);
    check(4096, &[("82", &[":method: GET"], 0)]);
    // C.3 and C.4
    check(
        4096,
        &[
            ("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", REQUESTS[0], 57),
            ("8286 84be 5808 6e6f 2d63 6163 6865", REQUESTS[1], 110),
            ("8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65", REQUESTS[2], 164),
        ],
    );
    check(
        4096,
        &[
            ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", REQUESTS[0], 57),
            ("8286 84be 5886 a8eb 1064 9cbf", REQUESTS[1], 110),
            ("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", REQUESTS[2], 164),
        ],
    );
    // C.5 and C.6
    check(
        256,
        &[
            (
                "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 \
                 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
                RESPONSES[0],
                222,
            ),
            ("4803 3330 37c1 c0bf", RESPONSES[1], 222),
            (
                "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a \
                 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d \
                 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
                RESPONSES[2],
                215,
            ),
        ],
    );
    check(
        256,
        &[
            (
                "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d \
                 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
                RESPONSES[0],
                222,
            ),
            ("4883 640e ffc1 c0bf", RESPONSES[1], 222),
            (
                "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d \
                 d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 \
                 3d50 07",
                RESPONSES[2],
                215,
            ),
        ],
    );
}

#[test]
fn fields_that_no_header_may_have_are_marked() {
    let check = |hex: &str, expected: &str| {
        let mut decoder = Decoder::default();
        // Kept and fetched again it is no better.
        let block = [bytes(hex), vec![0xbe]].concat();
        assert_eq!(read(&mut decoder, &block).unwrap(), [expected, expected]);
    };
    check("40 0178 0161", "x: a");
    check("40 0158 0161", "! X: a");
    check("40 0120 0161", "!  : a");
    check("40 00 0161", "! : a");
    check("40 0178 010a", "! x: \\n");
    check("40 0178 0100", "! x: \\x00");
    check("40 0178 0220 61", "! x:  a");
    check("40 0178 0109", "! x: \\t");
    check("40 0178 01ff", "x: \\xff");
}

#[test]
fn a_block_unfolds_no_further_than_is_borne() {
    let mut decoder = Decoder::default();
    let name = "x".repeat(1000);
    let field = [&[0x40, 0x7f, 0xe9, 0x06][..], name.as_bytes(), &[0]].concat();
    assert_eq!(read(&mut decoder, &field).unwrap(), [format!("{name}: ")]);
    // A byte each, and two bytes with a value of its own.
    let mut check = |again: &[u8], times: usize, expected| {
        let mut seen = 0;
        let outcome = decoder.decode(&again.repeat(times), 10_000, |_| seen += 1);
        assert_eq!((outcome, seen), expected);
    };
    check(&[0xbe], 10, (Ok(()), 10));
    check(&[0xbe], 16_000, (Err(HpackError::TOO_FAR), 11));
    check(&[0x0f, 0x2f, 0], 5_000, (Err(HpackError::TOO_FAR), 11));
}

fn write(encoder: &mut Encoder, fields: &[(&str, &str)]) -> BytesMut {
    let mut out = BytesMut::new();
    encoder.begin(&mut out);
    encoder.status(StatusCode::OK, &mut out);
    fields.iter().for_each(|(name, value)| encoder.field(name.as_bytes(), value.as_bytes(), &mut out));
    out
}

#[test]
fn what_comes_again_and_again_is_a_byte() {
    let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
    let fields = [
        ("Content-Type", "text/html; charset=utf-8"),
        ("x-own", "one"),
        ("set-cookie", "secret=1"),
        ("etag", "W/123"),
    ];
    let lines: Vec<String> = [(":status", "200")]
        .iter()
        .chain(&fields)
        .map(|(name, value)| format!("{}: {value}", name.to_lowercase()))
        .collect();
    let mut sizes = Vec::new();
    for _ in 0..4 {
        let block = write(&mut encoder, &fields);
        assert_eq!(read(&mut decoder, &block).unwrap(), lines);
        sizes.push(block.len());
    }
    // The second time two of them are kept; then each is a byte. What may be a secret, or differs each time, is not.
    let plain = 3 + "secret=1".len() + 3 + "W/123".len();
    assert_eq!(sizes[2..], [1 + 2 + plain; 2]);
    assert_eq!(decoder.table().size(), 12 + 24 + 32 + 5 + 3 + 32);
}

#[test]
fn the_peers_table_may_shrink_and_grow() {
    let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
    let fields = [("x-a", "aaaaaaaa"), ("x-b", "bbbbbbbb")];
    let mut go = |max: Option<usize>| {
        if let Some(max) = max {
            encoder.set_max(max);
            decoder.set_max(max);
        }
        let block = write(&mut encoder, &fields);
        assert_eq!(read(&mut decoder, &block).unwrap().len(), 3);
        block
    };
    go(None);
    go(None);
    assert_eq!(go(None).len(), 3);
    assert_eq!(go(Some(0))[0], 0x20);
    go(Some(100));
    // Both sizes are told: it was less in between.
    encoder.set_max(0);
    encoder.set_max(64);
    decoder.set_max(64);
    let block = write(&mut encoder, &fields);
    assert!(block.starts_with(&[0x20, 0x3f, 0x21]), "{block:?}");
    assert_eq!(read(&mut decoder, &block).unwrap().len(), 3);
}

mod any {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever is written is read as it was, whichever fields came before.
        #[test]
        fn written_and_read(blocks in proptest::collection::vec(
            proptest::collection::vec(("(x-a|x-b|date|cookie|via|server|x-request-id)", "[a-c]{0,3}|[ -~&&[^ ]]{1,40}"), 0..8),
            1..12,
        ), max in 0_usize..300) {
            let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
            encoder.set_max(max);
            for fields in &blocks {
                let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                let block = write(&mut encoder, &fields);
                let lines: Vec<String> =
                    fields.iter().map(|(n, v)| format!("{n}: {}", v.as_bytes().escape_ascii())).collect();
                prop_assert_eq!(&read(&mut decoder, &block).unwrap()[1..], &lines[..]);
            }
        }
    }
}
