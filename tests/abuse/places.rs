//! Those who take all places for connections.

use futures_util::future::join_all;
use serde_json::json;

use super::{Honest, Raw, Vitals};
use crate::support::{Client, Daemon, Database, Player, eventually};

/// Honest players, and as many places again as the attack fills.
const PLAYERS: usize = 50;
const FREE: usize = 20;

async fn small_hub() -> Daemon {
    Daemon::on(Database::Sqlite)
        .set("server.connections_max", &(PLAYERS + FREE).to_string())
        .set("kind.table.empty_ttl", "0s")
        .start()
        .await
}

/// Whoever looks after the hub sees that it is well.
async fn is_seen_to_be_well(daemon: &Daemon) {
    for path in ["/livez", "/readyz"] {
        assert_eq!(daemon.get(path).send().await.status, 200, "{path}");
        let answer = daemon.get_as_operator(path).send().await;
        assert_eq!(answer.status, 200, "{path} of the operators");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_that_show_nothing_make_room_for_players() {
    let daemon = small_hub().await;
    let honest = Honest::play(&daemon).await;
    let before = Vitals::of(&daemon).await;

    let silent = join_all((0..3 * FREE).map(|_| Raw::open(daemon.address()))).await;
    for _ in 0..5 {
        is_seen_to_be_well(&daemon).await;
        plays_and_goes(&daemon).await;
    }
    let displaced = "holdfast_http_connections_displaced_total";
    let silent_ones = daemon.metric(displaced).await;
    assert!(silent_ones >= FREE as u64, "{silent_ones}");
    drop(silent);
    before.come_back(&daemon).await;

    let mut upgraded = Vec::new();
    for _ in 0..FREE {
        upgraded.push(Raw::dial(daemon.address()).await);
    }
    is_seen_to_be_well(&daemon).await;
    plays_and_goes(&daemon).await;
    assert!(daemon.metric(displaced).await > silent_ones);
    drop(upgraded);
    before.come_back(&daemon).await;
    honest.have_lost_nothing("sockets that show nothing").await;
}

/// A player comes, sits down and ends its session.
async fn plays_and_goes(daemon: &Daemon) {
    let player = Player::opens(daemon).await;
    player.sits_down(daemon).await.drops_the_line();
    let ended = daemon.delete("/v1/session").by(&player.token).send().await;
    assert_eq!(ended.status, 204, "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_is_full_of_players_turns_others_away_and_is_seen_to_be_well() {
    let daemon = small_hub().await;
    let honest = Honest::play(&daemon).await;

    let guests = (0..FREE).map(async |_| Client::connect(daemon.address(), "").await.0);
    let guests = join_all(guests).await;
    let silent = join_all((0..100).map(|_| Raw::open(daemon.address()))).await;
    is_seen_to_be_well(&daemon).await;
    let body = json!({ "guest": { "name": "Eve" } });
    let refused = daemon.post("/v1/sessions", body.clone()).send().await;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.body["code"], "UNAVAILABLE");

    assert!(guests.iter().all(Client::is_open));
    drop((guests, silent));
    honest.have_lost_nothing("a hub full of guests").await;
    eventually("there is room again", async || {
        let back = daemon.post("/v1/sessions", body.clone()).send().await;
        let is_let_in = back.status == 201;
        is_let_in.then_some(()).ok_or(format!("{back:?}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_holds_all_that_it_may_is_refused_and_probes_from_it_are_answered() {
    let daemon = Daemon::on(Database::Sqlite)
        .set("server.connections_per_address_max", "70")
        .start()
        .await;
    let honest = Honest::play(&daemon).await;

    let guests = (0..FREE).map(async |_| Client::connect(daemon.address(), "").await.0);
    let guests = join_all(guests).await;
    let refused = daemon.get("/v1/rooms/ZZZZZZ").send().await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.body["code"], "RATE_LIMITED");
    is_seen_to_be_well(&daemon).await;
    assert!(guests.iter().all(Client::is_open));
    drop(guests);
    honest
        .have_lost_nothing("one address with all that it may have")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_sockets_at_the_operators_port_hide_the_hub_from_nobody() {
    let daemon = super::start().await;
    let admin = daemon.admin_address();
    let files = Vitals::of(&daemon).await.files;

    let mut silent = Vec::new();
    for _ in 0..10 {
        silent.extend(join_all((0..20).map(|_| Raw::open(admin))).await);
        for path in ["/livez", "/readyz", "/metrics"] {
            let answer = daemon.get_as_operator(path).send().await;
            assert_eq!(answer.status, 200, "{path} beside {}", silent.len());
        }
    }
    let held = Vitals::of(&daemon).await.files;
    assert!(held < files + 100, "{files} files before, {held} now");
}
