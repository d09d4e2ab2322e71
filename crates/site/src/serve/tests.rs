use super::*;
use evergate_wire::Frame;
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    time::{Duration, UNIX_EPOCH},
};
use tokio::runtime::{Builder, Runtime};

/// 1994-11-15 12:45:26.
const OLD: u64 = 784_903_526;
const OLD_DATE: &str = "Tue, 15 Nov 1994 12:45:26 GMT";
const EARLIER: &str = "Tue, 15 Nov 1994 12:45:25 GMT";

/// A folder with some files, all of them old.
struct Served {
    folder: tempfile::TempDir,
    site: Site,
    runtime: Runtime,
}

struct Reply {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
    streamed: bool,
}

impl Served {
    fn new(files: &[(&str, &str)]) -> Served {
        let folder = tempfile::tempdir().unwrap();
        let site = site(folder.path(), &["index.html"], true);
        let served = Served { folder, site, runtime: Builder::new_current_thread().build().unwrap() };
        files.iter().for_each(|(name, content)| served.write(name, content.as_bytes(), OLD));
        served
    }

    fn write(&self, name: &str, content: &[u8], modified: u64) {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        let file = File::options().append(true).open(&path).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(modified)).unwrap();
    }

    fn ask(
        &self,
        method: &str,
        path: &str,
        query: Option<&str>,
        headers: &[(&'static str, &str)],
    ) -> Result<Reply, Fault> {
        let mut map = Headers::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), value.parse::<HeaderValue>().unwrap());
        }
        let method: Method = method.parse().unwrap();
        let served = self.runtime.block_on(async {
            Ok::<_, Fault>(receive(self.site.serve(&method, path, path, query, &map).await?).await)
        });
        // What had to be waited for would be answered the same.
        let waited = self.runtime.block_on(async {
            let asked = self.site.asked(&method, path, path, query, &map)?;
            let answer = self.site.settings.answer(&asked, Reach::Disk);
            Ok::<_, Fault>(receive(response(answer, Handle::current())?).await)
        });
        match (&served, &waited) {
            (Ok(served), Ok(waited)) => {
                assert_eq!((served.status, &served.body), (waited.status, &waited.body));
            }
            (Err(served), Err(waited)) => assert_eq!(served.kind, waited.kind),
            _ => panic!("{path}: {:?}, {:?}", served.is_ok(), waited.is_ok()),
        }
        served
    }

    fn get(&self, path: &str, headers: &[(&'static str, &str)]) -> Reply {
        self.ask("GET", path, None, headers).unwrap()
    }

    fn refused(&self, path: &str) -> FaultKind {
        self.ask("GET", path, None, &[]).map(|reply| reply.status).unwrap_err().kind
    }
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

fn site(root: &Path, index: &[&str], precompressed: bool) -> Site {
    let index = index.iter().map(|name| (*name).to_owned()).collect();
    Site::new(&evergate_contract::config::Files { root: root.to_owned().into(), index, precompressed })
}

async fn receive(response: Response<Payload>) -> Reply {
    let (head, mut payload) = response.into_parts();
    let streamed = matches!(payload, Payload::Stream(_));
    let (length, mut body) = (payload.length(), Vec::new());
    while let Some(frame) = payload.frame().await {
        match frame.unwrap() {
            Frame::Data(bytes) => body.extend_from_slice(&bytes),
            Frame::Trailers(_) => panic!("trailers"),
        }
    }
    assert_eq!(length, Some(body.len() as u64));
    Reply { status: head.status.as_u16(), headers: head.headers, body, streamed }
}

#[test]
fn a_file_and_its_head() {
    let served = Served::new(&[("a/page.html", "hello"), ("empty", "")]);
    let get = served.get("/a/page.html", &[]);
    assert_eq!((get.status, get.text(), get.streamed), (200, "hello", false));
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("content-length", "5"),
        ("last-modified", OLD_DATE),
        ("accept-ranges", "bytes"),
        ("vary", "accept-encoding"),
    ] {
        assert_eq!(get.header(name), Some(value), "{name}");
    }
    assert!(get.header("etag").is_some_and(|tag| tag.starts_with('"')));
    assert_eq!(get.header("content-encoding"), None);

    let head = served.ask("HEAD", "/a/page.html", None, &[]).unwrap();
    assert_eq!((head.status, head.text(), &head.headers), (200, "", &get.headers));
    let empty = served.get("/empty", &[]);
    assert_eq!((empty.status, empty.header("content-length"), empty.text()), (200, Some("0"), ""));
}

#[test]
fn large_files_are_streamed() {
    let served = Served::new(&[]);
    for length in [AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, 1_000_003] {
        let content: Vec<u8> = (0..length).map(|at| ((at * at) >> 9) as u8).collect();
        served.write("large", &content, OLD);
        let reply = served.get("/large", &[]);
        assert_eq!(
            (reply.streamed, reply.header("content-length")),
            (length > AT_ONCE, Some(&*length.to_string()))
        );
        assert!(reply.body == content, "{length}");
        let part = served.get("/large", &[("range", "bytes=1000-900000")]);
        assert_eq!((part.status, part.streamed), (206, length > AT_ONCE + 1000));
        assert!(part.body == content[1000..content.len().min(900_001)], "part of {length}");
        let head = served.ask("HEAD", "/large", None, &[]).unwrap();
        assert_eq!((head.header("content-length"), head.body.len()), (Some(&*length.to_string()), 0));
    }
}

#[test]
fn ranges() {
    let served = Served::new(&[("ten", "0123456789"), ("empty", "")]);
    let rows: [(&str, &str, u16, &str, Option<&str>); 12] = [
        ("/ten", "bytes=0-0", 206, "0", Some("bytes 0-0/10")),
        ("/ten", "bytes=3-5", 206, "345", Some("bytes 3-5/10")),
        ("/ten", "bytes=7-", 206, "789", Some("bytes 7-9/10")),
        ("/ten", "bytes=-2", 206, "89", Some("bytes 8-9/10")),
        ("/ten", "bytes=0-100", 206, "0123456789", Some("bytes 0-9/10")),
        ("/ten", "bytes=10-", 416, "", Some("bytes */10")),
        ("/ten", "bytes=-0", 416, "", Some("bytes */10")),
        ("/ten", "bytes=0-1,4-5", 200, "0123456789", None),
        ("/ten", "bytes=5-3", 200, "0123456789", None),
        ("/ten", "items=0-1", 200, "0123456789", None),
        ("/empty", "bytes=0-", 200, "", None),
        ("/empty", "bytes=-1", 200, "", None),
    ];
    for (path, range, status, body, content_range) in rows {
        let reply = served.get(path, &[("range", range)]);
        assert_eq!(
            (reply.status, reply.text(), reply.header("content-range")),
            (status, body, content_range),
            "{path} {range}"
        );
        if status != 416 {
            assert_eq!(reply.header("content-length"), Some(&*body.len().to_string()));
            assert!(reply.header("content-type").is_some());
        }
    }
    // Ranges are for GET alone (RFC 9110 §14.2).
    let head = served.ask("HEAD", "/ten", None, &[("range", "bytes=0-0")]).unwrap();
    assert_eq!((head.status, head.header("content-length")), (200, Some("10")));
}

#[test]
fn conditions() {
    let served = Served::new(&[("ten", "0123456789")]);
    let tag = served.get("/ten", &[]).header("etag").unwrap().to_owned();
    let weak = format!("W/{tag}");
    let rows: [(&[(&'static str, &str)], u16); 16] = [
        (&[("if-none-match", &tag)], 304),
        (&[("if-none-match", &weak)], 304),
        (&[("if-none-match", "\"other\"")], 200),
        (&[("if-none-match", "\"other\""), ("if-modified-since", OLD_DATE)], 200),
        (&[("if-modified-since", OLD_DATE)], 304),
        (&[("if-modified-since", EARLIER)], 200),
        (&[("if-match", &tag)], 200),
        (&[("if-match", &weak)], 412),
        (&[("if-match", "\"other\"")], 412),
        (&[("if-unmodified-since", EARLIER)], 412),
        (&[("if-unmodified-since", OLD_DATE)], 200),
        (&[("range", "bytes=0-0"), ("if-range", &tag)], 206),
        (&[("range", "bytes=0-0"), ("if-range", OLD_DATE)], 206),
        (&[("range", "bytes=0-0"), ("if-range", "\"other\"")], 200),
        (&[("range", "bytes=10-"), ("if-range", EARLIER)], 200),
        (&[("range", "bytes=10-"), ("if-none-match", &tag)], 304),
    ];
    for (headers, status) in rows {
        for method in ["GET", "HEAD"] {
            let reply = served.ask(method, "/ten", None, headers).unwrap();
            let expected = if method == "HEAD" && status == 206 { 200 } else { status };
            assert_eq!(reply.status, expected, "{method} {headers:?}");
            if matches!(status, 304 | 412) {
                assert_eq!((reply.body.len(), reply.header("content-length")), (0, None));
            }
        }
    }
    let reply = served.get("/ten", &[("if-none-match", &tag)]);
    assert_eq!((reply.header("etag"), reply.header("vary")), (Some(&*tag), Some("accept-encoding")));
}

#[test]
fn a_changed_file_is_seen() {
    let served = Served::new(&[("file", "one")]);
    let tag = served.get("/file", &[]).header("etag").unwrap().to_owned();
    // Another file of the same length and time, moved into its place.
    served.write("new", b"two", OLD);
    fs::rename(served.folder.path().join("new"), served.folder.path().join("file")).unwrap();
    let reply = served.get("/file", &[("if-none-match", &tag)]);
    assert_eq!((reply.status, reply.text()), (200, "two"));
}

#[test]
fn folders_and_their_index() {
    let served = Served::new(&[
        ("index.html", "top"),
        ("docs/index.html", "docs"),
        ("docs/a:b c/index.html", "odd"),
        ("other/default.htm", "other"),
        ("none/file", ""),
        ("folder/index.html/file", ""),
    ]);
    for (path, expected) in [("/", "top"), ("", "top"), ("/index.html", "top"), ("/docs/", "docs")] {
        assert_eq!(served.get(path, &[]).text(), expected, "{path}");
    }
    assert_eq!(served.get("/", &[]).header("content-type"), Some("text/html; charset=utf-8"));
    for (path, query, expected) in [
        ("/docs", None, "./docs/"),
        ("/docs", Some("a=b&c"), "./docs/?a=b&c"),
        ("/docs", Some(""), "./docs/?"),
        ("/docs/a:b%20c", None, "./a:b%20c/"),
        ("/none", None, "./none/"),
    ] {
        let reply = served.ask("GET", path, query, &[]).unwrap();
        assert_eq!((reply.status, reply.header("location")), (301, Some(expected)), "{path}");
    }
    for path in ["/other/", "/none/", "/folder/", "/docs/index.html/", "/none/file/", "/missing", "/missing/"]
    {
        assert_eq!(served.refused(path), FaultKind::NotFound, "{path}");
    }
    let several = site(served.folder.path(), &["none", "index.html", "default.htm"], true);
    let served = Served { site: several, ..served };
    assert_eq!(served.get("/other/", &[]).text(), "other");
    assert_eq!(served.get("/docs/", &[]).text(), "docs");
}

#[test]
fn below_a_prefix() {
    let served = Served::new(&[("index.html", "top"), ("docs/index.html", "docs")]);
    let ask = |path: &str, rest: &str| {
        let headers = Headers::new();
        let served = served.site.serve(&Method::GET, path, rest, Some("q"), &headers);
        let reply = served_reply(&served_runtime(), served);
        (reply.status, reply.header("location").map(str::to_owned), reply.text().to_owned())
    };
    let to = |location: &str| (301, Some(location.to_owned()), String::new());
    assert_eq!(ask("/site", ""), to("./site/?q"));
    assert_eq!(ask("/x/site", ""), to("./site/?q"));
    assert_eq!(ask("/site/", "/"), (200, None, "top".to_owned()));
    assert_eq!(ask("/site/", ""), (200, None, "top".to_owned()));
    assert_eq!(ask("/site/docs", "/docs"), to("./docs/?q"));
    assert_eq!(ask("/site/docs/", "docs/"), (200, None, "docs".to_owned()));
}

fn served_runtime() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

fn served_reply(runtime: &Runtime, served: impl Future<Output = Result<Response<Payload>, Fault>>) -> Reply {
    runtime.block_on(async { receive(served.await.unwrap()).await })
}

#[test]
fn precompressed_siblings() {
    let served = Served::new(&[
        ("a.css", "plain"),
        ("a.css.br", "brotli"),
        ("a.css.zst", "zstandard"),
        ("a.css.gz", "gzipped"),
        ("b.css", "plain"),
        ("b.css.gz", "gzipped"),
        ("only.css.gz", "gzipped"),
        ("index.html", "plain"),
        ("index.html.br", "brotli"),
    ]);
    let rows: [(&str, &str, Option<&str>, &str); 10] = [
        ("/a.css", "gzip, zstd, br", Some("br"), "brotli"),
        ("/a.css", "gzip, zstd, br;q=0.5", Some("zstd"), "zstandard"),
        ("/a.css", "gzip", Some("gzip"), "gzipped"),
        ("/a.css", "*", Some("br"), "brotli"),
        ("/a.css", "deflate", None, "plain"),
        ("/a.css", "br;q=0", None, "plain"),
        ("/a.css", "identity, gzip;q=0.9", None, "plain"),
        ("/b.css", "br, gzip;q=0.1", Some("gzip"), "gzipped"),
        ("/b.css", "br", None, "plain"),
        ("/", "br", Some("br"), "brotli"),
    ];
    for (path, accept, coding, expected) in rows {
        let reply = served.get(path, &[("accept-encoding", accept)]);
        assert_eq!((reply.header("content-encoding"), reply.text()), (coding, expected), "{path} {accept}");
        assert_eq!(reply.header("vary"), Some("accept-encoding"));
        let kind = if path == "/" { "text/html; charset=utf-8" } else { "text/css; charset=utf-8" };
        assert_eq!(reply.header("content-type"), Some(kind));
    }
    assert_eq!(served.refused("/only.css"), FaultKind::NotFound);
    assert_eq!(served.get("/only.css.gz", &[]).header("content-encoding"), None);

    // Each coding is a representation of its own, with its own tag and ranges.
    let brotli = [("accept-encoding", "br")];
    let tag = served.get("/a.css", &brotli).header("etag").unwrap().to_owned();
    assert_eq!(served.get("/a.css", &[("if-none-match", &tag)]).status, 200);
    assert_eq!(served.get("/a.css", &[brotli[0], ("if-none-match", &tag)]).status, 304);
    let part = served.get("/a.css", &[brotli[0], ("range", "bytes=0-1")]);
    assert_eq!((part.text(), part.header("content-range")), ("br", Some("bytes 0-1/6")));

    let off = Served { site: site(served.folder.path(), &[], false), ..served };
    let reply = off.get("/a.css", &brotli);
    assert_eq!((reply.text(), reply.header("content-encoding"), reply.header("vary")), ("plain", None, None));
}

#[test]
fn a_sibling_that_is_older_is_not_of_this_content() {
    let served = Served::new(&[("a.css.br", "stale"), ("a.css.gz", "fresh")]);
    served.write("a.css", b"plain", OLD + 1);
    let both = [("accept-encoding", "br, gzip")];
    assert_eq!(served.get("/a.css", &both).text(), "plain");
    served.write("a.css.gz", b"fresh", OLD + 1);
    assert_eq!(served.get("/a.css", &both).text(), "fresh");
}

#[test]
fn only_get_and_head() {
    let served = Served::new(&[("file", "")]);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND"] {
        for path in ["/file", "/missing"] {
            let fault = served.ask(method, path, None, &[]).map(|reply| reply.status).unwrap_err();
            assert_eq!(fault.kind, FaultKind::MethodNotAllowed, "{method} {path}");
        }
    }
}

#[test]
fn hidden_and_special_files() {
    let served = Served::new(&[(".env", "secret"), (".git/config", "secret"), (".well-known/acme", "known")]);
    let pipe = served.folder.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(served.folder.path().join("socket")).unwrap();
    for path in ["/.env", "/.git/config", "/.git", "/%2eenv", "/pipe", "/socket", "/.well-known/"] {
        assert_eq!(served.refused(path), FaultKind::NotFound, "{path}");
    }
    assert_eq!(served.get("/.well-known/acme", &[]).text(), "known");
}

#[test]
fn the_root_may_come_and_go() {
    let served = Served::new(&[("one/file", "one"), ("two/file", "two")]);
    let (root, spare) = (served.folder.path().join("live"), served.folder.path().join("spare"));
    let served = Served { site: site(&root, &["index.html"], true), ..served };
    assert_eq!(served.refused("/file"), FaultKind::NotFound);
    symlink("one", &root).unwrap();
    assert_eq!(served.get("/file", &[]).text(), "one");
    symlink("two", &spare).unwrap();
    fs::rename(&spare, &root).unwrap();
    assert_eq!(served.get("/file", &[]).text(), "two");
    fs::remove_file(&root).unwrap();
    assert_eq!(served.refused("/file"), FaultKind::NotFound);
    fs::write(&root, "not a folder").unwrap();
    assert_eq!(served.refused("/"), FaultKind::NotFound);
}

#[test]
fn a_file_we_may_not_read_is_our_fault() {
    if rustix::process::geteuid().is_root() {
        // Root may read everything; the mapping itself can still be seen.
        let fault = fault(io::ErrorKind::PermissionDenied.into());
        assert_eq!(
            (fault.kind, fault.side, fault.cause.is_some()),
            (FaultKind::NotFound, Side::Gateway, true)
        );
        return;
    }
    let served = Served::new(&[("file", "")]);
    fs::set_permissions(served.folder.path().join("file"), fs::Permissions::from_mode(0o000)).unwrap();
    let fault = served.ask("GET", "/file", None, &[]).map(|reply| reply.status).unwrap_err();
    assert_eq!((fault.kind, fault.side, fault.cause.is_some()), (FaultKind::NotFound, Side::Gateway, true));
}

#[test]
fn what_is_in_memory_waits_for_nobody() {
    let served = Served::new(&[("small", "here"), ("large", &"x".repeat(1_000_000))]);
    for name in ["/small", "/large"] {
        served.get(name, &[]);
    }
    let file = File::open(served.folder.path().join("small")).unwrap();
    if stream::read(&file, 0..1, Reach::Cached).is_err() {
        return eprintln!("this file system does not say what is in memory");
    }
    // The one thread that may wait has something else to do.
    let runtime = Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
    let (done, busy) = std::sync::mpsc::channel::<()>();
    runtime.spawn_blocking(move || busy.recv());
    for (name, length) in [("/small", 4), ("/large", 1_000_000)] {
        let reply =
            served_reply(&runtime, served.site.serve(&Method::GET, name, name, None, &Headers::new()));
        assert_eq!((reply.status, reply.body.len()), (200, length), "{name}");
    }
    drop(done);
}

#[test]
fn faults_of_reading() {
    let fault = fault(io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error()));
    assert_eq!((fault.kind, fault.side, fault.cause.is_some()), (FaultKind::Internal, Side::Gateway, true));
    assert_eq!(super::fault(rustix::io::Errno::NAMETOOLONG.into()).kind, FaultKind::NotFound);
}

#[test]
fn names_too_long_are_not_there() {
    let served = Served::new(&[("file", "")]);
    assert_eq!(served.refused(&format!("/{}", "a".repeat(300))), FaultKind::NotFound);
    assert_eq!(served.refused(&"/a".repeat(4000)), FaultKind::NotFound);
}

/// A folder from which links lead out in every way, with secrets around it.
fn trap() -> Served {
    let served = Served::new(&[
        ("secret", "SECRET"),
        ("root/secret.br", "SECRET? no, this is inside"),
        ("root/a/b/file", "inside"),
        ("root/.hidden", "SECRET"),
        ("root/file", "inside"),
    ]);
    let root = served.folder.path().join("root");
    for (target, link) in [
        ("..", "up"),
        ("../..", "a/up"),
        ("../secret", "out"),
        ("../../secret", "a/out"),
        ("../../../secret", "a/b/out"),
        ("a/b", "in"),
        ("../a", "a/around"),
        ("up/secret", "twice"),
    ] {
        symlink(target, root.join(link)).unwrap();
    }
    symlink(served.folder.path(), root.join("absolute")).unwrap();
    symlink("/", root.join("slash")).unwrap();
    Served { site: site(&root, &["../secret", "out", ".hidden/../../secret", "file"], true), ..served }
}

#[test]
fn no_path_escapes() {
    let served = trap();
    let piece = prop::sample::select(vec![
        "/",
        "/",
        "//",
        "..",
        ".",
        "%2e",
        "%2E%2e",
        "%2f",
        "%5c",
        "\\",
        "%00",
        "%",
        "%25",
        "secret",
        "a",
        "b",
        "up",
        "out",
        "in",
        "around",
        "twice",
        "absolute",
        "slash",
        "file",
        ".hidden",
        "%2ehidden",
        "root",
        "etc",
        "passwd",
    ]);
    let paths = prop::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat());
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(4000));
    let seen = std::cell::Cell::new(0);
    let run = runner.run(&paths, |path| {
        if let Ok(reply) = served.ask("GET", &path, None, &[("accept-encoding", "br")]) {
            let inside = matches!(reply.text(), "inside" | "" | "SECRET? no, this is inside");
            prop_assert!(inside && matches!(reply.status, 200 | 301), "{}: {}", reply.status, reply.text());
            seen.set(seen.get() + 1);
        }
        Ok(())
    });
    assert_eq!(run, Ok(()));
    // The trap is open: most paths lead nowhere, but some lead to what may be seen.
    assert!(seen.get() > 100, "{}", seen.get());
}
