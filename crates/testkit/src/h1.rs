//! HTTP/1.1 messages, written and read by hand: strict where the gateway must be, and able to send what
//! no library would.

use std::{
    fmt::Write as _,
    io::{Error, ErrorKind, Result},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

use crate::io::BoxIo;

/// Longest head that is read.
const HEAD_BYTES_MAX: usize = 1 << 20;

/// Header fields in the order they came, names as they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<(String, String)>);

impl Fields {
    /// The first value of a name, in any case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// All values of a name, in any case.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> + use<'a> {
        self.0.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// True if a comma-separated list under this name holds the word, in any case.
    #[must_use]
    pub fn lists(&self, name: &str, word: &str) -> bool {
        self.all(name).flat_map(|v| v.split(',')).any(|w| w.trim().eq_ignore_ascii_case(word))
    }

    /// Adds a field.
    pub fn add(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.push((name.into(), value.into()));
    }
}

impl From<&http::HeaderMap> for Fields {
    fn from(map: &http::HeaderMap) -> Self {
        let text = |v: &http::HeaderValue| String::from_utf8_lossy(v.as_bytes()).into_owned();
        Fields(map.iter().map(|(n, v)| (n.to_string(), text(v))).collect())
    }
}

/// A start line with its fields.
#[derive(Clone, Debug)]
pub struct Head {
    /// `GET / HTTP/1.1` or `HTTP/1.1 200 OK`.
    pub first: String,
    /// The fields.
    pub fields: Fields,
}

impl Head {
    /// The status of a response head.
    ///
    /// # Errors
    /// If it is none.
    pub fn status(&self) -> Result<u16> {
        let code = self.first.strip_prefix("HTTP/1.1 ").or_else(|| self.first.strip_prefix("HTTP/1.0 "));
        code.and_then(|c| c.get(..3))
            .and_then(|c| c.parse().ok())
            .ok_or_else(|| bad(format!("no status line: {:?}", self.first)))
    }
}

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Nothing more.
    Empty,
    /// So many bytes.
    Length(u64),
    /// Chunks, then trailers.
    Chunked,
    /// Everything until the stream ends.
    ToEnd,
}

impl Framing {
    /// How the body of a request is delimited (RFC 9112 §6.3).
    ///
    /// # Errors
    /// If two fields disagree: the gateway must never send such a request on.
    pub fn of_request(fields: &Fields) -> Result<Framing> {
        Ok(framing(fields)?.unwrap_or(Framing::Empty))
    }

    /// How the body of the response to such a method is delimited (RFC 9112 §6.3).
    ///
    /// # Errors
    /// If two fields disagree.
    pub fn of_response(method: &str, status: u16, fields: &Fields) -> Result<Framing> {
        if method == "HEAD" || status < 200 || status == 204 || status == 304 {
            return Ok(Framing::Empty);
        }
        Ok(framing(fields)?.unwrap_or(Framing::ToEnd))
    }
}

fn framing(fields: &Fields) -> Result<Option<Framing>> {
    let lengths: Vec<&str> = fields.all("content-length").collect();
    let codings: Vec<&str> = fields.all("transfer-encoding").collect();
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Ok(None),
        ([one], []) if !one.is_empty() && one.bytes().all(|b| b.is_ascii_digit()) => one
            .parse()
            .map(|n| Some(Framing::Length(n)))
            .map_err(|e| bad(format!("content-length {one}: {e}"))),
        ([], [one]) if one.eq_ignore_ascii_case("chunked") => Ok(Some(Framing::Chunked)),
        _ => Err(bad(format!("unclear length: {lengths:?} {codings:?}"))),
    }
}

/// The reading side of a connection.
pub struct Reader {
    half: ReadHalf<BoxIo>,
    buf: BytesMut,
}

/// The writing side of a connection.
pub struct Writer {
    half: WriteHalf<BoxIo>,
}

/// Both sides of a connection.
pub struct Line {
    /// Reads messages.
    pub reader: Reader,
    /// Writes messages.
    pub writer: Writer,
}

impl Line {
    /// Speaks over this stream.
    #[must_use]
    pub fn new(io: BoxIo) -> Line {
        let (read, write) = tokio::io::split(io);
        Line { reader: Reader { half: read, buf: BytesMut::new() }, writer: Writer { half: write } }
    }

    /// The stream, and what was read from it and not used.
    #[must_use]
    pub fn into_io(self) -> (BoxIo, Bytes) {
        (self.reader.half.unsplit(self.writer.half), self.reader.buf.freeze())
    }
}

impl Reader {
    /// The next head; nothing if the stream ends before its first byte.
    ///
    /// # Errors
    /// If the stream fails or ends within, or if what comes is no head.
    pub async fn head(&mut self) -> Result<Option<Head>> {
        let end = loop {
            if let Some(at) = self.buf.windows(4).position(|w| w == b"\r\n\r\n") {
                break at;
            }
            if self.buf.len() > HEAD_BYTES_MAX {
                return Err(bad("endless head"));
            }
            if self.half.read_buf(&mut self.buf).await? == 0 {
                return if self.buf.is_empty() { Ok(None) } else { Err(cut("head")) };
            }
        };
        let block = self.buf.split_to(end + 4);
        parse_head(&block[..end + 2]).map(Some)
    }

