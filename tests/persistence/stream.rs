//! Durable streams: what is published is there after a crash, once, and in order.

use std::time::Duration;

use futures_util::future::join_all;
use holdfast::clock::HubTime;
use holdfast::config::Config;
use holdfast::persistence::{
    Command, Committed, ExpiredRows, HistoryWindow, NewPublication, Persistence, Publish, Refused,
    RemoveHistory, SoftWrite, StoredPublication, StoredStream, StreamCommand, StreamId, Sweep,
    WriteError,
};
use tokio::time::{Instant, sleep};

use super::database::{Database, PATIENCE};
use super::on_both;
use super::proxy::{Fate, Proxy};
use super::run::restore;
use super::vocabulary::{Player, Room};
use super::write::write_as_one_group;
use crate::support::eventually;

on_both!(
    publications_get_the_offsets_that_follow_and_outlive_a_crash,
    two_batches_of_one_stream_follow_each_other_even_when_they_come_together,
    a_batch_for_another_epoch_is_refused_and_changes_nothing,
    a_batch_with_a_bad_row_fails_alone,
    a_history_is_read_from_its_newest_end_within_its_bounds,
    what_is_no_longer_kept_is_dropped_by_a_mark,
    much_that_is_no_longer_kept_is_dropped_in_steps,
    a_removed_history_leaves_epoch_and_top,
    a_planned_stop_leaves_durable_streams_alone,
    a_kind_that_lost_its_durability_begins_anew,
);

const NOW: HubTime = HubTime(1_000_000);

fn said(text: impl Into<String>) -> NewPublication {
    NewPublication {
        data: text.into().into(),
        info: None,
        tags: None,
        time: NOW,
    }
}

fn publish(stream: StreamId, publications: impl IntoIterator<Item = NewPublication>) -> Command {
    StreamCommand::Publish(Publish {
        stream,
        publications: publications.into_iter().collect(),
    })
    .into()
}

/// A batch for a stream that the database has.
fn more(room: &Room, texts: &[&str]) -> Command {
    let publications = texts.iter().map(|text| said(*text));
    publish(stream(room, None), publications)
}

/// The first batch of a stream.
fn first(room: &Room, texts: &[&str]) -> Command {
    let publications = texts.iter().map(|text| said(*text));
    publish(stream(room, Some(0)), publications)
}

fn stream(room: &Room, begins_after: Option<u64>) -> StreamId {
    StreamId {
        room: room.id,
        epoch: "first".into(),
        begins_after,
    }
}

fn window(room: &Room, top: u64) -> HistoryWindow {
    HistoryWindow {
        room: room.id,
        epoch: "first".into(),
        top,
        count_max: 10_000,
        bytes_max: 1 << 20,
        since: HubTime(0),
    }
}

async fn open(persistence: &Persistence) -> Room {
    let room = Room::new();
    let opened = persistence.write(Player::new().opens(&room)).await;
    opened.unwrap();
    room
}

async fn told(persistence: &Persistence, room: &Room, top: u64) -> Vec<(u64, String)> {
    let found = persistence.history(window(room, top)).await.unwrap();
    found.into_iter().map(text).collect()
}

fn text(publication: StoredPublication) -> (u64, String) {
    let data = String::from_utf8(publication.data.to_vec()).unwrap();
    (publication.offset, data)
}

fn published(first: u64) -> Result<Committed, WriteError> {
    Ok(Committed::Published { first })
}

async fn publications_get_the_offsets_that_follow_and_outlive_a_crash(database: Database) {
    let hub = database.start().await;
    hub.persistence.begin_run().await.unwrap();
    let room = open(&hub.persistence).await;
    let full = NewPublication {
        info: Some("{\"user\":\"ana\"}".into()),
        tags: Some("{\"from\":\"hub\"}".into()),
        ..said("c")
    };

    let one = hub.persistence.write(first(&room, &["a", "b"])).await;
    let batch = publish(stream(&room, None), [full]);
    let two = hub.persistence.write(batch).await;
    // Without its marks, as after kill -9.
    hub.stop().await;

    assert_eq!([one, two], [published(1), published(3)]);
    let hub = database.start().await;
    assert!(!hub.persistence.begin_run().await.unwrap().is_clean);
    let (rooms, _) = restore(&hub.persistence).await;
    let by_code = hub.persistence.room_by_code(room.code).await.unwrap();
    for StoredStream {
        epoch,
        top,
        is_continued,
        is_durable,
        publications,
    } in [rooms[0].stream.clone(), by_code.unwrap().stream]
    {
        assert_eq!((&*epoch, top), ("first", 3));
        assert!(is_continued && is_durable && publications.is_empty());
    }
    let found = hub.persistence.history(window(&room, 3)).await.unwrap();
    assert_eq!(
        found[2],
        StoredPublication {
            offset: 3,
            data: "c".into(),
            info: Some("{\"user\":\"ana\"}".into()),
            tags: Some("{\"from\":\"hub\"}".into()),
            time: NOW,
        }
    );
    assert_eq!(found[0].info, None);
    let next = hub.persistence.write(more(&room, &["d"])).await;
    assert_eq!(next, published(4));
}

