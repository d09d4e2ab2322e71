//! Frames from the peer, each judged by where its stream stands (RFC 9113 §5.1 and §6).

use bytes::{Buf, BytesMut};
use http::StatusCode;

use super::{
    ALIVE, Arrived, Block, Conn, Failure, Farewell, Fatal, GOODBYE, GOODBYE_MS, Gone, Half, INTERIM_MAX, Out,
    Role, Stream,
};
use crate::h2::{
    Reason,
    frame::{HEAD, Head, flag, kind, put_goaway, put_ping, put_reset, put_settings_ack, put_window_update},
    hpack::HpackError,
    message::{BLOCK_SLACK, Malformed, Read, read_request, read_response, read_trailers},
    settings::{Told, WINDOW_MAX},
};

/// What one thing that comes takes from the allowance for frames that carry nothing forward.
const SETTINGS_COST: u32 = 4;

type Taken = Result<(), Fatal>;

impl Conn {
    /// Takes whole frames off the front of what came. Call [`Conn::end`] afterwards.
    pub fn receive(&mut self, input: &mut BytesMut, now_ms: u64, out: &mut impl Out) {
        self.now_ms = now_ms;
        if self.end.is_none()
            && let Err(fatal) = self.frames(input, out)
        {
            self.fail(fatal, out);
        }
        if self.end.is_some() {
            input.clear();
        }
    }

    fn frames(&mut self, input: &mut BytesMut, out: &mut impl Out) -> Taken {
        if !self.preface.is_empty() {
            let n = self.preface.len().min(input.len());
            let (due, rest) = self.preface.split_at(n);
            if input.get(..n) != Some(due) {
                return Err(Fatal(Reason::PROTOCOL_ERROR, "no HTTP/2 preface"));
            }
            input.advance(n);
            self.preface = rest;
        }
        while let Some(head) = Head::peek(input).filter(|_| self.preface.is_empty()) {
            self.judge(head)?;
            let end = HEAD + head.length;
            if input.len() < end {
                break;
            }
            if head.kind == kind::DATA {
                input.advance(HEAD);
                let payload = input.split_to(head.length);
                self.data(head, payload, out)?;
            } else {
                self.frame(head, input.get(HEAD..end).unwrap_or_default(), out)?;
                input.advance(end);
            }
        }
        Ok(())
    }

    /// What can be said of a frame before it is there.
    fn judge(&self, head: Head) -> Taken {
        if head.length > self.frame_max() {
            return Err(Fatal(Reason::FRAME_SIZE_ERROR, "a frame larger than the limit"));
        }
        if !self.settled && (head.kind != kind::SETTINGS || head.has(flag::ACK)) {
            return Err(Fatal(Reason::PROTOCOL_ERROR, "the first frame is not SETTINGS"));
        }
        match &self.block {
            Some(block) if head.kind != kind::CONTINUATION || head.stream != block.stream => {
                Err(Fatal(Reason::PROTOCOL_ERROR, "a frame within a block of headers"))
            }
            _ => Ok(()),
        }
    }

    fn frame(&mut self, head: Head, payload: &[u8], out: &mut impl Out) -> Taken {
        match head.kind {
            kind::HEADERS => self.headers(head, payload, out),
            kind::CONTINUATION => self.continuation(head, payload, out),
            kind::RST_STREAM => self.rst_stream(head, payload),
            kind::SETTINGS => self.settings(head, payload, out),
            kind::PING => self.ping_came(head, payload, out),
            kind::GOAWAY => self.goaway(head, payload),
            kind::WINDOW_UPDATE => self.window_update(head, payload, out),
            kind::PRIORITY => self.priority(head, payload, out),
            kind::PUSH_PROMISE => Err(Fatal(Reason::PROTOCOL_ERROR, "a push that nobody allowed")),
            // Unknown kinds are let pass (§5.5).
            _ => self.idle_frame(1),
        }
    }

    /// A frame that carries nothing forward.
    fn idle_frame(&mut self, cost: u32) -> Taken {
        if self.control.take(cost, self.limits.control_frames, self.now_ms) {
            return Ok(());
        }
        Err(Fatal(Reason::ENHANCE_YOUR_CALM, "too many frames that carry nothing"))
    }

