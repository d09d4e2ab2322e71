//! SETTINGS (RFC 9113 §6.5): what each side asks of the other.

use super::{Reason, hpack::TABLE_DEFAULT};
use crate::h1::HeadLimits;

/// Stream and connection windows before anything is said (§6.9.2).
pub const WINDOW_DEFAULT: u32 = 65_535;
/// Largest window that there may be (§6.9.1).
pub const WINDOW_MAX: u32 = 0x7fff_ffff;
/// Frame size before anything is said, and the least that may be asked for (§4.2).
pub const FRAME_DEFAULT: u32 = 16_384;
/// Largest frame size that may be asked for.
pub const FRAME_MAX: u32 = 0x00ff_ffff;

/// What our side asks for, and how much it bears. May change while the connection is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Streams that the peer may have open at once.
    pub streams: u32,
    /// Bytes that the peer may send ahead on a stream. At most [`WINDOW_MAX`].
    pub stream_window: u32,
    /// Bytes that the peer may send ahead on all streams together; [`WINDOW_DEFAULT`] to [`WINDOW_MAX`].
    pub connection_window: u32,
    /// Largest frame that is taken; [`FRAME_DEFAULT`] to [`FRAME_MAX`].
    pub frame: u32,
    /// Bytes of the table that the peer's header blocks may use.
    pub table: u32,
    /// Largest head that is taken.
    pub head: HeadLimits,
    /// Streams that the peer may cancel or break at once; the allowance grows back within ten seconds.
    pub resets: u32,
    /// Frames that carry nothing forward that the peer may send at once; the allowance grows back within ten seconds.
    pub control_frames: u32,
}

/// Settings that the peer has to know, in the form in which both sides count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) streams: u32,
    pub(super) window: u32,
    pub(super) frame: u32,
    pub(super) table: u32,
    pub(super) list: u32,
}

impl Told {
    /// What holds before the first SETTINGS.
    pub(super) fn nothing() -> Told {
        Told {
            streams: u32::MAX,
            window: WINDOW_DEFAULT,
            frame: FRAME_DEFAULT,
            table: TABLE_DEFAULT as u32,
            list: u32::MAX,
        }
    }

    pub(super) fn of(limits: &Limits) -> Told {
        Told {
            streams: limits.streams,
            window: limits.stream_window.min(WINDOW_MAX),
            frame: limits.frame.clamp(FRAME_DEFAULT, FRAME_MAX),
            table: limits.table,
            list: u32::try_from(limits.head.bytes).unwrap_or(u32::MAX),
        }
    }
}

const HEADER_TABLE_SIZE: u16 = 1;
const ENABLE_PUSH: u16 = 2;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_FRAME_SIZE: u16 = 5;
const MAX_HEADER_LIST_SIZE: u16 = 6;

/// Up to six parameters of a SETTINGS frame of ours.
pub(super) struct Parameters {
    all: [(u16, u32); 6],
    length: usize,
}

impl Parameters {
    /// What the peer has to be told so that it knows `to`, having known `from`. A client takes no pushes.
    pub(super) fn between(from: &Told, to: &Told, client: bool) -> Parameters {
        let mut parameters = Parameters { all: [(0, 0); 6], length: 0 };
        let mut put = |id: u16, from: u32, to: u32| {
            if from != to
                && let Some(place) = parameters.all.get_mut(parameters.length)
            {
                *place = (id, to);
                parameters.length += 1;
            }
        };
        put(HEADER_TABLE_SIZE, from.table, to.table);
        if client {
            // With the first frame; later ones leave it as it is.
            put(ENABLE_PUSH, u32::from(*from == Told::nothing()), 0);
        } else {
            put(MAX_CONCURRENT_STREAMS, from.streams, to.streams);
        }
        put(INITIAL_WINDOW_SIZE, from.window, to.window);
        put(MAX_FRAME_SIZE, from.frame, to.frame);
        put(MAX_HEADER_LIST_SIZE, from.list, to.list);
        parameters
    }

    pub(super) fn as_slice(&self) -> &[(u16, u32)] {
        self.all.get(..self.length).unwrap_or_default()
    }
}

/// What the peer asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) table: u32,
    pub(super) streams: Option<u32>,
    pub(super) window: u32,
    pub(super) frame: u32,
}

impl Default for Asked {
    fn default() -> Asked {
        Asked { table: TABLE_DEFAULT as u32, streams: None, window: WINDOW_DEFAULT, frame: FRAME_DEFAULT }
    }
}

impl Asked {
    /// Takes the parameters of a frame over, whose length is a multiple of six. `by_server`: it comes from a server.
    pub(super) fn read(&mut self, payload: &[u8], by_server: bool) -> Result<(), (Reason, &'static str)> {
        for parameter in payload.as_chunks::<6>().0 {
            let [a, b, value @ ..] = *parameter;
            let value = u32::from_be_bytes(value);
            match u16::from_be_bytes([a, b]) {
                HEADER_TABLE_SIZE => self.table = value,
                ENABLE_PUSH if value > u32::from(!by_server) => {
                    return Err((Reason::PROTOCOL_ERROR, "bad ENABLE_PUSH"));
                }
                MAX_CONCURRENT_STREAMS => self.streams = Some(value),
                INITIAL_WINDOW_SIZE if value > WINDOW_MAX => {
                    return Err((Reason::FLOW_CONTROL_ERROR, "bad INITIAL_WINDOW_SIZE"));
                }
                INITIAL_WINDOW_SIZE => self.window = value,
                MAX_FRAME_SIZE if !(FRAME_DEFAULT..=FRAME_MAX).contains(&value) => {
                    return Err((Reason::PROTOCOL_ERROR, "bad MAX_FRAME_SIZE"));
                }
                MAX_FRAME_SIZE => self.frame = value,
                // What is unknown, or advice only, is let pass (§6.5.2).
                _ => {}
            }
        }
        Ok(())
    }
}
