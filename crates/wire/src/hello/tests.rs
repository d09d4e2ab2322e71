use super::*;

fn vec(width: usize, content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u64).to_be_bytes();
    [&length[8 - width..], content].concat()
}

fn sni(name: &str) -> Vec<u8> {
    named(&vec(2, &[&[HOST_NAME][..], &vec(2, name.as_bytes())].concat()))
}

/// The extension with this content.
fn named(content: &[u8]) -> Vec<u8> {
    [&[0, 0][..], &vec(2, content)].concat()
}

/// A hello with these extensions, as a handshake message.
fn hello(extensions: Option<&[u8]>) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend(vec(1, &[9; 32]));
    body.extend(vec(2, &[0x13, 1, 0x13, 2]));
    body.extend(vec(1, &[0]));
    body.extend(extensions.iter().flat_map(|e| vec(2, e)));
    [vec![CLIENT_HELLO], vec(3, &body)].concat()
}

fn record(content: &[u8]) -> Vec<u8> {
    [&[HANDSHAKE, 3, 1][..], &vec(2, content)].concat()
}

fn in_records_of(n: usize, message: &[u8]) -> Vec<u8> {
    message.chunks(n).flat_map(record).collect()
}

fn name(bytes: &[u8]) -> Option<String> {
    peek(bytes).unwrap().expect("whole").server_name.map(String::from)
}

#[test]
fn the_name_is_found_however_it_comes() {
    let message = hello(Some(&[sni("Db.Example.com"), vec![0x12, 0x34, 0, 1, 5]].concat()));
    for size in [1, 2, 3, 4, 5, 50, 16_000] {
        let bytes = in_records_of(size, &message);
        for n in 0..bytes.len() {
            assert_eq!(peek(&bytes[..n]), Ok(None), "{n} of records of {size}");
        }
        assert_eq!(name(&bytes).as_deref(), Some("db.example.com"));
        let more = [&bytes[..], b"early data"].concat();
        assert_eq!(name(&more).as_deref(), Some("db.example.com"), "what follows is not looked at");
    }
    assert_eq!(name(&record(&hello(None))), None);
    assert_eq!(name(&record(&hello(Some(&[])))), None);
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    let check = |bytes: &[u8], expected: &str| {
        let error = peek(bytes).expect_err(expected);
        assert!(error.to_string().contains(expected), "{error}, not {expected}");
    };
    let ext = |content: &[u8]| record(&hello(Some(content)));
    let entry = |name: &str| [&[HOST_NAME][..], &vec(2, name.as_bytes())].concat();
    check(b"GET / HTTP/1.1", "does not begin with TLS");
    check(&[22, 2], "does not begin with TLS");
    check(&[22, 3, 1, 0, 0, 1], "an empty record");
    check(&[22, 3, 1, 0x40, 1, 1], "too large");
    check(&record(&[2, 0, 0, 0]), "another message comes first");
    check(&record(&[1, 0, 0x40, 1]), "too large");
    check(&record(&[1, 0, 0, 0]), "ends too early");
    check(&ext(&[sni("a"), sni("a")].concat()), "twice");
    check(&ext(&[vec![5, 5, 0, 0], vec![5, 5, 0, 0]].concat()), "twice");
    check(&ext(&named(&vec(2, &[entry("a"), entry("b")].concat()))), "several");
    check(&ext(&named(&[vec(2, &entry("a")), vec![0]].concat())), "several");
    check(&ext(&named(&vec(2, &[1, 0, 1, 97]))), "another kind");
    check(&ext(&named(&vec(2, &[]))), "too early");
    for bad in ["", "a b", "a..b", ".a", "a.", "a\0b", "é", &"a".repeat(64), &"a.".repeat(130)] {
        check(&ext(&sni(bad)), "no host name");
    }
    let mut long_session = hello(None);
    long_session.splice(38..38, [33]);
    check(&record(&[long_session, vec![0; 40]].concat()), "");
    let whole = hello(Some(&sni("a")));
    let mut longer = whole.clone();
    longer[3] += 1;
    check(&record(&[longer, vec![0]].concat()), "something follows it");
    check(&record(&[whole.clone(), vec![0]].concat()), "something follows it in its record");
    // Another kind of record between two pieces of it.
    let (a, b) = whole.split_at(20);
    check(&[record(a), vec![20, 3, 1, 0, 1, 1], record(b)].concat(), "does not begin with TLS");
}

#[test]
fn it_has_an_end() {
    // As many bytes as a message may have, in records of one byte: six times as much.
    let endless = in_records_of(1, &[&[CLIENT_HELLO, 0, 0x3f, 0xff][..], &[0; 16_000]].concat());
    assert_eq!(peek(&endless[..BYTES_MAX - 1]), Ok(None));
    assert_eq!(peek(&endless[..BYTES_MAX]), Err(TooLarge));
}
