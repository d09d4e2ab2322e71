//! The sockets of one place: one, or one for each worker. A set only grows while its place is listened on, since a
//! socket that is closed resets who waits in its queue.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use evergate_contract::config::{ListenAddress, Place, SocketOptions};
use evergate_kit::{Fds, fds, unix::UnixError};

use super::Listening;

/// A place that is listened on.
#[derive(Debug)]
pub(crate) struct Bound {
    /// What the document asked for.
    pub place: Place,
    sockets: Vec<Arc<Listening>>,
    /// Sockets that were open before on a part of this place. The kernel gives them the connections to that part for
    /// as long as they are open.
    absorbed: Vec<Arc<Listening>>,
}

/// What opening a socket takes beside its place.
#[derive(Clone, Copy)]
pub(crate) struct Opening<'a> {
    /// As the document has it.
    pub options: &'a SocketOptions,
    /// The listener.
    pub who: &'a str,
    /// Sockets of this process and the one before.
    pub fds: &'a Fds,
}

impl Bound {
    /// The sockets that the process before had there, or a new one. `own` are those that are open already: where a place
    /// overlaps with one of them (`0.0.0.0:80` and `127.0.0.1:80`), both may be open at once while the one gives way to
    /// the other.
    pub(crate) fn at(place: &Place, own: &[Arc<Bound>], cx: Opening<'_>) -> Result<Bound, UnixError> {
        match Bound::inherited(place, cx) {
            Some(bound) => Ok(bound),
            None => Bound::open(place, own, cx),
        }
    }

    /// What the process before left of a place, with what it had absorbed.
    fn inherited(place: &Place, cx: Opening<'_>) -> Option<Bound> {
        let names = cx.fds.inherited();
        let sockets = inherited(place, &name(place, cx.who), &names, cx.fds);
        let parts = names.iter().filter_map(|name| Some((named(name)?, name)));
        let parts = parts.filter(|(part, _)| !sockets.is_empty() && covers(place, part));
        let absorbed = parts.flat_map(|(part, name)| inherited(&part, name, &names, cx.fds)).collect();
        (!sockets.is_empty()).then(|| Bound { place: place.clone(), sockets, absorbed })
    }

    fn open(place: &Place, own: &[Arc<Bound>], cx: Opening<'_>) -> Result<Bound, UnixError> {
        let own = own.iter().flat_map(|bound| bound.all());
        let overlapping: Vec<_> = own.filter(|socket| overlaps(place, &socket.place)).collect();
        let beside: Vec<&Listening> = overlapping.iter().map(|socket| &***socket).collect();
        let socket = Listening::bind(place, cx.options.mode(), &beside, cx.fds, &name(place, cx.who))?;
        socket.listen(cx.options, &beside)?;
        let absorbed = overlapping.into_iter().filter(|socket| covers(place, &socket.place)).cloned();
        Ok(Bound { place: place.clone(), absorbed: absorbed.collect(), sockets: vec![Arc::new(socket)] })
    }

    /// A place where nobody connects.
    pub(crate) fn none(place: &Place) -> Bound {
        Bound { place: place.clone(), sockets: Vec::new(), absorbed: Vec::new() }
    }

    /// The same place with at least so many sockets. Those that are new are bound, so that it is known that they can be
    /// had, and take no connection before they are tuned.
    pub(crate) fn with(self: &Arc<Bound>, count: usize, cx: Opening<'_>) -> Result<Arc<Bound>, UnixError> {
        let mut sockets = self.sockets.clone();
        // With a port of 0 the first one has found it.
        let place = sockets.first().map_or_else(|| self.place.clone(), |socket| socket.place.clone());
        while sockets.len() < count {
            let beside: Vec<&Listening> = sockets.iter().map(|socket| &**socket).collect();
            let name = format!("{} #{}", name(&self.place, cx.who), sockets.len());
            let socket = Listening::bind(&place, 0, &beside, cx.fds, &name)?;
            sockets.push(Arc::new(socket));
        }
        if sockets.len() == self.sockets.len() {
            return Ok(self.clone());
        }
        let (place, absorbed) = (self.place.clone(), self.absorbed.clone());
        Ok(Arc::new(Bound { place, sockets, absorbed }))
    }

    /// Makes the sockets what the document says; what is new begins to listen.
    pub(crate) fn tune(&self, options: &SocketOptions) {
        self.all().for_each(|socket| socket.tune(options));
        for socket in self.all().filter(|socket| !socket.listens()) {
            // Without it the others take its part.
            if let Err(error) = socket.listen(options, &[]) {
                tracing::warn!(address = %socket.place.address, %error, "one socket less listens");
            }
        }
    }

    /// Every socket.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Listening>> {
        self.sockets.iter().chain(&self.absorbed)
    }

    /// The address where it really is; a Unix socket has none.
    #[must_use]
    pub(crate) fn ip(&self) -> Option<SocketAddr> {
        self.sockets.first().map_or(&self.place, |socket| &socket.place).address.ip()
    }

    /// Where it really is: a port of 0 in the document is a real one here.
    #[must_use]
    pub(crate) fn actual(&self) -> String {
        let place = self.sockets.first().map_or(&self.place, |socket| &socket.place);
        place.address.to_string()
    }
}

