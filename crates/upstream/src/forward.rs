//! The call: one request to an upstream, and its response.
//!
//! It runs inside the caller's task: on HTTP/1 nothing is spawned, boxed or sent over a channel until a response
//! turns out to be long. What may be tried again is decided here, by what failed and what had been sent.
//!
//! `Expect: 100-continue` is not passed on: the client's side answers it when the body is first asked for, which
//! is when it can be sent on. A 100 from the endpoint is therefore dropped; other 1xx are relayed.

mod h1;
pub(crate) mod h2;
mod headers;

use std::{rc::Rc, sync::Arc, time::Duration};

use bytes::BytesMut;
use evergate_contract::{
    Fault, FaultKind,
    config::{Protocol, UpstreamTimeouts},
};
use evergate_kit::deadline::Expired;
use evergate_wire::{
    BodyError, Headers, Payload, RequestParts, ResponseParts, Socket, Stream,
    hop::{self, Kept},
    proxy_protocol::Said,
};
use http::{HeaderValue, Method, StatusCode};

use headers::Prepared;

use crate::{
    cluster::Cluster,
    connect::Connected,
    ejection::Event,
    local::{Lease, Local, Picked},
    pool::{Conn, Dialing, Found, Pool, Slot},
    timer::Timer,
};

/// More responses of 1xx than this to one request are no good sense.
const INFORMATIONAL_MAX: u32 = 32;

/// A request on its way out.
pub struct Outgoing<'a> {
    /// Method, target as it is to be sent, and headers without hop-by-hop and framing headers. `Host` is that of
    /// the headers, else the target's authority, else the endpoint's. `te` may stay: its `trailers` is passed on.
    pub parts: RequestParts,
    /// Its length, if the payload knows it, becomes `Content-Length`.
    pub body: Payload,
    /// `Upgrade`, if the client asked to switch (RFC 9110 §7.8).
    pub upgrade: Option<HeaderValue>,
    /// Until the headers of the response, all tries together.
    pub timeout: Option<Duration>,
    /// What a PROXY header says, where the endpoint is to have one.
    pub client: Said,
    /// Called for each response of 1xx that the client should see, with its end-to-end headers.
    pub informational: &'a mut dyn FnMut(StatusCode, Headers),
}

/// A response.
#[derive(Debug)]
pub struct Incoming {
    /// Status and end-to-end headers. `content-length` is there only where it does not tell the body's own length:
    /// after HEAD and in 304. `upgrade` is there in 101.
    pub parts: ResponseParts,
    /// The body. While it lasts, the request counts as in flight and the rest of its own body is sent.
    pub body: Payload,
    /// After 101: the connection.
    pub tunnel: Option<Tunnel>,
    /// Who answered.
    pub endpoint: Picked,
}

/// A connection that has switched to another protocol.
#[derive(Debug)]
pub struct Tunnel {
    /// The connection.
    pub io: Stream,
    /// What came behind the response's head.
    pub early: BytesMut,
    /// To be held while the tunnel lives.
    pub lease: Lease,
}

/// Sends a request to an endpoint of the cluster and gives the response as soon as its headers are there.
///
/// Tried again are: another endpoint, if there was no connection to be had (`retries.connect` times); and once the
/// same endpoint, if a connection that had been idle closed without a word, provided the request is idempotent or
/// nothing of it was sent, and its body was not used up (RFC 9110 §9.2.2). Dropping the future closes the connection.
///
/// # Errors
/// `NoEndpoint` if none lives (there is no panic mode: dead endpoints are not asked), `UpstreamConnect`,
/// `UpstreamReset`, `UpstreamProtocol`, `UpstreamTimeout`; or what went wrong with the request's own body.
pub fn send<'a>(
    local: &'a Local,
    cluster: &'a Arc<Cluster>,
    outgoing: Outgoing<'a>,
) -> impl Future<Output = Result<Incoming, Fault>> + 'a {
    // Made here and not within: the arguments of an async function are copied once more at its first poll.
    let mut call = Call::new(local, cluster, outgoing);
    async move {
        call.run().await?;
        call.answer.take().ok_or_else(|| FaultKind::Internal.into())
    }
}