async fn two_batches_of_one_stream_follow_each_other_even_when_they_come_together(
    database: Database,
) {
    let hub = database.start().await;
    let (room, other) = (open(&hub.persistence).await, open(&hub.persistence).await);

    let answers = write_as_one_group(
        &database,
        &hub.persistence,
        vec![
            first(&room, &["a"]),
            first(&other, &["x", "y"]),
            first(&room, &["b", "c"]),
            more(&room, &["d"]),
        ],
    )
    .await;

    assert_eq!(
        answers,
        [published(1), published(1), published(2), published(4)]
    );
    let found = told(&hub.persistence, &room, 4).await;
    let found: Vec<_> = found.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(found, ["a", "b", "c", "d"]);
}

async fn a_batch_for_another_epoch_is_refused_and_changes_nothing(database: Database) {
    let hub = database.start().await;
    let room = open(&hub.persistence).await;
    let unbegun = hub.persistence.write(more(&room, &["a"])).await;
    hub.persistence.write(first(&room, &["a"])).await.unwrap();

    let mut other = stream(&room, None);
    other.epoch = "other".into();
    let stale = hub.persistence.write(publish(other, [said("b")])).await;
    let nowhere = hub.persistence.write(more(&Room::new(), &["b"])).await;

    for answer in [unbegun, stale, nowhere] {
        assert_eq!(answer, Err(WriteError::Refused(Refused::StreamChanged)));
    }
    assert_eq!(database.count("room_publications").await, 1);
}

async fn a_batch_with_a_bad_row_fails_alone(database: Database) {
    let hub = database.start().await;
    let rooms = join_all((0..40).map(|_| open(&hub.persistence))).await;
    let begun = rooms.iter().map(|room| first(room, &["a"]));
    join_all(begun.map(|first| hub.persistence.write(first))).await;
    // A row with this data is refused by the database itself.
    database.refuse_publication("bad").await;

    let batches = rooms.iter().enumerate().map(|(index, room)| {
        let text = if index == 17 { "bad" } else { "good" };
        more(room, &["fine", text])
    });
    let answers = write_as_one_group(&database, &hub.persistence, batches.collect()).await;

    for (index, answer) in answers.into_iter().enumerate() {
        let expected = if index == 17 {
            Err(WriteError::Refused(Refused::Internal))
        } else {
            published(2)
        };
        assert_eq!(answer, expected, "{index}");
    }
    // Nothing of it is stored, and its offsets are free.
    let next = hub.persistence.write(more(&rooms[17], &["again"])).await;
    assert_eq!(next, published(2));
    assert_eq!(database.count("room_publications").await, 40 + 2 * 39 + 1);
}

async fn a_history_is_read_from_its_newest_end_within_its_bounds(database: Database) {
    let hub = database.start().await;
    let room = open(&hub.persistence).await;
    let many: Vec<NewPublication> = (1..=1000)
        .map(|offset| NewPublication {
            time: HubTime(offset),
            ..said(format!("{offset:04}"))
        })
        .collect();
    let batch = publish(stream(&room, Some(0)), many);
    hub.persistence.write(batch).await.unwrap();
    let read = async |window: HistoryWindow| {
        let found = hub.persistence.history(window).await.unwrap();
        let offsets: Vec<u64> = found.iter().map(|found| found.offset).collect();
        let first = offsets.first().copied();
        assert!(offsets.windows(2).all(|pair| pair[0] + 1 == pair[1]));
        (first, offsets.last().copied())
    };
    let whole = window(&room, 1000);

    assert_eq!(read(whole.clone()).await, (Some(1), Some(1000)));
    let few = HistoryWindow {
        count_max: 300,
        ..whole.clone()
    };
    assert_eq!(read(few).await, (Some(701), Some(1000)));
    let light = HistoryWindow {
        bytes_max: 4 * 600,
        ..whole.clone()
    };
    assert_eq!(read(light).await, (Some(401), Some(1000)));
    let fresh = HistoryWindow {
        since: HubTime(991),
        ..whole.clone()
    };
    assert_eq!(read(fresh).await, (Some(991), Some(1000)));
    let earlier = HistoryWindow {
        top: 500,
        ..whole.clone()
    };
    assert_eq!(read(earlier).await, (Some(1), Some(500)));
    database
        .sql("DELETE FROM room_publications WHERE \"offset\" = 600")
        .await;
    assert_eq!(read(whole.clone()).await, (Some(601), Some(1000)));
    let ahead = HistoryWindow { top: 1001, ..whole };
    assert_eq!(read(ahead).await, (None, None));
}

