//! A backend that answers datagrams, and a client of it.

use std::{
    collections::{BTreeMap, HashSet},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{net::UdpSocket, task::JoinHandle, time::timeout};

use crate::ports;

/// Longer than anything that is not lost.
const PATIENCE: Duration = Duration::from_secs(20);
/// A datagram that begins so is answered when the next one comes from anybody.
const LATER: &[u8] = b"later";

/// A backend: answers each datagram with its name, a blank, and the datagram.
pub struct Answerer {
    /// Where it is.
    pub address: SocketAddr,
    seen: Arc<Mutex<HashSet<SocketAddr>>>,
    name: String,
    task: Option<JoinHandle<()>>,
}

impl Answerer {
    /// Starts one.
    pub async fn start(name: &str) -> Answerer {
        let seen = Arc::<Mutex<HashSet<SocketAddr>>>::default();
        // Between a look and the binding, another process that looks may hold a port for a moment.
        for _ in 0..20 {
            let address = ports::free();
            if let Ok(socket) = UdpSocket::bind(address).await {
                let task = tokio::spawn(answer(socket, name.to_owned(), Arc::clone(&seen)));
                return Answerer { address, seen, name: name.to_owned(), task: Some(task) };
            }
        }
        panic!("free ports were taken again and again");
    }

    /// Answers again.
    pub async fn open(&mut self) {
        let socket = UdpSocket::bind(self.address).await.expect("a free address");
        self.task = Some(tokio::spawn(answer(socket, self.name.clone(), Arc::clone(&self.seen))));
    }

    /// Answers no more: who sends something is told that nobody is there.
    pub async fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            // However it ends, the socket is closed then.
            let _ = task.await;
        }
    }

    /// `udp://` and its address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("udp://{}", self.address)
    }

    /// From how many addresses it was written to.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.seen.lock().expect("no panic").len()
    }
}

impl Drop for Answerer {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn answer(socket: UdpSocket, name: String, seen: Arc<Mutex<HashSet<SocketAddr>>>) {
    let mut buffer = vec![0; 64 << 10];
    let mut later = Vec::new();
    loop {
        let Ok((n, from)) = socket.recv_from(&mut buffer).await else { continue };
        seen.lock().expect("no panic").insert(from);
        let answer = [name.as_bytes(), b" ", &buffer[..n]].concat();
        if buffer[..n].starts_with(LATER) {
            later.push((answer, from));
            continue;
        }
        for (answer, to) in later.drain(..).chain([(answer, from)]) {
            // Who does not take it has gone.
            let _ = socket.send_to(&answer, to).await;
        }
    }
}

/// A client with a socket of its own.
pub struct Asker {
    socket: UdpSocket,
    to: SocketAddr,
}

impl Asker {
    /// One that writes there, and hears what comes from there.
    pub async fn new(to: SocketAddr) -> Asker {
        let socket = UdpSocket::bind((to.ip(), 0)).await.expect("a socket");
        socket.connect(to).await.expect("an address");
        Asker { socket, to }
    }

    /// Where it writes to.
    #[must_use]
    pub fn to(&self) -> SocketAddr {
        self.to
    }

    /// Sends a datagram.
    pub async fn say(&self, datagram: &[u8]) {
        // That an earlier one was not taken is said here; what counts is what is heard.
        let _ = self.socket.send(datagram).await;
    }

    /// The next datagram; nothing if none comes within that time, or nobody is there.
    pub async fn hear(&self, within: Duration) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 64 << 10];
        let n = timeout(within, self.socket.recv(&mut buffer)).await.ok()?.ok()?;
        buffer.truncate(n);
        Some(buffer)
    }

    /// Says something and hears who answers. Panics if nobody does, or something else.
    pub async fn by(&self, text: &str) -> String {
        self.say(text.as_bytes()).await;
        let heard = self.hear(PATIENCE).await.expect("an answer");
        let heard = String::from_utf8(heard).expect("text");
        let (name, said) = heard.split_once(' ').expect("a name");
        assert_eq!(said, text, "another answer");
        name.to_owned()
    }
}

/// How often a client of a [`Flood`] sends a datagram.
const BEAT: Duration = Duration::from_millis(2);
/// Datagrams of one client that are not answered so far: more than fit into a socket's buffer are the test's own fault.
const OPEN_MAX: usize = 16;

/// Clients that send datagrams all the time, whether they are answered or not. Each datagram is a number.
pub struct Flood {
    to: Arc<Mutex<SocketAddr>>,
    answered: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Heard>>,
}

