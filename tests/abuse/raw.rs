//! A socket without a library in between: sends any bytes, and tells how it was closed.

use std::net::SocketAddr;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::PATIENCE;

pub(super) const TEXT: u8 = 0x1;
pub(super) const CLOSE: u8 = 0x8;
pub(super) const PING: u8 = 0x9;
pub(super) const PONG: u8 = 0xA;
/// The bit of a frame that ends its message.
pub(super) const LAST: u8 = 0x80;

/// A client's frame. Its mask is zero, so the payload stands in it as it is.
pub(super) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = head(first, payload.len() as u64);
    bytes.extend_from_slice(payload);
    bytes
}

/// The head of a frame that says to be this long.
pub(super) fn head(first: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..126), _) => bytes.push(0x80 | short),
        (_, Ok(middle)) => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&middle.to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
    }
    bytes.extend_from_slice(&[0; 4]);
    bytes
}

pub(super) fn upgrade_request(address: SocketAddr) -> String {
    format!(
        "GET /connection/websocket HTTP/1.1\r\nhost: {address}\r\nupgrade: websocket\r\n\
         connection: Upgrade\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         sec-websocket-version: 13\r\n"
    )
}

/// One end of a TCP connection to the daemon.
pub(super) struct Raw {
    pub(super) stream: TcpStream,
}

impl Raw {
    /// Connects and says nothing.
    pub(super) async fn open(address: SocketAddr) -> Raw {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Raw { stream }
    }

    /// Becomes a WebSocket.
    pub(super) async fn dial(address: SocketAddr) -> Raw {
        let (raw, answer) = Raw::dial_with(address, "").await;
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
        raw
    }

    /// The same with more headers, and the head of the answer.
    pub(super) async fn dial_with(address: SocketAddr, headers: &str) -> (Raw, String) {
        let mut raw = Raw::open(address).await;
        let request = format!("{}{headers}\r\n", upgrade_request(address));
        raw.says(request.as_bytes()).await;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            match timeout(PATIENCE, raw.stream.read_u8()).await {
                Ok(Ok(byte)) => answer.push(byte),
                Ok(Err(_)) => break,
                Err(_) => panic!("no answer to the upgrade"),
            }
        }
        (raw, String::from_utf8(answer).unwrap())
    }

    /// Becomes a WebSocket and connects to a session.
    pub(super) async fn connect(address: SocketAddr, token: &str) -> Raw {
        let mut raw = Raw::dial(address).await;
        raw.commands(&json!({ "id": 1, "connect": { "token": token } }).to_string())
            .await;
        let (_, reply) = raw.hears().await.expect("connected");
        assert!(reply.starts_with(b"{\"id\":1,\"connect\""), "{reply:?}");
        raw
    }

    /// Sends bytes; a daemon that has hung up has its reason in what it said before.
    pub(super) async fn says(&mut self, bytes: &[u8]) {
        let _ = timeout(PATIENCE, self.stream.write_all(bytes)).await;
    }

    pub(super) async fn commands(&mut self, text: &str) {
        self.says(&frame(LAST | TEXT, text.as_bytes())).await;
    }

    /// The next frame of the daemon: its first byte and its payload. None if the line has ended.
    pub(super) async fn hears(&mut self) -> Option<(u8, Vec<u8>)> {
        let read = async {
            let first = self.stream.read_u8().await?;
            let length = match self.stream.read_u8().await? {
                126 => u64::from(self.stream.read_u16().await?),
                127 => self.stream.read_u64().await?,
                short => u64::from(short),
            };
            let mut payload = vec![0; usize::try_from(length).expect("a frame fits")];
            self.stream.read_exact(&mut payload).await?;
            Ok::<_, std::io::Error>((first, payload))
        };
        let read = timeout(PATIENCE, read).await;
        read.expect("the daemon says something, or hangs up").ok()
    }

    /// The code that the daemon closes with; None if it hangs up without a word.
    pub(super) async fn close_code(&mut self) -> Option<u16> {
        while let Some((first, payload)) = self.hears().await {
            if first & 0x0f == CLOSE {
                return Some(u16::from_be_bytes([*payload.first()?, *payload.get(1)?]));
            }
        }
        None
    }

    /// Waits until the daemon hangs up; what it says meanwhile.
    pub(super) async fn ends(&mut self) -> String {
        let mut said = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            match timeout(PATIENCE, self.stream.read(&mut buffer)).await {
                Ok(Ok(0) | Err(_)) => return String::from_utf8_lossy(&said).into_owned(),
                Ok(Ok(length)) => said.extend_from_slice(&buffer[..length]),
                Err(_) => panic!("the daemon does not hang up"),
            }
        }
    }

    /// Hangs up with a reset, as a process that dies does.
    #[expect(deprecated, reason = "a linger of zero does not block")]
    pub(super) fn resets(self) {
        self.stream
            .set_linger(Some(std::time::Duration::ZERO))
            .unwrap();
    }
}
