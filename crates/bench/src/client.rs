//! A client of a benchmark: a socket, and the commands before the messages begin.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use http::header::RETRY_AFTER;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::frame::{Ask, pong, replies};
use holdfast_wire::Encoding;

/// Small, because the generator holds as many sockets as the hub.
const READ_BYTES: usize = 2048;

/// Limit on a dial or a reply: twice the timeout of the SDKs.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) type Socket = WebSocketStream<TcpStream>;

/// The reason why a client failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("the connection failed: {0}")]
    Line(#[from] io::Error),
    #[error("the socket failed: {0}")]
    Socket(Box<Error>),
    /// The upgrade was refused.
    #[error("the hub answered {status}")]
    Status {
        status: u16,
        retry_after: Option<Duration>,
    },
    #[error("the hub refused `{method}`: {code} {message}")]
    Refused {
        method: &'static str,
        code: u64,
        message: String,
    },
    #[error("the hub closed the socket with {code}: {reason}")]
    Closed { code: u16, reason: String },
    #[error("the hub did not answer within {ANSWER_TIMEOUT:?}")]
    Silent,
    #[error("the hub's answer cannot be read: {0}")]
    Unreadable(String),
}

impl From<Error> for ClientError {
    fn from(error: Error) -> ClientError {
        if let Error::Io(error) = error {
            return ClientError::Line(error);
        }
        let Error::Http(response) = error else {
            return ClientError::Socket(Box::new(error));
        };
        let retry_after = response.headers().get(RETRY_AFTER);
        let seconds = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
        ClientError::Status {
            status: response.status().as_u16(),
            retry_after: seconds.map(Duration::from_secs),
        }
    }
}

/// A client that sends one command at a time.
#[derive(Debug)]
pub(super) struct Client {
    socket: Socket,
    encoding: Encoding,
    last_id: u32,
}

impl Client {
    /// Opens a socket.
    pub(super) async fn dial(
        address: SocketAddr,
        encoding: Encoding,
    ) -> Result<Client, ClientError> {
        let dialled = timeout(ANSWER_TIMEOUT, async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let config = WebSocketConfig::default().read_buffer_size(READ_BYTES);
            let query = match encoding {
                Encoding::Json => "",
                Encoding::Protobuf => "?format=protobuf",
            };
            let url = format!("ws://{address}/connection/websocket{query}");
            let (socket, _) = client_async_with_config(url, stream, Some(config)).await?;
            Ok(Client {
                socket,
                encoding,
                last_id: 0,
            })
        });
        dialled.await.unwrap_or(Err(ClientError::Silent))
    }

    /// Connects, as a new guest if there is no token. Returns the `data` of the reply.
    pub(super) async fn connect(&mut self, token: Option<&str>) -> Result<Value, ClientError> {
        self.ask(&Ask::Connect { token }).await
    }

    pub(super) async fn subscribe(&mut self, channel: &str) -> Result<(), ClientError> {
        self.ask(&Ask::Subscribe { channel }).await?;
        Ok(())
    }

    /// Calls a method of the hub. Returns the `data` of the reply.
    pub(super) async fn rpc(
        &mut self,
        method: &'static str,
        data: Value,
    ) -> Result<Value, ClientError> {
        self.ask(&Ask::Rpc { method, data }).await
    }

    /// Returns the socket, and the next id for a command on it.
    pub(super) fn into_socket(self) -> (Socket, u32) {
        (self.socket, self.last_id + 1)
    }

    /// Answers pings until the connection ends.
    pub(super) async fn sit(mut self) {
        while let Some(Ok(frame)) = self.socket.next().await {
            let ping = pong(self.encoding);
            if frame == ping && self.socket.send(ping).await.is_err() {
                return;
            }
        }
    }

    async fn ask(&mut self, ask: &Ask<'_>) -> Result<Value, ClientError> {
        self.last_id += 1;
        let command = ask.command(self.encoding, self.last_id);
        self.socket.send(command).await?;
        let reply = timeout(ANSWER_TIMEOUT, self.reply(ask.name()));
        reply.await.unwrap_or(Err(ClientError::Silent))
    }

    /// Waits for the reply to the last command, and skips any publications before it.
    async fn reply(&mut self, method: &'static str) -> Result<Value, ClientError> {
        loop {
            let frame = match self.socket.next().await {
                Some(Ok(Message::Close(close))) => return Err(closed(close)),
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Err(error.into()),
                None => return Err(closed(None)),
            };
            let ping = pong(self.encoding);
            if frame == ping {
                self.socket.send(ping).await?;
                continue;
            }
            let mut replies = replies(&frame).into_iter();
            if let Some(reply) = replies.find(|reply| reply.id == self.last_id) {
                return reply
                    .outcome
                    .map_err(|(code, message)| ClientError::Refused {
                        method,
                        code,
                        message,
                    });
            }
        }
    }
}

fn closed(frame: Option<tokio_tungstenite::tungstenite::protocol::CloseFrame>) -> ClientError {
    match frame {
        Some(frame) => ClientError::Closed {
            code: frame.code.into(),
            reason: frame.reason.as_str().to_owned(),
        },
        None => ClientError::Closed {
            code: 1006,
            reason: String::new(),
        },
    }
}
