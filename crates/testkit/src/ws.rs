//! WebSocket (RFC 6455): handshake and frames, just enough to talk and to echo.

use std::io::Result;

use aws_lc_rs::digest;
use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    client::{Door, Failure},
    h1::{self, Fields, Line, bad, cut},
    io::BoxIo,
};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const CLOSE: u8 = 8;

/// What the server answers to a key (RFC 6455 §4.2.2).
#[must_use]
pub fn accept(key: &str) -> String {
    let salted = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    base64(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, salted.as_bytes()).as_ref())
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0u32, |n, b| n << 8 | u32::from(*b)) << (8 * (3 - group.len()));
        for i in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * i) & 63) as usize];
            out.push(if i <= group.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

/// One end of an open WebSocket.
pub struct Socket {
    io: BoxIo,
    buf: BytesMut,
    masks: bool,
}

impl Socket {
    /// Opens one through a door.
    ///
    /// # Errors
    /// If the answer is not `101` with the right key.
    pub async fn open(door: &Door, host: &str, path: &str) -> std::result::Result<Socket, Failure> {
        let mut line = Line::new(door.dial().await?.0);
        let mut fields = Fields::default();
        fields.add("Host", host);
        fields.add("Connection", "Upgrade");
        fields.add("Upgrade", "websocket");
        fields.add("Sec-WebSocket-Version", "13");
        fields.add("Sec-WebSocket-Key", KEY);
        line.writer.raw(h1::head(&format!("GET {path} HTTP/1.1"), &fields).as_bytes()).await?;
        let head = line.reader.head().await?.ok_or(Failure::Closed)?;
        let right = head.fields.get("sec-websocket-accept") == Some(&accept(KEY));
        if head.status()? != 101 || !right || !head.fields.lists("connection", "upgrade") {
            return Err(Failure::Bad(format!("no WebSocket: {head:?}")));
        }
        Ok(Socket::over(line, true))
    }

    /// Takes a connection over after its handshake. Clients mask what they send.
    #[must_use]
    pub fn over(line: Line, masks: bool) -> Socket {
        let (io, rest) = line.into_io();
        Socket { io, buf: BytesMut::from(&rest[..]), masks }
    }

    /// Sends a text.
    ///
    /// # Errors
    /// If the stream fails.
    pub async fn send(&mut self, text: &str) -> Result<()> {
        self.frame(1, text.as_bytes()).await
    }

    async fn frame(&mut self, kind: u8, data: &[u8]) -> Result<()> {
        let mut out = vec![0x80 | kind];
        let mask = if self.masks { 0x80 } else { 0 };
        match data.len() {
            n @ 0..=125 => out.push(mask | n as u8),
            n @ 126..=0xffff => {
                out.push(mask | 126);
                out.extend_from_slice(&(n as u16).to_be_bytes());
            }
            n => {
                out.push(mask | 127);
                out.extend_from_slice(&(n as u64).to_be_bytes());
            }
        }
        if self.masks {
            let key = [0x37, 0xfa, 0x21, 0x3d];
            out.extend_from_slice(&key);
            out.extend(data.iter().zip(key.iter().cycle()).map(|(d, k)| d ^ k));
        } else {
            out.extend_from_slice(data);
        }
        self.io.write_all(&out).await?;
        self.io.flush().await
    }

    /// The next text; nothing once the other end has closed.
    ///
    /// # Errors
    /// If the stream fails or ends without a close frame.
    pub async fn receive(&mut self) -> Result<Option<String>> {
        let start = self.take(2).await?;
        let (kind, masked) = (start[0] & 15, start[1] & 0x80 != 0);
        let length = match start[1] & 0x7f {
            126 => u64::from(self.take(2).await?.get_u16()),
            127 => self.take(8).await?.get_u64(),
            n => u64::from(n),
        };
        let key = if masked { self.take(4).await? } else { Bytes::from_static(&[0; 4]) };
        let data = self.take(usize::try_from(length).map_err(|e| bad(e.to_string()))?).await?;
        if kind == CLOSE {
            return Ok(None);
        }
        let plain = data.iter().zip(key.iter().cycle()).map(|(d, k)| d ^ k).collect();
        String::from_utf8(plain).map(Some).map_err(|e| bad(e.to_string()))
    }

    /// Sends a text and waits for the same to come back.
    ///
    /// # Errors
    /// If anything else comes back, or nothing.
    pub async fn echo(&mut self, text: &str) -> Result<()> {
        self.send(text).await?;
        match self.receive().await? {
            Some(back) if back == text => Ok(()),
            other => Err(bad(format!("sent {text:?}, got {other:?}"))),
        }
    }

    /// Says goodbye and waits for the other end to do so.
    ///
    /// # Errors
    /// If the stream fails.
    pub async fn close(mut self) -> Result<()> {
        self.frame(CLOSE, &1000u16.to_be_bytes()).await?;
        while self.receive().await?.is_some() {}
        Ok(())
    }

    /// Sends back whatever comes until the other end closes.
    ///
    /// # Errors
    /// If the stream fails.
    pub async fn echo_all(mut self) -> Result<()> {
        while let Some(text) = self.receive().await? {
            self.send(&text).await?;
        }
        self.frame(CLOSE, &1000u16.to_be_bytes()).await
    }

    async fn take(&mut self, n: usize) -> Result<Bytes> {
        while self.buf.len() < n {
            if self.io.read_buf(&mut self.buf).await? == 0 {
                return Err(cut("frame"));
            }
        }
        Ok(self.buf.split_to(n).freeze())
    }
}
