//! Runs every scene in every way.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    Exchange, Only, Scene,
    judge::{essence, judge},
    read,
};
use crate::{
    Ask, Authority, Backend, Crowd, Door,
    client::{Answer, Conn},
    gate::{Gate, Launch},
    patch::merge_patch,
    ports,
    trial::Doors,
};

/// How many times what only comes true after a while is asked, at most.
const PATIENCE_TIMES: usize = 2000;

/// Reloads this often under churn.
const CHURN: Duration = Duration::from_millis(5);

/// The host of those who must not notice that scenes are changed.
const BYSTANDERS: &str = "bystander.test";

/// What the scenes need around them.
struct Stage {
    binary: String,
    authority: Authority,
    backends: [Backend; 2],
    folder: TempDir,
    scenes: Vec<(String, Scene)>,
}

/// Where one gateway listens.
#[derive(Clone, Copy)]
struct Listening {
    clear: SocketAddr,
    tls: SocketAddr,
}

/// Everything that went otherwise than written, and every answer to compare.
#[derive(Default)]
struct Record {
    wrong: Vec<String>,
    answers: BTreeMap<String, Answer>,
    asked: usize,
}

/// Runs all scenes of a folder in all ways; panics with everything that is wrong. Says how many questions were asked.
pub async fn run(binary: &str, folder: &Path) -> usize {
    let stage = Stage::set(binary, folder).await;
    let mut fresh = Record::default();
    for (name, scene) in &stage.scenes {
        let at = Listening::anywhere();
        let gate = Launch::new(&stage.binary).document(&stage.document(scene, &at)).start().await;
        stage.play(name, scene, &gate, &at, &mut fresh).await;
    }
    let quiet = stage.by_change(None).await;
    let churned = stage.by_change(Some(CHURN)).await;
    let mut wrong = Vec::new();
    for (way, record) in [("fresh", &fresh), ("by change", &quiet), ("under churn", &churned)] {
        wrong.extend(record.wrong.iter().map(|w| format!("{way}: {w}")));
    }
    for (way, record) in [("by change", &quiet), ("under churn", &churned)] {
        wrong.extend(differences(&fresh, record).map(|w| format!("fresh and {way} differ: {w}")));
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    fresh.asked + quiet.asked + churned.asked
}

/// A document with a listener and a route beside those of the scene, whose clients must not notice anything.
fn with_bystanders(mut document: Value, address: SocketAddr) -> Value {
    document["listeners"]["bystanders"] = json!({ "address": address });
    document["routes"]["bystanders"] = json!({
        "priority": 1_000_000,
        "listeners": ["bystanders"],
        "match": { "hosts": [BYSTANDERS] },
        "respond": { "body": "undisturbed" },
    });
    document
}

/// Law 15: what differs between two ways of reaching the same document.
fn differences<'a>(a: &'a Record, b: &'a Record) -> impl Iterator<Item = String> + 'a {
    a.answers.iter().filter_map(|(what, one)| {
        let other = b.answers.get(what)?;
        let (one, other) = (essence(one), essence(other));
        (one != other).then(|| format!("{what}: {one:?} and {other:?}"))
    })
}

impl Listening {
    fn anywhere() -> Listening {
        Listening { clear: ports::free(), tls: ports::free() }
    }
}

impl Stage {
    async fn set(binary: &str, scenes: &Path) -> Stage {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::new();
        authority.leaf(&["test.local"]).write(folder.path(), "leaf");
        let backends = [Backend::start("v1").await, Backend::start("v2").await];
        let words = BTreeMap::from([
            ("v1", backends[0].url()),
            ("v2", backends[1].url()),
            ("dead", format!("http://{}", ports::free())),
            ("dir", folder.path().join("files").display().to_string()),
        ]);
        let scenes = read(scenes, &words);
        Stage { binary: binary.to_owned(), authority, backends, folder, scenes }
    }

    /// The scene's document with what every scene has.
    fn document(&self, scene: &Scene, at: &Listening) -> Value {
        let leaf = |end: &str| self.folder.path().join(format!("leaf.{end}")).display().to_string();
        let mut document = json!({
            "listeners": {
                "clear": { "address": at.clear },
                "tls": {
                    "address": at.tls,
                    "protocols": ["h3", "h2", "http/1.1"],
                    "tls": { "certificates": ["leaf"] },
                },
            },
            "certificates": { "leaf": { "cert": leaf("pem"), "key": leaf("key") } },
        });
        if scene.listener.is_object() {
            merge_patch(&mut document["listeners"]["clear"], &scene.listener);
            merge_patch(&mut document["listeners"]["tls"], &scene.listener);
        }
        merge_patch(&mut document, &scene.document);
        document
    }

    /// All scenes one after the other in one process, each reached from the one before.
    async fn by_change(&self, churn: Option<Duration>) -> Record {
        let mut record = Record::default();
        let at = Listening::anywhere();
        let bystanders = ports::free();
        let nothing = with_bystanders(json!({}), bystanders);
        let mut gate = Launch::new(&self.binary).document(&nothing).start().await;
        let door = Door::clear(bystanders);
        let doors = Doors { clear: door.clone(), tls: door };
        let crowd = Crowd::start(doors.crowd(5, &Ask::get("/").host(BYSTANDERS), Duration::from_millis(5)));
        if let Some(every) = churn {
            gate.churn(every);
        }
        for (name, scene) in &self.scenes {
            self.files(scene);
            gate.apply(&with_bystanders(self.document(scene, &at), bystanders)).await;
            self.play(name, scene, &gate, &at, &mut record).await;
        }
        gate.calm().await;
        crowd.stop().await.assert_unnoticed();
        gate.settle().await;
        record
    }

    fn files(&self, scene: &Scene) {
        let folder = self.folder.path().join("files");
        let _ = std::fs::remove_dir_all(&folder);
        for (name, content) in &scene.files {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, content.bytes()).expect("a file");
        }
    }

    async fn play(&self, name: &str, scene: &Scene, gate: &Gate, at: &Listening, record: &mut Record) {
        self.files(scene);
        self.ask_all(&format!("{name}[{{}}]"), &scene.exchanges, at, record).await;
        if let Some(change) = &scene.change {
            gate.amend(change).await;
            self.ask_all(&format!("{name}.then[{{}}]"), &scene.then, at, record).await;
        }
        for backend in &self.backends {
            drop(backend.take_seen());
        }
    }

    async fn ask_all(&self, label: &str, exchanges: &[Exchange], at: &Listening, record: &mut Record) {
        let tls = Door::tls(at.tls, self.authority.client(&["http/1.1"]), "test.local");
        let clear = Door::clear(at.clear);
        let doors = [
            ("h1", Only::H1, clear.clone()),
            ("h2", Only::H2, clear.h2()),
            ("h1 tls", Only::H1, tls.clone()),
            ("h2 tls", Only::H2, tls.clone().h2()),
            ("h3", Only::H3, tls.h3()),
        ];
        for (speech, speaks, door) in doors {
            let mut kept = None;
            for (n, exchange) in exchanges.iter().enumerate() {
                if exchange.only.is_some_and(|only| only != speaks) {
                    continue;
                }
                let what = format!("{} {speech}: {}", label.replace("{}", &n.to_string()), exchange.ask);
                ask(&door, &mut kept, exchange, what, record).await;
            }
        }
    }
}

