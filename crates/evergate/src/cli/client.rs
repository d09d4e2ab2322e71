//! The admin API as a client: over the Unix socket that the data directory names, or over TCP.

use std::{
    env, io,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use evergate_admin::Whereabouts;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

use super::{Failure, Where};
use crate::{exit::Exit, place};

/// For an answer to come; a change may build for long.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(310);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a gateway's admin API is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Gateway {
    Socket(PathBuf),
    /// `host:port`.
    Tcp(String),
}

/// A call.
#[derive(Debug, Default)]
pub(super) struct Call<'a> {
    pub(super) method: Method,
    /// Below `/api/v1`, with its query.
    pub(super) path: &'a str,
    pub(super) content: Option<(&'static str, String)>,
    pub(super) if_match: Option<&'a str>,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Value,
}

impl Where {
    /// The gateway that the arguments, or else the environment, name.
    pub(super) fn gateway(&self) -> Result<Gateway, Failure> {
        let named = self.socket.is_some() || self.data_dir.is_some();
        let admin = self.admin.clone().or_else(|| env::var("EVERGATE_ADMIN").ok().filter(|_| !named));
        if let Some(url) = admin {
            return of_url(&url).ok_or_else(|| {
                Failure::new(Exit::Usage, format!("expected http://host:port or unix:/path, found `{url}`"))
            });
        }
        if let Some(path) = &self.socket {
            return Ok(Gateway::Socket(path.clone()));
        }
        let folder = self.data_dir.clone().or_else(place::data_dir);
        let folder =
            folder.ok_or_else(|| Failure::new(Exit::Usage, "there is no home directory: say --data-dir"))?;
        match Whereabouts::read(&folder) {
            Ok(found) => Ok(Gateway::Socket(found.socket)),
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Err(Failure::new(
                Exit::NoAnswer,
                format!("cannot look into the data directory {}: {e}", folder.display()),
            )),
            Err(_) => Ok(Gateway::Socket(folder.join("evergate.sock"))),
        }
    }
}

fn of_url(url: &str) -> Option<Gateway> {
    if let Some(path) = url.strip_prefix("unix:") {
        return Some(Gateway::Socket(path.trim_start_matches("//").into())).filter(|_| !path.is_empty());
    }
    let uri: http::Uri = url.parse().ok()?;
    let plain = uri.scheme_str() == Some("http") && matches!(uri.path(), "" | "/") && uri.query().is_none();
    let host = uri.host().filter(|_| plain)?;
    Some(Gateway::Tcp(format!("{host}:{}", uri.port_u16().unwrap_or(80))))
}

impl Gateway {
    /// Calls and waits for the answer.
    pub(super) fn call(&self, call: Call<'_>) -> Result<Answer, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| Failure::new(Exit::System, e.to_string()))?;
        runtime.block_on(async {
            match tokio::time::timeout(ANSWER_TIMEOUT, self.exchange(call)).await {
                Ok(answer) => answer,
                Err(_) => {
                    Err(Failure::new(Exit::NoAnswer, format!("no answer from {} in time", self.name())))
                }
            }
        })
    }