    /// The next piece of a body; nothing when it is complete, and then `framing` is [`Framing::Empty`].
    ///
    /// # Errors
    /// If the stream fails or ends within, or if a chunk is malformed.
    pub async fn piece(&mut self, framing: &mut Framing, trailers: &mut Fields) -> Result<Option<Bytes>> {
        match framing {
            Framing::Empty => Ok(None),
            Framing::Length(0) => {
                *framing = Framing::Empty;
                Ok(None)
            }
            Framing::Length(left) => {
                self.fill("body").await?;
                let n = usize::try_from(*left).unwrap_or(usize::MAX).min(self.buf.len());
                *left -= n as u64;
                Ok(Some(self.buf.split_to(n).freeze()))
            }
            Framing::ToEnd => {
                if self.buf.is_empty() && self.half.read_buf(&mut self.buf).await? == 0 {
                    *framing = Framing::Empty;
                    return Ok(None);
                }
                Ok(Some(self.buf.split().freeze()))
            }
            Framing::Chunked => self.chunk(framing, trailers).await,
        }
    }

    async fn chunk(&mut self, framing: &mut Framing, trailers: &mut Fields) -> Result<Option<Bytes>> {
        let line = self.text_line().await?;
        let digits = line.split(';').next().unwrap_or_default().trim_end();
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad(format!("chunk size {line:?}")));
        }
        let size = usize::from_str_radix(digits, 16).map_err(|e| bad(format!("chunk size {line:?}: {e}")))?;
        if size == 0 {
            loop {
                let line = self.text_line().await?;
                if line.is_empty() {
                    *framing = Framing::Empty;
                    return Ok(None);
                }
                trailers.0.push(field(&line)?);
            }
        }
        while self.buf.len() < size + 2 {
            self.more("chunk").await?;
        }
        let data = self.buf.split_to(size).freeze();
        if &self.buf[..2] != b"\r\n" {
            return Err(bad("chunk without its end"));
        }
        self.buf.advance(2);
        Ok(Some(data))
    }

    /// A whole body with its trailers.
    ///
    /// # Errors
    /// As [`Reader::piece`].
    pub async fn body(&mut self, mut framing: Framing) -> Result<(Bytes, Fields)> {
        let mut body = BytesMut::new();
        let mut trailers = Fields::default();
        while let Some(piece) = self.piece(&mut framing, &mut trailers).await? {
            body.extend_from_slice(&piece);
        }
        Ok((body.freeze(), trailers))
    }

    /// Everything until the stream ends; a reset counts as the end.
    pub async fn rest(&mut self) -> Bytes {
        while let Ok(1..) = self.half.read_buf(&mut self.buf).await {}
        self.buf.split().freeze()
    }

    /// Any bytes that come next; empty at the end.
    ///
    /// # Errors
    /// If the stream fails.
    pub async fn some(&mut self) -> Result<Bytes> {
        if self.buf.is_empty() {
            self.half.read_buf(&mut self.buf).await?;
        }
        Ok(self.buf.split().freeze())
    }

    async fn text_line(&mut self) -> Result<String> {
        loop {
            if let Some(at) = self.buf.windows(2).position(|w| w == b"\r\n") {
                let line = self.buf.split_to(at + 2);
                return text(&line[..at]);
            }
            self.more("line").await?;
        }
    }

    async fn fill(&mut self, what: &str) -> Result<()> {
        if self.buf.is_empty() { self.more(what).await } else { Ok(()) }
    }

    async fn more(&mut self, what: &str) -> Result<()> {
        self.buf.reserve(16 << 10);
        if self.half.read_buf(&mut self.buf).await? == 0 { Err(cut(what)) } else { Ok(()) }
    }
}

impl Writer {
    /// Sends bytes as they are.
    ///
    /// # Errors
    /// If the stream fails.
    pub async fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.half.write_all(bytes).await?;
        self.half.flush().await
    }

    /// Sends one chunk of a chunked body.
    ///
    /// # Errors
    /// If the stream fails.
    pub async fn chunk(&mut self, data: &[u8]) -> Result<()> {
        let mut out = format!("{:x}\r\n", data.len()).into_bytes();
        out.extend_from_slice(data);
        out.extend_from_slice(b"\r\n");
        self.raw(&out).await
    }

    /// Ends a chunked body.
    ///
    /// # Errors
    /// If the stream fails.
    pub async fn last_chunk(&mut self, trailers: &Fields) -> Result<()> {
        self.raw(head("0", trailers).as_bytes()).await
    }

    /// Says that nothing more will be sent.
    ///
    /// # Errors
    /// If the stream fails.
    pub async fn finish(&mut self) -> Result<()> {
        self.half.shutdown().await
    }
}

/// A head as text: a first line, fields, an empty line.
#[must_use]
pub fn head(first: &str, fields: &Fields) -> String {
    let mut out = format!("{first}\r\n");
    for (name, value) in &fields.0 {
        let _ = write!(out, "{name}: {value}\r\n");
    }
    out.push_str("\r\n");
    out
}

fn parse_head(block: &[u8]) -> Result<Head> {
    let all = text(block)?;
    let mut lines = all.split_terminator("\r\n");
    let first = lines.next().unwrap_or_default().to_owned();
    let fields = lines.map(field).collect::<Result<_>>()?;
    Ok(Head { first, fields: Fields(fields) })
}

fn field(line: &str) -> Result<(String, String)> {
    let (name, value) = line.split_once(':').ok_or_else(|| bad(format!("no field: {line:?}")))?;
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(token) || value.contains(['\r', '\n', '\0']) {
        return Err(bad(format!("bad field: {line:?}")));
    }
    Ok((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
}

fn text(bytes: &[u8]) -> Result<String> {
    if bytes.is_ascii() {
        Ok(String::from_utf8_lossy(bytes).into_owned())
    } else {
        Ok(bytes.iter().map(|b| char::from(*b)).collect())
    }
}

/// What came is not HTTP/1.1.
pub(crate) fn bad(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidData, why.into())
}

/// The stream ended within something.
pub(crate) fn cut(what: &str) -> Error {
    Error::new(ErrorKind::UnexpectedEof, format!("stream ended within a {what}"))
}
