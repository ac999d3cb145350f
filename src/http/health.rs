//! Whether the daemon lives, is ready, and reaches its database.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::supervisor::{Phase, Readiness};

/// Asks the database whether all is well with it; if not, the answer says what is wrong. The question
/// must end by itself within seconds: it is left to run on when its answer is late.
pub type DatabaseAnswers = Arc<dyn Fn() -> BoxFuture<'static, DatabaseAnswer> + Send + Sync>;

/// That all is well with the database, or what is wrong, for people.
pub type DatabaseAnswer = Result<(), &'static str>;

/// What is said of a database that gives no answer in time.
pub const DATABASE_SILENT: &str =
    "the database does not answer; rooms play on, nothing new is stored";

/// How long the database may take to say that it is there: under the 1 s after which orchestrators'
/// probes give up, because a hub without its database must still be found ready.
const ANSWER_WITHIN: Duration = Duration::from_millis(800);

/// For how long its answer is passed on: whoever asks for health needs no login, and must not be
/// able to keep the database busy.
const ANSWER_FRESH_FOR: Duration = Duration::from_millis(100);

/// The state of the whole, asked for on both listeners.
#[derive(Clone)]
pub struct Health {
    readiness: Readiness,
    database_answers: DatabaseAnswers,
    last: Arc<Mutex<Option<(Instant, DatabaseAnswer)>>>,
}

/// How the daemon is, part by part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HealthReport {
    pub status: HealthStatus,
    pub database: bool,
    /// For people, where not all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    Ok,
    /// Rooms play on in memory; what must be stored is refused until the database is back.
    Degraded,
    Starting,
    Stopping,
}

impl Health {
    pub fn new(readiness: Readiness, database_answers: DatabaseAnswers) -> Health {
        Health {
            readiness,
            database_answers,
            last: Arc::default(),
        }
    }

    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Asks the database, unless it has answered just before.
    pub async fn report(&self) -> HealthReport {
        let database = self.ask_database().await;
        let (status, reason) = match (self.readiness.phase(), database) {
            (Phase::Starting, _) => (HealthStatus::Starting, Some("the hub is starting")),
            (Phase::Stopping, _) => (HealthStatus::Stopping, Some("the hub is stopping")),
            (Phase::Ready, Ok(())) => (HealthStatus::Ok, None),
            (Phase::Ready, Err(reason)) => (HealthStatus::Degraded, Some(reason)),
        };
        HealthReport {
            status,
            database: database.is_ok(),
            reason,
        }
    }

    async fn ask_database(&self) -> DatabaseAnswer {
        // Those who ask meanwhile wait for the same answer.
        let mut last = self.last.lock().await;
        if let Some((asked, answers)) = *last
            && asked.elapsed() < ANSWER_FRESH_FOR
        {
            return answers;
        }
        // In a task of its own: a query that is dropped half-way costs the pool a connection.
        let asking = tokio::spawn((self.database_answers)());
        let answers = match timeout(ANSWER_WITHIN, asking).await {
            Ok(Ok(answers)) => answers,
            Ok(Err(_)) | Err(_) => Err(DATABASE_SILENT),
        };
        *last = Some((Instant::now(), answers));
        answers
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health")
            .field("readiness", &self.readiness)
            .finish_non_exhaustive()
    }
}

/// `/livez`: the process answers. It says no more, so that a lost database restarts nothing.
pub async fn livez() -> Response {
    Json(serde_json::json!({"status": "ok"})).into_response()
}

/// `/readyz`: whether to send players here. A hub without its database still keeps those it has.
pub async fn readyz(State(health): State<Health>) -> Response {
    let report = health.report().await;
    let status = match report.status {
        HealthStatus::Ok | HealthStatus::Degraded => StatusCode::OK,
        HealthStatus::Starting | HealthStatus::Stopping => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(report)).into_response()
}

/// `/api/health`: whether all is well.
pub(super) async fn health(State(health): State<Health>) -> Response {
    let report = health.report().await;
    let status = match report.status {
        HealthStatus::Ok => StatusCode::OK,
        HealthStatus::Degraded | HealthStatus::Starting | HealthStatus::Stopping => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    (status, Json(report)).into_response()
}
