//! `bench storm`: the hub is killed under its seated players, and all of them come back at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::seating::{self, Plan, Player};
use crate::client::{Client, ClientError};
use crate::error::BenchError;
use crate::hub::Hub;
use crate::option::StormOptions;
use crate::progress::{self, Progress};
use crate::report::{Report, histogram, micros};
use holdfast_wire::Encoding;
use holdfast_wire::id::random_bytes;

/// Quiet time before the kill.
const SETTLE: Duration = Duration::from_secs(2);

/// The SDKs' wait before each try: the minimum, plus a random time of up to the minimum doubled with each failed try.
/// It never exceeds the maximum.
const BACK_OFF_MIN: Duration = Duration::from_millis(500);
const BACK_OFF_MAX: Duration = Duration::from_secs(20);

/// From this close code on, a client does not come back by itself.
const TERMINAL_FROM: u16 = 3500;

/// A player that is back, or has given up.
#[derive(Debug)]
struct Return {
    at: Instant,
    /// Duration of the successful try: dial, connect and subscribe.
    took: Duration,
    tries: u32,
    seat: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Same,
    Other,
    Lost,
}

/// State that a player keeps across connections.
#[derive(Debug)]
struct Memory {
    token: String,
    channel: Arc<str>,
    seat: Option<u64>,
}

pub(crate) async fn measure(options: &StormOptions) -> Result<Report, BenchError> {
    let plan = Plan::of(&options.players, Plan::kind(None, true));
    let settings = Plan::settings(plan.per_room);
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let mut hub = Hub::start(&options.own, &settings, plan.clients()).await?;
    let rooms = seating::seat(&hub, &plan).await?;

    let (tell, mut returns) = mpsc::channel(plan.clients() as usize);
    let mut players = JoinSet::new();
    for player in rooms.into_iter().flatten() {
        players.spawn(play(player, hub.address(), tell.clone()));
    }
    progress::wait("quiet before the storm", Instant::now() + SETTLE).await;
    let killed = Instant::now();
    let ready = hub.crash().await?;

    let progress = Progress::of("coming back", plan.clients().into());
    let mut back = Vec::with_capacity(plan.clients() as usize);
    let give_up = killed + options.within;
    while back.len() < plan.clients() as usize {
        let next = tokio::time::timeout_at(give_up.into(), returns.recv());
        let Ok(Some(returned)) = next.await else {
            break;
        };
        progress.step();
        back.push(returned);
    }
    drop(progress);
    players.shutdown().await;
    Ok(told(&plan, killed, ready, &mut back))
}

fn told(plan: &Plan, killed: Instant, ready: Duration, back: &mut [Return]) -> Report {
    back.sort_by_key(|returned| returned.at);
    let clients = plan.clients() as usize;
    let seated: Vec<&Return> = back
        .iter()
        .filter(|one| one.seat == Outcome::Same)
        .collect();
    let after = |percent: usize| {
        let place = (clients * percent).div_ceil(100).saturating_sub(1);
        let returned = seated.get(place)?;
        Some((returned.at - killed).as_secs_f64() * 1000.0)
    };
    let with = |outcome| back.iter().filter(|one| one.seat == outcome).count() as u64;
    let mut resumes = histogram();
    for returned in &seated {
        resumes.saturating_record(micros(returned.took));
    }
    let tries: u64 = back.iter().map(|one| u64::from(one.tries)).sum();
    let ready = ready.as_secs_f64() * 1000.0;

    let mut report = Report::new("storm");
    report.count("clients", "players", plan.clients().into());
    report.count("per_room", "in each room", plan.per_room.into());
    report.number("ready_ms", "hub ready after the kill, ms", Some(ready), 0);
    report.number(
        "back_50_ms",
        "half are back in their seats, ms",
        after(50),
        0,
    );
    report.number("back_95_ms", "95 % are, ms", after(95), 0);
    report.number("back_all_ms", "all are, ms", after(100), 0);
    report.spread("resume_us", "a resume took", &resumes);
    let tries = tries as f64 / back.len().max(1) as f64;
    report.number("tries", "tries per player", Some(tries), 2);
    report.count("same_seat", "back in their seats", with(Outcome::Same));
    report.count(
        "other_seat",
        "back without their seats",
        with(Outcome::Other),
    );
    report.count("refused", "refused permanently", with(Outcome::Lost));
    report.count("missing", "not back in time", (clients - back.len()) as u64);
    report
}

/// Stays seated until the connection breaks, comes back, and stays.
async fn play(player: Player, address: SocketAddr, tell: mpsc::Sender<Return>) {
    let memory = Memory {
        token: player.token,
        channel: player.channel,
        seat: player.seat,
    };
    player.client.sit().await;
    let (returned, client) = come_back(address, &memory).await;
    // Fails only if the benchmark has stopped waiting.
    let _ = tell.send(returned).await;
    if let Some(client) = client {
        client.sit().await;
    }
}

async fn come_back(address: SocketAddr, memory: &Memory) -> (Return, Option<Client>) {
    let mut tries = 0;
    let mut least = Duration::ZERO;
    loop {
        tokio::time::sleep(back_off(tries).max(least)).await;
        tries += 1;
        let began = Instant::now();
        let resumed = resume(address, memory).await;
        let returned = |seat| Return {
            at: Instant::now(),
            took: began.elapsed(),
            tries,
            seat,
        };
        match resumed {
            Ok((client, seat)) => return (returned(seat), Some(client)),
            Err(ClientError::Closed { code, .. }) if code >= TERMINAL_FROM => {
                return (returned(Outcome::Lost), None);
            }
            Err(ClientError::Status { retry_after, .. }) => {
                least = retry_after.unwrap_or_default();
            }
            Err(_) => least = Duration::ZERO,
        }
    }
}

/// Connects with the token and subscribes to the room, as an SDK does.
async fn resume(address: SocketAddr, memory: &Memory) -> Result<(Client, Outcome), ClientError> {
    let mut client = Client::dial(address, Encoding::Json).await?;
    let welcome = client.connect(Some(&memory.token)).await?;
    let seats = welcome["seats"].as_array();
    let is_mine = |seat: &Value| {
        seat["channel"] == *memory.channel
            && seat["seat"].as_u64() == memory.seat
            && seat["status"] == "held"
    };
    let is_same = seats.is_some_and(|seats| seats.iter().any(is_mine));
    client.subscribe(&memory.channel).await?;
    let seat = if is_same {
        Outcome::Same
    } else {
        Outcome::Other
    };
    Ok((client, seat))
}

fn back_off(tries: u32) -> Duration {
    let most = BACK_OFF_MIN.saturating_mul(2_u32.saturating_pow(tries));
    let share = f64::from(u32::from_ne_bytes(random_bytes())) / f64::from(u32::MAX);
    (BACK_OFF_MIN + most.min(BACK_OFF_MAX).mul_f64(share)).min(BACK_OFF_MAX)
}
