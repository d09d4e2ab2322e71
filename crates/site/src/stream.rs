//! The content of a file, read a piece ahead of who takes it.

use std::{
    fs::File,
    future::Future,
    io,
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use evergate_wire::{Body, BodyError, Frame};
use rustix::{buffer::spare_capacity, io::pread};
use tokio::{runtime::Handle, task::JoinHandle};

/// Up to so many bytes are read where the file is opened, which spares the small ones every further step.
pub(crate) const AT_ONCE: u64 = 64 << 10;

/// What is read in one go after that. Each stream holds at most two of them: one that is being sent, one ahead.
const PIECE: u64 = 128 << 10;

/// A part of a file as a body. What it has read already is its first piece.
pub(crate) struct FileBody {
    file: Arc<File>,
    pool: Handle,
    first: Option<Bytes>,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
    /// Not yet asked of the file.
    rest: Range<u64>,
    /// Not yet given out.
    left: u64,
}

impl FileBody {
    /// `first` are the bytes before `rest`, at least one. Reads on the blocking pool of that runtime.
    pub(crate) fn new(file: File, first: Bytes, rest: Range<u64>, pool: Handle) -> FileBody {
        let left = first.len() as u64 + (rest.end - rest.start);
        FileBody { file: Arc::new(file), pool, first: Some(first), reading: None, rest, left }
    }

    fn read_ahead(&mut self) {
        if self.rest.is_empty() || self.reading.is_some() {
            return;
        }
        let end = self.rest.end.min(self.rest.start + PIECE);
        let (file, piece) = (Arc::clone(&self.file), self.rest.start..end);
        self.rest.start = end;
        self.reading = Some(self.pool.spawn_blocking(move || read(&file, piece)));
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
        let read = ready!(Pin::new(reading).poll(cx));
        self.reading = None;
        // A read that does not come back: the runtime is going down.
        let read = read.unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into()));
        Poll::Ready(Some(read.map_err(BodyError::from)))
    }
}

impl Body for FileBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        let piece = ready!(self.poll_piece(cx));
        if let Some(Ok(piece)) = &piece {
            self.left = self.left.saturating_sub(piece.len() as u64);
            // The next piece is under way while the taker sends this one.
            self.read_ahead();
        }
        Poll::Ready(piece.map(|piece| piece.map(Frame::Data)))
    }

    fn length(&self) -> Option<u64> {
        Some(self.left)
    }
}

/// Reads all of a part. An error if the file has become shorter.
pub(crate) fn read(file: &File, part: Range<u64>) -> io::Result<Bytes> {
    let length = usize::try_from(part.end - part.start).map_err(io::Error::other)?;
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let at = part.start + bytes.len() as u64;
        match pread(file, spare_capacity(&mut bytes), at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // The allocation may have been larger than asked for, and the file may have grown.
    bytes.truncate(length);
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

    fn body(file: File, part: Range<u64>, pool: &Handle) -> FileBody {
        let first = read(&file, part.start..part.start + 1).unwrap();
        FileBody::new(file, first, part.start + 1..part.end, pool.clone())
    }

    #[test]
    fn a_part_arrives_as_it_is() {
        let pool = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let length = 3 * PIECE + 5;
        for part in [0..length, 0..1, 7..PIECE + 8, PIECE..2 * PIECE + 2, length - 1..length] {
            let (file, content) = file(length);
            let body = body(file, part.clone(), pool.handle());
            assert_eq!(body.length(), Some(part.end - part.start));
            let (pieces, error) = pieces(body);
            assert_eq!(error, None);
            assert!(pieces.iter().all(|piece| !piece.is_empty() && piece.len() as u64 <= PIECE));
            assert!(pieces.concat() == content[part.start as usize..part.end as usize], "{part:?}");
        }
    }

    #[test]
    fn it_reads_one_piece_ahead_and_no_more() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (file, _) = file(4 * PIECE);
        let mut body = body(file, 0..4 * PIECE, runtime.handle());
        assert!(body.reading.is_none());
        runtime.block_on(async {
            // The byte that is there at once, then the first piece: each time the next one is under way.
            for given in [1, PIECE + 1] {
                let frame = std::future::poll_fn(|cx| body.poll_frame(cx)).await;
                assert!(matches!(frame, Some(Ok(Frame::Data(_)))));
                assert_eq!((body.reading.is_some(), body.rest.start), (true, given + PIECE));
                assert_eq!(body.length(), Some(4 * PIECE - given));
            }
        });
    }

    #[test]
    fn a_file_that_shrinks_is_an_error() {
        let pool = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (file, _) = file(3 * PIECE);
        let short = file.try_clone().unwrap();
        let body = body(file, 0..3 * PIECE, pool.handle());
        short.set_len(PIECE + 10).unwrap();
        let (pieces, error) = pieces(body);
        assert_eq!(error, Some(BodyError::Io(io::ErrorKind::UnexpectedEof)));
        assert_eq!(pieces.concat().len() as u64, PIECE + 1);
        assert_eq!(read(&short, 0..PIECE + 11).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_file_that_grows_is_cut() {
        let pool = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (file, content) = file(PIECE);
        let mut long = file.try_clone().unwrap();
        let body = body(file, 0..PIECE, pool.handle());
        long.write_all(b"more").unwrap();
        assert!(pieces(body).0.concat() == content);
    }
}
