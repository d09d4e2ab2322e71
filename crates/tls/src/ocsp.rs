//! OCSP responses from a file (RFC 6960 §4.2.1), to be stapled: whether one is for a certificate, says that it is good, and until
//! when. Its signature is for clients to verify.

use aws_lc_rs::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};

use crate::der::{self, GENERALIZED_TIME, OBJECT_ID, OCTET_STRING, Reader, SEQUENCE};

const ENUMERATED: u8 = 0x0a;
const INTEGER: u8 = 0x02;
/// 1.3.6.1.5.5.7.48.1.1, encoded.
const BASIC: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];
/// 1.3.14.3.2.26 and 2.16.840.1.101.3.4.2.1, encoded.
const SHA1_ID: &[u8] = &[0x2b, 0x0e, 0x03, 0x02, 0x1a];
const SHA256_ID: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
const GOOD: u8 = 0x80;
const REVOKED: u8 = 0xa1;
const EXPLICIT_0: u8 = 0xa0;

/// What is stapled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Staple {
    /// The response as it is.
    pub(crate) response: Vec<u8>,
    /// Clients take it until then, in seconds since 1970; without an end until the next file.
    pub(crate) until: Option<i64>,
}

/// Why a response is not stapled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OcspError {
    /// It is no OCSP response, or one that says "ask later".
    #[error("it is no OCSP response in DER that answers")]
    Malformed,
    /// It says nothing of this certificate.
    #[error("it is for another certificate")]
    Other,
    /// The authority has revoked the certificate: clients that look will refuse it.
    #[error("it says that the certificate is revoked")]
    Revoked,
    /// The authority does not know the certificate.
    #[error("it says that the authority does not know the certificate")]
    Unknown,
    /// Its time is over.
    #[error("it ended; fetch a new one")]
    Ended,
}

/// Holds a response against the leaf that it should be for. `now` in seconds since 1970.
pub(crate) fn staple(response: &[u8], leaf: &der::Facts<'_>, now: i64) -> Result<Staple, OcspError> {
    let mut answers = answers(response).ok_or(OcspError::Malformed)?;
    while !answers.0.is_empty() {
        let answer = answers.take(SEQUENCE).and_then(Answer::read).ok_or(OcspError::Malformed)?;
        if !answer.is_for(leaf) {
            continue;
        }
        return match answer.status {
            GOOD if answer.until.is_some_and(|until| until < now) => Err(OcspError::Ended),
            GOOD => Ok(Staple { response: response.to_owned(), until: answer.until }),
            REVOKED => Err(OcspError::Revoked),
            _ => Err(OcspError::Unknown),
        };
    }
    Err(OcspError::Other)
}

/// `OCSPResponse`, `BasicOCSPResponse` and `ResponseData`, down to the single answers.
fn answers(response: &[u8]) -> Option<Reader<'_>> {
    let mut outer = Reader(Reader(response).take(SEQUENCE)?);
    if outer.take(ENUMERATED)? != [0] {
        return None;
    }
    let mut bytes = Reader(Reader(outer.take(EXPLICIT_0)?).take(SEQUENCE)?);
    if bytes.take(OBJECT_ID)? != BASIC {
        return None;
    }
    let mut basic = Reader(Reader(bytes.take(OCTET_STRING)?).take(SEQUENCE)?);
    let mut data = Reader(basic.take(SEQUENCE)?);
    data.take(EXPLICIT_0);
    let _responder = data.next()?;
    data.take(GENERALIZED_TIME)?;
    data.take(SEQUENCE).map(Reader)
}

/// `SingleResponse`.
struct Answer<'a> {
    hash: &'a [u8],
    issuer: &'a [u8],
    serial: &'a [u8],
    status: u8,
    until: Option<i64>,
}

impl<'a> Answer<'a> {
    fn read(answer: &'a [u8]) -> Option<Answer<'a>> {
        let mut answer = Reader(answer);
        let mut certificate = Reader(answer.take(SEQUENCE)?);
        let hash = Reader(certificate.take(SEQUENCE)?).take(OBJECT_ID)?;
        let issuer = certificate.take(OCTET_STRING)?;
        let _issuer_key = certificate.take(OCTET_STRING)?;
        let serial = certificate.take(INTEGER)?;
        let (status, _) = answer.next()?;
        answer.take(GENERALIZED_TIME)?;
        let until = match answer.take(EXPLICIT_0) {
            Some(time) => Some(der::time(Reader(time).next()?)?),
            None => None,
        };
        Some(Answer { hash, issuer, serial, status, until })
    }

    /// A serial number is worth something only together with who gave it.
    fn is_for(&self, leaf: &der::Facts<'_>) -> bool {
        let algorithm: Option<&Algorithm> = match self.hash {
            SHA1_ID => Some(&SHA1_FOR_LEGACY_USE_ONLY),
            SHA256_ID => Some(&SHA256),
            _ => None,
        };
        let same_issuer = algorithm.is_none_or(|a| digest(a, leaf.issuer).as_ref() == self.issuer);
        self.serial == leaf.serial && same_issuer
    }
}

#[cfg(test)]
mod tests;
