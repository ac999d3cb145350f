//! The server API: channels, and the connections of users, for a game's own server.
//!
//! The path is `POST /api/<method>`, as in Centrifugo's server API, so its libraries work. The API key is
//! checked before the body is read.

mod answer;
mod batch;
mod end;
mod fields;
mod look;
mod metric;
mod order;
mod say;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::value::RawValue;
use uuid::Uuid;

use self::answer::{Answer, ErrorMode, Outcome, respond, written};
use self::fields::{Fields, must_be};
use self::metric::CallCounts;
use crate::actions::Actions;
use crate::connection::Connections;
use crate::http::Api;
use crate::http::body;
use crate::http::client_api::change_within;
use crate::listener::Problem;
use crate::listener::caller_address;
use crate::room::Rooms;
use crate::wire::{ErrorCode, Refusal};

/// The largest body: a batch of many publications. Only a caller with a key can send one.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The time limit for a call after its body is read: libraries give up after 10 s.
const CALL_TIMEOUT: Duration = Duration::from_secs(9);

/// The state that calls can reach. Cheap to clone.
#[derive(Clone)]
pub(super) struct ServerApi {
    actions: Actions,
    rooms: Rooms,
    connections: Connections,
    node: Arc<Node>,
    /// The largest payload of a publication: the same as a client's.
    data_bytes_max: usize,
    counts: CallCounts,
}

/// This daemon, as reported by `info`.
#[derive(Debug)]
struct Node {
    uid: String,
    name: String,
    started: Instant,
}

/// The methods of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Publish,
    Broadcast,
    Subscribe,
    Unsubscribe,
    Disconnect,
    Refresh,
    SessionEnd,
    Presence,
    PresenceStats,
    History,
    HistoryRemove,
    Channels,
    Info,
    Rpc,
    Batch,
}

impl Method {
    const ALL: [Method; 15] = [
        Method::Publish,
        Method::Broadcast,
        Method::Subscribe,
        Method::Unsubscribe,
        Method::Disconnect,
        Method::Refresh,
        Method::SessionEnd,
        Method::Presence,
        Method::PresenceStats,
        Method::History,
        Method::HistoryRemove,
        Method::Channels,
        Method::Info,
        Method::Rpc,
        Method::Batch,
    ];

    fn parse(name: &str) -> Option<Method> {
        let mut all = Method::ALL.into_iter();
        all.find(|method| method.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Method::Publish => "publish",
            Method::Broadcast => "broadcast",
            Method::Subscribe => "subscribe",
            Method::Unsubscribe => "unsubscribe",
            Method::Disconnect => "disconnect",
            Method::Refresh => "refresh",
            Method::SessionEnd => "session_end",
            Method::Presence => "presence",
            Method::PresenceStats => "presence_stats",
            Method::History => "history",
            Method::HistoryRemove => "history_remove",
            Method::Channels => "channels",
            Method::Info => "info",
            Method::Rpc => "rpc",
            Method::Batch => "batch",
        }
    }
}

impl ServerApi {
    /// Creates the API; the metrics recorder must be installed before.
    pub(super) fn new(
        name: String,
        actions: Actions,
        connections: Connections,
        data_bytes_max: usize,
    ) -> ServerApi {
        ServerApi {
            rooms: actions.rooms().clone(),
            actions,
            connections,
            node: Arc::new(Node {
                uid: Uuid::new_v4().to_string(),
                name,
                started: Instant::now(),
            }),
            data_bytes_max,
            counts: CallCounts::new(),
        }
    }

    /// Carries out one call that is not a batch.
    async fn call(&self, method: Method, body: &str) -> Answer {
        let answer = match Fields::parse("the call", body) {
            // Boxed: the future of all methods together is large.
            Ok(fields) => Box::pin(self.carry_out(method, &fields)).await,
            Err(failure) => Err(failure),
        };
        self.counts.count(method, &answer);
        answer
    }

    async fn carry_out(&self, method: Method, fields: &Fields<'_>) -> Answer {
        match method {
            Method::Publish => self.publish(fields).await,
            Method::Broadcast => self.broadcast(fields).await,
            Method::Subscribe => self.subscribe(fields).await,
            Method::Unsubscribe => self.unsubscribe(fields).await,
            Method::Disconnect => self.disconnect(fields),
            Method::Refresh => self.refresh(fields).await,
            Method::SessionEnd => self.session_end(fields).await,
            Method::Presence => self.presence(fields).await,
            Method::PresenceStats => self.presence_stats(fields).await,
            Method::History => self.history(fields).await,
            Method::HistoryRemove => self.history_remove(fields).await,
            Method::Channels => self.channels(fields),
            Method::Info => self.info(),
            // Games are not part of the hub, so there is no handler.
            Method::Rpc if fields.text("method")?.is_empty() => {
                Err(must_be("method", "given as text"))
            }
            Method::Rpc => Err(ErrorCode::NotAvailable.into()),
            Method::Batch => Err(ErrorCode::MethodNotFound.into()),
        }
    }

    /// Carries out a call and encodes its answer.
    async fn respond(&self, method: Method, body: &str, mode: ErrorMode) -> Response {
        if method != Method::Batch {
            return respond(self.call(method, body).await.into(), mode);
        }
        let batched = match Fields::parse("the call", body) {
            Ok(fields) => self.batch(&fields).await,
            Err(failure) => Err(failure),
        };
        let counted = batched.as_ref().map(|_| Box::<RawValue>::default());
        self.counts.count(method, &counted.map_err(Clone::clone));
        match batched {
            Ok(replies) => written(StatusCode::OK, &replies),
            Err(failure) => respond(Outcome::Error(failure), mode),
        }
    }
}

/// `POST /api/{method}`
pub(super) async fn call(
    State(api): State<Api>,
    method: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let guesser = caller_address(&request);
    let (parts, body) = request.into_parts();
    api.gate.check_key(&parts.headers, guesser)?;
    let name = method.map(|Path(name)| name).unwrap_or_default();
    let method = Method::parse(&name).ok_or_else(Problem::not_found)?;
    let bytes = body::read_up_to(&parts.headers, body, BODY_BYTES_MAX).await?;
    let body = json(bytes)?;
    let mode = ErrorMode::of(&parts.headers);
    let server = api.server.clone();
    change_within(CALL_TIMEOUT, &api, async move {
        Ok(server.respond(method, &body, mode).await)
    })
    .await
}

/// Returns the body as the text of a JSON object. An empty body is an object without fields.
fn json(bytes: Vec<u8>) -> Result<String, Refusal> {
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Refusal::bad_request(format!("the body is not UTF-8: byte {at} is wrong"))
    })?;
    if text.trim_ascii().is_empty() {
        return Ok("{}".to_owned());
    }
    serde_json::from_str::<&RawValue>(&text)
        .map_err(|error| Refusal::bad_request(format!("the body is not JSON: {error}")))?;
    match text.trim_ascii_start().starts_with('{') {
        true => Ok(text),
        false => Err(Refusal::bad_request("the body must be a JSON object")),
    }
}
