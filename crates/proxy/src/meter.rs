//! What a worker counts. Plain cells on its own thread, copied out when somebody asks.

mod streams;

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
    hash::{BuildHasherDefault, Hasher},
    rc::Rc,
    time::Duration,
};

use evergate_contract::{
    FaultKind,
    config::Name,
    status::{RequestCount, Traffic},
};
use evergate_kit::{Counter, Histogram, HistogramCounts};
use http::{Method, StatusCode};

use streams::StreamSum;
pub(crate) use streams::{Dropped, End, StreamMeter};

/// Routes that have label values of their own; further ones are counted together, so that a scrape stays small
/// however many routes there are.
const ROUTES_MAX: usize = 1000;
const OTHER: &str = "_other";
/// Listeners whose streams are counted apart.
const LISTENERS_MAX: usize = 1000;

/// Counters of one worker.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    requests: RefCell<HashMap<Key, Counted, BuildHasherDefault<Mix>>>,
    routes: RefCell<HashMap<u32, Name, BuildHasherDefault<Mix>>>,
    refused: RefCell<HashMap<&'static str, u64>>,
    streams: RefCell<BTreeMap<Name, Rc<StreamMeter>>>,
    durations: Histogram,
    /// Requests in flight.
    pub active: Cell<u64>,
    /// Tunnels that are open.
    pub tunnels: Cell<u64>,
    /// Body bytes from clients.
    pub bytes_in: Counter,
    /// Body bytes to clients.
    pub bytes_out: Counter,
}

type Key = u64;
type Counted = u64;

/// Hash of small integers: one multiplication. The keys are ours, nobody can choose them.
#[derive(Debug, Default)]
pub(crate) struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.write_u64(u64::from(*b)));
    }
    fn write_u32(&mut self, n: u32) {
        self.write_u64(u64::from(n));
    }
    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0 ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
}

impl Meter {
    /// Counts a finished request; `number` is that of [`Meter::number`], 0 if no route took it.
    pub(crate) fn request(&self, number: u32, method: &Method, status: StatusCode, took: Duration) {
        let key =
            u64::from(number) << 32 | u64::from(method_number(method)) << 16 | u64::from(status.as_u16());
        *self.requests.borrow_mut().entry(key).or_insert(0) += 1;
        self.durations.record(took);
    }

    /// Counts a request that reached no route.
    pub(crate) fn refused(&self, kind: FaultKind) {
        *self.refused.borrow_mut().entry(kind.code()).or_insert(0) += 1;
    }

    /// Where to count what a listener carries as a stream. One look-up for each stream.
    pub(crate) fn streams(&self, listener: &Name) -> Rc<StreamMeter> {
        let mut streams = self.streams.borrow_mut();
        if let Some(known) = streams.get(listener) {
            return known.clone();
        }
        let name = if streams.len() < LISTENERS_MAX { listener.clone() } else { OTHER.into() };
        streams.entry(name).or_default().clone()
    }

    /// The number to count the requests of a route by: its own, unless there are too many. Of one of many the name is not even
    /// looked at, which would have to be waited for.
    pub(crate) fn number(&self, route: u32, name: &Name) -> u32 {
        let (known, count) = {
            let routes = self.routes.borrow();
            (routes.contains_key(&route), routes.len())
        };
        match known {
            true => {}
            false if count >= ROUTES_MAX => return u32::MAX,
            false => self.first_of(route, name),
        }
        route
    }

    #[cold]
    #[inline(never)]
    fn first_of(&self, route: u32, name: &Name) {
        // Or the compiler has the name fetched from memory before each request that does not come here.
        let name = std::hint::black_box(name);
        self.routes.borrow_mut().insert(route, Name::clone(name));
    }

    /// Adds all that was counted to `sum`.
    pub(crate) fn add_to(&self, sum: &mut Sum) {
        let routes = self.routes.borrow();
        for (key, count) in self.requests.borrow().iter() {
            let route = match (key >> 32) as u32 {
                0 => Name::from(""),
                number => routes.get(&number).cloned().unwrap_or_else(|| OTHER.into()),
            };
            let method = METHODS.get((key >> 16 & 0xff) as usize).map_or("OTHER", |m| m.1);
            *sum.requests.entry((route, method, (key & 0xffff) as u16)).or_insert(0) += count;
        }
        for (code, count) in self.refused.borrow().iter() {
            *sum.refused.entry(code).or_insert(0) += count;
        }
        for (name, streams) in self.streams.borrow().iter() {
            sum.streams.entry(name.clone()).or_default().merge(&streams.counts());
        }
        sum.durations.merge(&self.durations.counts());
        sum.active += self.active.get();
        sum.tunnels += self.tunnels.get();
        sum.bytes_in += self.bytes_in.get();
        sum.bytes_out += self.bytes_out.get();
    }
}

