//! Recovery under fire: lines are cut at random, and the hub is killed, while a lot is being said.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use holdfast::id::random_bytes;
use holdfast::wire::Encoding;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::subscriber::{Place, Record, Story, Subscriber};
use super::{place, position};
use crate::support::{Client, Daemon, Database, Player, Proxy, Refusal, eventually, repeated};

/// Words that a player says in one frame.
const WORDS_A_FRAME: usize = 10;

/// A room in which one player talks and many listen.
struct Stage {
    speaker: Player,
    record: Record,
    end: watch::Sender<Option<Place>>,
    listening: Vec<JoinHandle<Story>>,
}

impl Stage {
    /// Opens a room of this kind for somebody, with listeners behind these lines in turn.
    async fn set(
        daemon: &Daemon,
        somebody: &Player,
        kind: &str,
        listeners: usize,
        lines: &[Proxy],
    ) -> Stage {
        let opened = daemon.post("/v1/rooms", json!({ "kind": kind }));
        let opened = opened.by(&somebody.token).send().await.expect(201);
        let text = |name: &str| opened["room"][name].as_str().unwrap().to_owned();
        let speaker = Player {
            room: text("code"),
            channel: text("channel"),
            ..somebody.clone()
        };
        let begin = top_of_the_stream(daemon, &speaker).await;
        let record = Record::default();
        let end = watch::Sender::new(None);
        let mut listening = Vec::new();
        for index in 0..listeners {
            let fields = json!({ "spectate": true });
            let joined = Player::tries_to_join(daemon, &speaker.room, fields).await;
            let player = Player::from(&joined.expect(200));
            let subscriber = Subscriber {
                address: lines[index % lines.len()].address(),
                token: player.token,
                channel: player.channel,
                encoding: [Encoding::Json, Encoding::Protobuf][index % 2],
                begin: begin.clone(),
                record: record.clone(),
                end: end.subscribe(),
            };
            listening.push(tokio::spawn(subscriber.listen()));
        }
        Stage {
            speaker,
            record,
            end,
            listening,
        }
    }

    /// Ends the show: everybody has heard all of it, or was told that they have not.
    async fn ends(self, daemon: &Daemon) -> (Place, Record, Vec<Story>) {
        let end = top_of_the_stream(daemon, &self.speaker).await;
        self.end.send_replace(Some(end.clone()));
        let stories = join_all(self.listening).await;
        let stories = stories.into_iter().map(|story| story.unwrap()).collect();
        (end, self.record, stories)
    }
}

async fn top_of_the_stream(daemon: &Daemon, player: &Player) -> Place {
    let (mut client, _) = player.connects(daemon).await;
    let subscribed = client.subscribes(&player.channel).await.unwrap();
    let (epoch, offset) = position(&subscribed);
    Place { epoch, offset }
}

/// Lines that are cut one after the other, as chance will have it, until this is stopped.
fn cut_at_random(
    lines: Vec<Proxy>,
    every: Duration,
) -> (JoinHandle<Vec<Proxy>>, watch::Sender<bool>) {
    let stop = watch::Sender::new(false);
    let stopped = stop.subscribe();
    let cutting = tokio::spawn(async move {
        while !*stopped.borrow() {
            let [chance, ..] = random_bytes::<1>();
            lines[usize::from(chance) % lines.len()].cut();
            sleep(every).await;
        }
        lines
    });
    (cutting, stop)
}

async fn lines_to(daemon: &Daemon, count: usize) -> Vec<Proxy> {
    join_all((0..count).map(|_| Proxy::to(daemon.address()))).await
}

/// What one player knows of what it has said, whatever became of the hub meanwhile.
#[derive(Default)]
struct Sayings {
    said: u64,
    acknowledged: BTreeSet<u64>,
}