async fn what_is_no_longer_kept_is_dropped_by_a_mark(database: Database) {
    let hub = database.start().await;
    let rooms = join_all((0..3).map(|_| open(&hub.persistence))).await;
    for room in &rooms {
        let batch = first(room, &["a", "b", "c", "d"]);
        hub.persistence.write(batch).await.unwrap();
    }

    for (room, below) in rooms.iter().zip([2, 4]) {
        hub.persistence.mark(SoftWrite::PruneHistory {
            room: room.id,
            epoch: "first".into(),
            below,
        });
    }
    let deadline = Instant::now() + PATIENCE;
    while database.count("room_publications").await != 3 + 1 + 4 && Instant::now() < deadline {
        sleep(Duration::from_millis(20)).await;
    }

    let left = async |room| told(&hub.persistence, room, 4).await.len();
    let left = [
        left(&rooms[0]).await,
        left(&rooms[1]).await,
        left(&rooms[2]).await,
    ];
    assert_eq!(left, [3, 1, 4]);
}

async fn much_that_is_no_longer_kept_is_dropped_in_steps(database: Database) {
    const BATCHES: u64 = 5;
    let hub = database.start().await;
    let room = open(&hub.persistence).await;
    for batch in 0..BATCHES {
        let many = (0..1_000).map(|_| said("x"));
        let begins_after = (batch == 0).then_some(0);
        let batch = publish(stream(&room, begins_after), many);
        hub.persistence.write(batch).await.unwrap();
    }

    hub.persistence.mark(SoftWrite::PruneHistory {
        room: room.id,
        epoch: "first".into(),
        below: BATCHES * 1_000 + 1,
    });

    // As much at a time as holds up nobody for long, until all of it is gone.
    eventually("all is gone", async || {
        let rows = database.count("room_publications").await;
        assert!([5_000, 904, 0].contains(&rows), "{rows} rows");
        (rows == 0).then_some(()).ok_or(rows.to_string())
    })
    .await;
}

async fn a_removed_history_leaves_epoch_and_top(database: Database) {
    let hub = database.start().await;
    let room = open(&hub.persistence).await;
    let batch = first(&room, &["a", "b", "c"]);
    hub.persistence.write(batch).await.unwrap();

    let removal = StreamCommand::RemoveHistory(RemoveHistory {
        room: room.id,
        epoch: "first".into(),
        up_to: 2,
    });
    let removed = hub.persistence.write(removal).await;
    let next = hub.persistence.write(more(&room, &["d"])).await;

    assert_eq!((removed, next), (Ok(Committed::Done), published(4)));
    let left = told(&hub.persistence, &room, 4).await;
    assert_eq!(left, [(3, "c".into()), (4, "d".into())]);
}