    /// A stream that the peer cancelled, or made us cancel (CVE-2023-44487, CVE-2025-8671).
    fn broken_stream(&mut self) -> Taken {
        if self.resets.take(1, self.limits.resets, self.now_ms) {
            return Ok(());
        }
        Err(Fatal(Reason::ENHANCE_YOUR_CALM, "too many streams reset"))
    }

    /// True for a stream that nobody has opened.
    fn is_idle(&self, id: u32) -> bool {
        let by_client = id % 2 == 1;
        match self.role {
            Role::Server => !by_client || id > self.last,
            Role::Client => !by_client || id >= self.next,
        }
    }

    /// Ends a stream whose peer broke a rule of streams (§5.4.2).
    fn stream_error(&mut self, id: u32, reason: Reason, why: &'static str, out: &mut impl Out) -> Taken {
        put_reset(out.small(), id, reason);
        match self.streams.find(id) {
            Some(key) => self.cut(key, Failure::Broken(reason, why), Gone::ByUs),
            None => self.closed.push(id, Gone::ByUs),
        }
        self.broken_stream()
    }

    fn data(&mut self, head: Head, mut payload: BytesMut, out: &mut impl Out) -> Taken {
        if head.stream == 0 {
            return Err(Fatal(Reason::PROTOCOL_ERROR, "DATA without a stream"));
        }
        let size = payload.len();
        self.in_window -= size as i64;
        if self.in_window < 0 {
            return Err(Fatal(Reason::FLOW_CONTROL_ERROR, "more data than the connection's window"));
        }
        unpad(head, &mut payload)?;
        let empty = payload.is_empty() && !head.has(flag::END_STREAM);
        let Some(key) = self.streams.find(head.stream) else {
            self.give_back(0, out);
            return self.data_on_closed(head.stream, out);
        };
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        match take_data(stream, head, size, payload) {
            Ok(held) => {
                self.held += held;
                if empty {
                    self.idle_frame(1)?;
                }
                let give = stream_window(self.streams.get_mut(key), self.told.window);
                if give > 0 {
                    put_window_update(out.small(), head.stream, give);
                }
                self.give_back(0, out);
                self.shut_if_ended(key);
                Ok(())
            }
            Err(Fatal(reason, why)) => {
                self.give_back(0, out);
                self.stream_error(head.stream, reason, why, out)
            }
        }
    }

    fn data_on_closed(&mut self, id: u32, out: &mut impl Out) -> Taken {
        if self.is_idle(id) {
            return Err(Fatal(Reason::PROTOCOL_ERROR, "DATA on an idle stream"));
        }
        match self.closed.how(id) {
            // On its way when we reset it; a window's worth of it, at most.
            Some(Gone::ByUs) => self.idle_frame(1),
            _ => self.stream_error(id, Reason::STREAM_CLOSED, "DATA on a closed stream", out),
        }
    }

    fn headers(&mut self, head: Head, payload: &[u8], out: &mut impl Out) -> Taken {
        if head.stream == 0 {
            return Err(Fatal(Reason::PROTOCOL_ERROR, "HEADERS without a stream"));
        }
        let mut payload = padded(head, payload)?;
        if head.has(flag::PRIORITY) {
            // §6.2; what it says is let pass.
            const SHORT: Fatal = Fatal(Reason::FRAME_SIZE_ERROR, "HEADERS too short for their priority");
            payload = payload.get(5..).ok_or(SHORT)?;
        }
        let end_stream = head.has(flag::END_STREAM);
        if head.has(flag::END_HEADERS) {
            return self.block(head.stream, end_stream, payload, out);
        }
        self.block = Some(Block { stream: head.stream, end_stream, text: payload.to_vec() });
        Ok(())
    }

