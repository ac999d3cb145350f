//! What a planned stop leaves behind, however much there is to write and whatever comes in between.

use std::time::Duration;

use futures_util::future::join_all;
use holdfast::clock::HubTime;
use holdfast::persistence::{SoftWrite, StoredPublication, StoredStream};
use sea_orm::ConnectionTrait as _;
use tokio::time::{Instant, sleep, timeout};

use super::database::{Database, Hub, PATIENCE};
use super::on_both;
use super::run::restore;
use super::vocabulary::{EXPIRES, Player, Room};

on_both!(
    a_stop_writes_all_marks_however_many_they_are,
    a_stop_is_not_lost_behind_a_full_queue,
    a_stop_that_dies_half_way_is_a_crash,
    a_stop_charges_no_hold_for_the_time_that_it_takes,
    rooms_of_all_ages_that_a_stop_leaves_out_begin_anew,
);

/// More than go with one commit.
const SESSIONS: usize = 4500;

/// A connection to PostgreSQL that is silent for so long is cut.
const CUT_AFTER: Duration = Duration::from_secs(10);

fn history(epoch: &str, data: &[&str]) -> StoredStream {
    let publications = data
        .iter()
        .zip(1..)
        .map(|(data, offset)| StoredPublication {
            offset,
            data: (*data).to_owned().into(),
            info: None,
            tags: None,
            time: HubTime(7),
        });
    StoredStream {
        epoch: epoch.into(),
        top: data.len() as u64,
        is_continued: true,
        is_durable: false,
        publications: publications.collect(),
    }
}

async fn opens_rooms(hub: &Hub, count: usize) -> Vec<Room> {
    let rooms: Vec<Room> = (0..count).map(|_| Room::new()).collect();
    let opens = rooms.iter().map(|room| Player::new().opens(room));
    let answers = join_all(opens.map(|open| hub.persistence.write(open))).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    rooms
}

async fn a_stop_writes_all_marks_however_many_they_are(database: Database) {
    let hub = database.start().await;
    let players: Vec<Player> = (0..SESSIONS).map(|_| Player::new()).collect();
    let writes = players.iter().map(Player::opens_session);
    join_all(writes.map(|write| hub.persistence.write(write))).await;
    let at = HubTime(77);
    for player in &players {
        let (session, expires_at) = (player.session, EXPIRES);
        hub.persistence.mark(SoftWrite::SessionSeen {
            session,
            user: player.user.clone(),
            at,
            expires_at,
            login_until: None,
        });
    }

    let now = hub.clock.now();
    let stopped = hub.persistence.clean_stop(vec![], now, PATIENCE).await;

    stopped.unwrap();
    let written = "SELECT COUNT(*) FROM app_sessions WHERE last_seen_at = 77";
    assert_eq!(
        usize::try_from(database.number(written).await),
        Ok(SESSIONS)
    );
}

async fn a_stop_is_not_lost_behind_a_full_queue(mut database: Database) {
    database.config.persistence.queue_max = 4;
    database.config.persistence.batch_max = 4;
    let hub = database.start().await;
    let room = opens_rooms(&hub, 1).await[0];
    let stalled = database.stall().await;
    let (tell, mut told) = tokio::sync::mpsc::channel(64);
    for _ in 0..64 {
        let tell = tell.clone();
        let command = Player::new().opens_session();
        hub.persistence
            .write_then(command, move |answer| tell.try_send(answer).unwrap());
    }
    // One is refused at once: the queues are full.
    let refused = told.recv().await.unwrap();
    let stop = tokio::spawn({
        let (persistence, now) = (hub.persistence.clone(), hub.clock.now());
        let streams = vec![(room.id, history("e", &["a"]))];
        async move { persistence.clean_stop(streams, now, PATIENCE).await }
    });
    sleep(Duration::from_millis(100)).await;

    stalled.rollback().await.unwrap();

    assert!(refused.is_err());
    stop.await.unwrap().unwrap();
    assert_eq!(database.count("room_publications").await, 1);
}

