//! Certificates: RSA and ECDSA side by side, OCSP stapling, many of them.

use std::{fs, path::Path, sync::Arc};

use evergate_testkit::{Ask, Home, Stand, handshake};
use serde_json::{Value, json};

use crate::{BIN, look};

#[tokio::test]
async fn rsa_and_ecdsa_side_by_side() {
    let mut stand = Stand::new(BIN).await;
    let crowd = stand.crowd().await;
    let rsa = stand.authority.rsa_leaf(&["test.local"]);
    rsa.write(stand.path(), "rsa");
    let only = |kind: &str| {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        // In TLS 1.2 the suite says which kind of key it is.
        provider.cipher_suites.retain(|suite| format!("{suite:?}").contains(kind));
        Arc::new(stand.authority.client_by(provider))
    };
    let (takes_rsa, takes_ecdsa) = (only("_RSA_"), only("_ECDSA_"));
    assert!(look(&stand, &takes_rsa).await.is_err());
    let ecdsa = look(&stand, &takes_ecdsa).await.unwrap().leaf;
    stand
        .apply(json!({
            "certificates": { "rsa": { "cert": "rsa.pem", "key": "rsa.key" } },
            "listeners": { "tls": { "tls": { "certificates": ["leaf", "rsa"] } } },
        }))
        .await;
    assert_eq!(look(&stand, &takes_rsa).await.unwrap().leaf, rsa.der.to_vec());
    assert_eq!(look(&stand, &takes_ecdsa).await.unwrap().leaf, ecdsa);
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn an_ocsp_response_is_stapled_and_follows_its_file() {
    const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tls/fixtures/ocsp");
    let mut stand = Stand::new(BIN).await;
    let crowd = stand.crowd().await;
    let fixture = |name: &str| fs::read(Path::new(FIXTURES).join(name)).unwrap();
    let put = |file: &str, from: &str| fs::write(stand.path().join(file), fixture(from)).unwrap();
    for (file, from) in [("s.pem", "leaf.pem"), ("s.key", "leaf.key"), ("s.ocsp", "good.der")] {
        put(file, from);
    }
    let certificate =
        |ocsp: Value| json!({ "certificates": { "s": { "cert": "s.pem", "key": "s.key", "ocsp": ocsp } } });
    let mut first = certificate(json!(null));
    first["listeners"] = json!({ "tls": { "tls": { "certificates": ["leaf", "s"] } } });
    stand.apply(first).await;
    let stapled = Arc::new(handshake::Stapled::default());
    let client = stapled.client();
    let seen = async |stand: &Stand| {
        assert_eq!(handshake::look(stand.tls, &client, "stapled.test").await.unwrap().status, 200);
        stapled.last()
    };
    assert_eq!(seen(&stand).await, b"");
    stand.apply(certificate(json!("s.ocsp"))).await;
    assert_eq!(seen(&stand).await, fixture("good.der"));
    for (from, why) in [
        ("good256.der", None),
        ("other.der", Some("another certificate")),
        ("leaf.pem", Some("no OCSP response")),
        ("good.der", None),
        ("revoked.der", Some("revoked")),
        ("unknown.der", Some("does not know")),
    ] {
        let bytes = fixture(from);
        let verdict = stand.gate.touch(|home| fs::write(home.path().join("s.ocsp"), &bytes).unwrap()).await;
        assert_eq!(verdict["verdict"], "applied", "{verdict:#}");
        match why {
            None => assert_eq!(seen(&stand).await, bytes, "{from}"),
            Some(why) => {
                assert_eq!(seen(&stand).await, b"", "{from}");
                let is_it = |line: &str| line.contains("is not stapled") && line.contains(why);
                stand.gate.log_line(is_it).await;
            }
        }
    }
    stand.apply(certificate(json!(null))).await;
    let verdict = stand.refused(certificate(json!("none.ocsp"))).await;
    assert_eq!(verdict["report"][0]["path"], "certificates.s.ocsp", "{verdict:#}");
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn of_many_certificates_those_are_read_that_changed() {
    const MANY: usize = 1000;
    let mut stand = Stand::new(BIN).await;
    let crowd = stand.crowd().await;
    let name = |n: usize| format!("h{n}.many.test");
    // One file for both, so that a change is one event.
    let put = |stand: &Stand, n: usize| {
        let leaf = stand.authority.leaf(&[&name(n)]);
        fs::write(stand.path().join(format!("m{n}.pem")), leaf.cert.clone() + &leaf.key).unwrap();
        leaf
    };
    let mut patch =
        json!({ "certificates": {}, "listeners": { "tls": { "tls": { "certificates": ["leaf"] } } } });
    for n in 0..MANY {
        put(&stand, n);
        let certificate = json!({ "cert": format!("m{n}.pem"), "key": format!("m{n}.pem") });
        patch["certificates"][format!("m{n}")] = certificate;
        patch["listeners"]["tls"]["tls"]["certificates"].as_array_mut().unwrap().push(json!(format!("m{n}")));
    }
    let read = async |stand: &Stand| stand.gate.metric("gateway_certificates_read_total").await.unwrap();
    assert_eq!(read(&stand).await, 1.0);
    stand.apply(patch).await;
    assert_eq!(read(&stand).await, 1.0 + MANY as f64);
    // A change elsewhere reads none.
    stand.apply(json!({ "routes": { "more": { "match": { "path": "/more" }, "forward": "v1" } } })).await;
    assert_eq!(read(&stand).await, 1.0 + MANY as f64);
    // Neither does a change of the listener.
    stand.apply(json!({ "listeners": { "tls": { "tls": { "min_version": "1.3" } } } })).await;
    assert_eq!(read(&stand).await, 1.0 + MANY as f64);
    // One file that changes is one certificate; connections stay.
    let mut open = stand.tls_door().connect().await.unwrap();
    open.ask(&Ask::get("/")).await.unwrap();
    let mut leaf = None;
    let verdict = stand.gate.touch(|_| leaf = Some(put(&stand, 500))).await;
    assert_eq!(verdict["verdict"], "applied", "{verdict:#}");
    assert_eq!(read(&stand).await, 2.0 + MANY as f64);
    let client = stand.authority.client(&["http/1.1"]);
    assert_eq!(
        handshake::look(stand.tls, &client, &name(500)).await.unwrap().leaf,
        leaf.unwrap().der.to_vec()
    );
    assert_eq!(handshake::look(stand.tls, &client, &name(501)).await.unwrap().status, 200);
    assert_eq!(open.ask(&Ask::get("/")).await.unwrap().status, 200);
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn when_certificates_end_is_a_metric_and_a_warning() {
    let mut stand = Stand::new(BIN).await;
    let crowd = stand.crowd().await;
    let end = async |stand: &Stand, name: &str| {
        stand
            .gate
            .metric(&format!("gateway_certificate_expiry_timestamp_seconds{{certificate=\"{name}\"}}"))
            .await
    };
    let far = end(&stand, "leaf").await.unwrap();
    assert!(!stand.gate.logs().iter().any(|line| line.contains("certificate ends")));
    // Yesterday's midnight to that of a later day.
    let near = stand.authority.leaf_for_days(&["near.test"], 3);
    fs::write(stand.path().join("near.pem"), near.cert.clone() + &near.key).unwrap();
    stand
        .apply(json!({
            "certificates": { "near": { "cert": "near.pem", "key": "near.pem" } },
            "listeners": { "tls": { "tls": { "certificates": ["leaf", "near"] } } },
        }))
        .await;
    let day = 86_400.0;
    let soon = end(&stand, "near").await.unwrap();
    assert!(soon % day == 0.0 && soon < far, "{soon}");
    let line = stand.gate.log_line(|line| line.contains("certificate ends in 2 days")).await;
    assert!(line.contains("\"certificate\":\"near\"") && line.contains("warn"), "{line}");
    // Renewed.
    let renewed = stand.authority.leaf_for_days(&["near.test"], 33);
    let write =
        |home: &Home| fs::write(home.path().join("near.pem"), renewed.cert.clone() + &renewed.key).unwrap();
    assert_eq!(stand.gate.touch(write).await["verdict"], "applied");
    assert_eq!(end(&stand, "near").await, Some(soon + 30.0 * day));
    assert_eq!(end(&stand, "leaf").await, Some(far));
    assert_eq!(stand.gate.metric("gateway_certificates_not_shown").await, Some(0.0));
    crowd.stop().await.assert_unnoticed();
}
