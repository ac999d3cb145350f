//! The playground: a page to try the hub with, and the client script that games can use unchanged.
//!
//! Served with `--dev` only. The files are part of the binary. Where a parent process restarts the hub, the page
//! has a button that kills it.

use std::time::Duration;

use axum::Router;
use axum::extract::Extension;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::time::sleep;

use crate::listener::{Peer, Problem, is_from_here, is_of_own_page};
use crate::wire::{Reason, Refusal};

/// The path of each file.
pub(super) const PLAYGROUND: &str = "/";
pub(super) const PLAYGROUND_SCRIPT: &str = "/web/playground.js";
pub(super) const PLAYGROUND_BOARD: &str = "/web/board.js";
pub(super) const PLAYGROUND_STYLE: &str = "/web/playground.css";
pub(super) const PLAYGROUND_ICON: &str = "/web/icon.svg";
pub(super) const CLIENT_SCRIPT: &str = "/web/holdfast.js";
pub(super) const KILL: &str = "/dev/kill";

/// A function that ends the process by SIGKILL, a moment after the call.
pub type Kill = fn();

/// The delay in which the answer is sent.
const KILL_AFTER: Duration = Duration::from_millis(100);

/// The marker in the page that shows its kill button, where there is a [`Kill`].
const BODY: &str = "<body>";
const BODY_WITH_KILL: &str = "<body data-can-kill>";

/// Nothing from other hosts, nothing inline, and no page that frames this one. `connect-src` names the socket for
/// browsers that do not count it as `'self'`.
const POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Creates the routes of the playground, with `kill` where a parent process restarts the hub.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(kill: Option<Kill>) -> Router<S> {
    let page = include_str!("../../web/index.html");
    let Some(kill) = kill else {
        return files(page.to_owned());
    };
    files(page.replacen(BODY, BODY_WITH_KILL, 1)).route(
        KILL,
        post(async move |peer: Extension<Peer>, headers: HeaderMap| {
            kill_hub(&peer, &headers, kill)
        }),
    )
}

/// Kills the hub for the playground's own button on this machine. Another page, or a form on it, cannot send this
/// origin as its own. A page under another host name does not name this machine.
fn kill_hub(peer: &Peer, headers: &HeaderMap, kill: Kill) -> Result<StatusCode, Problem> {
    if !is_of_own_page(headers) || !is_from_here(peer, headers) {
        let detail = "only the playground may have the hub killed";
        return Err(Refusal::new(Reason::PermissionDenied, detail).into());
    }
    tokio::spawn(async move {
        sleep(KILL_AFTER).await;
        kill();
    });
    Ok(StatusCode::ACCEPTED)
}

fn files<S: Clone + Send + Sync + 'static>(page: String) -> Router<S> {
    Router::new()
        .route(
            PLAYGROUND,
            get(async move || file("text/html; charset=utf-8", page)),
        )
        .route(
            PLAYGROUND_SCRIPT,
            get(async || file(SCRIPT, include_str!("../../web/playground.js"))),
        )
        .route(
            PLAYGROUND_BOARD,
            get(async || file(SCRIPT, include_str!("../../web/board.js"))),
        )
        .route(
            PLAYGROUND_STYLE,
            get(async || {
                let text = include_str!("../../web/playground.css");
                file("text/css; charset=utf-8", text)
            }),
        )
        .route(
            PLAYGROUND_ICON,
            get(async || file("image/svg+xml", include_str!("../../web/icon.svg"))),
        )
        .route(
            CLIENT_SCRIPT,
            get(async || file(SCRIPT, include_str!("../../web/holdfast.js"))),
        )
}

fn file(content_type: &'static str, text: impl IntoResponse) -> Response {
    let headers = [
        (CONTENT_TYPE, content_type),
        // A new build is shown at the next load.
        (CACHE_CONTROL, "no-cache"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // The page's URL contains the code of a room.
        (REFERRER_POLICY, "no-referrer"),
    ];
    (headers, text).into_response()
}
