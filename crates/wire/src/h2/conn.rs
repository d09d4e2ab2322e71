//! One side of a connection (RFC 9113), pure: bytes come in and bytes go out, time is told, nobody waits.
//!
//! Frames from the peer move streams; who holds a stream takes from it and adds to it. Tasks are known as wakers
//! only. Whatever the peer does, memory has a bound: windows, the size of heads, the number of streams.

mod receive;
mod send;
mod streams;

use std::{collections::VecDeque, io, task::Waker};

use bytes::{Bytes, BytesMut};

pub use send::Data;
use streams::{Arrived, Closed, Gone, Half, Stream, Streams, to_give};

use super::{
    Limits, Reason,
    frame::{PREFACE, put_goaway, put_ping, put_reset, put_settings, put_window_update},
    guard::Allowance,
    hpack::{Decoder, Encoder},
    message::{RequestHead, ResponseHead, Sent},
    settings::{Asked, Parameters, Told, WINDOW_DEFAULT, WINDOW_MAX},
};
use crate::{h1::HeadError, parts::ResponseParts};

/// Until an endpoint has said how many streams it takes.
const STREAMS_GUESS: u32 = 100;
/// Interim responses to one request that wait to be taken.
const INTERIM_MAX: usize = 32;
/// How long requests may be on their way that a client sent before it saw our first GOAWAY. One that says by its answer
/// to the PING that it has seen it is waited for no longer; one that never answers gains nothing by that.
const GOODBYE_MS: u64 = 2_000;
/// Of a PING that keeps the connection alive, and of one whose answer shows that a first GOAWAY was seen.
const ALIVE: [u8; 8] = *b"evergate";
const GOODBYE: [u8; 8] = *b"good bye";

/// Which side we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// We answer.
    Server,
    /// We ask.
    Client,
}

/// Where bytes for the peer are put.
pub trait Out {
    /// The buffer for small things, behind all that was put before.
    fn small(&mut self) -> &mut BytesMut;
    /// Adds data.
    fn push(&mut self, data: Bytes);
}

impl Out for BytesMut {
    fn small(&mut self) -> &mut BytesMut {
        self
    }

    fn push(&mut self, data: Bytes) {
        self.extend_from_slice(&data);
    }
}

/// Why a stream, or a whole connection, ended before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The peer reset the stream.
    #[error("the peer reset the stream: {0}")]
    Reset(Reason),
    /// The peer did not look at the stream (§8.7).
    #[error("the peer did not take the stream")]
    Refused,
    /// The peer closed the connection.
    #[error("the peer closed the connection")]
    Closed,
    /// The connection failed.
    #[error("connection failed: {0}")]
    Io(io::ErrorKind),
    /// The peer broke the rules, and was told so.
    #[error("{1} ({0})")]
    Broken(Reason, &'static str),
    /// We ended it.
    #[error("ended from here")]
    Cancelled,
}

/// A fault that ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fatal(Reason, &'static str);

/// How far a farewell is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Farewell {
    None,
    /// GOAWAY with no last stream, and a PING: what the client had sent by then is still taken (§6.8). Since when.
    Announced(u64),
    /// Streams beyond this are not looked at.
    Last(u32),
}

/// A block of headers whose end is still to come.
#[derive(Debug)]
struct Block {
    stream: u32,
    end_stream: bool,
    text: Vec<u8>,
}

/// One side of a connection.
#[derive(Debug)]
pub struct Conn {
    role: Role,
    limits: Limits,
    /// What the peer has acknowledged.
    told: Told,
    /// What it has been told and has not acknowledged.
    telling: Option<Told>,
    peer: Asked,
    /// Bytes of the client's preface that are still to come.
    preface: &'static [u8],
    /// The peer's first SETTINGS are there.
    settled: bool,
    decoder: Decoder,
    encoder: Encoder,
    block: Option<Block>,
    streams: Streams,
    closed: Closed,
    /// The last stream that the peer opened.
    last: u32,
    /// The next stream that we open.
    next: u32,
    accepted: VecDeque<usize>,
    in_window: i64,
    /// Data of all streams that nobody has taken.
    held: usize,
    out_window: i64,
    /// Streams that wait for the connection's window, and for room in what is sent.
    hungry: Vec<usize>,
    crowded: Vec<usize>,
    /// Tasks that wait to open a stream.
    openers: Vec<Waker>,
    farewell: Farewell,
    /// The peer's last GOAWAY: no new streams.
    peer_leaves: bool,
    end: Option<Failure>,
    resets: Allowance,
    control: Allowance,
    now_ms: u64,
    pinging: bool,
}