/// A request while it is tried.
struct Call<'a> {
    local: &'a Local,
    cluster: &'a Arc<Cluster>,
    parts: RequestParts,
    body: Payload,
    upgrade: Option<HeaderValue>,
    connection: Option<HeaderValue>,
    /// The request names no host, so the endpoint's is put in.
    hostless: bool,
    informational: &'a mut dyn FnMut(StatusCode, Headers),
    informed: u32,
    lease: Option<Lease>,
    client: Said,
    timer: Timer,
    /// Put here where it is made, since it is too large to be handed up from call to call.
    answer: Option<Incoming>,
}

/// A try that failed.
#[derive(Debug)]
struct Failed {
    fault: Fault,
    again: Again,
    /// It counts against the endpoint.
    blamed: bool,
}

/// What may be tried after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    Nothing,
    /// Nothing was sent: another endpoint.
    Elsewhere,
    /// An old connection failed without effect: the same endpoint, by a new one.
    Fresh,
}

impl<'a> Call<'a> {
    fn new(local: &'a Local, cluster: &'a Arc<Cluster>, outgoing: Outgoing<'a>) -> Call<'a> {
        let mut call = Call {
            local,
            cluster,
            parts: outgoing.parts,
            body: outgoing.body,
            upgrade: outgoing.upgrade,
            connection: None,
            hostless: false,
            informational: outgoing.informational,
            informed: 0,
            client: outgoing.client,
            lease: None,
            timer: Timer::new(&local.clock, outgoing.timeout),
            answer: None,
        };
        let Prepared { trailers, hostless } = headers::prepare(&mut call.parts);
        call.hostless = hostless;
        if call.upgrade.is_some() {
            call.connection = Some(HeaderValue::from_static("upgrade"));
        } else if trailers {
            call.connection = Some(HeaderValue::from_static("te"));
        }
        call
    }

    /// Tries endpoints until one has answered, or nothing is left to try.
    async fn run(&mut self) -> Result<(), Fault> {
        if self.parts.method == Method::CONNECT {
            return Err(Fault::bad_request("CONNECT is not forwarded"));
        }
        let (local, cluster) = (self.local, self.cluster);
        let site = local.site(cluster);
        let retries = usize::from(cluster.spec().retries.connect);
        let mut tried = Vec::new();
        let mut last = None;
        while let Some(picked) = local.pick(&site, cluster, &tried) {
            let Some(pool) = local.pool(&picked, cluster) else { break };
            match self.at(&picked, &pool).await {
                Ok(()) => return Ok(()),
                Err(failed) if failed.again == Again::Elsewhere && tried.len() < retries => {
                    tried.push(picked.place());
                    last = Some(failed.fault);
                }
                Err(failed) => return Err(failed.fault),
            }
        }
        Err(last.unwrap_or_else(|| FaultKind::NoEndpoint.into()))
    }

    fn timeouts(&self) -> &'a UpstreamTimeouts {
        &self.cluster.spec().timeouts
    }

    /// Tries one endpoint, and takes note of how it went.
    async fn at(&mut self, picked: &Picked, pool: &Rc<Pool>) -> Result<(), Failed> {
        self.lease = Some(picked.lease());
        let mut outcome = self.once(picked, pool, false).await;
        if matches!(&outcome, Err(failed) if failed.again == Again::Fresh) {
            outcome = Box::pin(self.once(picked, pool, true)).await;
        }
        let event = match &outcome {
            Ok(()) => self.answer.as_ref().map(|incoming| verdict(incoming.parts.status)),
            Err(failed) => failed.blamed.then_some(Event::Failure),
        };
        if let Err(failed) = &mut outcome
            && failed.blamed
        {
            failed.name(picked.url());
        }
        if event.is_some_and(|event| self.cluster.note(picked, event)) {
            tracing::warn!(upstream = %picked.upstream(), endpoint = picked.url(), "endpoint set aside: it keeps failing requests");
        }
        outcome
    }

