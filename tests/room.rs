//! What becomes of rooms that nobody needs any more.

use serde_json::json;

use crate::support::{Client, Daemon, Database, Player, eventually, on_both_databases};

on_both_databases!(
    a_room_that_stays_empty_closes_and_says_so,
    a_room_that_has_closed_is_still_known_and_keeps_no_actor,
    an_open_channel_lives_while_somebody_listens,
    a_channel_that_nobody_hears_keeps_no_actor,
);

async fn a_room_that_stays_empty_closes_and_says_so(database: Database) {
    let daemon = Daemon::on(database)
        .set("kind.table.empty_ttl", "1s")
        .set("kind.table.spectators", "1")
        .start()
        .await;
    let player = Player::opens(&daemon).await;
    let mut client = player.sits_down(&daemon).await;
    let room = json!({ "room": player.room });

    client.calls("seat.release", room).await.unwrap();

    let released = client.hears_news(&player.channel, "seat.released").await;
    assert_eq!(released["reason"], "left");
    let closed = client.hears_news(&player.channel, "room.closed").await;
    assert_eq!(closed["reason"], "empty");
    let late = Player::tries_to_join(&daemon, &player.room, json!({})).await;
    assert_eq!(late.refusal(), (410, "ROOM_CLOSED"));
    assert_eq!(daemon.room(&player.room).await["status"], "closed");
}

async fn a_room_that_has_closed_is_still_known_and_keeps_no_actor(database: Database) {
    let daemon = Daemon::on(database)
        .set("kind.table.empty_ttl", "1s")
        .start()
        .await;
    let before = daemon.actors().await;
    let player = Player::opens(&daemon).await;
    daemon
        .delete("/v1/session")
        .by(&player.token)
        .send()
        .await
        .expect(204);

    eventually("the room is closed", async || {
        let status = daemon.room(&player.room).await["status"].take();
        let is_closed = status == "closed";
        is_closed.then_some(()).ok_or(status.to_string())
    })
    .await;

    eventually("no actor is left", async || {
        let after = daemon.actors().await;
        let is_as_before = after == before;
        is_as_before.then_some(()).ok_or(format!("{after:?}"))
    })
    .await;
}

async fn an_open_channel_lives_while_somebody_listens(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let before = daemon.actors().await;
    let (mut ana, _) = Client::connect(daemon.address(), "").await;
    let (mut bo, _) = Client::connect(daemon.address(), "").await;

    ana.subscribes("lobby:main").await.unwrap();
    bo.subscribes("lobby:main").await.unwrap();
    ana.publishes("lobby:main", json!("hello")).await.unwrap();

    assert_eq!(bo.hears("lobby:main").await["data"], "hello");
    ana.drops_the_line();
    bo.drops_the_line();
    // All have gone, and one is back at once.
    let (mut cy, _) = Client::connect(daemon.address(), "").await;
    let back = cy.recovers("lobby:main", "", 0).await.unwrap();
    assert_eq!(back["publications"][0]["data"], "hello", "{back}");
    cy.drops_the_line();
    eventually("no actor is left", async || {
        let after = daemon.actors().await;
        let is_as_before = after == before;
        is_as_before.then_some(()).ok_or(format!("{after:?}"))
    })
    .await;
}

async fn a_channel_that_nobody_hears_keeps_no_actor(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let (mut ana, _) = Client::connect(daemon.address(), "").await;
    let before = daemon.actors().await;

    for name in 0..50 {
        let channel = format!("lobby:{name}");
        let published = ana.publishes(&channel, json!("anybody?")).await;
        let asked = ana.asks("presence", json!({ "channel": channel })).await;
        assert_eq!(published.unwrap_err().code(), 103);
        assert_eq!(asked.unwrap_err().code(), 103);
    }

    eventually("no actor is left", async || {
        let after = daemon.actors().await;
        let is_as_before = after == before;
        is_as_before.then_some(()).ok_or(format!("{after:?}"))
    })
    .await;
}
