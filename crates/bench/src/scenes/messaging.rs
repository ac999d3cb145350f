//! `bench rooms` and `bench fanout`: players publish, and the delay until all members receive it is measured.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::player::{ActivePlayer, Circle, Stage};
use super::seating::{self, Plan, Player};
use crate::counters::Counts;
use crate::error::BenchError;
use crate::hub::Hub;
use crate::open_loop::{Due, Pace, TURNS_OWED_MAX};
use crate::option::{CLIENTS_MAX, FanoutOptions, RoomsOptions, TalkOptions};
use crate::process::Process;
use crate::progress;
use crate::report::Report;
use holdfast_wire::Encoding;

/// Settings for a hub that is started: players in a closed loop send more than the default limits allow.
const UNLIMITED: [&str; 3] = [
    "client.messages_per_second=100000",
    "client.bytes_per_second=1GiB",
    "kind.lobby.message_max=64KiB",
];

/// The load: size and rate of the messages.
#[derive(Debug)]
struct Script<'a> {
    talk: &'a TalkOptions,
    rate: u32,
    in_flight: u32,
}

/// The measurements between two moments.
#[derive(Debug)]
struct Measured {
    counts: [Counts; 2],
    /// Deliveries lost since the start, before and after the measurement as well.
    lost: u64,
    missed_turns: u64,
    silent: u64,
    took: Duration,
    hub_cpu: Option<Duration>,
    own_cpu: Option<Duration>,
}

pub(crate) async fn rooms(options: &RoomsOptions) -> Result<Report, BenchError> {
    let plan = Plan {
        kind: Plan::kind(options.kind.as_deref(), options.target.address.is_none()),
        rooms: options.rooms,
        per_room: options.per_room,
        encoding: options.talk.encoding(),
    };
    if plan.clients() > CLIENTS_MAX {
        let clients = plan.clients();
        let words = format!(
            "{clients} clients are too many: at most {CLIENTS_MAX} can dial from one address"
        );
        return Err(BenchError::Usage(words));
    }
    let mut settings = Plan::settings(plan.per_room);
    settings.extend(UNLIMITED.map(str::to_owned));
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let hub = Hub::find(&options.target, &settings, plan.clients()).await?;
    let rooms = seating::seat(&hub, &plan).await?;
    let script = Script {
        talk: &options.talk,
        rate: options.rate,
        in_flight: 1,
    };
    let mut report = Report::new("rooms");
    report.count("rooms", "rooms", plan.rooms.into());
    report.count("per_room", "players in each", plan.per_room.into());
    script.perform(&hub, rooms, report).await
}

pub(crate) async fn fanout(options: &FanoutOptions) -> Result<Report, BenchError> {
    let hub = Hub::find(&options.target, &UNLIMITED, options.clients).await?;
    let members = seating::gather(
        &hub,
        &options.kind,
        options.clients,
        options.talk.encoding(),
    )
    .await?;
    let script = Script {
        talk: &options.talk,
        rate: options.rate,
        in_flight: options.in_flight,
    };
    let mut report = Report::new("fanout");
    report.count("clients", "members", options.clients.into());
    script.perform(&hub, vec![members], report).await
}

