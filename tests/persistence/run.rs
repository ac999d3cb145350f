//! What a restart keeps.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use holdfast::clock::HubTime;
use holdfast::persistence::{
    Persistence, StoredPublication, StoredRoom, StoredSession, StoredStream,
};

use super::database::Database;
use super::on_both;
use super::vocabulary::{GRACE, Player, Room};

on_both!(
    time_without_a_hub_is_not_counted_against_a_hold,
    a_seat_held_at_a_crash_is_away_with_its_whole_hold,
    a_hold_that_ended_while_the_hub_ran_begins_anew,
    who_may_have_been_back_at_a_crash_has_time_to_come_back,
    a_crash_soon_after_a_crash_takes_nothing_from_a_hold,
    a_restart_restores_every_room_and_session_with_a_seat,
    a_planned_stop_hands_memory_histories_to_the_next_run_once,
    a_room_whose_stream_was_not_written_out_begins_a_new_one,
);

/// What the clock may have moved on during a test.
const SLACK: Duration = Duration::from_secs(15);

/// Everything that a start finds, as it would be started.
pub(super) async fn restore(persistence: &Persistence) -> (Vec<StoredRoom>, Vec<StoredSession>) {
    let (mut rooms, mut sessions) = (BTreeSet::new(), BTreeSet::new());
    let mut after = None;
    loop {
        let page = persistence.seated(after).await.unwrap();
        rooms.extend(page.seats.iter().map(|seat| seat.room));
        sessions.extend(page.seats.iter().map(|seat| seat.session));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let rooms = persistence.rooms_by_id(rooms.into_iter().collect());
    let rooms = rooms.await.unwrap();
    let sessions = persistence.sessions_by_id(sessions.into_iter().collect());
    (rooms, sessions.await.unwrap())
}

/// Seats a player, and lets the hub die at hub time 1,000,000 with the seat as `seat` says.
async fn crash_with(database: &Database, seat: &str) -> (Player, Room) {
    let hub = database.start().await;
    let (player, room) = (Player::new(), Room::new());
    hub.persistence.begin_run().await.unwrap();
    hub.persistence.write(player.opens(&room)).await.unwrap();
    hub.stop().await;
    database
        .sql("UPDATE hub_clock SET last_heartbeat_at = 1000000")
        .await;
    database.sql(&format!("UPDATE room_seats SET {seat}")).await;
    (player, room)
}

#[track_caller]
fn assert_left(hold_until: Option<HubTime>, now: HubTime, expected: Duration) {
    let left = hold_until.expect("an away seat").since(now);
    assert!(
        left <= expected && left + SLACK >= expected,
        "{left:?} is left, not {expected:?}"
    );
}

async fn time_without_a_hub_is_not_counted_against_a_hold(database: Database) {
    // Away since 40 s of a hold of 100 s when the hub died.
    let seat = "status = 'away', away_since = 960000, hold_until = 1060000";
    let (_, room) = crash_with(&database, seat).await;

    let hub = database.start().await;
    let start = hub.persistence.begin_run().await.unwrap();

    let room = hub.persistence.room_by_code(room.code).await.unwrap();
    let hold_until = room.unwrap().seats[0].hold_until;
    assert_left(hold_until, hub.clock.now(), Duration::from_secs(60));
    assert!(!start.is_clean);
    assert!(start.down_for > Duration::from_secs(90), "{start:?}");
}

async fn a_seat_held_at_a_crash_is_away_with_its_whole_hold(database: Database) {
    let (_, room) = crash_with(&database, "status = 'held'").await;

    let hub = database.start().await;
    hub.persistence.begin_run().await.unwrap();

    let room = hub.persistence.room_by_code(room.code).await.unwrap();
    assert_left(room.unwrap().seats[0].hold_until, hub.clock.now(), GRACE);
}

async fn a_hold_that_ended_while_the_hub_ran_begins_anew(database: Database) {
    let seat = "status = 'away', away_since = 1000, hold_until = 999000";
    let (_, room) = crash_with(&database, seat).await;

    let hub = database.start().await;
    hub.persistence.begin_run().await.unwrap();

    let room = hub.persistence.room_by_code(room.code).await.unwrap();
    assert_left(room.unwrap().seats[0].hold_until, hub.clock.now(), GRACE);
}

async fn a_crash_soon_after_a_crash_takes_nothing_from_a_hold(database: Database) {
    // Away 30 s after the hub's last sign of life, for 100 s.
    let seat = "status = 'away', away_since = 1030000, hold_until = 1130000";
    let (_, room) = crash_with(&database, seat).await;
    let hub = database.start().await;
    hub.persistence.begin_run().await.unwrap();
    hub.stop().await;

    let hub = database.start().await;
    hub.persistence.begin_run().await.unwrap();

    let room = hub.persistence.room_by_code(room.code).await.unwrap();
    let hold_until = room.unwrap().seats[0].hold_until;
    assert_left(hold_until, hub.clock.now(), Duration::from_secs(100));
}

async fn who_may_have_been_back_at_a_crash_has_time_to_come_back(database: Database) {
    let seat = "status = 'away', away_since = 960000, hold_until = 1000400";
    let after = async |stop: &str| {
        let (_, room) = crash_with(&database, seat).await;
        database.sql(&format!("UPDATE hub_clock SET {stop}")).await;
        let hub = database.start().await;
        hub.persistence.begin_run().await.unwrap();
        let room = hub.persistence.room_by_code(room.code).await.unwrap();
        let left = room.unwrap().seats[0].hold_until.unwrap();
        let left = left.since(hub.clock.now());
        hub.stop().await;
        left
    };

    // The marks of the last second before a crash are lost; a planned stop writes them all.
    let after_crash = after("clean_stop = false").await;
    let after_stop = after("clean_stop = true").await;

    assert!(after_crash > Duration::from_secs(5), "{after_crash:?}");
    assert!(after_crash <= Duration::from_secs(20), "{after_crash:?}");
    assert!(after_stop <= Duration::from_millis(400), "{after_stop:?}");
}

async fn a_restart_restores_every_room_and_session_with_a_seat(database: Database) {
    let hub = database.start().await;
    let rooms: Vec<Room> = (0..700).map(|_| Room::new()).collect();
    let hosts: Vec<Player> = rooms.iter().map(|_| Player::new()).collect();
    let opens = rooms
        .iter()
        .zip(&hosts)
        .map(|(room, host)| host.opens(room));
    join_all(opens.map(|open| hub.persistence.write(open))).await;
    let guests: Vec<Player> = rooms.iter().map(|_| Player::new()).collect();
    let claims = rooms.iter().zip(&guests);
    let claims = claims.map(|(room, guest)| guest.claims(room, 1));
    join_all(claims.map(|claim| hub.persistence.write(claim))).await;
    let idle = Player::new();
    hub.persistence.write(idle.opens_session()).await.unwrap();
    hub.stop().await;

    let hub = database.start().await;
    hub.persistence.begin_run().await.unwrap();
    let (restored, sessions) = restore(&hub.persistence).await;

    assert_eq!(restored.len(), 700);
    assert_eq!(sessions.len(), 1400);
    for (room, (host, guest)) in rooms.iter().zip(hosts.iter().zip(&guests)) {
        let found = restored.iter().find(|found| found.id == room.id).unwrap();
        assert_eq!(found.code, room.code);
        let seated: Vec<_> = found.seats.iter().map(|seat| &seat.session).collect();
        assert_eq!(seated, [&host.session, &guest.session]);
        let found = sessions.iter().find(|found| found.id == guest.session);
        let found = found.unwrap();
        assert_eq!(found.tokens, [guest.token.hash()]);
        assert_eq!(found.seats[0].code, room.code);
        assert_eq!(found.seats[0].team.as_deref(), Some("red"));
    }
}

async fn a_planned_stop_hands_memory_histories_to_the_next_run_once(database: Database) {
    let hub = database.start().await;
    let (player, room) = (Player::new(), Room::new());
    hub.persistence.begin_run().await.unwrap();
    hub.persistence.write(player.opens(&room)).await.unwrap();
    let publications = (3..=500).map(|offset| StoredPublication {
        offset,
        data: format!("move {offset}").into(),
        info: (offset % 2 == 0).then(|| "{}".into()),
        tags: None,
        time: HubTime(7),
    });
    let stream = StoredStream {
        epoch: "second".into(),
        top: 500,
        is_continued: true,
        is_durable: false,
        publications: publications.collect(),
    };
    let stop = vec![(room.id, stream)];
    let within = Duration::from_secs(4);
    let now = hub.clock.now();
    hub.persistence.clean_stop(stop, now, within).await.unwrap();
    hub.stop().await;

    // A start that comes to nothing.
    let hub = database.start().await;
    hub.persistence.begin_run().await.unwrap();
    restore(&hub.persistence).await;
    hub.stop().await;
    let hub = database.start().await;
    let start = hub.persistence.begin_run().await.unwrap();
    let (rooms, _) = restore(&hub.persistence).await;
    hub.persistence.open_doors().await.unwrap();
    hub.persistence.room_starts(room.id);
    let (failed, _) = restore(&hub.persistence).await;
    hub.stop().await;
    let hub = database.start().await;
    let crashed = hub.persistence.begin_run().await.unwrap();
    let (later, _) = restore(&hub.persistence).await;

    assert!(!failed[0].stream.is_continued);
    let stream = &rooms[0].stream;
    assert!(start.is_clean && stream.is_continued);
    assert_eq!((&*stream.epoch, stream.top), ("second", 500));
    assert_eq!(stream.publications.len(), 498);
    assert_eq!(stream.publications[1].offset, 4);
    assert_eq!(stream.publications[1].data, "move 4");
    assert_eq!(stream.publications[1].info, Some("{}".into()));
    assert_eq!(stream.publications[0].info, None);
    let stream = &later[0].stream;
    assert!(!crashed.is_clean && !stream.is_continued);
    assert!(stream.publications.is_empty());
}

async fn a_room_whose_stream_was_not_written_out_begins_a_new_one(database: Database) {
    let hub = database.start().await;
    let (player, room) = (Player::new(), Room::new());
    hub.persistence.begin_run().await.unwrap();
    hub.persistence.write(player.opens(&room)).await.unwrap();
    let within = Duration::from_secs(4);
    let now = hub.clock.now();
    hub.persistence
        .clean_stop(vec![], now, within)
        .await
        .unwrap();
    hub.stop().await;

    let hub = database.start().await;
    let start = hub.persistence.begin_run().await.unwrap();
    let (rooms, _) = restore(&hub.persistence).await;

    assert!(start.is_clean);
    // Under no epoch, so that no offset of the one before is used again.
    assert_eq!((&*rooms[0].stream.epoch, rooms[0].stream.top), ("", 0));
}
