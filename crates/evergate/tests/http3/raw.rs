//! HTTP/3 by hand: bytes on QUIC streams, for what no client would send.

use evergate_testkit::Stand;
use quinn::{ConnectionError, ReadToEndError, RecvStream, SendStream};

use crate::door;

/// Kinds of streams and frames.
pub(crate) const CONTROL: u8 = 0;
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const SETTINGS: u8 = 4;

/// A connection on which nothing was said yet.
pub(crate) struct Raw(pub(crate) quinn::Connection);

/// How a stream ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With these bytes.
    Said(Vec<u8>),
    /// It was reset with this code.
    Reset(u64),
    /// The connection ended with this code.
    Closed(u64),
}

impl Raw {
    pub(crate) async fn to(stand: &Stand) -> Raw {
        Raw(door(stand).quic().await.expect("a connection"))
    }

    /// With a control stream that says nothing special. It has to stay open.
    pub(crate) async fn greeted(stand: &Stand) -> (Raw, SendStream) {
        let raw = Raw::to(stand).await;
        let control = raw.uni(&[CONTROL, SETTINGS, 0]).await;
        (raw, control)
    }

    /// Opens a stream in one direction and sends that.
    pub(crate) async fn uni(&self, bytes: &[u8]) -> SendStream {
        let mut stream = self.0.open_uni().await.expect("a stream");
        stream.write_all(bytes).await.expect("bytes on their way");
        stream
    }

    /// Opens a stream for a request and sends that.
    pub(crate) async fn open(&self, bytes: &[u8]) -> (SendStream, RecvStream) {
        let (mut send, recv) = self.0.open_bi().await.expect("a stream");
        send.write_all(bytes).await.expect("bytes on their way");
        (send, recv)
    }

    /// Sends that as a whole request; says how the stream ended.
    pub(crate) async fn ask(&self, bytes: &[u8]) -> End {
        let (mut send, recv) = self.open(bytes).await;
        let _ = send.finish();
        self.end(recv).await
    }

    pub(crate) async fn end(&self, mut recv: RecvStream) -> End {
        match recv.read_to_end(1 << 20).await {
            Ok(bytes) => End::Said(bytes),
            Err(ReadToEndError::Read(quinn::ReadError::Reset(code))) => End::Reset(code.into_inner()),
            Err(_) => End::Closed(self.closed().await),
        }
    }

    /// Waits until the gateway closes the connection; says the code.
    pub(crate) async fn closed(&self) -> u64 {
        match self.0.closed().await {
            ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
            other => panic!("not closed by HTTP/3: {other}"),
        }
    }
}

impl End {
    /// The status of an answer that came whole: of those with a place in the static table, and others.
    pub(crate) fn status(&self) -> u16 {
        let End::Said(bytes) = self else { panic!("no answer: {self:?}") };
        assert_eq!(bytes[0], HEADERS);
        let section = &bytes[1 + varint_length(bytes[1])..];
        assert_eq!(section[..2], [0, 0]);
        match section[2] {
            0xd9 => 200,
            // A literal with the name of entry 24.
            0x5f => std::str::from_utf8(&section[5..8]).expect("digits").parse().expect("a status"),
            indexed => panic!("an unexpected status field {indexed:#x}"),
        }
    }
}

fn varint_length(first: u8) -> usize {
    1 << (first >> 6)
}

/// A frame.
pub(crate) fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    [&[kind][..], &varint(payload.len() as u64), payload].concat()
}

pub(crate) fn varint(n: u64) -> Vec<u8> {
    (n | 0xc000_0000_0000_0000).to_be_bytes().to_vec()
}

/// A field section of literals.
pub(crate) fn section(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = vec![0, 0];
    for (name, value) in fields {
        int(0x20, 3, name.len(), &mut out);
        out.extend_from_slice(name.as_bytes());
        int(0, 7, value.len(), &mut out);
        out.extend_from_slice(value.as_bytes());
    }
    out
}

fn int(flags: u8, prefix: u32, n: usize, out: &mut Vec<u8>) {
    let most = (1 << prefix) - 1;
    if n < most {
        return out.push(flags | n as u8);
    }
    out.push(flags | most as u8);
    let mut rest = n - most;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// The fields of a plain request, and more.
pub(crate) fn request(more: &[(&str, &str)]) -> Vec<u8> {
    let plain = [(":method", "POST"), (":scheme", "https"), (":authority", "test.local"), (":path", "/")];
    frame(HEADERS, &section(&[&plain[..], more].concat()))
}
