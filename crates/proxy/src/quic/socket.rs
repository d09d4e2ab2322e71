//! The UDP socket as quinn sees it: its own packets, from wherever they come; those of others go there.

use std::{
    fmt,
    io::{self, IoSliceMut},
    net::SocketAddr,
    os::{linux::net::SocketAddrExt, unix::net as unix},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use quinn::{
    AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller,
    udp::{RecvMeta, Transmit},
};
use tokio::net::UnixDatagram;

use super::{
    UdpBound,
    parcel::{LARGEST, Parcel, unpack},
    steer::{Other, Steering},
};

/// Reads without a packet of ours before others on this thread have their turn.
const PATIENCE: usize = 8;

/// A UDP socket that several generations of the process read.
pub(super) struct Steered {
    udp: Arc<dyn AsyncUdpSocket>,
    steering: Arc<Steering>,
    /// Absent where nobody else reads it.
    post: Option<Post>,
    /// Which of the two was asked first the last time: neither may starve the other.
    turn: AtomicBool,
    /// Found by who opens the address again for as long as it is not free.
    _bound: Option<Arc<UdpBound>>,
}

/// How packets are handed over: by a datagram socket of each generation, in the namespace without files.
struct Post {
    inbox: UnixDatagram,
    out: unix::UnixDatagram,
    local: SocketAddr,
}

impl Steered {
    /// Belongs to the runtime that calls.
    pub(super) fn new(
        socket: std::net::UdpSocket,
        bound: Option<Arc<UdpBound>>,
        steering: Arc<Steering>,
    ) -> io::Result<Steered> {
        let local = socket.local_addr()?;
        let post = steering.is_together().then(|| Post::open(&steering, local)).transpose()?;
        Ok(Steered {
            udp: TokioRuntime.wrap_udp_socket(socket)?,
            steering,
            post,
            turn: AtomicBool::new(false),
            _bound: bound,
        })
    }

    /// Hands over what belongs to others, and moves our own to the front. Returns how many are left.
    fn sort(&self, post: &Post, bufs: &mut [IoSliceMut<'_>], metas: &mut [RecvMeta]) -> usize {
        let (mut kept, mut sending) = (0, Sending { post, steering: &self.steering, to: None });
        let mut parcel = Parcel::new();
        for i in 0..metas.len().min(bufs.len()) {
            if self.is_kept(i, bufs, metas, &mut parcel, &mut sending) {
                bufs.swap(kept, i);
                metas.swap(kept, i);
                kept += 1;
            }
        }
        sending.send(&mut parcel);
        kept
    }

    /// Looks at what one read gave: one packet, or several from one peer, which nearly always belong together.
    fn is_kept(
        &self,
        i: usize,
        bufs: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
        parcel: &mut Parcel,
        sending: &mut Sending<'_>,
    ) -> bool {
        let (Some(buf), Some(meta)) = (bufs.get_mut(i), metas.get_mut(i)) else { return false };
        let (len, stride) = (meta.len.min(buf.len()), meta.stride.max(1));
        let other = |buf: &[u8], start: usize| {
            self.steering.other(buf.get(start..(start + stride).min(len)).unwrap_or_default())
        };
        let (mut own, mut start) = (0, 0);
        while start < len {
            let to = other(buf, start);
            let mut end = start + stride;
            while end < len && other(buf, end) == to {
                end += stride;
            }
            let run = start..end.min(len);
            start = end;
            match (to, buf.get(run.clone())) {
                (Some(other), Some(packets)) if sending.begin(other, parcel) => {
                    parcel.add(&RecvMeta { len: packets.len(), ..*meta }, packets);
                    if parcel.is_full() {
                        sending.send(parcel);
                    }
                }
                // Nobody is there yet, or any more: the client will ask again, and need not be turned away for good.
                (Some(Other { begins: true, .. }), _) => {}
                // Our own, or of one that is gone: quinn tells the client so.
                _ => {
                    buf.copy_within(run.clone(), own);
                    own += run.len();
                }
            }
        }
        meta.len = own;
        own > 0
    }
}

/// Where a parcel goes.
struct Sending<'s> {
    post: &'s Post,
    steering: &'s Steering,
    to: Option<Other>,
}

impl Sending<'_> {
    /// From here on the parcel is for that process. False if there is none.
    fn begin(&mut self, other: Other, parcel: &mut Parcel) -> bool {
        if self.to == Some(other) {
            return true;
        }
        self.send(parcel);
        let lives = |generation| self.post.turn_to(self.steering, generation).is_ok();
        let reached = match other.begins {
            true => self.steering.reach(other.generation, lives).is_some(),
            false => lives(other.generation),
        };
        self.to = reached.then_some(other);
        reached
    }

    /// Sends what is packed. What does not arrive was lost on the way, as packets may be.
    fn send(&mut self, parcel: &mut Parcel) {
        if self.to.is_some() && !parcel.is_empty() {
            let _ = self.post.out.send(parcel.seal(self.steering.parcels()));
            *parcel = Parcel::new();
        }
    }
}

impl Post {
    fn open(steering: &Steering, local: SocketAddr) -> io::Result<Post> {
        let name = steering.house(steering.generation(), local);
        let inbox = unix::UnixDatagram::bind_addr(&unix::SocketAddr::from_abstract_name(name)?)?;
        inbox.set_nonblocking(true)?;
        let out = unix::UnixDatagram::unbound()?;
        out.set_nonblocking(true)?;
        Ok(Post { inbox: UnixDatagram::from_std(inbox)?, out, local })
    }

    /// What is sent now goes to that generation. It fails where nobody lives.
    fn turn_to(&self, steering: &Steering, generation: u8) -> io::Result<()> {
        let name = steering.house(generation, self.local);
        self.out.connect_addr(&unix::SocketAddr::from_abstract_name(name)?)
    }

    fn poll_inbox(
        &self,
        cx: &mut Context<'_>,
        steering: &Steering,
        bufs: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.inbox.poll_recv_ready(cx))?;
            let mut parcel = vec![0; LARGEST];
            match self.inbox.try_recv(&mut parcel) {
                Ok(length) => {
                    let parcel = parcel.get(..length).unwrap_or_default();
                    let used = unpack(parcel, steering.parcels(), bufs, metas);
                    if used > 0 {
                        return Poll::Ready(Ok(used));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncUdpSocket for Steered {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.udp.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.udp.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let Some(post) = &self.post else { return self.udp.poll_recv(cx, bufs, metas) };
        let inbox_first = self.turn.fetch_xor(true, Ordering::Relaxed);
        for _ in 0..PATIENCE {
            let mut read = Poll::Pending;
            for from_inbox in [inbox_first, !inbox_first] {
                if read.is_pending() {
                    read = match from_inbox {
                        true => post.poll_inbox(cx, &self.steering, bufs, metas),
                        false => self.udp.poll_recv(cx, bufs, metas),
                    };
                }
            }
            // What was handed here is sorted too: this process may have handed over as well since.
            let read = ready!(read)?;
            let kept = self.sort(post, bufs, metas.get_mut(..read).unwrap_or_default());
            if kept > 0 {
                return Poll::Ready(Ok(kept));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.udp.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.udp.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.udp.may_fragment()
    }
}

impl fmt::Debug for Steered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Steered").field("udp", &self.udp).field("steering", &self.steering).finish()
    }
}
