//! What `testssl.sh` finds, quiet and while the document changes five times a second.

use std::{collections::BTreeSet, fs, net::SocketAddr, path::Path, time::Duration};

use evergate_testkit::{Authority, Gate, Launch, ports};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::BIN;

/// What may be found, and why it is not the gateway's.
const EXCEPTIONS: [(&str, &str); 1] =
    [("cert_revocation", "the test's authority publishes nothing about what it has revoked")];

/// Whether a TLS 1.3 session has come before OpenSSL hangs up is a matter of luck, and `tickets.rs` looks at what it is worth.
const BY_LUCK: [&str; 2] = ["sessionresumption_ticket", "sessionresumption_ID"];

/// Protocols, order of suites, forward secrecy, certificate and handshake, vulnerabilities.
const SECTIONS: [&str; 5] = ["-p", "-P", "-f", "-S", "-U"];

async fn gate(authority: &Authority, leaf: &evergate_testkit::certs::Leaf, address: SocketAddr) -> Gate {
    let launch = Launch::new(BIN);
    leaf.write(launch.path(), "leaf");
    fs::write(launch.path().join("ca.pem"), authority.pem()).unwrap();
    let document = json!({
        "listeners": { "tls": { "address": address, "tls": { "certificates": ["leaf"] } } },
        "certificates": { "leaf": { "cert": "leaf.pem", "key": "leaf.key" } },
        "routes": { "all": { "respond": { "body": "hello" } } },
    });
    launch.document(&document).start().await
}

/// All findings, as `id severity text`.
async fn findings(folder: &Path, address: SocketAddr) -> BTreeSet<(String, String, String)> {
    let out = folder.join("findings.json");
    let mut command = Command::new("testssl");
    command.args(["--quiet", "--color", "0", "--warnings", "off", "-n", "none", "--ip", "127.0.0.1"]);
    command.arg("--add-ca").arg(folder.join("ca.pem")).arg("--jsonfile").arg(&out).args(SECTIONS);
    command.arg(format!("https://localhost:{}", address.port())).kill_on_drop(true).current_dir(folder);
    let ran = tokio::time::timeout(Duration::from_secs(600), command.output()).await;
    let output = ran.expect("ten minutes are enough").expect("apt-get install -y testssl.sh");
    let text = fs::read_to_string(&out)
        .unwrap_or_else(|error| panic!("{error}\n{}", String::from_utf8_lossy(&output.stdout)));
    let all: Vec<Value> = serde_json::from_str(&text).unwrap();
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let finding = |f: &Value| (text(f, "id"), text(f, "severity"), text(f, "finding"));
    let is_said = |(id, ..): &(String, String, String)| id != "scanTime" && !BY_LUCK.contains(&id.as_str());
    all.iter().map(finding).filter(is_said).collect()
}

#[tokio::test]
async fn nothing_is_found_quiet_or_while_the_document_changes() {
    let authority = Authority::new();
    let leaf = authority.leaf_for_days(&["localhost"], 89);
    let (at, other) = (ports::free(), ports::free());
    let (quiet, mut busy) = (gate(&authority, &leaf, at).await, gate(&authority, &leaf, other).await);
    busy.churn(Duration::from_millis(200));
    let (found, found_busy) =
        tokio::join!(findings(quiet.home().path(), at), findings(busy.home().path(), other));
    assert!(busy.calm().await > 20, "the document changed all the while");
    assert_eq!(found, found_busy);
    let has = |id: &str| found.iter().any(|(found, ..)| found == id);
    for id in [
        "TLS1_3",
        "cipher_order",
        "PFS",
        "cert_chain_of_trust",
        "TLS_session_ticket",
        "heartbleed",
        "LOGJAM",
        "RC4",
    ] {
        assert!(has(id), "`{id}` was looked at: {found:#?}");
    }
    let bad = |severity: &str| ["MEDIUM", "HIGH", "CRITICAL", "FATAL"].contains(&severity);
    let found: BTreeSet<&str> = found.iter().filter(|(_, s, _)| bad(s)).map(|(id, ..)| id.as_str()).collect();
    let allowed: BTreeSet<&str> = EXCEPTIONS.iter().map(|(id, _)| *id).collect();
    assert_eq!(found, allowed, "an exception that is not needed any more should go");
}
