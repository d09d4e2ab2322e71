//! The streams of a connection (RFC 9113 §5.1), and what is remembered of those that are gone.

use std::{collections::VecDeque, task::Waker};

use bytes::{Bytes, BytesMut};
use slab::Slab;

use super::super::{
    Failure,
    message::{RequestHead, ResponseHead},
};
use crate::{h1::HeadError, headers::Headers, parts::ResponseParts};

/// Pieces of a body below this are gathered, so that many small frames cost no more than their bytes.
const PIECE_MIN: usize = 1024;
/// Streams that are remembered after their end.
const CLOSED_MAX: usize = 64;

/// How far one direction of a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    /// The head is still to come.
    Head,
    /// The head is there; data and trailers may come.
    Body,
    /// All of it is there.
    Ended,
}

/// The head that a stream began with, until somebody takes it.
#[derive(Debug)]
pub(super) enum Arrived {
    Nothing,
    Request(Result<RequestHead, HeadError>),
    Response(ResponseHead),
}

/// One stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: u32,
    /// From the peer.
    pub(super) incoming: Half,
    /// To the peer.
    pub(super) outgoing: Half,
    /// It ended before its end.
    pub(super) failure: Option<Failure>,
    pub(super) arrived: Arrived,
    pub(super) interim: VecDeque<ResponseParts>,
    pub(super) body: Pieces,
    pub(super) trailers: Option<Headers>,
    /// What the peer's `content-length` leaves.
    pub(super) left: Option<u64>,
    /// Its response has no body, whatever its length says (RFC 9110 §6.4.1).
    pub(super) bodiless: bool,
    /// The peer's data is wanted.
    pub(super) wanted: bool,
    /// What the peer may send.
    pub(super) in_window: i64,
    /// What we may send.
    pub(super) out_window: i64,
    /// Of the one task that looks at it.
    pub(super) waker: Option<Waker>,
    /// Who holds it; counted until they let it go.
    pub(super) owners: u32,
    /// It is among those that wait for the connection's window.
    pub(super) hungry: bool,
    /// It is among those that wait for room in what is sent.
    pub(super) crowded: bool,
}

impl Stream {
    pub(super) fn new(id: u32, incoming: Half, windows: (u32, u32)) -> Stream {
        Stream {
            id,
            incoming,
            outgoing: Half::Head,
            failure: None,
            arrived: Arrived::Nothing,
            interim: VecDeque::new(),
            body: Pieces::default(),
            trailers: None,
            left: None,
            bodiless: false,
            wanted: true,
            in_window: i64::from(windows.0),
            out_window: i64::from(windows.1),
            waker: None,
            owners: 1,
            hungry: false,
            crowded: false,
        }
    }

    /// True until both directions have ended, or one side has cut it.
    pub(super) fn is_open(&self) -> bool {
        self.failure.is_none() && !(self.incoming == Half::Ended && self.outgoing == Half::Ended)
    }

    pub(super) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// What is to be said to the peer so that it may have `target` bytes on their way again; 0 while that is little.
    pub(super) fn window_to_give(&mut self, target: u32) -> u32 {
        if self.incoming == Half::Ended || self.failure.is_some() || !self.wanted {
            return 0;
        }
        let give = to_give(target, self.in_window, self.body.length);
        self.in_window += i64::from(give);
        give
    }
}

/// What a window lacks, once that is half of it: an update for each frame would be half of all frames.
pub(super) fn to_give(target: u32, window: i64, held: usize) -> u32 {
    let lacks = i64::from(target) - window - i64::try_from(held).unwrap_or(i64::MAX);
    if lacks > 0 && lacks >= i64::from(target / 2) { u32::try_from(lacks).unwrap_or(0) } else { 0 }
}

/// Data that came and that nobody has taken.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    whole: VecDeque<Bytes>,
    /// Small ones behind those.
    tail: BytesMut,
    pub(super) length: usize,
}

impl Pieces {
    pub(super) fn push(&mut self, piece: BytesMut) {
        self.length += piece.len();
        if piece.len() < PIECE_MIN {
            self.tail.extend_from_slice(&piece);
            return;
        }
        if !self.tail.is_empty() {
            self.whole.push_back(self.tail.split().freeze());
        }
        self.whole.push_back(piece.freeze());
    }

    pub(super) fn pop(&mut self) -> Option<Bytes> {
        let piece = match self.whole.pop_front() {
            Some(piece) => piece,
            None if self.tail.is_empty() => return None,
            None => std::mem::take(&mut self.tail).freeze(),
        };
        self.length -= piece.len();
        Some(piece)
    }

    /// True for a single piece, or none.
    pub(super) fn is_one(&self) -> bool {
        self.whole.len() + usize::from(!self.tail.is_empty()) <= 1
    }

    /// Forgets all; gives how much it was.
    pub(super) fn clear(&mut self) -> usize {
        std::mem::take(self).length
    }
}

/// Streams by key, for who holds one, and by id, for frames.
#[derive(Debug, Default)]
pub(super) struct Streams {
    all: Slab<Stream>,
    /// Ids and keys of those that are open. New ids are larger than all before.
    open: VecDeque<(u32, usize)>,
}

impl Streams {
    pub(super) fn insert(&mut self, stream: Stream) -> usize {
        let id = stream.id;
        let key = self.all.insert(stream);
        self.open.push_back((id, key));
        key
    }

    pub(super) fn get(&self, key: usize) -> Option<&Stream> {
        self.all.get(key)
    }

    pub(super) fn get_mut(&mut self, key: usize) -> Option<&mut Stream> {
        self.all.get_mut(key)
    }

    /// The key of an open stream.
    pub(super) fn find(&self, id: u32) -> Option<usize> {
        let at = self.open.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.open.get(at).map(|(_, key)| *key)
    }

    /// Streams that are open.
    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    /// Streams that are open or that somebody still holds.
    pub(super) fn held(&self) -> usize {
        self.all.len()
    }

    /// Frames find it no more.
    pub(super) fn shut(&mut self, id: u32) {
        if let Ok(at) = self.open.binary_search_by_key(&id, |(id, _)| *id) {
            self.open.remove(at);
        }
    }

    pub(super) fn remove(&mut self, key: usize) -> Option<Stream> {
        self.all.try_remove(key)
    }

    /// Keys of all that are open.
    pub(super) fn keys(&self) -> Vec<usize> {
        self.open.iter().map(|(_, key)| *key).collect()
    }

    pub(super) fn each_open(&mut self, mut then: impl FnMut(&mut Stream)) {
        for (_, key) in &self.open {
            if let Some(stream) = self.all.get_mut(*key) {
                then(stream);
            }
        }
    }
}

/// How a stream came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    /// Both directions ended.
    Ended,
    /// The peer reset it.
    ByPeer,
    /// We did, so that frames of it may still be on their way.
    ByUs,
}

/// The last streams that ended: their late frames are judged by how.
#[derive(Debug, Default)]
pub(super) struct Closed(VecDeque<(u32, Gone)>);

impl Closed {
    pub(super) fn push(&mut self, id: u32, gone: Gone) {
        if self.0.len() == CLOSED_MAX {
            self.0.pop_front();
        }
        self.0.push_back((id, gone));
    }

    pub(super) fn how(&self, id: u32) -> Option<Gone> {
        self.0.iter().rev().find(|(other, _)| *other == id).map(|(_, gone)| *gone)
    }
}