/// Asks as often as the exchange says, and writes down what is wrong.
async fn ask(door: &Door, kept: &mut Option<Conn>, exchange: &Exchange, what: String, record: &mut Record) {
    if !exchange.shares.is_empty() {
        return ask_shares(door, kept, exchange, &what, record).await;
    }
    for left in (0..PATIENCE_TIMES).rev() {
        record.asked += 1;
        let wrong = match once(door, kept, exchange).await {
            Ok(answer) => {
                let wrong = judge(exchange, &answer);
                record.answers.insert(what.clone(), answer);
                wrong
            }
            Err(why) => vec![why],
        };
        if wrong.is_empty() {
            return;
        }
        if !exchange.eventually || left == 0 {
            record.wrong.extend(wrong.into_iter().map(|w| format!("{what}: {w}")));
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn ask_shares(
    door: &Door,
    kept: &mut Option<Conn>,
    exchange: &Exchange,
    what: &str,
    record: &mut Record,
) {
    let mut got: BTreeMap<String, usize> = BTreeMap::new();
    // As many as come out if every backend has the middle of its share.
    let times: usize = exchange.shares.values().map(|(least, most)| (least + most) / 2).sum();
    for _ in 0..times {
        record.asked += 1;
        match once(door, kept, exchange).await {
            Ok(answer) => {
                let wrong = judge(exchange, &answer);
                record.wrong.extend(wrong.into_iter().map(|w| format!("{what}: {w}")));
                *got.entry(answer.fields.get("x-backend").unwrap_or("none").to_owned()).or_default() += 1;
            }
            Err(why) => record.wrong.push(format!("{what}: {why}")),
        }
    }
    let share = |name: &String| got.get(name).copied().unwrap_or(0);
    if exchange.shares.iter().any(|(name, (least, most))| !(*least..=*most).contains(&share(name))) {
        record.wrong.push(format!("{what}: shares {got:?} are not {:?}", exchange.shares));
    }
}

/// Over the kept connection if there is one; one that the gateway wants closed is not kept.
async fn once(door: &Door, kept: &mut Option<Conn>, exchange: &Exchange) -> Result<Answer, String> {
    let mut conn = match kept.take() {
        Some(conn) => conn,
        None => door.connect().await.map_err(|f| format!("{f:?}"))?,
    };
    let answer = conn.ask(&exchange.request()).await.map_err(|f| format!("{f:?}"))?;
    *kept = Some(conn).filter(|c| !c.over());
    Ok(answer)
}
