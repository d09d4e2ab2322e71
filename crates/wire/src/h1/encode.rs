//! Heads and bodies onto the wire.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderValue, Method, StatusCode, Version};

use super::BodyLength;
use crate::{body::Frame, headers::Headers, stream::Wire};

/// Puts a body on the wire as its head promised.
#[derive(Clone, Copy, Debug)]
pub struct Encoder {
    length: BodyLength,
}

/// More or fewer bytes came than the head promised; the connection cannot be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body is not as long as its head promised")]
pub struct WrongLength;

impl Encoder {
    /// For a body whose head says so.
    #[must_use]
    pub fn new(length: BodyLength) -> Encoder {
        Encoder { length }
    }

    /// Adds a frame to what waits in `wire`. Trailers are dropped where the framing has no room for them.
    pub fn frame(&mut self, frame: Frame, wire: &mut Wire) -> Result<(), WrongLength> {
        match frame {
            Frame::Data(data) => self.data(data, wire),
            Frame::Trailers(map) => {
                if self.length == BodyLength::Chunked {
                    let out = wire.small();
                    out.put_slice(b"0\r\n");
                    map.write(out);
                    out.put_slice(b"\r\n");
                    self.length = BodyLength::Fixed(0);
                }
                Ok(())
            }
        }
    }

    fn data(&mut self, data: Bytes, wire: &mut Wire) -> Result<(), WrongLength> {
        match &mut self.length {
            BodyLength::UntilClose => wire.push(data),
            BodyLength::Fixed(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(WrongLength)?;
                wire.push(data);
            }
            BodyLength::Chunked => {
                write_hex(data.len(), wire.small());
                wire.push(data);
                wire.small().put_slice(b"\r\n");
            }
        }
        Ok(())
    }

    /// Adds what the end of the body needs.
    pub fn end(&mut self, wire: &mut Wire) -> Result<(), WrongLength> {
        match self.length {
            BodyLength::Chunked => {
                wire.small().put_slice(b"0\r\n\r\n");
                self.length = BodyLength::Fixed(0);
                Ok(())
            }
            BodyLength::Fixed(n) if n > 0 => Err(WrongLength),
            _ => Ok(()),
        }
    }
}

/// Status line, headers, and the framing header for `body` (none where `body` is `None`: 1xx, 204, 304).
/// `headers` holds neither framing nor hop-by-hop headers, but those that `connection` names.
pub fn write_response_head(
    out: &mut BytesMut,
    status: StatusCode,
    headers: &Headers,
    body: Option<BodyLength>,
    connection: Option<&HeaderValue>,
) {
    out.reserve(256);
    if status == StatusCode::OK {
        out.put_slice(b"HTTP/1.1 200 OK\r\n");
    } else {
        out.put_slice(b"HTTP/1.1 ");
        out.put_slice(status.as_str().as_bytes());
        out.put_slice(b" ");
        out.put_slice(status.canonical_reason().unwrap_or("").as_bytes());
        out.put_slice(b"\r\n");
    }
    finish_head(out, headers, body, connection);
}

/// Request line and headers, and the framing header for `body` (none where it is `None`).
pub fn write_request_head(
    out: &mut BytesMut,
    method: &Method,
    target: &str,
    headers: &Headers,
    body: Option<BodyLength>,
    connection: Option<&HeaderValue>,
) {
    out.reserve(512);
    out.put_slice(method.as_str().as_bytes());
    out.put_slice(b" ");
    out.put_slice(target.as_bytes());
    out.put_slice(b" HTTP/1.1\r\n");
    finish_head(out, headers, body, connection);
}

fn finish_head(
    out: &mut BytesMut,
    headers: &Headers,
    body: Option<BodyLength>,
    connection: Option<&HeaderValue>,
) {
    headers.write(out);
    match body {
        Some(BodyLength::Fixed(n)) => {
            out.put_slice(b"content-length: ");
            out.put_slice(itoa::Buffer::new().format(n).as_bytes());
            out.put_slice(b"\r\n");
        }
        Some(BodyLength::Chunked) => out.put_slice(b"transfer-encoding: chunked\r\n"),
        Some(BodyLength::UntilClose) | None => {}
    }
    if let Some(value) = connection {
        out.put_slice(b"connection: ");
        out.put_slice(value.as_bytes());
        out.put_slice(b"\r\n");
    }
    out.put_slice(b"\r\n");
}

fn write_hex(n: usize, out: &mut BytesMut) {
    let mut digits = [0u8; 18];
    let mut at = digits.len();
    let mut rest = n;
    loop {
        at -= 1;
        if let Some(slot) = digits.get_mut(at) {
            *slot = b"0123456789abcdef".get(rest & 15).copied().unwrap_or(b'0');
        }
        rest >>= 4;
        if rest == 0 {
            break;
        }
    }
    out.put_slice(digits.get(at..).unwrap_or_default());
    out.put_slice(b"\r\n");
}

/// Whether a response of this version and status may be framed by chunks.
#[must_use]
pub fn may_chunk(version: Version) -> bool {
    version == Version::HTTP_11
}
