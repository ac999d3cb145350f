//! News of a change: they are in the stream if the change is made, and only then.

use std::sync::Arc;

use holdfast::clock::HubTime;
use holdfast::id::UserId;
use holdfast::persistence::{
    Command, Committed, HistoryWindow, NewPublication, News, Offsets, Persistence, Publish,
    Refused, StreamCommand, StreamId, UserWrite, Write, WriteError,
};
use holdfast::wire::{RoomEvent, SeatEventBody, UserView};
use serde_json::Value;

use super::database::Database;
use super::on_both;
use super::vocabulary::{Player, Room, ends, ends_in};
use super::write::write_as_one_group;

on_both!(
    news_are_stored_with_the_change_that_they_tell_of,
    news_of_a_change_that_is_refused_are_not_told,
    news_call_the_user_by_the_name_that_is_stored,
    news_for_a_stream_that_is_another_take_their_change_back,
    what_is_said_and_what_is_done_at_once_share_one_row_of_offsets,
    the_end_of_a_session_is_told_in_its_durable_rooms_and_in_no_other,
);

const NOW: HubTime = HubTime(1_000_000);

fn line(text: String) -> NewPublication {
    NewPublication {
        data: text.into(),
        info: None,
        tags: None,
        time: NOW,
    }
}

fn stream(room: &Room, begins_after: Option<u64>) -> StreamId {
    StreamId {
        room: room.id,
        epoch: "first".into(),
        begins_after,
    }
}

/// The change, and news of it: a text, and who it was as far as the commit knows.
fn told(command: Command, stream: StreamId, text: &'static str) -> Write {
    let nobody = UserView {
        id: UserId::guest(),
        name: "nobody".into(),
    };
    let event = RoomEvent::Held(SeatEventBody::new(0, Some(text.into()), nobody));
    Write {
        news: Some(Box::new(News {
            stream,
            events: vec![event],
            time: NOW,
        })),
        ..command.into()
    }
}

fn says(room: &Room, text: &str) -> Write {
    let said = [line(text.to_owned())];
    Write::from(StreamCommand::Publish(Publish {
        stream: stream(room, None),
        publications: said.into(),
    }))
}

/// A room with a durable stream, whose first news are of its player.
async fn open(persistence: &Persistence, player: &Player) -> Room {
    let room = Room::new();
    let write = told(player.opens(&room), stream(&room, Some(0)), "opened");
    let (answer, offsets) = persistence.write(write).await.unwrap().apart();
    assert!(matches!(answer, Committed::Player { .. }), "{answer:?}");
    assert_eq!(offsets, Some(Offsets { first: 1, last: 1 }));
    room
}

async fn heard(persistence: &Persistence, room: &Room) -> Vec<(u64, String)> {
    let stored = persistence.room_by_code(room.code).await.unwrap().unwrap();
    let window = HistoryWindow {
        room: room.id,
        epoch: "first".into(),
        top: stored.stream.top,
        count_max: 1_000,
        bytes_max: 1 << 20,
        since: HubTime(0),
    };
    let found = persistence.history(window).await.unwrap().into_iter();
    let heard: Vec<_> = found.map(|one| (one.offset, text(&one.data))).collect();
    assert_eq!(heard.len() as u64, stored.stream.top, "{heard:?}");
    heard
}

/// An event in the words of these tests; anything else as it is.
fn text(data: &[u8]) -> String {
    let event: Value = serde_json::from_slice(data).unwrap_or_default();
    let name = event["user"]["name"].as_str().unwrap_or_default();
    match event["type"].as_str() {
        Some("seat.held") => format!("{} by {name}", event["team"].as_str().unwrap()),
        Some("seat.released") => format!("{name} has left seat {}", event["seat"]),
        _ => String::from_utf8(data.to_vec()).unwrap(),
    }
}

fn texts(heard: Vec<(u64, String)>) -> Vec<String> {
    heard.into_iter().map(|(_, text)| text).collect()
}

async fn news_are_stored_with_the_change_that_they_tell_of(database: Database) {
    let hub = database.start().await;
    let (ana, bo) = (Player::new(), Player::new());
    let room = open(&hub.persistence, &ana).await;

    let sat = told(bo.claims(&room, 1), stream(&room, None), "sat down");
    let sat = hub.persistence.write(sat).await.unwrap();
    let left = told(bo.releases(&room, 1, None), stream(&room, None), "left");
    let left = hub.persistence.write(left).await.unwrap();
    // As after kill -9.
    hub.stop().await;

    let offsets = [sat.apart().1, left.apart().1].map(|offsets| offsets.unwrap().first);
    assert_eq!(offsets, [2, 3]);
    let hub = database.start().await;
    let heard = heard(&hub.persistence, &room).await;
    assert_eq!(
        texts(heard),
        ["opened by Ana", "sat down by Ana", "left by nobody"]
    );
}

