//! The private listener: metrics, health and logins, for operators.
//!
//! **Owns** the logins of browsers. **Supervised by** the daemon. **On failure** a request is answered with 500; the
//! players' listener is a separate one.

mod attempts;
mod door;
#[cfg(feature = "faults")]
mod fault;
mod login;

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRef, State};
use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use metrics::gauge;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::listener::{
    Health, HostRule, LIVEZ, Problem, READYZ, RequestCounts, check_host, livez, observe, readyz,
};

pub use self::door::Door;

#[cfg(feature = "faults")]
pub use self::fault::{Fault, Faults, fault_router};

const METRICS: &str = "/metrics";
const LOGIN: &str = "/admin/login";
const LOGOUT: &str = "/admin/logout";

/// The format that scrapers expect.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A callback that updates the metrics that no component counts by itself. Called before each scrape; must not block.
pub type Measuring = Arc<dyn Fn() + Send + Sync>;

#[derive(Clone)]
struct Admin {
    health: Health,
    prometheus: PrometheusHandle,
    measuring: Measuring,
    door: Door,
}

/// Creates the router of the private listener.
pub fn router(
    door: &Door,
    hosts: HostRule,
    health: Health,
    prometheus: PrometheusHandle,
    measuring: Measuring,
) -> Router {
    let counts = RequestCounts::of_routes(&[LIVEZ, READYZ, METRICS, LOGIN, LOGOUT]);
    let admin = Admin {
        health,
        prometheus,
        measuring,
        door: door.clone(),
    };
    Router::new()
        .route(LIVEZ, get(livez))
        .route(READYZ, get(readyz))
        .route(METRICS, get(metrics))
        .route(LOGIN, get(door::login).post(door::log_in))
        .route(LOGOUT, post(door::log_out))
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .fallback(async || Problem::not_found())
        .layer(from_fn_with_state(door.clone(), door::guard))
        .layer(from_fn_with_state(hosts, check_host))
        .layer(from_fn_with_state(counts, observe))
        .with_state(admin)
}

async fn metrics(State(admin): State<Admin>) -> Response {
    for part in admin.health.report().await.parts {
        let up = if part.trouble.is_none() { 1.0 } else { 0.0 };
        gauge!("holdfast_part_up", "part" => part.part).set(up);
    }
    (admin.measuring)();
    ([(CONTENT_TYPE, METRICS_TYPE)], admin.prometheus.render()).into_response()
}

impl FromRef<Admin> for Health {
    fn from_ref(admin: &Admin) -> Health {
        admin.health.clone()
    }
}

