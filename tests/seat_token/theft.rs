//! Tokens in the wrong hands.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use holdfast::token::new_key;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::{asks_with, claims, comes_with, refused, seat_token, token_of};
use crate::support::{Client, Daemon, Database, Player, Refusal, eventually, on_both_databases};

on_both_databases!(
    an_older_token_used_after_a_newer_one_ends_both,
    a_reuse_is_one_only_once,
    tokens_are_over_once_that_is_stored_and_not_before,
    a_token_that_is_not_right_is_refused_and_changes_nothing,
);

async fn an_older_token_used_after_a_newer_one_ends_both(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let host = Player::opens(&daemon).await;
    let (_first, stolen) = seat_token(&daemon, &host).await;
    let (_second, data) = comes_with(&daemon, &stolen).await.unwrap();
    let newer = token_of(&data);
    let (mut owner, data) = comes_with(&daemon, &newer).await.unwrap();
    let newest = token_of(&data);

    let thief = comes_with(&daemon, &stolen).await.map(|_| ());

    assert_eq!(thief.unwrap_err().code(), 3500);
    assert_eq!(refused(&daemon, "reused").await, 1);
    for token in [&stolen, &newer, &newest] {
        let over = comes_with(&daemon, token).await.map(|_| ());
        assert_eq!(over.unwrap_err().code(), 3500, "{}", claims(token));
        let (status, body) = asks_with(&daemon, token).await;
        assert_eq!((status, &body["code"]), (401, &json!("TOKEN_INVALID")));
    }
    // Whoever sits there stays: the session is another secret. It is given a token that is good.
    assert!(owner.is_open());
    owner.subscribes(&host.channel).await.unwrap();
    assert_eq!(host.seat_in_room(&daemon).await["status"], "held");
    let pushed = hears_of_a_token(&owner).await;
    let (_owner, data) = comes_with(&daemon, &pushed).await.unwrap();
    assert_eq!(data["seats"][0]["room"], host.room);
    let log = daemon.log();
    assert!(log.contains("was used after a newer one"), "{log}");
    for token in [&stolen, &newer, &newest] {
        assert!(!log.contains(&token[..11]), "a token is in the log");
    }
}

/// The token of the last push to a client.
async fn hears_of_a_token(client: &Client) -> String {
    eventually("a push with a token", async || {
        let heard = client.heard_in_order();
        let token = heard.iter().rev().find_map(|frame| {
            let message = &frame["push"]["message"]["data"];
            message["seat"]["token"].as_str().map(str::to_owned)
        });
        token.ok_or_else(|| "none".to_owned())
    })
    .await
}

async fn a_reuse_is_one_only_once(database: Database) {
    let mut daemon = Daemon::on(database).start().await;
    let host = Player::opens(&daemon).await;
    let (_client, stolen) = seat_token(&daemon, &host).await;
    let (_client, data) = comes_with(&daemon, &stolen).await.unwrap();
    let (owner, _) = comes_with(&daemon, &token_of(&data)).await.unwrap();
    comes_with(&daemon, &stolen).await.map(|_| ()).unwrap_err();
    let fresh = hears_of_a_token(&owner).await;

    // Whoever goes on with a stolen token cannot end the tokens that came after.
    for _ in 0..3 {
        comes_with(&daemon, &stolen).await.map(|_| ()).unwrap_err();
    }
    daemon.restart().await;
    comes_with(&daemon, &stolen).await.map(|_| ()).unwrap_err();
    let (_client, data) = comes_with(&daemon, &fresh).await.unwrap();

    assert_eq!(data["seats"][0]["room"], host.room);
    assert_eq!(refused(&daemon, "reused").await, 0);
    assert_eq!(refused(&daemon, "ended").await, 1);
}

