//! A server that writes down how connections begin, and answers each `GET` with `200`.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What came on a connection before its first request, and how many requests came.
pub type Begun = (Vec<u8>, usize);

/// The server. It goes on until the runtime ends.
pub struct Recorder {
    /// Where it is.
    pub url: String,
    seen: Seen,
}

#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<Begun>>>);

impl Recorder {
    /// Starts one.
    pub async fn start() -> Recorder {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let seen = Seen::default();
        tokio::spawn({
            let seen = seen.clone();
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, seen.clone()));
                }
            }
        });
        Recorder { url, seen }
    }

    /// Connections that had a request, in the order in which they came.
    #[must_use]
    pub fn begun(&self) -> Vec<Begun> {
        let all = self.seen.0.lock().expect("no panic");
        all.iter().filter(|(_, requests)| *requests > 0).cloned().collect()
    }
}

async fn serve(mut stream: TcpStream, seen: Seen) {
    let index = {
        let mut all = seen.0.lock().expect("no panic");
        all.push((Vec::new(), 0));
        all.len() - 1
    };
    let mut came = Vec::new();
    while stream.read_buf(&mut came).await.is_ok_and(|n| n > 0) {
        // A PROXY header has blank lines of its own.
        let Some(begin) = came.windows(4).position(|w| w == b"GET ") else { continue };
        if !came.ends_with(b"\r\n\r\n") {
            continue;
        }
        {
            let mut all = seen.0.lock().expect("no panic");
            if all[index].1 == 0 {
                all[index].0 = came[..begin].to_vec();
            }
            all[index].1 += 1;
        }
        came.clear();
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    }
}