impl FromRef<Admin> for Door {
    fn from_ref(admin: &Admin) -> Door {
        admin.door.clone()
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::request::Builder;
    use axum::http::{Request, StatusCode};
    use futures_util::future::BoxFuture;
    use metrics_exporter_prometheus::PrometheusBuilder;
    use serde_json::Value;
    use tower::ServiceExt;

    use super::*;
    use crate::config::Config;
    use crate::supervisor::Readiness;

    const TOKEN: &str = "the-token-of-the-operator";

    fn listener() -> Router {
        let answers = Arc::new(|| -> BoxFuture<'static, bool> { Box::pin(async { true }) });
        let health = Health::new(Readiness::starting(), answers, Arc::new(Vec::new));
        let prometheus = PrometheusBuilder::new().build_recorder().handle();
        let hosts = HostRule::new(&Config::default().server);
        let door = Door::new(&TOKEN.into());
        router(&door, hosts, health, prometheus, Arc::new(|| ()))
    }

    async fn send(router: &Router, request: Builder, body: &'static str) -> Response {
        let request = request.body(Body::from(body)).unwrap();
        router.clone().oneshot(request).await.unwrap()
    }

    async fn status(router: &Router, request: Builder) -> StatusCode {
        send(router, request, "").await.status()
    }

    fn by(request: Builder, token: &str) -> Builder {
        request.header("authorization", format!("Bearer {token}"))
    }

    /// Logs a browser in. Returns its cookie, and the token that its page sends with changes.
    async fn logs_in(router: &Router) -> (String, String) {
        let body = r#"{"token":"the-token-of-the-operator"}"#;
        let answer = send(router, Request::post(LOGIN), body).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let cookie = answer.headers()["set-cookie"].to_str().unwrap();
        let cookie = cookie.split(';').next().unwrap().to_owned();
        let body = to_bytes(answer.into_body(), 4096).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        (cookie, body["csrf"].as_str().unwrap().to_owned())
    }

    #[tokio::test]
    async fn whoever_reaches_the_listener_may_probe_and_scrape_and_nothing_else() {
        let router = listener();
        let is = async |path: &str| status(&router, Request::get(path)).await;

        assert_eq!(is("/livez").await, StatusCode::OK);
        assert_eq!(is("/readyz").await, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(is("/metrics").await, StatusCode::OK);
        for path in ["/admin/login", "/admin/logout", "/nothing", "/"] {
            assert_eq!(is(path).await, StatusCode::UNAUTHORIZED, "{path}");
        }
        let nothing = || Request::get("/nothing");
        let right = status(&router, by(nothing(), TOKEN)).await;
        assert_eq!(right, StatusCode::NOT_FOUND);
        let wrong = status(&router, by(nothing(), &TOKEN[1..])).await;
        assert_eq!(wrong, StatusCode::UNAUTHORIZED);
    }

    #[tokio::test]
    async fn wrong_tokens_are_limited_wherever_they_are_shown() {
        let router = listener();
        for _ in 0..3 {
            let wrong = status(&router, by(Request::get("/nothing"), "wrong")).await;
            assert_eq!(wrong, StatusCode::UNAUTHORIZED);
        }
        for _ in 0..2 {
            let answer = send(&router, Request::post(LOGIN), r#"{"token":"wrong"}"#).await;
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
            assert!(!answer.headers().contains_key("set-cookie"));
        }

        let limited = send(&router, by(Request::get("/nothing"), TOKEN), "").await;

        assert_eq!(limited.status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(limited.headers().contains_key("retry-after"));
        let body = r#"{"token":"the-token-of-the-operator"}"#;
        let limited = send(&router, Request::post(LOGIN), body).await;
        assert_eq!(limited.status(), StatusCode::TOO_MANY_REQUESTS);
        // Probes still pass.
        assert_eq!(
            status(&router, Request::get("/livez")).await,
            StatusCode::OK
        );
    }

    #[tokio::test]
    async fn a_browser_changes_something_only_from_a_page_of_this_listener() {
        let router = listener();
        let (cookie, csrf) = logs_in(&router).await;
        let looks = Request::get(LOGIN).header("cookie", &cookie);
        assert_eq!(status(&router, looks).await, StatusCode::OK);
        let ends = |origin: Option<&str>, csrf: Option<&str>| {
            let mut request = Request::post(LOGOUT)
                .header("host", "127.0.0.1:7451")
                .header("cookie", &cookie);
            if let Some(origin) = origin {
                request = request.header("origin", origin);
            }
            if let Some(csrf) = csrf {
                request = request.header("x-csrf-token", csrf);
            }
            request
        };
        let own = Some("http://127.0.0.1:7451");

        for request in [
            ends(None, None),
            ends(own, None),
            ends(None, Some(&csrf)),
            ends(own, Some("wrong")),
            ends(Some("http://evil.example"), Some(&csrf)),
            ends(Some("http://127.0.0.1:1"), Some(&csrf)),
        ] {
            assert_eq!(status(&router, request).await, StatusCode::FORBIDDEN);
        }
        let ended = status(&router, ends(own, Some(&csrf))).await;
        assert_eq!(ended, StatusCode::NO_CONTENT);
        let again = status(&router, ends(own, Some(&csrf))).await;
        assert_eq!(again, StatusCode::UNAUTHORIZED);
    }

    #[tokio::test]
    async fn a_page_from_elsewhere_logs_nobody_in() {
        let foreign = Request::post(LOGIN)
            .header("host", "127.0.0.1:7451")
            .header("origin", "http://evil.example");
        let body = r#"{"token":"the-token-of-the-operator"}"#;

        let answer = send(&listener(), foreign, body).await;

        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    }
}
