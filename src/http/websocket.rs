//! `GET /connection/websocket`: from an HTTP request to a socket.
//!
//! All checks come before the 101, so that a refusal is an ordinary problem.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::SEC_WEBSOCKET_PROTOCOL;
use axum::response::Response;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::Api;
use super::handshake;
use super::header_list::members;
use crate::config::ClientConfig;
use crate::connection::{FrameLimiter, HasConnected};
use crate::limits::Asker;
use crate::listener::Peer;
use crate::listener::Problem;
use crate::listener::{Rejected, Slot};
use crate::listener::{asker, origin_of};
use crate::supervisor::Phase;
use crate::wire::{Encoding, Reason, Refusal};

/// A socket after its upgrade.
pub type UpgradedSocket = WebSocketStream<FrameLimiter<TokioIo<Upgraded>>>;

/// The handler of new sockets. Its arguments are the socket, its client's address, the address for rate limits, the
/// encoding, and a callback for when a session is connected. It must not block: it runs in the socket's own task,
/// which ends when it returns.
pub type Upgrades =
    Arc<dyn Fn(UpgradedSocket, SocketAddr, Asker, Encoding, HasConnected) + Send + Sync>;

/// The time limit for sending the 101.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes per read from a socket. Allocated and zeroed for each connection, so it is small; a frame of a game
/// mostly has less than 100 bytes.
const READ_BYTES: usize = 1024;

/// The library's write buffer for a client that does not read. Only pongs and the close, of at most 127
/// bytes, go through it; frames of the hub bypass it. It fits a close and the pongs to all 20 pings that
/// [`FrameLimiter`] lets through in its window. If a client goes on to ping without reading, only its newest ping is
/// answered, as the protocol allows.
const UNSENT_BYTES_MAX: usize = 4 * 1024;

const JSON: &str = "centrifuge-json";
const PROTOBUF: &str = "centrifuge-protobuf";

/// Returns the limits of each socket's frames and buffers.
pub(super) fn socket_config(client: &ClientConfig) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        // A pong is written at once, without waiting for more to write.
        .write_buffer_size(0)
        .max_write_buffer_size(UNSENT_BYTES_MAX)
        .max_message_size(Some(client.message_max))
        .max_frame_size(Some(client.message_max))
        .accept_unmasked_frames(false)
}

pub(super) async fn websocket(
    State(api): State<Api>,
    mut request: Request,
) -> Result<Response, Problem> {
    match api.health.readiness().phase() {
        Phase::Ready => {}
        Phase::Starting => return Err(Refusal::unavailable().into()),
        Phase::Stopping => return Err(Refusal::stopping().into()),
    }
    let (encoding, protocol) = encoding(&request);
    if !api.origins.admits(request.headers()) {
        let detail = "this origin may not connect; server.allowed_origins lists those that may";
        return Err(Refusal::new(Reason::PermissionDenied, detail).into());
    }
    let mut response = handshake::accept(&request)?;
    let upgrade = hyper::upgrade::on(&mut request);
    // The last check, because it counts the connection.
    let (address, slot) = admit(&request)?;
    let client = (address, asker(&request), slot);
    if let Some(protocol) = protocol {
        let protocol = HeaderValue::from_static(protocol);
        response
            .headers_mut()
            .insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    api.tracker.spawn(hand_over(
        upgrade,
        client,
        encoding,
        api.socket,
        Arc::clone(&api.upgrades),
    ));
    Ok(response)
}

async fn hand_over(
    upgrade: OnUpgrade,
    (client, asker, slot): (SocketAddr, Asker, Arc<Slot>),
    encoding: Encoding,
    config: WebSocketConfig,
    upgrades: Upgrades,
) {
    // A client that is gone, or too slow to upgrade, has cost nothing so far.
    let Ok(Ok(upgraded)) = timeout(UPGRADE_TIMEOUT, upgrade).await else {
        return;
    };
    let io = FrameLimiter::new(TokioIo::new(upgraded));
    let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
    let has_connected = Box::new(move || slot.is_shown());
    upgrades(socket, client, asker, encoding, has_connected);
}

/// Finds the client's address and counts the connection for it.
fn admit(request: &Request) -> Result<(SocketAddr, Arc<Slot>), Refusal> {
    // Only a router that is called without a listener has no peer.
    let peer = request
        .extensions()
        .get::<Peer>()
        .ok_or_else(|| Refusal::bad_request("this request did not come through a listener"))?;
    let client = origin_of(peer.address, request.headers(), peer.slot.proxies());
    match peer.slot.count_for(client.ip()) {
        Ok(()) => Ok((client, Arc::clone(&peer.slot))),
        Err(turned @ Rejected::Full) => Err(Refusal::new(Reason::Unavailable, turned.to_string())),
        Err(turned @ (Rejected::AddressFull | Rejected::TooOften)) => {
            Err(Refusal::new(Reason::RateLimited, turned.to_string()))
        }
    }
}

/// Returns the encoding that a client asks for, and the subprotocol to name in the answer: none if none was offered,
/// because a browser hangs up on one that it does not know.
fn encoding(request: &Request) -> (Encoding, Option<&'static str>) {
    let query = request.uri().query().unwrap_or_default();
    let by_query = query
        .split('&')
        .any(|pair| matches!(pair, "format=protobuf" | "cf_protocol=protobuf"));
    let offered = || members(request.headers(), &SEC_WEBSOCKET_PROTOCOL);
    let offers = |name| offered().any(|offered| offered == name);
    if by_query || (offers(PROTOBUF) && !offers(JSON)) {
        (Encoding::Protobuf, offers(PROTOBUF).then_some(PROTOBUF))
    } else {
        (Encoding::Json, offers(JSON).then_some(JSON))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{SinkExt as _, StreamExt as _};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;
    use crate::config::Config;

    /// The buffer of the test's connection, each way.
    const LINE_BYTES: usize = 256;

    /// A control frame with the longest possible payload.
    const CONTROL_BYTES: usize = 2 + 125;

    /// Returns a ping with a mask of zero, so that the payload is readable in it.
    fn ping(number: u8) -> Vec<u8> {
        let head = [0x89, 0x80 | 125, 0, 0, 0, 0];
        head.into_iter().chain([number; 125]).collect()
    }

    #[tokio::test]
    async fn pings_of_a_client_that_does_not_read_take_no_more_than_is_allowed() {
        let config = socket_config(&Config::default().client);
        let (line, mut client) = duplex(LINE_BYTES);
        let mut socket = WebSocketStream::from_raw_socket(line, Role::Server, Some(config)).await;

        let flood: Vec<u8> = (0..200).flat_map(ping).collect();
        let pinging = async {
            client.write_all(&flood).await.unwrap();
            client.shutdown().await.unwrap();
        };
        let reading = async { while let Some(Ok(_)) = socket.next().await {} };
        tokio::join!(pinging, reading);
        let mut answers = Vec::new();
        let hanging_up = async {
            // The buffered pongs, and then the newest, for which there was no room.
            let _ = socket.flush().await;
            let _ = socket.flush().await;
            drop(socket);
        };
        let (_, read) = tokio::join!(hanging_up, client.read_to_end(&mut answers));

        read.unwrap();
        let most = LINE_BYTES + UNSENT_BYTES_MAX + CONTROL_BYTES;
        assert!(answers.len() <= most, "{} bytes", answers.len());
        assert!(answers.len() > UNSENT_BYTES_MAX, "{}", answers.len());
        assert_eq!(answers.last(), Some(&199));
    }
}
