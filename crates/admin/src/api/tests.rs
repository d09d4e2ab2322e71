//! The API over TCP, in front of a real engine and a data plane that serves nothing.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf, pin::Pin};

use evergate_conf::{Loader, Report, schema::paths};
use evergate_contract::{
    Checked, check, schema,
    status::{
        CertificatesStatus, EndpointStatus, HealthStatus, ListenerStatus, SupervisorStatus, Traffic,
        UpstreamStatus,
    },
};
use evergate_reload::{Build, Candidate, Generation, Live, Options, Settings, Target, start};
use evergate_testkit::{Answer, Ask, Door, events::Events};
use tempfile::TempDir;

use super::*;
use crate::{HealthChange, Prepared, metrics::reader};

/// Changes the admin API and nothing else.
struct OnlyAdmin(Admin, Option<Generation>);

impl Target for OnlyAdmin {
    type Config = Checked;
    type Built = (Prepared, Generation);

    fn check(
        &mut self,
        candidate: Candidate<'_>,
        _: Option<Live<'_, Checked>>,
        report: &mut Report,
    ) -> Option<Checked> {
        check(candidate.document, None).map_err(|found| report.append(found)).ok()
    }

    fn build(&mut self, build: Build<'_, Checked>) -> Result<Self::Built, Report> {
        Ok((self.0.prepare(&build.config.admin).unwrap(), build.generation))
    }

    fn publish(&mut self, (admin, generation): Self::Built) {
        self.0.adopt(admin);
        self.1 = Some(generation);
    }

    fn settings(&self, _: &Checked) -> Settings {
        Settings { watch: false, ..Settings::default() }
    }
}

/// A data plane with one upstream.
struct Still;

impl Process for Still {
    fn supervisor(&self) -> Option<SupervisorStatus> {
        Some(SupervisorStatus {
            pid: 1,
            upgrades: 2,
            last_failed_upgrade: String::new(),
            crashes: 0,
            last_crash: String::new(),
            crash_loop: String::new(),
            draining: 1,
        })
    }

    fn upgrade(
        &self,
        binary: Option<String>,
    ) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send>> {
        Box::pin(async move {
            match binary.as_deref() {
                Some("/broken") => Err("the new process ended with code 78".to_owned()),
                binary => Ok(format!("from {binary:?}")),
            }
        })
    }
}

impl Running for Still {
    fn listeners(&self) -> Vec<ListenerStatus> {
        Vec::new()
    }

    fn certificates(&self) -> CertificatesStatus {
        CertificatesStatus::default()
    }

    fn workers(&self) -> usize {
        3
    }

    fn upstreams(&self) -> Vec<UpstreamStatus> {
        let endpoint = EndpointStatus {
            url: "http://a".to_owned(),
            weight: 1,
            health: HealthStatus::Healthy,
            ejected: false,
            active: 1,
            requests: 2,
            failures: 0,
        };
        vec![UpstreamStatus { name: "api".into(), endpoints: vec![endpoint] }]
    }

    fn traffic(&self) -> Pin<Box<dyn Future<Output = Traffic> + Send + '_>> {
        let traffic = Traffic { duration_buckets: vec![(f64::INFINITY, 0)], ..Traffic::default() };
        Box::pin(std::future::ready(traffic))
    }
}

struct Program {
    dir: TempDir,
    admin: Admin,
    engine: Handle,
    door: Door,
}

const DOCUMENT: &str =
    "admin: { address: '127.0.0.1:0' }\nlog: { level: info }\nroutes: { a: { respond: { body: one } } }\n";

impl Program {
    async fn start() -> Program {
        Program::with(DOCUMENT).await
    }

    async fn with(document: &str) -> Program {
        let dir = tempfile::tempdir().unwrap();
        let file: PathBuf = dir.path().join("gate.yaml");
        std::fs::write(&file, document).unwrap();
        let admin = Admin::new(
            tokio::runtime::Handle::current(),
            evergate_kit::Fds::default(),
            dir.path().to_owned(),
        );
        let options = Options::new(Loader::new(&paths(&schema())), vec![file]);
        let engine = start(OnlyAdmin(admin.clone(), None), options).await.unwrap();
        admin.serve(engine.clone(), Arc::new(Still), Arc::new(Still));
        let door = Door::clear(admin.whereabouts().unwrap().address);
        Program { dir, admin, engine, door }
    }

    fn address(&self) -> SocketAddr {
        self.admin.whereabouts().unwrap().address
    }

    async fn ask(&self, ask: Ask) -> Answer {
        self.door.ask(&ask.host("localhost")).await.unwrap()
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(Ask::get(path)).await
    }