async fn news_of_a_change_that_is_refused_are_not_told(database: Database) {
    let hub = database.start().await;
    let ana = Player::new();
    let room = open(&hub.persistence, &ana).await;

    let claim = told(Player::new().claims(&room, 0), stream(&room, None), "taken");
    let claim = hub.persistence.write(claim).await;
    let stranger = Player::new().releases(&room, 0, None);
    let release = told(stranger, stream(&room, None), "left");
    let release = hub.persistence.write(release).await;

    assert_eq!(claim, Err(WriteError::Refused(Refused::SeatTaken)));
    assert_eq!(release, Err(WriteError::Refused(Refused::SeatChanged)));
    assert_eq!(
        texts(heard(&hub.persistence, &room).await),
        ["opened by Ana"]
    );
}

async fn news_call_the_user_by_the_name_that_is_stored(database: Database) {
    let hub = database.start().await;
    let room = open(&hub.persistence, &Player::new()).await;
    let account = |name: Option<&str>| UserWrite::Account {
        id: UserId::parse("of-the-game").unwrap(),
        name: name.map(Arc::from),
    };
    let first = Player::new().opens_as(&Room::new(), account(Some("Carla")), 0);
    hub.persistence.write(first).await.unwrap();

    let claim = Player::new().claims_as(&room, 1, account(None), 0);
    let claim = told(claim, stream(&room, None), "sat down");
    hub.persistence.write(claim).await.unwrap();

    let heard = heard(&hub.persistence, &room).await;
    assert_eq!(texts(heard)[1], "sat down by Carla");
}

async fn news_for_a_stream_that_is_another_take_their_change_back(database: Database) {
    let hub = database.start().await;
    let room = open(&hub.persistence, &Player::new()).await;
    let other = StreamId {
        epoch: "other".into(),
        ..stream(&room, None)
    };
    let lost = told(Player::new().claims(&room, 1), other, "sat down");
    let mut writes = vec![lost];
    writes.extend((0..3).map(|_| Player::new().opens_session().into()));

    let mut answers = write_as_one_group(&database, &hub.persistence, writes).await;

    let lost = answers.remove(0);
    assert_eq!(lost, Err(WriteError::Refused(Refused::Internal)));
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let stored = hub.persistence.room_by_code(room.code).await.unwrap();
    assert_eq!(stored.unwrap().seats.len(), 1);
    assert_eq!(texts(heard(&hub.persistence, &room).await).len(), 1);
}

async fn what_is_said_and_what_is_done_at_once_share_one_row_of_offsets(database: Database) {
    let hub = database.start().await;
    let (ana, bo) = (Player::new(), Player::new());
    let room = open(&hub.persistence, &ana).await;
    let writes = vec![
        says(&room, "a"),
        told(bo.claims(&room, 1), stream(&room, None), "sat down"),
        says(&room, "b"),
        ends_in(ana.session, vec![room.id]).into(),
        told(bo.releases(&room, 1, None), stream(&room, None), "left"),
        says(&room, "c"),
    ];

    let answers = write_as_one_group(&database, &hub.persistence, writes).await;

    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let expected = [
        "opened by Ana",
        "a",
        "sat down by Ana",
        "b",
        "Ana has left seat 0",
        "left by nobody",
        "c",
    ];
    assert_eq!(texts(heard(&hub.persistence, &room).await), expected);
}

async fn the_end_of_a_session_is_told_in_its_durable_rooms_and_in_no_other(database: Database) {
    let hub = database.start().await;
    let (ana, bo) = (Player::new(), Player::new());
    let (durable, memory) = (open(&hub.persistence, &ana).await, Room::new());
    hub.persistence.write(bo.opens(&memory)).await.unwrap();

    // It need not know where it sits: the rows tell.
    let end = hub.persistence.write(ends(ana.session)).await;
    let again = hub.persistence.write(ends(ana.session)).await;
    let other = hub.persistence.write(ends(bo.session)).await;

    let Ok(Committed::Ended(farewells)) = end else {
        panic!("{end:?}");
    };
    assert_eq!(farewells.len(), 1);
    assert_eq!((farewells[0].room, farewells[0].offset), (durable.id, 2));
    assert_eq!(again, Ok(Committed::Ended(Vec::new())));
    assert_eq!(other, Ok(Committed::Ended(Vec::new())));
    let heard = heard(&hub.persistence, &durable).await;
    assert_eq!(texts(heard), ["opened by Ana", "Ana has left seat 0"]);
    let stored = hub.persistence.room_by_code(memory.code).await.unwrap();
    assert_eq!(stored.unwrap().stream.top, 0);
}
