//! The content of a file: as it is taken while it is in memory, else a piece ahead of who takes it.

use std::{
    fs::File,
    future::Future,
    io::{self, IoSliceMut},
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use evergate_wire::{Body, BodyError, Frame};
use rustix::{
    buffer::spare_capacity,
    io::{Errno, ReadWriteFlags, pread, preadv2},
};
use tokio::{runtime::Handle, task::JoinHandle};

use crate::root::Reach;

/// Up to so many bytes are read where the file is opened, which spares the small ones every further step.
pub(crate) const AT_ONCE: u64 = 64 << 10;

/// What is read in one go after that. Each stream holds at most two of them: one that is being sent, one ahead.
const PIECE: u64 = 128 << 10;

/// So many pieces are taken from memory in a row; then others have their turn.
const IN_A_ROW: u8 = 4;

/// A part of a file as a body. What it has read already is its first piece.
pub(crate) struct FileBody {
    file: Arc<File>,
    pool: Handle,
    first: Option<Bytes>,
    /// What is done on the pool.
    reading: Option<JoinHandle<io::Result<Bytes>>>,
    /// Where pieces are looked for: in memory until one is not there, then to the end where they are.
    reach: Reach,
    /// Pieces that were taken without waiting since the last turn.
    in_a_row: u8,
    /// Not yet asked of the file.
    rest: Range<u64>,
    /// Not yet given out.
    left: u64,
}

impl FileBody {
    /// `first` are the bytes before `rest`, at least one. Where it has to wait, it reads on the blocking pool of that runtime.
    pub(crate) fn new(file: File, first: Bytes, rest: Range<u64>, pool: Handle) -> FileBody {
        let left = first.len() as u64 + (rest.end - rest.start);
        let (file, first) = (Arc::new(file), Some(first));
        FileBody { file, pool, first, reading: None, reach: Reach::Cached, in_a_row: 0, rest, left }
    }

    /// The part that is next.
    fn piece(&self) -> Range<u64> {
        self.rest.start..self.rest.end.min(self.rest.start + PIECE)
    }

    fn read_on_the_pool(&mut self) {
        if self.rest.is_empty() || self.reading.is_some() {
            return;
        }
        let (file, piece) = (Arc::clone(&self.file), self.piece());
        self.rest.start = piece.end;
        self.reading = Some(self.pool.spawn_blocking(move || read(&file, piece, Reach::Disk)));
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        if self.reading.is_none() && self.rest.is_empty() {
            return Poll::Ready(None);
        }
        if self.reading.is_none() && self.reach == Reach::Cached {
            if self.in_a_row == IN_A_ROW {
                self.in_a_row = 0;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let piece = self.piece();
            match read(&self.file, piece.clone(), Reach::Cached) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => {
                    self.in_a_row += 1;
                    self.rest.start = piece.end;
                    return Poll::Ready(Some(read));
                }
            }
        }
        self.reach = Reach::Disk;
        self.read_on_the_pool();
        let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
        let read = ready!(Pin::new(reading).poll(cx));
        self.reading = None;
        // The next piece is under way while the taker sends this one.
        self.read_on_the_pool();
        // A read that does not come back: the runtime is going down.
        Poll::Ready(Some(read.unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into()))))
    }
}

impl Body for FileBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        let piece = ready!(self.poll_piece(cx));
        if let Some(Ok(piece)) = &piece {
            self.left = self.left.saturating_sub(piece.len() as u64);
        }
        Poll::Ready(piece.map(|piece| piece.map(Frame::Data).map_err(BodyError::from)))
    }

    fn length(&self) -> Option<u64> {
        Some(self.left)
    }
}

