//! Authentication of operators: a program with the admin token, or a browser that has logged in with it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, ORIGIN, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::attempts::{Attempt, Attempts};
use super::login::{LOGIN_TTL, LoginSecret, Logins, no_cookie};
use super::{LOGIN, METRICS};
use crate::auth::{Secret, bearer};
use crate::listener::{LIVEZ, Problem, READYZ, caller_address, is_of_own_page};
use crate::wire::{Reason, Refusal};

/// Paths without authentication: probes and scrapers need no secret, and a login presents its own.
const OPEN: [&str; 4] = [LIVEZ, READYZ, METRICS, LOGIN];

/// The largest body of a login: a token and a little JSON.
const LOGIN_BYTES_MAX: usize = 4096;

/// The time limit for it to arrive.
const LOGIN_BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// The admin token and the logins with it. Cheap to clone.
#[derive(Clone)]
pub struct Door(Arc<Inner>);

struct Inner {
    token: Secret,
    attempts: Attempts,
    logins: Logins,
}

/// The body of a login without an `Authorization` header.
#[derive(Deserialize)]
struct LoginBody {
    token: String,
}

/// The data that a page needs about its login.
#[derive(Serialize)]
struct LoginView {
    /// To be sent as `X-CSRF-Token` with each change.
    csrf: String,
    /// The remaining time of the login, in seconds.
    ttl: u64,
}

impl Door {
    pub fn new(token: &SecretString) -> Door {
        Door(Arc::new(Inner {
            token: Secret::new(token),
            attempts: Attempts::default(),
            logins: Logins::default(),
        }))
    }

    /// Checks a token that was presented from an address.
    fn check(&self, given: &[u8], address: IpAddr) -> Result<(), Refusal> {
        let is_right = || self.0.token.is(given);
        match self.0.attempts.attempt(address, Instant::now(), is_right) {
            Attempt::Right => Ok(()),
            Attempt::Wrong => {
                count("wrong_token");
                let detail = "the admin token is wrong";
                Err(Refusal::new(Reason::TokenInvalid, detail))
            }
            Attempt::Limited(rest) => {
                count("limited");
                let detail =
                    "too many wrong admin tokens came from this address; try again in a minute";
                Err(Refusal {
                    retry_after: Some(rest),
                    ..Refusal::new(Reason::RateLimited, detail)
                })
            }
        }
    }

    /// Checks the cookie of a browser. A change must come from a page of this listener, and prove that the page can
    /// read the listener's answers.
    fn check_login(&self, request: &Request) -> Result<(), Refusal> {
        let headers = request.headers();
        let login = self.0.logins.of(headers, Instant::now());
        let (secret, _) = login.ok_or_else(no_token)?;
        if request.method().is_safe() || (is_of_own_page(headers) && secret.is_shown(headers)) {
            return Ok(());
        }
        count("foreign_page");
        let detail = "with a cookie, changes need an Origin that is the Host, and the X-CSRF-Token of the login";
        Err(Refusal::new(Reason::PermissionDenied, detail))
    }
}

/// Lets authenticated requests pass, and all requests to open paths.
pub(super) async fn guard(
    State(door): State<Door>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if !OPEN.contains(&request.uri().path()) {
        match bearer(request.headers()) {
            Some(given) => door.check(given.as_bytes(), address(&request))?,
            None => door.check_login(&request)?,
        }
    }
    Ok(next.run(request).await)
}

/// `POST /admin/login`: exchanges the admin token for a cookie.
pub(super) async fn log_in(
    State(door): State<Door>,
    request: Request,
) -> Result<Response, Problem> {
    let headers = request.headers().clone();
    if headers.contains_key(ORIGIN) && !is_of_own_page(&headers) {
        count("foreign_page");
        let detail = "only a page of this listener may log in";
        return Err(Refusal::new(Reason::PermissionDenied, detail).into());
    }
    let address = address(&request);
    let given = match bearer(&headers) {
        Some(given) => given.to_owned(),
        None => token_in_body(request).await?,
    };
    door.check(given.as_bytes(), address)?;
    let secret = door.0.logins.open(Instant::now());
    let is_tls = headers
        .get(ORIGIN)
        .is_some_and(|origin| origin.as_bytes().starts_with(b"https://"));
    let cookie = secret.cookie(is_tls);
    Ok(([(SET_COOKIE, cookie)], view(&secret, LOGIN_TTL.as_secs())).into_response())
}

/// `GET /admin/login`: returns the data about its login to a reloaded page.
pub(super) async fn login(
    State(door): State<Door>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let login = door.0.logins.of(&headers, Instant::now());
    let (secret, left) = login.ok_or_else(no_token)?;
    Ok(view(&secret, left.as_secs()).into_response())
}

/// `POST /admin/logout`: ends the login of this browser.
pub(super) async fn log_out(State(door): State<Door>, headers: HeaderMap) -> impl IntoResponse {
    if let Some((secret, _)) = door.0.logins.of(&headers, Instant::now()) {
        door.0.logins.close(&secret);
    }
    (StatusCode::NO_CONTENT, [(SET_COOKIE, no_cookie())])
}

async fn token_in_body(request: Request) -> Result<String, Refusal> {
    // The error does not repeat the input, which may be most of the token.
    let wrong = || {
        let detail = format!(
            "the body must be {{\"token\": text}} with the admin token, of at most {LOGIN_BYTES_MAX} bytes; \
             or send Authorization: Bearer"
        );
        Refusal::bad_request(detail)
    };
    let reading = to_bytes(request.into_body(), LOGIN_BYTES_MAX);
    let read = timeout(LOGIN_BODY_TIMEOUT, reading).await;
    let bytes = read.map_err(|_| wrong())?.map_err(|_| wrong())?;
    let body: LoginBody = serde_json::from_slice(&bytes).map_err(|_| wrong())?;
    Ok(body.token)
}

fn view(secret: &LoginSecret, ttl: u64) -> impl IntoResponse + use<> {
    let view = LoginView {
        csrf: secret.csrf(),
        ttl,
    };
    let no_store = [(CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    (no_store, Json(view))
}

/// Returns the address of a request. Without a listener, as in a test, all requests share one.
fn address(request: &Request) -> IpAddr {
    caller_address(request).unwrap_or(Ipv4Addr::UNSPECIFIED.into())
}

fn no_token() -> Refusal {
    let detail = "the admin listener requires Authorization: Bearer with the admin token (data_dir/admin.token, or \
                  admin.token of the configuration), or the cookie of POST /admin/login";
    Refusal::new(Reason::TokenInvalid, detail)
}

fn count(reason: &'static str) {
    metrics::counter!("holdfast_admin_refused_total", "reason" => reason).increment(1);
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Door")
    }
}
