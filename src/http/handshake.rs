//! The WebSocket handshake (RFC 6455, 4.2): the requirements on a request, and the answer to it.

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::header_list::has;
use crate::listener::Problem;
use crate::wire::Refusal;

const WEBSOCKET: &str = "websocket";
const VERSION: &str = "13";

/// Bytes of a client's key, before base64.
const KEY_BYTES: usize = 16;

/// Returns the 101, or the problem with the first missing requirement.
pub(super) fn accept(request: &Request) -> Result<Response, Problem> {
    let headers = request.headers();
    if request.method() != Method::GET {
        return Err(Problem::only_get());
    }
    if request.version() < Version::HTTP_11
        || !has(headers, &UPGRADE, WEBSOCKET)
        || !has(headers, &CONNECTION, "upgrade")
    {
        let detail = "this path takes WebSockets only: HTTP/1.1 with Connection: Upgrade and Upgrade: websocket; \
                      a proxy in between must forward both";
        return Err(Problem::upgrade_required(detail));
    }
    if !has(headers, &SEC_WEBSOCKET_VERSION, VERSION) {
        let detail = "Sec-WebSocket-Version must be 13";
        return Err(Problem::upgrade_required(detail));
    }
    let accepted = derive_accept_key(key(headers)?.as_bytes());
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(WEBSOCKET));
    let accepted = HeaderValue::try_from(accepted).expect("base64 is a header's text");
    headers.insert(SEC_WEBSOCKET_ACCEPT, accepted);
    Ok(response)
}

/// Returns the client's key, which must be present exactly once.
fn key(headers: &HeaderMap) -> Result<&HeaderValue, Refusal> {
    let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
    let is_key = |key: &&HeaderValue| {
        STANDARD
            .decode(key)
            .is_ok_and(|bytes| bytes.len() == KEY_BYTES)
    };
    let key = keys.next().filter(is_key).filter(|_| keys.next().is_none());
    key.ok_or_else(|| {
        Refusal::bad_request("Sec-WebSocket-Key must be present once: 16 bytes in base64")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(lines: &[(&str, &str)]) -> Request {
        let mut request = Request::get("/connection/websocket");
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).unwrap()
    }

    const WHOLE: [(&str, &str); 4] = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    #[test]
    fn lists_over_several_lines_and_in_any_case_are_read() {
        for lines in [
            &[("connection", "keep-alive"), ("connection", "Upgrade")][..],
            &[("connection", "Upgrade"), ("connection", "keep-alive")],
            &[("connection", "keep-alive,upgrade, , te")],
            &[("connection", "upgrade"), ("upgrade", "h2c")],
        ] {
            let mut all = WHOLE[1..].to_vec();
            all.splice(0..0, lines.iter().copied());
            let response = accept(&request(&all)).unwrap();
            assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
            // RFC 6455, 1.3.
            let accepted = &response.headers()[SEC_WEBSOCKET_ACCEPT];
            assert_eq!(accepted, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        }
    }

    #[test]
    fn what_is_missing_is_refused_with_the_headers_that_its_status_requires() {
        let check = |lines: &[(&str, &str)], status: u16| {
            let problem = accept(&request(lines)).unwrap_err();
            let headers = problem.write(HeaderMap::new(), "r-1");
            assert_eq!(headers.status().as_u16(), status, "{lines:?}");
            if status == 426 {
                assert_eq!(headers.headers()["upgrade"], "websocket");
                assert_eq!(headers.headers()["connection"], "Upgrade");
                assert_eq!(headers.headers()["sec-websocket-version"], "13");
            }
        };
        for missing in 0..WHOLE.len() {
            let mut lines = WHOLE.to_vec();
            lines.remove(missing);
            check(&lines, if missing == 3 { 400 } else { 426 });
        }
        let with = |at: usize, value: &'static str| {
            let mut lines = WHOLE.to_vec();
            lines[at].1 = value;
            lines
        };
        check(&with(0, "close"), 426);
        check(&with(1, "h2c"), 426);
        check(&with(2, "8"), 426);
        check(&with(3, "x"), 400);
        check(&with(3, "dGhlIHNhbXBsZSBub25jZQ"), 400);
        check(&[&WHOLE[..], &WHOLE[3..]].concat(), 400);
        let head = Request::head("/").body(Body::empty()).unwrap();
        let refused = accept(&head).unwrap_err().write(HeaderMap::new(), "r-1");
        assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(refused.headers()["allow"], "GET");
    }
}