    async fn write(&self, method: &str, path: &str, kind: &str, body: &str) -> Answer {
        self.ask(Ask::post(path, body.to_owned()).method(method).field("content-type", kind)).await
    }

    async fn patch(&self, body: &str) -> Answer {
        self.write("PATCH", "/api/v1/config", "application/merge-patch+json", body).await
    }

    fn running(&self) -> String {
        self.engine.running().id.to_string()
    }
}

fn is_problem(answer: &Answer, status: u16, word: &str) {
    let body = answer.json();
    let kind = format!("urn:evergate:problem:{word}");
    assert_eq!((answer.status, body["type"].as_str()), (status, Some(kind.as_str())), "{body:#}");
    assert_eq!(answer.fields.get("content-type"), Some("application/problem+json"));
    assert_eq!(body["status"], status);
}

#[tokio::test]
async fn the_list_names_what_can_be_called() {
    let program = Program::start().await;
    let index = program.get("/").await.json();
    let listed: BTreeSet<&str> =
        index["calls"].as_array().unwrap().iter().filter_map(|c| c["path"].as_str()).collect();
    assert_eq!(listed.len(), CALLS.len());
    for call in CALLS.iter().filter(|c| c.methods.contains("GET") && !c.path.ends_with("/events")) {
        let path = call.path.replace("{id}", "1").replace("{a}", "1").replace("{b}", "running");
        assert_eq!(program.get(&path).await.status, 200, "{path}");
    }
    is_problem(&program.get("/api/v1/nothing").await, 404, "not_found");
    is_problem(&program.write("DELETE", "/api/v1/status", "", "").await, 405, "method_not_allowed");
}

#[tokio::test]
async fn answers_are_neither_cached_nor_guessed_at() {
    let program = Program::start().await;
    let answer = program.get("/api/v1/status").await;
    assert_eq!(answer.fields.get("cache-control"), Some("no-store"));
    assert_eq!(answer.fields.get("x-content-type-options"), Some("nosniff"));
    let foreign = program.door.ask(&Ask::get("/api/v1/status").host("evil.example")).await.unwrap();
    is_problem(&foreign, 403, "foreign_host");
    let page = Ask::post("/api/v1/reload", "").field("origin", "http://evil.example");
    is_problem(&program.ask(page).await, 403, "foreign_origin");
}

#[tokio::test]
async fn the_document_is_shown_with_its_tag_and_without_secrets() {
    let program = Program::with("admin: { address: '127.0.0.1:0', token: { literal: hunter2 } }\n").await;
    is_problem(&program.get("/api/v1/config").await, 401, "unauthorized");
    let ask = Ask::get("/api/v1/config").field("authorization", "Bearer hunter2");
    let shown = program.ask(ask.clone()).await;
    let tag = shown.fields.get("etag").unwrap().to_owned();
    assert_eq!(tag, format!("\"{}\"", program.running()));
    assert!(shown.text().contains("***") && !shown.text().contains("hunter2"), "{}", shown.text());
    let again = program.ask(ask.field("if-none-match", &tag)).await;
    assert_eq!((again.status, again.text().as_str()), (304, ""));
}

