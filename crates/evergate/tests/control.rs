//! The command line and the admin API, as people and programs use them.

use std::{fs, path::Path};

use evergate_testkit::{
    Ask, Backend, Door, Stand,
    gate::{Gate, Home, Launch, Said, run},
    ports,
};
use serde_json::{Value, json};

const BIN: &str = env!("CARGO_BIN_EXE_evergate");

/// A document that answers `/` with a word, on its own address.
fn saying(word: &str, address: std::net::SocketAddr) -> Value {
    json!({
        "listeners": { "web": { "address": address } },
        "routes": { "all": { "respond": { "body": word } } },
    })
}

async fn said(address: std::net::SocketAddr) -> String {
    Door::clear(address).ask(&Ask::get("/")).await.map_or_else(|f| format!("{f:?}"), |a| a.text())
}

/// Runs a command that needs no gateway.
async fn alone(folder: &Path, args: &[&str]) -> Said {
    run(Path::new(BIN), args, folder).await
}

#[tokio::test]
async fn check_finds_every_problem_at_once() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("good.yaml"), "routes: { all: { respond: { body: hello } } }\n").unwrap();
    let good = alone(folder.path(), &["check", "good.yaml"]).await;
    assert_eq!(good.code, Some(0), "{good:?}");
    let bad = "listeners:\n  web: { adress: 127.0.0.1:8080 }\nroutes:\n  a:\n    forward: api\n    timeout: 5 parsecs\n  \
               b: { forward: apj, listeners: [web] }\nupstreams:\n  api: { endpoints: [\"http://127.0.0.1:1\"] }\n";
    fs::write(folder.path().join("bad.yaml"), bad).unwrap();
    let human = alone(folder.path(), &["check", "bad.yaml"]).await;
    assert_eq!(human.code, Some(1), "{human:?}");
    let text = format!("{}{}", human.out, human.err);
    for part in [
        "bad.yaml:2",
        "adress",
        "did you mean `address`",
        "bad.yaml:6",
        "parsecs",
        "bad.yaml:7",
        "there is no upstream `apj`",
        "did you mean `api`",
    ] {
        assert!(text.contains(part), "{part} in:\n{text}");
    }
    let machine = alone(folder.path(), &["check", "bad.yaml", "--format", "json"]).await;
    assert_eq!(machine.code, Some(1));
    let problems = machine.json()["problems"].as_array().cloned().unwrap_or_default();
    assert_eq!(problems.len(), 3, "{machine:?}");
    assert!(
        problems.iter().all(|p| p["line"].as_u64() > Some(0) && p["column"].as_u64() > Some(0)),
        "{machine:?}"
    );
    assert_eq!(alone(folder.path(), &["check", "none.yaml"]).await.code, Some(1));
}

#[tokio::test]
async fn formats_give_the_same_document() {
    let folder = tempfile::tempdir().unwrap();
    let texts = [
        (
            "a.yaml",
            "routes:\n  all:\n    match: { hosts: [no, \"1.0\"] }\n    respond: { status: 201, body: hi }\n",
        ),
        (
            "a.toml",
            "[routes.all]\nmatch = { hosts = [\"no\", \"1.0\"] }\nrespond = { status = 201, body = \"hi\" }\n",
        ),
        (
            "a.json",
            r#"{ "routes": { "all": { "match": { "hosts": ["no", "1.0"] }, "respond": { "status": 201, "body": "hi" } } } }"#,
        ),
    ];
    for (name, text) in texts {
        fs::write(folder.path().join(name), text).unwrap();
    }
    for other in ["a.toml", "a.json"] {
        let diff = alone(folder.path(), &["diff", "a.yaml", other, "--format", "json"]).await;
        assert_eq!(diff.code, Some(0), "{diff:?}");
        assert_eq!(diff.json()["changes"], json!([]), "{diff:?}");
    }
}

#[tokio::test]
async fn the_schema_is_json() {
    let folder = tempfile::tempdir().unwrap();
    let schema = alone(folder.path(), &["schema"]).await;
    assert_eq!(schema.code, Some(0));
    assert!(schema.json()["properties"]["routes"].is_object(), "{}", schema.out);
}

