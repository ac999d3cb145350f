//! Seats players in rooms before a benchmark begins.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};

use crate::client::{Client, ClientError};
use crate::error::BenchError;
use crate::hub::Hub;
use crate::option::PlayerOptions;
use crate::progress::Progress;
use holdfast_wire::Encoding;

/// Rooms that are filled at one time.
const ROOMS_AT_A_TIME: usize = 64;

/// The kind of the rooms on a hub that the benchmark starts.
const OWN_KIND: &str = "bench";

/// The default kind of a new room.
const USUAL_KIND: &str = "table";

/// The codes of some refusals, from the hub's list of errors.
const ROOM_FULL: u64 = 1002;
const UNKNOWN_KIND: u64 = 1011;
const UNKNOWN_CHANNEL: u64 = 102;

/// The close code for guests that the hub does not admit.
const BAD_REQUEST: u16 = 3501;

/// A connected client that is subscribed to the channel.
#[derive(Debug)]
pub(crate) struct Player {
    pub(crate) client: Client,
    pub(crate) token: String,
    pub(crate) channel: Arc<str>,
    /// `None` in an open channel.
    pub(crate) seat: Option<u64>,
}

/// The rooms to fill.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) kind: String,
    pub(crate) rooms: u32,
    pub(crate) per_room: u32,
    pub(crate) encoding: Encoding,
}

impl Plan {
    /// Plans full rooms for the players. Their number is rounded up so that the last room is full as well.
    pub(crate) fn of(players: &PlayerOptions, kind: String) -> Plan {
        Plan {
            kind,
            rooms: players.clients.div_ceil(players.per_room),
            per_room: players.per_room.min(players.clients),
            encoding: Encoding::Json,
        }
    }

    /// Returns the user's choice of a kind; else a separate kind, if the benchmark started the hub.
    pub(crate) fn kind(chosen: Option<&str>, is_own_hub: bool) -> String {
        let usual = if is_own_hub { OWN_KIND } else { USUAL_KIND };
        chosen.unwrap_or(usual).to_owned()
    }

    /// Returns the settings that a started hub needs for these rooms.
    pub(crate) fn settings(per_room: u32) -> Vec<String> {
        vec![format!("kind.{OWN_KIND}.seats={per_room}")]
    }

    pub(crate) fn clients(&self) -> u32 {
        self.rooms.saturating_mul(self.per_room)
    }
}

/// Opens the rooms and fills them, room by room.
pub(crate) async fn seat(hub: &Hub, plan: &Plan) -> Result<Vec<Vec<Player>>, BenchError> {
    let progress = Progress::of("seating players", plan.clients().into());
    let rooms = futures_util::stream::iter(0..plan.rooms)
        .map(|_| fill_room(hub.address(), plan, &progress))
        .buffer_unordered(ROOMS_AT_A_TIME);
    rooms.try_collect().await
}

/// Subscribes `clients` new guests to an open channel.
pub(crate) async fn gather(
    hub: &Hub,
    kind: &str,
    clients: u32,
    encoding: Encoding,
) -> Result<Vec<Player>, BenchError> {
    let channel: Arc<str> = format!("{kind}:bench-{}", std::process::id()).into();
    let progress = Progress::of("gathering members", clients.into());
    let address = hub.address();
    let members = futures_util::stream::iter(0..clients)
        .map(|_| {
            let (channel, progress) = (Arc::clone(&channel), &progress);
            async move {
                let (mut client, token) = greet(address, encoding).await?;
                let subscribed = client.subscribe(&channel).await;
                subscribed.map_err(|error| match code_of(&error) {
                    Some(UNKNOWN_CHANNEL) => BenchError::UnknownKind(kind.to_owned()),
                    Some(_) | None => failed("subscribing to the channel", error),
                })?;
                progress.step();
                Ok(Player {
                    client,
                    token,
                    channel,
                    seat: None,
                })
            }
        })
        .buffer_unordered(ROOMS_AT_A_TIME);
    members.try_collect().await
}

async fn fill_room(
    address: SocketAddr,
    plan: &Plan,
    progress: &Progress,
) -> Result<Vec<Player>, BenchError> {
    let mut players = Vec::with_capacity(plan.per_room as usize);
    let mut code = Value::Null;
    for number in 0..plan.per_room {
        let (mut client, token) = greet(address, plan.encoding).await?;
        let entered = match number {
            0 => client.rpc("room.open", json!({ "kind": plan.kind })).await,
            _ => client.rpc("room.join", json!({ "room": code })).await,
        };
        let entered = entered.map_err(|error| seatless(error, plan))?;
        code = entered["room"]["code"].clone();
        let channel: Arc<str> = text(&entered["room"]["channel"])?.into();
        let subscribed = client.subscribe(&channel).await;
        subscribed.map_err(|error| failed("subscribing to a room", error))?;
        players.push(Player {
            client,
            token,
            channel,
            seat: entered["seat"]["seat"].as_u64(),
        });
        progress.step();
    }
    Ok(players)
}

/// Connects as a new guest.
async fn greet(address: SocketAddr, encoding: Encoding) -> Result<(Client, String), BenchError> {
    let dialled = Client::dial(address, encoding).await;
    let mut client = dialled.map_err(|error| failed("connecting", error))?;
    let welcome = client.connect(None).await.map_err(|error| {
        let is_unwelcome = matches!(
            error,
            ClientError::Closed {
                code: BAD_REQUEST,
                ..
            }
        );
        match is_unwelcome {
            true => BenchError::NoGuests { address },
            false => failed("connecting", error),
        }
    })?;
    let token = text(&welcome["session"]["token"])?;
    Ok((client, token))
}

fn seatless(error: ClientError, plan: &Plan) -> BenchError {
    match code_of(&error) {
        Some(UNKNOWN_KIND) => BenchError::UnknownKind(plan.kind.clone()),
        Some(ROOM_FULL) => BenchError::SmallKind {
            kind: plan.kind.clone(),
            per_room: plan.per_room,
        },
        Some(_) | None => failed("taking a seat", error),
    }
}

/// Returns the code of a refusal.
fn code_of(error: &ClientError) -> Option<u64> {
    match error {
        ClientError::Refused { code, .. } => Some(*code),
        ClientError::Line(_)
        | ClientError::Socket(_)
        | ClientError::Status { .. }
        | ClientError::Closed { .. }
        | ClientError::Silent
        | ClientError::Unreadable(_) => None,
    }
}

pub(crate) fn failed(doing: &'static str, source: ClientError) -> BenchError {
    BenchError::Client { doing, source }
}

fn text(value: &Value) -> Result<String, BenchError> {
    let text = value.as_str().map(str::to_owned);
    text.ok_or_else(|| {
        let error = ClientError::Unreadable("a field is missing in a reply".to_owned());
        failed("reading an answer", error)
    })
}
