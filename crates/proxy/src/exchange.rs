//! One request, from its head to the head of its answer, whatever HTTP version it came by.
//!
//! It begins by taking the worker's view: from then on it sees that one revision. What lasts longer than the
//! head of the answer (bodies, tunnels) holds what it needs and no longer the view.

mod limited;
mod watched;

use std::{borrow::Cow, mem, rc::Rc, time::Instant};

use evergate_contract::{Fault, FaultKind, config::RedirectHttps};
use evergate_router::{Head, PathRule};
use evergate_upstream::{Incoming, Outgoing, Tunnel};
use evergate_wire::{
    Headers, Payload, RequestParts, ResponseParts,
    hop::{self, Kept},
};
use http::{HeaderValue, Method, StatusCode, Uri, header, uri::PathAndQuery};

use crate::{
    carries::{Carries, Streaming},
    client::{self, Client},
    conn::{Conn, Settings},
    front, headers, reply,
    route::{Action, Does, Forward, Respond},
    snapshot::Snapshot,
    worker::Worker,
};

/// A request as its connection hands it over.
pub(crate) struct Request {
    /// Its head; `Host` is there if the client named one.
    pub parts: RequestParts,
    /// Its body.
    pub body: Payload,
    /// The client offers to change the protocol.
    pub upgrade: bool,
    /// Its listener's limits.
    pub settings: Settings,
}

/// What goes back.
pub(crate) enum Answer {
    /// A response.
    Response(ResponseParts, Payload),
    /// `101`, then bytes both ways.
    Tunnel(ResponseParts, Tunnel),
}

/// Relays interim responses to the client.
pub(crate) type Inform<'a> = &'a mut dyn FnMut(StatusCode, Headers);

/// A request in flight; counted when it is dropped, with the body sent or cut.
pub(crate) struct Tally {
    worker: Rc<Worker>,
    route: u32,
    method: Method,
    status: StatusCode,
    began: Instant,
    /// Held for as long as an answer without a length goes on.
    streaming: Option<Streaming>,
}

impl Drop for Tally {
    fn drop(&mut self) {
        let meter = &self.worker.meter;
        meter.active.set(meter.active.get().saturating_sub(1));
        meter.request(self.route, &self.method, self.status, self.began.elapsed());
    }
}

/// Answers a request. Never fails: what goes wrong is an answer too.
pub(crate) async fn answer(
    worker: &Rc<Worker>,
    conn: &Conn,
    mut request: Request,
    inform: Inform<'_>,
) -> (Answer, Tally) {
    worker.meter.active.set(worker.meter.active.get() + 1);
    let mut tally = Tally {
        worker: worker.clone(),
        route: 0,
        method: request.parts.method.clone(),
        // As long as there is no answer: a client that goes by then cuts this short.
        status: FaultKind::ClientGone.status(),
        began: Instant::now(),
        streaming: None,
    };
    let id = headers::request_id(&mut request.parts.headers, &worker.rng);
    let view = conn.hold(worker.view());
    // The head may have been waited for under an older revision.
    request.settings.asks_clients = conn.settings(&view).asks_clients;
    let front = conn.front();
    let believed = front.as_ref().and_then(|front| front.client.as_ref());
    let client = client::find(believed, conn.peer(), &request.parts.headers);
    let secure = conn.incarnation().tls || client.told.as_ref().is_some_and(|told| told.https);
    let watched = watched::watch(worker, &mut request);
    let redirect = front.as_ref().and_then(|front| front.redirect).filter(|_| !secure);
    let answered = match (view.snapshot(), redirect) {
        (_, Some(to)) => redirected(worker, to, &request),
        (Some(snapshot), None) => {
            let asked = Asked { conn, client: &client };
            routed(worker, asked, snapshot, &mut request, &mut tally, inform).await
        }
        (None, None) => Err(FaultKind::NotReady.into()),
    };
    if let Some(body) = watched {
        body.set(true);
    }
    let mut answer = answered.unwrap_or_else(|fault| faulty(worker, &client, &fault));
    tally.streaming = lasting(conn, &answer);
    let parts = answer.parts();
    if let Some(hsts) = front.as_ref().and_then(|front| front.hsts.as_ref()).filter(|_| secure) {
        parts.headers.insert(header::STRICT_TRANSPORT_SECURITY, hsts);
    }
    parts.headers.insert(&headers::REQUEST_ID, &id);
    if let Some(alt_svc) = conn.alt_svc(&view) {
        parts.headers.insert(header::ALT_SVC, alt_svc);
    }
    tally.status = parts.status;
    (answer, tally)
}

