use super::*;
use crate::testing::{Authority, Maker, load, pem};
use std::time::Duration;

fn reasons(cert: &str, key: &str) -> Vec<String> {
    load(cert, key).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn a_chain_with_its_key() {
    let authority = Authority::new();
    let made = Maker::new(&["Example.COM", "*.example.com", "192.0.2.1"]).by(&authority);
    let credential = load(&(made.cert + &authority.pem()), &made.key).unwrap();
    assert_eq!(credential.key.cert.len(), 2);
    assert_eq!(credential.key.cert[0].as_ref(), made.der);
    assert_eq!(credential.names, ["example.com".into(), "*.example.com".into()]);
}

#[test]
fn text_around_and_other_key_forms_are_fine() {
    let made = Maker::new(&["example.com"]).ed25519().own();
    let cert = format!("subject: somebody\r\n\r\n{}\ntrailing words\n", made.cert.replace('\n', "\r\n"));
    assert!(load(&cert, &made.key).is_ok());
    // One file may hold both.
    let both = made.key + &made.cert;
    assert!(load(&both, &both).is_ok());
}

#[test]
fn what_is_wrong_is_said() {
    let (made, other) = (Maker::new(&["a.test"]).own(), Maker::new(&["b.test"]).own());
    let base64 = "-----BEGIN CERTIFICATE-----\n****\n-----END CERTIFICATE-----\n";
    let short = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    let no_key = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
    let no_end = made.cert.replace("-----END", "");
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let later = other.cert.clone() + &made.cert;
    let rows: [(&str, &str, &str); 12] = [
        ("", &made.key, "leaf.pem: the file is empty"),
        (" \n", &made.key, "leaf.pem: the file is empty"),
        ("words", &made.key, "leaf.pem: expected a PEM certificate, found none"),
        ("\x30\x02\x01\x01", &made.key, "leaf.pem: expected a PEM certificate, found DER"),
        (&made.key, &made.key, "leaf.pem: expected a PEM certificate, found a private key; are"),
        (base64, &made.key, "leaf.pem: malformed PEM: a section is not base64"),
        (&no_end, &made.key, "leaf.pem: malformed PEM: a BEGIN line has no END line"),
        (short, &made.key, "leaf.pem: the first certificate is malformed"),
        (&made.cert, &made.cert, "leaf.key: expected a PEM private key, found a certificate; are"),
        (&made.cert, encrypted, "leaf.key: the private key is encrypted"),
        (&made.cert, no_key, "leaf.key: unusable private key: failed to parse"),
        (&later, &made.key, "leaf.key: the key belongs to a later certificate of leaf.pem; the leaf must"),
    ];
    for (cert, key, expected) in rows {
        let reasons = reasons(cert, key);
        assert!(reasons.len() == 1 && reasons[0].starts_with(expected), "{expected}\n{reasons:?}");
    }
    assert_eq!(
        reasons(&made.cert, &other.key),
        ["leaf.key: the key does not belong to the certificate in leaf.pem"]
    );
}

#[test]
fn both_files_are_looked_at() {
    assert_eq!(reasons("", ""), ["leaf.pem: the file is empty", "leaf.key: the file is empty"]);
}

#[test]
fn errors_do_not_quote_a_key() {
    let made = Maker::new(&["a.test"]).own();
    let secret = made.key.lines().nth(1).unwrap();
    for broken in
        [made.key.replace("-----END", ""), made.key.replace('M', "*"), made.key.replace("-----\n", "\n")]
    {
        for (cert, key) in [(&made.cert, &broken), (&broken, &made.key), (&broken, &broken)] {
            let text = format!("{:?}", load(cert, key).unwrap_err());
            assert!(!text.contains(secret) && !text.contains(&format!("{:?}", secret.as_bytes())), "{text}");
        }
    }
    assert!(!format!("{:?}", made.credential()).contains(secret));
}

#[test]
fn the_same_bytes_are_read_once() {
    let (keep, crypto) = (Keep::new(), Crypto::new());
    let (made, other) = (Maker::new(&["a.test"]).own(), Maker::new(&["a.test"]).own());
    let load = |path, made: &crate::testing::Made| {
        Credential::load(&keep, &crypto, pem(path, &made.cert), pem("key", &made.key), None).unwrap()
    };
    let first = load("a.pem", &made);
    assert!(Arc::ptr_eq(&first, &load("b.pem", &made)));
    assert!(!Arc::ptr_eq(&first, &load("a.pem", &other)));
    assert_eq!(crypto.reads(), 2);
    drop(first);
    assert!(keep.is_empty());
}

#[test]
fn lapses() {
    let credential = Maker::new(&["a.test"]).days((2020, 1, 1), (2021, 1, 1)).own().credential();
    let at = |seconds: i64| {
        let since_epoch = Duration::from_secs(u64::try_from(seconds).unwrap());
        credential.validity.lapse(SystemTime::UNIX_EPOCH + since_epoch).map(|lapse| lapse.to_string())
    };
    let (from, to) = (credential.validity.from, credential.validity.until);
    assert_eq!((from, to), (crate::testing::date(2020, 1, 1), crate::testing::date(2021, 1, 1)));
    let rows = [
        (from - 1, Some("not valid for another 1 second")),
        (from - 7200, Some("not valid for another 2 hours")),
        (from, None),
        (to - 7 * 86_400, None),
        (to - 7 * 86_400 + 1, Some("ends in 6 days")),
        (to - 60, Some("ends in 1 minute")),
        (to, Some("ends in 0 seconds")),
        (to + 60, Some("expired 1 minute ago")),
        (to + 86_400 * 400, Some("expired 400 days ago")),
    ];
    for (seconds, expected) in rows {
        assert_eq!(at(seconds).as_deref(), expected);
    }
}
