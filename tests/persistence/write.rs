//! What a command's answer promises.

use std::sync::Arc;

use futures_util::future::join_all;
use holdfast::clock::HubTime;
use holdfast::id::UserId;
use holdfast::persistence::{
    Command, Committed, Persistence, ReadError, Refused, RoomCommand, SoftWrite, UserWrite, Write,
    WriteError,
};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use super::database::{Database, PATIENCE};
use super::on_both;
use super::vocabulary::{EXPIRES, GRACE, Player, Room, ends, sweeps_nothing};
use crate::support::repeated;

on_both!(
    a_command_that_violates_a_constraint_fails_alone_in_a_full_group,
    clashes_and_refusals_answer_their_own_command_only,
    two_charged_commands_of_one_user_in_one_group_are_both_charged,
    credits_that_a_clashing_command_did_not_use_pay_for_the_next,
    a_refused_command_leaves_nothing_behind,
    what_is_answered_can_be_read_at_once,
    marks_arrive_within_seconds,
    a_mark_of_a_session_that_lost_the_seat_changes_nothing,
    a_mark_that_a_guest_left_does_not_touch_the_session_of_the_user,
    a_seat_is_released_only_as_it_was_asked,
    an_ended_session_has_no_seats_and_is_told_as_ended,
    a_room_closes_only_when_nobody_sits_in_it,
    an_account_is_made_named_and_refused_when_inactive,
    teams_and_missing_teams_are_stored_side_by_side,
);

fn refused(refused: Refused) -> Result<Committed, WriteError> {
    Err(WriteError::Refused(refused))
}

/// Sends all of it while nothing can be committed, so that it goes as one group. On PostgreSQL those who arrive
/// make groups of their own.
pub(super) async fn write_as_one_group(
    database: &Database,
    persistence: &Persistence,
    commands: Vec<impl Into<Write>>,
) -> Vec<Result<Committed, WriteError>> {
    let stalled = database.stall().await;
    let first = tokio::spawn({
        let persistence = persistence.clone();
        async move { persistence.write(sweeps_nothing()).await }
    });
    // The writer has it in hand when the queue's barrier would be behind it: a moment is enough, and a
    // longer one changes nothing but the number of groups.
    sleep(std::time::Duration::from_millis(100)).await;
    let answers: Vec<_> = commands
        .into_iter()
        .map(|command| {
            let (tell, told) = tokio::sync::oneshot::channel();
            persistence.write_then(command, move |answer| tell.send(answer).unwrap());
            told
        })
        .collect();
    stalled.rollback().await.unwrap();
    first.await.unwrap().unwrap();
    join_all(answers)
        .await
        .into_iter()
        .map(|answer| answer.unwrap())
        .collect()
}

async fn a_command_that_violates_a_constraint_fails_alone_in_a_full_group(database: Database) {
    let hub = database.start().await;
    let known = Player::new();
    hub.persistence.write(known.opens_session()).await.unwrap();
    let mut culprit = Player::new();
    culprit.session = known.session;
    let mut commands: Vec<Command> = (0..511)
        .map(|_| Player::new().opens(&Room::new()))
        .collect();
    commands.insert(300, culprit.opens(&Room::new()));

    let answers = write_as_one_group(&database, &hub.persistence, commands).await;

    assert_eq!(answers[300], refused(Refused::Internal));
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 511);
    assert_eq!(database.count("rooms").await, 511);
    assert_eq!(database.count("room_seats").await, 511);
    assert_eq!(database.count("session_tokens").await, 511 + 1);
    // They were one group, or one of each lane: its halves, and theirs, were committed as far as the culprit was in none of them.
    let groups = database.count("commit_groups").await;
    assert!((9..=16).contains(&groups), "{groups} groups");
}