impl Conn {
    /// A connection that begins; what is to be said first is put into `out`.
    #[must_use]
    pub fn new(role: Role, limits: Limits, out: &mut impl Out) -> Conn {
        let mut conn = Conn {
            role,
            limits,
            told: Told::nothing(),
            telling: None,
            peer: Asked::default(),
            preface: if role == Role::Server { PREFACE } else { b"" },
            settled: false,
            decoder: Decoder::default(),
            encoder: Encoder::default(),
            block: None,
            streams: Streams::default(),
            closed: Closed::default(),
            last: 0,
            next: 1,
            accepted: VecDeque::new(),
            in_window: i64::from(WINDOW_DEFAULT),
            held: 0,
            out_window: i64::from(WINDOW_DEFAULT),
            hungry: Vec::new(),
            crowded: Vec::new(),
            openers: Vec::new(),
            farewell: Farewell::None,
            peer_leaves: false,
            end: None,
            resets: Allowance::default(),
            control: Allowance::default(),
            now_ms: 0,
            pinging: false,
        };
        if role == Role::Client {
            out.small().extend_from_slice(PREFACE);
        }
        conn.tell(out);
        conn.widen(out);
        conn
    }

    /// Takes other limits over. The peer is told; what makes it narrower holds once it has acknowledged that.
    pub fn set_limits(&mut self, limits: Limits, out: &mut impl Out) {
        if self.limits == limits || self.end.is_some() {
            return;
        }
        self.limits = limits;
        if self.telling.is_none() && Told::of(&limits) != self.told {
            self.tell(out);
        }
        self.widen(out);
    }

    /// Sends SETTINGS: what differs from what the peer knows.
    fn tell(&mut self, out: &mut impl Out) {
        let to = Told::of(&self.limits);
        put_settings(out.small(), &Parameters::between(&self.told, &to, self.role == Role::Client));
        self.telling = Some(to);
    }

    /// Gives the peer what the connection's window lacks, however little.
    fn widen(&mut self, out: &mut impl Out) {
        let target = i64::from(self.limits.connection_window.clamp(WINDOW_DEFAULT, WINDOW_MAX));
        let lacks = target - self.in_window - i64::try_from(self.held).unwrap_or(i64::MAX);
        if lacks > 0 {
            self.in_window += lacks;
            put_window_update(out.small(), 0, u32::try_from(lacks).unwrap_or(0));
        }
    }

    /// Streams that the peer may open.
    fn streams_max(&self) -> u32 {
        match self.telling {
            // Before the first acknowledgement: what goes beyond is refused, and may be sent again.
            Some(telling) if self.told.streams == u32::MAX => telling.streams,
            Some(telling) => telling.streams.max(self.told.streams),
            None => self.told.streams,
        }
    }

    /// Largest frame that the peer may send.
    fn frame_max(&self) -> usize {
        self.telling.map_or(0, |t| t.frame).max(self.told.frame) as usize
    }

    /// The next request that came, with its stream's key; its holder has to [`Conn::release`] that.
    pub fn accept(&mut self, out: &mut impl Out) -> Option<(usize, Result<RequestHead, HeadError>)> {
        while let Some(key) = self.accepted.pop_front() {
            let Some(stream) = self.streams.get_mut(key) else { continue };
            let arrived = std::mem::replace(&mut stream.arrived, Arrived::Nothing);
            match arrived {
                // Reset before anybody looked at it.
                Arrived::Request(_) if stream.failure.is_some() => self.release(key, out),
                Arrived::Request(head) => return Some((key, head)),
                Arrived::Nothing | Arrived::Response(_) => {}
            }
        }
        None
    }