    fn continuation(&mut self, head: Head, payload: &[u8], out: &mut impl Out) -> Taken {
        let Some(block) = &mut self.block else {
            return Err(Fatal(Reason::PROTOCOL_ERROR, "CONTINUATION of nothing"));
        };
        if block.text.len() + payload.len() > self.limits.head.bytes + BLOCK_SLACK {
            return Err(Fatal(Reason::ENHANCE_YOUR_CALM, "a block of headers far beyond the limit"));
        }
        block.text.extend_from_slice(payload);
        self.idle_frame(1)?;
        match self.block.take_if(|_| head.has(flag::END_HEADERS)) {
            Some(Block { stream, end_stream, text }) => self.block(stream, end_stream, &text, out),
            None => Ok(()),
        }
    }

    /// A whole block. Whatever its stream, it is read: later ones may refer to what it put into the table.
    fn block(&mut self, id: u32, end: bool, text: &[u8], out: &mut impl Out) -> Taken {
        if let Some(key) = self.streams.find(id) {
            return match self.streams.get(key).map(|s| s.incoming) {
                Some(Half::Head) => self.response_head(id, key, end, text, out),
                Some(Half::Body) => self.trailers(id, key, end, text, out),
                Some(Half::Ended) | None => {
                    self.skip(text)?;
                    self.stream_error(id, Reason::STREAM_CLOSED, "HEADERS behind the end of the stream", out)
                }
            };
        }
        match self.role {
            Role::Server if id.is_multiple_of(2) => {
                Err(Fatal(Reason::PROTOCOL_ERROR, "a stream with a number of the server's"))
            }
            Role::Server if id > self.last => self.request(id, end, text, out),
            Role::Client if self.is_idle(id) => {
                Err(Fatal(Reason::PROTOCOL_ERROR, "HEADERS on an idle stream"))
            }
            _ => self.headers_on_closed(id, text, out),
        }
    }

    fn headers_on_closed(&mut self, id: u32, text: &[u8], out: &mut impl Out) -> Taken {
        self.skip(text)?;
        match self.closed.how(id) {
            Some(Gone::ByUs) => self.idle_frame(1),
            Some(Gone::ByPeer) => {
                self.stream_error(id, Reason::STREAM_CLOSED, "HEADERS on a stream that was reset", out)
            }
            Some(Gone::Ended) => Err(Fatal(Reason::STREAM_CLOSED, "HEADERS on a closed stream")),
            None => Err(Fatal(Reason::PROTOCOL_ERROR, "a stream with a number of the past")),
        }
    }

    fn skip(&mut self, text: &[u8]) -> Taken {
        self.decoder.decode(text, self.limits.head.bytes + BLOCK_SLACK, |_| {}).map_err(unreadable)
    }

    fn request(&mut self, id: u32, end: bool, text: &[u8], out: &mut impl Out) -> Taken {
        let head = readable(read_request(&mut self.decoder, text, self.limits.head))?;
        if let Farewell::Announced(since_ms) = self.farewell
            && self.now_ms.saturating_sub(since_ms) > GOODBYE_MS
        {
            self.part(out);
        }
        self.last = id;
        if let Farewell::Last(_) = self.farewell {
            // The client has been told that this is not looked at; what follows it is let pass too.
            self.closed.push(id, Gone::ByUs);
            return self.idle_frame(1);
        }
        let most = self.streams_max() as usize;
        let crowd = self.streams.held() >= 2 * most;
        if crowd || self.streams.open() >= most {
            put_reset(out.small(), id, Reason::REFUSED_STREAM);
            self.closed.push(id, Gone::ByUs);
            // Cancelled faster than the cancelled ones can go: that is no client that only counts otherwise.
            return if crowd { self.broken_stream() } else { self.idle_frame(1) };
        }
        let head = match head {
            Ok(Ok(head)) if end && head.length.is_some_and(|n| n > 0) => {
                Err(Malformed("the body is shorter than content-length"))
            }
            head => head,
        };
        let head = match head {
            Ok(head) => head,
            Err(Malformed(why)) => return self.stream_error(id, Reason::PROTOCOL_ERROR, why, out),
        };
        let incoming = if end { Half::Ended } else { Half::Body };
        let mut stream = Stream::new(id, incoming, (self.told.window, self.peer.window));
        stream.left = head.as_ref().ok().and_then(|head| head.length);
        stream.arrived = Arrived::Request(head);
        let key = self.streams.insert(stream);
        self.accepted.push_back(key);
        Ok(())
    }

