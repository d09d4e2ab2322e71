//! A TLS client's hello: the answer may not depend on how the bytes arrive, and the name that it is passed on by is the
//! one that another reader finds.

use evergate_wire::hello::{Hello, peek};
use rustls::server::Acceptor;

pub(crate) fn hello(data: &[u8]) {
    let whole = peek(data);
    // What was decided stays, whatever follows.
    let decided = (0..=data.len()).find_map(|n| match peek(data.get(..n)?) {
        Ok(None) => None,
        other => Some(other),
    });
    assert_eq!(decided.unwrap_or(Ok(None)), whole, "byte by byte");
    if let (Ok(Some(Hello { server_name })), Some(other)) = (&whole, by_rustls(data)) {
        assert_eq!(*server_name, other, "two readers, two names");
    }
    if let Ok(Some(Hello { server_name: Some(name) })) = &whole {
        assert!(!name.bytes().any(|b| b.is_ascii_uppercase()) && name.is_ascii(), "{name}");
    }
    if whole == Ok(None) {
        assert!(data.len() < 32 << 10, "no end");
    }
}

/// The name that rustls finds, if it finds nothing wrong.
fn by_rustls(mut data: &[u8]) -> Option<Option<Box<str>>> {
    let mut acceptor = Acceptor::default();
    while !data.is_empty() {
        acceptor.read_tls(&mut data).ok()?;
        if let Some(accepted) = acceptor.accept().ok()? {
            let hello = accepted.client_hello();
            return Some(hello.server_name().map(|name| name.to_ascii_lowercase().into()));
        }
    }
    None
}
