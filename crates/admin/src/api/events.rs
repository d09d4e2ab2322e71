//! Everything that happens, as server-sent events, while it happens.
//!
//! The name of an event is that of the notice (`step`, `ended`, `generation_freed`, …), its data JSON. Who
//! reads too slowly gets `missed` with a number instead of the oldest.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::State,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use evergate_reload::Notice;
use futures_util::stream::{self, Stream};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::{
    OwnedSemaphorePermit,
    broadcast::{self, error::RecvError},
};

use super::Api;
use crate::{health::HealthChange, problem::Problem, server::Caller};

/// Streams that may be open at once.
pub(super) const STREAMS_MAX: usize = 100;
/// A comment is sent after so much silence, so that a dead reader is noticed.
const SILENCE_MAX: Duration = Duration::from_secs(15);

struct Feed {
    notices: broadcast::Receiver<Arc<Notice>>,
    health: broadcast::Receiver<HealthChange>,
    going: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>,
    greeting: Option<Value>,
    _place: OwnedSemaphorePermit,
}

pub(super) async fn events(State(api): State<Api>, Extension(caller): Extension<Caller>) -> Response {
    let Ok(place) = Arc::clone(&api.streams).try_acquire_owned() else {
        let detail = format!("{STREAMS_MAX} event streams are open already");
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_streams", detail).into_response();
    };
    // Subscribe first: nothing that happens after the greeting's revision is missed.
    let (notices, health) = (api.engine.subscribe(), api.admin.health());
    let greeting = Some(json!({ "event": "hello", "running": api.engine.running().id }));
    let feed = Feed { notices, health, going: Box::pin(caller.asked_to_go()), greeting, _place: place };
    Sse::new(stream(feed)).keep_alive(KeepAlive::new().interval(SILENCE_MAX)).into_response()
}

fn stream(feed: Feed) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(feed, async |mut feed| {
        let data = feed.next().await?;
        let name = data.get("event").and_then(Value::as_str).unwrap_or("notice").to_owned();
        Some((Ok(Event::default().event(name).data(data.to_string())), feed))
    })
}

impl Feed {
    /// The next event; `None` when the stream should end.
    async fn next(&mut self) -> Option<Value> {
        if let Some(greeting) = self.greeting.take() {
            return Some(greeting);
        }
        tokio::select! {
            biased;
            notice = self.notices.recv() => match notice {
                Ok(notice) => Some(json!(*notice)),
                Err(RecvError::Lagged(count)) => Some(json!({ "event": "missed", "count": count })),
                Err(RecvError::Closed) => None,
            },
            change = self.health.recv() => match change {
                Ok(change) => Some(json!(change)),
                Err(RecvError::Lagged(count)) => Some(json!({ "event": "missed", "count": count })),
                Err(RecvError::Closed) => None,
            },
            () = &mut self.going => None,
        }
    }
}
