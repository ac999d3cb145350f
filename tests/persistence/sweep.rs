//! What is removed, how much of it at once, and what is not.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use holdfast::clock::HubTime;
use holdfast::id::SessionId;
use holdfast::id::{CommandKey, SessionToken};
use holdfast::persistence::{
    AddToken, Command, Committed, ExpiredRows, IdempotencyRecord, MaintenanceCommand,
    NewPublication, Publish, RoomCommand, Scope, SessionCommand, StreamCommand, StreamId, Sweep,
    UserWrite, Write,
};
use tokio::time::sleep;
use uuid::Uuid;

use super::database::{Database, Hub};
use super::on_both;
use super::vocabulary::{Player, Room, ends, sweeps_nothing};

on_both!(
    sessions_that_are_over_go_with_all_that_is_theirs,
    a_closed_room_goes_in_bounded_turns_and_takes_its_guests,
    keys_and_transactions_go_when_they_are_old,
    pages_lead_through_all_sessions_and_name_the_dead,
    a_sweep_rides_with_the_commands_of_players,
);

/// Long after everything in these tests.
const LATER: HubTime = HubTime(5_000_000_000_000);

async fn sweeps(hub: &Hub, what: ExpiredRows, before: HubTime) -> Vec<(&'static str, u64)> {
    let swept = hub.persistence.sweep(Sweep { what, before }).await;
    swept.unwrap()
}

fn rows(swept: &[(&'static str, u64)], table: &str) -> u64 {
    let found = swept.iter().find(|(name, _)| *name == table);
    found.unwrap_or_else(|| panic!("no {table} in {swept:?}")).1
}

fn keyed(scope: Scope, key: &str, command: impl Into<Command>) -> Write {
    let once = IdempotencyRecord {
        scope,
        key: CommandKey::parse(key).unwrap().hash(),
        content: [7; 32],
        answer: Some("{}".into()),
    };
    Write::once(command, Some(Arc::new(once)))
}

async fn sessions_that_are_over_go_with_all_that_is_theirs(database: Database) {
    let hub = database.start().await;
    let (ended, expired, seated, living) =
        (Player::new(), Player::new(), Player::new(), Player::new());
    for player in [&ended, &expired, &living] {
        hub.persistence.write(player.opens_session()).await.unwrap();
    }
    hub.persistence
        .write(seated.opens(&Room::new()))
        .await
        .unwrap();
    let session = ended.session;
    let token = SessionToken::random().hash();
    let add = SessionCommand::AddToken(AddToken { session, token });
    hub.persistence.write(add).await.unwrap();
    let end = ends(session);
    let end = keyed(Scope::Session(session), "end", end);
    hub.persistence.write(end).await.unwrap();
    let account = UserWrite::Account {
        id: holdfast::id::UserId::parse("of-the-game").unwrap(),
        name: None,
    };
    let of_the_game = Player::new();
    let open = of_the_game.opens_as(&Room::new(), account, 0);
    hub.persistence.write(open).await.unwrap();
    let session = of_the_game.session;
    let end = ends(session);
    hub.persistence.write(end).await.unwrap();
    for session in [expired.session, seated.session] {
        let token = hub
            .persistence
            .session_by_id(session)
            .await
            .unwrap()
            .unwrap()
            .tokens[0];
        let hex: String = token.0.iter().map(|byte| format!("{byte:02X}")).collect();
        let column = if database.url.starts_with("postgres") {
            "upper(encode(hash, 'hex'))"
        } else {
            "hex(hash)"
        };
        database
            .sql(&format!(
                "UPDATE app_sessions SET expires_at = 1 WHERE id IN \
                 (SELECT session_id FROM session_tokens WHERE {column} = '{hex}')"
            ))
            .await;
    }
    // Whatever it is asked for, it looks itself.
    let all = [&ended, &expired, &seated, &living, &of_the_game].map(|player| player.session);

    let too_early = sweeps(&hub, ExpiredRows::Sessions(all.into()), HubTime(0)).await;
    let now = hub.clock.now().plus(Duration::from_secs(60));
    let swept = sweeps(&hub, ExpiredRows::Sessions(all.into()), now).await;

    assert!(
        too_early.iter().all(|(_, rows)| *rows == 0),
        "{too_early:?}"
    );
    assert_eq!(rows(&swept, "app_sessions"), 3);
    assert_eq!(rows(&swept, "session_tokens"), 4);
    assert_eq!(rows(&swept, "commands"), 1);
    // The game's user has a score in a room; and it is not a guest.
    assert_eq!(rows(&swept, "users"), 2);
    for (session, is_there) in all.into_iter().zip([false, false, true, true, false]) {
        let found = hub.persistence.session_by_id(session).await.unwrap();
        assert_eq!(found.is_some(), is_there);
    }
    assert_eq!(database.count("users").await, 3);
}

async fn a_closed_room_goes_in_bounded_turns_and_takes_its_guests(database: Database) {
    let hub = database.start().await;
    let (player, room, open) = (Player::new(), Room::new(), Room::new());
    hub.persistence.write(player.opens(&room)).await.unwrap();
    hub.persistence
        .write(Player::new().opens(&open))
        .await
        .unwrap();
    let publications = (0..120).map(|_| NewPublication {
        data: "{}".into(),
        info: None,
        tags: None,
        time: HubTime(1),
    });
    let publish = StreamCommand::Publish(Publish {
        stream: StreamId {
            room: room.id,
            epoch: "first".into(),
            begins_after: Some(0),
        },
        publications: publications.collect(),
    });
    hub.persistence.write(publish).await.unwrap();
    let session = player.session;
    let end = ends(session);
    hub.persistence.write(end).await.unwrap();
    hub.persistence
        .write(RoomCommand::Close(room.id))
        .await
        .unwrap();
    sweeps(&hub, ExpiredRows::Sessions(vec![session]), LATER).await;
    assert_eq!(database.count("users").await, 2, "a score keeps a guest");

    let mut turns = Vec::new();
    loop {
        let rooms = ExpiredRows::Rooms(vec![room.id, open.id]);
        let swept = sweeps(&hub, rooms, LATER).await;
        if swept.iter().all(|(_, rows)| *rows == 0) {
            break;
        }
        turns.push(rows(&swept, "room_publications"));
    }

    // With the news that the player has left.
    assert_eq!(turns, [50, 50, 21]);
    for (table, left) in [("rooms", 1), ("users", 1), ("event_participants", 1)] {
        assert_eq!(database.count(table).await, left, "{table}");
    }
    assert_eq!(database.count("room_publications").await, 0);
}

async fn keys_and_transactions_go_when_they_are_old(database: Database) {
    let hub = database.start().await;
    for key in ["old", "new"] {
        let write = keyed(
            Scope::Session(SessionId::new()),
            key,
            MaintenanceCommand::Nothing,
        );
        hub.persistence.write(write).await.unwrap();
        if key == "old" {
            database.sql("UPDATE commands SET created_at = 1").await;
        }
    }
    let id = if database.url.starts_with("postgres") {
        "gen_random_uuid()"
    } else {
        "randomblob(16)"
    };
    database
        .sql(&format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1100) \
             INSERT INTO commit_groups (id, is_void, created_at) SELECT {id}, false, 1 FROM n"
        ))
        .await;

    let keys = sweeps(&hub, ExpiredRows::Keys, HubTime(1_000)).await;
    let mut turns = Vec::new();
    while turns.last() != Some(&0) {
        let swept = sweeps(&hub, ExpiredRows::Groups, HubTime(1_000)).await;
        turns.push(rows(&swept, "commit_groups"));
    }

    assert_eq!(keys, [("commands", 1)]);
    assert_eq!(database.count("commands").await, 1);
    assert_eq!(turns, [500, 500, 100, 0]);
    // Those of this test's own commands are new.
    assert!(database.count("commit_groups").await > 5);
}

