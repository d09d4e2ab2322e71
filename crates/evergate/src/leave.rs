//! How a gateway ends: stopped by a signal, or because another process has taken over.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use evergate_admin::Admin;
use evergate_contract::{config::Drain, status::Running};
use evergate_proxy::{Carries, Gateway};
use evergate_reload::Handle;
use evergate_supervisor::{child::Heard, message::ToChild};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{exit::Exit, stop::Stop};

/// How often it is looked whether all is done.
const LOOK: Duration = Duration::from_millis(10);
/// For calls of the admin API to finish at the end.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(1);

/// What is to be ended.
pub(crate) struct Ending {
    pub(crate) engine: Handle,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) admin: Admin,
    /// As the document that ran last has it.
    pub(crate) drain: Drain,
}

impl Ending {
    /// Ends in the order in which others rely on it: readiness, then no new work and no new changes, then the work that
    /// is left. A second signal ends all at once.
    pub(crate) async fn stop(self, stop: &mut Stop) -> Exit {
        tokio::select! {
            exit = self.drain() => exit,
            () = stop.asked() => {
                tracing::warn!("asked to stop again: what is open is cut");
                Exit::Interrupted
            }
        }
    }

    async fn drain(&self) -> Exit {
        let (delay, deadline) = (*self.drain.delay, *self.drain.timeout);
        self.admin.drain();
        if !delay.is_zero() {
            tracing::info!(delay_s = delay.as_secs_f64(), "stopping: not ready any more, still serving");
            sleep(delay).await;
        }
        tracing::info!(deadline_s = deadline.as_secs_f64(), "draining");
        self.engine.stop().await;
        self.gateway.drain();
        let until = Instant::now() + deadline;
        while !self.gateway.is_drained() && Instant::now() < until {
            sleep(LOOK).await;
        }
        self.end("the time to drain is over: what is open is cut").await;
        tracing::info!("stopped");
        Exit::Ok
    }

    /// Another process serves: finishes what is open here, each kind of connection within its time.
    pub(crate) async fn leave(self, stop: &mut Stop, orders: &mut mpsc::UnboundedReceiver<Heard>) -> Exit {
        let drain = &self.drain;
        tracing::info!(connections = self.open(), "another process has taken over: draining");
        // Whoever comes from now on is to be answered by the one that serves.
        self.gateway.leave(*drain.spread);
        let admin = self.admin.clone();
        let admin = tokio::spawn(async move { timeout(ADMIN_TIMEOUT, admin.close()).await });
        self.engine.stop().await;
        let mut cuts = cuts(drain, Instant::now());
        let (mut until, mut overseen) = (None, true);
        while !self.gateway.is_drained() && until.is_none_or(|until| Instant::now() < until) {
            let cut_at = cuts.front().map(|(at, _)| *at);
            tokio::select! {
                () = sleep(LOOK) => {}
                () = sleep_until(cut_at.unwrap_or_else(Instant::now)), if cut_at.is_some() => {
                    if let Some((_, what)) = cuts.pop_front() {
                        tracing::debug!(?what, "the time to drain is over for these");
                        self.gateway.cut(what);
                        if cuts.is_empty() {
                            // What one of these should have ended and did not.
                            until.get_or_insert(self.hurry());
                        }
                    }
                }
                order = orders.recv(), if overseen => match order {
                    Some((ToChild::Finish, _)) => {
                        tracing::warn!(connections = self.open(), "too many processes drain: this one ends soon");
                        until.get_or_insert(self.hurry());
                    }
                    Some(_) => {}
                    None => {
                        tracing::warn!(connections = self.open(), "the supervisor is gone: this process ends soon");
                        overseen = false;
                        until.get_or_insert(self.hurry());
                    }
                },
                () = stop.asked() => {
                    if until.is_some() {
                        return Exit::Interrupted;
                    }
                    until = Some(self.hurry());
                }
            }
        }
        self.end("the time to drain is over: what is open is cut").await;
        let _ = admin.await;
        tracing::info!("left");
        Exit::Ok
    }

    /// Everything politely, now. Returns when it must be done.
    fn hurry(&self) -> Instant {
        self.gateway.hurry();
        Instant::now() + *self.drain.timeout
    }

    async fn end(&self, late: &str) {
        if !self.gateway.is_drained() {
            tracing::warn!(connections = self.open(), "{late}");
        }
        self.gateway.stop();
        if timeout(ADMIN_TIMEOUT, self.admin.close()).await.is_err() {
            tracing::debug!("an admin connection did not end in time");
        }
    }

    fn open(&self) -> u64 {
        self.gateway.listeners().iter().map(|l| l.connections).sum()
    }
}

/// When which kind of connection is cut, the earliest first.
fn cuts(drain: &Drain, now: Instant) -> VecDeque<(Instant, Carries)> {
    let mut cuts = [
        (now + *drain.requests, Carries::Requests),
        (now + *drain.streams, Carries::Stream),
        (now + *drain.websockets, Carries::Websocket),
        (now + *drain.tunnels, Carries::Tunnel),
    ];
    cuts.sort_by_key(|(at, _)| *at);
    cuts.into()
}

#[cfg(test)]
mod tests {
    use evergate_conf::units::Span;

    use super::*;

    #[test]
    fn the_shortest_time_is_up_first() {
        let drain = Drain { tunnels: Span::secs(1), ..Drain::default() };
        let order: Vec<Carries> = cuts(&drain, Instant::now()).into_iter().map(|(_, what)| what).collect();
        assert_eq!(order, [Carries::Tunnel, Carries::Requests, Carries::Stream, Carries::Websocket]);
    }
}
