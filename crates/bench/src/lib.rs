//! `holdfast bench`: a load generator that talks to a hub over the network, as any client does.
//!
//! It knows the hub by its address only. Without one it starts a hub of its own, as a child process with
//! its data in a folder of its own, so that the processor time of the two is told apart.

#![cfg_attr(not(test), deny(clippy::unwrap_used))]

mod client;
mod compare;
mod counters;
mod error;
mod frame;
mod hub;
mod open_loop;
mod option;
mod process;
mod progress;
mod report;
mod scenes;

pub use error::BenchError;
pub use option::BenchVerb;

use report::Report;
use scenes::{create, idle, messaging, storm};

/// Runs a benchmark and prints what came of it.
pub async fn run(verb: BenchVerb) -> Result<(), BenchError> {
    let is_json = verb.output().json;
    let measured = async {
        match verb {
            BenchVerb::Idle(options) => idle::measure(&options).await,
            BenchVerb::Rooms(options) => messaging::rooms(&options).await,
            BenchVerb::Fanout(options) => messaging::fanout(&options).await,
            BenchVerb::Storm(options) => storm::measure(&options).await,
            BenchVerb::Create(options) => create::measure(&options).await,
            BenchVerb::Compare(options) => compare::measure(&options).await,
        }
    };
    let report: Report = tokio::select! {
        report = measured => report?,
        // Left through the ordinary way out, so that a hub of one's own ends and its folder goes.
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            return Err(BenchError::Interrupted);
        }
    };
    report.print(is_json)?;
    Ok(())
}