async fn a_planned_stop_leaves_durable_streams_alone(database: Database) {
    let hub = database.start().await;
    hub.persistence.begin_run().await.unwrap();
    let (durable, memory) = (open(&hub.persistence).await, open(&hub.persistence).await);
    let batch = first(&durable, &["a", "b"]);
    hub.persistence.write(batch).await.unwrap();
    let written_out = StoredStream {
        epoch: "memory".into(),
        top: 1,
        is_continued: true,
        is_durable: false,
        publications: vec![StoredPublication {
            offset: 1,
            data: "m".into(),
            info: None,
            tags: None,
            time: NOW,
        }],
    };
    let streams = vec![(memory.id, written_out)];
    let now = hub.clock.now();
    let stopped = hub.persistence.clean_stop(streams, now, PATIENCE).await;
    stopped.unwrap();
    hub.stop().await;

    let hub = database.start().await;
    assert!(hub.persistence.begin_run().await.unwrap().is_clean);
    let (rooms, _) = restore(&hub.persistence).await;

    let stream_of = |room: &Room| {
        let found = rooms.iter().find(|found| found.id == room.id);
        found.unwrap().stream.clone()
    };
    let stream = stream_of(&durable);
    assert_eq!((&*stream.epoch, stream.top), ("first", 2));
    assert!(stream.is_durable && stream.publications.is_empty());
    assert_eq!(told(&hub.persistence, &durable, 2).await.len(), 2);
    let stream = stream_of(&memory);
    assert_eq!((&*stream.epoch, stream.publications.len()), ("memory", 1));
    // Once the room has gone on with it, it is swept.
    hub.persistence.room_starts(memory.id);
    let sweep = Sweep {
        what: ExpiredRows::Histories(vec![memory.id, durable.id]),
        before: NOW,
    };
    let swept = hub.persistence.sweep(sweep).await.unwrap();
    assert_eq!(swept, [("room_publications", 1)]);
    assert_eq!(database.count("room_publications").await, 2);
}

async fn a_kind_that_lost_its_durability_begins_anew(mut database: Database) {
    let hub = database.start().await;
    let room = open(&hub.persistence).await;
    hub.persistence.write(first(&room, &["a"])).await.unwrap();
    hub.stop().await;

    // Room opens as a table, which has no durable history by default.
    let table = Config::default().kind["table"].clone();
    database.config.kind.insert("table".into(), table);
    let hub = database.start().await;
    hub.persistence.begin_run().await.unwrap();
    let found = hub.persistence.room_by_code(room.code).await.unwrap();

    let stream = found.unwrap().stream;
    assert_eq!((&*stream.epoch, stream.top), ("", 0));
    assert!(!stream.is_durable && !stream.is_continued);
    assert_eq!(database.count("room_publications").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_whose_commit_is_not_answered_is_neither_doubled_nor_told_wrongly() {
    let Some(mut database) = Database::postgres().await else {
        return;
    };
    let proxy = Proxy::before(&database.url).await;
    database.config.database.url = proxy.url.clone().into();
    let hub = database.start().await;
    let room = open(&hub.persistence).await;
    hub.persistence.write(first(&room, &["0"])).await.unwrap();
    let beside = join_all((0..10).map(|_| open(&hub.persistence))).await;

    for round in 1..=5_u64 {
        proxy.swallow_next_commit(Fate::Cut);
        let text = round.to_string();
        let batch = hub.persistence.write(more(&room, &[&text, "and more"]));
        let others = beside.iter().map(|room| first(room, &["beside"]));
        let others = join_all(others.map(|batch| hub.persistence.write(batch)));
        let (answer, others) = tokio::join!(batch, others);

        assert_eq!(answer, published(2 * round), "{round}");
        assert!(others.iter().all(|other| *other == published(round)));
        assert_eq!(proxy.swallowed(), usize::try_from(round).unwrap());
    }

    let found = told(&hub.persistence, &room, 11).await;
    let expected = (1..=5_u64).flat_map(|round| [round.to_string(), "and more".to_owned()]);
    let texts: Vec<String> = found.into_iter().map(|(_, text)| text).collect();
    let expected: Vec<String> = std::iter::once("0".to_owned()).chain(expected).collect();
    assert_eq!(texts, expected);
    assert_eq!(database.count("room_publications").await, 11 + 10 * 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_has_waited_elsewhere_is_refused_at_its_own_deadline() {
    let mut database = Database::sqlite();
    database.config.persistence.deadline = Duration::from_secs(15);
    let hub = database.start().await;
    let room = open(&hub.persistence).await;
    let _stalled = database.stall().await;
    let write = |age: Duration| {
        let (tell, told) = tokio::sync::oneshot::channel();
        let submitted = Instant::now().checked_sub(age).unwrap();
        let answered = move |answer| drop(tell.send(answer));
        let batch = first(&room, &["a"]);
        hub.persistence.write_since(batch, submitted, answered);
        told
    };
    // The writer takes this one and is held up with it.
    let taken = write(Duration::ZERO);
    sleep(Duration::from_millis(100)).await;
    let began = Instant::now();
    let young = write(Duration::ZERO);

    let old = write(Duration::from_millis(14_500)).await.unwrap();

    assert!(matches!(
        old,
        Err(WriteError::Refused(Refused::Unavailable { .. }))
    ));
    assert!(began.elapsed() < Duration::from_secs(10), "not at its own");
    drop((taken, young));
}
