//! Changes while WebSockets stay open: what becomes of them, and of memory.

use std::time::{Duration, Instant};

use evergate_testkit::{Ask, Door, process, ws::Socket};
use tokio::time::timeout;

use super::{SETTLE, Suite, scenario};
use crate::{
    bed::{Instance, SOCKETS},
    peers::{Change, Found, Job, Way},
    results::{Row, Scenario, routes},
    template::{backend, host, touched},
};

/// More than any proxy may take.
const MIB_MAX: f64 = 6144.0;
/// For all changes of one proxy.
const BUDGET: Duration = Duration::from_secs(15);
/// Longest that an open WebSocket may take for an echo or a farewell.
const PATIENCE: Duration = Duration::from_secs(1);
/// Opened before each change.
const EACH: usize = 2;

pub(crate) async fn run(suite: &Suite) -> Scenario {
    let mut found = scenario(
        "sockets",
        "Memory over changes with WebSockets open",
        "Two WebSockets are opened before each change of a route that is not theirs, and stay open. Memory before is that \
         with as many WebSockets and no change. PSS of all processes: old workers count. Each is looked at two seconds after \
         what came before it.",
        &[
            ("before_mib", "before, MiB", 1),
            ("after_mib", "after, MiB", 1),
            ("growth", "growth, %", 1),
            ("changes", "changes", 0),
            ("opened", "opened", 0),
            ("alive", "alive", 0),
        ],
    );
    let mut rows = Vec::new();
    for count in suite.size.hosts.iter().take(2) {
        let case = routes(*count);
        let (there, missing) = suite.there(&case);
        rows.extend(missing);
        for peer in there {
            let job = Job::Hosts(*count);
            suite.bed.end(peer, job);
            rows.push(match trial(suite, peer, job, *count).await {
                Ok(row) => Row { peer: peer.peer.name().to_owned(), case: case.clone(), ..row },
                Err(why) => Row::absent(peer.peer.name(), &case, why),
            });
            suite.bed.end(peer, job);
        }
    }
    found.rows = suite.sorted(rows);
    found
}

async fn trial(suite: &Suite, peer: &Found, job: Job, count: usize) -> Result<Row, String> {
    let instance = suite.bed.get(peer, job).await?;
    let wanted = suite.size.sockets;
    let mut sockets = open(&instance, EACH * wanted).await?;
    tokio::time::sleep(SETTLE).await;
    let before = mib(&instance);
    for socket in sockets.drain(..) {
        let _ = timeout(PATIENCE, socket.close()).await;
    }
    let start = Instant::now();
    let (mut done, mut remarks) = (0, Vec::new());
    while done < wanted {
        if start.elapsed() > BUDGET {
            remarks.push(format!("stopped after {} s", BUDGET.as_secs()));
            break;
        }
        if mib(&instance) > MIB_MAX {
            remarks.push(format!("stopped above {MIB_MAX:.0} MiB"));
            break;
        }
        sockets.extend(open(&instance, EACH).await?);
        change(&instance, count).await?;
        done += 1;
    }
    tokio::time::sleep(SETTLE).await;
    let after = mib(&instance);
    let opened = sockets.len();
    let mut alive = 0;
    for socket in &mut sockets {
        let echo = timeout(PATIENCE, socket.echo("still there")).await;
        alive += usize::from(matches!(echo, Ok(Ok(()))));
    }
    let row = Row::default()
        .with("before_mib", before)
        .with("after_mib", after)
        .with("growth", (after / before - 1.0) * 100.0)
        .with("changes", done as f64)
        .with("opened", opened as f64)
        .with("alive", alive as f64);
    Ok(Row { remarks, ..row })
}

fn mib(instance: &Instance) -> f64 {
    process::memory(instance.pid()).pss_kib as f64 / 1024.0
}

async fn open(instance: &Instance, count: usize) -> Result<Vec<Socket>, String> {
    let door = Door::clear(instance.site.listen);
    let mut sockets = Vec::new();
    for _ in 0..count {
        let opened = timeout(5 * PATIENCE, Socket::open(&door, SOCKETS, "/")).await;
        let mut socket =
            opened.map_err(|_| "WebSocket: no answer")?.map_err(|f| format!("WebSocket: {f:?}"))?;
        let echo = timeout(5 * PATIENCE, socket.echo("hello")).await;
        echo.map_err(|_| "WebSocket: no echo")?.map_err(|e| format!("WebSocket: {e}"))?;
        sockets.push(socket);
    }
    Ok(sockets)
}

/// The next change, until new connections see it.
async fn change(instance: &Instance, count: usize) -> Result<(), String> {
    let turn = instance.turn.get() + 1;
    let number = touched(count, turn);
    let way = instance.peer.ways().iter().find(|(way, _)| *way == Way::Whole).map(|(way, _)| *way);
    let file = way.map(|_| instance.site.draft(instance.peer, instance.job, turn, number));
    let change = Change { host: number, backend: backend(count, number, turn), file };
    instance.peer.change(&instance.site, instance.pid(), &change)?;
    instance.turn.set(turn);
    let ask = Ask::get("/").host(&host(number));
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let answer = Door::clear(instance.site.listen).ask(&ask).await;
        if answer.is_ok_and(|a| a.body.first() == Some(&(change.backend as u8))) {
            return Ok(());
        }
        if Instant::now() > until {
            return Err("a change does not show within 60 s".to_owned());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