    fn response_head(&mut self, id: u32, key: usize, end: bool, text: &[u8], out: &mut impl Out) -> Taken {
        let head = match readable(read_response(&mut self.decoder, text, self.limits.head))? {
            Ok(head) => head,
            Err(Malformed(why)) => return self.stream_error(id, Reason::PROTOCOL_ERROR, why, out),
        };
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        let status = head.parts.status;
        if status.is_informational() {
            if end || status == StatusCode::SWITCHING_PROTOCOLS || stream.interim.len() >= INTERIM_MAX {
                return self.stream_error(id, Reason::PROTOCOL_ERROR, "a bad interim response", out);
            }
            stream.interim.push_back(head.parts);
            stream.wake();
            return Ok(());
        }
        let bodiless = stream.bodiless || matches!(status.as_u16(), 204 | 304);
        stream.left = if bodiless { Some(0) } else { head.length };
        if end && stream.left.is_some_and(|n| n > 0) {
            let why = "the body is shorter than content-length";
            return self.stream_error(id, Reason::PROTOCOL_ERROR, why, out);
        }
        stream.incoming = if end { Half::Ended } else { Half::Body };
        stream.arrived = Arrived::Response(head);
        stream.wake();
        self.shut_if_ended(key);
        Ok(())
    }

    fn trailers(&mut self, id: u32, key: usize, end: bool, text: &[u8], out: &mut impl Out) -> Taken {
        let trailers = readable(read_trailers(&mut self.decoder, text, self.limits.head))?;
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        let fault = match trailers {
            Err(Malformed(why)) => why,
            Ok(_) if !end => "a second head without the end of the stream",
            Ok(_) if stream.left.is_some_and(|n| n > 0) => "the body is shorter than content-length",
            Ok(trailers) => {
                stream.trailers = (!trailers.is_empty()).then_some(trailers);
                stream.incoming = Half::Ended;
                stream.wake();
                self.shut_if_ended(key);
                return Ok(());
            }
        };
        self.stream_error(id, Reason::PROTOCOL_ERROR, fault, out)
    }

    fn rst_stream(&mut self, head: Head, payload: &[u8]) -> Taken {
        let reason = Reason(number(payload, "RST_STREAM of a bad size")?);
        if head.stream == 0 || self.is_idle(head.stream) {
            return Err(Fatal(Reason::PROTOCOL_ERROR, "RST_STREAM on an idle stream"));
        }
        let Some(key) = self.streams.find(head.stream) else { return self.idle_frame(1) };
        let failure =
            if reason == Reason::REFUSED_STREAM { Failure::Refused } else { Failure::Reset(reason) };
        self.cut(key, failure, Gone::ByPeer);
        match self.role {
            Role::Server => self.broken_stream(),
            Role::Client => Ok(()),
        }
    }

    fn settings(&mut self, head: Head, payload: &[u8], out: &mut impl Out) -> Taken {
        if head.stream != 0 {
            return Err(Fatal(Reason::PROTOCOL_ERROR, "SETTINGS on a stream"));
        }
        let ack = head.has(flag::ACK);
        if !payload.len().is_multiple_of(6) || (ack && !payload.is_empty()) {
            return Err(Fatal(Reason::FRAME_SIZE_ERROR, "SETTINGS of a bad size"));
        }
        if ack {
            return self.acknowledged(out);
        }
        let before = self.peer.window;
        let by_server = self.role == Role::Client;
        self.peer.read(payload, by_server).map_err(|(reason, why)| Fatal(reason, why))?;
        let moved = i64::from(self.peer.window) - i64::from(before);
        let mut overflow = false;
        self.streams.each_open(|stream| {
            stream.out_window += moved;
            overflow |= stream.out_window > i64::from(WINDOW_MAX);
            if moved > 0 {
                stream.wake();
            }
        });
        if overflow {
            return Err(Fatal(Reason::FLOW_CONTROL_ERROR, "a stream's window overflows"));
        }
        self.encoder.set_max(self.peer.table as usize);
        put_settings_ack(out.small());
        self.openers.drain(..).for_each(std::task::Waker::wake);
        if std::mem::replace(&mut self.settled, true) { self.idle_frame(SETTINGS_COST) } else { Ok(()) }
    }

