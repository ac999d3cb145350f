//! The private listener: metrics and health, for operators.
//!
//! **Owns** nothing. **Supervised by** the daemon. **On failure** a request is answered 500; the
//! players' listener is another one.

#[cfg(feature = "faults")]
mod fault;
use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRef, State};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics::gauge;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::config::AdminConfig;
use crate::http::{Health, Problem, RequestCounts, Secret, bearer, livez, observe, readyz};
use crate::wire::{Reason, Refusal};

#[cfg(feature = "faults")]
pub use self::fault::{Fault, Faults, fault_router};

const LIVEZ: &str = "/livez";
const READYZ: &str = "/readyz";
const METRICS: &str = "/metrics";

/// The format that scrapers expect.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Looks at what no part counts by itself. Called before each scrape; must not block.
pub type Measuring = Arc<dyn Fn() + Send + Sync>;

#[derive(Clone)]
struct Admin {
    health: Health,
    prometheus: PrometheusHandle,
    measuring: Measuring,
    token: Option<Secret>,
}

/// Makes the router of the private listener.
pub fn router(
    config: &AdminConfig,
    health: Health,
    prometheus: PrometheusHandle,
    measuring: Measuring,
) -> Router {
    let counts = RequestCounts::of_routes(&[LIVEZ, READYZ, METRICS]);
    let admin = Admin {
        health,
        prometheus,
        measuring,
        token: config.token.as_ref().map(Secret::new),
    };
    Router::new()
        .route(LIVEZ, get(livez))
        .route(READYZ, get(readyz))
        .route(METRICS, get(metrics))
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .fallback(async || Problem::not_found())
        .layer(from_fn_with_state(counts, observe))
        .with_state(admin)
}

async fn metrics(State(admin): State<Admin>, headers: HeaderMap) -> Result<Response, Problem> {
    if let Some(token) = &admin.token
        && !bearer(&headers).is_some_and(|given| token.is(given.as_bytes()))
    {
        let detail = "metrics want Authorization: Bearer with the admin token";
        return Err(Refusal::new(Reason::TokenInvalid, detail).into());
    }
    for part in admin.health.report().await.parts {
        let up = if part.trouble.is_none() { 1.0 } else { 0.0 };
        gauge!("holdfast_part_up", "part" => part.part).set(up);
    }
    (admin.measuring)();
    Ok(([(CONTENT_TYPE, METRICS_TYPE)], admin.prometheus.render()).into_response())
}

impl FromRef<Admin> for Health {
    fn from_ref(admin: &Admin) -> Health {
        admin.health.clone()
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::{Request, StatusCode};
    use futures_util::future::BoxFuture;
    use metrics_exporter_prometheus::PrometheusBuilder;
    use tower::ServiceExt;

    use super::*;
    use crate::supervisor::Readiness;

    async fn status(path: &str, authorization: Option<&str>) -> StatusCode {
        let config = AdminConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            token: Some("operator".into()),
        };
        let answers = Arc::new(|| -> BoxFuture<'static, bool> { Box::pin(async { true }) });
        let health = Health::new(Readiness::starting(), answers, Arc::new(Vec::new));
        let prometheus = PrometheusBuilder::new().build_recorder().handle();
        let mut request = Request::get(path);
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let request = request.body(Body::empty()).unwrap();
        let router = router(&config, health, prometheus, Arc::new(|| ()));
        router.oneshot(request).await.unwrap().status()
    }

    #[tokio::test]
    async fn metrics_are_shown_only_to_whoever_knows_the_token() {
        assert_eq!(status("/metrics", None).await, StatusCode::UNAUTHORIZED);
        let wrong = status("/metrics", Some("Bearer operato")).await;
        assert_eq!(wrong, StatusCode::UNAUTHORIZED);
        let right = status("/metrics", Some("Bearer operator")).await;
        assert_eq!(right, StatusCode::OK);
    }

    #[tokio::test]
    async fn health_needs_no_token() {
        assert_eq!(status("/livez", None).await, StatusCode::OK);
        let ready = status("/readyz", None).await;
        assert_eq!(ready, StatusCode::SERVICE_UNAVAILABLE);
    }
}
