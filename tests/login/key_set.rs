//! Keys that are fetched: rotated, away, silent, and asked for no more than needed.

use std::time::Instant;

use jsonwebtoken::Algorithm;

use super::{lets_in, refuses, tries};
use crate::support::{
    Certificate, Daemon, Database, Issuer, KeyServer, Plan, Serving, TlsFront, eventually, key_set,
};

fn plan(server: &KeyServer) -> Plan {
    Daemon::on(Database::Sqlite)
        .set("auth.jwks_url", server.url())
        .set("auth.guests", "false")
}

/// Waits until this token lets in: the set may just have been asked for.
async fn lets_in_soon(daemon: &Daemon, token: &str) {
    eventually("the token lets in", async || {
        let tried = tries(daemon, token).await;
        tried.map_err(|refusal| format!("{refusal:?}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_every_sort_are_found_in_a_set() {
    let games = [
        Issuer::rsa(Algorithm::RS256).named("rsa"),
        Issuer::ec(Algorithm::ES256).named("ec"),
        Issuer::ed().named("ed"),
    ];
    let server = KeyServer::of(&games.each_ref()).await;
    let daemon = plan(&server).start().await;

    for game in &games {
        assert_eq!(lets_in(&daemon, &game.lets_in("u1")).await, "u1");
    }
    let nameless = games[2].clone().nameless();
    assert_eq!(lets_in(&daemon, &nameless.lets_in("u1")).await, "u1");
    let forger = Issuer::ed().named("ed");
    refuses(&daemon, &forger.lets_in("u1"), 3500).await;
    let keys = daemon.metrics().await.value("holdfast_key_set_keys");
    assert_eq!(keys, 3.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_new_in_the_set_lets_in_and_one_that_is_gone_does_not() {
    let (old, new) = (Issuer::ed().named("old"), Issuer::ed().named("new"));
    let server = KeyServer::of(&[&old]).await;
    let daemon = plan(&server).start().await;
    lets_in(&daemon, &old.lets_in("u1")).await;

    server.turns_to(&[&old, &new]);
    lets_in(&daemon, &new.lets_in("u1")).await;
    lets_in(&daemon, &old.lets_in("u1")).await;

    // The set is fetched again for the next name that is not in it, and the old key is gone then.
    let newest = Issuer::ed().named("newest");
    server.turns_to(&[&new, &newest]);
    lets_in_soon(&daemon, &newest.lets_in("u1")).await;
    let refused = tries(&daemon, &old.lets_in("u1")).await.unwrap_err();
    assert!([100, 3500].contains(&refused.code()), "{refused:?}");
    lets_in(&daemon, &new.lets_in("u1")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_starts_while_the_keys_are_away_and_knows_them_when_they_are_back() {
    let game = Issuer::ec(Algorithm::ES256).named("a");
    let server = KeyServer::of(&[&game]).await;
    server.serves(Serving::Status(503));
    let daemon = plan(&server).start().await;

    // Nothing is known of the token, so it is not said to be wrong.
    refuses(&daemon, &game.lets_in("u1"), 100).await;
    let over_http = daemon.get("/v1/session").by(&game.lets_in("u1"));
    assert_eq!(over_http.send().await.refusal(), (503, "UNAVAILABLE"));
    server.turns_to(&[&game]);
    lets_in_soon(&daemon, &game.lets_in("u1")).await;

    for serving in [
        Serving::Status(500),
        Serving::Body("<html>".to_owned()),
        Serving::Body(key_set(&[])),
        Serving::Body(" ".repeat(300 * 1024)),
    ] {
        server.serves(serving);
        lets_in(&daemon, &game.lets_in("u1")).await;
    }
    let metrics = daemon.metrics().await;
    let failed = metrics.value("holdfast_key_set_fetches_total{outcome=\"failed\"}");
    assert!(failed >= 1.0, "{failed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_says_nothing_holds_up_no_one_else() {
    let game = Issuer::ed().named("a");
    let server = KeyServer::of(&[&game]).await;
    let daemon = plan(&server).start().await;
    lets_in(&daemon, &game.lets_in("u1")).await;
    server.serves(Serving::Silence);

    let stranger = Issuer::ed().named("b").lets_in("u2");
    let waiting = tokio::spawn({
        let (address, stranger) = (daemon.address(), stranger.clone());
        async move {
            let mut client = crate::support::Client::dial(address).await;
            client.connects(&stranger).await
        }
    });
    eventually("the set is being asked for", async || {
        (server.asked() >= 2).then_some(()).ok_or(String::new())
    })
    .await;

    lets_in(&daemon, &game.lets_in("u1")).await;
    assert_eq!(waiting.await.unwrap().unwrap_err().code(), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn made_up_key_names_do_not_become_questions_to_the_game() {
    let game = Issuer::ed().named("a");
    let server = KeyServer::of(&[&game]).await;
    let daemon = plan(&server).start().await;
    lets_in(&daemon, &game.lets_in("u1")).await;
    let (before, began) = (server.asked(), Instant::now());

    let mut refused = Vec::new();
    for number in 0..40 {
        let forger = Issuer::ed().named(&format!("made-up-{number}"));
        let tried = tries(&daemon, &forger.lets_in("u1")).await;
        refused.push(tried.unwrap_err().code());
    }

    assert_eq!(refused[0], 3500);
    assert!(refused.iter().all(|code| [100, 3500].contains(code)));
    let fetches = server.asked() - before;
    let allowed = 1.0 + began.elapsed().as_secs_f64() / 5.0;
    assert!(fetches as f64 <= allowed, "{fetches} of {allowed}");
    lets_in(&daemon, &game.lets_in("u1")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_is_fetched_over_tls_from_a_server_that_can_prove_who_it_is() {
    let game = Issuer::ed().named("a");
    let (own, other) = (Certificate::make(), Certificate::make());
    let server = KeyServer::of(&[&game]).await;
    let front = TlsFront::of(server.url(), &own);
    assert!(front.url().starts_with("https://"));
    let plan = |trusted: &Certificate| {
        Daemon::on(Database::Sqlite)
            .set("auth.jwks_url", front.url())
            .trusting(trusted.file())
    };

    let deceived = plan(&other).start().await;
    // Whoever else answers there is not asked for keys; and the token is not said to be wrong.
    refuses(&deceived, &game.lets_in("u1"), 100).await;
    assert_eq!(server.asked(), 0);
    let failed = "holdfast_key_set_fetches_total{outcome=\"failed\"}";
    assert!(deceived.metrics().await.value(failed) >= 1.0);

    let daemon = plan(&own).start().await;
    assert_eq!(lets_in(&daemon, &game.lets_in("u1")).await, "u1");
    assert!(server.asked() >= 1);
    refuses(&daemon, &Issuer::ed().named("a").lets_in("u1"), 3500).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_may_be_a_file() {
    let (old, new) = (Issuer::ed().named("old"), Issuer::ed().named("new"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    std::fs::write(&file, key_set(&[&old])).unwrap();
    let url = format!("file://{}", file.display());
    let daemon = Daemon::on(Database::Sqlite)
        .set("auth.jwks_url", &url)
        .start()
        .await;

    lets_in(&daemon, &old.lets_in("u1")).await;
    std::fs::write(&file, key_set(&[&new])).unwrap();
    lets_in(&daemon, &new.lets_in("u1")).await;
}
