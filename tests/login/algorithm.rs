//! Which keys open the door, and that nothing else does.

use jsonwebtoken::Algorithm;
use serde_json::json;

use super::{lets_in, refuses};
use crate::support::{Daemon, Database, Issuer, in_seconds, unsigned};

const SECRET: &str = "a-secret-of-thirty-two-characters";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_lets_in_with_each_of_its_algorithms() {
    let daemon = Daemon::on(Database::Sqlite)
        .set("auth.hmac_secret", SECRET)
        .start()
        .await;

    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        let game = Issuer::secret(algorithm, SECRET);
        assert_eq!(lets_in(&daemon, &game.lets_in("u1")).await, "u1");
        let other = Issuer::secret(algorithm, "another-secret");
        refuses(&daemon, &other.lets_in("u1"), 3500).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn public_keys_let_in_with_the_algorithms_that_they_are_for() {
    let games = [
        Issuer::rsa(Algorithm::RS256),
        Issuer::ec(Algorithm::ES256),
        Issuer::ec(Algorithm::ES384),
        Issuer::ed(),
    ];
    let keys: Vec<&str> = games.iter().map(Issuer::public).collect();
    let daemon = Daemon::on(Database::Sqlite)
        .set("auth.public_keys", &json!(keys).to_string())
        .start()
        .await;

    for game in &games {
        assert_eq!(lets_in(&daemon, &game.lets_in("u1")).await, "u1");
    }
    for stranger in [
        Issuer::rsa(Algorithm::RS256),
        Issuer::ec(Algorithm::ES256),
        Issuer::ed(),
        Issuer::secret(Algorithm::HS256, SECRET),
    ] {
        refuses(&daemon, &stranger.lets_in("u1"), 3500).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_secret_before_lets_in_until_it_is_taken_out() {
    let daemon = Daemon::on(Database::Sqlite)
        .set("auth.hmac_secret", SECRET)
        .set("auth.hmac_secret_previous", "the-secret-before")
        .start()
        .await;

    let before = Issuer::secret(Algorithm::HS256, "the-secret-before");
    assert_eq!(lets_in(&daemon, &before.lets_in("u1")).await, "u1");
    let after = Issuer::secret(Algorithm::HS256, SECRET);
    assert_eq!(lets_in(&daemon, &after.lets_in("u1")).await, "u1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_public_key_is_no_secret() {
    let game = Issuer::rsa(Algorithm::RS256);
    let daemon = Daemon::on(Database::Sqlite)
        .set("auth.public_keys", &game.public_keys())
        .start()
        .await;

    for secret in [game.public(), game.public().trim_end()] {
        let forger = Issuer::secret(Algorithm::HS256, secret);
        refuses(&daemon, &forger.lets_in("u1"), 3500).await;
    }
    assert_eq!(lets_in(&daemon, &game.lets_in("u1")).await, "u1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_does_not_choose_how_it_is_checked() {
    let daemon = Daemon::on(Database::Sqlite)
        .set("auth.hmac_secret", SECRET)
        .start()
        .await;
    let claims = json!({ "sub": "u1", "exp": in_seconds(3600) });

    for algorithm in ["none", "None", "NONE", "", "HS257", "RS256", "EdDSA"] {
        let header = json!({ "alg": algorithm, "typ": "JWT" });
        refuses(&daemon, &unsigned(header, claims.clone()), 3500).await;
    }
    let good = Issuer::secret(Algorithm::HS256, SECRET).signs(claims.clone());
    let (content, signature) = good.rsplit_once('.').unwrap();
    let (header, _) = content.split_once('.').unwrap();
    let other = unsigned(json!({}), json!({ "sub": "u2" }));
    let other = other.split('.').nth(1).unwrap();
    for wrong in [
        format!("{content}."),
        format!("{content}.{}", &signature[1..]),
        format!("{content}.{signature}A"),
        format!("{header}.{other}.{signature}"),
        format!("{good}."),
        content.to_owned(),
        "a.b.c".to_owned(),
        "..".to_owned(),
        "hello".to_owned(),
    ] {
        refuses(&daemon, &wrong, 3500).await;
    }
    let extended = json!({ "alg": "HS256", "crit": ["b64"], "b64": false });
    refuses(&daemon, &unsigned(extended, claims), 3500).await;
}
