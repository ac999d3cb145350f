//! The keys of seat tokens.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use holdfast::token::new_key;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::Value;
use tempfile::TempDir;

use super::{comes_with, refused, seat_token, token_of};
use crate::support::{Daemon, Database, Player, on_both_databases};

on_both_databases!(
    anybody_can_check_a_token_with_the_public_key_set,
    the_hubs_own_key_outlives_the_process,
    keys_rotate_over_restarts,
);

/// A key in a file.
fn key_file(folder: &TempDir, name: &str) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, new_key()).unwrap();
    path
}

fn setting(keys: &[&PathBuf]) -> String {
    let paths: Vec<String> = keys
        .iter()
        .map(|key| format!("{:?}", key.display()))
        .collect();
    format!("[{}]", paths.join(", "))
}

async fn key_set(daemon: &Daemon) -> JwkSet {
    let answer = daemon.get("/.well-known/jwks.json").send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.headers["cache-control"], "public, max-age=300");
    serde_json::from_str(&answer.text).unwrap()
}

fn kid(token: &str) -> String {
    decode_header(token).unwrap().kid.unwrap()
}

async fn anybody_can_check_a_token_with_the_public_key_set(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let host = Player::opens(&daemon).await;
    let (_client, token) = seat_token(&daemon, &host).await;

    let keys = key_set(&daemon).await;

    let header = decode_header(&token).unwrap();
    assert_eq!(header.typ.as_deref(), Some("seat+jwt"));
    assert_eq!(header.alg, Algorithm::EdDSA);
    let key = keys
        .find(&header.kid.unwrap())
        .expect("the key is in the set");
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_issuer(&["holdfast"]);
    let claims = decode::<Value>(&token, &DecodingKey::from_jwk(key).unwrap(), &validation);
    assert_eq!(claims.unwrap().claims["code"], host.room);
    let text = daemon.get("/.well-known/jwks.json").send().await.text;
    assert!(!text.contains("\"d\""), "a private key is shown: {text}");
}

async fn the_hubs_own_key_outlives_the_process(database: Database) {
    let mut daemon = Daemon::on(database).start().await;
    let host = Player::opens(&daemon).await;
    let (_client, token) = seat_token(&daemon, &host).await;
    let file = daemon.data_dir().join("seat_token.pem");
    match database {
        Database::Sqlite => {
            let mode = fs::metadata(&file).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        // The next machine has another folder and the same database.
        Database::Postgres => {
            assert!(!file.exists());
            daemon.kill();
            fs::remove_dir_all(daemon.data_dir()).unwrap();
        }
    }

    daemon.restart().await;

    let (_client, data) = comes_with(&daemon, &token).await.unwrap();
    assert_eq!(data["seats"][0]["room"], host.room);
    assert_eq!(kid(&token_of(&data)), kid(&token));
    assert!(!daemon.log().contains("PRIVATE KEY"));
}

async fn keys_rotate_over_restarts(database: Database) {
    let folder = tempfile::tempdir().unwrap();
    let (older, newer) = (key_file(&folder, "older"), key_file(&folder, "newer"));
    let mut daemon = Daemon::on(database)
        .set("seat_token.keys", &setting(&[&older]))
        .start()
        .await;
    let host = Player::opens(&daemon).await;
    let (_client, by_older) = seat_token(&daemon, &host).await;
    assert!(!daemon.data_dir().join("seat_token.pem").exists());

    daemon.reconfigure("seat_token.keys", &setting(&[&newer, &older]));
    daemon.restart().await;
    let both = key_set(&daemon).await;
    let (_client, data) = comes_with(&daemon, &by_older).await.unwrap();
    let by_newer = token_of(&data);

    assert_ne!(kid(&by_older), kid(&by_newer));
    for token in [&by_older, &by_newer] {
        assert!(both.find(&kid(token)).is_some());
    }
    daemon.reconfigure("seat_token.keys", &setting(&[&newer]));
    daemon.restart().await;
    let (_client, _) = comes_with(&daemon, &by_newer).await.unwrap();
    let unknown = comes_with(&daemon, &by_older).await.map(|_| ());
    assert_eq!(unknown.unwrap_err().code(), 3500);
    assert_eq!(refused(&daemon, "unknown_key").await, 1);
}