async fn clashes_and_refusals_answer_their_own_command_only(database: Database) {
    let hub = database.start().await;
    let (host, room) = (Player::new(), Room::new());
    hub.persistence.write(host.opens(&room)).await.unwrap();
    let other = Room {
        code: room.code,
        ..Room::new()
    };
    let stranger = UserWrite::Known(UserId::guest());
    let poor = UserWrite::Account {
        id: UserId::guest(),
        name: None,
    };
    let newcomer = Player::new();

    let answers = write_as_one_group(
        &database,
        &hub.persistence,
        vec![
            Player::new().opens(&other),
            Player::new().claims(&room, 0),
            Player::new().opens_as(&Room::new(), stranger, 0),
            Player::new().opens_as(&Room::new(), poor, 5),
            newcomer.claims(&room, 1),
            Player::new().claims(&room, 1),
            Player::new().claims_as(&room, 2, UserWrite::Known(host.user.clone()), 0),
        ],
    )
    .await;

    let seated = Ok(Committed::Player {
        user: newcomer.user,
        name: "Ana".into(),
    });
    assert_eq!(
        answers,
        [
            refused(Refused::CodeTaken),
            refused(Refused::SeatTaken),
            refused(Refused::InvalidUser),
            refused(Refused::InsufficientCredits { needed: 5, has: 0 }),
            seated,
            refused(Refused::SeatTaken),
            refused(Refused::SeatTaken),
        ]
    );
}

async fn rich_user(database: &Database, persistence: &Persistence, credits: i64) -> UserWrite {
    let player = Player::new();
    persistence.write(player.opens_session()).await.unwrap();
    database
        .sql(&format!("UPDATE users SET credits = {credits}"))
        .await;
    UserWrite::Known(player.user)
}

async fn two_charged_commands_of_one_user_in_one_group_are_both_charged(database: Database) {
    let hub = database.start().await;
    let user = rich_user(&database, &hub.persistence, 10).await;
    let open = || Player::new().opens_as(&Room::new(), user.clone(), 4);

    let commands = vec![open(), open(), open()];
    let answers = write_as_one_group(&database, &hub.persistence, commands).await;

    assert!(answers[0].is_ok() && answers[1].is_ok(), "{answers:?}");
    let poor = Refused::InsufficientCredits { needed: 4, has: 2 };
    assert_eq!(answers[2], refused(poor));
    assert_eq!(database.number("SELECT MAX(credits) FROM users").await, 2);
}

async fn credits_that_a_clashing_command_did_not_use_pay_for_the_next(database: Database) {
    let hub = database.start().await;
    let room = Room::new();
    hub.persistence
        .write(Player::new().opens(&room))
        .await
        .unwrap();
    let user = rich_user(&database, &hub.persistence, 5).await;

    let answers = write_as_one_group(
        &database,
        &hub.persistence,
        vec![
            Player::new().claims_as(&room, 0, user.clone(), 5),
            Player::new().claims_as(&room, 1, user, 5),
        ],
    )
    .await;

    assert_eq!(answers[0], refused(Refused::SeatTaken));
    assert!(answers[1].is_ok(), "{answers:?}");
    assert_eq!(database.number("SELECT MIN(credits) FROM users").await, 0);
}

async fn a_refused_command_leaves_nothing_behind(database: Database) {
    let hub = database.start().await;
    let room = Room::new();
    hub.persistence
        .write(Player::new().opens(&room))
        .await
        .unwrap();
    let late = Player::new();

    let claim = hub.persistence.write(late.claims(&room, 0)).await;
    let open = Room {
        code: room.code,
        ..Room::new()
    };
    let open = hub.persistence.write(late.opens(&open)).await;

    assert_eq!(claim, refused(Refused::SeatTaken));
    assert_eq!(open, refused(Refused::CodeTaken));
    for table in [
        "users",
        "app_sessions",
        "session_tokens",
        "rooms",
        "room_seats",
        "event_participants",
    ] {
        assert_eq!(database.count(table).await, 1, "{table}");
    }
}

