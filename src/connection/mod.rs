//! One socket: its handshake, its commands, its heartbeat.
//!
//! Owns: the subscriptions and the attachment to a session, both of which end with it.
//! Supervised by: a share of the connections, under the hub.
//! On failure: the socket closes with a code that brings the client back; the session turns away.

mod actor;
mod call;
mod channel;
mod directory;
mod guess;
mod heartbeat;
mod message;
mod meter;
mod socket;
mod state;
mod supervisor;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use ractor::{Actor, ActorCell, SpawnErr};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_util::task::TaskTracker;
use tracing::debug;

pub use self::guess::{WrongCodes, subscriber};
pub use self::meter::Meter;

use self::actor::ConnectionActor;
use self::directory::ConnectionDirectory;
use self::heartbeat::Heartbeat;
use self::socket::{Halves, Socket};
use self::supervisor::ConnectionSupervisor;
use crate::config::{ClientConfig, Config};
use crate::delivery::{Outbound, QueueLimits};
use crate::id::ConnectionId;
use crate::session::Actions;
use crate::supervisor::{Post, SHARDS, shard_of};
use crate::wire::{Close, Refusal};

/// Clients told to go between two pauses, when the hub stops.
const FAREWELL_BATCH: usize = 50;

/// How long a client waits for a change: client libraries give up after 5 s, and a change that takes
/// several steps may take longer than any one of them.
const CHANGE_WITHIN: Duration = Duration::from_millis(4700);

/// All connections of this node. Cheap to clone.
#[derive(Clone)]
pub struct Connections {
    context: Arc<Context>,
    supervisors: Arc<[Post<()>]>,
}

/// What all connections share.
struct Context {
    actions: Actions,
    client: ClientConfig,
    are_guests_welcome: bool,
    wrong_codes: WrongCodes,
    directory: ConnectionDirectory,
    tracker: TaskTracker,
}

impl Connections {
    /// `tracker` gets a task for each socket and for each change under way.
    pub fn new(config: &Config, actions: Actions, tracker: TaskTracker) -> Connections {
        Connections {
            context: Arc::new(Context {
                actions,
                client: config.client.clone(),
                are_guests_welcome: config.auth.guests,
                wrong_codes: WrongCodes::new(config.client.wrong_codes_per_minute),
                directory: ConnectionDirectory::default(),
                tracker,
            }),
            supervisors: (0..SHARDS).map(|_| Post::vacant()).collect(),
        }
    }

    /// The wrong room codes of each address, counted over the sockets and over HTTP together.
    pub fn wrong_codes(&self) -> WrongCodes {
        self.context.wrong_codes.clone()
    }

    /// Starts the supervisor of one share of the connections.
    pub async fn start_shard(&self, index: usize, hub: ActorCell) -> Result<ActorCell, SpawnErr> {
        let (actor, _) = Actor::spawn_linked(None, ConnectionSupervisor, (), hub).await?;
        self.supervisors[index].fill(actor.clone());
        Ok(actor.get_cell())
    }

    /// Serves a socket in a task of its own.
    pub fn accept<S>(&self, stream: WebSocketStream<Meter<S>>, address: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let connections = self.clone();
        let halves = stream.split();
        self.context.tracker.spawn(async move {
            let id = ConnectionId::new();
            debug!(connection = %id, %address, "socket open");
            connections.serve(id, halves, address.ip()).await;
            debug!(connection = %id, "socket closed");
        });
    }

    async fn serve<S>(&self, id: ConnectionId, halves: Halves<S>, address: IpAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let client = &self.context.client;
        let (outbound, inbox) = Outbound::open(QueueLimits {
            bytes_max: client.queue_bytes_max,
            count_max: client.queue_count_max,
        });
        let Some(supervisor) = self.supervisors[shard_of(&id)].cell() else {
            return;
        };
        let arguments = (Arc::clone(&self.context), id, address, outbound.clone());
        let spawned = Actor::spawn_linked(None, ConnectionActor, arguments, supervisor).await;
        // The supervisor has just failed: the client comes back to the next one.
        let Ok((actor, _)) = spawned else {
            return;
        };
        let socket = Socket {
            halves,
            inbox,
            outbound,
            actor: actor.clone(),
            heartbeat: Heartbeat::new(client, Instant::now()),
        };
        socket.run().await;
        // After the command that is being carried out, so that what it opens is closed as well.
        actor.stop(None);
    }

    /// Tells all clients that the hub stops, `per_second` of them a second: they come back to its
    /// successor in the same order.
    pub async fn say_goodbye(&self, per_second: u32) {
        let pause = Duration::from_secs(1).mul_f64(FAREWELL_BATCH as f64 / f64::from(per_second));
        let outbounds = self.context.directory.all();
        for batch in outbounds.chunks(FAREWELL_BATCH) {
            for outbound in batch {
                outbound.close(Close::Shutdown);
            }
            if outbounds.len() > FAREWELL_BATCH {
                tokio::time::sleep(pause).await;
            }
        }
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connections")
    }
}

impl Context {
    /// Makes a change in a task of its own, which goes on if the client hangs up.
    async fn change<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T, Refusal>> + Send + 'static,
    ) -> Result<T, Refusal> {
        let task = self.tracker.spawn(change);
        match timeout(CHANGE_WITHIN, task).await {
            Ok(Ok(changed)) => changed,
            Ok(Err(_)) | Err(_) => Err(Refusal::unavailable()),
        }
    }

    /// The same for a room that the client named by its code.
    async fn by_code<T: Send + 'static>(
        &self,
        address: IpAddr,
        change: impl Future<Output = Result<T, Refusal>> + Send + 'static,
    ) -> Result<T, Refusal> {
        self.wrong_codes.guard(address, self.change(change)).await
    }
}
