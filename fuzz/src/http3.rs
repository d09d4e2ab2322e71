//! A stream of HTTP/3: the answer may not depend on how the bytes arrive, nothing is kept beyond the limit, and a head
//! that is taken reads the same after it was written.

use bytes::{Bytes, BytesMut};
use evergate_wire::h3::{self, Frame, FrameError, Frames, HeadLimits, Place};

const MOST: usize = 2048;
const LIMITS: HeadLimits = HeadLimits { bytes: MOST, fields: 50 };

/// The first byte says whose stream it is.
pub(crate) fn http3(data: &[u8]) {
    let Some((first, stream)) = data.split_first() else { return };
    let place = if first & 1 == 0 { Place::Request } else { Place::Control };
    let (frames, end) = read(place, stream, stream.len().max(1));
    for step in [1, 7] {
        assert_eq!(read(place, stream, step), (frames.clone(), end), "in pieces of {step}");
    }
    for frame in &frames {
        if let Frame::Headers(section) = frame {
            assert!(section.len() <= MOST, "kept beyond the limit");
            head(section);
        }
    }
}

/// All frames, data joined, and how the stream ended: with a fault, or between two frames, or within one.
fn read(place: Place, stream: &[u8], step: usize) -> (Vec<Frame>, Result<bool, FrameError>) {
    let (mut frames, mut all) = (Frames::new(place, MOST), Vec::new());
    for piece in stream.chunks(step) {
        frames.feed(Bytes::copy_from_slice(piece));
        loop {
            match (frames.frame(), all.last_mut()) {
                (Ok(Some(Frame::Data(more))), Some(Frame::Data(before))) => {
                    *before = Bytes::from([before.as_ref(), more.as_ref()].concat());
                }
                (Ok(Some(frame)), _) => all.push(frame),
                (Ok(None), _) => break,
                (Err(error), _) => return (all, Err(error)),
            }
        }
    }
    (all, Ok(frames.is_between()))
}

fn head(section: &[u8]) {
    let trailers = h3::trailers(section, LIMITS);
    let headers = match (h3::request(section, LIMITS), trailers) {
        (Ok(parts), _) => parts.headers,
        (_, Ok(headers)) => headers,
        _ => return,
    };
    for (name, value) in headers.iter() {
        assert!(!name.iter().any(u8::is_ascii_uppercase) && !value.contains(&b'\n'), "misleads HTTP/1");
    }
    let mut out = BytesMut::new();
    h3::write_trailers(&headers, &mut out);
    let (frames, end) = read(Place::Request, &out, out.len());
    // What is written can be longer than what was read: nothing is compressed.
    if end == Ok(true) {
        let again = match frames.as_slice() {
            [Frame::Headers(section)] => h3::trailers(section, LIMITS).ok(),
            _ => None,
        };
        assert_eq!(again.as_ref(), Some(&headers), "written, it is another");
    }
}
