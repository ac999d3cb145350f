//! What strangers can send to the public port, and what the players notice of it: nothing.
//!
//! Each test keeps fifty honest players at play meanwhile. All load is bounded and on loopback.

mod amplify;
mod churn;
mod code;
mod flood;
mod frame;
mod handshake;
mod history;
mod honest;
mod input;
mod newcomer;
mod places;
mod raw;
mod secrets;
mod slow;
mod speech;
mod vitals;

use honest::Honest;
use raw::Raw;
use vitals::Vitals;

use crate::support::{Daemon, Database};

async fn start() -> Daemon {
    Daemon::on(Database::Sqlite).start().await
}
