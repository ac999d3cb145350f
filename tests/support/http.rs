//! Plain HTTP, one request to a connection, as far as the tests need it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::PATIENCE;

/// A request that is being put together.
#[derive(Debug)]
pub(crate) struct Request {
    address: SocketAddr,
    line: String,
    headers: String,
    body: Vec<u8>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) text: String,
    /// Null if the body is no JSON.
    pub(crate) body: Value,
}

impl Request {
    pub(crate) fn new(address: SocketAddr, method: &str, path: &str) -> Request {
        Request {
            address,
            line: format!("{method} {path} HTTP/1.1"),
            headers: format!("host: {address}\r\nconnection: close\r\n"),
            body: Vec::new(),
        }
    }

    /// Names another host than the address that it goes to.
    pub(crate) fn for_host(mut self, host: &str) -> Request {
        let own = format!("host: {}\r\n", self.address);
        self.headers = self.headers.replace(&own, &format!("host: {host}\r\n"));
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Request {
        self.headers.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    /// Says who asks, by a session token.
    pub(crate) fn by(self, token: &str) -> Request {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn json(self, body: &Value) -> Request {
        self.bytes(body.to_string().as_bytes())
    }

    /// JSON that does not say so.
    pub(crate) fn text(mut self, body: &Value) -> Request {
        self.body = body.to_string().into_bytes();
        self
    }

    /// A body that says it is JSON, whatever it is.
    pub(crate) fn bytes(mut self, body: &[u8]) -> Request {
        self = self.header("content-type", "application/json");
        self.body = body.to_vec();
        self
    }

    /// Sends it and waits for the whole answer.
    ///
    /// # Panics
    /// If none comes: a daemon that hangs up without an answer has failed.
    pub(crate) async fn send(self) -> Answer {
        let line = self.line.clone();
        self.try_send()
            .await
            .unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// Sends it to a daemon that may be going down.
    pub(crate) async fn try_send(self) -> Result<Answer, String> {
        let exchange = async {
            let mut stream = self.write().await?;
            let mut answer = Vec::new();
            // A refused body may be answered before all of it was read; what is left of the
            // connection after the answer does not matter.
            match stream.read_to_end(&mut answer).await {
                Ok(_) => {}
                Err(_) if !answer.is_empty() => {}
                Err(error) => return Err(error),
            }
            Ok(answer)
        };
        let bytes = timeout(PATIENCE, exchange)
            .await
            .map_err(|_| format!("no answer within {PATIENCE:?}"))?
            .map_err(|error| error.to_string())?;
        Answer::parse(&bytes)
    }

    /// Sends it and hangs up without waiting for the answer.
    pub(crate) async fn send_and_hang_up(self) {
        self.write().await.unwrap();
    }

    async fn write(&self) -> std::io::Result<TcpStream> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let head = format!(
            "{}\r\n{}content-length: {}\r\n\r\n",
            self.line,
            self.headers,
            self.body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        // The daemon may refuse a large body before it has arrived: its answer is what counts.
        let _ = stream.write_all(&self.body).await;
        Ok(stream)
    }
}

impl Answer {
    fn parse(bytes: &[u8]) -> Result<Answer, String> {
        let end = bytes
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .ok_or_else(|| format!("no answer, only {} bytes", bytes.len()))?;
        let head = String::from_utf8_lossy(&bytes[..end]);
        let mut lines = head.split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1))
            .and_then(|status| status.parse().ok())
            .ok_or("no status line")?;
        let headers: BTreeMap<String, String> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let body = match headers.get("transfer-encoding") {
            Some(_) => unchunk(&bytes[end + 4..]),
            None => bytes[end + 4..].to_vec(),
        };
        let text = String::from_utf8_lossy(&body).into_owned();
        Ok(Answer {
            status,
            headers,
            body: serde_json::from_str(&text).unwrap_or(Value::Null),
            text,
        })
    }

    /// The body of an answer that says yes.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "the answer was {self:?}");
        self.body
    }

    /// The status and the code of a refusal, which must be in the form that all refusals have.
    #[track_caller]
    pub(crate) fn refusal(&self) -> (u16, &str) {
        assert_eq!(
            self.headers.get("content-type").map(String::as_str),
            Some("application/problem+json"),
            "the answer was {self:?}"
        );
        assert_eq!(self.body["status"], self.status, "the answer was {self:?}");
        for field in ["detail", "request_id"] {
            assert!(
                self.body[field]
                    .as_str()
                    .is_some_and(|text| !text.is_empty()),
                "no {field} in {self:?}"
            );
        }
        (self.status, self.body["code"].as_str().unwrap_or_default())
    }
}

fn unchunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = bytes.windows(2).position(|window| window == b"\r\n") {
        let size = String::from_utf8_lossy(&bytes[..end]);
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        let chunk = bytes.get(end + 2..end + 2 + size).unwrap_or_default();
        if chunk.is_empty() {
            break;
        }
        body.extend_from_slice(chunk);
        bytes = bytes.get(end + 4 + size..).unwrap_or_default();
    }
    body
}

/// Asks as a client does: a hub whose disk stalls for longer than it lets anybody wait, or whose room has just failed,
/// says when to ask again.
pub(super) async fn asked_again(request: impl AsyncFn() -> Answer) -> Answer {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = request().await;
        if answer.status != 503 || answer.body["code"] != "UNAVAILABLE" || Instant::now() > deadline
        {
            return answer;
        }
        eprintln!("asked again after {answer:?}");
        let seconds = answer.body["retry_after"].as_u64();
        sleep(Duration::from_secs(seconds.unwrap_or(1))).await;
    }
}
