//! One request for a file: from its head to the head and body of the answer.

use std::{
    ffi::OsString,
    fs::{File, Metadata},
    io,
    ops::Range,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use bytes::Bytes;
use evergate_contract::{Fault, FaultKind, Side};
use evergate_wire::{Headers, Payload};
use http::{
    HeaderValue, Method, Response, StatusCode,
    header::{
        ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LAST_MODIFIED,
        LOCATION, VARY,
    },
};
use tokio::runtime::Handle;

use crate::{
    Settings, Site,
    coding::{self, Coding},
    condition::{Condition, Validators, Verdict},
    media,
    path::{self, Target},
    range::Spec,
    root::{self, Found, Reach, Root},
    stream::{self, AT_ONCE, FileBody},
};

/// All of a request that matters once its path is known, so that it can go to a thread that may wait.
struct Asked {
    target: Target,
    /// Where a folder sends clients that left out its slash.
    folder: Option<HeaderValue>,
    head: bool,
    codings: Vec<Coding>,
    condition: Condition,
    range: Option<Spec>,
}

/// An answer, perhaps on its way back from that thread.
struct Answer {
    head: Response<()>,
    content: Content,
}

enum Content {
    Whole(Bytes),
    /// A file, what was read of it already, and what follows.
    Begun(File, Bytes, Range<u64>),
}

/// A file that was found for a request.
struct Chosen {
    /// By which the type is told: without the extension of a coding.
    name: PathBuf,
    file: File,
    metadata: Metadata,
    coding: Option<Coding>,
}

/// A file that is written in place may be shorter at the second look than at the first; so often it is looked
/// at again.
const LOOKS: usize = 3;

impl Site {
    /// Answers a request. `path` is the path that the client asked for, as it stood in the request; `rest` is what of
    /// it is looked up in the folder; `query` is without its question mark. Must run within a tokio runtime.
    ///
    /// The answer is 200, 206, 301 (a folder without its slash), 304, 412 or 416. Its `content-length` is that of the
    /// body that a GET gets, also for HEAD, whose body is empty. A `Range` of several parts is answered by the whole
    /// file. A precompressed sibling is sent unless it is older than the file itself.
    ///
    /// # Errors
    /// `MethodNotAllowed` unless it is GET or HEAD; its reply must have `Allow:` [`ALLOW`](crate::ALLOW). `NotFound` for
    /// what is not there or not to be served; if we may not read it, that is our side's fault and the cause says so.
    /// `Internal` if reading fails.
    pub async fn serve(
        &self,
        method: &Method,
        path: &str,
        rest: &str,
        query: Option<&str>,
        headers: &Headers,
    ) -> Result<Response<Payload>, Fault> {
        let asked = self.asked(method, path, rest, query, headers)?;
        let pool = Handle::try_current().map_err(|error| Fault::new(FaultKind::Internal).because(error))?;
        let answer = match self.settings.answer(&asked, Reach::Cached) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let settings = Arc::clone(&self.settings);
                let answer = pool.spawn_blocking(move || settings.answer(&asked, Reach::Disk)).await;
                answer.map_err(|error| Fault::new(FaultKind::Internal).because(error))?
            }
            answer => answer,
        };
        response(answer, pool)
    }

    fn asked(
        &self,
        method: &Method,
        path: &str,
        rest: &str,
        query: Option<&str>,
        headers: &Headers,
    ) -> Result<Asked, Fault> {
        if method != Method::GET && method != Method::HEAD {
            return Err(FaultKind::MethodNotAllowed.into());
        }
        let mut target = path::target(rest).ok_or(FaultKind::NotFound)?;
        // The root's own slash is not part of what follows the prefix.
        target.slash |= target.path.as_os_str().is_empty() && (path.is_empty() || path.ends_with('/'));
        Ok(Asked {
            folder: if target.slash { None } else { with_slash(path, query) },
            target,
            head: method == Method::HEAD,
            codings: if self.settings.precompressed { coding::wanted(headers).collect() } else { Vec::new() },
            condition: Condition::of(headers),
            range: if method == Method::GET { Spec::of(headers) } else { None },
        })
    }
}

fn response(answer: io::Result<Option<Answer>>, pool: Handle) -> Result<Response<Payload>, Fault> {
    let Answer { head, content } = answer.map_err(fault)?.ok_or(FaultKind::NotFound)?;
    Ok(head.map(|()| match content {
        Content::Whole(bytes) => Payload::from(bytes),
        Content::Begun(file, first, rest) => {
            Payload::Stream(Box::new(FileBody::new(file, first, rest, pool)))
        }
    }))
}

/// The last segment of a path with a slash behind it, relative to the path. The dot in front keeps a segment
/// such as `a:b` from being read as a scheme (RFC 3986 §4.2).
fn with_slash(path: &str, query: Option<&str>) -> Option<HeaderValue> {
    let segment = path.rsplit('/').next().filter(|segment| !segment.is_empty())?;
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    HeaderValue::from_bytes(format!("./{segment}/{query}").as_bytes()).ok()
}

