//! What a token has to say, and when.

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::{lets_in, refuses, tries};
use crate::support::{Client, Daemon, Database, Issuer, Refusal, in_seconds};

const SECRET: &str = "a-secret-of-thirty-two-characters";

fn game() -> Issuer {
    Issuer::secret(Algorithm::HS256, SECRET)
}

/// A token for `u1` with these claims beside.
fn with(mut claims: Value) -> String {
    claims["sub"] = json!("u1");
    game().signs(claims)
}

async fn daemon() -> Daemon {
    let plan = Daemon::on(Database::Sqlite)
        .set("auth.hmac_secret", SECRET)
        .set("auth.require_exp", "false");
    plan.start().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_past_its_time_or_before_it_is_told_to_be_fetched_anew() {
    let daemon = daemon().await;

    for claims in [
        json!({ "exp": in_seconds(-1) }),
        json!({ "exp": 1 }),
        json!({ "exp": in_seconds(3600), "nbf": in_seconds(600) }),
        json!({ "expire_at": in_seconds(-1) }),
    ] {
        let refused = tries(&daemon, &with(claims.clone())).await;
        let expired = Refusal::error(109, "TOKEN_EXPIRED");
        assert_eq!(refused, Err(expired), "{claims}");
    }
    for claims in [
        json!({}),
        json!({ "exp": in_seconds(3600) }),
        json!({ "exp": in_seconds(3600), "nbf": in_seconds(-1), "iat": in_seconds(-1) }),
        json!({ "exp": in_seconds(3600), "expire_at": 0 }),
    ] {
        assert_eq!(lets_in(&daemon, &with(claims)).await, "u1");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_for_another_hub_is_invalid() {
    let daemon = Daemon::on(Database::Sqlite)
        .set("auth.hmac_secret", SECRET)
        .set("auth.require_exp", "false")
        .set("auth.audience", "this-hub")
        .set("auth.issuer", "this-game")
        .start()
        .await;
    let right = json!({ "aud": "this-hub", "iss": "this-game" });

    assert_eq!(lets_in(&daemon, &with(right.clone())).await, "u1");
    let several = json!({ "aud": ["other", "this-hub"], "iss": "this-game" });
    assert_eq!(lets_in(&daemon, &with(several)).await, "u1");
    for (claim, value) in [
        ("aud", json!("other")),
        ("aud", json!(["other"])),
        ("aud", json!([])),
        ("aud", json!(7)),
        ("aud", Value::Null),
        ("iss", json!("other")),
        ("iss", json!("")),
        ("iss", Value::Null),
    ] {
        let mut claims = right.clone();
        claims[claim] = value;
        refuses(&daemon, &with(claims), 3500).await;
    }
    for missing in ["aud", "iss"] {
        let mut claims = right.clone();
        claims.as_object_mut().unwrap().remove(missing);
        refuses(&daemon, &with(claims), 3500).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_none_is_configured_audience_and_issuer_do_not_matter() {
    let daemon = daemon().await;

    let claims = json!({ "aud": "anyone", "iss": "anyone" });

    assert_eq!(lets_in(&daemon, &with(claims)).await, "u1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_never_expires_is_invalid_unless_the_hub_is_told_to_take_it() {
    let strict = Daemon::on(Database::Sqlite)
        .set("auth.hmac_secret", SECRET)
        .start()
        .await;
    let endless = game().signs(json!({ "sub": "u1" }));

    refuses(&strict, &endless, 3500).await;
    let request = strict.post("/v1/sessions", json!({})).by(&endless);
    let refused = request.send().await;
    assert_eq!(refused.refusal(), (401, "TOKEN_INVALID"));
    assert!(refused.text.contains("exp"), "{refused:?}");
    assert_eq!(lets_in(&strict, &game().lets_in("u1")).await, "u1");
    let (mut client, _) = Client::connect(strict.address(), &game().lets_in("u1")).await;
    let opens = json!({ "sub": "u1", "channel": "$lobby:vip" });
    let body = json!({ "channel": "$lobby:vip", "token": game().signs(opens) });
    let refused = client.asks("subscribe", body).await.unwrap_err();
    assert_eq!(refused.code(), 103);

    assert_eq!(lets_in(&daemon().await, &endless).await, "u1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_makes_no_sense_is_invalid() {
    let daemon = daemon().await;

    for claims in [
        json!({}),
        json!({ "sub": "" }),
        json!({ "sub": 7 }),
        json!({ "sub": "x".repeat(129) }),
        json!({ "sub": "a\nb" }),
        json!({ "sub": "u1", "channel": "lobby:all" }),
        json!({ "sub": "u1", "exp": "tomorrow" }),
        json!({ "sub": "u1", "exp": -1 }),
        json!({ "sub": "u1", "nbf": "yesterday" }),
        json!({ "sub": "u1", "b64info": "*" }),
        json!({ "sub": "u1", "channels": "lobby:all" }),
        json!(["u1"]),
        json!("u1"),
    ] {
        refuses(&daemon, &game().signs(claims), 3500).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_became_of_tokens_is_counted() {
    let daemon = daemon().await;
    lets_in(&daemon, &with(json!({}))).await;
    refuses(&daemon, &with(json!({ "exp": 1 })), 109).await;
    let forger = Issuer::secret(Algorithm::HS256, "another-secret");
    refuses(&daemon, &forger.lets_in("u1"), 3500).await;
    refuses(&daemon, "hello", 3500).await;

    let metrics = daemon.metrics().await;

    for outcome in ["accepted", "expired", "signature", "malformed"] {
        let series = format!("holdfast_jwts_total{{outcome=\"{outcome}\"}}");
        assert_eq!(metrics.value(&series), 1.0, "{outcome}");
    }
    assert_eq!(metrics.sum("holdfast_jwts_total"), 4.0);
    for word in ["eyJ", "another-secret", SECRET] {
        assert!(!daemon.log().contains(word), "{word} is in the log");
    }
}