    /// The peer has taken our settings over: what they narrow holds from here.
    fn acknowledged(&mut self, out: &mut impl Out) -> Taken {
        let Some(now) = self.telling.take() else { return self.idle_frame(1) };
        let moved = i64::from(now.window) - i64::from(self.told.window);
        self.streams.each_open(|stream| stream.in_window += moved);
        self.decoder.set_max(now.table as usize);
        self.told = now;
        if Told::of(&self.limits) != self.told {
            self.tell(out);
        }
        Ok(())
    }

    fn ping_came(&mut self, head: Head, payload: &[u8], out: &mut impl Out) -> Taken {
        if head.stream != 0 {
            return Err(Fatal(Reason::PROTOCOL_ERROR, "PING on a stream"));
        }
        let data: [u8; 8] =
            payload.try_into().map_err(|_| Fatal(Reason::FRAME_SIZE_ERROR, "PING of a bad size"))?;
        if !head.has(flag::ACK) {
            put_ping(out.small(), true, data);
            return self.idle_frame(1);
        }
        match data {
            ALIVE if self.pinging => self.pinging = false,
            GOODBYE if matches!(self.farewell, Farewell::Announced(_)) => self.part(out),
            _ => return self.idle_frame(1),
        }
        Ok(())
    }

    /// What comes from here on is not looked at.
    fn part(&mut self, out: &mut impl Out) {
        self.farewell = Farewell::Last(self.last);
        put_goaway(out.small(), self.last, Reason::NO_ERROR, "");
    }

    fn goaway(&mut self, head: Head, payload: &[u8]) -> Taken {
        if head.stream != 0 {
            return Err(Fatal(Reason::PROTOCOL_ERROR, "GOAWAY on a stream"));
        }
        let Some([a, b, c, d, ..]) = payload.first_chunk::<8>() else {
            return Err(Fatal(Reason::FRAME_SIZE_ERROR, "GOAWAY of a bad size"));
        };
        let last = u32::from_be_bytes([*a, *b, *c, *d]) & WINDOW_MAX;
        self.peer_leaves = true;
        if self.role == Role::Client {
            for key in self.streams.keys() {
                if self.streams.get(key).is_some_and(|s| s.id > last) {
                    self.cut(key, Failure::Refused, Gone::ByPeer);
                }
            }
            self.openers.drain(..).for_each(std::task::Waker::wake);
        }
        self.idle_frame(1)
    }

    fn window_update(&mut self, head: Head, payload: &[u8], out: &mut impl Out) -> Taken {
        let increment = number(payload, "WINDOW_UPDATE of a bad size")? & WINDOW_MAX;
        self.idle_frame(1)?;
        if head.stream == 0 {
            if increment == 0 {
                return Err(Fatal(Reason::PROTOCOL_ERROR, "WINDOW_UPDATE by nothing"));
            }
            self.out_window += i64::from(increment);
            if self.out_window > i64::from(WINDOW_MAX) {
                return Err(Fatal(Reason::FLOW_CONTROL_ERROR, "the connection's window overflows"));
            }
            for key in std::mem::take(&mut self.hungry) {
                if let Some(stream) = self.streams.get_mut(key) {
                    stream.hungry = false;
                    stream.wake();
                }
            }
            return Ok(());
        }
        if self.is_idle(head.stream) {
            return Err(Fatal(Reason::PROTOCOL_ERROR, "WINDOW_UPDATE on an idle stream"));
        }
        // On a closed one it was on its way.
        let Some(key) = self.streams.find(head.stream) else { return Ok(()) };
        if increment == 0 {
            return self.stream_error(head.stream, Reason::PROTOCOL_ERROR, "WINDOW_UPDATE by nothing", out);
        }
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        let was = stream.out_window;
        stream.out_window += i64::from(increment);
        if stream.out_window > i64::from(WINDOW_MAX) {
            let why = "the stream's window overflows";
            return self.stream_error(head.stream, Reason::FLOW_CONTROL_ERROR, why, out);
        }
        if was <= 0 {
            stream.wake();
        }
        Ok(())
    }