/// Notes what the connection carries by this answer, where that may last.
fn lasting(conn: &Conn, answer: &Answer) -> Option<Streaming> {
    match answer {
        Answer::Response(_, body) => body.length().is_none().then(|| conn.load.stream()),
        Answer::Tunnel(parts, _) => {
            let is_websocket =
                parts.headers.get(header::UPGRADE).is_some_and(|to| to.eq_ignore_ascii_case(b"websocket"));
            conn.load.becomes(if is_websocket { Carries::Websocket } else { Carries::Tunnel });
            None
        }
    }
}

impl Answer {
    fn parts(&mut self) -> &mut ResponseParts {
        match self {
            Answer::Response(parts, _) | Answer::Tunnel(parts, _) => parts,
        }
    }
}

/// Who asks, and by which connection.
#[derive(Clone, Copy)]
struct Asked<'a> {
    conn: &'a Conn,
    client: &'a Client,
}

fn redirected(worker: &Worker, to: RedirectHttps, request: &Request) -> Result<Answer, Fault> {
    let parts = &request.parts;
    let (status, place) = front::redirected(to, parts.headers.text(header::HOST), &parts.uri)?;
    let mut parts = ResponseParts::new(status);
    parts.headers.insert(header::LOCATION, place);
    Ok(ours(worker, parts, Payload::Empty))
}

fn faulty(worker: &Worker, client: &Client, fault: &Fault) -> Answer {
    tracing::debug!(
        client = client.ip.map(tracing::field::display),
        code = fault.kind.code(),
        cause = fault.cause.as_ref().map(tracing::field::display),
        "request failed"
    );
    let (parts, body) = reply::fault(fault, worker);
    Answer::Response(parts, body)
}

async fn routed(
    worker: &Rc<Worker>,
    asked: Asked<'_>,
    snapshot: &Snapshot,
    request: &mut Request,
    tally: &mut Tally,
    inform: Inform<'_>,
) -> Result<Answer, Fault> {
    let refuse = |kind: FaultKind| {
        worker.meter.refused(kind);
        Fault::from(kind)
    };
    if let Cow::Owned(path) = evergate_router::normalized(request.parts.uri.path()).map_err(refuse)? {
        // What was matched is what everybody behind us sees.
        request.parts.uri = target(&path, request.parts.uri.query())?;
    }
    let parts = &request.parts;
    if let Some(expect) = parts.headers.get(header::EXPECT)
        && !expect.eq_ignore_ascii_case(b"100-continue")
    {
        return Err(refuse(FaultKind::ExpectationFailed));
    }
    let head = Head {
        method: &parts.method,
        host: parts.headers.text(header::HOST),
        path: parts.uri.path(),
        query: parts.uri.query(),
        headers: &parts.headers,
    };
    if request.settings.asks_clients && !asked.conn.may_ask(snapshot, head.host) {
        return Err(refuse(FaultKind::Misdirected));
    }
    let hit = snapshot
        .table
        .find(&asked.conn.incarnation().name, &head)
        .ok_or_else(|| refuse(FaultKind::NoRoute))?;
    let (route, path) = (&*hit.value.does, hit.path);
    tally.route = worker.meter.number(hit.value.number, hit.name);
    let mut answer = match act(worker, asked, snapshot, (route, path), request, inform).await {
        Ok(answer) => answer,
        Err(fault) => faulty(worker, asked.client, &fault),
    };
    route.response.apply(&mut answer.parts().headers);
    Ok(answer)
}

