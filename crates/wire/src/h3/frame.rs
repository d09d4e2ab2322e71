//! Frames (RFC 9114 §7): told apart as they come, data passed on as it is, the rest whole and within a limit.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{code, varint};

const DATA: u64 = 0x00;
const HEADERS: u64 = 0x01;
const CANCEL_PUSH: u64 = 0x03;
const SETTINGS: u64 = 0x04;
const PUSH_PROMISE: u64 = 0x05;
const GOAWAY: u64 = 0x07;
const MAX_PUSH_ID: u64 = 0x0d;
/// HTTP/2 had them (RFC 9114 §7.2.8).
const OF_HTTP2: [u64; 4] = [0x02, 0x06, 0x08, 0x09];

const QPACK_MAX_TABLE_CAPACITY: u64 = 0x01;
const MAX_FIELD_SECTION_SIZE: u64 = 0x06;
const QPACK_BLOCKED_STREAMS: u64 = 0x07;
/// HTTP/2 had them (RFC 9114 §7.2.4.1).
const SETTINGS_OF_HTTP2: [u64; 4] = [0x02, 0x03, 0x04, 0x05];

/// Two integers of the longest kind.
const HEADER_MAX: usize = 16;

/// Where frames come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A request, from the client.
    Request,
    /// The client's control stream.
    Control,
}

/// A frame, or a piece of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Some of a body; never empty.
    Data(Bytes),
    /// A field section.
    Headers(Bytes),
    /// The client's settings; those that we know are in order.
    Settings,
    /// Something on the control stream that asks nothing of us: GOAWAY and what is about pushing.
    Notice,
}

/// Why a stream cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// A field section beyond the limit.
    TooLarge,
    /// The client broke the rules, which ends the connection with this code.
    Broken(u32),
}

/// Reads the frames of a stream.
#[derive(Debug)]
pub struct Frames {
    place: Place,
    /// Bytes of the largest frame that is kept whole.
    most: usize,
    input: Bytes,
    /// Of a frame whose rest is still to come.
    begun: BytesMut,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Header,
    Data(u64),
    Skip(u64),
    Whole(u64, usize),
}

impl Frames {
    /// Of a stream that begins. A frame that has to be kept whole may have `most` bytes.
    #[must_use]
    pub fn new(place: Place, most: usize) -> Frames {
        Frames { place, most, input: Bytes::new(), begun: BytesMut::new(), state: State::Header }
    }

    /// What came next. All that came before must have been taken out.
    pub fn feed(&mut self, input: Bytes) {
        self.input = input;
    }

    /// True where one frame has ended and no other has begun.
    #[must_use]
    pub fn is_between(&self) -> bool {
        self.state == State::Header && self.begun.is_empty() && self.input.is_empty()
    }

    /// The next frame of what was fed; nothing if more has to come.
    ///
    /// # Errors
    /// If the stream cannot be read on.
    pub fn frame(&mut self) -> Result<Option<Frame>, FrameError> {
        loop {
            match self.state {
                State::Header => match self.header() {
                    Some((kind, length)) => self.state = self.begin(kind, length)?,
                    None => return Ok(None),
                },
                State::Data(0) | State::Skip(0) => self.state = State::Header,
                _ if self.input.is_empty() && !matches!(self.state, State::Whole(_, 0)) => return Ok(None),
                State::Data(left) => {
                    let data = self.input.split_to(self.available(left));
                    self.state = State::Data(left - data.len() as u64);
                    return Ok(Some(Frame::Data(data)));
                }
                State::Skip(left) => {
                    let skipped = self.available(left);
                    self.input.advance(skipped);
                    self.state = State::Skip(left - skipped as u64);
                }
                State::Whole(kind, length) => {
                    let Some(payload) = self.whole(length) else { return Ok(None) };
                    self.state = State::Header;
                    return finish(kind, payload).map(Some);
                }
            }
        }
    }

    fn available(&self, left: u64) -> usize {
        usize::try_from(left).unwrap_or(usize::MAX).min(self.input.len())
    }