/// What several workers have counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sum {
    requests: BTreeMap<(Name, &'static str, u16), u64>,
    refused: BTreeMap<&'static str, u64>,
    streams: BTreeMap<Name, StreamSum>,
    durations: HistogramCounts,
    active: u64,
    tunnels: u64,
    bytes_in: u64,
    bytes_out: u64,
}

impl Sum {
    /// Adds what others have counted.
    pub(crate) fn merge(&mut self, other: &Sum) {
        for (labels, count) in &other.requests {
            *self.requests.entry(labels.clone()).or_insert(0) += count;
        }
        for (code, count) in &other.refused {
            *self.refused.entry(code).or_insert(0) += count;
        }
        for (name, streams) in &other.streams {
            self.streams.entry(name.clone()).or_default().merge(streams);
        }
        self.durations.merge(&other.durations);
        self.active += other.active;
        self.tunnels += other.tunnels;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
    }

    /// As others read it.
    #[must_use]
    pub(crate) fn into_traffic(self, connections: Vec<(Name, u64)>) -> Traffic {
        let count = |((route, method, status), count)| RequestCount { method, route, status, count };
        Traffic {
            requests: self.requests.into_iter().map(count).collect(),
            duration_buckets: self.durations.cumulative().collect(),
            duration_sum: self.durations.sum_seconds(),
            active: self.active,
            connections,
            tunnels: self.tunnels,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            refused: self.refused.into_iter().collect(),
            streams: self.streams.into_iter().map(|(name, sum)| sum.into_count(name)).collect(),
        }
    }
}

const METHODS: [(Method, &str); 9] = [
    (Method::GET, "GET"),
    (Method::HEAD, "HEAD"),
    (Method::POST, "POST"),
    (Method::PUT, "PUT"),
    (Method::DELETE, "DELETE"),
    (Method::OPTIONS, "OPTIONS"),
    (Method::PATCH, "PATCH"),
    (Method::CONNECT, "CONNECT"),
    (Method::TRACE, "TRACE"),
];

fn method_number(method: &Method) -> u8 {
    METHODS.iter().position(|(m, _)| m == method).map_or(u8::MAX, |n| n as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_are_bounded() {
        let meter = Meter::default();
        for n in 1..=5000 {
            let number = meter.number(n, &format!("r{n}").into());
            meter.request(number, &Method::GET, StatusCode::OK, Duration::ZERO);
        }
        let mut sum = Sum::default();
        meter.add_to(&mut sum);
        let sum = sum.into_traffic(Vec::new());
        assert_eq!(sum.requests.len(), ROUTES_MAX + 1);
        assert_eq!(sum.requests.iter().map(|r| r.count).sum::<u64>(), 5000);
        let other = sum.requests.iter().find(|r| &*r.route == OTHER).unwrap();
        assert_eq!(other.count, 5000 - ROUTES_MAX as u64);
    }

    #[test]
    fn workers_add_up() {
        let mut sum = Sum::default();
        for _ in 0..2 {
            let meter = Meter::default();
            meter.request(
                meter.number(1, &"a".into()),
                &Method::GET,
                StatusCode::OK,
                Duration::from_millis(3),
            );
            meter.request(
                0,
                &Method::from_bytes(b"PURGE").unwrap(),
                StatusCode::NOT_FOUND,
                Duration::from_secs(99),
            );
            meter.add_to(&mut sum);
        }
        let sum = sum.into_traffic(Vec::new());
        let mut seen: Vec<_> =
            sum.requests.iter().map(|r| (r.method, &*r.route, r.status, r.count)).collect();
        seen.sort_unstable();
        assert_eq!(seen, [("GET", "a", 200, 2), ("OTHER", "", 404, 2)]);
        assert_eq!(sum.duration_buckets.last().unwrap().1, 4);
        assert_eq!(sum.duration_buckets.iter().find(|b| b.0 == 0.005).unwrap().1, 2);
    }
}
