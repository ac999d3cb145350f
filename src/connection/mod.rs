//! WebSocket connections: the handshake, the commands and the heartbeat of each socket.
//!
//! Each socket has a task, which reads one frame at a time and writes the outgoing queue, and an actor, which carries
//! out the commands. In order: the upgrade; the first command, `connect` (admission, session, attachment, the hub's
//! own subscriptions); further commands; a close from either side.
//!
//! Owns: the subscriptions and the attachment to a session, both of which end with the connection.
//! Supervised by: the supervisor of its shard, under the hub.
//! On failure: the socket closes with a code after which the client reconnects. The session becomes away.

mod actor;
mod admission;
mod admission_schedule;
mod command_rate;
mod directory;
mod drain;
mod message;
mod metric;
mod protocol;
mod server_control;
mod socket;
mod supervisor;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use metrics::gauge;
use ractor::{Actor, ActorCell, ActorRef, SpawnErr};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_util::task::TaskTracker;
use tracing::debug;

pub use self::admission::Admission;
pub use self::server_control::ConnectionSelector;
pub use self::socket::frame_limits::FrameLimiter;

use self::actor::ConnectionActor;
use self::directory::ConnectionDirectory;
use self::message::ConnectionMessage;
use self::metric::ConnectionMetrics;
use self::socket::heartbeat::Heartbeat;
use self::socket::task::Socket;
use self::socket::transport::WsTransport;
use self::supervisor::{ConnectionSupervisor, SupervisorMessage};
use crate::actions::Actions;
use crate::auth::Verifier;
use crate::clock::RunTime;
use crate::config::{ClientConfig, Config};
use crate::delivery::{Inbox, Outbound, QueueLimits};
use crate::id::ConnectionId;
use crate::limits::{Asker, WrongTokens};
use crate::supervisor::{ActorAddress, SHARDS, Wheel, shard_of};
use crate::wire::{Encoding, Refusal};

/// The timeout of a change: client libraries give up after 5 s, and a change of several steps may take longer than
/// any one of them.
const CHANGE_TIMEOUT: Duration = Duration::from_millis(4700);

/// The time that a new socket waits for a supervisor that is being restarted: twice the longest back-off, and well
/// below a client's own connect timeout.
const SUPERVISION_TIMEOUT: Duration = Duration::from_secs(2);

/// The wait before another look-up of a missing supervisor: about its shortest back-off.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A callback, called once when a socket has a session.
pub type HasConnected = Box<dyn FnOnce() + Send>;

/// A handle to all connections of this node. Cheap to clone.
#[derive(Clone)]
pub struct Connections {
    context: Arc<Context>,
    supervisors: Arc<[ActorAddress<SupervisorMessage>]>,
}

/// The state that all connections share.
struct Context {
    actions: Actions,
    verifier: Verifier,
    client: ClientConfig,
    are_guests_welcome: bool,
    has_personal_channels: bool,
    wrong_tokens: WrongTokens,
    admission: Admission,
    directory: Arc<ConnectionDirectory>,
    /// Wakes connections when a right that a token granted may have expired.
    wheel: Wheel<ConnectionId>,
    tracker: TaskTracker,
    metrics: ConnectionMetrics,
    /// Set at a stop: later sockets are closed as the earlier ones were.
    is_stopping: AtomicBool,
}

impl Connections {
    /// Creates the connections. `tracker` receives a task for each socket and for each change under way.
    pub fn new(
        config: &Config,
        verifier: Verifier,
        actions: Actions,
        tracker: TaskTracker,
    ) -> Connections {
        let directory = Arc::<ConnectionDirectory>::default();
        let listed = Arc::clone(&directory);
        let wheel = Wheel::start(move |id| {
            if let Some(actor) = listed.actor(id) {
                // A failed cast means that the actor has stopped: nothing of it is left to expire.
                let _ = actor.cast(ConnectionMessage::Wake);
            }
        });
        Connections {
            context: Arc::new(Context {
                actions,
                verifier,
                client: config.client.clone(),
                are_guests_welcome: config.auth.guests,
                has_personal_channels: config.auth.personal_channel,
                wrong_tokens: WrongTokens::default(),
                admission: Admission::new(&config.admission),
                directory,
                wheel,
                tracker,
                metrics: ConnectionMetrics::new(),
                is_stopping: AtomicBool::new(false),
            }),
            supervisors: (0..SHARDS).map(|_| ActorAddress::vacant()).collect(),
        }
    }

    /// Returns the limit on wrong session tokens per address, shared by sockets and HTTP.
    pub fn wrong_tokens(&self) -> WrongTokens {
        self.context.wrong_tokens.clone()
    }