    /// Kind and length of the frame that begins.
    fn header(&mut self) -> Option<(u64, u64)> {
        let missing = HEADER_MAX.saturating_sub(self.begun.len()).min(self.input.len());
        let before = self.begun.len();
        self.begun.extend_from_slice(self.input.get(..missing).unwrap_or_default());
        let both = varint::read(&self.begun).and_then(|(kind, first)| {
            let (length, second) = varint::read(self.begun.get(first..)?)?;
            Some((kind, length, first + second))
        });
        // What is behind them was copied too much.
        let used = both.map_or(self.begun.len(), |(_, _, used)| used);
        self.input.advance(used.saturating_sub(before).min(self.input.len()));
        let (kind, length, _) = both?;
        self.begun.clear();
        Some((kind, length))
    }

    fn begin(&self, kind: u64, length: u64) -> Result<State, FrameError> {
        let unexpected = Err(FrameError::Broken(code::FRAME_UNEXPECTED));
        let whole = |error| {
            let fits = usize::try_from(length).ok().filter(|length| *length <= self.most);
            fits.map(|length| State::Whole(kind, length)).ok_or(error)
        };
        match (kind, self.place) {
            (DATA, Place::Request) => Ok(State::Data(length)),
            (HEADERS, Place::Request) => whole(FrameError::TooLarge),
            (SETTINGS | GOAWAY | CANCEL_PUSH | MAX_PUSH_ID, Place::Control) => {
                whole(FrameError::Broken(code::EXCESSIVE_LOAD))
            }
            (DATA | HEADERS | SETTINGS | GOAWAY | CANCEL_PUSH | MAX_PUSH_ID | PUSH_PROMISE, _) => unexpected,
            (kind, _) if OF_HTTP2.contains(&kind) => unexpected,
            _ => Ok(State::Skip(length)),
        }
    }

    /// The payload of a frame once all of it is here.
    fn whole(&mut self, length: usize) -> Option<Bytes> {
        if self.begun.is_empty() && self.input.len() >= length {
            return Some(self.input.split_to(length));
        }
        let missing = length.saturating_sub(self.begun.len()).min(self.input.len());
        self.begun.extend_from_slice(&self.input.split_to(missing));
        (self.begun.len() == length).then(|| self.begun.split().freeze())
    }
}

fn finish(kind: u64, payload: Bytes) -> Result<Frame, FrameError> {
    match kind {
        HEADERS => Ok(Frame::Headers(payload)),
        SETTINGS => check_settings(&payload).map(|()| Frame::Settings),
        // One integer each.
        _ if varint::read(&payload).is_some_and(|(_, length)| length == payload.len()) => Ok(Frame::Notice),
        _ => Err(FrameError::Broken(code::FRAME)),
    }
}

/// We use no setting of the client: its table stays empty, and its limit on heads is advice (RFC 9114 §4.2.2).
fn check_settings(mut payload: &[u8]) -> Result<(), FrameError> {
    let mut seen = Vec::new();
    while !payload.is_empty() {
        let setting = varint::read(payload).and_then(|(id, first)| {
            let (_, second) = varint::read(payload.get(first..)?)?;
            Some((id, payload.get(first + second..)?))
        });
        let (id, rest) = setting.ok_or(FrameError::Broken(code::FRAME))?;
        payload = rest;
        if SETTINGS_OF_HTTP2.contains(&id) || seen.contains(&id) {
            return Err(FrameError::Broken(code::SETTINGS));
        }
        // What we do not know may stand twice for all that it means to us.
        if matches!(id, QPACK_MAX_TABLE_CAPACITY | MAX_FIELD_SECTION_SIZE | QPACK_BLOCKED_STREAMS) {
            seen.push(id);
        }
    }
    Ok(())
}

/// Adds the header of a frame with `length` bytes of a body.
pub fn begin_data(length: usize, out: &mut BytesMut) {
    varint::put(DATA, out);
    varint::put(length as u64, out);
}

/// Adds a frame with a field section.
pub(super) fn put_headers(section: &[u8], out: &mut BytesMut) {
    varint::put(HEADERS, out);
    varint::put(section.len() as u64, out);
    out.put_slice(section);
}

/// Our settings: heads of so many bytes, and no table.
pub fn settings(head_max: usize, out: &mut BytesMut) {
    let mut payload = BytesMut::new();
    varint::put(MAX_FIELD_SECTION_SIZE, &mut payload);
    varint::put(head_max as u64, &mut payload);
    varint::put(SETTINGS, out);
    varint::put(payload.len() as u64, out);
    out.put_slice(&payload);
}

