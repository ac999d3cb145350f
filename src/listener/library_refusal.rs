//! The refusals that the HTTP library writes by itself, before there is a request. They have no body, and get one here.
//!
//! They have no CORS headers: those depend on the origin of the page, and no header has been read.

use bytes::Bytes;
use uuid::Uuid;

use super::problem::Problem;

/// The largest head of a request: cookies of the game's site come along with each, and browsers keep up to 4 KiB in
/// each cookie. Twice what Node.js takes, and as much as nginx does.
pub(super) const HEADER_BYTES_MAX: usize = 32 * 1024;

/// Headers in a head, which is the HTTP library's own limit: the largest that needs no allocation.
pub(super) const HEADERS_MAX: usize = 100;

/// The longest that such a refusal is: a status line and three headers.
const BARE_BYTES_MAX: usize = 256;

/// Returns the same refusal with a body that states the reason and the limit; None for anything else.
pub(super) fn explain(head: &[u8]) -> Option<Bytes> {
    // The answers of the hub's own routes have a body, so they never have this header.
    if !head.starts_with(b"HTTP/1.") || head.len() > BARE_BYTES_MAX {
        return None;
    }
    let text = std::str::from_utf8(head).ok()?;
    if !text.ends_with("\r\n\r\n") || !text.contains("\r\ncontent-length: 0\r\n") {
        return None;
    }
    let problem = match text.get(8..13)? {
        " 400 " => Problem::unreadable(),
        " 414 " | " 431 " => Problem::head_too_large(HEADER_BYTES_MAX, HEADERS_MAX),
        _ => return None,
    };
    let id = Uuid::new_v4().to_string();
    let body = problem.text(&id);
    let status = problem.status();
    let reason = status.canonical_reason().unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {} {reason}\r\ncontent-type: application/problem+json\r\nx-request-id: {id}\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n",
        status.as_u16(),
        body.len()
    );
    Some([head.into_bytes(), body].concat().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_refusal_gets_a_body_that_states_the_limit() {
        let bare = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\ndate: Mon, 30 Nov 2026 18:00:00 GMT\r\n\r\n";
        let whole = String::from_utf8(explain(bare).unwrap().to_vec()).unwrap();
        let (head, body) = whole.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"));
        assert!(head.contains(&format!("content-length: {}", body.len())));
        assert!(!head.contains("access-control"), "no origin was read");
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(problem["status"], 431);
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.contains("32768 bytes") && detail.contains("100"),
            "{detail}"
        );
    }

    #[test]
    fn nothing_else_is_touched() {
        for head in [
            "",
            "H",
            "HTTP/1.1 431",
            "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 9\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n",
        ] {
            assert_eq!(explain(head.as_bytes()), None, "{head}");
        }
        assert_eq!(explain(&[0x81, 0x02, b'{', b'}']), None);
    }
}