async fn tokens_are_over_once_that_is_stored_and_not_before(database: Database) {
    let mut daemon = Daemon::on(database).start().await;
    let host = Player::opens(&daemon).await;
    let (_client, stolen) = seat_token(&daemon, &host).await;
    let (_client, data) = comes_with(&daemon, &stolen).await.unwrap();
    let (owner, data) = comes_with(&daemon, &token_of(&data)).await.unwrap();
    let newest = token_of(&data);

    let stall = daemon.store().stall().await;
    let address = daemon.address();
    let thief = tokio::spawn(async move {
        let mut client = Client::dial(address).await;
        client.says("connect", json!({ "token": stolen })).await;
        client
    });
    eventually("the end of the tokens waits to be written", async || {
        let log = daemon.log();
        let is_seen = log.contains("was used after a newer one");
        is_seen.then_some(()).ok_or(log)
    })
    .await;
    // Killed before anything is stored, the hub must have told nobody of it.
    let told = owner.heard_in_order();
    daemon.kill();
    stall.end().await;
    daemon.restart().await;
    drop(thief.await.unwrap());

    let is_token = |frame: &Value| frame["push"]["message"]["data"]["type"] == "seat.token";
    assert!(!told.iter().any(is_token), "{told:?}");
    let (_owner, data) = comes_with(&daemon, &newest).await.unwrap();
    assert_eq!(data["seats"][0]["room"], host.room);
}

/// A token that says other things, signed by this key.
fn signed(key: &str, kid: &str, claims: &Value) -> String {
    let header = Header {
        typ: Some("seat+jwt".to_owned()),
        kid: Some(kid.to_owned()),
        ..Header::new(Algorithm::EdDSA)
    };
    let key = EncodingKey::from_ed_pem(key.as_bytes()).unwrap();
    encode(&header, claims, &key).unwrap()
}

/// A token with another header and no signature.
fn unsigned(token: &str) -> String {
    let body = token.split('.').nth(1).unwrap();
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"seat+jwt"}"#);
    format!("{header}.{body}.")
}