impl Settings {
    /// Does all that touches files. `None` if there is nothing to serve.
    fn answer(&self, asked: &Asked, reach: Reach) -> io::Result<Option<Answer>> {
        let mut looks = 1;
        loop {
            match self.look(asked, reach) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && looks < LOOKS => looks += 1,
                answer => return answer,
            }
        }
    }

    fn look(&self, asked: &Asked, reach: Reach) -> io::Result<Option<Answer>> {
        let root = Root::open(&self.root, reach)?;
        let target = &asked.target;
        let chosen = match root.find(&target.path)? {
            Found::Folder if target.slash => self.index(&root, &target.path)?,
            Found::Folder => return Ok(asked.folder.clone().map(redirect)),
            Found::File(file, metadata) if !target.slash => Some((target.path.clone(), file, metadata)),
            Found::File(..) | Found::Special => None,
        };
        let Some((name, file, metadata)) = chosen else { return Ok(None) };
        let chosen = compressed(&root, Chosen { name, file, metadata, coding: None }, &asked.codings)?;
        self.send(asked, chosen, reach).map(Some)
    }

    /// The first of the index files that is there.
    fn index(&self, root: &Root, folder: &Path) -> io::Result<Option<(PathBuf, File, Metadata)>> {
        for name in &self.index {
            let path = folder.join(name);
            match root.find(&path) {
                Ok(Found::File(file, metadata)) => return Ok(Some((path, file, metadata))),
                Ok(Found::Folder | Found::Special) => {}
                Err(error) if root::is_absent(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Judges the condition and the range, and reads what fits into one go.
    fn send(&self, asked: &Asked, chosen: Chosen, reach: Reach) -> io::Result<Answer> {
        let state = Validators::of(&chosen.metadata, SystemTime::now());
        let length = chosen.metadata.len();
        let mut head = Response::new(());
        let headers = head.headers_mut();
        if self.precompressed {
            headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        }
        headers.extend([(ETAG, state.tag()), (LAST_MODIFIED, state.modified())].into_iter().filter_map(some));
        let range = match asked.condition.judge(&state) {
            Verdict::Failed => return Ok(Answer::bare(head, StatusCode::PRECONDITION_FAILED)),
            Verdict::NotModified => return Ok(Answer::bare(head, StatusCode::NOT_MODIFIED)),
            Verdict::Proceed { range } => asked.range.filter(|_| range),
        };
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        let Ok(part) = range.map_or(Ok(None), |range| range.within(length)) else {
            headers.extend(some((CONTENT_RANGE, HeaderValue::try_from(format!("bytes */{length}")).ok())));
            return Ok(Answer::bare(head, StatusCode::RANGE_NOT_SATISFIABLE));
        };
        headers.insert(CONTENT_TYPE, media::content_type(&chosen.name));
        if let Some(coding) = chosen.coding {
            headers.insert(CONTENT_ENCODING, coding.name());
        }
        if let Some(Range { start, end }) = part {
            let part = HeaderValue::try_from(format!("bytes {start}-{}/{length}", end - 1));
            headers.extend(some((CONTENT_RANGE, part.ok())));
            *head.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
        let part = part.unwrap_or(0..length);
        head.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(part.end - part.start));
        if asked.head {
            return Ok(Answer { head, content: Content::Whole(Bytes::new()) });
        }
        let border = part.end.min(part.start + AT_ONCE);
        let first = stream::read(&chosen.file, part.start..border, reach)?;
        let content = if border == part.end {
            Content::Whole(first)
        } else {
            Content::Begun(chosen.file, first, border..part.end)
        };
        Ok(Answer { head, content })
    }
}

impl Answer {
    /// Without a body.
    fn bare(mut head: Response<()>, status: StatusCode) -> Answer {
        *head.status_mut() = status;
        Answer { head, content: Content::Whole(Bytes::new()) }
    }
}

fn redirect(location: HeaderValue) -> Answer {
    let mut head = Response::new(());
    head.headers_mut().insert(LOCATION, location);
    Answer::bare(head, StatusCode::MOVED_PERMANENTLY)
}

/// The sibling of a file that the client wants most, or the file itself. A sibling that is older was made from
/// another content; whole seconds are compared, since compressors copy the time no better than that.
fn compressed(root: &Root, plain: Chosen, codings: &[Coding]) -> io::Result<Chosen> {
    for coding in codings {
        let mut path = OsString::from(&plain.name);
        path.push(coding.extension());
        match root.find(Path::new(&path)) {
            Ok(Found::File(file, metadata)) if metadata.mtime() >= plain.metadata.mtime() => {
                return Ok(Chosen { name: plain.name, file, metadata, coding: Some(*coding) });
            }
            // Whether there is one has to be looked up.
            Err(error) if root.reach == Reach::Cached && error.kind() == io::ErrorKind::WouldBlock => {
                return Err(error);
            }
            // Whatever is wrong with a sibling, the file itself is open.
            Ok(_) | Err(_) => {}
        }
    }
    Ok(plain)
}

fn some<K, V>((key, value): (K, Option<V>)) -> Option<(K, V)> {
    value.map(|value| (key, value))
}

fn fault(error: io::Error) -> Fault {
    if root::is_absent(&error) {
        FaultKind::NotFound.into()
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        Fault { side: Side::Gateway, ..Fault::new(FaultKind::NotFound) }.because(error)
    } else {
        Fault::new(FaultKind::Internal).because(error)
    }
}

#[cfg(test)]
mod tests;
