use super::*;
use crate::{credential, testing::pem};

const LEAF: &str = include_str!("../../fixtures/ocsp/leaf.pem");
const OTHER_LEAF: &str = include_str!("../../fixtures/ocsp/other.pem");
const GOOD: &[u8] = include_bytes!("../../fixtures/ocsp/good.der");
const GOOD_SHA256: &[u8] = include_bytes!("../../fixtures/ocsp/good256.der");
const REVOKED: &[u8] = include_bytes!("../../fixtures/ocsp/revoked.der");
const UNKNOWN: &[u8] = include_bytes!("../../fixtures/ocsp/unknown.der");
const OTHER: &[u8] = include_bytes!("../../fixtures/ocsp/other.der");
/// The first of January 2027.
const NOW: i64 = 1_798_761_600;

fn held_against(leaf: &str, response: &[u8], now: i64) -> Result<Staple, OcspError> {
    let chain = credential::chain(pem("leaf", leaf)).unwrap();
    staple(response, &der::facts(&chain[0]).unwrap(), now)
}

#[test]
fn what_the_authority_says_decides() {
    let until = held_against(LEAF, GOOD, NOW).unwrap().until.unwrap();
    let year = 365 * 86_400;
    assert!((NOW + 99 * year..NOW + 100 * year).contains(&until), "{until}");
    let rows: [(&str, &[u8], i64, Option<OcspError>); 8] = [
        (LEAF, GOOD, until, None),
        (LEAF, GOOD, until + 1, Some(OcspError::Ended)),
        (LEAF, GOOD_SHA256, NOW, None),
        (LEAF, REVOKED, NOW, Some(OcspError::Revoked)),
        (LEAF, UNKNOWN, NOW, Some(OcspError::Unknown)),
        (LEAF, OTHER, NOW, Some(OcspError::Other)),
        (OTHER_LEAF, OTHER, NOW, None),
        (OTHER_LEAF, GOOD, NOW, Some(OcspError::Other)),
    ];
    for (i, (leaf, response, now, expected)) in rows.into_iter().enumerate() {
        assert_eq!(held_against(leaf, response, now).err(), expected, "row {i}");
    }
}

#[test]
fn the_same_number_of_another_authority_is_another_certificate() {
    let chain = credential::chain(pem("leaf", LEAF)).unwrap();
    let leaf = der::facts(&chain[0]).unwrap();
    for response in [GOOD, GOOD_SHA256] {
        let elsewhere = der::Facts { issuer: b"\x30\x00", ..der::facts(&chain[0]).unwrap() };
        assert_eq!(staple(response, &elsewhere, NOW), Err(OcspError::Other));
        assert_eq!(staple(response, &leaf, NOW).unwrap().response, response);
    }
}

#[test]
fn what_is_no_response_is_none() {
    assert!((0..GOOD.len()).all(|cut| held_against(LEAF, &GOOD[..cut], NOW) == Err(OcspError::Malformed)));
    // `tryLater` (RFC 6960 §4.2.1).
    assert_eq!(held_against(LEAF, b"\x30\x03\x0a\x01\x03", NOW), Err(OcspError::Malformed));
    assert_eq!(held_against(LEAF, LEAF.as_bytes(), NOW), Err(OcspError::Malformed));
}

#[test]
fn no_changed_byte_panics() {
    let chain = credential::chain(pem("leaf", LEAF)).unwrap();
    let leaf = der::facts(&chain[0]).unwrap();
    for at in 0..GOOD.len() {
        for to in [0, 1, 0x7f, 0x80, 0x84, 0xff] {
            let mut response = GOOD.to_vec();
            response[at] = to;
            let _ = staple(&response, &leaf, NOW);
        }
    }
}
