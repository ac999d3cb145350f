//! The client API: the requests of players over HTTP.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::time::timeout;

use super::Api;
use super::body;
use super::credentials;
use super::credentials::Credentials;
use super::idempotency_key;
use crate::actions::{Actions, Caller, LoggedIn, Payer};
use crate::id::{CommandKey, RoomCode, SessionToken};
use crate::limits::Asker;
use crate::listener::Problem;
use crate::listener::asker;
use crate::listener::caller_address;
use crate::session::SessionHandle;
use crate::supervisor::Phase;
use crate::wire::{
    Fields, JoinRequest, OpenRoomRequest, QuickMatchRequest, Reason, Refusal, RoomView, SeatView,
    SessionReport, room_code,
};

/// The time limit for a request after its body is read. Longer than an actor's answer may take, so that the more
/// precise error arrives, and under the 5 s after which the SDKs give up.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(4700);

/// The keys change only with a restart; a client fetches a new one within five minutes.
const KEY_SET_CACHING: &str = "public, max-age=300";

/// Answers may carry tokens and are soon out of date.
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// A request: its unverified caller, its address, and its fields.
struct Asked<T> {
    claim: Credentials,
    asker: Asker,
    wish: T,
    key: Option<CommandKey>,
}

#[derive(Debug, Serialize)]
struct SeatBody<'a> {
    seat: &'a SeatView,
}

#[derive(Debug, Serialize)]
struct RoomBody<'a> {
    room: &'a RoomView,
}

/// `POST /v1/sessions`
pub(super) async fn open_session(
    State(api): State<Api>,
    request: Request,
) -> Result<Response, Problem> {
    let (asker, guesser) = (asker(&request), caller_address(&request));
    let (parts, body) = request.into_parts();
    let bytes = body::read(&parts.headers, body).await?;
    let fields = Fields::parse(&bytes)?;
    if let Some(token) = credentials::seat_token(&parts.headers, &fields)? {
        let (actions, key) = (api.actions.clone(), idempotency_key::read(&parts.headers)?);
        let opened = change(
            &api,
            async move { actions.open_session_with(&token, key).await },
        );
        return Ok(answer(StatusCode::CREATED, &opened.await?));
    }
    if let Some(login) = fields.login()? {
        let token = api.gate.guest_token(&parts.headers)?;
        let key = idempotency_key::read(&parts.headers)?;
        return log_in(&api, asker, token, login, key).await;
    }
    let asked = Asked {
        claim: api.gate.claim(&parts.headers, &fields, guesser)?,
        asker,
        wish: (),
        key: idempotency_key::read(&parts.headers)?,
    };
    let report = act(&api, asked, |actions, caller, (), key| async move {
        actions.open_session(caller, key).await
    })
    .await?;
    Ok(opened(&report))
}

/// Logs a guest in: its session continues as that of the login's user.
async fn log_in(
    api: &Api,
    asker: Asker,
    token: SessionToken,
    login: String,
    key: Option<CommandKey>,
) -> Result<Response, Problem> {
    let (actions, verifier) = (api.actions.asked_from(asker), api.gate.verifier().clone());
    let (admission, retries) = (api.admission.clone(), api.wrong_tokens.retries_of(asker));
    let report = change(api, async move {
        let login = verifier.login(&login).await?;
        let is_back =
            actions.returning(&token).is_some() || actions.returning_user(&login.user).is_some();
        if !is_back {
            admission.check_newcomer()?;
        }
        let login = LoggedIn {
            user: login.user,
            name: login.name,
            ttl: login.ttl,
        };
        actions
            .open_session_of_guest(&token, login, key, &retries)
            .await
    })
    .await?;
    Ok(opened(&report))
}

/// Answers with 201 for a new token. A session that existed before was not created by this request.
fn opened(report: &SessionReport) -> Response {
    let status = match report.session.token {
        Some(_) => StatusCode::CREATED,
        None => StatusCode::OK,
    };
    answer(status, report)
}

/// `POST /v1/rooms`
pub(super) async fn open_room(
    State(api): State<Api>,
    request: Request,
) -> Result<Response, Problem> {
    let mut asked = read(&api, request, OpenRoomRequest::read).await?;
    asked.wish.is_by_game = asked.claim.is_by_game();
    let entered = act(&api, asked, |actions, caller, wish, key| async move {
        actions.open_room(caller, wish, key).await
    })
    .await?;
    Ok(answer(StatusCode::CREATED, &entered))
}

/// `POST /v1/rooms/{code}/join`
pub(super) async fn join_room(
    State(api): State<Api>,
    code: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let asked = read(&api, request, JoinRequest::read).await?;
    let code = room_code(&path_text(code))?;
    let entered = act(&api, asked, move |actions, caller, wish, key| async move {
        actions.join_room(caller, code, wish, key).await
    })
    .await?;
    Ok(answer(StatusCode::OK, &entered))
}

