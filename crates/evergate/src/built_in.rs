//! Documents for those who bring none: a welcome page, a reverse proxy, a folder of files.

use std::{net::SocketAddr, path::Path};

use evergate_conf::{
    Node,
    format::{SyntaxError, json::from_json_value},
};
use serde_json::{Value, json};

/// Where a built-in document listens unless told otherwise.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);

/// What a built-in document serves.
#[derive(Clone, Copy, Debug)]
pub(crate) enum BuiltIn<'a> {
    /// A page that says what to do next.
    Welcome,
    /// Everything goes to that URL.
    Proxy(&'a str),
    /// The files of that folder.
    Files(&'a Path),
}

impl BuiltIn<'_> {
    /// The document. `listen` and `admin` are addresses, as in a document.
    ///
    /// # Errors
    /// None in practice: its numbers are small.
    pub(crate) fn document(self, listen: Option<&str>, admin: Option<&str>) -> Result<Node, SyntaxError> {
        let listen = listen.map_or_else(|| LISTEN.to_string(), str::to_owned);
        let mut document = match self {
            BuiltIn::Welcome => json!({
                "routes": { "welcome": { "respond": {
                    "body": welcome(&listen),
                    "headers": { "content-type": "text/html; charset=utf-8" },
                } } },
            }),
            BuiltIn::Proxy(url) => json!({
                "upstreams": { "origin": { "endpoints": [with_scheme(url)] } },
                "routes": { "all": { "forward": "origin" } },
            }),
            BuiltIn::Files(root) => json!({ "routes": { "files": { "files": { "root": root } } } }),
        };
        if let Value::Object(map) = &mut document {
            map.insert("listeners".to_owned(), json!({ "web": { "address": listen } }));
            if let Some(admin) = admin {
                map.insert("admin".to_owned(), json!({ "address": admin }));
            }
        }
        from_json_value(&document)
    }
}

/// People type `localhost:3000`.
fn with_scheme(url: &str) -> String {
    if url.contains("://") { url.to_owned() } else { format!("http://{url}") }
}

/// Reads well in a browser and in a terminal.
fn welcome(listen: &str) -> String {
    let host = match listen.strip_prefix(':') {
        Some(port) => format!("localhost:{port}"),
        None => listen.to_owned(),
    };
    format!(
        r#"<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Evergate</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem }}
pre {{ background: #8882; padding: 1rem; white-space: pre-wrap; overflow-wrap: anywhere }}</style></head>
<body>
<h1>Evergate runs.</h1>

<p>This is its built-in document. Change it while it serves:</p>

<pre>
evergate patch '{{"routes": {{"hello": {{"match": {{"path": "/hello"}}, "respond": {{"body": "Hello\n"}}}}}}}}'
curl http://{host}/hello
</pre>

<p>Look, and go back:</p>

<pre>
evergate status
evergate history
evergate rollback
</pre>

<p>Or start with a document of your own, and edit it; each save is live:</p>

<pre>
evergate run gate.yaml
evergate run --proxy http://127.0.0.1:3000
evergate run --files ./public
</pre>
</body>
</html>
"#
    )
}

#[cfg(test)]
mod tests {
    use evergate_contract::{Config, check};

    use super::*;

    fn checked(what: BuiltIn<'_>, listen: Option<&str>, admin: Option<&str>) -> Config {
        let node = what.document(listen, admin).unwrap();
        (*check(&node, None).unwrap()).clone()
    }

    #[test]
    fn each_is_a_document_that_checks() {
        let welcome = checked(BuiltIn::Welcome, None, None);
        assert_eq!(welcome.listeners["web"].address.to_string(), "127.0.0.1:8080");
        assert_eq!(welcome.admin.address.to_string(), "127.0.0.1:9090");
        let proxy = checked(BuiltIn::Proxy("localhost:3000"), Some(":80"), Some("127.0.0.1:1"));
        assert_eq!(proxy.listeners["web"].address.to_string(), "[::]:80");
        assert_eq!(proxy.admin.address.to_string(), "127.0.0.1:1");
        assert_eq!(proxy.upstreams["origin"].endpoints[0].url.to_string(), "http://localhost:3000/");
        assert_eq!(checked(BuiltIn::Files(Path::new("/srv")), None, None).routes.len(), 1);
    }

    #[test]
    fn the_welcome_page_names_what_works() {
        let page = welcome(":8081");
        assert!(page.contains("curl http://localhost:8081/hello"), "{page}");
        let patch = page.split("evergate patch '").nth(1).unwrap().split('\'').next().unwrap();
        let patch: Value = serde_json::from_str(patch).unwrap();
        assert_eq!(patch["routes"]["hello"]["respond"]["body"], "Hello\n");
    }
}
