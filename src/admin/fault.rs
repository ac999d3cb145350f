//! `POST /faults/panic`: has one part of the hub fail, to see that nobody else notices.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use uuid::Uuid;

use crate::config::AdminConfig;
use crate::http::{Problem, RequestCounts, Secret, bearer, observe};
use crate::wire::{Reason, Refusal};

const PANIC: &str = "/faults/panic";

/// What is to fail. Supervisors are named by something in their share.
#[derive(Debug, Deserialize)]
#[serde(tag = "in", rename_all = "snake_case")]
pub enum Fault {
    Room { room: String },
    Session { session: Uuid },
    Connection { connection: Uuid },
    RoomSupervisor { room: String },
    SessionSupervisor { session: Uuid },
    ConnectionSupervisor { connection: Uuid },
    Persistence,
    Writer,
    Matchmaker,
    Hub,
}

/// Carries a fault out; false if what was to fail is not there.
pub type Faults = Arc<dyn Fn(Fault) -> bool + Send + Sync>;

#[derive(Clone)]
struct Door {
    token: Option<Secret>,
    is_dev: bool,
    faults: Faults,
}

/// Makes the router of the one door for faults.
pub fn fault_router(config: &AdminConfig, is_dev: bool, faults: Faults) -> Router {
    let door = Door {
        token: config.token.as_ref().map(Secret::new),
        is_dev,
        faults,
    };
    Router::new()
        .route(PANIC, post(panic))
        .layer(from_fn_with_state(
            RequestCounts::of_routes(&[PANIC]),
            observe,
        ))
        .with_state(door)
}

async fn panic(
    State(door): State<Door>,
    headers: HeaderMap,
    fault: Result<Json<Fault>, JsonRejection>,
) -> Result<StatusCode, Problem> {
    if let Some(token) = &door.token
        && !bearer(&headers).is_some_and(|given| token.is(given.as_bytes()))
    {
        let detail = "faults want Authorization: Bearer with the admin token";
        return Err(Refusal::new(Reason::TokenInvalid, detail).into());
    }
    if !door.is_dev {
        let detail = "faults are ordered with --dev alone";
        return Err(Refusal::new(Reason::PermissionDenied, detail).into());
    }
    let Json(fault) = fault.map_err(|error| Refusal::bad_request(error.body_text()))?;
    if (door.faults)(fault) {
        Ok(StatusCode::ACCEPTED)
    } else {
        Err(Problem::not_found())
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt;

    use super::*;

    async fn status(is_dev: bool, body: &'static str) -> StatusCode {
        let config = AdminConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            token: None,
        };
        let faults: Faults = Arc::new(|fault| matches!(fault, Fault::Writer));
        let request = Request::post(PANIC).header("content-type", "application/json");
        let request = request.body(Body::from(body)).unwrap();
        let router = fault_router(&config, is_dev, faults);
        router.oneshot(request).await.unwrap().status()
    }

    #[tokio::test]
    async fn a_fault_is_ordered_in_what_is_there_and_with_dev_alone() {
        let writer = r#"{"in":"writer"}"#;
        assert_eq!(status(true, writer).await, StatusCode::ACCEPTED);
        assert_eq!(status(false, writer).await, StatusCode::FORBIDDEN);
        let hub = r#"{"in":"hub"}"#;
        assert_eq!(status(true, hub).await, StatusCode::NOT_FOUND);
        let nothing = r#"{"in":"nothing"}"#;
        assert_eq!(status(true, nothing).await, StatusCode::BAD_REQUEST);
    }
}