/// `POST /v1/rooms/{code}/seats/{seat}/hold`, for the game's own server.
pub(super) async fn hold_seat(
    State(api): State<Api>,
    place: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let guesser = caller_address(&request);
    let (parts, body) = request.into_parts();
    let api_key = api.gate.check_key(&parts.headers, guesser)?;
    let bytes = body::read(&parts.headers, body).await?;
    let at_least = Fields::parse(&bytes)?.seconds()?;
    let (code, seat) = place.map(|Path(place)| place).unwrap_or_default();
    let (code, seat) = (room_code(&code)?, seat_number(&seat)?);
    let (actions, key) = (api.actions.clone(), idempotency_key::read(&parts.headers)?);
    let seat = change(&api, async move {
        actions.hold_seat(api_key, code, seat, at_least, key).await
    })
    .await?;
    Ok(answer(StatusCode::OK, &SeatBody { seat: &seat }))
}

/// `POST /v1/quick-match`
pub(super) async fn quick_match(
    State(api): State<Api>,
    request: Request,
) -> Result<Response, Problem> {
    let asked = read(&api, request, QuickMatchRequest::read).await?;
    let entered = act(&api, asked, |actions, caller, wish, key| async move {
        actions.quick_match(caller, wish, key).await
    })
    .await?;
    Ok(answer(StatusCode::OK, &entered))
}

/// `GET /v1/rooms/{code}`
pub(super) async fn room(
    State(api): State<Api>,
    code: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let code = room_code(&path_text(code))?;
    let asker = asker(&request);
    let (parts, _) = request.into_parts();
    look(&api, look_at_room(&api, code, asker, &parts.headers)).await
}

/// Returns the view of a room. It is counted for the address of the request, or for the caller's session if that
/// address has used up its limit. The limit on wrong codes applies neither to the room's seat holders, who did not guess
/// its code, nor to the game's own server.
async fn look_at_room(
    api: &Api,
    code: RoomCode,
    asker: Asker,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    let asker = asker.filter(|_| api.gate.check_key(headers, asker).is_err());
    let actions = api.actions.asked_from(asker);
    let retries = api.wrong_tokens.retries_of(asker);
    let view = async |session: Option<&SessionHandle>| {
        let payer = actions.count_lookup(session)?;
        let room = actions.room(code, session).await?;
        let body = RoomBody { room: &room };
        Ok::<_, Refusal>(counted_answer(&actions, payer, &body))
    };
    let refusal = match view(None).await {
        Err(refusal) if refusal.reason == Reason::RateLimited => refusal,
        looked => return looked,
    };
    let Ok(claim) = api.gate.asking(headers) else {
        return Err(refusal);
    };
    match claim.session(&actions, &retries).await {
        Ok(session) => view(Some(&session)).await,
        Err(_) => Err(refusal),
    }
}

/// `GET /v1/session`
pub(super) async fn session(State(api): State<Api>, request: Request) -> Result<Response, Problem> {
    let claim = api.gate.asking(request.headers())?;
    let retries = api.wrong_tokens.retries_of(asker(&request));
    look(&api, async {
        let session = claim.session(&api.actions, &retries).await?;
        let payer = api.actions.count_lookup(Some(&session))?;
        let report = api.actions.session(&session).await?;
        Ok(counted_answer(&api.actions, payer, &report))
    })
    .await
}

