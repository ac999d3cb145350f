//! One durable room: crashes, planned stops, a database that is away, and what is kept how long.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::Instant;

use super::{duel, place, position, publications, said};
use crate::support::{Daemon, Database, Player, eventually, on_both_databases};

on_both_databases!(
    who_comes_back_after_a_crash_gets_every_message_and_all_news_in_order,
    a_planned_stop_keeps_a_durable_history_too,
    what_is_heard_is_committed_and_a_newcomer_neither_misses_nor_doubles_it,
    many_publishers_at_once_are_each_answered_once_and_in_order,
    what_is_too_much_is_dropped_from_the_database,
    what_is_too_old_is_dropped_from_the_database,
    a_room_that_closes_says_so_and_leaves_no_history,
    a_room_that_fails_goes_on_with_its_stream,
);

/// Rows of publications that the database has.
const ROWS: &str = "SELECT count(*) FROM room_publications";

async fn who_comes_back_after_a_crash_gets_every_message_and_all_news_in_order(database: Database) {
    let mut daemon = Daemon::on(database).start().await;
    let ana = Player::opens_with(&daemon, json!({ "kind": "duel" })).await;
    let (mut client, _) = ana.connects(&daemon).await;
    let before = client.subscribes(&ana.channel).await.unwrap();
    let (epoch, _) = position(&before);
    let bo = Player::joins(&daemon, &ana.room).await;
    for number in 0..40 {
        let word = json!({ "move": number });
        client.publishes(&ana.channel, word).await.unwrap();
    }
    let heard = client.heard_on(&ana.channel);

    daemon.kill();
    daemon.restart().await;

    let (mut client, data) = ana.connects(&daemon).await;
    assert_eq!(data["seats"][0]["status"], "held");
    let after = client.recovers(&ana.channel, &epoch, 0).await.unwrap();
    assert_eq!(after["recovered"], true, "{after}");
    assert_eq!(after["epoch"], epoch.as_str());
    let missed = publications(&after);
    let offsets: Vec<u64> = missed.iter().map(|missed| place(missed).0).collect();
    let count = u64::try_from(missed.len()).unwrap();
    assert_eq!(offsets, (1..=count).collect::<Vec<_>>());
    let news: Vec<_> = missed
        .iter()
        .filter(|missed| missed["tags"]["from"] == "hub")
        .map(|missed| missed["data"]["type"].as_str().unwrap())
        .collect();
    assert_eq!(news[0], "seat.held");
    assert!(news.contains(&"room.ready"), "{news:?}");
    // As they were heard: who said it, when and with which tags.
    for publication in &heard {
        let offset = place(publication).0;
        assert_eq!(*publication, missed[usize::try_from(offset).unwrap() - 1]);
    }
    let words: Vec<_> = said(&missed).into_iter().map(|(_, word)| word).collect();
    let expected: Vec<_> = (0..40).map(|number| json!({ "move": number })).collect();
    assert_eq!(words, expected);

    let mut other = bo.sits_down(&daemon).await;
    client.publishes(&ana.channel, json!("on")).await.unwrap();
    let next = other.hears_a_player(&ana.channel).await;
    assert!(place(&next).0 > count, "{next}");
}

async fn a_planned_stop_keeps_a_durable_history_too(database: Database) {
    let mut daemon = Daemon::on(database).start().await;
    let (ana, mut client, ..) = duel(&daemon).await;
    client.publishes(&ana.channel, json!("move")).await.unwrap();
    let last = client.hears_a_player(&ana.channel).await;
    let request = json!({ "channel": ana.channel, "limit": -1 });
    let history = client.asks("history", request.clone()).await.unwrap();
    let (epoch, _) = position(&history);

    let status = daemon.stop().await;
    assert_eq!(client.closed().await.0, 3001);
    daemon.restart().await;

    assert_eq!(status.code(), Some(0));
    let (mut client, _) = ana.connects(&daemon).await;
    let offset = place(&last).0;
    let after = client.recovers(&ana.channel, &epoch, offset - 1).await;
    let after = after.unwrap();
    assert_eq!(after["recovered"], true, "{after}");
    assert_eq!(publications(&after)[0], last);
    // What was published since the restart follows what was read back.
    client.publishes(&ana.channel, json!("next")).await.unwrap();
    let whole = client.asks("history", request).await.unwrap();
    let (before, after) = (publications(&history), publications(&whole));
    assert_eq!(before[..], after[..before.len()]);
    let offsets: Vec<u64> = after.iter().map(|after| place(after).0).collect();
    assert!(offsets.windows(2).all(|pair| pair[0] + 1 == pair[1]));
}