/// What the clients of a [`Flood`] heard.
#[derive(Debug, Default)]
pub struct Heard {
    /// Datagrams that were answered, once or more often.
    pub answered: u64,
    /// Datagrams that were not: whose, and the first and the last of those that followed each other.
    pub lost: Vec<(usize, u64, u64)>,
    /// Answers that did not come from where the question went.
    pub astray: u64,
}

impl Heard {
    fn misses(&mut self, n: u64) {
        match self.lost.last_mut() {
            Some((_, _, last)) if *last + 1 == n => *last = n,
            _ => self.lost.push((0, n, n)),
        }
    }
}

impl Flood {
    /// So many clients with a socket each, and one more that takes another socket for each datagram.
    pub async fn start(to: SocketAddr, clients: usize) -> Flood {
        let (to, answered, over) = (Arc::new(Mutex::new(to)), Arc::default(), Arc::default());
        let mut flood = Flood { to, answered, over, clients: Vec::new() };
        for n in 0..=clients {
            let (to, answered, over) = (flood.to.clone(), flood.answered.clone(), flood.over.clone());
            let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
            flood.clients.push(match n {
                0 => tokio::spawn(always_new(to, answered, over)),
                _ => tokio::spawn(steady(socket, to, answered, over)),
            });
        }
        flood.more(1).await;
        flood
    }

    /// Later datagrams go there.
    pub fn turn_to(&self, to: SocketAddr) {
        *self.to.lock().expect("no panic") = to;
    }

    /// Waits until so many more were answered.
    pub async fn more(&self, answers: u64) {
        let enough = self.answered.load(Ordering::Relaxed) + answers;
        let heard = async {
            while self.answered.load(Ordering::Relaxed) < enough {
                tokio::time::sleep(BEAT).await;
            }
        };
        timeout(PATIENCE, heard).await.expect("answers come");
    }

    /// Sends no more, and waits for what is to come.
    pub async fn stop(self) -> Heard {
        self.over.store(true, Ordering::Relaxed);
        let mut all = Heard::default();
        for (n, client) in self.clients.into_iter().enumerate() {
            let heard = client.await.expect("no panic");
            all.answered += heard.answered;
            all.astray += heard.astray;
            all.lost.extend(heard.lost.into_iter().map(|(_, first, last)| (n, first, last)));
        }
        all
    }
}

async fn steady(
    socket: UdpSocket,
    to: Arc<Mutex<SocketAddr>>,
    answered: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
) -> Heard {
    let (mut heard, mut open, mut buffer) = (Heard::default(), BTreeMap::new(), [0; 100]);
    let mut beat = tokio::time::interval(BEAT);
    let mut next = 0_u64;
    loop {
        let is_over = over.load(Ordering::Relaxed);
        if is_over && open.is_empty() {
            return heard;
        }
        tokio::select! {
            _ = beat.tick(), if !is_over && open.len() < OPEN_MAX => {
                let to = *to.lock().expect("no panic");
                open.insert(next, to);
                // That an earlier one was not taken may be said here.
                while socket.send_to(next.to_string().as_bytes(), to).await.is_err() {}
                next += 1;
            }
            received = timeout(PATIENCE, socket.recv_from(&mut buffer)) => {
                let Ok(received) = received else {
                    open.keys().for_each(|n| heard.misses(*n));
                    return heard;
                };
                let Ok((n, from)) = received else { continue };
                if let Some(asked) = number(&buffer[..n]).and_then(|n| open.remove(&n)) {
                    heard.astray += u64::from(asked != from);
                    heard.answered += 1;
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

/// The number behind the name of who answers.
fn number(answer: &[u8]) -> Option<u64> {
    std::str::from_utf8(answer).ok()?.split_once(' ')?.1.parse().ok()
}

async fn always_new(to: Arc<Mutex<SocketAddr>>, answered: Arc<AtomicU64>, over: Arc<AtomicBool>) -> Heard {
    let (mut heard, mut next) = (Heard::default(), 0);
    while !over.load(Ordering::Relaxed) {
        let to = *to.lock().expect("no panic");
        let client = Asker::new(to).await;
        client.say(next.to_string().as_bytes()).await;
        match client.hear(PATIENCE).await.as_deref().and_then(number) {
            Some(n) if n == next => {
                heard.answered += 1;
                answered.fetch_add(1, Ordering::Relaxed);
            }
            _ => heard.misses(next),
        }
        next += 1;
        tokio::time::sleep(BEAT).await;
    }
    heard
}
