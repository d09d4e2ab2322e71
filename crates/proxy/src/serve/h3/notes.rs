//! Streams that are about no request: the client's settings, and what is of no use to us.

use std::{pin::pin, rc::Rc};

use evergate_wire::h3::{self, Frame, FrameError, Frames, Place, code, stream};
use quinn::{RecvStream, VarInt};

use super::Session;

/// Bytes of a frame on the control stream; settings are a few dozen.
const FRAME_MAX: usize = 4 << 10;
/// Asked of one read.
const PIECE: usize = 16 << 10;

/// Reads a stream that the client has opened, as its kind asks.
pub(super) async fn read(session: Rc<Session>, mut recv: RecvStream) {
    if let Err(code) = stream(&session, &mut recv).await {
        session.end(code);
    }
}

/// The error is one of the connection.
async fn stream(session: &Session, recv: &mut RecvStream) -> Result<(), u32> {
    // A stream may end before it has said what it is (RFC 9114 §6.2).
    let Some(kind) = kind(recv).await else { return Ok(()) };
    match kind {
        stream::CONTROL => {
            session.once(kind)?;
            control(recv).await
        }
        stream::QPACK_ENCODER => {
            session.once(kind)?;
            encoder(recv).await
        }
        stream::QPACK_DECODER => {
            session.once(kind)?;
            // Acknowledgements of a table that we do not use.
            while let Ok(Some(_)) = recv.read_chunk(PIECE, true).await {}
            Err(code::CLOSED_CRITICAL_STREAM)
        }
        stream::PUSH => Err(code::STREAM_CREATION),
        _ => {
            let _ = recv.stop(VarInt::from_u32(code::STREAM_CREATION));
            Ok(())
        }
    }
}

async fn kind(recv: &mut RecvStream) -> Option<u64> {
    let mut bytes = [0; 8];
    let mut length = 0;
    loop {
        let next = bytes.get_mut(length..=length)?;
        recv.read_exact(next).await.ok()?;
        length += 1;
        if let Some((kind, _)) = h3::read_varint(bytes.get(..length)?) {
            return Some(kind);
        }
    }
}

async fn control(recv: &mut RecvStream) -> Result<(), u32> {
    let mut frames = Frames::new(Place::Control, FRAME_MAX);
    let mut has_settings = false;
    loop {
        while let Some(frame) = frames.frame().map_err(|error| match error {
            FrameError::Broken(code) => code,
            FrameError::TooLarge => code::EXCESSIVE_LOAD,
        })? {
            match (frame, has_settings) {
                (Frame::Settings, false) => has_settings = true,
                (Frame::Settings, true) => return Err(code::FRAME_UNEXPECTED),
                (_, false) => return Err(code::MISSING_SETTINGS),
                (_, true) => {}
            }
        }
        match recv.read_chunk(PIECE, true).await {
            Ok(Some(chunk)) => frames.feed(chunk.bytes),
            _ => return Err(code::CLOSED_CRITICAL_STREAM),
        }
    }
}

/// We offered no table, so nothing may be put into it; its size may be set to nothing (RFC 9204 §3.2.3).
async fn encoder(recv: &mut RecvStream) -> Result<(), u32> {
    const NO_CAPACITY: u8 = 0x20;
    loop {
        match pin!(recv.read_chunk(PIECE, true)).await {
            Ok(Some(chunk)) if chunk.bytes.iter().all(|byte| *byte == NO_CAPACITY) => {}
            Ok(Some(_)) => return Err(code::QPACK_ENCODER_STREAM),
            _ => return Err(code::CLOSED_CRITICAL_STREAM),
        }
    }
}

impl Session {
    /// There may be one stream of this kind (RFC 9114 §6.2.1, RFC 9204 §4.2).
    fn once(&self, kind: u64) -> Result<(), u32> {
        let mut seen = self.seen.borrow_mut();
        if seen.contains(&kind) {
            return Err(code::STREAM_CREATION);
        }
        seen.push(kind);
        Ok(())
    }
}
