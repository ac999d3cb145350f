//! Errors in replies: the protocol's own and the hub's refusals, in one form.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::api::refusal::{Reason, Refusal};

/// The protocol's own errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    Internal,
    UnknownChannel,
    PermissionDenied,
    MethodNotFound,
    AlreadySubscribed,
    LimitExceeded,
    BadRequest,
    NotAvailable,
    TooManyRequests,
    UnrecoverablePosition,
}

impl ErrorCode {
    fn number(self) -> u32 {
        match self {
            ErrorCode::Internal => 100,
            ErrorCode::UnknownChannel => 102,
            ErrorCode::PermissionDenied => 103,
            ErrorCode::MethodNotFound => 104,
            ErrorCode::AlreadySubscribed => 105,
            ErrorCode::LimitExceeded => 106,
            ErrorCode::BadRequest => 107,
            ErrorCode::NotAvailable => 108,
            ErrorCode::TooManyRequests => 111,
            ErrorCode::UnrecoverablePosition => 112,
        }
    }

    fn message(self) -> &'static str {
        match self {
            ErrorCode::Internal => "internal server error",
            ErrorCode::UnknownChannel => "unknown channel",
            ErrorCode::PermissionDenied => "permission denied",
            ErrorCode::MethodNotFound => "method not found",
            ErrorCode::AlreadySubscribed => "already subscribed",
            ErrorCode::LimitExceeded => "limit exceeded",
            ErrorCode::BadRequest => "bad request",
            ErrorCode::NotAvailable => "not available",
            ErrorCode::TooManyRequests => "too many requests",
            ErrorCode::UnrecoverablePosition => "unrecoverable position",
        }
    }
}

/// The `error` of a reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    pub code: u32,
    pub message: Cow<'static, str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub temporary: bool,
    /// In seconds. The protocol has no such field, but JSON allows it: clients that know it need not guess.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "seconds")]
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// Returns a bad request that describes the mistake.
    pub fn bad_request(detail: impl std::fmt::Display) -> Failure {
        Failure {
            code: ErrorCode::BadRequest.number(),
            message: format!("bad request: {detail}").into(),
            temporary: false,
            retry_after: None,
        }
    }
}

impl From<ErrorCode> for Failure {
    fn from(code: ErrorCode) -> Failure {
        Failure {
            code: code.number(),
            message: code.message().into(),
            temporary: matches!(code, ErrorCode::Internal | ErrorCode::TooManyRequests),
            retry_after: None,
        }
    }
}

impl From<Refusal> for Failure {
    /// Uses the name as the message. If only the detail shows the mistake, it follows the name.
    fn from(refusal: Refusal) -> Failure {
        let name = refusal.reason.name();
        let message = match refusal.reason == Reason::BadRequest {
            true => format!("{name}: {}", refusal.detail).into(),
            false => name.into(),
        };
        Failure {
            code: refusal.reason.code(),
            message,
            temporary: refusal.reason.is_temporary(),
            retry_after: refusal.retry_after,
        }
    }
}

/// Writes seconds with milliseconds: whole seconds would bring clients back together that should come one by one.
fn seconds<S: Serializer>(after: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    let milliseconds = after.unwrap_or_default().as_millis();
    to.serialize_f64(milliseconds as f64 / 1_000.0)
}