/// Requests on this stream and later ones will not be looked at.
pub fn goaway(stream: u64, out: &mut BytesMut) {
    let mut payload = BytesMut::new();
    varint::put(stream, &mut payload);
    varint::put(GOAWAY, out);
    varint::put(payload.len() as u64, out);
    out.put_slice(&payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All frames of a stream that comes in pieces of `size`.
    fn read(place: Place, stream: &[u8], size: usize) -> Result<(Vec<Frame>, bool), FrameError> {
        let mut frames = Frames::new(place, 64);
        let mut all: Vec<Frame> = Vec::new();
        for piece in stream.chunks(size) {
            frames.feed(Bytes::copy_from_slice(piece));
            while let Some(frame) = frames.frame()? {
                match (all.last_mut(), frame) {
                    (Some(Frame::Data(before)), Frame::Data(more)) => {
                        *before = Bytes::from([before.as_ref(), more.as_ref()].concat());
                    }
                    (_, frame) => all.push(frame),
                }
            }
        }
        Ok((all, frames.is_between()))
    }

    fn check(place: Place, stream: &[u8], expected: &Result<(Vec<Frame>, bool), FrameError>) {
        for size in 1..=stream.len().max(1) {
            assert_eq!(&read(place, stream, size), expected, "{stream:?} in pieces of {size}");
        }
    }

    #[test]
    fn frames_come_in_any_pieces() {
        let headers = Frame::Headers(Bytes::from_static(b"abc"));
        let data = |text: &'static str| Frame::Data(Bytes::from_static(text.as_bytes()));
        let check = |stream: &[u8], frames: &[Frame], ended: bool| {
            check(Place::Request, stream, &Ok((frames.to_vec(), ended)));
        };
        check(b"", &[], true);
        check(b"\x01\x03abc\x00\x05hello", &[headers.clone(), data("hello")], true);
        check(b"\x01\x03abc\x00\x05hel", &[headers.clone(), data("hel")], false);
        check(b"\x01\x03ab", &[], false);
        check(b"\x01\x40\x03abc", std::slice::from_ref(&headers), true);
        check(b"\x00\x00\x00\x01x\x00\x00", &[data("x")], true);
        check(b"\x01\x00", &[Frame::Headers(Bytes::new())], true);
        // An unknown kind is skipped, also a long one.
        check(b"\x21\x02xx\x01\x03abc\x40\x40\x01x", &[headers], true);
        check(b"\xc0\x00\x00\x00\x00\x00\x00\x21\xff\xff\xff\xff\xff\xff\xff\xff12", &[], false);
    }

    #[test]
    fn frames_have_their_places_and_limits() {
        let broken = |code| Err(FrameError::Broken(code));
        for kind in [2, 3, 4, 5, 6, 7, 8, 9, 13] {
            check(Place::Request, &[kind, 0], &broken(code::FRAME_UNEXPECTED));
        }
        for kind in [0, 1, 2, 5, 6, 8, 9] {
            check(Place::Control, &[kind, 0], &broken(code::FRAME_UNEXPECTED));
        }
        check(Place::Request, b"\x01\x40\x41", &Err(FrameError::TooLarge));
        check(Place::Control, b"\x04\x40\x41", &broken(code::EXCESSIVE_LOAD));
        check(Place::Control, b"\x07\x02\x00\x00", &broken(code::FRAME));
        check(Place::Control, b"\x07\x00", &broken(code::FRAME));
    }

    #[test]
    fn settings_are_looked_at() {
        let (fine, broken) = (Ok((vec![Frame::Settings], true)), |code| Err(FrameError::Broken(code)));
        check(Place::Control, b"\x04\x00", &fine);
        check(Place::Control, b"\x04\x07\x06\x44\x00\x33\x01\x33\x01", &fine);
        check(Place::Control, b"\x04\x04\x06\x01\x06\x01", &broken(code::SETTINGS));
        check(Place::Control, b"\x04\x02\x04\x01", &broken(code::SETTINGS));
        check(Place::Control, b"\x04\x01\x06", &broken(code::FRAME));
    }

    #[test]
    fn what_we_say_of_ourselves() {
        let mut out = BytesMut::new();
        settings(65_536, &mut out);
        goaway(8, &mut out);
        begin_data(300, &mut out);
        assert_eq!(out.as_ref(), b"\x04\x05\x06\x80\x01\x00\x00\x07\x01\x08\x00\x41\x2c");
    }
}
