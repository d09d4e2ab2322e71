//! Clients and backends of the kit against each other: what the kit says of a gateway is worth as much as
//! what it says of itself.

use evergate_testkit::{
    Answer, Ask, Authority, Backend, Crowd, Door, Failure, Manner,
    load::Client,
    rng::{hash, noise},
    ws::Socket,
};

/// The same backend through all four doors.
async fn doors() -> (Vec<Backend>, Vec<Door>) {
    let authority = Authority::new();
    let leaf = authority.leaf(&["localhost"]);
    let clear = Backend::start("clear").await;
    let tls = Backend::start_tls("tls", leaf.server(&["h2", "http/1.1"])).await;
    let (one, two) = (Door::clear(clear.address), Door::clear(clear.address).h2());
    let over_tls = Door::tls(tls.address, authority.client(&["http/1.1"]), "localhost");
    let doors = vec![one, two, over_tls.clone(), over_tls.h2()];
    (vec![clear, tls], doors)
}

#[tokio::test]
async fn every_door_echoes() {
    let (_backends, doors) = doors().await;
    for door in doors {
        let mut conn = door.connect().await.unwrap();
        for body in [0, 1, 100_000] {
            let body = noise(body);
            let answer = conn.ask(&Ask::post("/a?b=c", body.clone()).field("x-y", "z")).await.unwrap();
            let echo = answer.json();
            assert_eq!(answer.status, 200);
            assert_eq!(echo["target"], "/a?b=c");
            assert_eq!(echo["method"], "POST");
            assert_eq!(echo["fields"]["x-y"][0], "z");
            assert_eq!(echo["body_length"], body.len());
            assert_eq!(echo["body_hash"], hash(&body).to_string());
        }
        assert!(!conn.over());
    }
}

#[tokio::test]
async fn bodies_go_both_ways_at_once() {
    let (_backends, doors) = doors().await;
    for door in doors {
        let body = noise(3_000_000);
        let answer = door.ask(&Ask::post("/", body.clone()).field("x-do", "return")).await.unwrap();
        assert_eq!(hash(&answer.body), hash(&body));
        let answer = door.ask(&Ask::get("/").field("x-do", "bytes 1000000")).await.unwrap();
        assert_eq!(answer.fields.get("x-hash"), Some(hash(&answer.body).to_string().as_str()));
    }
}

#[tokio::test]
async fn trailers_and_hints() {
    let (_backends, doors) = doors().await;
    for door in doors {
        let ask = Ask::post("/", "body").trailer("x-t", "end").field("x-do", "trailers");
        let answer = door.ask(&ask).await.unwrap();
        assert_eq!(answer.json()["trailers"]["x-t"], "end");
        assert_eq!(answer.trailers.get("x-end"), Some("yes"));
        let answer = door.ask(&Ask::get("/").field("x-do", "hints")).await.unwrap();
        assert_eq!(answer.early.iter().map(|(s, _)| *s).collect::<Vec<_>>(), [103]);
        assert_eq!(answer.status, 200);
    }
}

#[tokio::test]
async fn ways_to_fail() {
    let (mut backends, doors) = doors().await;
    let door = &doors[0];
    for (script, want) in [
        ("", "Closed"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", "Cut"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", "Bad"),
        ("SSH-2.0-x\r\n\r\n", "Bad"),
    ] {
        backends[0].script("it", script.as_bytes());
        let failure = door.ask(&Ask::get("/").field("x-do", "raw it")).await.unwrap_err();
        assert!(format!("{failure:?}").starts_with(want), "{script:?}: {failure:?}");
    }
    assert_eq!(door.ask(&Ask::get("/").field("x-do", "close")).await, Err(Failure::Closed));
    backends[0].stop().await;
    assert!(matches!(door.ask(&Ask::get("/")).await, Err(Failure::Refused(_))));
    backends[0].open().await;
    assert_eq!(door.ask(&Ask::get("/")).await.unwrap().status, 200);
}

#[tokio::test]
async fn expectation_is_met_or_refused() {
    let (_backends, doors) = doors().await;
    let ask = Ask::post("/", "body").field("expect", "100-continue");
    let answer = doors[0].ask(&ask).await.unwrap();
    assert_eq!((answer.early.len(), answer.json()["body_length"].as_u64()), (1, Some(4)));
    let answer = doors[0].ask(&ask.field("x-do", "early 413")).await.unwrap();
    assert_eq!((answer.early.len(), answer.status), (0, 413));
}

#[tokio::test]
async fn websockets_echo() {
    let (_backends, doors) = doors().await;
    for door in [&doors[0], &doors[2]] {
        let mut socket = Socket::open(door, "test.local", "/").await.unwrap();
        for length in [0, 5, 125, 126, 70_000] {
            socket.echo(&"x".repeat(length)).await.unwrap();
        }
        socket.close().await.unwrap();
    }
    assert_eq!(evergate_testkit::ws::accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

#[tokio::test]
async fn crowd_counts_what_goes_wrong() {
    let (mut backends, doors) = doors().await;
    let clients = doors.iter().flat_map(|door| {
        [Manner::KeepAlive, Manner::PerRequest].map(|m| Client::new(door.clone(), m, Ask::get("/")))
    });
    let crowd = Crowd::start(clients.collect::<Vec<_>>());
    crowd.more(200).await;
    crowd.stop().await.assert_unnoticed();

    let client = Client::new(doors[0].clone(), Manner::KeepAlive, Ask::get("/"));
    let crowd = Crowd::start([client.clone(), client.clone().checking(wrong)]);
    crowd.more(50).await;
    backends[0].stop().await;
    backends[0].open().await;
    crowd.more(50).await;
    let outcome = crowd.stop().await;
    assert!(outcome.reconnects >= 2, "{outcome:?}");
    assert!(outcome.failed >= 50, "{outcome:?}");
    assert!(outcome.words.iter().any(|w| w.contains("not to my taste")), "{outcome:?}");
}

fn wrong(_: &Answer) -> Result<(), String> {
    Err("not to my taste".to_owned())
}

#[tokio::test]
async fn crowd_sees_stale_answers_and_polite_closes() {
    let backend = Backend::start("v1").await;
    backend.script("old", b"HTTP/1.1 200 OK\r\nx-rev: 3\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let door = Door::clear(backend.address);
    let ask = Ask::get("/").field("x-do", "raw old");
    let crowd = Crowd::start([Client::new(door, Manner::KeepAlive, ask)]);
    crowd.seen(3);
    crowd.more(10).await;
    crowd.seen(4);
    crowd.more(10).await;
    let outcome = crowd.stop().await;
    assert!(outcome.polite >= 20 && outcome.failed == 0, "{outcome:?}");
    assert!((5..outcome.answered).contains(&outcome.stale), "{outcome:?}");
    assert_eq!(outcome.revisions.keys().collect::<Vec<_>>(), [&3]);
}

#[tokio::test]
async fn a_goaway_is_a_polite_close() {
    let backend = Backend::start("v1").await;
    let door = Door::clear(backend.address).h2();
    let mut conn = door.connect().await.unwrap();
    assert_eq!(conn.ask(&Ask::get("/")).await.unwrap().status, 200);
    assert!(!conn.over());
    let answer = conn.ask(&Ask::get("/").field("x-do", "goaway")).await.unwrap();
    assert_eq!(answer.status, 200);
    conn.closed().await.unwrap();
    assert!(conn.over());
    assert_eq!(conn.ask(&Ask::get("/")).await, Err(Failure::Goaway));
}