async fn what_is_answered_can_be_read_at_once(database: Database) {
    let hub = database.start().await;
    let at_once = Arc::new(Semaphore::new(256));

    let writes = (0..repeated(2_000, 10_000)).map(|_| {
        let (persistence, at_once) = (hub.persistence.clone(), at_once.clone());
        tokio::spawn(async move {
            let _permit = at_once.acquire_owned().await.unwrap();
            let (player, mut room) = (Player::new(), Room::new());
            let mut answer = persistence.write(player.opens(&room)).await;
            // So many random codes: now and then two are the same.
            while answer == refused(Refused::CodeTaken) {
                room = Room::new();
                answer = persistence.write(player.opens(&room)).await;
            }
            answer.unwrap();
            let hash = player.token.hash();
            let found = read(|| persistence.session_by_token(hash, "")).await;
            found.is_some_and(|session| {
                session.id == player.session && session.seats[0].code == room.code
            })
        })
    });
    let found = join_all(writes).await;

    assert!(found.into_iter().all(|found| found.unwrap()));
}

/// Asks until there is an answer, as a client does: a loaded database may make a read late, which is no answer.
async fn read<T, F: Future<Output = Result<T, ReadError>>>(ask: impl Fn() -> F) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Ok(found) => return found,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    }
}

async fn marks_arrive_within_seconds(database: Database) {
    let hub = database.start().await;
    let (player, room) = (Player::new(), Room::new());
    hub.persistence.write(player.opens(&room)).await.unwrap();
    let now = hub.clock.now();
    let hold = now.plus(GRACE);

    hub.persistence.mark(SoftWrite::SeatAway {
        room: room.id,
        seat: 0,
        session: player.session,
        since: now,
        hold_until: hold,
    });
    hub.persistence.mark(SoftWrite::Heartbeat { at: now });
    hub.persistence.mark(SoftWrite::SessionSeen {
        session: player.session,
        user: player.user.clone(),
        at: now,
        expires_at: HubTime(77),
        login_until: Some(HubTime(78)),
    });

    let deadline = Instant::now() + PATIENCE;
    let session = loop {
        let found = hub.persistence.session_by_id(player.session).await.unwrap();
        let session = found.unwrap();
        if session.expires_at == HubTime(77) || Instant::now() > deadline {
            break session;
        }
        sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_eq!(session.expires_at, HubTime(77));
    assert_eq!(session.login_until, Some(HubTime(78)));
    assert_eq!(session.seats[0].hold_until, Some(hold));
    let heartbeat = "SELECT last_heartbeat_at FROM hub_clock WHERE node = 'main'";
    assert_eq!(database.number(heartbeat).await, now.0);
}

async fn a_mark_of_a_session_that_lost_the_seat_changes_nothing(database: Database) {
    let hub = database.start().await;
    let (player, room) = (Player::new(), Room::new());
    hub.persistence.write(player.opens(&room)).await.unwrap();

    hub.persistence.mark(SoftWrite::SeatAway {
        room: room.id,
        seat: 0,
        session: Player::new().session,
        since: HubTime(1),
        hold_until: HubTime(2),
    });
    hub.persistence
        .write(Player::new().opens_session())
        .await
        .unwrap();

    let room = hub
        .persistence
        .room_truth(room.code)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(room.seats[0].hold_until, None);
}

/// It would let the session in for longer than the user's login does.
async fn a_mark_that_a_guest_left_does_not_touch_the_session_of_the_user(database: Database) {
    let hub = database.start().await;
    let player = Player::new();
    hub.persistence.write(player.opens_session()).await.unwrap();
    let (at, expires_at) = (hub.clock.now(), HubTime(77));
    hub.persistence.mark(SoftWrite::SessionSeen {
        session: player.session,
        user: player.user.clone(),
        at,
        expires_at,
        login_until: None,
    });

    let adopted = hub.persistence.write(player.logs_in_as("u1", at)).await;
    hub.stop().await;

    let told = Vec::new();
    let name = "u1".into();
    assert_eq!(adopted, Ok(Committed::Adopted { name, told }));
    let hub = database.start().await;
    let found = hub.persistence.session_by_id(player.session).await.unwrap();
    let found = found.unwrap();
    assert_eq!(found.user.as_str(), "u1");
    assert_eq!(found.login_until, Some(at));
    assert_eq!(found.expires_at, EXPIRES);
}

async fn a_seat_is_released_only_as_it_was_asked(database: Database) {
    let hub = database.start().await;
    let (player, room) = (Player::new(), Room::new());
    hub.persistence.write(player.opens(&room)).await.unwrap();
    let write = |command| hub.persistence.write(command);
    let hold = HubTime(5_000);

    let while_held = write(player.releases(&room, 0, Some(hold))).await;
    hub.persistence.mark(SoftWrite::SeatAway {
        room: room.id,
        seat: 0,
        session: player.session,
        since: HubTime(1_000),
        hold_until: hold,
    });
    let with_other_hold = write(player.releases(&room, 0, Some(HubTime(6_000)))).await;
    let by_another = write(Player::new().releases(&room, 0, None)).await;
    let as_it_is = write(player.releases(&room, 0, Some(hold))).await;
    let once_more = write(player.releases(&room, 0, None)).await;

    assert_eq!(while_held, refused(Refused::SeatChanged));
    assert_eq!(with_other_hold, refused(Refused::SeatChanged));
    assert_eq!(by_another, refused(Refused::SeatChanged));
    assert_eq!(as_it_is, Ok(Committed::Done));
    assert_eq!(once_more, refused(Refused::SeatChanged));
}

async fn an_ended_session_has_no_seats_and_is_told_as_ended(database: Database) {
    let hub = database.start().await;
    let (player, room) = (Player::new(), Room::new());
    hub.persistence.write(player.opens(&room)).await.unwrap();

    let session = player.session;
    let end = ends(session);
    let ended = hub.persistence.write(end).await;

    assert_eq!(ended, Ok(Committed::Ended(Vec::new())));
    let hash = player.token.hash();
    let found = hub.persistence.session_by_token(hash, "").await.unwrap();
    let found = found.unwrap();
    assert!(found.is_ended && found.seats.is_empty(), "{found:?}");
}

async fn a_room_closes_only_when_nobody_sits_in_it(database: Database) {
    let hub = database.start().await;
    let (player, room) = (Player::new(), Room::new());
    hub.persistence.write(player.opens(&room)).await.unwrap();
    let close = || hub.persistence.write(RoomCommand::Close(room.id));

    let while_seated = close().await;
    let release = player.releases(&room, 0, None);
    hub.persistence.write(release).await.unwrap();
    let when_empty = close().await;

    assert_eq!(while_seated, refused(Refused::RoomChanged));
    assert_eq!(when_empty, Ok(Committed::Done));
    let found = hub.persistence.room_by_code(room.code).await.unwrap();
    assert!(found.unwrap().is_closed);
}

async fn an_account_is_made_named_and_refused_when_inactive(database: Database) {
    let hub = database.start().await;
    let id = UserId::parse("player-7").unwrap();
    let open = |name: Option<&str>| {
        let (id, name) = (id.clone(), name.map(Into::into));
        let account = UserWrite::Account { id, name };
        hub.persistence
            .write(Player::new().opens_as(&Room::new(), account, 0))
    };
    let named = |name: &str| {
        Ok(Committed::Player {
            user: id.clone(),
            name: name.into(),
        })
    };

    assert_eq!(open(None).await, named("player-7"));
    assert_eq!(open(Some("Bo")).await, named("Bo"));
    assert_eq!(open(None).await, named("Bo"));
    database.sql("UPDATE users SET is_active = false").await;
    assert_eq!(open(None).await, refused(Refused::InvalidUser));
}

async fn teams_and_missing_teams_are_stored_side_by_side(database: Database) {
    let hub = database.start().await;
    let room = Room::new();
    hub.persistence
        .write(Player::new().opens(&room))
        .await
        .unwrap();

    let commands = (1..4).map(|number| Player::new().claims(&room, number));
    write_as_one_group(&database, &hub.persistence, commands.collect()).await;

    let room = hub.persistence.room_by_code(room.code).await.unwrap();
    let teams: Vec<_> = room
        .unwrap()
        .seats
        .into_iter()
        .map(|seat| seat.team)
        .collect();
    let red = Some("red".into());
    assert_eq!(teams, [None, red.clone(), None, red]);
}
