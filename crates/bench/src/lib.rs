//! `holdfast bench`: a load generator that uses a hub over the network, as any client does.
//!
//! It knows the hub by its address only. Without an address it starts a hub as a child process, with its data in a
//! temporary folder. The processor time of the two is therefore measured separately.

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

/// Runs a benchmark and prints its report.
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
        // Returns as usual, so that a hub that was started is killed and its folder removed.
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            return Err(BenchError::Interrupted);
        }
    };
    report.print(is_json)?;
    Ok(())
}