async fn what_is_heard_is_committed_and_a_newcomer_neither_misses_nor_doubles_it(
    database: Database,
) {
    let daemon = Daemon::on(database)
        .set("faults.commit_delay", "300ms")
        .start()
        .await;
    let (ana, mut speaker, bo, _quiet) = duel(&daemon).await;
    let mut last = 0;
    for number in 0..3 {
        let word = json!({ "channel": ana.channel, "data": number });
        let id = speaker.says("publish", word).await;
        // While that is being written. Each subscribes once only: its next connection replaces it.
        let (mut newcomer, _) = bo.connects(&daemon).await;
        let subscribed = newcomer.subscribes(&ana.channel).await.unwrap();
        let (_, top) = position(&subscribed);
        speaker.reply(id, "publish").await.unwrap();
        let stored = daemon.store().count(ROWS).await;
        let own = loop {
            let own = speaker.hears_a_player(&ana.channel).await;
            if own["data"] == number {
                break place(&own).0;
            }
        };
        assert!(u64::try_from(stored).unwrap() >= own);
        assert!(own > last);
        last = own;

        let next = newcomer.publishes(&ana.channel, json!("mark")).await;
        next.unwrap();
        let heard: Vec<u64> = newcomer
            .heard_on(&ana.channel)
            .iter()
            .map(|heard| place(heard).0)
            .collect();
        let until = *heard.last().unwrap();
        let expected: Vec<u64> = (top + 1..=until).collect();
        assert_eq!(heard, expected, "subscribed at {top}");
        assert!(top >= own || heard.contains(&own));
    }
}

async fn many_publishers_at_once_are_each_answered_once_and_in_order(database: Database) {
    const PLAYERS: usize = 16;
    const WORDS: usize = 30;
    let daemon = Daemon::on(database)
        .set("kind.hall.seats", "16")
        .set("kind.hall.history_durable", "true")
        .set("kind.hall.history_size", "1000")
        .set("client.recovery_max", "1000")
        .start()
        .await;
    let host = Player::opens_with(&daemon, json!({ "kind": "hall" })).await;
    let mut players = vec![host.clone()];
    for _ in 1..PLAYERS {
        players.push(Player::joins(&daemon, &host.room).await);
    }
    let clients = join_all(players.iter().map(|player| player.sits_down(&daemon))).await;

    let clients = join_all(
        clients
            .into_iter()
            .enumerate()
            .map(async |(index, mut client)| {
                for number in 0..WORDS {
                    let word = json!([index, number]);
                    client.publishes(&host.channel, word).await.unwrap();
                }
                client
            }),
    )
    .await;

    let mut listener = clients.into_iter().next().unwrap();
    let mut heard = Vec::new();
    while heard.len() < PLAYERS * WORDS {
        heard.push(listener.hears_a_player(&host.channel).await);
    }
    for player in 0..PLAYERS {
        let own = said(&heard);
        let own = own.iter().filter(|(_, word)| word[0] == player);
        let numbers: Vec<u64> = own.map(|(_, word)| word[1].as_u64().unwrap()).collect();
        let expected: Vec<u64> = (0..WORDS as u64).collect();
        assert_eq!(numbers, expected, "player {player}");
    }
    let all = listener.heard_on(&host.channel);
    let offsets: Vec<u64> = all.iter().map(|publication| place(publication).0).collect();
    assert!(offsets.windows(2).all(|pair| pair[0] + 1 == pair[1]));
    // News of the seats may be on their way still, so the counts are not of one moment.
    eventually("each batch is counted and timed", async || {
        let metrics = daemon.metrics().await;
        let batches = metrics.value("holdfast_durable_batches_total{outcome=\"committed\"}");
        let publications = metrics.value("holdfast_durable_batch_size_sum");
        let timed = metrics.value("holdfast_durable_batch_duration_seconds_count");
        let is_so = batches < publications && timed == batches;
        is_so.then_some(()).ok_or(format!(
            "{batches} batches of {publications}, {timed} timed"
        ))
    })
    .await;
}