async fn pages_lead_through_all_sessions_and_name_the_dead(database: Database) {
    let hub = database.start().await;
    let players: Vec<Player> = (0..250).map(|_| Player::new()).collect();
    let writes = players
        .iter()
        .map(|player| hub.persistence.write(player.opens_session()));
    for written in join_all(writes).await {
        written.unwrap();
    }
    let ends = players.iter().step_by(10).map(|player| {
        let session = player.session;
        hub.persistence.write(ends(session))
    });
    for ended in join_all(ends).await {
        ended.unwrap();
    }

    let mut dead = Vec::new();
    let mut pages = 0;
    let mut after = Some(Uuid::nil());
    while let Some(from) = after {
        let before = hub.clock.now().plus(Duration::from_secs(60));
        let page = hub.persistence.dead_sessions(from, before).await.unwrap();
        dead.extend(page.dead);
        after = page.next;
        pages += 1;
    }
    let nobody = hub.persistence.dead_sessions(Uuid::nil(), HubTime(0)).await;

    assert_eq!(pages, 3);
    let mut expected: Vec<_> = players
        .iter()
        .step_by(10)
        .map(|player| player.session)
        .collect();
    expected.sort_unstable();
    assert_eq!(dead, expected);
    assert_eq!(nobody.unwrap().dead, []);
}

/// It has no transaction of its own, so it holds nobody up: what it removes is bounded.
async fn a_sweep_rides_with_the_commands_of_players(database: Database) {
    let hub = database.start().await;
    let room = Room::new();
    let opened = hub.persistence.write(Player::new().opens(&room)).await;
    opened.unwrap();
    let before = database.count("commit_groups").await;
    let stalled = database.stall().await;
    let first = tokio::spawn({
        let persistence = hub.persistence.clone();
        async move { persistence.write(sweeps_nothing()).await }
    });
    // The writer has the first one in hand; what comes now goes with the next transaction.
    sleep(Duration::from_millis(100)).await;
    let sweep = |what| {
        MaintenanceCommand::Sweep(Sweep {
            what,
            before: HubTime(0),
        })
        .into()
    };
    let commands = [
        Player::new().claims(&room, 1),
        sweep(ExpiredRows::Groups),
        Player::new().claims(&room, 2),
        sweep(ExpiredRows::Keys),
        sweep(ExpiredRows::Sessions(vec![SessionId::new()])),
        Player::new().claims(&room, 3),
    ];
    let answers: Vec<_> = commands
        .into_iter()
        .map(|command| {
            let (tell, told) = tokio::sync::oneshot::channel();
            hub.persistence
                .write_then(command, move |answer| tell.send(answer).unwrap());
            told
        })
        .collect();
    stalled.rollback().await.unwrap();
    first.await.unwrap().unwrap();

    for answer in join_all(answers).await {
        let answer = answer.unwrap().unwrap();
        assert!(matches!(
            answer,
            Committed::Player { .. } | Committed::Swept(_)
        ));
    }
    assert_eq!(database.count("commit_groups").await, before + 2);
}