/// `DELETE /v1/session`
pub(super) async fn end_session(
    State(api): State<Api>,
    request: Request,
) -> Result<Response, Problem> {
    let headers = request.headers();
    let (claim, key) = (api.gate.asking(headers)?, idempotency_key::read(headers)?);
    let (actions, retries) = (
        api.actions.clone(),
        api.wrong_tokens.retries_of(asker(&request)),
    );
    change(&api, async move {
        claim.end_session(&actions, key, &retries).await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `GET /.well-known/jwks.json`
pub(super) async fn key_set(State(api): State<Api>) -> Response {
    let keys = api.actions.keyring().key_set();
    let headers = [
        (
            CONTENT_TYPE,
            HeaderValue::from_static("application/jwk-set+json"),
        ),
        (CACHE_CONTROL, HeaderValue::from_static(KEY_SET_CACHING)),
    ];
    (headers, keys.to_string()).into_response()
}

/// Reads the caller and the fields of a request.
async fn read<T>(
    api: &Api,
    request: Request,
    wish: fn(&Fields<'_>) -> Result<T, Refusal>,
) -> Result<Asked<T>, Problem> {
    let (asker, guesser) = (asker(&request), caller_address(&request));
    let (parts, body) = request.into_parts();
    let bytes = body::read(&parts.headers, body).await?;
    let fields = Fields::parse(&bytes)?;
    Ok(Asked {
        claim: api.gate.claim(&parts.headers, &fields, guesser)?,
        asker,
        wish: wish(&fields)?,
        key: idempotency_key::read(&parts.headers)?,
    })
}

/// Carries out the requested change, after the caller has been verified.
async fn act<T, A, F>(
    api: &Api,
    asked: Asked<T>,
    work: impl FnOnce(Actions, Caller, T, Option<CommandKey>) -> F + Send + 'static,
) -> Result<A, Problem>
where
    T: Send + 'static,
    A: Send + 'static,
    F: Future<Output = Result<A, Refusal>> + Send,
{
    // A game's own server forwards the requests of many players, so they count for no address.
    let asker = asked.asker.filter(|_| !asked.claim.is_by_game());
    let (actions, admission) = (api.actions.asked_from(asker), api.admission.clone());
    let retries = api.wrong_tokens.retries_of(asker);
    change(api, async move {
        let caller = asked.claim.prove(&actions, &retries).await?;
        if actions.is_new(&caller) {
            admission.check_newcomer()?;
        }
        work(actions, caller, asked.wish, asked.key).await
    })
    .await
}

/// Runs a change in a task of its own: a client that hangs up, or times out, cannot leave it half done.
async fn change<T: Send + 'static>(
    api: &Api,
    work: impl Future<Output = Result<T, Refusal>> + Send + 'static,
) -> Result<T, Problem> {
    change_within(REQUEST_TIMEOUT, api, work).await
}

/// Like `change`, with a time limit of the caller's.
pub(super) async fn change_within<T: Send + 'static>(
    within: Duration,
    api: &Api,
    work: impl Future<Output = Result<T, Refusal>> + Send + 'static,
) -> Result<T, Problem> {
    check_ready(api)?;
    let permit = Arc::clone(&api.changes)
        .try_acquire_owned()
        .map_err(|_| Refusal::unavailable())?;
    let task = api.tracker.spawn(async move {
        let done = work.await;
        drop(permit);
        done
    });
    match timeout(within, task).await {
        Ok(Ok(done)) => Ok(done?),
        Ok(Err(_panicked)) => Err(Problem::internal()),
        Err(_) => Err(Refusal::unavailable().into()),
    }
}

/// Runs a lookup; it may be dropped half-way without loss.
async fn look<T>(api: &Api, work: impl Future<Output = Result<T, Refusal>>) -> Result<T, Problem> {
    check_restored(api)?;
    let _permit = api
        .looks
        .try_acquire()
        .map_err(|_| Refusal::unavailable())?;
    match timeout(REQUEST_TIMEOUT, work).await {
        Ok(found) => Ok(found?),
        Err(_) => Err(Refusal::unavailable().into()),
    }
}

fn check_ready(api: &Api) -> Result<(), Refusal> {
    match api.health.readiness().phase() {
        Phase::Ready => Ok(()),
        Phase::Starting => Err(Refusal::unavailable()),
        Phase::Stopping => Err(Refusal::stopping()),
    }
}

/// Refuses lookups during the start. While the hub stops, they still work.
fn check_restored(api: &Api) -> Result<(), Refusal> {
    match api.health.readiness().phase() {
        Phase::Ready | Phase::Stopping => Ok(()),
        Phase::Starting => Err(Refusal::unavailable()),
    }
}

/// Returns the code in the path. A path that is not text is an unknown code.
fn path_text(code: Result<Path<String>, PathRejection>) -> String {
    code.map(|Path(code)| code).unwrap_or_default()
}

/// Parses a seat number. A text that is no number is an unknown seat.
fn seat_number(text: &str) -> Result<u16, Refusal> {
    let not_found = |_| Refusal::new(Reason::SeatNotFound, "a seat is a whole number from 0");
    text.parse().map_err(not_found)
}

/// Answers a lookup, and counts the answer by its size.
fn counted_answer(actions: &Actions, payer: Payer, body: &impl Serialize) -> Response {
    let text = serde_json::to_vec(body).expect("answers have text for keys");
    actions.count_answer(payer, text.len());
    let headers = [
        (CACHE_CONTROL, NO_STORE),
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
    ];
    (headers, text).into_response()
}

/// Answers as JSON. Answers may carry tokens and are soon out of date, so they must not be cached.
fn answer(status: StatusCode, body: &impl Serialize) -> Response {
    (status, [(CACHE_CONTROL, NO_STORE)], Json(body)).into_response()
}