/// Says new words in each of these rooms, several in a frame, until so many were acknowledged in each. A word that was
/// refused, which takes a machine that is slow for seconds, may be said all the same.
async fn talks(daemon: &Daemon, rooms: &[(&str, Stage)], words: usize) -> Vec<Sayings> {
    let mut all: Vec<Sayings> = rooms.iter().map(|_| Sayings::default()).collect();
    let (mut client, _) = rooms[0].1.speaker.connects(daemon).await;
    while all.iter().any(|sayings| sayings.acknowledged.len() < words) {
        for ((_, stage), sayings) in rooms.iter().zip(&mut all) {
            let more = WORDS_A_FRAME.min(words - sayings.acknowledged.len()) as u64;
            let numbers = sayings.said..sayings.said + more;
            sayings.said += more;
            let channel = &stage.speaker.channel;
            let commands: Vec<_> = numbers
                .clone()
                .map(|number| {
                    let body = json!({ "channel": channel, "data": { "word": number } });
                    ("publish", body)
                })
                .collect();
            let ids = client.says_in_one_frame(&commands).await;
            for (number, id) in numbers.zip(ids) {
                match client.reply(id, "publish").await {
                    Ok(_) => drop(sayings.acknowledged.insert(number)),
                    Err(refusal) => assert_eq!(refusal.code(), 100, "{refusal:?}"),
                }
            }
        }
    }
    all
}

