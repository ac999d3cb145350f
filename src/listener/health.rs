//! Health of the daemon: liveness, readiness, and the state of the database and of each component.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;
use serde::{Serialize, Serializer};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::supervisor::{Phase, Readiness};

/// The route that answers as long as the process can.
pub const LIVEZ: &str = "/livez";

/// The route that answers 200 once players are served, and 503 while the hub starts or stops.
pub const READYZ: &str = "/readyz";

/// Asks the database whether it is there. The question must end by itself within seconds: it is left
/// to run on when its answer is late.
pub type DatabaseAnswers = Arc<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>;

/// A function that returns the health of the other components, without waiting for any.
pub type PartsAnswer = Arc<dyn Fn() -> Vec<PartHealth> + Send + Sync>;

/// The time limit for the database's answer: under the 1 s after which orchestrators' probes give up, because a hub
/// without its database must still be found ready.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(800);

/// The time for which an answer is reused: health needs no login, and must not let anybody keep the database busy.
const ANSWER_FRESH_FOR: Duration = Duration::from_millis(100);

/// The health of the daemon, served on both listeners.
#[derive(Clone)]
pub struct Health {
    readiness: Readiness,
    database_answers: DatabaseAnswers,
    parts_answer: PartsAnswer,
    last: Arc<Mutex<Option<(Instant, bool)>>>,
}

/// A report of the daemon's health, component by component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HealthReport {
    pub status: HealthStatus,
    pub database: bool,
    /// `ok` or the problem, for the database and each other component.
    #[serde(serialize_with = "as_map")]
    pub parts: Vec<PartHealth>,
    /// A text for people, unless all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
}

/// The health of one component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartHealth {
    pub part: &'static str,
    /// The problem; None if it is well.
    pub trouble: Option<&'static str>,
}

impl PartHealth {
    pub fn new(part: &'static str, is_well: bool, trouble: &'static str) -> PartHealth {
        PartHealth {
            part,
            trouble: (!is_well).then_some(trouble),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    Ok,
    /// Rooms continue in memory; changes that must be stored are refused until the database is back.
    Degraded,
    Starting,
    Stopping,
}

impl Health {
    pub fn new(
        readiness: Readiness,
        database_answers: DatabaseAnswers,
        parts_answer: PartsAnswer,
    ) -> Health {
        Health {
            readiness,
            database_answers,
            parts_answer,
            last: Arc::default(),
        }
    }

    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Returns a report, with a fresh answer of the database unless there is a recent one.
    pub async fn report(&self) -> HealthReport {
        let database = self.ask_database().await;
        let mut parts = vec![PartHealth::new("database", database, "away")];
        parts.extend((self.parts_answer)());
        let ill = parts.iter().find(|part| part.trouble.is_some());
        let (status, reason) = match (self.readiness.phase(), ill) {
            (Phase::Starting, _) => (HealthStatus::Starting, Some("the hub is starting")),
            (Phase::Stopping, _) => (HealthStatus::Stopping, Some("the hub is stopping")),
            (Phase::Ready, None) => (HealthStatus::Ok, None),
            (Phase::Ready, Some(ill)) => (HealthStatus::Degraded, Some(reason(ill.part))),
        };
        HealthReport {
            status,
            database,
            parts,
            reason,
        }
    }

    async fn ask_database(&self) -> bool {
        // Concurrent requests wait for the same answer.
        let mut last = self.last.lock().await;
        if let Some((asked, answers)) = *last
            && asked.elapsed() < ANSWER_FRESH_FOR
        {
            return answers;
        }
        // In a task of its own: a query that is dropped half-way costs the pool a connection.
        let asking = tokio::spawn((self.database_answers)());
        let answers = matches!(timeout(ANSWER_TIMEOUT, asking).await, Ok(Ok(true)));
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

/// Explains an unhealthy component to people.
fn reason(part: &str) -> &'static str {
    match part {
        "database" => "the database does not answer; rooms play on, nothing new is stored",
        "writes" => {
            "the database answers but takes no writes; rooms play on, nothing new is stored"
        }
        "write_queue" => "writes arrive faster than the database takes them; some are refused",
        _ => "a component of the hub has failed and is being restarted",
    }
}

fn as_map<S: Serializer>(parts: &[PartHealth], serializer: S) -> Result<S::Ok, S::Error> {
    let entries = parts.iter();
    serializer.collect_map(entries.map(|part| (part.part, part.trouble.unwrap_or("ok"))))
}

/// `/livez`: answers if the process runs. It checks nothing else, so that a lost database causes no restart.
pub async fn livez() -> Response {
    Json(serde_json::json!({"status": "ok"})).into_response()
}

/// `/readyz`: 200 if players may be sent here. A hub without its database keeps the players that it has.
pub async fn readyz(State(health): State<Health>) -> Response {
    let report = health.report().await;
    let status = match report.status {
        HealthStatus::Ok | HealthStatus::Degraded => StatusCode::OK,
        HealthStatus::Starting | HealthStatus::Stopping => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(report)).into_response()
}

/// `/api/health`: 200 if all is well.
pub async fn health(State(health): State<Health>) -> Response {
    let report = health.report().await;
    let status = match report.status {
        HealthStatus::Ok => StatusCode::OK,
        HealthStatus::Degraded | HealthStatus::Starting | HealthStatus::Stopping => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    (status, Json(report)).into_response()
}
