//! Fifty players who keep on talking and listening while something else goes wrong.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::support::{Client, Daemon, Player, eventually};

const ROOMS: usize = 10;
const PLAYERS_IN_A_ROOM: usize = 5;

/// Between two words of one player.
const TALKS_EVERY: Duration = Duration::from_millis(200);

/// The players at play.
pub(super) struct Honest {
    stop: watch::Sender<bool>,
    playing: Vec<JoinHandle<Played>>,
}

/// One player afterwards.
struct Played {
    player: Player,
    client: Client,
    /// From publishing to the answer, of each word.
    latencies: Vec<Duration>,
}

impl Honest {
    /// Seats them and lets them play.
    pub(super) async fn play(daemon: &Daemon) -> Honest {
        let stop = watch::Sender::new(false);
        let rooms = join_all((0..ROOMS).map(|_| seat_room(daemon))).await;
        let playing = rooms
            .into_iter()
            .flatten()
            .map(|(player, client)| tokio::spawn(talk(player, client, stop.subscribe())))
            .collect();
        Honest { stop, playing }
    }

    /// Ends the game: nobody was closed, and everybody heard every word of their room in order.
    pub(super) async fn have_lost_nothing(self, attack: &str) {
        self.stop.send_replace(true);
        let mut played = Vec::new();
        for playing in self.playing {
            played.push(playing.await.expect("a player was cut off"));
        }
        for listener in &played {
            let room = played
                .iter()
                .filter(|speaker| speaker.player.room == listener.player.room);
            for speaker in room {
                listener.heard_all_of(speaker).await;
            }
        }
        let mut latencies: Vec<Duration> = played
            .iter()
            .flat_map(|played| played.latencies.clone())
            .collect();
        latencies.sort();
        assert!(latencies.len() >= played.len(), "the attack was too short");
        let p99 = latencies[latencies.len() * 99 / 100];
        println!("{attack}: {} words, p99 {p99:?}", latencies.len());
    }
}

impl Played {
    async fn heard_all_of(&self, speaker: &Played) {
        let words: Vec<usize> = (0..speaker.latencies.len()).collect();
        eventually("every word is heard", async || {
            assert!(self.client.is_open(), "an honest player was closed");
            let heard: Vec<usize> = self
                .client
                .heard_on(&self.player.channel)
                .iter()
                .filter(|word| word["data"]["by"] == speaker.player.user.as_str())
                .filter_map(|word| usize::try_from(word["data"]["word"].as_u64()?).ok())
                .collect();
            let is_all = heard == words;
            is_all.then_some(()).ok_or(format!("{heard:?}"))
        })
        .await;
    }
}

async fn seat_room(daemon: &Daemon) -> Vec<(Player, Client)> {
    let host = Player::opens(daemon).await;
    let guests = (1..PLAYERS_IN_A_ROOM).map(|_| Player::joins(daemon, &host.room));
    let mut players = join_all(guests).await;
    players.push(host);
    let seated = players.into_iter().map(async |player| {
        let client = player.sits_down(daemon).await;
        (player, client)
    });
    join_all(seated).await
}

async fn talk(player: Player, mut client: Client, stop: watch::Receiver<bool>) -> Played {
    let mut latencies = Vec::new();
    while !*stop.borrow() {
        let word = json!({ "by": player.user, "word": latencies.len() });
        let asked = Instant::now();
        client.publishes(&player.channel, word).await.unwrap();
        latencies.push(asked.elapsed());
        sleep(TALKS_EVERY).await;
    }
    Played {
        player,
        client,
        latencies,
    }
}
