//! What goes to the peer, and taking what came for a stream.

use bytes::{Buf, Bytes, BytesMut};
use http::Method;

use super::{Arrived, Conn, Failure, Half, Out, Role, Sent, Stream};
use crate::{
    h2::{
        frame::{HEAD, Head, flag, kind, put_head, put_window_update},
        hpack::Encoder,
        message::{write_request, write_response, write_trailers},
    },
    headers::Headers,
    parts::ResponseParts,
};

/// Frames that belong to what we send: so much of the allowance each frame of data gives back.
const DATA_CREDIT: u32 = 4;
/// A frame that a small window made smaller than this gives nothing back.
const PIECE_MIN: usize = 256;
/// No frame is larger, whatever the peer takes: streams have their turn.
const FRAME_MAX: usize = 16 << 10;

/// What there is of a stream's body.
#[derive(Debug)]
pub enum Data {
    /// Bytes, never empty.
    Piece(Bytes),
    /// What follows the body; nothing comes behind it.
    Trailers(Headers),
    /// All was taken.
    End,
    /// More is to come.
    Wait,
    /// No more comes.
    Failed(Failure),
}

impl Conn {
    /// Opens a stream with a request; `end`: it has no body. To be asked by [`Conn::may_open`] first. The stream
    /// has to be released.
    pub fn open(&mut self, request: &Sent<'_>, end: bool, out: &mut impl Out) -> usize {
        let id = self.next;
        self.next = self.next.saturating_add(2);
        let mut stream = Stream::new(id, Half::Head, (self.told.window, self.peer.window));
        stream.bodiless = *request.method == Method::HEAD;
        stream.outgoing = if end { Half::Ended } else { Half::Body };
        self.put_block(id, end, out, |encoder, out| write_request(encoder, request, out));
        self.streams.insert(stream)
    }

    /// Sends a response's head; `end`: no body follows. `length` is its `content-length`, in the place of any among
    /// the headers.
    pub fn respond(
        &mut self,
        key: usize,
        parts: &ResponseParts,
        length: Option<u64>,
        end: bool,
        out: &mut impl Out,
    ) {
        let Some(id) = self.sending(key, Half::Head) else { return };
        self.put_block(id, end, out, |encoder, out| write_response(encoder, parts, length, out));
        self.sent(key, if end { Half::Ended } else { Half::Body });
    }

    /// Sends an interim response.
    pub fn inform(&mut self, key: usize, parts: &ResponseParts, out: &mut impl Out) {
        let Some(id) = self.sending(key, Half::Head) else { return };
        self.put_block(id, false, out, |encoder, out| write_response(encoder, parts, None, out));
    }

    /// Sends what the windows let through of `data`, one frame at most; `end`: nothing follows it. Gives how much it
    /// was. If it was nothing, the stream is woken when there is a window.
    pub fn send(&mut self, key: usize, data: &mut Bytes, end: bool, out: &mut impl Out) -> usize {
        let Some(id) = self.sending(key, Half::Body) else { return 0 };
        let Some(stream) = self.streams.get_mut(key) else { return 0 };
        let window = stream.out_window.min(self.out_window).max(0);
        let most = FRAME_MAX.min(self.peer.frame as usize).min(usize::try_from(window).unwrap_or(0));
        let n = most.min(data.len());
        if n == 0 && !data.is_empty() {
            if self.out_window <= 0 && !std::mem::replace(&mut stream.hungry, true) {
                self.hungry.push(key);
            }
            return 0;
        }
        stream.out_window -= n as i64;
        self.out_window -= n as i64;
        let last = end && n == data.len();
        put_head(out.small(), n, kind::DATA, if last { flag::END_STREAM } else { 0 }, id);
        out.push(data.split_to(n));
        if n >= PIECE_MIN || data.is_empty() {
            self.control.give(DATA_CREDIT);
        }
        if last {
            self.sent(key, Half::Ended);
        }
        n
    }

    /// Ends a message that has a body.
    pub fn finish_body(&mut self, key: usize, trailers: Option<&Headers>, out: &mut impl Out) {
        let Some(id) = self.sending(key, Half::Body) else { return };
        match trailers {
            Some(trailers) => {
                self.put_block(id, true, out, |encoder, out| write_trailers(encoder, trailers, out));
            }
            None => put_head(out.small(), 0, kind::DATA, flag::END_STREAM, id),
        }
        self.sent(key, Half::Ended);
    }

