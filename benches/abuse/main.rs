//! Effect of each attack on honest players: the 99th percentile of the time from a publish to its reply, without the
//! attack and during it, in the same run and on the same hub. The goal is a ratio below 2.
//!
//! `cargo bench --bench abuse`. `SECONDS=n` for other than 5 seconds of each, `ATTACKS=name,name` for some of them.
//! The limits on sockets from one address have their defaults: players and attackers come from different addresses,
//! as behind a proxy.

mod attack;
mod player;

#[path = "../support/daemon.rs"]
mod daemon;
#[path = "../support/machine.rs"]
mod machine;

use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use attack::{ATTACKS, Attack};
use daemon::Daemon;
use machine::{facts, median, rounded};
use player::Players;

/// Above this ratio players notice the attack.
const GOAL: f64 = 2.0;

/// Rounds of each attack. Each one compares the attack with the calm before it.
const ROUNDS: usize = 3;

/// How long an attack has run before its round counts.
const WARM_UP: Duration = Duration::from_secs(1);

/// This program plays the proxy that states the addresses of clients, and guests are allowed.
const SETTINGS: &[(&str, &str)] = &[
    ("server.trusted_proxies", "[\"127.0.0.0/8\"]"),
    ("server.connections_per_address_max", "1024"),
    ("server.connects_per_second", "200"),
    ("auth.guests", "true"),
    ("auth.api_keys", "[\"a-key-of-32-random-characters-00\"]"),
    ("log.level", "warn"),
];

#[tokio::main]
async fn main() {
    let seconds = std::env::var("SECONDS").ok();
    let seconds = seconds.map_or(5, |text| text.parse().expect("SECONDS is a number"));
    let chosen = std::env::var("ATTACKS").unwrap_or_default();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut worst: f64 = 0.0;
    for attack in ATTACKS {
        if !chosen.is_empty() && !chosen.split(',').any(|name| name == attack.name) {
            continue;
        }
        // A hub of its own, so that an attack leaves nothing behind for the next one.
        let folder = folder.path().join(attack.name);
        std::fs::create_dir(&folder).expect("a new folder");
        let hub = Daemon::start(&folder, SETTINGS).await;
        eprintln!("{}: ready after {:?}", attack.name, hub.ready_after);
        let ratio = measure(&hub, attack, Duration::from_secs(seconds)).await;
        worst = worst.max(ratio);
    }
    let line = json!({
        "bench": "abuse",
        "worst": rounded(worst, 2),
        "goal": GOAL,
        "machine": facts(folder.path()),
    });
    println!("{line}");
}

/// Runs the attack [`ROUNDS`] times, each after a calm, and prints the medians.
async fn measure(hub: &Daemon, attack: &Attack, time: Duration) -> f64 {
    let mut players = Players::sit_down(hub.address).await;
    let (mut calms, mut attacked, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let calm = players.p99(time).await;
        let over = CancellationToken::new();
        let attacking = attack.begin(hub.address, over.clone());
        tokio::time::sleep(WARM_UP).await;
        let beside = players.p99(time).await;
        over.cancel();
        attacking.await;
        calms.push(calm);
        attacked.push(beside);
        ratios.push(beside / calm);
    }
    let ratio = median(ratios);
    let line = json!({
        "bench": "abuse",
        "attack": attack.name,
        "calm_p99_ms": rounded(median(calms), 2),
        "beside_p99_ms": rounded(median(attacked), 2),
        "ratio": rounded(ratio, 2),
        "is_met": ratio < GOAL,
    });
    println!("{line}");
    ratio
}
