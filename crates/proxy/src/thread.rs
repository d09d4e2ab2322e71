//! A worker's thread: one executor, an inbox, and the clock's tick.

use std::{
    collections::HashMap,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError, mpsc as std_mpsc},
    time::{Duration, Instant},
};

use evergate_contract::config::Name;
use evergate_kit::deadline::TICK;
use tokio::{
    runtime::LocalOptions,
    sync::{mpsc, oneshot},
};

use crate::{
    carries::Carries,
    doors::Doors,
    meter::Sum,
    view::Shared,
    worker::{Rank, Worker},
};

/// How often idle upstream connections are looked through.
const SWEEP_MS: u64 = 1000;

/// What the control side tells a worker.
pub(crate) enum Message {
    /// A snapshot was published: look at it also if no request comes.
    Adopt,
    /// Accept connections, that part of them where each worker has its own.
    Accept(Rank),
    /// Leave new connections to the others; end when nothing is open any more.
    Retire,
    /// Do not end, even if nothing is open: there will be work again.
    Stay(std_mpsc::Sender<()>),
    /// What have you counted?
    Count(oneshot::Sender<Sum>),
    /// Requests that began with this generation or an older one should be the last on their connections.
    DrainUpTo(u64),
    /// Close every connection politely once it is idle.
    Drain,
    /// Another process takes new connections: close those that are here politely, spread over so long.
    Leave(Duration),
    /// End connections that carry this now.
    Cut(Carries),
    /// Where are the turns of upstreams?
    Turns(oneshot::Sender<Vec<(Name, u32)>>),
    /// End now; what is open is cut.
    Stop,
}

/// The body of a worker's thread: runs until it is told to stop, or until nothing is open once it is to end.
/// Says through `ready` whether it could begin; leaves what it counted in `ended`.
pub(crate) fn run(
    index: usize,
    shared: Arc<Shared>,
    turns: HashMap<Name, u32>,
    mut inbox: mpsc::UnboundedReceiver<Message>,
    ready: &std_mpsc::Sender<std::io::Result<()>>,
    ended: &Mutex<Sum>,
) {
    if let Err(error) = evergate_kit::sched::serve() {
        tracing::debug!(%error, "a worker is let in no sooner than other threads");
    }
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build_local(LocalOptions::default())
    {
        Ok(runtime) => runtime,
        Err(error) => return drop(ready.send(Err(error))),
    };
    let worker = Worker::new(index, shared, turns, Box::<Doors>::default());
    let _ = ready.send(Ok(()));
    runtime.block_on(async {
        serve(&worker, &mut inbox).await;
        worker.end().await;
        worker.outbox.close();
    });
    // No message is taken any more: who asks this worker to stay must see that it is gone.
    inbox.close();
    worker.meter.add_to(&mut ended.lock().unwrap_or_else(PoisonError::into_inner));
}

async fn serve(worker: &Rc<Worker>, inbox: &mut mpsc::UnboundedReceiver<Message>) {
    tokio::task::spawn_local(worker.outbox.clone().run());
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut swept_ms, mut ending) = (0, false);
    loop {
        tokio::select! {
            biased;
            message = inbox.recv() => match message {
                Some(Message::Stop) | None => return,
                Some(message) => handle(worker, message, &mut ending),
            },
            _ = tick.tick() => {
                worker.clock.tick(Instant::now());
                let now_ms = worker.clock.now_ms();
                if now_ms >= swept_ms + SWEEP_MS {
                    swept_ms = now_ms;
                    worker.upstreams.sweep();
                }
            }
        }
        if ending && worker.open() == 0 {
            return;
        }
    }
}

/// `ending`: the thread ends once nothing is open.
fn handle(worker: &Rc<Worker>, message: Message, ending: &mut bool) {
    match message {
        Message::Adopt => drop(worker.view()),
        Message::Accept(rank) => worker.set_accepting(Some(rank)),
        Message::Retire => {
            *ending = true;
            worker.set_accepting(None);
        }
        Message::Stay(reply) => {
            *ending = false;
            // Whoever asked may have stopped waiting; the same below.
            let _ = reply.send(());
        }
        Message::Count(reply) => {
            let mut sum = Sum::default();
            worker.meter.add_to(&mut sum);
            let _ = reply.send(sum);
        }
        Message::DrainUpTo(sequence) => worker.close_politely(|conn| conn.oldest_request() <= sequence),
        Message::Drain => {
            *ending = true;
            worker.drain();
        }
        Message::Leave(spread) => {
            *ending = true;
            worker.leave(spread);
        }
        Message::Cut(what) => worker.cut(what),
        Message::Turns(reply) => {
            let _ = reply.send(worker.upstreams.turns());
        }
        Message::Stop => {}
    }
}