async fn what_is_too_much_is_dropped_from_the_database(database: Database) {
    let daemon = Daemon::on(database)
        .set("kind.duel.history_size", "10")
        .start()
        .await;
    let (ana, mut client, ..) = duel(&daemon).await;
    for number in 0..200 {
        client.publishes(&ana.channel, json!(number)).await.unwrap();
    }

    eventually("old rows are gone", async || {
        let rows = daemon.store().count(ROWS).await;
        let is_pruned = (10..=10 + 64 + 10).contains(&rows);
        is_pruned.then_some(()).ok_or(format!("{rows} rows"))
    })
    .await;
    let newest = "SELECT count(*) FROM room_publications p JOIN rooms r ON r.id = p.room_id \
                  WHERE p.\"offset\" > r.stream_top - 10";
    assert_eq!(daemon.store().count(newest).await, 10);
}

async fn what_is_too_old_is_dropped_from_the_database(database: Database) {
    let mut daemon = Daemon::on(database)
        .set("kind.duel.history_ttl", "2s")
        .start()
        .await;
    let (ana, mut client, ..) = duel(&daemon).await;
    client.publishes(&ana.channel, json!("move")).await.unwrap();
    let top = place(&client.hears_a_player(&ana.channel).await).0;
    let is_empty = async |daemon: &Daemon| {
        eventually("no row is left", async || {
            let rows = daemon.store().count(ROWS).await;
            (rows == 0).then_some(()).ok_or(format!("{rows} rows"))
        })
        .await;
    };

    is_empty(&daemon).await;
    client.publishes(&ana.channel, json!("more")).await.unwrap();
    let more = place(&client.hears_a_player(&ana.channel).await).0;
    assert!(more > top);
    // Of a room that nobody comes back to, too.
    daemon.kill();
    daemon.restart().await;
    is_empty(&daemon).await;
    let stored = daemon.store().count("SELECT stream_top FROM rooms").await;
    assert!(u64::try_from(stored).unwrap() >= more);
}

async fn a_room_that_closes_says_so_and_leaves_no_history(database: Database) {
    let daemon = Daemon::on(database)
        .set("kind.duel.empty_ttl", "1s")
        .set("kind.duel.spectators", "1")
        .start()
        .await;
    let ana = Player::opens_with(&daemon, json!({ "kind": "duel" })).await;
    let mut client = ana.sits_down(&daemon).await;

    let room = json!({ "room": ana.room });
    client.calls("seat.release", room).await.unwrap();

    let released = client.hears_news(&ana.channel, "seat.released").await;
    assert_eq!(released["reason"], "left");
    let closed = client.hears_news(&ana.channel, "room.closed").await;
    assert_eq!(closed["reason"], "empty");
    eventually("the history is gone", async || {
        let rows = daemon.store().count(ROWS).await;
        (rows == 0).then_some(()).ok_or(format!("{rows} rows"))
    })
    .await;
    assert_eq!(daemon.actors().await.rooms, 0);
}