async fn a_stop_that_dies_half_way_is_a_crash(database: Database) {
    let hub = database.start().await;
    hub.persistence.begin_run().await.unwrap();
    let rooms = opens_rooms(&hub, 2).await;
    database.refuse_publication("bad").await;
    let streams = vec![
        // As much as one commit takes.
        (rooms[0].id, history("e", &["good"; 1024])),
        (rooms[1].id, history("e", &["bad"])),
    ];

    let now = hub.clock.now();
    let stopped = hub.persistence.clean_stop(streams, now, PATIENCE).await;
    let written = database.count("room_publications").await;
    hub.stop().await;
    let hub = database.start().await;
    let start = hub.persistence.begin_run().await.unwrap();
    let (restored, _) = restore(&hub.persistence).await;

    assert!(stopped.is_err());
    assert_eq!(written, 1024);
    assert!(!start.is_clean);
    assert_eq!(restored.len(), 2);
    for room in restored {
        assert!(!room.stream.is_continued && room.stream.publications.is_empty());
    }
}

async fn a_stop_charges_no_hold_for_the_time_that_it_takes(database: Database) {
    let hub = database.start().await;
    hub.persistence.begin_run().await.unwrap();
    let (player, room) = (Player::new(), Room::new());
    hub.persistence.write(player.opens(&room)).await.unwrap();
    let now = hub.clock.now();
    // 20 s ago, when the stop began, 30 s were left of the hold.
    hub.persistence.mark(SoftWrite::SeatAway {
        room: room.id,
        seat: 0,
        session: player.session,
        since: now.minus(Duration::from_secs(40)),
        hold_until: now.plus(Duration::from_secs(10)),
    });
    let began = now.minus(Duration::from_secs(20));
    let stopped = hub.persistence.clean_stop(vec![], began, PATIENCE).await;
    stopped.unwrap();
    hub.stop().await;

    let hub = database.start().await;
    hub.persistence.begin_run().await.unwrap();

    let room = hub.persistence.room_by_code(room.code).await.unwrap();
    let hold_until = room.unwrap().seats[0].hold_until.unwrap();
    let left = hold_until.since(hub.clock.now());
    assert!(left > Duration::from_secs(20), "{left:?}");
    assert!(left <= Duration::from_secs(30), "{left:?}");
}

async fn rooms_of_all_ages_that_a_stop_leaves_out_begin_anew(database: Database) {
    let hub = database.start().await;
    hub.persistence.begin_run().await.unwrap();
    let rooms = opens_rooms(&hub, 2500).await;
    let kept = [0, 2047, 2048, 2499].map(|index| rooms[index]);
    let streams = kept.map(|room| (room.id, history("second", &["a"])));

    let now = hub.clock.now();
    let stopped = hub.persistence.clean_stop(streams.to_vec(), now, PATIENCE);
    stopped.await.unwrap();

    let count = async |epoch: &str| {
        let sql = format!("SELECT COUNT(*) FROM rooms WHERE stream_epoch = '{epoch}'");
        database.number(&sql).await
    };
    assert_eq!((count("second").await, count("").await), (4, 2496));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_that_makes_progress_is_not_taken_for_a_frozen_database() {
    let Some(database) = Database::postgres().await else {
        return;
    };
    let hub = database.start().await;
    hub.persistence.begin_run().await.unwrap();
    let rooms = opens_rooms(&hub, 12).await;
    let slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql \
                AS 'BEGIN PERFORM pg_sleep(1); RETURN NULL; END'; \
                CREATE TRIGGER slow BEFORE INSERT ON room_publications \
                FOR EACH STATEMENT EXECUTE FUNCTION slow()";
    let look = database.look().await;
    look.execute_unprepared(slow).await.unwrap();
    // A statement each.
    let streams = rooms
        .iter()
        .map(|room| (room.id, history("e", &["a"; 256])));

    let began = Instant::now();
    let within = CUT_AFTER - Duration::from_secs(2);
    let now = hub.clock.now();
    let stop = hub.persistence.clean_stop(streams.collect(), now, within);
    let stopped = timeout(PATIENCE * 2, stop).await.unwrap();

    stopped.unwrap();
    assert!(began.elapsed() > CUT_AFTER, "{:?}", began.elapsed());
    assert_eq!(database.count("room_publications").await, 12 * 256);
}
