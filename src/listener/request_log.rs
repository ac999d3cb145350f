//! The outermost layer of each router: gives the request an id, counts it, and writes its refusal.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use metrics::Counter;
use uuid::Uuid;

use super::problem::Problem;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The label of requests that match no route.
const NO_ROUTE: &str = "none";

/// The labels of statuses, by their first digit.
const STATUS_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Counters of requests, looked up once at the start: routes and classes are a closed set.
#[derive(Debug, Clone)]
pub struct RequestCounts {
    by_route: Arc<HashMap<&'static str, [Counter; STATUS_CLASSES.len()]>>,
}

impl RequestCounts {
    /// Creates the counters. The metrics recorder must be installed before, or the counts are lost.
    pub fn of_routes(routes: &[&'static str]) -> RequestCounts {
        let routes = routes.iter().copied().chain([NO_ROUTE]);
        let by_route = routes.map(|route| {
            let of_class = |class| {
                metrics::counter!("holdfast_http_requests_total", "route" => route, "status" => class)
            };
            (route, STATUS_CLASSES.map(of_class))
        });
        RequestCounts {
            by_route: Arc::new(by_route.collect()),
        }
    }

    fn count(&self, route: &str, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        let counters = self.by_route.get(route);
        if let Some(counter) = counters.and_then(|counters| counters.get(class)) {
            counter.increment(1);
        }
    }
}

/// Runs a request. A panic in it becomes a 500 for this request alone.
pub async fn observe(
    State(counts): State<RequestCounts>,
    request: Request,
    next: Next,
) -> Response {
    let id = Uuid::new_v4().to_string();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let ran = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    let response = ran.unwrap_or_else(|_| Problem::internal().into_response());
    let mut response = finish(response, &id);
    let route = route.as_ref().map_or(NO_ROUTE, MatchedPath::as_str);
    counts.count(route, response.status());
    if response.status() == StatusCode::INTERNAL_SERVER_ERROR {
        tracing::error!(route, request_id = id, "a request failed");
    }
    let id = HeaderValue::try_from(id).expect("a UUID is a header's text");
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

fn finish(mut response: Response, request_id: &str) -> Response {
    match response.extensions_mut().remove::<Problem>() {
        Some(problem) => {
            let headers = std::mem::take(response.headers_mut());
            problem.write(headers, request_id)
        }
        None => response,
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::{Body, to_bytes};
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    async fn fails() -> StatusCode {
        panic!("as a fault of the hub would")
    }

    #[tokio::test]
    async fn a_fault_of_the_hub_is_told_without_its_words() {
        let counts = RequestCounts::of_routes(&["/"]);
        let router = Router::new()
            .route("/", get(fails))
            .layer(from_fn_with_state(counts, observe));
        let request = Request::get("/").body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();

        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(response.headers().contains_key(REQUEST_ID));
        let body = to_bytes(response.into_body(), 4096).await.unwrap();
        let text = std::str::from_utf8(&body).unwrap();
        assert!(text.contains(r#""code":"INTERNAL""#), "{text}");
        assert!(!text.contains("as a fault"), "{text}");
    }
}
