//! HTTP/3 towards clients (RFC 9114): QUIC is quinn's, each request is a task of its own.

mod inbound;
mod notes;
mod outbound;
mod request;

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::Rc,
    task::Context,
    time::Duration,
};

use bytes::BytesMut;
use evergate_kit::deadline::Deadline;
use evergate_wire::h3::{self, code, stream};
use quinn::{RecvStream, SendStream, VarInt};
use tokio::sync::Notify;

use super::idle::Idle;
use crate::{conn::Conn, worker::Worker};

/// No client has a stream of this number or a later one: what comes is still answered (RFC 9114 §5.2).
const LAST_STREAM: u64 = (1 << 62) - 4;
/// How long requests may still come after a client was told to go. They are on their way, for a round trip at most.
const GRACE_MIN: Duration = Duration::from_millis(100);
const GRACE_MAX: Duration = Duration::from_secs(2);

/// A connection, as the tasks of its requests see it.
pub(super) struct Session {
    worker: Rc<Worker>,
    conn: Rc<Conn>,
    quic: quinn::Connection,
    /// Requests that are open.
    requests: Cell<usize>,
    /// The last of them has ended.
    quiet: Notify,
    /// Which streams that may be there once the client has opened.
    seen: RefCell<Vec<u64>>,
}

/// How far the goodbye is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// The client was told to go; what is on its way is answered.
    Going,
    /// Nothing from this stream on is looked at.
    Last(u64),
}

enum Event {
    Request(SendStream, RecvStream),
    Notes(RecvStream),
    Closing,
    Expired,
    Quiet,
    End,
}

/// Serves a connection until it ends.
pub(super) async fn serve(worker: &Rc<Worker>, conn: &Rc<Conn>, quic: quinn::Connection, deadline: Deadline) {
    let settings = conn.settings(&worker.view());
    let session = Rc::new(Session {
        worker: worker.clone(),
        conn: conn.clone(),
        quic,
        requests: Cell::new(0),
        quiet: Notify::new(),
        seen: RefCell::default(),
    });
    deadline.arm(settings.handshake_timeout);
    if let Ok(Some(control)) = deadline.guard(session.open_control(settings.head.bytes)).await {
        session.accept(control, deadline).await;
    }
    session.end(code::NO_ERROR);
    // What is said last goes out when quinn's task has its turn, which must be before this thread ends.
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
}

impl Session {
    /// The stream for what is not about one request; it begins with our settings (RFC 9114 §6.2.1).
    async fn open_control(&self, head_max: usize) -> Option<SendStream> {
        let mut control = self.quic.open_uni().await.ok()?;
        let mut hello = BytesMut::new();
        h3::put_varint(stream::CONTROL, &mut hello);
        h3::settings(head_max, &mut hello);
        control.write_all(&hello).await.ok()?;
        Some(control)
    }

    async fn accept(self: &Rc<Self>, mut control: SendStream, deadline: Deadline) {
        let (mut stage, mut next, mut was_busy) = (Stage::Open, 0, true);
        let idle = Idle::default();
        loop {
            let busy = self.requests.get() > 0;
            match stage {
                Stage::Open if busy => deadline.disarm(),
                Stage::Open if was_busy => idle.begin(&self.worker, &self.conn, &deadline),
                Stage::Last(_) if !busy => return,
                _ => {}
            }
            was_busy = busy;
            match self.event(stage, busy, (&idle, &deadline)).await {
                Event::Request(send, recv) => {
                    let id = u64::from(recv.id());
                    match stage {
                        Stage::Last(last) if id >= last => reject(send, recv),
                        _ => {
                            next = next.max(id + 4);
                            tokio::task::spawn_local(request::serve(Open::new(self), send, recv));
                        }
                    }
                }
                Event::Notes(recv) => drop(tokio::task::spawn_local(notes::read(self.clone(), recv))),
                Event::Closing | Event::Expired if stage == Stage::Open => {
                    goaway(&mut control, LAST_STREAM);
                    deadline.arm((3 * self.quic.rtt()).clamp(GRACE_MIN, GRACE_MAX));
                    stage = Stage::Going;
                }
                Event::Closing | Event::Expired => {
                    goaway(&mut control, next);
                    deadline.disarm();
                    stage = Stage::Last(next);
                }
                Event::Quiet => {}
                Event::End => return,
            }
        }
    }

    async fn event(&self, stage: Stage, busy: bool, (idle, deadline): (&Idle, &Deadline)) -> Event {
        let expired = |cx: &mut Context<'_>| match stage {
            Stage::Open if !busy => idle.poll_over(cx, &self.worker, &self.conn, deadline),
            _ => deadline.poll_expired(cx),
        };
        tokio::select! {
            biased;
            stream = self.quic.accept_bi() => {
                stream.map_or(Event::End, |(send, recv)| Event::Request(send, recv))
            }
            stream = self.quic.accept_uni() => stream.map_or(Event::End, Event::Notes),
            () = self.quiet.notified() => Event::Quiet,
            _ = poll_fn(|cx| self.conn.poll_closing(cx)), if stage == Stage::Open => Event::Closing,
            _ = poll_fn(expired) => Event::Expired,
        }
    }

    /// Ends the connection; the code says why.
    fn end(&self, code: u32) {
        self.quic.close(VarInt::from_u32(code), b"");
    }
}

/// Says which requests are looked at.
fn goaway(control: &mut SendStream, stream: u64) {
    let mut out = BytesMut::new();
    h3::goaway(stream, &mut out);
    outbound::write_now(control, &mut out);
}

/// It has not been looked at and may be sent again elsewhere.
fn reject(mut send: SendStream, mut recv: RecvStream) {
    let code = VarInt::from_u32(code::REQUEST_REJECTED);
    // A stream that is gone needs no word.
    let _ = (send.reset(code), recv.stop(code));
}

/// Counts a request for as long as it is open.
struct Open(Rc<Session>);

impl Open {
    fn new(session: &Rc<Session>) -> Open {
        session.requests.set(session.requests.get() + 1);
        Open(session.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let requests = self.0.requests.get() - 1;
        self.0.requests.set(requests);
        if requests == 0 {
            self.0.quiet.notify_one();
        }
    }
}