impl Script<'_> {
    async fn perform(
        &self,
        hub: &Hub,
        rooms: Vec<Vec<Player>>,
        mut report: Report,
    ) -> Result<Report, BenchError> {
        let stage = Stage::new(self.talk.encoding(), self.talk.payload as usize);
        let stage = Arc::new(stage);
        let mut tasks = JoinSet::new();
        let (circles, takers) = self.assemble(rooms, &stage, &mut tasks);
        let pace = (self.rate > 0).then(|| Pace::start(stage.began(), self.rate, takers));
        let measured = self.measure(hub, &stage, &circles, pace).await;
        tasks.shutdown().await;
        if measured.counts[1].heard == measured.counts[0].heard {
            let why = stage.tally.trouble();
            return Err(BenchError::Nothing(
                why.unwrap_or_else(|| "no message was received".to_owned()),
            ));
        }
        self.tell(hub, &mut report, &measured);
        let delays = stage.tally.delays();
        report.spread("delay_us", "from scheduled to received", &delays);
        // How unevenly the hub serves its rooms: under full load a fair queue has little more than 1.
        let unevenness = delays.value_at_quantile(0.99) as f64 / delays.mean().max(1.0);
        report.number(
            "p99_by_mean",
            "p99 divided by the mean",
            Some(unevenness),
            2,
        );
        if let Some(trouble) = stage.tally.trouble() {
            report.text("trouble", "first error", &trouble);
        }
        report.number(
            "hub_resident_kib",
            "hub's memory, KiB",
            hub.process()
                .and_then(Process::resident_kib)
                .map(|kib| kib as f64),
            0,
        );
        Ok(report)
    }

    /// Starts a task for each player. Returns the order of turns: a member of each room, then the next of each.
    fn assemble(
        &self,
        rooms: Vec<Vec<Player>>,
        stage: &Arc<Stage>,
        tasks: &mut JoinSet<()>,
    ) -> (Vec<Arc<Circle>>, Vec<mpsc::Sender<Due>>) {
        let is_free = self.rate == 0;
        let mut circles = Vec::with_capacity(rooms.len());
        let mut takers = Vec::new();
        for players in rooms {
            let members = u32::try_from(players.len()).expect("at most CLIENTS_MAX");
            let under_way = if is_free { self.in_flight } else { 0 };
            let channel = players.first().map(|player| Arc::clone(&player.channel));
            let circle = Circle::new(channel.unwrap_or_default(), members, under_way);
            let circle = Arc::new(circle);
            for (place, player) in players.into_iter().enumerate() {
                let (taker, turns) = mpsc::channel(TURNS_OWED_MAX);
                takers.push((place, taker));
                let opens = if is_free && place == 0 {
                    self.in_flight
                } else {
                    0
                };
                let voice = ActivePlayer::new(takers.len(), player.client, &circle, stage);
                tasks.spawn(voice.play(turns, opens));
            }
            circles.push(circle);
        }
        takers.sort_by_key(|(place, _)| *place);
        (
            circles,
            takers.into_iter().map(|(_, taker)| taker).collect(),
        )
    }

    async fn measure(
        &self,
        hub: &Hub,
        stage: &Stage,
        circles: &[Arc<Circle>],
        pace: Option<Pace>,
    ) -> Measured {
        progress::wait("warming up", Instant::now() + self.talk.warm_up).await;
        let heard_before: Vec<u64> = circles.iter().map(|circle| circle.heard()).collect();
        let cpu = || (hub.process().and_then(Process::cpu), Process::this().cpu());
        let (hub_before, own_before) = cpu();
        let (begun, before) = (Instant::now(), stage.tally.counts());
        stage.tally.begin(stage.now());
        progress::wait("measuring", begun + self.talk.duration).await;
        stage.tally.end(stage.now());
        let (after, took) = (stage.tally.counts(), begun.elapsed());
        let (hub_after, own_after) = cpu();
        let heard = circles.iter().zip(heard_before);
        let silent = heard
            .filter(|(circle, before)| circle.heard() == *before)
            .count();
        stage.end();
        let missed_turns = pace.map_or(0, Pace::stop);
        Measured {
            counts: [before, after],
            lost: stage.lost(circles).await,
            missed_turns,
            silent: silent as u64,
            took,
            hub_cpu: hub_after
                .zip(hub_before)
                .map(|(after, before)| after - before),
            own_cpu: own_after
                .zip(own_before)
                .map(|(after, before)| after - before),
        }
    }

    fn tell(&self, hub: &Hub, report: &mut Report, measured: &Measured) {
        let [before, after] = measured.counts;
        let seconds = measured.took.as_secs_f64();
        let heard = (after.heard - before.heard) as f64;
        let said = (after.said - before.said) as f64;
        let mode = if self.rate == 0 {
            "as fast as received"
        } else {
            "at set times"
        };
        report.text("mode", "messages", mode);
        let protocol = match self.talk.encoding() {
            Encoding::Json => "json",
            Encoding::Protobuf => "protobuf",
        };
        report.text("protocol", "encoding", protocol);
        report.count("rate", "requested, a second", self.rate.into());
        report.count("payload_bytes", "bytes of each", self.talk.payload.into());
        report.number("seconds", "measured for, s", Some(seconds), 2);
        report.number(
            "messages_per_second",
            "messages a second",
            Some(said / seconds),
            1,
        );
        report.number(
            "deliveries_per_second",
            "deliveries a second",
            Some(heard / seconds),
            0,
        );
        let per_cpu =
            |cpu: Option<Duration>| Some(heard / cpu.filter(|cpu| !cpu.is_zero())?.as_secs_f64());
        let share = |cpu: Option<Duration>| cpu.map(|cpu| 100.0 * cpu.as_secs_f64() / seconds);
        report.number(
            "deliveries_per_hub_cpu_second",
            "deliveries per second of the hub's CPU",
            per_cpu(measured.hub_cpu),
            0,
        );
        report.number(
            "hub_cpu_percent",
            "hub's CPU, %",
            share(measured.hub_cpu),
            1,
        );
        report.number(
            "own_cpu_percent",
            "generator's CPU, %",
            share(measured.own_cpu),
            1,
        );
        if let Some(cores) = hub.process().and_then(Process::cores) {
            report.count("hub_cores", "cores for the hub", cores);
        }
        report.count("lost", "deliveries lost", measured.lost);
        report.count("silent_rooms", "silent rooms", measured.silent);
        report.count("refused", "messages refused", after.refused);
        report.count("cut", "players cut off", after.cut);
        report.count("missed_turns", "skipped turns", measured.missed_turns);
    }
}