    /// Returns the admission of newcomers, shared by sockets and HTTP.
    pub fn admission(&self) -> Admission {
        self.context.admission.clone()
    }

    /// Starts the supervisor of one shard of the connections.
    pub async fn start_shard(&self, index: usize, hub: ActorCell) -> Result<ActorCell, SpawnErr> {
        let (actor, _) = Actor::spawn_linked(None, ConnectionSupervisor, (), hub).await?;
        self.supervisors[index].fill(actor.clone());
        Ok(actor.get_cell())
    }

    /// Serves a socket in a task of its own. Its requests count for `asker`.
    pub fn accept<S>(
        &self,
        stream: WebSocketStream<FrameLimiter<S>>,
        address: SocketAddr,
        asker: Asker,
        encoding: Encoding,
        has_connected: HasConnected,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let id = ConnectionId::new();
        debug!(connection = %id, address = %address.ip(), "socket open");
        let line = WsTransport::new(stream);
        let serving = self.clone().serve(id, line, asker, encoding, has_connected);
        self.context.tracker.spawn(serving);
    }

    async fn serve<S>(
        self,
        id: ConnectionId,
        line: WsTransport<S>,
        asker: Asker,
        encoding: Encoding,
        has_connected: HasConnected,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        // Without a supervisor by then, the line is cut and the client reconnects.
        let starting = Box::pin(self.start_actor(id, asker, encoding));
        let Ok(started) = timeout(SUPERVISION_TIMEOUT, starting).await else {
            return;
        };
        let (actor, queue) = started;
        let heartbeat = Heartbeat::new(&self.context.client, RunTime::now());
        let mut socket = Socket::new(line, queue, actor.clone(), heartbeat, has_connected);
        let open = self.context.metrics.open();
        open.ended(socket.run(&self.context.metrics).await);
        // The actor stops after its current command, so that everything that the command opens is closed as well.
        actor.stop(None);
        debug!(connection = %id, "socket closed");
    }

    /// Starts the actor of a socket. Waits for a supervisor that is being restarted.
    async fn start_actor(
        &self,
        id: ConnectionId,
        asker: Asker,
        encoding: Encoding,
    ) -> (ActorRef<ConnectionMessage>, (Outbound, Inbox)) {
        let limits = QueueLimits {
            bytes_max: self.context.client.queue_bytes_max,
            count_max: self.context.client.queue_count_max,
        };
        loop {
            if let Some(supervisor) = self.supervisors[shard_of(&id)].cell() {
                // Each try has its own queue: an actor that fails to start closes the queue.
                let (outbound, inbox) = Outbound::open(limits, encoding);
                let arguments = (Arc::clone(&self.context), id, asker, outbound.clone());
                let spawned = Actor::spawn_linked(None, ConnectionActor, arguments, supervisor);
                if let Ok((actor, _)) = spawned.await {
                    return (actor, (outbound, inbox));
                }
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Makes a connection fail.
    #[cfg(feature = "faults")]
    pub fn panic(&self, id: ConnectionId) -> bool {
        let actor = self.context.directory.actor(id);
        actor.is_some_and(|actor| actor.cast(ConnectionMessage::Panic).is_ok())
    }

    /// Makes the supervisor of a connection's shard fail.
    #[cfg(feature = "faults")]
    pub fn panic_supervisor(&self, id: ConnectionId) -> bool {
        self.supervisors[shard_of(&id)].tell(SupervisorMessage::Panic);
        true
    }

    /// Records the sizes of the outgoing queues in the metrics.
    pub fn measure(&self) {
        let (mut messages, mut bytes, mut deepest) = (0, 0, 0);
        for outbound in self.context.directory.all() {
            let (count, weight) = outbound.depth();
            messages += count;
            bytes += weight;
            deepest = deepest.max(count);
        }
        gauge!("holdfast_outgoing_queue_messages").set(messages as f64);
        gauge!("holdfast_outgoing_queue_bytes").set(bytes as f64);
        gauge!("holdfast_outgoing_queue_deepest_messages").set(deepest as f64);
    }

    /// Returns whether every shard of the connections has its supervisor.
    pub fn is_whole(&self) -> bool {
        self.supervisors.iter().all(ActorAddress::is_running)
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connections")
    }
}

impl Context {
    /// Runs a change in a task of its own, which continues if the client disconnects.
    async fn change<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T, Refusal>> + Send + 'static,
    ) -> Result<T, Refusal> {
        let task = self.tracker.spawn(change);
        match timeout(CHANGE_TIMEOUT, task).await {
            Ok(Ok(changed)) => changed,
            Ok(Err(_)) | Err(_) => Err(Refusal::unavailable()),
        }
    }
}
