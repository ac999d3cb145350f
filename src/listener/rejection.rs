//! Refusal of connections for which there is no capacity. Probes among them are still answered, so that a flood does
//! not make an orchestrator restart the hub.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use axum::http::header::HOST;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};
use tower::ServiceExt as _;

use super::connection_limits::{Rejected, Slot};
use super::health::{LIVEZ, READYZ};
use super::socket::Socket;
use super::unused_sockets::Sort;

/// The time limits for the first line of the request, and for the client to read the answer.
const LINE_TIMEOUT: Duration = Duration::from_secs(1);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// The wait before another look at an incomplete line.
const LINE_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The most bytes that are examined; a probe's first line is shorter.
const LINE_BYTES_MAX: usize = 512;

/// The largest answer to a probe. It names each component of the hub.
const PROBE_BYTES_MAX: usize = 16 * 1024;

const HUB_FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/problem+json\r\nretry-after: 5\r\nconnection: close\r\n\
    content-length: 157\r\n\r\n\
    {\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,\
    \"code\":\"UNAVAILABLE\",\"detail\":\"the hub holds as many connections as it may\",\"retry_after\":5}";

const TOO_MANY: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\n\
    content-type: application/problem+json\r\nretry-after: 5\r\nconnection: close\r\n\
    content-length: 156\r\n\r\n\
    {\"type\":\"about:blank\",\"title\":\"Too Many Requests\",\"status\":429,\
    \"code\":\"RATE_LIMITED\",\"detail\":\"too many connections come from this address\",\"retry_after\":5}";

/// Answers a connection that is refused. If there is capacity after all, returns the connection with its new slot. It
/// may be displaced at any time except while a probe is carried out.
pub(super) async fn turn_away(
    mut socket: Socket,
    slot: Arc<Slot>,
    turned: Rejected,
    router: Router,
    room: impl FnOnce() -> Option<Arc<Slot>>,
) -> io::Result<Option<(Socket, Arc<Slot>)>> {
    // A connection that sends nothing is answered as well.
    let line = timeout(LINE_TIMEOUT, first_line(&socket));
    let line = line.await.unwrap_or(Ok(Vec::new()))?;
    let answer = match probe(&line) {
        Some(path) => {
            slot.works();
            let answer = timeout(ANSWER_TIMEOUT, answer_probe(router, path)).await;
            // From here on it may be displaced, like all others here.
            slot.waits(Sort::Silent);
            answer.ok().flatten()
        }
        None => None,
    };
    if answer.is_none()
        && !line.is_empty()
        && turned == Rejected::Full
        && let Some(place) = room()
    {
        return Ok(Some((socket.moved_to(Arc::clone(&place)), place)));
    }
    let words = match turned {
        Rejected::Full => HUB_FULL,
        Rejected::AddressFull | Rejected::TooOften => TOO_MANY,
    };
    let saying = say(&mut socket, answer.as_deref().unwrap_or(words));
    match timeout(ANSWER_TIMEOUT, saying).await {
        Ok(said) => said.map(|()| None),
        Err(_) => Ok(None),
    }
}

/// Peeks at the first line, up to the limit of bytes.
async fn first_line(socket: &Socket) -> io::Result<Vec<u8>> {
    let mut buffer = [0; LINE_BYTES_MAX];
    loop {
        let length = socket.peek(&mut buffer).await?;
        let line = &buffer[..length];
        if length == 0 || length == LINE_BYTES_MAX || line.contains(&b'\n') {
            return Ok(line.to_vec());
        }
        // Waits for the rest of an incomplete line, because a peek returns at once.
        sleep(LINE_POLL_INTERVAL).await;
    }
}

/// Returns the requested path if it is a probe.
fn probe(line: &[u8]) -> Option<&'static str> {
    let target = line.strip_prefix(b"GET ")?;
    let end = target.iter().position(|byte| b" ?\r\n".contains(byte))?;
    let is_asked_for = |path: &&str| path.as_bytes() == &target[..end];
    [LIVEZ, READYZ].into_iter().find(is_asked_for)
}

/// Runs a probe through the router, and returns its answer as bytes.
async fn answer_probe(router: Router, path: &str) -> Option<Vec<u8>> {
    let request = Request::get(path).header(HOST, "localhost");
    let request = request.body(Body::empty()).ok()?;
    let Ok(response) = router.oneshot(request).await;
    let status = response.status();
    let body = to_bytes(response.into_body(), PROBE_BYTES_MAX).await.ok()?;
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    Some([head.as_bytes(), &body].concat())
}

/// Writes an answer and waits until the client has read it: closing with an unread request
/// would reset the connection.
async fn say(socket: &mut Socket, answer: &[u8]) -> io::Result<()> {
    socket.write_all(answer).await?;
    socket.shutdown().await?;
    let mut unread = [0; 1024];
    while socket.read(&mut unread).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_its_own_length() {
        for words in [HUB_FULL, TOO_MANY] {
            let text = std::str::from_utf8(words).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(
                head.contains(&format!("content-length: {}", body.len())),
                "{text}"
            );
            serde_json::from_str::<serde_json::Value>(body).unwrap();
        }
    }

    #[test]
    fn only_questions_whether_the_process_is_well_are_probes() {
        for (line, path) in [
            ("GET /livez HTTP/1.1\r\nhost: x\r\n", Some(LIVEZ)),
            ("GET /readyz?verbose HTTP/1.0\r\n", Some(READYZ)),
            ("GET /livez", None),
            ("GET /livezz HTTP/1.1\r\n", None),
            ("POST /livez HTTP/1.1\r\n", None),
            ("GET / HTTP/1.1\r\n", None),
            ("", None),
        ] {
            assert_eq!(probe(line.as_bytes()), path, "{line}");
        }
    }
}
