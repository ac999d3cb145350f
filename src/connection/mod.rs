//! One socket: its handshake, its commands, its heartbeat.
//!
//! Owns: the subscriptions and the attachment to a session, both of which end with it.
//! Supervised by: a share of the connections, under the hub.
//! On failure: the socket closes with a code that brings the client back; the session turns away.

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

/// How long a client waits for a change: client libraries give up after 5 s, and a change that takes
/// several steps may take longer than any one of them.
const CHANGE_TIMEOUT: Duration = Duration::from_millis(4700);

/// How long a new socket waits for a supervisor that is being started again: twice the longest
/// back-off, and well below what a client waits for its upgrade to be of use.
const SUPERVISION_TIMEOUT: Duration = Duration::from_secs(2);

/// The wait before a supervisor that was not there is looked for again: about its shortest back-off.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Called once, when a socket has a session.
pub type HasConnected = Box<dyn FnOnce() + Send>;

/// All connections of this node. Cheap to clone.
#[derive(Clone)]
pub struct Connections {
    context: Arc<Context>,
    supervisors: Arc<[ActorAddress<SupervisorMessage>]>,
}

/// What all connections share.
struct Context {
    actions: Actions,
    verifier: Verifier,
    client: ClientConfig,
    are_guests_welcome: bool,
    has_personal_channels: bool,
    wrong_tokens: WrongTokens,
    admission: Admission,
    directory: Arc<ConnectionDirectory>,
    /// Wakes connections when what a token granted may be over.
    wheel: Wheel<ConnectionId>,
    tracker: TaskTracker,
    metrics: ConnectionMetrics,
    /// Sockets that still come are closed as those before them were.
    is_stopping: AtomicBool,
}

impl Connections {
    /// `tracker` gets a task for each socket and for each change under way.
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
                // It has stopped, and nothing of it goes on.
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

    /// The wrong session tokens of each address, counted over the sockets and over HTTP together.
    pub fn wrong_tokens(&self) -> WrongTokens {
        self.context.wrong_tokens.clone()
    }

    /// The door for newcomers, over HTTP as well.
    pub fn admission(&self) -> Admission {
        self.context.admission.clone()
    }

    /// Starts the supervisor of one share of the connections.
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
        // Without a supervisor for so long: the line is cut, and the client comes back by itself.
        let starting = Box::pin(self.start_actor(id, asker, encoding));
        let Ok(started) = timeout(SUPERVISION_TIMEOUT, starting).await else {
            return;
        };
        let (actor, queue) = started;
        let heartbeat = Heartbeat::new(&self.context.client, RunTime::now());
        let mut socket = Socket::new(line, queue, actor.clone(), heartbeat, has_connected);
        let open = self.context.metrics.open();
        open.ended(socket.run(&self.context.metrics).await);
        // After the command that is being carried out, so that what it opens is closed as well.
        actor.stop(None);
        debug!(connection = %id, "socket closed");
    }

    /// Starts the actor of a socket; a supervisor that is being started again is waited for.
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
                // A queue for each try: an actor that cannot start closes its own.
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

    /// Has a connection fail.
    #[cfg(feature = "faults")]
    pub fn panic(&self, id: ConnectionId) -> bool {
        let actor = self.context.directory.actor(id);
        actor.is_some_and(|actor| actor.cast(ConnectionMessage::Panic).is_ok())
    }

    /// Has the supervisor of a connection's share fail.
    #[cfg(feature = "faults")]
    pub fn panic_supervisor(&self, id: ConnectionId) -> bool {
        self.supervisors[shard_of(&id)].tell(SupervisorMessage::Panic);
        true
    }

    /// Looks at what waits in the outgoing queues.
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

    /// Whether every share of the connections has its supervisor.
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
    /// Makes a change in a task of its own, which goes on if the client hangs up.
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
