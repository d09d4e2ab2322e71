use std::{
    io::Read,
    net::{Shutdown, TcpListener, TcpStream as Peer},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::{LocalSet, spawn_local, yield_now},
};

use super::*;

/// More than the kernel takes for a peer that does not read.
const MUCH: usize = 32 << 20;

/// A socket by that outbox, and the other end of its connection.
async fn pair(outbox: &Rc<Outbox>) -> (Socket, Peer) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (peer, _) = listener.accept().unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    (Socket::new(tcp, outbox), peer)
}

/// Runs a test where an outbox has its task.
fn run<F: Future<Output = ()>>(test: impl FnOnce(Rc<Outbox>) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let outbox = Rc::<Outbox>::default();
        let task = spawn_local(outbox.clone().run());
        yield_now().await;
        test(outbox).await;
        task.abort();
    });
}

fn has_nothing(peer: &Peer) -> bool {
    peer.set_nonblocking(true).unwrap();
    let peeked = peer.peek(&mut [0]);
    peer.set_nonblocking(false).unwrap();
    peeked.is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock)
}

fn read(peer: &mut Peer, n: usize) -> Vec<u8> {
    let mut got = vec![0; n];
    peer.read_exact(&mut got).unwrap();
    got
}

#[test]
fn small_writes_of_a_turn_go_out_together_at_its_end() {
    run(async |outbox| {
        let (mut socket, mut peer) = pair(&outbox).await;
        for piece in ["one ", "two ", "three"] {
            assert_eq!(socket.write(piece.as_bytes()).await.unwrap(), piece.len());
        }
        socket.flush().await.unwrap();
        assert_eq!((socket.unsent(), socket.sent()), (13, 0));
        assert!(has_nothing(&peer), "sent before the end of the turn");
        yield_now().await;
        assert_eq!((socket.unsent(), socket.sent()), (0, 13));
        assert_eq!(read(&mut peer, 13), b"one two three");
    });
}

#[test]
fn a_large_write_goes_out_at_once_but_never_past_what_waits() {
    run(async |outbox| {
        let (mut socket, mut peer) = pair(&outbox).await;
        let large = vec![b'x'; SMALL + 1];
        assert_eq!(socket.write(&large).await.unwrap(), large.len());
        assert_eq!((socket.unsent(), socket.sent()), (0, large.len() as u64));
        assert_eq!(read(&mut peer, large.len()), large);
        socket.write_all(b"head").await.unwrap();
        socket.write_all(&large).await.unwrap();
        assert_eq!(socket.unsent(), 4 + large.len());
        yield_now().await;
        assert_eq!(read(&mut peer, 4), b"head");
        assert_eq!(read(&mut peer, large.len()), large);
    });
}

#[test]
fn what_waits_is_sent_before_a_goodbye_and_also_if_the_socket_is_dropped() {
    run(async |outbox| {
        let (mut socket, mut peer) = pair(&outbox).await;
        socket.write_all(b"last").await.unwrap();
        socket.shutdown().await.unwrap();
        let mut got = String::new();
        peer.read_to_string(&mut got).unwrap();
        assert_eq!(got, "last");

        let (mut socket, mut peer) = pair(&outbox).await;
        socket.write_all(b"dropped").await.unwrap();
        drop(socket);
        yield_now().await;
        got.clear();
        peer.read_to_string(&mut got).unwrap();
        assert_eq!(got, "dropped");

        let (mut socket, mut peer) = pair(&outbox).await;
        socket.write_all(b"end").await.unwrap();
        outbox.close();
        assert_eq!(read(&mut peer, 3), b"end");
    });
}

#[test]
fn a_peer_that_does_not_read_holds_the_writer_up_and_gets_everything_in_the_end() {
    run(async |outbox| {
        let (mut socket, mut peer) = pair(&outbox).await;
        let pattern: Vec<u8> = (0..=250).collect();
        let all: Vec<u8> = pattern.iter().copied().cycle().take(MUCH).collect();
        let expected = all.clone();
        let writer = spawn_local(async move {
            // Small pieces, so that they go by the outbox.
            for piece in all.chunks(SMALL / 2) {
                socket.write_all(piece).await.unwrap();
                assert!(socket.unsent() <= WAITING_MAX);
                yield_now().await;
            }
            socket.shutdown().await.unwrap();
            assert_eq!((socket.unsent(), socket.sent()), (0, MUCH as u64));
        });
        // A writer that nothing holds up is done long before.
        for _ in 0..4 * MUCH / SMALL {
            yield_now().await;
        }
        assert!(!writer.is_finished(), "written to a peer that does not read");
        let reader = std::thread::spawn(move || {
            let mut got = Vec::new();
            peer.read_to_end(&mut got).unwrap();
            got
        });
        writer.await.unwrap();
        assert!(reader.join().unwrap() == expected, "what came is not what was sent");
    });
}

#[test]
fn a_dropped_socket_waits_for_no_peer() {
    run(async |outbox| {
        let (mut socket, mut peer) = pair(&outbox).await;
        let piece = vec![7; SMALL];
        poll_fn(|cx| {
            while let Poll::Ready(n) = Pin::new(&mut socket).poll_write(cx, &piece) {
                n.unwrap();
                socket.0.send_queued();
            }
            Poll::Ready(())
        })
        .await;
        assert!(socket.is_stalled());
        let shared = Rc::downgrade(&socket.0);
        drop(socket);
        for _ in 0..10 {
            yield_now().await;
        }
        assert_eq!(shared.strong_count(), 0, "kept for a peer that does not read");
        std::thread::spawn(move || peer.read_to_end(&mut Vec::new())).join().unwrap().unwrap();
    });
}

#[test]
fn a_socket_that_is_dropped_with_the_outbox_waits_for_no_peer_either() {
    run(async |outbox| {
        let (mut socket, mut peer) = pair(&outbox).await;
        let large = vec![7; 1 << 20];
        poll_fn(|cx| {
            // Past the outbox, until the kernel takes no more.
            while let Poll::Ready(n) = Pin::new(&mut socket).poll_write(cx, &large) {
                n.unwrap();
            }
            Poll::Ready(())
        })
        .await;
        socket.write_all(b"small").await.unwrap();
        assert!(!socket.is_stalled() && socket.unsent() == 5);
        let shared = Rc::downgrade(&socket.0);
        drop(socket);
        for _ in 0..10 {
            yield_now().await;
        }
        assert_eq!(shared.strong_count(), 0, "kept for a peer that does not read");
        std::thread::spawn(move || peer.read_to_end(&mut Vec::new())).join().unwrap().unwrap();
    });
}

#[test]
fn a_broken_connection_is_said_by_the_next_call() {
    run(async |outbox| {
        let (mut socket, peer) = pair(&outbox).await;
        peer.shutdown(Shutdown::Both).unwrap();
        drop(peer);
        let mut error = None;
        for _ in 0..100 {
            if let Err(e) = socket.write_all(b"x").await {
                error = Some(e);
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(error.is_some(), "nobody said that the connection is gone");
        assert!(socket.flush().await.is_err() && socket.shutdown().await.is_err());
        assert_eq!(socket.read(&mut [0]).await.unwrap_or(0), 0);
    });
}
