//! Raw bytes both ways: after an upgrade (RFC 9110 §7.8), or where nothing else is spoken. Each direction ends by
//! itself (half-close), and a side that does not read stops the other one.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Largest single read.
const READ_MAX: usize = 64 << 10;

/// A side of a tunnel: its stream, and what was read from it before the tunnel began.
#[derive(Debug)]
pub struct Side<S> {
    /// The stream.
    pub io: S,
    /// Read already, meant for the other side.
    pub early: BytesMut,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the first side to the second one.
    Up,
    /// And back.
    Down,
}

/// The buffer that all tunnels of a thread read into: what is read is written at once, so that a tunnel has memory
/// of its own only while the other side does not read.
#[derive(Debug)]
pub struct Scratch(RefCell<Box<[u8]>>);

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch(RefCell::new(vec![0; READ_MAX].into()))
    }
}

impl Scratch {
    /// Lends it for a while; nothing may be carried meanwhile.
    pub fn lend<R>(&self, work: impl FnOnce(&mut [u8]) -> R) -> R {
        work(&mut self.0.borrow_mut())
    }
}

/// Carries bytes until both directions have ended; `moved` is told of each piece that was handed on.
///
/// # Errors
/// The first error of either stream: what came by then may not have arrived.
pub async fn relay<A, B>(
    a: &mut Side<A>,
    b: &mut Side<B>,
    scratch: &Scratch,
    mut moved: impl FnMut(Way, usize),
) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (mut up, mut down) = (Pipe::default(), Pipe::default());
    std::future::poll_fn(|cx| {
        let went_up = up.poll(cx, a, &mut b.io, scratch, &mut |n| moved(Way::Up, n))?;
        let went_down = down.poll(cx, b, &mut a.io, scratch, &mut |n| moved(Way::Down, n))?;
        if went_up.is_ready() && went_down.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}

/// One direction.
#[derive(Default)]
struct Pipe {
    /// Something was written and not flushed.
    unflushed: bool,
    phase: Phase,
}

#[derive(Clone, Copy, Default)]
enum Phase {
    #[default]
    Open,
    /// All was read; the other side is to be told.
    Closing,
    Over,
}

impl Pipe {
    fn poll<A, B>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Side<A>,
        to: &mut B,
        scratch: &Scratch,
        moved: &mut dyn FnMut(usize),
    ) -> Poll<io::Result<()>>
    where
        A: AsyncRead + Unpin,
        B: AsyncWrite + Unpin,
    {
        loop {
            while !from.early.is_empty() {
                let n = ready!(write(to, cx, &from.early))?;
                from.early.advance(n);
                self.unflushed = true;
                moved(n);
            }
            if from.early.capacity() > 0 {
                from.early = BytesMut::new();
            }
            match self.phase {
                Phase::Open => {}
                Phase::Closing => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.phase = Phase::Over;
                    return Poll::Ready(Ok(()));
                }
                Phase::Over => return Poll::Ready(Ok(())),
            }
            let mut buffer = scratch.0.borrow_mut();
            let mut read = ReadBuf::new(&mut buffer);
            match Pin::new(&mut from.io).poll_read(cx, &mut read) {
                Poll::Ready(result) => result?,
                Poll::Pending => {
                    if self.unflushed {
                        ready!(Pin::new(&mut *to).poll_flush(cx))?;
                        self.unflushed = false;
                    }
                    return Poll::Pending;
                }
            }
            if read.filled().is_empty() {
                self.phase = Phase::Closing;
                continue;
            }
            let mut rest = read.filled();
            while !rest.is_empty() {
                match write(to, cx, rest) {
                    Poll::Ready(n) => {
                        let n = n?;
                        rest = rest.get(n..).unwrap_or_default();
                        self.unflushed = true;
                        moved(n);
                    }
                    Poll::Pending => {
                        // Nothing more is read until this is gone.
                        from.early.extend_from_slice(rest);
                        return Poll::Pending;
                    }
                }
            }
        }
    }
}

fn write<W: AsyncWrite + Unpin>(to: &mut W, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
    match ready!(Pin::new(to).poll_write(cx, data)) {
        Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        other => Poll::Ready(other),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    fn run<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test)
    }

    /// The outer ends of a tunnel, and the tunnel.
    fn tunnel(room: usize, early: &str) -> (DuplexStream, DuplexStream, [Side<DuplexStream>; 2]) {
        let ((client, a), (b, server)) = (duplex(room), duplex(room));
        let side = |io, early: &str| Side { io, early: early.into() };
        (client, server, [side(a, early), side(b, "")])
    }

    #[test]
    fn each_direction_ends_by_itself() {
        run(async {
            let (mut client, mut server, [mut a, mut b]) = tunnel(64, "early ");
            let (scratch, moved) = (Scratch::default(), Cell::new((0, 0)));
            let count = |way, n| {
                let (up, down) = moved.get();
                moved.set(if way == Way::Up { (up + n, down) } else { (up, down + n) });
            };
            let talk = async {
                client.write_all(b"question").await.unwrap();
                client.shutdown().await.unwrap();
                let mut heard = String::new();
                server.read_to_string(&mut heard).await.unwrap();
                assert_eq!(heard, "early question");
                server.write_all(b"answer, long after the question").await.unwrap();
                server.shutdown().await.unwrap();
                heard.clear();
                client.read_to_string(&mut heard).await.unwrap();
                assert_eq!(heard, "answer, long after the question");
            };
            let (carried, ()) = tokio::join!(relay(&mut a, &mut b, &scratch, count), talk);
            carried.unwrap();
            assert_eq!(moved.get(), (14, 31));
        });
    }

    #[test]
    fn who_does_not_read_stops_the_other() {
        run(async {
            let (mut client, mut server, [mut a, mut b]) = tunnel(1024, "");
            let scratch = Scratch::default();
            let all: Vec<u8> = (0..1_000_000_u32).map(|n| n as u8).collect();
            let sent = Cell::new(0);
            let talk = async {
                for piece in all.chunks(700) {
                    client.write_all(piece).await.unwrap();
                    sent.set(sent.get() + piece.len());
                }
                client.shutdown().await.unwrap();
            };
            let hear = async {
                for _ in 0..1000 {
                    tokio::task::yield_now().await;
                }
                assert!(sent.get() < 200_000, "{} bytes are kept somewhere", sent.get());
                let mut heard = Vec::new();
                server.read_to_end(&mut heard).await.unwrap();
                assert!(heard == all, "not the same bytes");
                drop(server);
            };
            let (carried, (), ()) = tokio::join!(relay(&mut a, &mut b, &scratch, |_, _| {}), talk, hear);
            carried.unwrap();
            assert_eq!(a.early.capacity(), 0, "nothing is kept");
        });
    }

    #[test]
    fn an_error_ends_both() {
        run(async {
            let (mut client, server, [mut a, mut b]) = tunnel(64, "");
            drop(server);
            client.write_all(b"to nobody").await.unwrap();
            let carried = relay(&mut a, &mut b, &Scratch::default(), |_, _| {}).await;
            assert_eq!(carried.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        });
    }
}
