//! The public listener: the client API, the server API, health, and the upgrade to a socket.
//!
//! **Owns** the accepted connections until they are upgraded. **Supervised by** the daemon, which binds first and
//! serves once everything is restored. **On failure** a request that panics is answered with 500 and affects no
//! other; a connection that fails is closed.

mod body;
mod client_api;
mod credentials;
mod handshake;
mod header_list;
mod idempotency_key;
mod origin;
mod playground;
mod refused_origin;
mod server_api;
mod websocket;

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::FromRef;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use tokio::sync::Semaphore;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_util::task::TaskTracker;

use crate::actions::Actions;
use crate::auth::Verifier;
use crate::config::{AuthConfig, ClientConfig, ServerConfig};
use crate::connection::{Admission, Connections};
use crate::limits::WrongTokens;
use crate::listener::{
    Health, HostRule, LIVEZ, Problem, READYZ, RequestCounts, check_host, health, livez, observe,
    readyz,
};

pub use self::playground::Kill;
pub use self::websocket::{UpgradedSocket, Upgrades};

use self::credentials::Authenticator;
use self::origin::OriginRule;
use self::server_api::ServerApi;

/// Changes in progress at one time, including those whose clients have hung up. Twice the default queue of the
/// database, which normally refuses first.
const CHANGES_MAX: usize = 16_384;

/// Lookups at one time: as many as changes.
const LOOKS_MAX: usize = CHANGES_MAX;

const WEBSOCKET: &str = "/connection/websocket";
const SESSIONS: &str = "/v1/sessions";
const SESSION: &str = "/v1/session";
const ROOMS: &str = "/v1/rooms";
const ROOM: &str = "/v1/rooms/{code}";
const JOIN: &str = "/v1/rooms/{code}/join";
const HOLD: &str = "/v1/rooms/{code}/seats/{seat}/hold";
const QUICK_MATCH: &str = "/v1/quick-match";
const HEALTH: &str = "/api/health";
const SERVER: &str = "/api/{method}";
const KEY_SET: &str = "/.well-known/jwks.json";

/// Every route, as its label in the metrics.
const ROUTES: &[&str] = &[
    WEBSOCKET,
    SESSIONS,
    SESSION,
    ROOMS,
    ROOM,
    JOIN,
    HOLD,
    QUICK_MATCH,
    HEALTH,
    SERVER,
    LIVEZ,
    READYZ,
    KEY_SET,
    playground::PLAYGROUND,
    playground::PLAYGROUND_SCRIPT,
    playground::PLAYGROUND_BOARD,
    playground::PLAYGROUND_STYLE,
    playground::PLAYGROUND_ICON,
    playground::CLIENT_SCRIPT,
    playground::KILL,
];

/// The components of the public router.
#[derive(Clone)]
pub struct Parts {
    pub actions: Actions,
    pub verifier: Verifier,
    pub connections: Connections,
    pub upgrades: Upgrades,
    pub admission: Admission,
    pub health: Health,
    /// Tracks the tasks of changes and of sockets that are being upgraded.
    pub tracker: TaskTracker,
    /// True if the playground, a page to try the hub with, is served.
    pub is_dev: bool,
    /// The action of the playground's kill button; set where a parent process restarts the hub.
    pub kill: Option<Kill>,
}

/// The state that each request can reach.
#[derive(Clone)]
struct Api {
    actions: Actions,
    server: ServerApi,
    upgrades: Upgrades,
    wrong_tokens: WrongTokens,
    admission: Admission,
    health: Health,
    tracker: TaskTracker,
    gate: Authenticator,
    origins: OriginRule,
    socket: WebSocketConfig,
    changes: Arc<Semaphore>,
    looks: Arc<Semaphore>,
}

/// Creates the router of the public listener. The metrics recorder must be installed before.
pub fn router(
    server: &ServerConfig,
    auth: &AuthConfig,
    client: &ClientConfig,
    parts: Parts,
) -> Router {
    let origins = OriginRule::new(&server.allowed_origins, parts.is_dev);
    let cors = origins.cors();
    let playground = match parts.is_dev {
        true => playground::routes(parts.kill),
        false => Router::new(),
    };
    let name = server.listen.to_string();
    let check_origin = from_fn_with_state(origins.clone(), origin::check_origin);
    let check_host = from_fn_with_state(HostRule::new(server), check_host);
    let api = Api {
        wrong_tokens: parts.connections.wrong_tokens(),
        server: ServerApi::new(
            name,
            parts.actions.clone(),
            parts.connections,
            client.message_max,
        ),
        actions: parts.actions,
        upgrades: parts.upgrades,
        admission: parts.admission,
        health: parts.health,
        tracker: parts.tracker,
        gate: Authenticator::new(auth, parts.verifier),
        origins,
        socket: websocket::socket_config(client),
        changes: Arc::new(Semaphore::new(CHANGES_MAX)),
        looks: Arc::new(Semaphore::new(LOOKS_MAX)),
    };
    Router::new()
        .route(WEBSOCKET, get(websocket::websocket))
        .route(SERVER, post(server_api::call))
        .route(LIVEZ, get(livez))
        .route(READYZ, get(readyz))
        .route(SESSIONS, post(client_api::open_session))
        .route(
            SESSION,
            get(client_api::session).delete(client_api::end_session),
        )
        .route(ROOMS, post(client_api::open_room))
        .route(ROOM, get(client_api::room))
        .route(JOIN, post(client_api::join_room))
        .route(HOLD, post(client_api::hold_seat))
        .route(QUICK_MATCH, post(client_api::quick_match))
        .route(HEALTH, get(health))
        .route(KEY_SET, get(client_api::key_set))
        .merge(playground)
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .fallback(async || Problem::not_found())
        .layer(check_origin)
        .layer(check_host)
        .layer(from_fn_with_state(
            RequestCounts::of_routes(ROUTES),
            observe,
        ))
        // Outermost: a page can read an answer, also a refusal, only with these headers.
        .layer(cors)
        .with_state(api)
}

impl FromRef<Api> for Health {
    fn from_ref(api: &Api) -> Health {
        api.health.clone()
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts")
            .field("health", &self.health)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
