//! What everybody notices when the database itself is in trouble, and that it passes by itself.

mod line;
mod postgres;
mod row;
mod sqlite;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::support::{Client, Daemon, Player, Request, eventually};

/// A request is answered in 4 s, so before the SDKs give up after 5 s, however the database is: far less than the
/// trouble lasts, and twice what the daemon takes, for a loaded machine.
const ANSWERED_WITHIN: Duration = Duration::from_secs(8);

/// Those who open rooms all the time: enough for groups of several commands.
const CROWD: usize = 8;

/// Rooms that are open before the trouble begins, so that it comes in the middle of something.
const ROOMS_BEFORE: usize = 40;

/// How long one of the crowd rests after an answer: the checks afterwards look at each room.
const REST: Duration = Duration::from_millis(20);

/// A session token in the right form that nobody has been given.
const UNKNOWN_TOKEN: &str = "hfs_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// What the trouble leaves of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Nothing,
    Reads,
}

/// A daemon in use: two players at a table, and a crowd that opens rooms all the time.
struct Evening {
    process: Option<u32>,
    host: Player,
    guest: Player,
    speaker: Client,
    listener: Client,
    crowd: Crowd,
}

impl Evening {
    async fn begins(daemon: &mut Daemon) -> Evening {
        let host = Player::opens(daemon).await;
        let guest = Player::joins(daemon, &host.room).await;
        let evening = Evening {
            process: daemon.live_process(),
            speaker: host.sits_down(daemon).await,
            listener: guest.sits_down(daemon).await,
            host,
            guest,
            crowd: Crowd::comes(daemon),
        };
        evening.crowd.has_opened(ROOMS_BEFORE).await;
        evening
    }

    /// The database is in trouble: what is promised meanwhile, in health, in the metrics and in the
    /// log, which has `symptom`.
    async fn goes_on_without(&mut self, daemon: &Daemon, left: Left, symptom: &str) {
        is_degraded(daemon, left).await;
        self.plays_on("in trouble").await;
        self.guest_comes_back(daemon).await;
        is_refused(daemon, &self.host.room, &mut self.speaker, left).await;
        // A line that is merely slow lets a write through now and then.
        let metrics = eventually("the metric says it too", async || {
            let metrics = daemon.metrics().await;
            let is_up = metrics.value("holdfast_part_up{part=\"writes\"}");
            (is_up == 0.0).then_some(metrics).ok_or(is_up.to_string())
        })
        .await;
        let log = daemon.log();

        assert!(metrics.sum("holdfast_writes_refused_total") > 0.0);
        assert!(log.contains("the database takes no writes"));
        assert!(log.contains(symptom), "the log does not say `{symptom}`");
    }

    /// The trouble is over: everything is as before, in the same process, and nothing that was
    /// acknowledged is lost.
    async fn ends_well(mut self, daemon: &mut Daemon) {
        let since = Instant::now();
        let seated = eventually("seats are sold again", async || {
            let answer = Player::tries_to_join(daemon, &self.host.room, json!({})).await;
            let is_sold = answer.status == 200;
            is_sold
                .then(|| Player::from(&answer.body))
                .ok_or(answer.text)
        })
        .await;
        eprintln!("seats are sold again after {:?}", since.elapsed());
        eventually("all is well", async || {
            let health = daemon.get("/api/health").send().await;
            let is_well = health.status == 200 && health.body["status"] == "ok";
            is_well.then_some(()).ok_or(health.text)
        })
        .await;
        self.plays_on("again").await;

        assert_eq!(seated.seat_in_room(daemon).await["status"], "away");
        let metrics = daemon.metrics().await;
        assert_eq!(metrics.value("holdfast_part_up{part=\"writes\"}"), 1.0);
        assert_eq!(daemon.live_process(), self.process, "it was started again");
        self.crowd.goes_home(daemon).await;
    }

    async fn plays_on(&mut self, word: &str) {
        self.speaker
            .publishes(&self.host.channel, json!(word))
            .await
            .unwrap();

        let heard = self.listener.hears_a_player(&self.host.channel).await;
        assert_eq!(heard["data"], word);
    }

    /// F5: the line is lost, what is said meanwhile is caught up on, and the seat is the same.
    async fn guest_comes_back(&mut self, daemon: &Daemon) {
        let heard = self.listener.heard_on(&self.host.channel);
        let offset = heard.last().and_then(|last| last["offset"].as_u64());
        let said = json!("missed");
        let publishing = self.speaker.publishes(&self.host.channel, said.clone());
        publishing.await.unwrap();

        let (mut client, data) = self.guest.connects(daemon).await;
        let fresh = client.subscribes(&self.host.channel).await.unwrap();
        client.unsubscribes(&self.host.channel).await.unwrap();
        let epoch = fresh["epoch"].as_str().unwrap();
        let recovered = client.recovers(&self.host.channel, epoch, offset.unwrap());
        let recovered = recovered.await.unwrap();

        assert_eq!(data["seats"][0]["seat"], self.guest.seat.unwrap());
        assert_eq!(data["seats"][0]["status"], "held");
        assert_eq!(recovered["recovered"], true, "{recovered}");
        let missed = recovered["publications"].as_array().unwrap();
        assert!(missed.iter().any(|one| one["data"] == said), "{recovered}");
        self.listener = client;
    }
}