#[tokio::test]
async fn commands_change_and_show_what_runs() {
    let address = ports::free();
    let gate = Gate::start(BIN, &saying("one", address)).await;
    let status = gate.cli(&["status", "--format", "json"]).await;
    assert_eq!(status.code, Some(0), "{status:?}");
    assert_eq!(status.json()["running"]["revision"], json!(gate.revision().await));

    let patched = gate.cli(&["patch", r#"{"routes":{"all":{"respond":{"body":"two"}}}}"#]).await;
    assert_eq!((patched.code, said(address).await.as_str()), (Some(0), "two"), "{patched:?}");
    let again = gate.cli(&["patch", r#"{"routes":{"all":{"respond":{"body":"two"}}}}"#]).await;
    assert_eq!(again.code, Some(0), "unchanged is no failure: {again:?}");
    let refused = gate.cli(&["patch", r#"{"routes":{"all":{"forward":"nowhere"}}}"#]).await;
    assert_eq!((refused.code, said(address).await.as_str()), (Some(1), "two"), "{refused:?}");
    assert!(format!("{}{}", refused.out, refused.err).contains("nowhere"), "{refused:?}");

    let explained = gate.cli(&["explain", "routes.all"]).await;
    assert!(explained.out.contains("overlay"), "{explained:?}");
    fs::write(gate.home().path().join("overlay.yaml"), "routes: { all: { respond: { body: three } } }\n")
        .unwrap();
    let applied = gate.cli(&["apply", "overlay.yaml"]).await;
    assert_eq!((applied.code, said(address).await.as_str()), (Some(0), "three"), "{applied:?}");
    let reloaded = gate.cli(&["reload"]).await;
    assert_eq!(reloaded.code, Some(0), "{reloaded:?}");

    let history = gate.cli(&["history", "--format", "json"]).await;
    assert_eq!(history.json()["revisions"].as_array().map(Vec::len), Some(3), "{history:?}");
    let back = gate.cli(&["rollback"]).await;
    assert_eq!((back.code, said(address).await.as_str()), (Some(0), "two"), "{back:?}");
    let first = history.json()["revisions"][2]["id"].as_str().unwrap().to_owned();
    let shown = gate.cli(&["show", &first]).await;
    assert!(shown.code == Some(0) && shown.out.contains("one"), "{shown:?}");
    let back = gate.cli(&["rollback", &first]).await;
    assert_eq!((back.code, said(address).await.as_str()), (Some(0), "one"), "{back:?}");
    let diff = gate.cli(&["diff", &first, history.json()["revisions"][0]["id"].as_str().unwrap()]).await;
    assert!(diff.out.contains("one") && diff.out.contains("three"), "{diff:?}");
}

#[tokio::test]
async fn without_a_gateway_there_is_no_answer() {
    let home = Home::new();
    let data = home.data().display().to_string();
    let said = alone(home.path(), &["status", "--data-dir", &data]).await;
    assert_eq!(said.code, Some(3), "{said:?}");
}

#[tokio::test]
async fn writes_race_by_if_match_and_can_be_dry() {
    let address = ports::free();
    let gate = Gate::start(BIN, &saying("one", address)).await;
    let body = |word: &str| json!({ "routes": { "all": { "respond": { "body": word } } } }).to_string();
    let patch = async |word: &str, path: &str, tag: &str| {
        let ask =
            Ask::post(path, body(word)).method("PATCH").field("content-type", "application/merge-patch+json");
        gate.api(&if tag.is_empty() { ask } else { ask.field("if-match", tag) }).await
    };
    let before = gate.revision().await;
    let dry = patch("dry", "/api/v1/config?dry_run=true", "").await;
    assert_eq!((dry.status, dry.json()["verdict"].as_str()), (200, Some("planned")), "{}", dry.text());
    assert!(dry.json()["changes"].to_string().contains("routes.all.respond.body"), "{}", dry.text());
    assert_eq!((gate.revision().await, said(address).await.as_str()), (before.clone(), "one"));

    let applied = patch("two", "/api/v1/config", &format!("\"{before}\"")).await;
    assert_eq!((applied.status, said(address).await.as_str()), (200, "two"));
    let late = patch("three", "/api/v1/config", &format!("\"{before}\"")).await;
    assert_eq!((late.status, said(address).await.as_str()), (412, "two"), "{}", late.text());
    assert_eq!(late.fields.get("content-type"), Some("application/problem+json"));
    assert_eq!(late.fields.get("etag"), Some(format!("\"{}\"", gate.revision().await).as_str()));
    let bad = patch("x", "/api/v1/config?dryrun=true", "").await;
    assert_eq!(
        (bad.status, said(address).await.as_str()),
        (400, "two"),
        "a misspelt parameter is no wish to apply"
    );
}

#[tokio::test]
async fn of_many_writers_with_the_same_revision_one_wins() {
    let address = ports::free();
    let gate = Gate::start(BIN, &saying("one", address)).await;
    let tag = format!("\"{}\"", gate.revision().await);
    let mut asking = tokio::task::JoinSet::new();
    for n in 0..20 {
        let body = json!({ "routes": { "all": { "respond": { "body": n.to_string() } } } });
        let ask = Ask::post("/api/v1/config", body.to_string())
            .method("PATCH")
            .host("localhost")
            .field("if-match", &tag);
        let (ask, admin) = (ask.field("content-type", "application/json"), gate.admin);
        asking.spawn(async move { Door::clear(admin).ask(&ask).await.unwrap().status });
    }
    let mut statuses = asking.join_all().await;
    statuses.sort_unstable();
    assert_eq!((statuses[0], &statuses[1..]), (200, &[412; 19][..]));
}

#[tokio::test]
async fn the_overlay_survives_and_a_file_below_it_still_counts() {
    let address = ports::free();
    let gate = Gate::start(BIN, &saying("one", address)).await;
    gate.patch(&json!({ "routes": { "all": { "respond": { "status": 201 } } } })).await;
    assert_eq!(gate.status().await["overlay"], true);
    gate.apply(&saying("two", address)).await;
    let answer = Door::clear(address).ask(&Ask::get("/")).await.unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (201, "two"));
    let admin = gate.admin;
    let gate = Launch::new(BIN).home(gate.stop().await).admin_at(admin).start().await;
    let answer = Door::clear(address).ask(&Ask::get("/")).await.unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (201, "two"));
    gate.call("PUT", "/config", &json!({})).await;
    assert_eq!(gate.status().await["overlay"], false);
    assert_eq!(Door::clear(address).ask(&Ask::get("/")).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_rollback_holds_the_file_until_it_changes() {
    let address = ports::free();
    let gate = Gate::start(BIN, &saying("one", address)).await;
    gate.apply(&saying("two", address)).await;
    let back = gate.call("POST", "/rollback", &Value::Null).await;
    assert_eq!((back.status, said(address).await.as_str()), (200, "one"), "{}", back.text());
    assert_eq!(gate.status().await["held"], true);
    // A restart does not bring back what was rolled back.
    let admin = gate.admin;
    let gate = Launch::new(BIN).home(gate.stop().await).admin_at(admin).start().await;
    assert_eq!(said(address).await, "one");
    assert_eq!(gate.status().await["started_from"], "held");
    gate.apply(&saying("three", address)).await;
    assert_eq!((gate.status().await["held"].clone(), said(address).await.as_str()), (json!(false), "three"));
}

#[tokio::test]
async fn broken_files_start_from_the_last_good_revision() {
    let address = ports::free();
    let gate = Gate::start(BIN, &saying("good", address)).await;
    let admin = gate.admin;
    let home = gate.stop().await;
    home.write("routes: [\n");
    let strict = Launch::new(BIN).home(home).admin_at(admin).arg("--strict").try_start().await;
    let died = strict.err().expect("--strict never starts from the last good revision");
    assert!(died.logs.join("\n").contains("gate.yaml"), "{died:?}");
    assert!(died.code.is_some_and(|c| c >= 64), "sysexits: {died:?}");
}

#[tokio::test]
async fn last_good_says_so_and_a_mended_file_is_taken() {
    let address = ports::free();
    let gate = Gate::start(BIN, &saying("good", address)).await;
    let admin = gate.admin;
    let home = gate.stop().await;
    home.write("routes: [\n");
    let gate = Launch::new(BIN).home(home).admin_at(admin).start().await;
    assert_eq!(said(address).await, "good");
    let status = gate.status().await;
    assert_eq!(status["started_from"], "last_good");
    assert!(status["last_refused"]["report"][0]["at"]["line"].as_u64() > Some(0), "{status:#}");
    gate.apply(&saying("mended", address)).await;
    assert_eq!(said(address).await, "mended");
}

#[tokio::test]
async fn without_a_file_a_page_says_what_to_do() {
    let launch = Launch::new(BIN).instead_of_file(&[]).env("EVERGATE_NO_BROWSER", "1");
    let admin = launch.admin();
    let listen = ports::free();
    let gate =
        launch.arg("--listen").arg(&listen.to_string()).arg("--admin").arg(&admin.to_string()).start().await;
    let answer = Door::clear(listen).ask(&Ask::get("/")).await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.text().to_lowercase().contains("evergate"), "{}", answer.text());
    drop(gate);
}

#[tokio::test]
async fn proxy_and_files_serve_at_once() {
    let backend = Backend::start("v1").await;
    let listen = ports::free();
    let proxy = |args: &[&str]| {
        let launch = Launch::new(BIN).instead_of_file(args);
        let admin = launch.admin().to_string();
        launch.arg("--listen").arg(&listen.to_string()).arg("--admin").arg(&admin)
    };
    let gate = proxy(&["--proxy", &backend.url()]).start().await;
    let answer = Door::clear(listen).ask(&Ask::get("/some/where")).await.unwrap();
    assert_eq!(answer.json()["target"], "/some/where");
    gate.stop().await;

    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("index.html"), "<h1>here</h1>").unwrap();
    let gate = proxy(&["--files", &folder.path().display().to_string()]).start().await;
    assert_eq!(said(listen).await, "<h1>here</h1>");
    gate.stop().await;
}

#[tokio::test]
async fn files_are_noticed_however_they_change() {
    let address = ports::free();
    let gate = Gate::start(BIN, &saying("0", address)).await;
    let with_admin = |word: &str| {
        let mut document = saying(word, address);
        document["admin"]["address"] = json!(gate.admin.to_string());
        document.to_string()
    };
    let now = async |word: &str| gate.until(word, async || said(address).await == word).await;
    gate.touch(|home| home.write(&with_admin("renamed"))).await;
    now("renamed").await;
    gate.touch(|home| home.write_in_place(&with_admin("in place"))).await;
    now("in place").await;
    // Deleted, and made anew some time later: what runs stays.
    fs::remove_file(&gate.home().file).unwrap();
    assert_eq!(said(address).await, "in place");
    gate.home().write_in_place(&with_admin("made anew"));
    now("made anew").await;
    // Half-written: refused or waited for, never served in part.
    let whole = with_admin("whole");
    gate.home().write_in_place(&whole[..whole.len() / 2]);
    assert_eq!(said(address).await, "made anew");
    gate.home().write_in_place(&whole);
    now("whole").await;
    gate.signal(evergate_testkit::process::Signal::Hangup);
    assert_eq!(said(address).await, "whole");
}

#[tokio::test]
async fn files_that_shrink_are_taken_only_by_hand() {
    let address = ports::free();
    let with_routes = |count: usize, admin: Option<std::net::SocketAddr>| {
        let mut document = saying("all", address);
        for n in 0..count {
            document["routes"][format!("r{n}")] =
                json!({ "match": { "path": format!("/{n}") }, "respond": {} });
        }
        if let Some(admin) = admin {
            document["admin"]["address"] = json!(admin);
        }
        document
    };
    for by_signal in [true, false] {
        let gate = Gate::start(BIN, &with_routes(50, None)).await;
        let before = gate.revision().await;
        let admin = Some(gate.admin);
        gate.touch(|home| home.write(&with_routes(1, admin).to_string())).await;
        assert_eq!((gate.revision().await, said(address).await.as_str()), (before.clone(), "all"));
        let refused = gate.status().await["last_refused"].clone();
        assert_eq!(
            (&refused["stage"], &refused["report"][0]["code"]),
            (&json!("plan"), &json!("shrunk")),
            "{refused:#}"
        );
        let plain = gate.call("POST", "/reload", &Value::Null).await;
        assert!(plain.status == 422 && plain.text().contains("evergate reload"), "{}", plain.text());
        if by_signal {
            gate.signal(evergate_testkit::process::Signal::Hangup);
            gate.until("it is applied", async || gate.revision().await != before).await;
        } else {
            let planned = gate.cli(&["reload", "--dry-run"]).await;
            assert!(planned.code == Some(0) && planned.out.contains("routes.r9"), "{planned:?}");
            let applied = gate.cli(&["reload"]).await;
            assert_eq!(applied.code, Some(0), "{applied:?}");
        }
        let routes = gate.call("GET", "/config", &Value::Null).await.json()["routes"].clone();
        assert_eq!(routes.as_object().map(serde_json::Map::len), Some(2), "{routes:#}");
        gate.stop().await;
    }
}

#[tokio::test]
async fn folders_and_included_files_count() {
    let home = Home::new();
    let folder = home.path().join("conf");
    fs::create_dir(&folder).unwrap();
    let (address, launch) = (ports::free(), Launch::new(BIN).home(home));
    let admin = launch.admin();
    let write = |name: &str, document: Value| fs::write(folder.join(name), document.to_string()).unwrap();
    write(
        "10-base.yaml",
        json!({ "admin": { "address": admin }, "listeners": { "web": { "address": address } } }),
    );
    write("20-route.yaml", json!({ "routes": { "all": { "respond": { "body": "one" } } } }));
    let gate = launch.instead_of_file(&[&folder.display().to_string()]).start().await;
    assert_eq!(said(address).await, "one");
    gate.touch(|_| write("30-more.yaml", json!({ "routes": { "all": { "respond": { "body": "two" } } } })))
        .await;
    assert_eq!(said(address).await, "two");
    gate.touch(|_| fs::remove_file(folder.join("30-more.yaml")).unwrap()).await;
    assert_eq!(said(address).await, "one");
}

#[tokio::test]
async fn metrics_and_status_tell_what_runs() {
    let mut stand = Stand::new(BIN).await;
    stand.apply(json!({ "routes": { "all": { "timeout": "9s" } } })).await;
    stand.refused(json!({ "routes": { "all": { "forward": "nowhere" } } })).await;
    for door in stand.doors() {
        assert_eq!(door.ask(&Ask::get("/")).await.unwrap().status, 200);
    }
    let metrics = stand.gate.metrics().await;
    for name in [
        "gateway_config_reload_total{status=",
        "gateway_config_reload_duration_seconds",
        "gateway_config_reload_errors_total{error_type=",
        "gateway_config_reload_component_total{",
        "gateway_config_reload_last_success_timestamp",
        "gateway_config_watcher_running 1",
        "gateway_config_hash{hash=",
        "gateway_requests_total{method=\"GET\",route=\"all\",status=\"200\"} 4",
        "gateway_request_duration_seconds_bucket{",
        "gateway_active_requests 0",
        "gateway_backend_health{",
    ] {
        assert!(metrics.contains(name), "{name} in:\n{metrics}");
    }
    let status = stand.gate.status().await;
    assert_eq!(status["listeners"].as_array().map(Vec::len), Some(3), "{status:#}");
    assert_eq!(status["running"]["revision"], json!(stand.gate.revision().await));
    assert_eq!(status["workers"], 2);
}

#[tokio::test]
async fn secrets_never_show() {
    let address = ports::free();
    let mut document = saying("one", address);
    document["admin"]["token"] = json!({ "env": "TOKEN" });
    let launch = Launch::new(BIN).env("TOKEN", "hunter2-hunter2").document(&document);
    let mut gate = launch.spawn();
    let admin = Door::clear(gate.admin);
    let ask = |path: &str| Ask::get(path).host("localhost").field("authorization", "Bearer hunter2-hunter2");
    gate.until("it answers", async || admin.ask(&ask("/api/v1/status")).await.is_ok_and(|a| a.status == 200))
        .await;
    assert_eq!(admin.ask(&Ask::get("/api/v1/config").host("localhost")).await.unwrap().status, 401);
    for path in
        ["/api/v1/config", "/api/v1/status", "/api/v1/revisions", "/api/v1/explain?path=admin", "/metrics"]
    {
        let answer = admin.ask(&ask(path)).await.unwrap();
        assert_eq!(answer.status, 200, "{path}");
        assert!(!answer.text().contains("hunter2"), "{path}: {}", answer.text());
    }
    gate.signal(evergate_testkit::process::Signal::Terminate);
    assert_eq!(gate.ended().await, Some(0));
    assert!(!gate.logs().join("\n").contains("hunter2"));
    let kept =
        std::process::Command::new("grep").args(["-r", "hunter2"]).arg(gate.home().data()).output().unwrap();
    assert!(kept.stdout.is_empty(), "{}", String::from_utf8_lossy(&kept.stdout));
}
