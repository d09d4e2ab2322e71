//! Bodies off the wire: fixed length, chunked, until close.

use bytes::{Buf, Bytes, BytesMut};

use super::{BodyLength, lines};
use crate::{
    body::{BodyError, Frame},
    headers::Headers,
};

/// Longest line of a chunk size with its extensions, which are skipped (RFC 9112 §7.1.1).
const CHUNK_LINE_MAX: usize = 256;
/// All trailers together.
const TRAILERS_MAX: usize = 16 << 10;
const TRAILERS_COUNT_MAX: usize = 64;

/// Takes a body off a buffer, piece by piece.
#[derive(Debug)]
pub struct Decoder(State);

#[derive(Debug)]
enum State {
    Fixed(u64),
    UntilClose,
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailers { scanned: usize },
    Done,
}

/// What came of a call.
#[derive(Debug)]
pub enum Decoded {
    /// A frame.
    Frame(Frame),
    /// Read more, then call again.
    More,
    /// The body is over; what is left in the buffer is the next message's.
    End,
}

impl Decoder {
    /// For a body whose head said so.
    #[must_use]
    pub fn new(length: BodyLength) -> Decoder {
        Decoder(match length {
            BodyLength::Fixed(0) => State::Done,
            BodyLength::Fixed(n) => State::Fixed(n),
            BodyLength::UntilClose => State::UntilClose,
            BodyLength::Chunked => State::ChunkSize,
        })
    }

    /// True behind the last byte.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self.0, State::Done)
    }

    /// Bytes still to come, if the head said it.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        match self.0 {
            State::Fixed(n) => Some(n),
            State::Done => Some(0),
            _ => None,
        }
    }

    /// What the end of the stream means here: fine for `UntilClose`, an error in the middle of anything else.
    pub fn closed(&mut self) -> Result<(), BodyError> {
        match self.0 {
            State::Done => Ok(()),
            State::UntilClose => {
                self.0 = State::Done;
                Ok(())
            }
            _ => Err(BodyError::Closed),
        }
    }

    /// Takes the next piece off the front of `buf`.
    pub fn decode(&mut self, buf: &mut BytesMut) -> Result<Decoded, BodyError> {
        loop {
            match self.0 {
                State::Done => return Ok(Decoded::End),
                State::UntilClose if buf.is_empty() => return Ok(Decoded::More),
                State::UntilClose => return Ok(data(buf, usize::MAX)),
                State::Fixed(n) | State::ChunkData(n) => {
                    if buf.is_empty() {
                        return Ok(Decoded::More);
                    }
                    let take = usize::try_from(n).unwrap_or(usize::MAX).min(buf.len());
                    let left = n - take as u64;
                    self.0 = match self.0 {
                        State::Fixed(_) if left == 0 => State::Done,
                        State::Fixed(_) => State::Fixed(left),
                        _ if left == 0 => State::ChunkEnd,
                        _ => State::ChunkData(left),
                    };
                    return Ok(data(buf, take));
                }
                State::ChunkSize => {
                    let Some(size) = chunk_size(buf)? else { return Ok(Decoded::More) };
                    self.0 = if size == 0 { State::Trailers { scanned: 0 } } else { State::ChunkData(size) };
                }
                State::ChunkEnd => {
                    if buf.len() < 2 {
                        return Ok(Decoded::More);
                    }
                    if !buf.starts_with(b"\r\n") {
                        return Err(BodyError::Malformed("a chunk does not end where its size says"));
                    }
                    buf.advance(2);
                    self.0 = State::ChunkSize;
                }
                State::Trailers { scanned } => {
                    let Some(end) = trailers_end(buf, scanned)? else {
                        self.0 = State::Trailers { scanned: buf.len() };
                        return Ok(Decoded::More);
                    };
                    self.0 = State::Done;
                    let block = buf.split_to(end).freeze();
                    if end > 2 {
                        return Ok(Decoded::Frame(Frame::Trailers(trailers(block)?)));
                    }
                }
            }
        }
    }
}

fn data(buf: &mut BytesMut, most: usize) -> Decoded {
    let take = most.min(buf.len());
    Decoded::Frame(Frame::Data(buf.split_to(take).freeze()))
}

/// Size line: hexadecimal digits, then perhaps `;` and extensions, then CR LF.
fn chunk_size(buf: &mut BytesMut) -> Result<Option<u64>, BodyError> {
    const BAD: BodyError = BodyError::Malformed("bad chunk size");
    let window = buf.get(..buf.len().min(CHUNK_LINE_MAX)).unwrap_or_default();
    let Some(lf) = memchr::memchr(b'\n', window) else {
        return if buf.len() >= CHUNK_LINE_MAX { Err(BAD) } else { Ok(None) };
    };
    let line = window.get(..lf).unwrap_or_default().strip_suffix(b"\r").ok_or(BAD)?;
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    let (hex, rest) = line.split_at(digits);
    let extension_ok = rest.is_empty() || (rest.starts_with(b";") && !rest.contains(&b'\r'));
    if hex.is_empty() || hex.len() > 15 || !extension_ok {
        return Err(BAD);
    }
    let size = std::str::from_utf8(hex).ok().and_then(|s| u64::from_str_radix(s, 16).ok()).ok_or(BAD)?;
    buf.advance(lf + 1);
    Ok(Some(size))
}

/// End of the trailer block (behind its empty line); every line must end in CR LF.
fn trailers_end(buf: &[u8], scanned: usize) -> Result<Option<usize>, BodyError> {
    let mut line = memchr::memrchr(b'\n', buf.get(..scanned).unwrap_or_default()).map_or(0, |lf| lf + 1);
    while let Some(n) = buf.get(line..).and_then(|rest| memchr::memchr(b'\n', rest)) {
        let lf = line + n;
        if lf == 0 || buf.get(lf - 1) != Some(&b'\r') {
            return Err(BodyError::Malformed("a trailer line ends in a bare LF"));
        }
        if lf - line == 1 {
            return Ok(Some(lf + 1));
        }
        line = lf + 1;
    }
    if buf.len() > TRAILERS_MAX { Err(BodyError::Malformed("trailers are too large")) } else { Ok(None) }
}

fn trailers(block: Bytes) -> Result<Headers, BodyError> {
    let lines = lines::headers(&block, 0, TRAILERS_COUNT_MAX, |_, _| Ok(()));
    lines.map(|lines| Headers::received(block, lines)).map_err(|_| BodyError::Malformed("bad trailer"))
}