/// Ready for those who play, and not well for who watches over it.
async fn is_degraded(daemon: &Daemon, left: Left) {
    let reason = match left {
        Left::Nothing => "does not answer",
        Left::Reads => "answers but takes no writes",
    };
    let ready = eventually("the daemon says that it is degraded", async || {
        let ready = daemon.get("/readyz").send().await;
        assert_eq!(ready.status, 200, "{ready:?}");
        let is_told = daemon.log().contains("the database takes no writes");
        let is_degraded = ready.body["status"] == "degraded" && is_told;
        is_degraded.then_some(ready.body).ok_or(ready.text)
    })
    .await;
    let health = daemon.get("/api/health").send().await;
    let alive = daemon.get("/livez").send().await;

    let told = ready["reason"].as_str().unwrap();
    assert!(told.contains(reason), "{ready}");
    assert_eq!((health.status, alive.status), (503, 200));
    assert_eq!(health.body["status"], "degraded");
    assert_eq!(health.body["database"], matches!(left, Left::Reads));
    assert_eq!(health.body["parts"]["writes"], "failing");
}

/// What must be stored is refused in time, over HTTP and over the socket, and says when to come back.
/// A token that could not be looked up is not said to be unknown.
async fn is_refused(daemon: &Daemon, room: &str, speaker: &mut Client, left: Left) {
    let began = Instant::now();
    let over_http = async {
        let refused = Player::tries_to_join(daemon, room, json!({})).await;
        (refused, began.elapsed())
    };
    let over_the_socket = speaker.calls("room.open", json!({}));
    let unknown = daemon.get("/v1/session").by(UNKNOWN_TOKEN).send();
    let ((refused, took), called, token) = tokio::join!(over_http, over_the_socket, unknown);

    assert_eq!(refused.refusal(), (503, "UNAVAILABLE"));
    assert!(
        refused.body["retry_after"].as_u64() >= Some(1),
        "{refused:?}"
    );
    assert!(refused.headers.contains_key("retry-after"), "{refused:?}");
    assert!(took < ANSWERED_WITHIN, "{took:?}");
    assert_eq!(called.map_err(|refusal| refusal.code()), Err(100));
    let found = match left {
        Left::Nothing => (503, "UNAVAILABLE"),
        Left::Reads => (401, "TOKEN_INVALID"),
    };
    assert_eq!(token.refusal(), found, "{token:?}");
}

/// Guests who open one room after the other, whatever they are told.
struct Crowd {
    opened: Arc<Mutex<Vec<Player>>>,
    /// They leave when this is dropped.
    guests: JoinSet<()>,
}

impl Crowd {
    fn comes(daemon: &Daemon) -> Crowd {
        let opened = Arc::new(Mutex::new(Vec::new()));
        let mut guests = JoinSet::new();
        for _ in 0..CROWD {
            guests.spawn(open_rooms(daemon.address(), Arc::clone(&opened)));
        }
        Crowd { opened, guests }
    }

    fn count(&self) -> usize {
        self.opened.lock().len()
    }

    async fn has_opened(&self, count: usize) {
        eventually("the crowd opens rooms", async || {
            let opened = self.count();
            (opened >= count).then_some(()).ok_or(format!("{opened}"))
        })
        .await;
    }

    /// Everything that one of them was told is there, and nothing is half there.
    async fn goes_home(mut self, daemon: &Daemon) {
        self.has_opened(self.count() + CROWD).await;
        assert!(self.guests.try_join_next().is_none(), "one was told wrong");
        self.guests.shutdown().await;
        let opened = self.opened.lock().split_off(0);
        let seated: HashSet<String> = daemon
            .store()
            .texts(
                "SELECT r.code FROM rooms r JOIN room_seats s ON s.room_id = r.id
                JOIN app_sessions a ON a.id = s.session_id
                JOIN session_tokens t ON t.session_id = a.id
                JOIN users u ON u.id = s.user_id AND u.id = a.user_id",
            )
            .await
            .into_iter()
            .collect();
        let is_lost = |player: &&Player| !seated.contains(&player.room);
        let lost: Vec<_> = opened.iter().filter(is_lost).collect();

        assert!(lost.is_empty(), "{} of {}", lost.len(), opened.len());
        for half in [
            "rooms WHERE id NOT IN (SELECT room_id FROM room_seats)",
            "app_sessions WHERE id NOT IN (SELECT session_id FROM session_tokens)",
            "app_sessions WHERE id NOT IN (SELECT session_id FROM room_seats)",
            "users WHERE id NOT IN (SELECT user_id FROM app_sessions)",
        ] {
            let sql = format!("SELECT count(*) FROM {half}");
            assert_eq!(daemon.store().count(&sql).await, 0, "{half}");
        }
        for player in opened.iter().rev().take(ROOMS_BEFORE) {
            let (_client, data) = player.connects(daemon).await;
            assert_eq!(data["seats"][0]["room"], player.room);
        }
    }
}

async fn open_rooms(address: SocketAddr, opened: Arc<Mutex<Vec<Player>>>) {
    loop {
        let body = json!({ "guest": { "name": "Cy" } });
        let request = Request::new(address, "POST", "/v1/rooms").json(&body);
        let answer = request.send().await;
        if answer.status == 201 {
            opened.lock().push(Player::from(&answer.body));
        } else {
            assert_eq!(answer.refusal(), (503, "UNAVAILABLE"), "{answer:?}");
        }
        sleep(REST).await;
    }
}
