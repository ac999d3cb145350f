//! Replies that are lost, and clients that race.

use futures_util::future::join;
use serde_json::Value;

use super::{claims, comes_with, seat_token, token_of};
use crate::support::{
    Client, Daemon, Database, Player, Proxy, eventually, on_both_databases, repeated,
};

on_both_databases!(
    a_connect_reply_that_is_lost_locks_nobody_out,
    a_lost_reply_to_a_session_token_locks_nobody_out,
    two_clients_race_with_one_session_token,
    two_clients_race_with_one_seat_token,
);

/// Lost replies.
const LOSSES: u64 = 100;

/// The upgrade is answered in about so many bytes.
const UPGRADE_BYTES: u64 = 129;

/// With a seat token each of them is two commits, one after the other.
const RACES: usize = 200;

/// The same in a run of `tests/long`.
const RACES_LONG: usize = 1_000;

/// Numbers that look like chance and are the same each time.
fn chance(round: u64) -> u64 {
    round.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33
}

/// Connects over a line that is cut in the middle of the reply. What the client has heard, if it was
/// enough to be of use.
async fn loses_the_reply(proxy: &Proxy, token: &str, round: u64, reply: u64) -> Option<Value> {
    proxy.cut_answers_after(UPGRADE_BYTES + chance(round) % reply);
    let mut client = Client::try_dial(proxy.address()).await.ok()?;
    let heard = client.connects(token).await.ok();
    client.closed().await;
    heard
}

async fn a_connect_reply_that_is_lost_locks_nobody_out(database: Database) {
    let daemon = Daemon::on(database)
        .set("session.changes_per_second", "0")
        .start()
        .await;
    let proxy = Proxy::to(daemon.address()).await;
    let host = Player::opens(&daemon).await;
    let (_client, data) = host.connects(&daemon).await;
    let (mut token, reply) = (token_of(&data), data.to_string().len() as u64);
    let first = claims(&token)["generation"].as_i64().unwrap();

    for round in 0..LOSSES {
        let heard = loses_the_reply(&proxy, &token, round, reply).await;
        assert_eq!(heard, None, "the reply was to be cut off");
        // Some lose several replies in a row before they come through.
        if round % 3 == 2 {
            let (_client, data) = comes_with(&daemon, &token).await.unwrap();
            assert_eq!(data["seats"][0]["seat"], 0, "round {round}");
            assert_eq!(data["user"]["id"], host.user);
            token = token_of(&data);
        }
    }

    assert_eq!(proxy.lines_cut_at_some_byte(), LOSSES);
    let (_client, data) = comes_with(&daemon, &token).await.unwrap();
    assert_eq!(data["seats"][0]["status"], "held");
    let grown = claims(&token_of(&data))["generation"].as_i64().unwrap() - first;
    assert!(
        (LOSSES as i64 / 3..=LOSSES as i64).contains(&grown),
        "{grown}"
    );
    assert_eq!(super::refused(&daemon, "reused").await, 0);
    let sql = "SELECT count(*) FROM room_seats";
    assert_eq!(daemon.store().count(sql).await, 1);
}

async fn a_lost_reply_to_a_session_token_locks_nobody_out(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let proxy = Proxy::to(daemon.address()).await;
    let host = Player::opens(&daemon).await;
    let (_client, data) = host.connects(&daemon).await;
    let reply = data.to_string().len() as u64;

    for round in 0..LOSSES {
        let heard = loses_the_reply(&proxy, &host.token, round, reply).await;
        assert_eq!(heard, None, "the reply was to be cut off");
        let (_client, data) = host.connects(&daemon).await;
        assert_eq!(data["seats"][0]["seat"], 0, "round {round}");
    }

    assert_eq!(proxy.lines_cut_at_some_byte(), LOSSES);
}

/// Two clients come at the same moment with the same token. Gives the one that stays.
async fn race(daemon: &Daemon, token: &str, round: usize) -> (Client, Value) {
    let (mut one, mut other) = join(
        Client::dial(daemon.address()),
        Client::dial(daemon.address()),
    )
    .await;
    let (one_heard, other_heard) = join(one.connects(token), other.connects(token)).await;
    let (is_one_left, why) = tokio::select! {
        why = one.closed() => (false, why),
        why = other.closed() => (true, why),
    };
    assert_eq!(why.0, 4501, "round {round}");
    let (winner, heard) = match is_one_left {
        true => (one, one_heard),
        false => (other, other_heard),
    };
    assert!(winner.is_open(), "round {round}: both are closed");
    (winner, heard.unwrap()["data"].take())
}

async fn two_clients_race_with_one_session_token(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let host = Player::opens(&daemon).await;
    let mut winner = None;

    for round in 0..repeated(RACES, RACES_LONG) {
        let (client, data) = race(&daemon, &host.token, round).await;
        assert_eq!(data["seats"][0]["seat"], 0, "round {round}");
        winner = Some(client);
    }

    let mut winner = winner.unwrap();
    winner.subscribes(&host.channel).await.unwrap();
    assert!(winner.is_open());
    assert_eq!(host.seat_in_room(&daemon).await["status"], "held");
    let sql = "SELECT count(*) FROM room_seats";
    assert_eq!(daemon.store().count(sql).await, 1);
    eventually("one connection is left", async || {
        let actors = daemon.actors().await;
        let is_one = (actors.connections, actors.sessions) == (1, 1);
        is_one.then_some(()).ok_or(format!("{actors:?}"))
    })
    .await;
}

async fn two_clients_race_with_one_seat_token(database: Database) {
    let daemon = Daemon::on(database)
        .set("session.changes_per_second", "0")
        .start()
        .await;
    let host = Player::opens(&daemon).await;
    let (_client, mut token) = seat_token(&daemon, &host).await;
    let mut winner = None;

    for round in 0..repeated(RACES, RACES_LONG) {
        let (client, data) = race(&daemon, &token, round).await;
        assert_eq!(data["seats"][0]["seat"], 0, "round {round}");
        token = token_of(&data);
        winner = Some(client);
    }

    let mut winner = winner.unwrap();
    winner.subscribes(&host.channel).await.unwrap();
    assert!(winner.is_open());
    let sql = "SELECT count(*) FROM room_seats";
    assert_eq!(daemon.store().count(sql).await, 1);
    assert_eq!(super::refused(&daemon, "reused").await, 0);
    eventually("one connection is left", async || {
        let actors = daemon.actors().await;
        let is_one = (actors.connections, actors.sessions) == (1, 1);
        is_one.then_some(()).ok_or(format!("{actors:?}"))
    })
    .await;
}