/// The numbers of the words among what was heard, in the order of their offsets.
fn words(heard: &[(u64, String)]) -> Vec<u64> {
    let data = heard
        .iter()
        .map(|(_, data)| serde_json::from_str::<Value>(data).unwrap());
    data.filter_map(|data| data["word"].as_u64()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_whose_lines_are_cut_miss_nothing_unless_they_are_told() {
    const PUBLISHERS: usize = 4;
    const ROOMS_EACH: usize = 5;
    const LISTENERS: usize = 10;
    let words_each = repeated(200, 1_000);
    let daemon = Daemon::on(Database::Sqlite)
        .set("kind.memory.seats", "2")
        .set("kind.memory.spectators", "100")
        .set("kind.duel.spectators", "100")
        .set("client.messages_per_second", "100000")
        .start()
        .await;
    let lines = lines_to(&daemon, 20).await;
    let mut publishers = Vec::new();
    for _ in 0..PUBLISHERS {
        let publisher = Player::opens(&daemon).await;
        let mut rooms = Vec::new();
        for kind in ["memory", "duel"].into_iter().cycle().take(ROOMS_EACH) {
            let stage = Stage::set(&daemon, &publisher, kind, LISTENERS, &lines).await;
            rooms.push((kind, stage));
        }
        publishers.push(rooms);
    }
    let (cutting, stop) = cut_at_random(lines, Duration::from_millis(100));

    let talking = publishers
        .iter()
        .map(|rooms| talks(&daemon, rooms, words_each));
    let sayings = join_all(talking).await;
    stop.send_replace(true);
    let _lines = cutting.await.unwrap();

    let rooms = publishers.into_iter().flatten();
    let (mut recovered, mut missed) = (0, 0);
    for ((kind, stage), sayings) in rooms.zip(sayings.into_iter().flatten()) {
        let (end, record, stories) = stage.ends(&daemon).await;
        let sum = |of: fn(&Story) -> u64| stories.iter().map(of).sum::<u64>();
        println!(
            "{kind}: {} heard, {} lines, {} recovered with {} missed, {} told that they missed some",
            sum(|story| story.heard),
            sum(|story| story.lines),
            sum(|story| story.recovered),
            sum(|story| story.made_up),
            sum(|story| story.not_recovered),
        );
        recovered += sum(|story| story.recovered);
        missed += sum(|story| story.made_up);
        // Who was never told otherwise has heard all there was since they came.
        let heard = record.until(&end);
        let offsets: Vec<u64> = heard.iter().map(|(offset, _)| *offset).collect();
        assert_eq!(offsets.last(), Some(&end.offset), "{kind}");
        assert!(offsets.windows(2).all(|pair| pair[0] + 1 == pair[1]));
        assert_words(&words(&heard), &sayings);
    }
    // The first line of each recovers too: what was said since the room was opened.
    let listeners = (PUBLISHERS * ROOMS_EACH * LISTENERS) as u64;
    assert!(
        recovered > listeners && missed > 0,
        "{recovered} recovered {missed}"
    );
}

/// Says words until it is stopped, and goes on with the next whenever one was not acknowledged.
async fn keeps_talking(
    daemon_address: std::net::SocketAddr,
    speaker: Player,
    stop: watch::Receiver<bool>,
) -> Sayings {
    let mut sayings = Sayings::default();
    while !*stop.borrow() {
        let Ok(mut client) = Client::try_dial(daemon_address).await else {
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        if client.connects(&speaker.token).await.is_err() {
            continue;
        }
        while !*stop.borrow() {
            let word = sayings.said;
            sayings.said += 1;
            let published = client
                .publishes(&speaker.channel, json!({ "word": word }))
                .await;
            match published {
                Ok(_) => drop(sayings.acknowledged.insert(word)),
                Err(Refusal::Error { .. }) => {}
                Err(Refusal::Closed { .. }) => break,
            }
        }
    }
    sayings
}

async fn no_acknowledged_word_is_lost_when_the_hub_is_killed_under_fire(database: Database) {
    const LISTENERS: usize = 10;
    const ROWS: u64 = 150;
    const KILLS: usize = 3;
    let mut daemon = Daemon::on(database)
        .set("kind.duel.spectators", "100")
        .set("kind.duel.history_size", "100000")
        .set("kind.duel.history_bytes", "64MiB")
        .set("client.messages_per_second", "100000")
        // Room for everything, so that nobody may be told that they missed something.
        .set("client.queue_count_max", "65536")
        .set("client.queue_bytes_max", "64MiB")
        .set("client.recovery_max", "10000")
        .start()
        .await;
    let lines = lines_to(&daemon, 5).await;
    let mut stages = Vec::new();
    for _ in 0..2 {
        let speaker = Player::opens(&daemon).await;
        stages.push(Stage::set(&daemon, &speaker, "duel", LISTENERS, &lines).await);
    }
    let (cutting, stop_cutting) = cut_at_random(lines, Duration::from_millis(100));
    let stop = watch::Sender::new(false);
    let address = daemon.address();
    let talking: Vec<_> = stages
        .iter()
        .map(|stage| {
            tokio::spawn(keeps_talking(
                address,
                stage.speaker.clone(),
                stop.subscribe(),
            ))
        })
        .collect();

    for _ in 0..KILLS {
        more_is_said(&daemon, ROWS).await;
        daemon.kill();
        daemon.restart().await;
    }
    more_is_said(&daemon, ROWS).await;
    stop.send_replace(true);
    let sayings = join_all(talking).await;
    stop_cutting.send_replace(true);
    let _lines = cutting.await.unwrap();

    for (stage, sayings) in stages.into_iter().zip(sayings) {
        let sayings = sayings.unwrap();
        let (speaker, channel) = (stage.speaker.clone(), stage.speaker.channel.clone());
        let (end, record, stories) = stage.ends(&daemon).await;
        // One epoch through all of it, and nobody was told that they missed anything.
        let lost: u64 = stories.iter().map(|story| story.not_recovered).sum();
        assert_eq!(lost, 0, "{stories:?}");
        let heard = record.until(&end);
        assert_words(&words(&heard), &sayings);
        // What the hub says now is what was heard then.
        let (mut client, _) = speaker.connects(&daemon).await;
        let history = json!({ "channel": channel, "limit": -1 });
        client.subscribes(&channel).await.unwrap();
        let history = client.asks("history", history).await.unwrap();
        let kept: BTreeMap<u64, Value> = super::publications(&history).iter().map(place).collect();
        assert!(kept.len() as u64 >= end.offset);
        for (offset, data) in &heard {
            assert_eq!(kept[offset], serde_json::from_str::<Value>(data).unwrap());
        }
        let kept: Vec<(u64, String)> = kept
            .into_iter()
            .map(|(offset, data)| (offset, data.to_string()))
            .collect();
        assert_words(&words(&kept), &sayings);
    }
}

/// Each word is there at most once and in order, and those that were acknowledged are all there.
#[track_caller]
fn assert_words(words: &[u64], sayings: &Sayings) {
    assert!(words.windows(2).all(|pair| pair[0] < pair[1]), "{words:?}");
    let found: BTreeSet<u64> = words.iter().copied().collect();
    let missing: Vec<_> = sayings.acknowledged.difference(&found).collect();
    assert!(missing.is_empty(), "acknowledged, and lost: {missing:?}");
    assert!(found.iter().all(|word| *word < sayings.said));
}

/// Waits until so many more publications are stored. However long that takes, it has to go on.
async fn more_is_said(daemon: &Daemon, count: u64) {
    let rows = async || {
        let sql = "SELECT count(*) FROM room_publications";
        u64::try_from(daemon.store().count(sql).await).unwrap()
    };
    let mut stored = rows().await;
    let enough = stored + count;
    while stored < enough {
        stored = eventually("more is said", async || {
            let now = rows().await;
            (now > stored).then_some(now).ok_or(format!("{now} rows"))
        })
        .await;
    }
}

crate::support::on_both_databases!(no_acknowledged_word_is_lost_when_the_hub_is_killed_under_fire,);