    /// True while data may be sent at once.
    #[must_use]
    pub fn has_window(&self, key: usize) -> bool {
        self.out_window > 0 && self.streams.get(key).is_some_and(|s| s.out_window > 0)
    }

    /// The stream's id, if it is open and stands there.
    fn sending(&self, key: usize, at: Half) -> Option<u32> {
        self.streams.get(key).filter(|s| s.is_open() && s.outgoing == at).map(|s| s.id)
    }

    fn sent(&mut self, key: usize, now: Half) {
        if let Some(stream) = self.streams.get_mut(key) {
            stream.outgoing = now;
        }
        if now == Half::Ended {
            if self.role == Role::Server {
                self.control.give(DATA_CREDIT);
            }
            self.shut_if_ended(key);
        }
    }

    /// A block of headers, in as many frames as the peer wants.
    fn put_block(
        &mut self,
        id: u32,
        end: bool,
        out: &mut impl Out,
        write: impl FnOnce(&mut Encoder, &mut BytesMut),
    ) {
        let out = out.small();
        let at = out.len();
        out.extend_from_slice(&[0; HEAD]);
        write(&mut self.encoder, out);
        let length = out.len() - at - HEAD;
        let most = self.peer.frame as usize;
        let end_stream = if end { flag::END_STREAM } else { 0 };
        let flags = if length <= most { end_stream | flag::END_HEADERS } else { end_stream };
        let first = Head { length: length.min(most), kind: kind::HEADERS, flags, stream: id };
        if let Some(place) = out.get_mut(at..at + HEAD) {
            place.copy_from_slice(&first.bytes());
        }
        if length <= most {
            return;
        }
        let mut rest = out.split_off(at + HEAD + most);
        while !rest.is_empty() {
            let n = rest.len().min(most);
            let flags = if n == rest.len() { flag::END_HEADERS } else { 0 };
            put_head(out, n, kind::CONTINUATION, flags, id);
            out.extend_from_slice(rest.get(..n).unwrap_or_default());
            rest.advance(n);
        }
    }

    /// The next piece of the stream's body. What is taken gives the peer its window back.
    pub fn take(&mut self, key: usize, out: &mut impl Out) -> Data {
        let Some(stream) = self.streams.get_mut(key) else { return Data::End };
        if let Some(piece) = stream.body.pop() {
            let (id, give) = (stream.id, stream.window_to_give(self.told.window));
            if give > 0 {
                put_window_update(out.small(), id, give);
            }
            self.give_back(piece.len(), out);
            return Data::Piece(piece);
        }
        if stream.incoming == Half::Ended {
            return stream.trailers.take().map_or(Data::End, Data::Trailers);
        }
        stream.failure.map_or(Data::Wait, Data::Failed)
    }

    /// All of the stream's body, if it is there to its end, in one piece and without trailers; and if its length was
    /// told, since whether one is told to the next hop may not depend on when pieces come.
    pub fn take_whole(&mut self, key: usize, out: &mut impl Out) -> Option<Bytes> {
        let stream = self.streams.get_mut(key)?;
        let told = stream.left.is_some() || stream.body.length == 0;
        if stream.incoming != Half::Ended || stream.trailers.is_some() || !stream.body.is_one() || !told {
            return None;
        }
        let whole = stream.body.pop().unwrap_or_default();
        self.give_back(whole.len(), out);
        Some(whole)
    }

    /// Bytes of the stream's body that are still to be taken, if the peer told its length; 0 only if nothing follows.
    #[must_use]
    pub fn left(&self, key: usize) -> Option<u64> {
        let stream = self.streams.get(key)?;
        let here = stream.body.length as u64;
        if here == 0 && stream.incoming == Half::Ended && stream.trailers.is_none() {
            return Some(0);
        }
        // With no data left trailers may still come.
        stream.left.map(|n| n + here).filter(|n| *n > 0)
    }

    /// Nobody wants the stream's body any more; its data is thrown away as it comes.
    pub fn forget_body(&mut self, key: usize, out: &mut impl Out) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.wanted = false;
        stream.trailers = None;
        if let Arrived::Response(_) = stream.arrived {
            stream.arrived = Arrived::Nothing;
        }
        let n = stream.body.clear();
        self.give_back(n, out);
    }
}
