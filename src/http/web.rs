//! The playground: a page to try the hub with, and the client script that games can use as it is.
//!
//! Served with `--dev` only. The files are part of the binary.

use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// Where each file is found.
pub(super) const PLAYGROUND: &str = "/";
pub(super) const PLAYGROUND_SCRIPT: &str = "/web/playground.js";
pub(super) const PLAYGROUND_STYLE: &str = "/web/playground.css";
pub(super) const PLAYGROUND_ICON: &str = "/web/icon.svg";
pub(super) const CLIENT_SCRIPT: &str = "/web/holdfast.js";

/// Nothing from elsewhere, nothing inline, and no page around this one. `connect-src` names the socket for
/// browsers that do not count it as `'self'`.
const POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The routes of the playground.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route(
            PLAYGROUND,
            get(async || {
                let text = include_str!("../../web/index.html");
                file("text/html; charset=utf-8", text)
            }),
        )
        .route(
            PLAYGROUND_SCRIPT,
            get(async || file(SCRIPT, include_str!("../../web/playground.js"))),
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

fn file(content_type: &'static str, text: &'static str) -> Response {
    let headers = [
        (CONTENT_TYPE, content_type),
        // A new build shows at the next load.
        (CACHE_CONTROL, "no-cache"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // The address of the page has the code of a room.
        (REFERRER_POLICY, "no-referrer"),
    ];
    (headers, text).into_response()
}