#[tokio::test]
async fn edits_are_answered_by_their_verdict() {
    let program = Program::start().await;
    let applied = program.patch(r#"{"log":{"level":"debug"}}"#).await;
    assert_eq!((applied.status, applied.json()["verdict"].clone()), (200, json!("applied")));
    assert_eq!(applied.json()["changes"], json!(["log.level info → debug"]));
    assert_eq!(applied.fields.get("etag"), Some(format!("\"{}\"", program.running()).as_str()));
    assert_eq!(program.patch(r#"{"log":{"level":"debug"}}"#).await.json()["verdict"], "unchanged");

    let refused = program.patch("{\n  \"log\": { \"levle\": \"debug\" }\n}").await;
    is_problem(&refused, 422, "refused");
    let problem = refused.json()["problems"][0].clone();
    assert_eq!(
        (problem["line"].as_u64(), problem["path"].as_str()),
        (Some(2), Some("log.levle")),
        "{problem}"
    );
    assert!(problem["help"].as_str().unwrap().contains("level"), "{problem}");

    for (kind, body) in [
        ("application/yaml", "log: { level: warn }"),
        ("application/toml", "[log]\nlevel = \"error\""),
        ("application/json; charset=utf-8", r#"{"log":{"level":"trace"}}"#),
    ] {
        let put = program.write("PUT", "/api/v1/config", kind, body).await;
        assert_eq!((put.status, put.json()["verdict"].clone()), (200, json!("applied")), "{kind}");
    }
    assert_eq!(program.get("/api/v1/config").await.json()["log"]["level"], "trace");
    is_problem(
        &program.write("PUT", "/api/v1/config", "text/plain", "{}").await,
        415,
        "unsupported_media_type",
    );
    let not_json = program.write("PATCH", "/api/v1/config", "application/yaml", "a: 1").await;
    is_problem(&not_json, 415, "unsupported_media_type");
}

#[tokio::test]
async fn writes_can_be_dry_and_conditional() {
    let program = Program::start().await;
    let before = program.running();
    let (kind, body) = ("application/json", r#"{"workers":2}"#);
    let dry = program.write("PATCH", "/api/v1/config?dry_run=true", kind, body).await;
    assert_eq!((dry.status, dry.json()["verdict"].clone()), (200, json!("planned")));
    is_problem(&program.write("PATCH", "/api/v1/config?dryrun=true", kind, body).await, 400, "bad_request");
    assert_eq!(program.running(), before);

    let patch = |tag: &str| {
        let ask = Ask::post("/api/v1/config", body.to_owned()).method("PATCH").field("content-type", kind);
        program.ask(ask.field("if-match", tag))
    };
    let race = patch("\"9-000000\"").await;
    is_problem(&race, 412, "conflict");
    assert_eq!((race.json()["running"].clone(), program.running()), (json!(before), before.clone()));
    assert_eq!(patch("W/\"x\"").await.status, 412);
    assert_eq!(patch(&format!("\"{before}\"")).await.status, 200);
}

#[tokio::test]
async fn the_past_can_be_seen_and_brought_back() {
    let program = Program::start().await;
    let first = program.running();
    program.patch(r#"{"workers":2}"#).await;
    let second = program.running();
    let list = program.get("/api/v1/revisions").await.json();
    let ids: Vec<&str> =
        list["revisions"].as_array().unwrap().iter().filter_map(|r| r["id"].as_str()).collect();
    assert_eq!((ids, &list["running"]), (vec![second.as_str(), first.as_str()], &json!(second)));
    let newest = program.get("/api/v1/revisions?limit=1").await.json();
    assert_eq!(newest["revisions"].as_array().map(Vec::len), Some(1));
    for name in [first.as_str(), "1"] {
        let shown = program.get(&format!("/api/v1/revisions/{name}")).await.json();
        assert_eq!((&shown["id"], &shown["document"]["workers"]), (&json!(first), &Value::Null), "{name}");
    }
    assert_eq!(program.get("/api/v1/revisions/running").await.json()["id"], json!(second));
    let diff = program.get("/api/v1/revisions/1/diff/2").await.json();
    assert_eq!(diff["changes"], json!(["workers added: 2"]));
    is_problem(&program.get("/api/v1/revisions/7").await, 404, "not_found");
    is_problem(&program.get("/api/v1/revisions/1/diff/7-000000").await, 404, "not_found");
    is_problem(&program.get("/api/v1/revisions/x").await, 400, "bad_request");

    let back = program.ask(Ask::post("/api/v1/rollback?to=1", "")).await;
    assert_eq!((back.status, back.json()["verdict"].clone()), (200, json!("applied")), "{}", back.text());
    is_problem(&program.ask(Ask::post("/api/v1/rollback?to=99", "")).await, 404, "not_found");
    assert_eq!(program.get("/api/v1/status").await.json()["running"]["restores"], json!(first));
}

#[tokio::test]
async fn a_reload_reads_the_files_again() {
    let program = Program::start().await;
    assert_eq!(program.ask(Ask::post("/api/v1/reload", "")).await.json()["verdict"], "unchanged");
    let text = DOCUMENT.replace("info", "warn");
    std::fs::write(program.dir.path().join("gate.yaml"), text).unwrap();
    let dry = program.ask(Ask::post("/api/v1/reload?dry_run=true", "")).await.json();
    assert_eq!(dry["changes"], json!(["log.level info → warn"]));
    let applied = program.ask(Ask::post("/api/v1/reload", "")).await.json();
    assert_eq!(
        (&applied["verdict"], &applied["changes"]),
        (&json!("applied"), &json!(["log.level info → warn"]))
    );
}

#[tokio::test]
async fn values_are_explained() {
    let program = Program::start().await;
    program.patch(r#"{"log":{"format":"json"}}"#).await;
    let log = program.get("/api/v1/explain?path=log").await.json();
    let layers: Vec<_> =
        log["values"].as_array().unwrap().iter().map(|v| (&v["path"], &v["layer"])).collect();
    assert_eq!(layers, [(&json!("log.format"), &json!("overlay")), (&json!("log.level"), &json!("base"))]);
    is_problem(&program.get("/api/v1/explain?path=workers").await, 404, "not_found");
    is_problem(&program.get("/api/v1/explain?path=a..b").await, 400, "bad_request");
}

#[tokio::test]
async fn status_and_metrics_tell_what_runs() {
    let program = Program::start().await;
    program.patch(r#"{"workers":"many"}"#).await;
    let status = program.get("/api/v1/status").await.json();
    assert_eq!((&status["running"]["revision"], &status["workers"]), (&json!(program.running()), &json!(3)));
    assert_eq!((&status["phase"], &status["last_refused"]["stage"]), (&json!("serving"), &json!("check")));
    assert_eq!(
        program.get("/api/v1/upstreams").await.json()["upstreams"][0]["endpoints"][0]["health"],
        "healthy"
    );

    let page = program.get("/metrics").await;
    assert_eq!(page.fields.get("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let families = reader::read(&page.text()).unwrap();
    let sum = |name: &str, label: &str| {
        let fits = |s: &&reader::Sample| label.is_empty() || s.labels.values().any(|v| v == label);
        families[name].samples.iter().filter(fits).map(|s| s.value).sum::<f64>()
    };
    assert_eq!(sum("gateway_config_reload_total", "success"), 1.0);
    assert_eq!(sum("gateway_config_reload_total", "error"), 1.0);
    assert_eq!(sum("gateway_config_reload_errors_total", "check"), 1.0);
    assert_eq!(sum("gateway_config_hash", ""), 1.0);
    assert_eq!(sum("gateway_backend_health", "http://a"), 1.0);
    assert_eq!(sum("gateway_generations", ""), 1.0);
    assert_eq!(sum("gateway_workers", ""), 3.0);
}

#[tokio::test]
async fn readiness_ends_before_life_does() {
    let program = Program::start().await;
    assert_eq!([program.get("/healthz").await.status, program.get("/readyz").await.status], [200, 200]);
    program.admin.drain();
    assert_eq!([program.get("/healthz").await.status, program.get("/readyz").await.status], [200, 503]);
    program.engine.stop().await;
    is_problem(&program.patch("{}").await, 503, "going_down");
    assert_eq!(program.get("/api/v1/status").await.json()["phase"], "draining");
}

#[tokio::test]
async fn events_tell_everything_as_it_happens() {
    let program = Program::start().await;
    let events = Events::follow(program.address()).await.unwrap();
    let mark = events.mark();
    program.patch(r#"{"workers":2}"#).await;
    let verdict = events.verdict(mark, "api").await;
    assert_eq!((&verdict["verdict"], &verdict["revision"]), (&json!("applied"), &json!(program.running())));
    events.wait(mark, |e| e["event"] == "step" && e["stage"] == "build").await;
    program.admin.health_changed(HealthChange {
        upstream: "api".into(),
        url: "http://a".to_owned(),
        health: HealthStatus::Unhealthy,
        reason: "refused".to_owned(),
    });
    let (_, health) = events.wait(mark, |e| e["event"] == "health").await;
    assert_eq!(health["health"], "unhealthy");
    // A stream would never end by itself.
    program.admin.close().await;
}

#[tokio::test]
async fn event_streams_have_a_bound() {
    let program = Program::start().await;
    let mut open = Vec::new();
    for _ in 0..events::STREAMS_MAX {
        open.push(Events::follow(program.address()).await.unwrap());
    }
    is_problem(&program.get("/api/v1/events").await, 503, "too_many_streams");
    drop(open);
}

#[tokio::test]
async fn the_program_is_replaced_by_who_may_say_so() {
    let program = Program::start().await;
    let answer = program.write("POST", "/api/v1/upgrade", "", "").await;
    assert_eq!((answer.status, answer.json()["version"].as_str()), (200, Some("from None")));
    // Over TCP nobody names a program.
    let foreign = program.write("POST", "/api/v1/upgrade?binary=/bin/sh", "", "").await;
    is_problem(&foreign, 403, "forbidden");
    is_problem(&program.write("POST", "/api/v1/upgrade?binry=/b", "", "").await, 400, "bad_request");
    let socket = program.admin.whereabouts().unwrap().socket;
    let ask = |path: &str| Ask::post(path, "").host("localhost");
    let local = |path: &'static str| {
        let socket = socket.clone();
        async move { Door::unix(socket).ask(&ask(path)).await.unwrap() }
    };
    assert_eq!(local("/api/v1/upgrade?binary=/b").await.json()["version"], "from Some(\"/b\")");
    let refused = local("/api/v1/upgrade?binary=/broken").await;
    is_problem(&refused, 409, "not_upgraded");
    assert!(refused.json()["detail"].as_str().unwrap().contains("code 78"));
    assert_eq!(program.get("/api/v1/status").await.json()["supervisor"]["upgrades"], 2);
}
