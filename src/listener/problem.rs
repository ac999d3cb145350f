//! Refusals over HTTP: `application/problem+json` (RFC 9457).

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::wire::{Refusal, whole_seconds};

/// A refusal in an answer. The outermost layer writes its body, when it knows the request's id.
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: Cow<'static, str>,
    retry_after: Option<Duration>,
    /// Further headers that the status requires: names in lower case, and values.
    headers: &'static [(&'static str, &'static str)],
}

/// The headers that a 426 requires (RFC 9110, 7.8 and 15.5.22), and the answer to a wrong version of the
/// protocol (RFC 6455, 4.4).
const UPGRADE_REQUIRED: &[(&str, &str)] = &[
    ("upgrade", "websocket"),
    ("connection", "Upgrade"),
    ("sec-websocket-version", "13"),
];

/// The members of the body.
#[derive(Debug, Serialize)]
struct ProblemBody<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    code: &'static str,
    detail: &'a str,
    request_id: &'a str,
    /// In whole seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
}

impl Problem {
    fn new(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Problem {
        Problem {
            status,
            code,
            detail: detail.into(),
            retry_after: None,
            headers: &[],
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub fn not_found() -> Problem {
        let detail = "there is nothing at this path";
        Problem::new(StatusCode::NOT_FOUND, "NOT_FOUND", detail)
    }

    pub fn method_not_allowed() -> Problem {
        let detail = "this path does not take this method; the Allow header lists those it takes";
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", detail)
    }

    /// Creates the refusal of a request that names a foreign host.
    pub fn misdirected(host: &str) -> Problem {
        let detail = format!(
            "a request to the loopback interface must name localhost, an address, or the host of one of \
             server.allowed_origins as its host, not {host:?}"
        );
        Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "MISDIRECTED_REQUEST",
            detail,
        )
    }

    /// Creates the refusal of a method that the router admits on a GET route, which is HEAD.
    pub fn only_get() -> Problem {
        Problem {
            headers: &[("allow", "GET")],
            ..Problem::method_not_allowed()
        }
    }

    /// Creates the refusal of a path that takes only the WebSocket handshake.
    pub fn upgrade_required(detail: &'static str) -> Problem {
        Problem {
            headers: UPGRADE_REQUIRED,
            ..Problem::new(StatusCode::UPGRADE_REQUIRED, "BAD_REQUEST", detail)
        }
    }

    /// Creates the refusal of bytes that the HTTP library cannot parse.
    pub fn unreadable() -> Problem {
        let detail = "the hub cannot parse this request";
        Problem::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", detail)
    }

    pub(super) fn head_too_large(bytes_max: usize, headers_max: usize) -> Problem {
        let detail = format!(
            "the head of a request has at most {bytes_max} bytes in at most {headers_max} headers, cookies included"
        );
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        Problem::new(status, "BAD_REQUEST", detail)
    }

    pub fn body_too_large(bytes_max: usize) -> Problem {
        let detail = format!("a body has at most {bytes_max} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "BAD_REQUEST", detail)
    }

    pub fn body_too_slow(within: Duration) -> Problem {
        let detail = format!("the body must arrive within {} seconds", within.as_secs());
        Problem::new(StatusCode::REQUEST_TIMEOUT, "BAD_REQUEST", detail)
    }

    /// Creates the error for a failure of the hub, not of the request.
    pub fn internal() -> Problem {
        let detail = "the hub failed at this request; its log names the request id";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", detail)
    }

    /// Returns the body.
    pub(super) fn text(&self, request_id: &str) -> Vec<u8> {
        let body = ProblemBody {
            // There is no page for each problem; `code` tells them apart.
            kind: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Unknown"),
            status: self.status.as_u16(),
            code: self.code,
            detail: &self.detail,
            request_id,
            retry_after: self.retry_after.map(whole_seconds),
        };
        serde_json::to_vec(&body).expect("texts and numbers can always be written")
    }

    /// Turns the answer that carries this problem into its final form.
    pub fn write(self, mut headers: HeaderMap, request_id: &str) -> Response {
        let text = self.text(request_id);
        // The length of another body, as with a HEAD request.
        headers.remove(CONTENT_LENGTH);
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(wait) = self.retry_after {
            headers.insert(RETRY_AFTER, whole_seconds(wait).into());
        }
        for (name, value) in self.headers {
            let value = HeaderValue::from_static(value);
            headers.insert(HeaderName::from_static(name), value);
        }
        // The rest of the body is not read.
        if matches!(
            self.status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::PAYLOAD_TOO_LARGE
        ) {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = self.status;
        *response.headers_mut() = headers;
        response
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        let status = StatusCode::from_u16(refusal.reason.status())
            .expect("each reason has a status that exists");
        Problem {
            status,
            code: refusal.reason.name(),
            detail: refusal.detail,
            retry_after: refusal.retry_after,
            headers: &[],
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Reason;

    #[tokio::test]
    async fn a_problem_says_what_when_and_which_request() {
        let mut refusal = Refusal::new(Reason::Unavailable, "later");
        refusal.retry_after = Some(Duration::from_millis(1_200));
        let response = Problem::from(refusal).write(HeaderMap::new(), "r-1");

        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        assert_eq!(response.headers()[RETRY_AFTER], "2");
        let body = axum::body::to_bytes(response.into_body(), 1024).await;
        assert_eq!(
            body.unwrap(),
            r#"{"type":"about:blank","title":"Service Unavailable","status":503,"code":"UNAVAILABLE","detail":"later","request_id":"r-1","retry_after":2}"#
        );
    }

    #[test]
    fn whoever_is_unknown_is_told_how_to_say_who_it_is() {
        let refusal = Refusal::new(Reason::TokenInvalid, "no");
        let response = Problem::from(refusal).write(HeaderMap::new(), "r-1");
        assert_eq!(response.headers()[WWW_AUTHENTICATE], "Bearer");
        assert!(!response.headers().contains_key(RETRY_AFTER));
    }
}