/// All that was opened and is not freed, also what no revision names any more and workers are about to close.
#[derive(Default)]
pub(crate) struct Places(Mutex<Vec<Weak<Bound>>>);

impl Places {
    /// One more.
    pub(crate) fn add(&self, bound: &Arc<Bound>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|bound| bound.strong_count() > 0);
        all.push(Arc::downgrade(bound));
    }

    /// Waits until workers have closed what was listened on there and is not among `open`: a listener may come back
    /// faster than they see that it went.
    pub(crate) fn wait_for(&self, place: &Place, open: &[Arc<Bound>]) {
        let until = Instant::now() + CLOSING_MAX;
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let leaving = all.iter().filter_map(Weak::upgrade).filter(|bound| bound.place.overlaps(place));
        let leaving = leaving
            .filter(|bound| !open.iter().any(|o| o.all().any(|s| bound.all().any(|b| Arc::ptr_eq(s, b)))));
        for bound in leaving {
            while bound.all().any(|socket| !socket.is_closed()) && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

/// Workers close sockets at the end of what they do just then.
const CLOSING_MAX: Duration = Duration::from_secs(1);

/// The name of the first socket of a place; further ones have a number behind it.
fn name(place: &Place, who: &str) -> String {
    let name = match &place.address {
        ListenAddress::Ip(address) => fds::tcp(*address, who),
        ListenAddress::Unix(path) => fds::unix(path),
    };
    if place.v6_only { name + ONLY_V6 } else { name }
}

/// Ends the name of a socket that takes IPv6 alone.
const ONLY_V6: &str = " v6";

/// The place of a name.
fn named(name: &str) -> Option<Place> {
    let address = name.strip_prefix("tcp ")?;
    let v6_only = address.ends_with(ONLY_V6);
    let address = address.strip_suffix(ONLY_V6).unwrap_or(address).parse().ok()?;
    Some(Place { address: ListenAddress::Ip(address), v6_only })
}

fn inherited(place: &Place, first: &str, names: &[String], fds: &Fds) -> Vec<Arc<Listening>> {
    let further = |name: &str| name.strip_prefix(first).is_some_and(|rest| rest.starts_with(" #"));
    let mut names: Vec<_> = names.iter().filter(|name| *name == first || further(name)).collect();
    names.sort_unstable();
    names.into_iter().filter_map(|name| Listening::inherit(place, fds, name).map(Arc::new)).collect()
}

fn ips(a: &Place, b: &Place) -> Option<(SocketAddr, SocketAddr)> {
    let (a, b) = (a.address.ip()?, b.address.ip()?);
    (a.port() != 0 && a.port() == b.port()).then_some((a, b))
}

/// True if the kernel would take one for the other.
fn overlaps(a: &Place, b: &Place) -> bool {
    let any = |ip: IpAddr| ip.is_unspecified();
    ips(a, b).is_some_and(|(a, b)| any(a.ip()) || any(b.ip()))
}

/// True if every connection to `b` could be taken by `a`, and not the other way round.
fn covers(a: &Place, b: &Place) -> bool {
    let Some((ip_a, ip_b)) = ips(a, b) else { return false };
    let takes_family = ip_a.is_ipv4() == ip_b.is_ipv4() || (ip_a.is_ipv6() && !a.v6_only);
    let same_any = ip_b.ip().is_unspecified() && ip_a.is_ipv4() == ip_b.is_ipv4();
    ip_a.ip().is_unspecified() && takes_family && (!same_any || (b.v6_only && !a.v6_only))
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    fn place(address: &str) -> Place {
        Place { address: address.parse().unwrap(), v6_only: false }
    }

    fn open(place: &Place, own: &[Arc<Bound>]) -> Result<Bound, UnixError> {
        let (options, fds) = (SocketOptions::default(), Fds::default());
        Bound::at(place, own, Opening { options: &options, who: "a", fds: &fds })
    }

    #[test]
    fn overlapping_addresses_of_our_own_can_follow_each_other() {
        let any = Arc::new(open(&place("0.0.0.0:0"), &[]).unwrap());
        let port = any.actual().parse::<SocketAddr>().unwrap().port();
        let loopback = place(&format!("127.0.0.1:{port}"));
        assert!(open(&loopback, &[]).is_err(), "a stranger's address is in use");
        let moved = open(&loopback, std::slice::from_ref(&any)).unwrap();
        assert_eq!(moved.actual(), loopback.address.to_string());
        assert!(open(&loopback, &[]).is_err(), "and stays so");
        drop(any);
        let again = open(&place(&format!("0.0.0.0:{port}")), &[Arc::new(moved)]).unwrap();
        assert_eq!(again.all().count(), 2, "the narrower one goes on for its part");
    }

    #[test]
    fn ipv4_is_taken_in_and_left_out() {
        let both = Arc::new(open(&place("[::]:0"), &[]).unwrap());
        let port = both.actual().parse::<SocketAddr>().unwrap().port();
        let v6 = Place { address: format!("[::]:{port}").parse().unwrap(), v6_only: true };
        let v6 = Arc::new(open(&v6, std::slice::from_ref(&both)).unwrap());
        assert_eq!(v6.all().count(), 1, "what is wider is not taken over");
        drop(both);
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
        assert!(TcpStream::connect(("::1", port)).is_ok());
        let both = open(&place(&format!("[::]:{port}")), &[v6]).unwrap();
        assert_eq!(both.all().count(), 2);
        assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
        assert!(TcpStream::connect(("::1", port)).is_ok());
    }

    #[test]
    fn what_the_process_before_left_is_taken() {
        let any = Arc::new(open(&place("0.0.0.0:0"), &[]).unwrap());
        let port = any.actual().parse::<SocketAddr>().unwrap().port();
        let narrow = place(&format!("127.0.0.1:{port}"));
        let narrow = Arc::new(open(&narrow, std::slice::from_ref(&any)).unwrap());
        let other = open(&place("127.0.0.1:0"), &[]).unwrap();
        let socket = |bound: &Bound| bound.all().next().unwrap().duplicate().unwrap();
        let fds = Fds::new(
            vec![
                (format!("tcp 0.0.0.0:{port}"), socket(&any)),
                (format!("tcp 0.0.0.0:{port} #1"), socket(&any)),
                (format!("tcp 127.0.0.1:{port}"), socket(&narrow)),
                ("tcp 127.0.0.1:0 web".to_owned(), socket(&other)),
            ],
            None,
        );
        let options = SocketOptions::default();
        let at = |address: &str, who| {
            Bound::at(&place(address), &[], Opening { options: &options, who, fds: &fds })
        };
        let taken = at(&format!("0.0.0.0:{port}"), "web").unwrap();
        assert_eq!(taken.all().count(), 3, "one for each of two workers, and the part that was absorbed");
        assert!(taken.all().all(|socket| socket.listens()));
        assert_eq!(at("127.0.0.1:0", "web").unwrap().actual(), other.actual());
        assert_ne!(at("127.0.0.1:0", "api").unwrap().actual(), other.actual(), "somebody else's");
    }

    /// Connections that wait on each socket.
    fn waiting(bound: &Bound) -> Vec<usize> {
        let count = |socket: &Arc<Listening>| std::iter::from_fn(|| socket.accept().ok()).count();
        bound.all().map(count).collect()
    }

    #[test]
    fn sockets_of_a_place_share_what_comes_only_while_they_are_to() {
        let mut options = SocketOptions::default();
        let one = Arc::new(open(&place("127.0.0.1:0"), &[]).unwrap());
        one.tune(&options);
        let address: SocketAddr = one.actual().parse().unwrap();
        let connect = |n: usize| (0..n).map(|_| TcpStream::connect(address).unwrap()).collect::<Vec<_>>();
        let fds = Fds::default();
        let four = one.with(4, Opening { options: &options, who: "a", fds: &fds }).unwrap();
        let early = connect(40);
        assert_eq!(waiting(&four), [40, 0, 0, 0], "nothing comes to what is only bound");
        options.reuse_port = true;
        four.tune(&options);
        let shared = connect(80);
        let spread = waiting(&four);
        assert_eq!(spread.iter().sum::<usize>(), 80);
        assert!(spread.iter().all(|n| *n > 0), "{spread:?}");
        options.reuse_port = false;
        four.tune(&options);
        let alone = connect(40);
        let all = waiting(&four);
        assert_eq!((all.iter().sum::<usize>(), all.iter().max()), (40, Some(&40)), "{all:?}");
        assert!(open(&place(&address.to_string()), &[]).is_err(), "a stranger may not join");
        drop((early, shared, alone));
    }

    #[test]
    fn connections_have_from_their_socket_what_is_set_there() {
        let mut options = SocketOptions::default();
        let bound = open(&place("127.0.0.1:0"), &[]).unwrap();
        let address: SocketAddr = bound.actual().parse().unwrap();
        let accepted = || {
            let _client = TcpStream::connect(address).unwrap();
            bound.all().next().unwrap().accept().unwrap().0
        };
        bound.tune(&options);
        let first = accepted();
        assert!(first.tcp_nodelay().unwrap());
        assert_eq!(first.tcp_keepalive_time().unwrap().as_secs(), 60);
        options.keep_alive = Some(serde_json::from_str(r#""20s""#).unwrap());
        bound.tune(&options);
        let second = accepted();
        assert_eq!(second.tcp_keepalive_time().unwrap().as_secs(), 20);
        assert_eq!(second.tcp_keepalive_interval().unwrap().as_secs(), 5);
        options.keep_alive = Some(serde_json::from_str(r#""off""#).unwrap());
        bound.tune(&options);
        assert!(!accepted().keepalive().unwrap());
        assert!(first.keepalive().unwrap() && second.keepalive().unwrap(), "those that are open stay");
    }
}
