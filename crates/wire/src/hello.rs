//! The first message of a TLS client, as far as it says whom it wants (RFC 8446 §4.1.2, RFC 6066 §3).
//!
//! It is looked at and left as it is: who is meant by it reads the same bytes. So what two readers could take for two
//! names is refused.

use std::borrow::Cow;

/// Largest message that is taken. Hellos with large keys have two kilobytes.
const MESSAGE_MAX: usize = 16 << 10;
/// Largest number of bytes that it may come in, heads of records included.
const BYTES_MAX: usize = 2 * MESSAGE_MAX;
/// Largest record in clear text (RFC 8446 §5.1).
const RECORD_MAX: usize = 1 << 14;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// What a client says at first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The name that it wants, in lower case.
    pub server_name: Option<Box<str>>,
}

/// Why it is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// Something else is spoken.
    #[error("the client does not begin with TLS")]
    NotTls,
    /// It does not end.
    #[error("the client's hello is too large")]
    TooLarge,
    /// It is not what it should be.
    #[error("the client's hello is malformed: {0}")]
    Malformed(&'static str),
}

use HelloError::{Malformed, NotTls, TooLarge};

/// Looks at the first bytes of a connection. `None`: more of them are needed, which are never more than 32 KiB.
///
/// # Errors
/// If it is no hello, whatever comes next.
pub fn peek(bytes: &[u8]) -> Result<Option<Hello>, HelloError> {
    match message(bytes)? {
        Some(message) => client_hello(&message).map(Some),
        None if bytes.len() >= BYTES_MAX => Err(TooLarge),
        None => Ok(None),
    }
}

/// The whole handshake message, which may come in several records. Copied only if it is whole and in pieces.
fn message(bytes: &[u8]) -> Result<Option<Cow<'_, [u8]>>, HelloError> {
    let mut pieces: Vec<&[u8]> = Vec::new();
    // Bytes of it that are here, those that the records say, and those that its head says.
    let (mut rest, mut here, mut said, mut need) = (bytes, 0, 0, None);
    loop {
        match need {
            None if here >= HEAD => need = Some(HEAD + length(&joined(&pieces, HEAD))?),
            // The client waits for its answer now; early data come in records of another kind.
            Some(need) if said > need => return Err(Malformed("something follows it in its record")),
            Some(need) if here == need => {
                return Ok(Some(match joined(&pieces, need) {
                    Cow::Borrowed(whole) => Cow::Borrowed(whole.get(HEAD..).unwrap_or_default()),
                    Cow::Owned(mut whole) => Cow::Owned(whole.split_off(HEAD.min(need))),
                }));
            }
            _ => {
                let Some(record) = record(rest)? else { return Ok(None) };
                here += record.content.len();
                said += record.length;
                pieces.push(record.content);
                rest = record.behind;
            }
        }
    }
}

/// Kind and length of a handshake message.
const HEAD: usize = 4;

struct Record<'a> {
    /// As its head says.
    length: usize,
    /// As far as it has come.
    content: &'a [u8],
    /// What follows it.
    behind: &'a [u8],
}

/// The first record. `None`: nothing of its content has come.
fn record(bytes: &[u8]) -> Result<Option<Record<'_>>, HelloError> {
    if !matches!(bytes, [] | [HANDSHAKE] | [HANDSHAKE, 3, ..]) {
        return Err(NotTls);
    }
    let Some((&[_, _, _, high, low], content)) = bytes.split_first_chunk::<5>() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length == 0 {
        return Err(Malformed("an empty record"));
    }
    if length > RECORD_MAX {
        return Err(TooLarge);
    }
    let (content, behind) = content.split_at_checked(length).unwrap_or((content, &[]));
    Ok((!content.is_empty()).then_some(Record { length, content, behind }))
}

/// The length that the head of a handshake message says.
fn length(head: &[u8]) -> Result<usize, HelloError> {
    let &[kind, a, b, c] = head else { return Err(Malformed("no head")) };
    if kind != CLIENT_HELLO {
        return Err(Malformed("another message comes first"));
    }
    match u32::from_be_bytes([0, a, b, c]) as usize {
        n if n > MESSAGE_MAX => Err(TooLarge),
        n => Ok(n),
    }
}

/// The first so many bytes of all pieces.
fn joined<'a>(pieces: &[&'a [u8]], n: usize) -> Cow<'a, [u8]> {
    match pieces.first().and_then(|first| first.get(..n)) {
        Some(first) => Cow::Borrowed(first),
        None => Cow::Owned(pieces.iter().copied().flatten().copied().take(n).collect()),
    }
}

fn client_hello(message: &[u8]) -> Result<Hello, HelloError> {
    let mut m = Reader(message);
    let version_and_random = 2 + 32;
    m.take(version_and_random)?;
    if m.short()?.len() > 32 {
        return Err(Malformed("its session is too long"));
    }
    let suites = m.long()?;
    if suites.is_empty() || suites.len() % 2 == 1 {
        return Err(Malformed("its cipher suites"));
    }
    if m.short()?.is_empty() {
        return Err(Malformed("its compression methods"));
    }
    let mut name = None;
    if !m.0.is_empty() {
        let mut extensions = Reader(m.long()?);
        let mut seen = [0_u64; 1 << 10];
        while !extensions.0.is_empty() {
            let (kind, content) = (extensions.number()?, extensions.long()?);
            let (word, bit) = (usize::from(kind >> 6), 1 << (kind & 63));
            if let Some(word) = seen.get_mut(word) {
                if *word & bit != 0 {
                    return Err(Malformed("an extension is there twice"));
                }
                *word |= bit;
            }
            if kind == SERVER_NAME {
                name = Some(server_name(content)?);
            }
        }
    }
    if m.0.is_empty() { Ok(Hello { server_name: name }) } else { Err(Malformed("something follows it")) }
}

/// One name of one kind: a list of several has never been in use, and readers differ.
fn server_name(content: &[u8]) -> Result<Box<str>, HelloError> {
    let mut content = Reader(content);
    let mut list = Reader(content.long()?);
    if list.take(1)? != [HOST_NAME] {
        return Err(Malformed("a server name of another kind"));
    }
    let name = list.long()?;
    if !list.0.is_empty() || !content.0.is_empty() {
        return Err(Malformed("several server names"));
    }
    let plain = |label: &[u8]| {
        let byte = |b: &u8| b.is_ascii_alphanumeric() || b"-_".contains(b);
        !label.is_empty() && label.len() <= 63 && label.iter().all(byte)
    };
    match std::str::from_utf8(name) {
        Ok(text) if name.len() <= 253 && name.split(|b| *b == b'.').all(plain) => {
            Ok(text.to_ascii_lowercase().into())
        }
        _ => Err(Malformed("its server name is no host name")),
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], HelloError> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or(Malformed("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u16, HelloError> {
        Ok(self.take(2)?.iter().fold(0, |n, byte| n << 8 | u16::from(*byte)))
    }

    /// What has its length before it, in one byte.
    fn short(&mut self) -> Result<&'a [u8], HelloError> {
        let n = self.take(1)?.first().copied().unwrap_or_default();
        self.take(usize::from(n))
    }

    /// The same, in two.
    fn long(&mut self) -> Result<&'a [u8], HelloError> {
        let n = self.number()?;
        self.take(usize::from(n))
    }
}

#[cfg(test)]
mod tests;
