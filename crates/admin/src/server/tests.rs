use std::os::unix::fs::PermissionsExt;

use axum::{Extension, routing::get};
use evergate_conf::{Location, Secret};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    sync::Notify,
};

use super::*;

fn settings() -> config::Admin {
    config::Admin { address: config::Address(([127, 0, 0, 1], 0).into()), ..config::Admin::default() }
}

fn server(dir: &Path) -> Admin {
    server_that_tells(dir, Arc::default())
}

/// Tells when somebody waits to be asked to go.
fn server_that_tells(dir: &Path, waiting: Arc<Notify>) -> Admin {
    let admin = Admin::new(Handle::current(), evergate_kit::Fds::default(), dir.to_owned());
    let asked_to_go = move |Extension(caller): Extension<Caller>| async move {
        waiting.notify_one();
        caller.asked_to_go().await;
        "gone"
    };
    let who = |Extension(caller): Extension<Caller>| async move { caller.name.to_string() };
    admin.answer_by(Router::new().route("/who", get(who)).route("/wait", get(asked_to_go)));
    admin
}

fn adopt(admin: &Admin, settings: &config::Admin) -> Whereabouts {
    admin.adopt(admin.prepare(settings).unwrap());
    admin.whereabouts().unwrap()
}

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str) -> String {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
    read(&mut stream).await
}

/// One response with a body of known length.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut text = String::new();
    while !text.contains("\r\n\r\n") {
        text.push(char::from(stream.read_u8().await.unwrap()));
    }
    let length = text.split("content-length: ").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    text + std::str::from_utf8(&body).unwrap()
}

#[tokio::test]
async fn answers_on_both_sockets_and_knows_who_calls() {
    let dir = tempfile::tempdir().unwrap();
    let admin = server(dir.path());
    let found = adopt(&admin, &settings());
    assert!(ask(TcpStream::connect(found.address).await.unwrap(), "/who").await.ends_with("127.0.0.1"));
    assert!(ask(UnixStream::connect(&found.socket).await.unwrap(), "/who").await.contains("\r\n\r\nuid "));
    assert_eq!(found.socket, dir.path().join("evergate.sock"));
    assert_eq!(fs::metadata(&found.socket).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(Whereabouts::read(dir.path()).unwrap(), found);
}

#[tokio::test]
async fn what_did_not_change_is_not_bound_again() {
    let dir = tempfile::tempdir().unwrap();
    let admin = server(dir.path());
    let first = adopt(&admin, &settings());
    let mut open = TcpStream::connect(first.address).await.unwrap();
    open.write_all(b"GET /who HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    read(&mut open).await;
    assert_eq!(adopt(&admin, &settings()), first);
    assert!(ask(open, "/who").await.contains("200 OK"), "the connection lives on");
}

#[tokio::test]
async fn a_call_under_way_survives_a_move_of_both_sockets() {
    let dir = tempfile::tempdir().unwrap();
    let waiting = Arc::new(Notify::new());
    let admin = server_that_tells(dir.path(), Arc::clone(&waiting));
    let old = adopt(&admin, &settings());
    let mut tcp = TcpStream::connect(old.address).await.unwrap();
    let mut unix = UnixStream::connect(&old.socket).await.unwrap();
    // Answered only when the connection is asked to go, that is after the move.
    tcp.write_all(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    waiting.notified().await;
    unix.write_all(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    waiting.notified().await;
    let socket = Some(Location(dir.path().join("run/other.sock")));
    let address = config::Address(([127, 0, 0, 2], 0).into());
    let new = adopt(&admin, &config::Admin { address, socket, ..settings() });
    assert!(read(&mut tcp).await.ends_with("gone"));
    assert!(read(&mut unix).await.ends_with("gone"));
    assert_eq!(tcp.read(&mut [0]).await.unwrap(), 0, "closed politely");
    assert!(ask(TcpStream::connect(new.address).await.unwrap(), "/who").await.contains("200 OK"));
    assert!(ask(UnixStream::connect(&new.socket).await.unwrap(), "/who").await.contains("200 OK"));
    assert_eq!(Whereabouts::read(dir.path()).unwrap(), new);
    while TcpStream::connect(old.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    while old.socket.exists() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_is_not_adopted_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let admin = server(dir.path());
    let old = adopt(&admin, &settings());
    let socket = dir.path().join("new.sock");
    let wanted = config::Admin { socket: Some(Location(socket.clone())), ..settings() };
    let prepared = admin.prepare(&wanted).unwrap();
    assert!(socket.exists());
    drop(prepared);
    assert!(!socket.exists());
    assert_eq!(admin.whereabouts().unwrap(), old);

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = config::Address(taken.local_addr().unwrap());
    let refused = admin.prepare(&config::Admin { address, ..wanted }).err().unwrap();
    assert!(refused.is_taken() && refused.field() == "address", "{refused}");
    assert!(!socket.exists());
    assert!(ask(TcpStream::connect(old.address).await.unwrap(), "/who").await.contains("200 OK"));
}

#[tokio::test]
async fn a_new_token_ends_what_the_old_one_opened() {
    let dir = tempfile::tempdir().unwrap();
    let waiting = Arc::new(Notify::new());
    let admin = server_that_tells(dir.path(), Arc::clone(&waiting));
    let found = adopt(&admin, &settings());
    let mut tcp = TcpStream::connect(found.address).await.unwrap();
    tcp.write_all(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    waiting.notified().await;
    let token = Some(Secret::literal("t").unwrap());
    assert_eq!(adopt(&admin, &config::Admin { token, ..settings() }), found);
    assert!(read(&mut tcp).await.ends_with("gone"));
    assert!(!admin.access().borrow().is_open());
}

#[tokio::test]
async fn early_calls_wait_and_late_ones_are_finished() {
    let dir = tempfile::tempdir().unwrap();
    let admin = Admin::new(Handle::current(), evergate_kit::Fds::default(), dir.path().to_owned());
    let found = adopt(&admin, &settings());
    let mut early = TcpStream::connect(found.address).await.unwrap();
    early.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (b, g) = (Arc::clone(&begun), Arc::clone(&go));
    let slow = move || async move {
        b.notify_one();
        g.notified().await;
        "done"
    };
    admin.answer_by(Router::new().route("/slow", get(slow)));
    begun.notified().await;
    let closing = tokio::spawn({
        let admin = admin.clone();
        async move { admin.close().await }
    });
    while found.socket.exists() {
        tokio::task::yield_now().await;
    }
    assert!(!closing.is_finished());
    go.notify_one();
    assert!(read(&mut early).await.ends_with("done"));
    closing.await.unwrap();
    assert!(Whereabouts::read(dir.path()).is_err());
}