    /// The response's head, once it is there; it is given once.
    pub fn response(&mut self, key: usize) -> Option<Result<ResponseHead, Failure>> {
        let stream = self.streams.get_mut(key)?;
        match std::mem::replace(&mut stream.arrived, Arrived::Nothing) {
            Arrived::Response(head) => Some(Ok(head)),
            _ => stream.failure.map(Err),
        }
    }

    /// The next interim response that came.
    pub fn interim(&mut self, key: usize) -> Option<ResponseParts> {
        self.streams.get_mut(key)?.interim.pop_front()
    }

    /// Whether a stream failed; `None` also for one that ended well.
    #[must_use]
    pub fn failure(&self, key: usize) -> Option<Failure> {
        self.streams.get(key)?.failure
    }

    /// The one task to wake when something happens to the stream.
    pub fn set_waker(&mut self, key: usize, waker: &Waker) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        match &stream.waker {
            Some(known) if known.will_wake(waker) => {}
            _ => stream.waker = Some(waker.clone()),
        }
    }

    /// One more holder of the stream.
    pub fn hold(&mut self, key: usize) {
        if let Some(stream) = self.streams.get_mut(key) {
            stream.owners += 1;
        }
    }

    /// A holder lets the stream go. After the last one a stream that has not ended is reset.
    pub fn release(&mut self, key: usize, out: &mut impl Out) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.owners = stream.owners.saturating_sub(1);
        if stream.owners > 0 {
            return;
        }
        if stream.is_open() {
            // An answer is complete although the request is not: the rest is not wanted, and nothing is wrong (§8.1).
            let answered = self.role == Role::Server && stream.outgoing == Half::Ended;
            self.reset(key, if answered { Reason::NO_ERROR } else { Reason::CANCEL }, out);
        }
        if let Some(mut stream) = self.streams.remove(key) {
            // Its key may be another's next.
            if stream.hungry {
                self.hungry.retain(|other| *other != key);
            }
            if stream.crowded {
                self.crowded.retain(|other| *other != key);
            }
            self.give_back(stream.body.clear(), out);
        }
    }

    /// Ends a stream at once.
    pub fn reset(&mut self, key: usize, reason: Reason, out: &mut impl Out) {
        let Some(stream) = self.streams.get(key).filter(|s| s.is_open()) else { return };
        put_reset(out.small(), stream.id, reason);
        self.cut(key, Failure::Cancelled, Gone::ByUs);
    }

    /// The stream is open no more: it failed.
    fn cut(&mut self, key: usize, failure: Failure, gone: Gone) {
        if let Some(stream) = self.streams.get_mut(key) {
            let id = stream.id;
            // What ended well stays so.
            if stream.is_open() {
                stream.failure = Some(failure);
                self.shut(id, gone);
            }
            if let Some(stream) = self.streams.get_mut(key) {
                stream.wake();
            }
        }
    }

    /// To be called when a direction has ended.
    fn shut_if_ended(&mut self, key: usize) {
        if let Some(stream) = self.streams.get(key)
            && !stream.is_open()
        {
            let id = stream.id;
            self.shut(id, Gone::Ended);
        }
    }

    fn shut(&mut self, id: u32, gone: Gone) {
        self.streams.shut(id);
        self.closed.push(id, gone);
        self.openers.drain(..).for_each(Waker::wake);
    }

    /// Data was taken, or is not wanted: the peer may send as much again.
    fn give_back(&mut self, n: usize, out: &mut impl Out) {
        self.held = self.held.saturating_sub(n);
        let target = self.limits.connection_window.clamp(WINDOW_DEFAULT, WINDOW_MAX);
        let give = to_give(target, self.in_window, self.held);
        if give > 0 && self.end.is_none() {
            self.in_window += i64::from(give);
            put_window_update(out.small(), 0, give);
        }
    }

    /// Says that this connection takes no more requests; those that the client had sent by then are still answered.
    pub fn say_goodbye(&mut self, now_ms: u64, out: &mut impl Out) {
        if self.farewell == Farewell::None && self.end.is_none() {
            self.farewell = Farewell::Announced(now_ms);
            put_goaway(out.small(), WINDOW_MAX, Reason::NO_ERROR, "");
            put_ping(out.small(), false, GOODBYE);
        }
    }

    /// Ends the connection without fault.
    pub fn close(&mut self, out: &mut impl Out) {
        if self.end.is_none() {
            put_goaway(out.small(), self.last_taken(), Reason::NO_ERROR, "");
            self.finish(Failure::Cancelled);
        }
    }

    /// The last stream that is looked at; what was said of that once does not grow (§6.8).
    fn last_taken(&self) -> u32 {
        match self.farewell {
            Farewell::Last(last) => last,
            Farewell::None | Farewell::Announced(_) => self.last,
        }
    }

    /// Asks the peer whether it is there.
    pub fn ping(&mut self, out: &mut impl Out) {
        if !self.pinging && self.end.is_none() {
            self.pinging = true;
            put_ping(out.small(), false, ALIVE);
        }
    }

    /// Nothing comes from the peer any more.
    pub fn lost(&mut self, failure: Failure) {
        if self.end.is_none() {
            self.finish(failure);
        }
    }

    /// The peer broke the rules of the connection.
    fn fail(&mut self, Fatal(reason, why): Fatal, out: &mut impl Out) {
        put_goaway(out.small(), self.last_taken(), reason, why);
        self.finish(Failure::Broken(reason, why));
    }

    fn finish(&mut self, failure: Failure) {
        self.end = Some(failure);
        for key in self.streams.keys() {
            self.cut(key, failure, Gone::ByUs);
        }
        self.openers.drain(..).for_each(Waker::wake);
    }

    /// Why the connection ended, if it has.
    #[must_use]
    pub fn end(&self) -> Option<Failure> {
        self.end
    }

    /// True once a goodbye was said by either side and nothing is left to do.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        let ends = self.peer_leaves || matches!(self.farewell, Farewell::Last(_));
        ends && self.streams.open() == 0 && self.accepted.is_empty()
    }

    /// True once the peer's first SETTINGS are there.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// True while new streams may be opened, now or once others have ended.
    #[must_use]
    pub fn takes_streams(&self) -> bool {
        self.end.is_none() && !self.peer_leaves && self.next <= WINDOW_MAX
    }

    /// Streams that the peer lets us have open.
    #[must_use]
    pub fn peer_streams_max(&self) -> u32 {
        let told = self.peer.streams.unwrap_or(if self.settled { u32::MAX } else { STREAMS_GUESS });
        told.min(u32::from(u16::MAX))
    }

    /// Ready to open a stream; else the waker is kept.
    pub fn may_open(&mut self, waker: &Waker) -> Option<Result<(), Failure>> {
        if !self.takes_streams() {
            return Some(Err(self.end.unwrap_or(Failure::Refused)));
        }
        if (self.streams.open() as u32) < self.peer_streams_max() {
            return Some(Ok(()));
        }
        if !self.openers.iter().any(|known| known.will_wake(waker)) {
            self.openers.push(waker.clone());
        }
        None
    }

    /// There is room again in what is sent.
    pub fn has_room(&mut self) {
        for key in std::mem::take(&mut self.crowded) {
            if let Some(stream) = self.streams.get_mut(key) {
                stream.crowded = false;
                stream.wake();
            }
        }
    }

    /// The stream is woken by [`Conn::has_room`].
    pub fn wait_for_room(&mut self, key: usize) {
        if let Some(stream) = self.streams.get_mut(key)
            && !std::mem::replace(&mut stream.crowded, true)
        {
            self.crowded.push(key);
        }
    }
}

#[cfg(test)]
mod tests;
