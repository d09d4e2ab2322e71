//! One connection of the paced client: a question out, an answer in.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use super::Said;

/// A question on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    pub(super) at: Duration,
    pub(super) ask: usize,
}

pub(super) struct Line {
    pub(super) stream: TcpStream,
    pub(super) due: Option<Due>,
    buf: Vec<u8>,
}

/// What reading brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing whole yet.
    More,
    /// The end of a question.
    Done(Said, Keep),
}

/// Whether a connection can be asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    Yes,
    No,
}

impl Line {
    pub(super) fn open(address: SocketAddr) -> std::io::Result<Line> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Line { stream, due: None, buf: Vec::with_capacity(4096) })
    }

    /// Sends a question; it fits into the socket's buffer.
    pub(super) fn ask(&mut self, due: Due, request: &[u8]) -> Result<(), Said> {
        self.buf.clear();
        self.due = Some(due);
        match self.stream.write(request) {
            Ok(n) if n == request.len() => Ok(()),
            Ok(_) => Err(Said::Bad),
            Err(error) => Err(why(error.kind())),
        }
    }

    /// Reads what is there.
    pub(super) fn read(&mut self) -> Progress {
        let mut piece = [0; 16 << 10];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return Progress::Done(Said::Closed, Keep::No),
                Ok(n) => self.buf.extend_from_slice(&piece[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Progress::More,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Progress::Done(why(e.kind()), Keep::No),
            }
            match answer(&self.buf) {
                Progress::More => {}
                done => return done,
            }
        }
    }
}

fn why(kind: ErrorKind) -> Said {
    match kind {
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => Said::Reset,
        ErrorKind::ConnectionRefused => Said::Refused,
        _ => Said::Bad,
    }
}

/// An answer with a known length, as far as it is there.
fn answer(bytes: &[u8]) -> Progress {
    let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else { return Progress::More };
    let bad = Progress::Done(Said::Bad, Keep::No);
    let Ok(head) = std::str::from_utf8(&bytes[..end]) else { return bad };
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|l| l.strip_prefix("HTTP/1.1 ")).and_then(|l| l.get(..3));
    let Some(status) = status.and_then(|s| s.parse().ok()) else { return bad };
    let (mut length, mut keep) = (None, Keep::Yes);
    for (name, value) in lines.filter_map(|l| l.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse::<usize>().ok();
        } else if name.eq_ignore_ascii_case("connection") && value.trim().eq_ignore_ascii_case("close") {
            keep = Keep::No;
        }
    }
    let Some(length) = length else {
        // A refusal that ends with its connection says enough by its status.
        return if status == 200 { bad } else { Progress::Done(Said::Answer(status, 0), Keep::No) };
    };
    let body = &bytes[end + 4..];
    if body.len() < length {
        return Progress::More;
    }
    let first = if length == 0 { 0 } else { body[0] };
    Progress::Done(Said::Answer(status, first), keep)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_understood() {
        let whole = |status, first, keep| Progress::Done(Said::Answer(status, first), keep);
        let bad = || Progress::Done(Said::Bad, Keep::No);
        for (text, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", whole(200, b'a', Keep::Yes)),
            (
                "HTTP/1.1 200 OK\r\ncontent-length:3\r\nconnection: Close\r\n\r\nabc",
                whole(200, b'a', Keep::No),
            ),
            ("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", whole(503, 0, Keep::Yes)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", Progress::More),
            ("HTTP/1.1 200 OK\r\nContent-Le", Progress::More),
            ("", Progress::More),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", bad()),
            ("HTTP/1.1 404 No\r\nConnection: close\r\n\r\nno", whole(404, 0, Keep::No)),
            ("SSH-2.0 hello\r\n\r\n", bad()),
        ] {
            assert_eq!(answer(text.as_bytes()), expected, "{text}");
        }
    }
}
