//! What the kernel knows of TCP sockets on IPv4: `/proc/net/tcp`.

/// A line of the table.
struct Entry {
    port: u16,
    state: u8,
    /// Which timer runs: 2 is keep-alive.
    timer: u8,
    /// Until it fires, in hundredths of a second.
    when: u64,
}

const ESTABLISHED: u8 = 1;
const LISTEN: u8 = 10;
const KEEP_ALIVE: u8 = 2;

fn entries() -> Vec<Entry> {
    let text = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
    text.lines().skip(1).filter_map(entry).collect()
}

fn entry(line: &str) -> Option<Entry> {
    let mut columns = line.split_whitespace().skip(1);
    let port = u16::from_str_radix(columns.next()?.split_once(':')?.1, 16).ok()?;
    let state = u8::from_str_radix(columns.nth(1)?, 16).ok()?;
    let (timer, when) = columns.nth(1)?.split_once(':')?;
    let (timer, when) = (u8::from_str_radix(timer, 16).ok()?, u64::from_str_radix(when, 16).ok()?);
    Some(Entry { port, state, timer, when })
}

/// Sockets that listen on that port.
#[must_use]
pub fn listening(port: u16) -> usize {
    entries().iter().filter(|e| e.port == port && e.state == LISTEN).count()
}

/// For each connection that was accepted on that port: the seconds until the kernel asks whether the peer lives,
/// rounded up; `None` if it will not ask.
#[must_use]
pub fn keep_alives(port: u16) -> Vec<Option<u64>> {
    let open = entries().into_iter().filter(|e| e.port == port && e.state == ESTABLISHED);
    open.map(|e| (e.timer == KEEP_ALIVE).then_some(e.when.div_ceil(100))).collect()
}
