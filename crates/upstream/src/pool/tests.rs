use std::{sync::Arc, time::Instant};

use evergate_contract::config::Upstream;
use evergate_wire::{Socket, proxy_protocol::Said};
use serde_json::json;

use super::*;
use crate::connect::Connected;
use crate::testing::{Rig, Server, run};

/// A new connection to the pool's endpoint.
async fn connect(pool: &Pool) -> Stream {
    let carrier = |tcp| Socket::new(tcp, &Rc::default());
    match pool.connector().connect(false, Said::Nothing, carrier).await.unwrap() {
        Connected::Http1(stream) => stream,
        Connected::Http2(_) => panic!("HTTP/2 in clear text by default"),
    }
}

/// A pool of one worker for that endpoint, with a connection of it.
async fn pool(server: &Server) -> (Rc<Pool>, Box<Conn>) {
    let rig = Rig::stopped();
    let spec: Arc<Upstream> = Arc::new(serde_json::from_value(json!({ "endpoints": [server.url] })).unwrap());
    let cluster = rig.cluster(serde_json::to_value(&*spec).unwrap());
    let pool = Pool::new(&cluster.members()[0].connector, &rig.clock, &spec);
    let stream = connect(&pool).await;
    (pool, Conn::new(stream))
}

#[test]
fn idle_connections_keep_no_large_buffers_for_long() {
    run(async {
        let server = Server::start(|peer, _| peer.stay()).await;
        let (pool, mut conn) = pool(&server).await;
        conn.wire.input.reserve(1 << 20);
        conn.wire.small().reserve(1 << 20);
        pool.put(conn);
        pool.sweep();
        let Some(Found::Idle(conn)) = pool.find(false, false) else { panic!("nothing idle") };
        assert!(conn.wire.input.capacity() >= 1 << 20, "the next body may need it");
        pool.put(conn);
        pool.clock.tick(Instant::now() + Duration::from_millis(BUFFER_KEPT_MS));
        pool.sweep();
        let Some(Found::Idle(mut conn)) = pool.find(false, false) else { panic!("nothing idle") };
        assert!(conn.wire.input.capacity() <= BUFFER_KEPT_MAX);
        assert!(conn.wire.small().capacity() <= BUFFER_KEPT_MAX);
    });
}

#[test]
fn the_newest_is_taken_first_and_none_when_a_new_one_is_wanted() {
    run(async {
        let server = Server::start(|peer, _| peer.stay()).await;
        let (pool, first) = pool(&server).await;
        let stream = connect(&pool).await;
        let second = Conn::new(stream);
        let place = |conn: &Conn| std::ptr::from_ref(conn);
        let newest = place(&second);
        pool.put(first);
        pool.put(second);
        assert!(matches!(pool.find(false, true), Some(Found::Nothing(None))));
        let Some(Found::Idle(conn)) = pool.find(false, false) else { panic!("nothing idle") };
        assert_eq!(place(&conn), newest);
        pool.close();
        pool.put(conn);
        assert_eq!((pool.idle(), pool.is_empty()), (0, true), "what comes back to a closed pool is closed");
        let stream = connect(&pool).await;
        drop(crate::forward::h2::open(&pool, stream));
        assert!(pool.is_empty(), "and what is opened for it serves one request");
    });
}
