//! Accepts HTTP connections: the part that the public and the private listener share.
//!
//! A socket is admitted ([`Limits`]), wrapped ([`transport`]), and served by the HTTP library under time limits. Each
//! request then passes the layers of its router: its host is checked, it is counted and named, and a refusal becomes a
//! [`Problem`]. The routes themselves are in `http` and `admin`.
//!
//! **Owns** the accepted connections until they are upgraded. **Supervised by** the daemon, which binds first and
//! serves when all is restored. **On failure** a request that panics is answered 500 and nothing else notices; a
//! connection that fails is closed.

mod accept;
mod client_address;
mod connection_limits;
mod health;
mod host;
mod library_refusal;
mod problem;
mod rejection;
mod request_log;
mod socket;
mod timeouts;
mod transport;
mod unused_sockets;

pub use self::accept::Listener;
pub use self::client_address::{asker, origin_of};
pub use self::connection_limits::{Limits, Rejected, Slot};
pub use self::health::{
    DatabaseAnswers, Health, HealthReport, HealthStatus, LIVEZ, PartHealth, PartsAnswer, READYZ,
    health, livez, readyz,
};
pub(crate) use self::host::is_of_host;
pub use self::host::{HostRule, caller_address, check_host, is_from_here, is_of_own_page};
pub use self::problem::Problem;
pub use self::request_log::{RequestCounts, observe};
pub use self::socket::Peer;
