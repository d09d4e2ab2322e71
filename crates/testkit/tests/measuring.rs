//! What the kit measures with, against backends whose answers are known.

use std::{sync::Arc, time::Duration};

use evergate_testkit::{
    Ask, Authority, Backend, Door, handshakes,
    paced::{Paced, Plan, Said, Sample},
    ports, unary,
};

const EVERY: Duration = Duration::from_millis(2);

/// The client has a thread of its own; who waits for it must not be the thread of the backend.
#[expect(clippy::unwrap_used, reason = "a test")]
async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test]
async fn questions_keep_their_times() {
    let mut backend = Backend::start("paced").await;
    let asks = ["/a", "/b", "/c"].map(|path| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes());
    let plan = Plan { address: backend.address, connections: 2, every: EVERY, asks: Arc::new(asks.to_vec()) };
    let paced = Paced::start(plan).unwrap();
    paced.focus(2);
    while paced.count() < 20 {
        tokio::time::sleep(EVERY).await;
    }
    assert!(paced.since(0).iter().all(|s| s.said == Said::Answer(200, b'{')));
    backend.stop().await;
    let mark = paced.count();
    while paced.since(mark).iter().all(Sample::good) {
        tokio::time::sleep(EVERY).await;
    }
    let samples = beside(move || paced.stop()).await;
    let due: Vec<Duration> = samples.iter().map(|s| s.due).collect();
    assert!(due.windows(2).all(|pair| pair[1] - pair[0] == EVERY), "{due:?}");
    assert!(samples.iter().all(|s| s.done >= s.due));
    let focused = samples.iter().skip(1).step_by(2).all(|s| s.ask == 2);
    assert!(focused && [0, 1, 2].iter().all(|ask| samples.iter().any(|s| s.ask == *ask)), "{samples:?}");
    let failed = samples.iter().filter(|s| !s.good());
    assert!(failed.clone().count() > 0);
    assert!(failed.clone().all(|s| !matches!(s.said, Said::Answer(..))), "{samples:?}");
}

#[tokio::test]
async fn sessions_are_resumed_or_not() {
    let leaf = Authority::new().leaf(&["localhost"]);
    let backend = Backend::start_tls("tls", leaf.server(&["http/1.1"])).await;
    for resumes in [false, true] {
        let plan = handshakes::Plan {
            address: backend.address,
            name: "localhost".to_owned(),
            lines: 2,
            takes: Duration::from_millis(300),
            resumes,
        };
        let outcome = beside(move || handshakes::run(&plan)).await.unwrap();
        assert!(outcome.failed.is_empty(), "{outcome:?}");
        assert!(outcome.answered > 2, "{outcome:?}");
        // The first of each line has nothing to take up.
        let expected = if resumes { outcome.answered - 2 } else { 0 };
        assert_eq!(outcome.resumed, expected, "{outcome:?}");
    }
}

#[tokio::test]
async fn unary_calls_are_answered() {
    let address = ports::free();
    unary::serve(address).unwrap();
    let mut conn = Door::clear(address).h2().connect().await.unwrap();
    for (message, status) in [(unary::MESSAGE.to_vec(), "0"), (vec![0; 3], "3")] {
        let answer = conn.ask(&Ask::post(unary::CALL, message)).await.unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body[..], unary::MESSAGE);
        assert_eq!(answer.trailers.get("grpc-status"), Some(status));
    }
}
