//! Static files: whatever is asked, nothing outside of the folder is read, and the answer is as long as it says.

use std::{cell::OnceCell, path::Path};

use evergate_contract::config::Files;
use evergate_site::Site;
use evergate_wire::{Frame, Headers, Payload};
use http::{Method, StatusCode, header};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use crate::router::headers;

const SECRET: &str = "not for the world";

struct World {
    runtime: Runtime,
    site: Site,
    _folder: tempfile::TempDir,
}

/// A folder with a file of 1,000 bytes in three codings, and a secret beside the folder.
fn make() -> Option<World> {
    let folder = tempfile::tempdir().ok()?;
    let root = folder.path().join("site");
    let write = |name: &Path, text: &str| std::fs::write(name, text).ok();
    std::fs::create_dir_all(root.join("inner")).ok()?;
    write(&folder.path().join("secret.txt"), SECRET)?;
    write(&root.join("a.txt"), &"0123456789".repeat(100))?;
    write(&root.join("a.txt.gz"), "as gzip")?;
    write(&root.join("a.txt.br"), "as brotli")?;
    write(&root.join("inner/index.html"), "index")?;
    std::os::unix::fs::symlink("../secret.txt", root.join("link")).ok()?;
    let files: Files = serde_json::from_value(json!({ "root": root })).ok()?;
    let runtime = Builder::new_current_thread().build().ok()?;
    Some(World { runtime, site: Site::new(&files), _folder: folder })
}

thread_local! {
    static WORLD: OnceCell<Option<World>> = const { OnceCell::new() };
}

/// Lines: target, then headers.
pub(crate) fn site(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.lines();
    let Some(target) = lines.next() else { return };
    let headers = headers(lines);
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    WORLD.with(|world| {
        let Some(world) = world.get_or_init(make) else { unreachable!("a folder can be made") };
        for method in [Method::GET, Method::HEAD] {
            world.runtime.block_on(ask(&world.site, &method, path, query, &headers));
        }
    });
}

async fn ask(site: &Site, method: &Method, path: &str, query: Option<&str>, headers: &Headers) {
    let Ok(response) = site.serve(method, path, path, query, headers).await else { return };
    let (head, mut body): (_, Payload) = response.into_parts();
    let known = [
        StatusCode::OK,
        StatusCode::PARTIAL_CONTENT,
        StatusCode::MOVED_PERMANENTLY,
        StatusCode::NOT_MODIFIED,
        StatusCode::PRECONDITION_FAILED,
        StatusCode::RANGE_NOT_SATISFIABLE,
    ];
    assert!(known.contains(&head.status), "{}", head.status);
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(Frame::Data(data)) => bytes.extend_from_slice(&data),
            other => unreachable!("a file has no {other:?}"),
        }
    }
    assert!(!bytes.windows(SECRET.len()).any(|w| w == SECRET.as_bytes()), "led out of the folder");
    let says = head.headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if method == Method::GET && says.is_some() {
        assert_eq!(says, Some(bytes.len()), "not as long as it says");
    }
    if method == Method::HEAD {
        assert!(bytes.is_empty(), "HEAD with a body");
    }
    let part = head.headers.contains_key(header::CONTENT_RANGE);
    let whole =
        head.status != StatusCode::PARTIAL_CONTENT && head.status != StatusCode::RANGE_NOT_SATISFIABLE;
    assert_eq!(part, !whole, "{} and its range disagree", head.status);
}