#[expect(
    clippy::too_many_lines,
    reason = "most of it is one table: a line for each wrong token"
)]
async fn a_token_that_is_not_right_is_refused_and_changes_nothing(database: Database) {
    let folder = tempfile::tempdir().unwrap();
    let (path, key) = (folder.path().join("key"), new_key());
    fs::write(&path, &key).unwrap();
    let daemon = Daemon::on(database)
        .set("seat_token.keys", &format!("[{:?}]", path.display()))
        .set("kind.match.seats", "2")
        .set("kind.match.teams", "{blue = 1, red = 1}")
        .start()
        .await;
    let wish = json!({ "kind": "match", "team": "red" });
    let red = Player::opens_with(&daemon, wish.clone()).await;
    let elsewhere = Player::opens_with(&daemon, wish).await;
    let wish = json!({ "team": "blue" });
    let blue = Player::tries_to_join(&daemon, &red.room, wish).await;
    let blue = Player::from(&blue.expect(200));
    let (red_client, token) = seat_token(&daemon, &red).await;
    let (blue_client, blue_token) = seat_token(&daemon, &blue).await;
    let (own, blues) = (claims(&token), claims(&blue_token));
    let header = jsonwebtoken::decode_header(&token).unwrap();
    let kid = header.kid.unwrap();
    let with = |changes: Value| {
        let mut claims = own.clone();
        let fields = changes.as_object().unwrap().clone();
        claims.as_object_mut().unwrap().extend(fields);
        signed(&key, &kid, &claims)
    };
    let invalid = (3500, 401, "TOKEN_INVALID");
    let foreign_signature = signed(&new_key(), &kid, &own);
    let (head, _) = token.rsplit_once('.').unwrap();
    let tables = ["app_sessions", "session_tokens", "room_seats"];
    let before = counts(&daemon, &tables).await;
    let seats = "SELECT user_id || ' ' || seat || ' ' || token_generation || ' ' || tokens_ended \
                 FROM room_seats ORDER BY room_id, seat";
    let seats_before = daemon.store().texts(seats).await;

    for (what, text, (wire, status, code)) in [
        (
            "another room's id",
            with(json!({ "room": claims_of(&daemon, &elsewhere).await["room"] })),
            invalid,
        ),
        (
            "another room's code",
            with(json!({ "code": elsewhere.room })),
            invalid,
        ),
        ("another team", with(json!({ "team": "blue" })), invalid),
        ("no team", with(json!({ "team": null })), invalid),
        (
            "another team's seat",
            with(json!({ "seat": blues["seat"] })),
            invalid,
        ),
        (
            "a seat that is not there",
            with(json!({ "seat": 9 })),
            invalid,
        ),
        (
            "another user",
            with(json!({ "user": blue.user })),
            (1007, 403, "NOT_SEATED"),
        ),
        (
            "a later generation",
            with(json!({ "generation": own["generation"].as_i64().unwrap() + 1 })),
            invalid,
        ),
        ("an earlier one", with(json!({ "generation": 1 })), invalid),
        ("another issuer", with(json!({ "iss": "game" })), invalid),
        (
            "expired",
            with(json!({ "exp": own["iat"] })),
            (109, 401, "TOKEN_EXPIRED"),
        ),
        ("cut off", token[..token.len() - 7].to_owned(), invalid),
        ("cut in half", token[..token.len() / 2].to_owned(), invalid),
        ("without a signature", format!("{head}."), invalid),
        ("alg none", unsigned(&token), invalid),
        ("a foreign signature", foreign_signature.clone(), invalid),
        ("an unknown key", signed(&key, "another", &own), invalid),
        ("no token at all", "x.y.z".to_owned(), invalid),
    ] {
        let over_socket = comes_with(&daemon, &text).await.map(|_| ());
        assert_eq!(over_socket.unwrap_err().code(), wire, "{what}");
        let (found, body) = asks_with(&daemon, &text).await;
        assert_eq!((found, &body["code"]), (status, &json!(code)), "{what}");
    }

    assert_eq!(counts(&daemon, &tables).await, before);
    assert_eq!(daemon.store().texts(seats).await, seats_before);
    assert!(red_client.is_open() && blue_client.is_open());
    assert_eq!(red.seat_in_room(&daemon).await["status"], "held");
    assert_eq!(blue.seat_in_room(&daemon).await["status"], "held");
    for (reason, least) in [
        ("algorithm", 2),
        ("signature", 2),
        ("unknown_key", 2),
        ("expired", 2),
        ("foreign", 10),
        ("released", 2),
        ("ended", 2),
        ("reused", 0),
    ] {
        let count = refused(&daemon, reason).await;
        assert!(count >= least, "{reason}: {count}");
    }
    // The right one is as good as before.
    assert!(comes_with(&daemon, &token).await.is_ok());
    assert!(comes_with(&daemon, &blue_token).await.is_ok());
}

async fn claims_of(daemon: &Daemon, player: &Player) -> Value {
    claims(&seat_token(daemon, player).await.1)
}

async fn counts(daemon: &Daemon, tables: &[&str]) -> Vec<i64> {
    let mut counts = Vec::new();
    for table in tables {
        let sql = format!("SELECT count(*) FROM {table}");
        counts.push(daemon.store().count(&sql).await);
    }
    counts
}

/// A refusal that says nothing of the token, because nobody could look.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_cannot_be_looked_up_is_not_called_invalid() {
    let daemon = Daemon::on(Database::Postgres)
        .behind_proxy()
        .set("persistence.deadline", "300ms")
        .start()
        .await;
    let host = Player::opens(&daemon).await;
    let (client, token) = seat_token(&daemon, &host).await;
    daemon.database_line().goes_down();

    let over_socket = comes_with(&daemon, &token).await.map(|_| ());
    let (status, body) = asks_with(&daemon, &token).await;
    daemon.database_line().comes_up();

    assert_eq!(over_socket, Err(Refusal::error(100, "UNAVAILABLE")));
    assert_eq!((status, &body["code"]), (503, &json!("UNAVAILABLE")));
    assert!(client.is_open());
    let data = eventually("the token is good again", async || {
        let come = comes_with(&daemon, &token).await;
        come.map(|(_, data)| data)
            .map_err(|refusal| format!("{refusal:?}"))
    })
    .await;
    assert_eq!(data["seats"][0]["room"], host.room);
}