/// Reads all of a part. An error if the file has become shorter.
pub(crate) fn read(file: &File, part: Range<u64>, reach: Reach) -> io::Result<Bytes> {
    let length = usize::try_from(part.end - part.start).map_err(io::Error::other)?;
    if reach == Reach::Cached {
        return cached(file, part.start, length);
    }
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let at = part.start + bytes.len() as u64;
        match pread(file, spare_capacity(&mut bytes), at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // The allocation may have been larger than asked for, and the file may have grown.
    bytes.truncate(length);
    Ok(Bytes::from(bytes))
}

/// The same, if all of it is in memory (`RWF_NOWAIT`, Linux 4.14; which file systems can say so differs). Whatever else it is, an
/// end or a fault, is for the other way to find out: some kernels say "end" here where they would have to wait (preadv2(2), BUGS).
fn cached(file: &File, start: u64, length: usize) -> io::Result<Bytes> {
    let mut bytes = vec![0; length];
    let mut done = 0;
    while let Some(room) = bytes.get_mut(done..).filter(|room| !room.is_empty()) {
        match preadv2(file, &mut [IoSliceMut::new(room)], start + done as u64, ReadWriteFlags::NOWAIT) {
            Ok(0) => return Err(io::ErrorKind::WouldBlock.into()),
            Ok(n) => done += n,
            Err(Errno::INTR) => {}
            Err(_) => return Err(io::ErrorKind::WouldBlock.into()),
        }
    }
    Ok(Bytes::from(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use evergate_wire::Payload;
    use std::io::Write;

    fn file(length: u64) -> (File, Vec<u8>) {
        let content: Vec<u8> = (0..length).map(|at| ((at * at) >> 7) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&content).unwrap();
        (file, content)
    }

    /// The pieces of a body, up to its end or error.
    fn pieces(body: FileBody) -> (Vec<Bytes>, Option<BodyError>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut body, mut pieces) = (Payload::Stream(Box::new(body)), Vec::new());
            while let Some(frame) = body.frame().await {
                match frame {
                    Ok(Frame::Data(piece)) => pieces.push(piece),
                    Ok(Frame::Trailers(_)) => panic!("trailers"),
                    Err(error) => return (pieces, Some(error)),
                }
            }
            (pieces, None)
        })
    }

    fn body(file: File, part: Range<u64>, pool: &Handle, reach: Reach) -> FileBody {
        let first = read(&file, part.start..part.start + 1, Reach::Disk).unwrap();
        FileBody { reach, ..FileBody::new(file, first, part.start + 1..part.end, pool.clone()) }
    }

    const BOTH: [Reach; 2] = [Reach::Cached, Reach::Disk];

    /// Where temporary files are on a file system that does not say what is in memory, there is less to test.
    fn can_say(file: &File) -> bool {
        let can = read(file, 0..1, Reach::Cached).is_ok();
        if !can {
            eprintln!("this file system does not say what is in memory");
        }
        can
    }

    #[test]
    fn a_part_arrives_as_it_is() {
        let pool = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let length = 3 * PIECE + 5;
        let parts = [0..length, 0..1, 7..PIECE + 8, PIECE..2 * PIECE + 2, length - 1..length];
        for (part, reach) in parts.into_iter().flat_map(|part| BOTH.map(|reach| (part.clone(), reach))) {
            let (file, content) = file(length);
            let body = body(file, part.clone(), pool.handle(), reach);
            assert_eq!(body.length(), Some(part.end - part.start));
            let (pieces, error) = pieces(body);
            assert_eq!(error, None);
            assert!(pieces.iter().all(|piece| !piece.is_empty() && piece.len() as u64 <= PIECE));
            assert!(pieces.concat() == content[part.start as usize..part.end as usize], "{part:?}");
        }
    }

    #[test]
    fn from_a_disk_it_reads_one_piece_ahead_and_no_more() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (file, _) = file(4 * PIECE);
        let mut body = body(file, 0..4 * PIECE, runtime.handle(), Reach::Disk);
        runtime.block_on(async {
            // The byte that is there at once, then the first piece: with each from the disk the next one is under way.
            for (given, ahead) in [(1, 0), (PIECE + 1, PIECE)] {
                let frame = std::future::poll_fn(|cx| body.poll_frame(cx)).await;
                assert!(matches!(frame, Some(Ok(Frame::Data(_)))));
                assert_eq!((body.reading.is_some(), body.rest.start), (ahead > 0, given + ahead));
                assert_eq!(body.length(), Some(4 * PIECE - given));
            }
        });
    }

    #[test]
    fn what_is_in_memory_needs_no_pool_and_leaves_others_their_turn() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let count = u64::from(IN_A_ROW) * 2 + 1;
        let (file, _) = file(count * PIECE + 1);
        if !can_say(&file) {
            return;
        }
        let mut body = body(file, 0..count * PIECE + 1, runtime.handle(), Reach::Cached);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut given = String::new();
        loop {
            given.push(match body.poll_frame(&mut cx) {
                Poll::Ready(Some(Ok(Frame::Data(_)))) => '.',
                Poll::Pending => '|',
                Poll::Ready(None) => break,
                Poll::Ready(other) => panic!("{other:?}"),
            });
            assert!(body.reading.is_none());
        }
        // The byte that was there, then pieces.
        assert_eq!(given, ".....|....|.");
    }

    #[test]
    fn a_file_that_shrinks_is_an_error() {
        let pool = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for reach in BOTH {
            let (file, _) = file(3 * PIECE);
            let short = file.try_clone().unwrap();
            let body = body(file, 0..3 * PIECE, pool.handle(), reach);
            short.set_len(PIECE + 10).unwrap();
            let (pieces, error) = pieces(body);
            assert_eq!(error, Some(BodyError::Io(io::ErrorKind::UnexpectedEof)));
            assert_eq!(pieces.concat().len() as u64, PIECE + 1);
            let read = read(&short, 0..PIECE + 11, reach).unwrap_err().kind();
            // That it is the end is for the disk to say.
            let cached = reach == Reach::Cached;
            assert_eq!(read, if cached { io::ErrorKind::WouldBlock } else { io::ErrorKind::UnexpectedEof });
        }
    }

    #[test]
    fn a_file_that_grows_is_cut() {
        let pool = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for reach in BOTH {
            let (file, content) = file(PIECE);
            let mut long = file.try_clone().unwrap();
            let body = body(file, 0..PIECE, pool.handle(), reach);
            long.write_all(b"more").unwrap();
            assert!(pieces(body).0.concat() == content);
        }
    }
}