    async fn once(&mut self, picked: &Picked, pool: &Rc<Pool>, fresh: bool) -> Result<(), Failed> {
        // HTTP/2 cannot switch protocols; where nothing else is spoken the wish is dropped (RFC 9113 §8.6).
        let http1_only = self.upgrade.is_some() && pool.connector().known_protocol() != Some(Protocol::Http2);
        let found = match pool.find(http1_only, fresh) {
            Some(found) => found,
            None => Box::pin(self.wait(pool, http1_only)).await?,
        };
        let (way, reused) = match found {
            Found::Idle(conn) => (Way::Http1(conn), true),
            Found::Room(slot) => (Way::Http2(slot), true),
            Found::Nothing(dialing) => (Box::pin(self.dial(pool, http1_only, dialing)).await?, false),
        };
        match way {
            Way::Http1(conn) => h1::exchange(self, picked, pool, conn, reused).await,
            Way::Http2(slot) => Box::pin(h2::exchange(self, picked, slot, pool.connector())).await,
        }
    }

    /// Waits for another request that is connecting.
    async fn wait(&mut self, pool: &Rc<Pool>, http1_only: bool) -> Result<Found, Failed> {
        self.timer.arm(*self.timeouts().connect);
        loop {
            self.timer.guard(pool.dialed()).await.map_err(|_| self.no_connection("no connection in time"))?;
            if let Some(found) = pool.find(http1_only, false) {
                return Ok(found);
            }
        }
    }

    async fn dial(
        &mut self,
        pool: &Rc<Pool>,
        http1_only: bool,
        dialing: Option<Dialing>,
    ) -> Result<Way, Failed> {
        self.timer.arm(*self.timeouts().connect);
        let work = async {
            let carrier = |tcp| Socket::new(tcp, &self.local.outbox);
            let connected =
                pool.connector().connect(http1_only, self.client, carrier).await.map_err(|e| Failed {
                    fault: Fault::new(FaultKind::UpstreamConnect).because(e),
                    again: Again::Elsewhere,
                    blamed: true,
                })?;
            match connected {
                Connected::Http1(stream) => {
                    if !http1_only {
                        pool.learn(Protocol::Http1);
                    }
                    Ok(Way::Http1(Conn::new(stream)))
                }
                Connected::Http2(stream) => {
                    let slot = h2::open(pool, stream);
                    pool.learn(Protocol::Http2);
                    Ok(Way::Http2(slot))
                }
            }
        };
        let outcome = self.timer.guard(work).await;
        drop(dialing);
        outcome.map_err(|Expired| self.no_connection("no connection in time"))?
    }

    fn no_connection(&self, why: &'static str) -> Failed {
        // The route's time is over for every endpoint; the time to connect is each endpoint's own.
        let again = if self.timer.is_over() { Again::Nothing } else { Again::Elsewhere };
        Failed { fault: Fault::new(FaultKind::UpstreamTimeout).because(why), again, blamed: true }
    }

    /// The body for one try. One in memory is kept for the next.
    fn take_body(&mut self) -> Payload {
        match &self.body {
            Payload::Full(all) => Payload::Full(all.clone()),
            _ => std::mem::take(&mut self.body),
        }
    }

    /// Passes a response of 1xx on. False if there have been too many.
    fn inform(&mut self, mut interim: ResponseParts) -> bool {
        self.informed += 1;
        if interim.status != StatusCode::CONTINUE {
            hop::strip(&mut interim.headers, Kept::Nothing);
            (self.informational)(interim.status, interim.headers);
        }
        self.informed <= INFORMATIONAL_MAX
    }
}

impl Failed {
    /// Says in the cause which endpoint it was.
    fn name(&mut self, url: &str) {
        let cause = match &self.fault.cause {
            Some(cause) => format!("{url}: {cause}"),
            None => url.to_owned(),
        };
        self.fault = Fault::new(self.fault.kind).because(cause);
    }
}

/// A connection for a request.
enum Way {
    Http1(Box<Conn>),
    Http2(Slot),
}

/// What a status says of the endpoint that sent it.
fn verdict(status: StatusCode) -> Event {
    match status {
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            Event::Failure
        }
        _ => Event::Success,
    }
}

/// The request's own body failed.
fn client_failed(e: BodyError) -> Failed {
    let kind = match e {
        BodyError::Malformed(why) => FaultKind::BadRequest(why),
        BodyError::TooLarge => FaultKind::BodyTooLarge,
        BodyError::Timeout => FaultKind::ClientTimeout,
        BodyError::Closed | BodyError::Reset | BodyError::Io(_) => FaultKind::ClientGone,
    };
    Failed { fault: Fault::new(kind).because(e), again: Again::Nothing, blamed: false }
}

#[cfg(test)]
mod tests;
