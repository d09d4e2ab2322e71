//! What a listener asks of its clients: how many connections, how many requests on one, and HTTPS.

use evergate_testkit::{Ask, Conn, Door, Failure, Stand};
use serde_json::{Value, json};

use crate::BIN;

fn limits(limits: &Value) -> Value {
    json!({ "listeners": { "clear": { "limits": limits } } })
}

async fn status(door: &Door) -> Result<u16, Failure> {
    door.ask(&Ask::get("/")).await.map(|a| a.status)
}

/// By a proxy that says for whom it connects.
fn client(stand: &Stand, address: &str) -> Door {
    let family = if address.contains(':') { "TCP6" } else { "TCP4" };
    let to = if address.contains(':') { "::1" } else { "192.0.2.1" };
    stand.door().preface(format!("PROXY {family} {address} {to} 1 2\r\n"))
}

#[tokio::test]
async fn connections_of_one_client_are_bounded() {
    let proxies = json!({ "listeners": { "clear": { "proxy_protocol": { "from": ["127.0.0.1"] } } } });
    let mut stand = Stand::with(BIN, proxies).await;
    let crowd = stand.bystanders().await;
    let mut open: Vec<Conn> = Vec::new();
    for _ in 0..3 {
        let mut conn = client(&stand, "203.0.113.7").connect().await.unwrap();
        conn.ask(&Ask::get("/")).await.unwrap();
        open.push(conn);
    }
    stand.apply(limits(&json!({ "connections_per_client": 3 }))).await;
    for conn in &mut open {
        assert_eq!(conn.ask(&Ask::get("/")).await.unwrap().status, 200, "what is open stays, and counts");
    }
    assert!(status(&client(&stand, "203.0.113.7")).await.is_err());
    assert_eq!(status(&client(&stand, "203.0.113.8")).await, Ok(200), "another client");
    stand.apply(limits(&json!({ "connections_per_client": 4 }))).await;
    assert_eq!(status(&client(&stand, "203.0.113.7")).await, Ok(200));
    stand.apply(limits(&json!({ "connections_per_client": 1 }))).await;
    for conn in &mut open {
        assert_eq!(conn.ask(&Ask::get("/")).await.unwrap().status, 200);
    }
    open.clear();
    let free = async || status(&client(&stand, "203.0.113.7")).await == Ok(200);
    stand.gate.until("they are gone", free).await;
    // An IPv6 client has a /64 to itself.
    let mut six = client(&stand, "2001:db8::1").connect().await.unwrap();
    six.ask(&Ask::get("/")).await.unwrap();
    assert!(status(&client(&stand, "2001:db8::2")).await.is_err());
    assert_eq!(status(&client(&stand, "2001:db8:0:1::2")).await, Ok(200));
    stand.apply(limits(&json!({ "connections_per_client": null }))).await;
    assert_eq!(status(&client(&stand, "2001:db8::2")).await, Ok(200));
    assert_eq!(six.ask(&Ask::get("/")).await.unwrap().status, 200);
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn requests_on_one_connection_are_bounded() {
    let mut stand = Stand::new(BIN).await;
    let crowd = stand.bystanders().await;
    let mut kept = stand.door().connect().await.unwrap();
    for _ in 0..5 {
        kept.ask(&Ask::get("/")).await.unwrap();
    }
    for most in [3, 2] {
        stand.apply(limits(&json!({ "requests": most }))).await;
        for door in [stand.door(), stand.door().h2()] {
            let mut conn = door.connect().await.unwrap();
            for n in 1..=most {
                assert_eq!(conn.ask(&Ask::get("/")).await.unwrap().status, 200, "{n}");
                assert!(n == most || !conn.over(), "{n} of {most}");
            }
            conn.closed().await.unwrap();
            assert!(conn.over(), "`Connection: close` or GOAWAY");
        }
    }
    assert!(!kept.over());
    assert_eq!(
        kept.ask(&Ask::get("/")).await.unwrap().status,
        200,
        "it has had more than that: one is the last"
    );
    assert!(kept.over());
    stand.apply(limits(&json!({ "requests": null }))).await;
    let mut conn = stand.door().connect().await.unwrap();
    for _ in 0..5 {
        conn.ask(&Ask::get("/")).await.unwrap();
    }
    assert!(!conn.over());
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn clear_text_is_redirected_to_https() {
    let mut stand = Stand::new(BIN).await;
    let crowd = stand.bystanders().await;
    let mut kept = stand.door().connect().await.unwrap();
    assert_eq!(kept.ask(&Ask::get("/")).await.unwrap().status, 200);
    let clear = |redirect: Value| json!({ "listeners": { "clear": { "redirect_https": redirect } } });
    let ask = Ask::get("/a?b=c").host("test.local:8080");
    for (redirect, status, place) in [
        (json!(true), 308, "https://test.local/a?b=c"),
        (json!({ "port": 8443, "status": 301 }), 301, "https://test.local:8443/a?b=c"),
    ] {
        stand.apply(clear(redirect)).await;
        for door in [stand.door(), stand.door().h2()] {
            let answer = door.ask(&ask).await.unwrap();
            assert_eq!((answer.status, answer.fields.get("location")), (status, Some(place)));
        }
        assert_eq!(kept.ask(&ask).await.unwrap().status, status, "on open connections, too");
        assert_eq!(kept.ask(&Ask::post("/", "body").host("a")).await.unwrap().status, status);
    }
    // A trusted proxy has spoken HTTPS with the client already.
    let trust = json!({ "trust": ["127.0.0.1"] });
    stand.apply(json!({ "listeners": { "clear": { "client_address": trust } } })).await;
    let secure = ask.clone().field("x-forwarded-proto", "https");
    assert_eq!(stand.door().ask(&secure).await.unwrap().status, 200);
    assert_eq!(stand.door().ask(&ask).await.unwrap().status, 301);
    stand.apply(clear(json!(null))).await;
    assert_eq!(stand.door().ask(&ask).await.unwrap().status, 200);
    assert_eq!(kept.ask(&ask).await.unwrap().status, 200);
    for (bad, code) in [
        (json!({ "status": 303 }), "bad_status"),
        (json!(false), "value"),
        (json!({ "to": 1 }), "unknown_key"),
    ] {
        let verdict = stand.refused(clear(bad.clone())).await;
        assert_eq!(verdict["report"][0]["code"], code, "{bad} {verdict:#}");
    }
    let tls = stand.refused(json!({ "listeners": { "tls": { "redirect_https": true } } })).await;
    assert_eq!(tls["report"][0]["code"], "no_effect", "{tls:#}");
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn https_is_asked_for_by_hsts_over_https_alone() {
    let mut stand = Stand::new(BIN).await;
    let crowd = stand.bystanders().await;
    let mut kept = stand.tls_door().connect().await.unwrap();
    let with = |hsts: Value| json!({ "listeners": { "tls": { "hsts": hsts } } });
    let says =
        |answer: &evergate_testkit::Answer| answer.fields.get("strict-transport-security").map(str::to_owned);
    assert_eq!(says(&kept.ask(&Ask::get("/")).await.unwrap()), None);
    for (hsts, value) in [
        (json!({}), "max-age=31536000"),
        (json!({ "max_age": "2d", "include_subdomains": true }), "max-age=172800; includeSubDomains"),
        (json!({ "max_age": "730d", "preload": true }), "max-age=63072000; includeSubDomains; preload"),
        (json!({ "max_age": "0s", "include_subdomains": false, "preload": false }), "max-age=0"),
    ] {
        stand.apply(with(hsts)).await;
        for door in [stand.tls_door(), stand.tls_door().h2()] {
            for target in ["/", "/%2e%2e/refused"] {
                assert_eq!(
                    says(&door.ask(&Ask::get(target)).await.unwrap()).as_deref(),
                    Some(value),
                    "{target}"
                );
            }
        }
        assert_eq!(says(&kept.ask(&Ask::get("/")).await.unwrap()).as_deref(), Some(value));
        assert_eq!(says(&stand.door().ask(&Ask::get("/")).await.unwrap()), None, "never in clear text");
    }
    stand.apply(with(json!(null))).await;
    assert_eq!(says(&kept.ask(&Ask::get("/")).await.unwrap()), None);
    let clear = stand.refused(json!({ "listeners": { "clear": { "hsts": {} } } })).await;
    assert_eq!(clear["report"][0]["code"], "no_effect", "{clear:#}");
    let preload = stand.refused(with(json!({ "preload": true }))).await;
    assert_eq!(preload["report"][0]["path"], "listeners.tls.hsts.preload", "{preload:#}");
    // In clear text from a trusted proxy that has spoken HTTPS with the client.
    let proxied = json!({ "hsts": {}, "client_address": { "trust": ["127.0.0.1"] } });
    stand.apply(json!({ "listeners": { "clear": proxied } })).await;
    let secure = Ask::get("/").field("x-forwarded-proto", "https");
    assert_eq!(says(&stand.door().ask(&secure).await.unwrap()).as_deref(), Some("max-age=31536000"));
    assert_eq!(says(&stand.door().ask(&Ask::get("/")).await.unwrap()), None);
    crowd.stop().await.assert_unnoticed();
}
