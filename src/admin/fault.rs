//! `POST /faults/panic`: makes one component of the hub fail, to test that the others are not affected.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use uuid::Uuid;

use super::door::{Door, guard};
use crate::listener::{HostRule, Problem, RequestCounts, check_host, observe};
use crate::wire::{Reason, Refusal};

const PANIC: &str = "/faults/panic";

/// The component that is to fail. A supervisor is named by one of the actors in its shard.
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

/// A function that makes a component fail; it returns false if the component does not exist.
pub type Faults = Arc<dyn Fn(Fault) -> bool + Send + Sync>;

#[derive(Clone)]
struct FaultState {
    is_dev: bool,
    faults: Faults,
}

/// Creates the router of the one route for faults.
pub fn fault_router(door: &Door, hosts: HostRule, is_dev: bool, faults: Faults) -> Router {
    Router::new()
        .route(PANIC, post(panic))
        .layer(from_fn_with_state(door.clone(), guard))
        .layer(from_fn_with_state(hosts, check_host))
        .layer(from_fn_with_state(
            RequestCounts::of_routes(&[PANIC]),
            observe,
        ))
        .with_state(FaultState { is_dev, faults })
}

async fn panic(
    State(state): State<FaultState>,
    fault: Result<Json<Fault>, JsonRejection>,
) -> Result<StatusCode, Problem> {
    if !state.is_dev {
        let detail = "faults can only be injected with --dev";
        return Err(Refusal::new(Reason::PermissionDenied, detail).into());
    }
    let Json(fault) = fault.map_err(|error| Refusal::bad_request(error.body_text()))?;
    if (state.faults)(fault) {
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
    use crate::config::Config;

    async fn status(is_dev: bool, body: &'static str) -> StatusCode {
        let door = Door::new(&"the-admin-token".into());
        let hosts = HostRule::new(&Config::default().server);
        let faults: Faults = Arc::new(|fault| matches!(fault, Fault::Writer));
        let request = Request::post(PANIC)
            .header("authorization", "Bearer the-admin-token")
            .header("content-type", "application/json");
        let request = request.body(Body::from(body)).unwrap();
        let router = fault_router(&door, hosts, is_dev, faults);
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