    async fn exchange(&self, call: Call<'_>) -> Result<Answer, Failure> {
        let connect = async {
            match self {
                Gateway::Socket(path) => {
                    UnixStream::connect(path).await.map(|s| Box::new(s) as Box<dyn Stream>)
                }
                Gateway::Tcp(to) => TcpStream::connect(to).await.map(|s| Box::new(s) as Box<dyn Stream>),
            }
        };
        let stream = match tokio::time::timeout(CONNECT_TIMEOUT, connect).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(self.nobody(&error)),
            Err(_) => return Err(self.nobody(&io::ErrorKind::TimedOut.into())),
        };
        let lost = |e: &dyn std::fmt::Display| {
            Failure::new(Exit::NoAnswer, format!("no answer from {}: {e}", self.name()))
        };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| lost(&e))?;
        tokio::spawn(connection);
        let request = self.request(call).map_err(|e| Failure::new(Exit::Usage, e.to_string()))?;
        let response = sender.send_request(request).await.map_err(|e| lost(&e))?;
        let status = response.status();
        let bytes = response.into_body().collect().await.map_err(|e| lost(&e))?.to_bytes();
        let body = serde_json::from_slice(&bytes).map_err(|e| lost(&e))?;
        Ok(Answer { status, body })
    }

    fn request(&self, call: Call<'_>) -> http::Result<Request<Full<Bytes>>> {
        let host = match self {
            Gateway::Socket(_) => "localhost",
            Gateway::Tcp(to) => to,
        };
        let mut request = Request::builder()
            .method(call.method)
            .uri(format!("/api/v1{}", call.path))
            .header(header::HOST, host)
            .header(header::CONNECTION, "close")
            .header(header::ACCEPT, "application/json, application/problem+json");
        if let Some(revision) = call.if_match {
            request = request.header(header::IF_MATCH, format!("\"{revision}\""));
        }
        if let Ok(token) = env::var("EVERGATE_TOKEN") {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let mut body = String::new();
        if let Some((kind, content)) = call.content {
            request = request.header(header::CONTENT_TYPE, kind);
            body = content;
        }
        request.body(Full::new(Bytes::from(body)))
    }

    fn nobody(&self, error: &io::Error) -> Failure {
        let help = match self {
            Gateway::Socket(path) if error.kind() == io::ErrorKind::NotFound => {
                let folder = path.parent().unwrap_or(Path::new("."));
                format!(
                    " (nothing runs with the data directory {}; --data-dir names another)",
                    folder.display()
                )
            }
            _ => format!(": {error}"),
        };
        Failure::new(Exit::NoAnswer, format!("no gateway answers at {}{help}", self.name()))
    }

    fn name(&self) -> String {
        match self {
            Gateway::Socket(path) => place::shown(path),
            Gateway::Tcp(to) => format!("http://{to}"),
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Answer {
    /// The body of a good answer, or why there is none.
    pub(super) fn good(self) -> Result<Value, Failure> {
        if self.status.is_success() { Ok(self.body) } else { Err(self.failure()) }
    }

    /// What a problem document says.
    pub(super) fn failure(&self) -> Failure {
        let detail = self.body.get("detail").and_then(Value::as_str);
        let mut text = detail.map_or_else(|| format!("the gateway answers {}", self.status), str::to_owned);
        if self.status == StatusCode::UNAUTHORIZED {
            text.push_str("; put the token into EVERGATE_TOKEN");
        }
        let exit = if self.status.is_server_error() { Exit::NoAnswer } else { Exit::Refused };
        Failure::new(exit, text)
    }
}

/// A text as part of a URL's path or query.
pub(super) fn quoted(text: &str) -> String {
    let keep = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes().map(|b| if keep(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_gateways() {
        for (url, expected) in [
            ("http://127.0.0.1:9090", Some(Gateway::Tcp("127.0.0.1:9090".into()))),
            ("http://[::1]:9090/", Some(Gateway::Tcp("[::1]:9090".into()))),
            ("http://gate", Some(Gateway::Tcp("gate:80".into()))),
            ("unix:/run/e.sock", Some(Gateway::Socket("/run/e.sock".into()))),
            ("unix:e.sock", Some(Gateway::Socket("e.sock".into()))),
            ("unix:", None),
            ("https://gate", None),
            ("http://gate/api", None),
            ("127.0.0.1:9090", None),
        ] {
            assert_eq!(of_url(url), expected, "{url}");
        }
    }

    #[test]
    fn the_data_directory_says_where() {
        let dir = tempfile::tempdir().unwrap();
        let at = Where { admin: None, socket: None, data_dir: Some(dir.path().to_owned()) };
        assert_eq!(at.gateway().unwrap(), Gateway::Socket(dir.path().join("evergate.sock")));
        std::fs::write(
            dir.path().join("admin.json"),
            r#"{"pid":1,"socket":"/run/other.sock","address":"127.0.0.1:9090"}"#,
        )
        .unwrap();
        assert_eq!(at.gateway().unwrap(), Gateway::Socket("/run/other.sock".into()));
    }

    #[test]
    fn nobody_there_is_no_answer() {
        let gateway = Gateway::Socket("/does/not/exist/evergate.sock".into());
        let failure = gateway.call(Call { path: "/status", ..Call::default() }).unwrap_err();
        assert_eq!(failure.exit, Exit::NoAnswer);
        assert!(failure.text.contains("--data-dir"), "{}", failure.text);
    }

    #[test]
    fn refusals_say_why() {
        for (status, body, exit, text) in [
            (404, serde_json::json!({ "detail": "no such revision" }), Exit::Refused, "no such revision"),
            (401, serde_json::json!({ "detail": "no" }), Exit::Refused, "EVERGATE_TOKEN"),
            (503, Value::Null, Exit::NoAnswer, "503"),
        ] {
            let failure = Answer { status: StatusCode::from_u16(status).unwrap(), body }.failure();
            assert_eq!(failure.exit, exit);
            assert!(failure.text.contains(text), "{}", failure.text);
        }
    }

    #[test]
    fn quotes_for_urls() {
        assert_eq!(quoted("routes.\"a b\".x/é"), "routes.%22a%20b%22.x%2F%C3%A9");
    }
}
