//! The answer to a call: `{"result":{...}}`, or `{"error":{"code","message"}}`.

use axum::Json;
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::wire::Failure;

/// Selects how errors are reported: `transport` for the status of the answer.
const ERROR_MODE: HeaderName = HeaderName::from_static("x-centrifugo-error-mode");

/// The result of a call, as JSON.
pub(super) type Answer = Result<Box<RawValue>, Failure>;

/// The answer to a call, alone or as one of several.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    Result(Box<RawValue>),
    Error(Failure),
}

impl From<Answer> for Outcome {
    fn from(answer: Answer) -> Outcome {
        match answer {
            Ok(result) => Outcome::Result(result),
            Err(failure) => Outcome::Error(failure),
        }
    }
}

/// The way in which errors are reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ErrorMode {
    /// In a body, with status 200: the call has arrived.
    Body,
    /// By the status.
    Transport,
}

impl ErrorMode {
    pub(super) fn of(headers: &HeaderMap) -> ErrorMode {
        let is_transport = headers
            .get(ERROR_MODE)
            .is_some_and(|mode| mode.as_bytes() == b"transport");
        match is_transport {
            true => ErrorMode::Transport,
            false => ErrorMode::Body,
        }
    }
}

/// Encodes a result as JSON.
pub(super) fn answer<T: Serialize>(result: &T) -> Answer {
    Ok(to_raw_value(result).expect("answers have text keys only"))
}

/// Returns the answer to a call without a result.
pub(super) fn done() -> Answer {
    #[derive(Serialize)]
    struct Done {}
    answer(&Done {})
}

pub(super) fn respond(outcome: Outcome, mode: ErrorMode) -> Response {
    match outcome {
        Outcome::Error(failure) if mode == ErrorMode::Transport => {
            written(status_of(&failure), &failure)
        }
        outcome @ (Outcome::Result(_) | Outcome::Error(_)) => written(StatusCode::OK, &outcome),
    }
}

/// Answers as JSON. Answers are soon out of date, so they must not be cached.
pub(super) fn written(status: StatusCode, body: &impl Serialize) -> Response {
    let no_store = [(CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    (status, no_store, Json(body)).into_response()
}

fn status_of(failure: &Failure) -> StatusCode {
    match failure.code {
        100 => StatusCode::INTERNAL_SERVER_ERROR,
        103 => StatusCode::FORBIDDEN,
        102 | 104 | 1001 | 1018 => StatusCode::NOT_FOUND,
        111 => StatusCode::TOO_MANY_REQUESTS,
        112 => StatusCode::RANGE_NOT_SATISFIABLE,
        113 => StatusCode::CONFLICT,
        1003 => StatusCode::GONE,
        _ => StatusCode::BAD_REQUEST,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{ErrorCode, Reason, Refusal};

    #[test]
    fn each_error_has_its_status() {
        for (code, status) in [
            (ErrorCode::Internal, 500),
            (ErrorCode::UnknownChannel, 404),
            (ErrorCode::PermissionDenied, 403),
            (ErrorCode::MethodNotFound, 404),
            (ErrorCode::LimitExceeded, 400),
            (ErrorCode::BadRequest, 400),
            (ErrorCode::NotAvailable, 400),
            (ErrorCode::TooManyRequests, 429),
            (ErrorCode::UnrecoverablePosition, 416),
        ] {
            assert_eq!(status_of(&code.into()).as_u16(), status, "{code:?}");
        }
        for (reason, status) in [
            (Reason::Unavailable, 500),
            (Reason::RoomNotFound, 404),
            (Reason::RoomClosed, 410),
            (Reason::UserNotFound, 404),
        ] {
            let failure = Refusal::new(reason, "").into();
            assert_eq!(status_of(&failure).as_u16(), status, "{reason:?}");
        }
    }
}