/// A path with its query as the target of a request.
fn target(path: &str, query: Option<&str>) -> Result<Uri, Fault> {
    let whole = match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let target = PathAndQuery::from_maybe_shared(whole);
    Ok(target
        .map_err(|_| FaultKind::BadRequest("the target is no target any more once it is rewritten"))?
        .into())
}

async fn act(
    worker: &Rc<Worker>,
    asked: Asked<'_>,
    snapshot: &Snapshot,
    (route, path): (&Does, &PathRule),
    request: &mut Request,
    inform: Inform<'_>,
) -> Result<Answer, Fault> {
    if let Some(most) = route.body_max(request.settings.body_max) {
        if request.body.length().is_some_and(|n| n > most) {
            return Err(FaultKind::BodyTooLarge.into());
        }
        request.body = limited::at_most(mem::take(&mut request.body), most);
    }
    let uri = &request.parts.uri;
    match &route.action {
        Action::Forward(forward) => {
            let rewritten = forward
                .path
                .as_deref()
                .map(|to| target(&path.rewrite(to, uri.path()), uri.query()))
                .transpose()?;
            if let Some(uri) = rewritten {
                request.parts.uri = uri;
            }
            send(worker, asked, snapshot, (route, forward), request, inform).await
        }
        Action::Respond(respond) => Ok(fixed(worker, respond)),
        Action::Redirect(to, status) => {
            let place = path.redirect(to, uri.path(), uri.query());
            let place = HeaderValue::from_str(&place)
                .map_err(|_| FaultKind::BadRequest("the target cannot be redirected"))?;
            let mut parts = ResponseParts::new(*status);
            parts.headers.insert(header::LOCATION, place);
            Ok(ours(worker, parts, Payload::Empty))
        }
        Action::Files(site) => {
            let rest = path.rest(uri.path()).unwrap_or(uri.path());
            let served =
                site.serve(&request.parts.method, uri.path(), rest, uri.query(), &request.parts.headers);
            let (parts, body) = served.await?.into_parts();
            Ok(ours(worker, parts.into(), body))
        }
    }
}

fn fixed(worker: &Worker, respond: &Respond) -> Answer {
    let parts = ResponseParts { status: respond.status, headers: respond.headers.clone() };
    ours(worker, parts, Payload::from(respond.body.clone()))
}

/// A response that begins here has the time on it.
fn ours(worker: &Worker, mut parts: ResponseParts, body: Payload) -> Answer {
    parts.headers.insert_missing(header::DATE, || worker.date());
    Answer::Response(parts, body)
}

async fn send(
    worker: &Rc<Worker>,
    Asked { conn, client }: Asked<'_>,
    snapshot: &Snapshot,
    (route, forward): (&Does, &Forward),
    request: &mut Request,
    inform: Inform<'_>,
) -> Result<Answer, Fault> {
    let mut parts = mem::take(&mut request.parts);
    let body = mem::take(&mut request.body);
    let via = &worker.shared.via;
    if headers::has_been_here(&parts.headers, via) {
        return Err(FaultKind::Loop.into());
    }
    let number = forward.choose(&worker.rng).ok_or(FaultKind::NoEndpoint)?;
    let cluster = snapshot.clusters.get(number).and_then(Option::as_ref).ok_or(FaultKind::NotReady)?;
    let upgrade = parts
        .headers
        .get(header::UPGRADE)
        .filter(|_| request.upgrade)
        .and_then(|u| HeaderValue::from_bytes(u).ok());
    hop::strip(&mut parts.headers, Kept::Te);
    headers::add_forwarded(&mut parts.headers, conn, client, via);
    if let Some(host) = &forward.host {
        parts.headers.insert(header::HOST, &**host);
    }
    route.request.apply(&mut parts.headers);
    let (timeout, client) = (route.timeout, conn.ends());
    let outgoing = Outgoing { parts, body, upgrade, timeout, client, informational: inform };
    let Incoming { mut parts, body, tunnel, .. } =
        evergate_upstream::send(&worker.upstreams, cluster, outgoing).await?;
    parts.headers.insert_missing(header::DATE, || worker.date());
    Ok(match tunnel {
        Some(tunnel) => Answer::Tunnel(parts, tunnel),
        None => Answer::Response(parts, body),
    })
}