    /// §5.3.2: nothing is done by priorities.
    fn priority(&mut self, head: Head, payload: &[u8], out: &mut impl Out) -> Taken {
        if head.stream == 0 {
            return Err(Fatal(Reason::PROTOCOL_ERROR, "PRIORITY without a stream"));
        }
        if payload.len() != 5 {
            if self.is_idle(head.stream) {
                return Err(Fatal(Reason::FRAME_SIZE_ERROR, "PRIORITY of a bad size"));
            }
            let why = "PRIORITY of a bad size";
            return self.stream_error(head.stream, Reason::FRAME_SIZE_ERROR, why, out);
        }
        self.idle_frame(1)
    }
}

/// Data for a stream; gives how much of it is kept.
fn take_data(stream: &mut Stream, head: Head, size: usize, content: BytesMut) -> Result<usize, Fatal> {
    match stream.incoming {
        Half::Head => return Err(Fatal(Reason::PROTOCOL_ERROR, "DATA before HEADERS")),
        Half::Ended => return Err(Fatal(Reason::STREAM_CLOSED, "DATA behind the end of the stream")),
        Half::Body => {}
    }
    stream.in_window -= size as i64;
    if stream.in_window < 0 {
        return Err(Fatal(Reason::FLOW_CONTROL_ERROR, "more data than the stream's window"));
    }
    let n = content.len();
    if let Some(left) = &mut stream.left {
        const LONGER: Fatal = Fatal(Reason::PROTOCOL_ERROR, "the body is longer than content-length");
        *left = left.checked_sub(n as u64).ok_or(LONGER)?;
    }
    if head.has(flag::END_STREAM) {
        if stream.left.is_some_and(|left| left > 0) {
            return Err(Fatal(Reason::PROTOCOL_ERROR, "the body is shorter than content-length"));
        }
        stream.incoming = Half::Ended;
    }
    let kept = n > 0 && stream.wanted;
    if kept {
        stream.body.push(content);
    }
    if n > 0 || stream.incoming == Half::Ended {
        stream.wake();
    }
    Ok(if kept { n } else { 0 })
}

/// What padding took of the window is given back with what else it lacks.
fn stream_window(stream: Option<&mut Stream>, target: u32) -> u32 {
    stream.map_or(0, |stream| stream.window_to_give(target))
}

/// Takes the padding off (§6.1).
fn unpad(head: Head, payload: &mut BytesMut) -> Taken {
    if head.has(flag::PADDED) {
        let length = padded(head, payload)?.len();
        payload.advance(1);
        payload.truncate(length);
    }
    Ok(())
}

/// What is between the length of the padding and the padding.
fn padded(head: Head, payload: &[u8]) -> Result<&[u8], Fatal> {
    if !head.has(flag::PADDED) {
        return Ok(payload);
    }
    const BAD: Fatal = Fatal(Reason::PROTOCOL_ERROR, "more padding than frame");
    let (pad, rest) = payload.split_first().ok_or(Fatal(Reason::FRAME_SIZE_ERROR, "no length of padding"))?;
    let length = rest.len().checked_sub(usize::from(*pad)).ok_or(BAD)?;
    rest.get(..length).ok_or(BAD)
}

/// The four bytes that are a frame's payload.
fn number(payload: &[u8], otherwise: &'static str) -> Result<u32, Fatal> {
    let bytes = payload.try_into().map_err(|_| Fatal(Reason::FRAME_SIZE_ERROR, otherwise))?;
    Ok(u32::from_be_bytes(bytes))
}

/// A block that cannot be read ends the connection (§4.3).
fn readable<T>(read: Read<T>) -> Result<Result<T, Malformed>, Fatal> {
    read.map_err(unreadable)
}

fn unreadable(e: HpackError) -> Fatal {
    let far = e == HpackError::TOO_FAR;
    Fatal(if far { Reason::ENHANCE_YOUR_CALM } else { Reason::COMPRESSION_ERROR }, e.0)
}
