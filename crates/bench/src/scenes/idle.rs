//! `bench idle`: the hub's resident memory for each connected, seated player that sends nothing.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::seating::{self, Plan};
use crate::error::BenchError;
use crate::hub::Hub;
use crate::option::IdleOptions;
use crate::process::Process;
use crate::progress;
use crate::report::Report;

/// Wait after the last player has connected, and after the last has left, until the hub has finished its work.
/// Shorter than the time to the first ping, so that no traffic falls into it.
const SETTLE: Duration = Duration::from_secs(4);

pub(crate) async fn measure(options: &IdleOptions) -> Result<Report, BenchError> {
    let is_own = options.target.address.is_none();
    let kind = Plan::kind(options.kind.as_deref(), is_own);
    let plan = Plan::of(&options.players, kind);
    let mut settings = Plan::settings(plan.per_room);
    settings.push("kind.bench.history_size=0".to_owned());
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let hub = Hub::find(&options.target, &settings, plan.clients()).await?;
    let resident = || hub.process().and_then(Process::resident_kib);
    progress::wait("letting the hub settle", Instant::now() + SETTLE / 4).await;
    let empty = resident();

    let rooms = seating::seat(&hub, &plan).await?;
    let mut silent = JoinSet::new();
    for player in rooms.into_iter().flatten() {
        silent.spawn(player.client.sit());
    }
    progress::wait("letting the hub settle", Instant::now() + SETTLE).await;
    let connected = resident();
    let cut = std::iter::from_fn(|| silent.try_join_next()).count();
    silent.shutdown().await;
    progress::wait("letting the hub settle", Instant::now() + SETTLE).await;

    let players = f64::from(plan.clients());
    let each = connected
        .zip(empty)
        .map(|(full, empty)| (full as f64 - empty as f64) / players);
    let mut report = Report::new("idle");
    report.count("clients", "players", plan.clients().into());
    report.count("per_room", "in each room", plan.per_room.into());
    report.number("kib_per_player", "KiB per player", each, 2);
    report.count("cut", "players cut off", cut as u64);
    for (key, label, kib) in [
        ("empty_kib", "hub's memory when empty, KiB", empty),
        ("connected_kib", "with all connected, KiB", connected),
        ("left_kib", "after all have left, KiB", resident()),
    ] {
        report.number(key, label, kib.map(|kib| kib as f64), 0);
    }
    Ok(report)
}