async fn a_room_that_fails_goes_on_with_its_stream(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let (ana, mut client, bo, _quiet) = duel(&daemon).await;
    let (mut watch, _) = bo.connects(&daemon).await;
    let before = watch.subscribes(&ana.channel).await.unwrap();
    let (epoch, top) = position(&before);
    for number in 0..5 {
        client.publishes(&ana.channel, json!(number)).await.unwrap();
    }

    daemon
        .has_a_panic_in(&json!({ "in": "room", "room": ana.room }))
        .await;

    let after = eventually("the room is back", async || {
        let (mut client, _) = bo.connects(&daemon).await;
        let after = client.recovers(&ana.channel, &epoch, top).await;
        after.map_err(|refusal| format!("{refusal:?}"))
    })
    .await;
    assert_eq!(after["recovered"], true, "{after}");
    let words: Vec<_> = said(&publications(&after))
        .into_iter()
        .map(|(_, word)| word)
        .collect();
    assert_eq!(
        words,
        (0..5).map(|number| json!(number)).collect::<Vec<_>>()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_database_a_durable_room_says_unavailable_and_a_memory_room_plays_on() {
    let daemon = Daemon::on(Database::Postgres).behind_proxy().start().await;
    let (ana, mut client, bo, _quiet) = duel(&daemon).await;
    client.publishes(&ana.channel, json!(1)).await.unwrap();
    let table = Player::opens(&daemon).await;
    let mut memory = table.sits_down(&daemon).await;

    daemon.database_line().goes_down();
    let asked = Instant::now();
    let body = json!({ "channel": ana.channel, "data": "lost" });
    let id = client.says("publish", body).await;
    memory.publishes(&table.channel, json!("on")).await.unwrap();
    memory.hears_a_player(&table.channel).await;
    assert!(
        asked.elapsed() < Duration::from_secs(3),
        "a memory room waited"
    );
    let refused = client.reply(id, "publish").await.unwrap_err();
    let waited = asked.elapsed();
    assert_eq!(refused.code(), 100, "{refused:?}");
    assert!(
        format!("{refused:?}").contains("UNAVAILABLE"),
        "{refused:?}"
    );
    assert!(
        waited >= Duration::from_millis(3_500),
        "refused after {waited:?}"
    );
    assert!(waited < Duration::from_secs(10), "refused after {waited:?}");
    // News that come up meanwhile are kept.
    let (away, _) = bo.connects(&daemon).await;
    away.drops_the_line();

    daemon.database_line().comes_up();
    eventually("publications are taken again", async || {
        let taken = client.publishes(&ana.channel, json!(2)).await;
        taken.map_err(|refusal| format!("{refusal:?}"))
    })
    .await;
    client.hears_news(&ana.channel, "seat.away").await;
    let heard = client.heard_on(&ana.channel);
    let offsets: Vec<u64> = heard.iter().map(|heard| place(heard).0).collect();
    assert!(
        offsets.windows(2).all(|pair| pair[0] + 1 == pair[1]),
        "{offsets:?}"
    );
    let words: Vec<_> = said(&heard).into_iter().map(|(_, word)| word).collect();
    assert!(!words.contains(&json!("lost")), "{words:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publication_whose_commit_is_not_answered_is_heard_once() {
    let daemon = Daemon::on(Database::Postgres).behind_proxy().start().await;
    let (ana, mut client, ..) = duel(&daemon).await;
    let mut words = Vec::new();

    for round in 1..=10 {
        daemon.database_line().cut_the_next_answer_to(b"COMMIT");
        client.publishes(&ana.channel, json!(round)).await.unwrap();
        words.push(client.hears_a_player(&ana.channel).await["data"].clone());
    }

    assert_eq!(daemon.database_line().answers_cut(), 10);
    assert_eq!(
        words,
        (1..=10).map(|round| json!(round)).collect::<Vec<_>>()
    );
    let stored = "SELECT count(*) FROM room_publications WHERE info IS NOT NULL";
    assert_eq!(daemon.store().count(stored).await, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publication_that_the_database_refuses_is_refused_alone() {
    let daemon = Daemon::on(Database::Sqlite)
        .set("faults.commit_delay", "100ms")
        .start()
        .await;
    let (ana, mut one, _bo, mut two) = duel(&daemon).await;
    daemon
        .store()
        .execute(
            "CREATE TRIGGER none_is_bad BEFORE INSERT ON room_publications \
             WHEN NEW.data = CAST('\"bad\"' AS BLOB) BEGIN SELECT RAISE(ABORT, 'bad'); END",
        )
        .await;

    for round in 0..5 {
        let body = |word: serde_json::Value| json!({ "channel": ana.channel, "data": word });
        // The first batch is on its way while the other two meet in the next.
        let first = one.says("publish", body(json!(round))).await;
        let bad = two.says("publish", body(json!("bad"))).await;
        one.reply(first, "publish").await.unwrap();
        let good = one.says("publish", body(json!("good"))).await;
        assert_eq!(two.reply(bad, "publish").await.unwrap_err().code(), 100);
        one.reply(good, "publish").await.unwrap();
    }

    let heard = one.heard_on(&ana.channel);
    let offsets: Vec<u64> = heard.iter().map(|heard| place(heard).0).collect();
    assert!(
        offsets.windows(2).all(|pair| pair[0] + 1 == pair[1]),
        "{offsets:?}"
    );
    assert_eq!(said(&heard).len(), 10);
}
