//! No secret reaches the log, at whatever level and in whatever form it is written.

use holdfast::wire::Encoding;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use crate::support::{
    Client, Daemon, Database, Issuer, Player, Request, in_seconds, on_both_databases,
};

on_both_databases!(a_whole_play_at_trace_leaves_no_secret_in_the_log);

const HMAC_SECRET: &str = "the-shared-secret-of-the-games-login";
const ADMIN_TOKEN: &str = "the-token-of-an-operator-00000001";
const GUEST_KEY: &str = "0f8e2c4b6d7a9153e8c2b4d6f7a91035";
const GAME_KEY: &str = "key-of-one-request-of-the-game";
const RPC_KEY: &str = "key-of-one-request-over-a-socket";

/// What must stay out of the log.
#[derive(Default)]
struct Secrets(Vec<(&'static str, String)>);

impl Secrets {
    /// Notes a secret and gives it back.
    fn note(&mut self, what: &'static str, secret: &Value) -> String {
        let secret = secret.as_str().unwrap_or_else(|| panic!("no {what}"));
        assert!(secret.len() > 20, "{what} is a secret");
        self.0.push((what, secret.to_owned()));
        secret.to_owned()
    }

    fn own(&mut self, what: &'static str, secret: &str) -> String {
        self.note(what, &json!(secret))
    }
}

async fn a_whole_play_at_trace_leaves_no_secret_in_the_log(database: Database) {
    for format in ["text", "json"] {
        let mut daemon = Daemon::on(database)
            .set("log.level", "trace")
            .set("log.format", format)
            .set("auth.hmac_secret", HMAC_SECRET)
            .set("admin.token", ADMIN_TOKEN)
            .with_api_key()
            .start()
            .await;
        let mut secrets = Secrets::default();
        secrets.own("the HMAC secret", HMAC_SECRET);
        secrets.own("the admin token", ADMIN_TOKEN);
        secrets.own("the API key", daemon.api_key());

        plays_over_http(&daemon, &mut secrets).await;
        for encoding in [Encoding::Json, Encoding::Protobuf] {
            plays_over_a_socket(&daemon, encoding, &mut secrets).await;
        }
        watches_as_operator(&daemon, &mut secrets).await;
        daemon.restart().await;
        daemon.stop().await;

        let log = daemon.log();
        assert!(
            log.contains("DEBUG"),
            "the log says more than it does by default"
        );
        for (what, secret) in &secrets.0 {
            let line = log.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{what} is in the log ({format})");
        }
        let is_control = |c: char| c.is_control() && c != '\n';
        assert!(
            !log.contains(is_control),
            "raw bytes of a client ({format})"
        );
        if let Some(url) = daemon.store().url(None) {
            let (_, rest) = url.split_once("://").unwrap();
            let (login, _) = rest.split_once('@').unwrap();
            let password = login.split_once(':').map_or("", |(_, password)| password);
            let is_shown = !password.is_empty() && log.contains(password);
            assert!(!is_shown, "the password of the database is in the log");
        }
    }
}

fn login(claims: Value) -> String {
    Issuer::secret(Algorithm::HS256, HMAC_SECRET).signs(claims)
}

async fn plays_over_http(daemon: &Daemon, secrets: &mut Secrets) {
    let key = secrets.own("a guest's key", GUEST_KEY);
    let opened = daemon.post("/v1/rooms", json!({ "guest": { "name": "Ana" } }));
    let opened = opened.header("idempotency-key", &key).send().await;
    let opened = opened.expect(201);
    let token = secrets.note("a session token", &opened["session"]["token"]);
    let seat = secrets.note("a seat token", &opened["seat"]["token"]);
    let again = daemon.post("/v1/rooms", json!({ "guest": { "name": "Ana" } }));
    let again = again.header("idempotency-key", &key).send().await;
    secrets.note("a token added", &again.expect(201)["session"]["token"]);
    let shown = daemon.get("/v1/session").by(&token).send().await;
    secrets.note(
        "a newer seat token",
        &shown.expect(200)["seats"][0]["token"],
    );
    let moved = daemon.post("/v1/sessions", json!({ "seat_token": seat }));
    let moved = moved.send().await.expect(201);
    secrets.note("the token of a takeover", &moved["session"]["token"]);

    let key = secrets.own("a key of the game", GAME_KEY);
    let user = json!({ "user": { "id": "ana" }, "expires_at": "2126-01-01T00:00:00Z" });
    let opened = daemon.post_as_game("/v1/sessions", user);
    let opened = opened.header("idempotency-key", &key).send().await;
    let opened = opened.expect(201);
    secrets.note("a session of the game", &opened["session"]["token"]);
    let body = json!({ "user": "ana" });
    daemon.post_as_game("/api/session_end", body).send().await;
    let wrong_key = secrets.own("a wrong API key", "a-wrong-key-of-32-characters-0000");
    let wrong = daemon.post("/api/info", json!({}));
    wrong.header("x-api-key", &wrong_key).send().await;

    let jwt = secrets.own(
        "a JWT",
        &login(json!({ "sub": "ben", "exp": in_seconds(600) })),
    );
    let by_login = daemon.post("/v1/rooms", json!({})).by(&jwt).send().await;
    secrets.note(
        "a session of a login",
        &by_login.expect(201)["session"]["token"],
    );
    for (what, claims) in [
        ("a JWT past its time", json!({ "sub": "ben", "exp": 1 })),
        ("a JWT of nobody", json!({ "exp": in_seconds(600) })),
    ] {
        let wrong = secrets.own(what, &login(claims));
        daemon.get("/v1/session").by(&wrong).send().await;
    }
    let unknown = format!("hfs_{}", "A".repeat(43));
    let unknown = secrets.own("a session token of nobody", &unknown);
    daemon.get("/v1/session").by(&unknown).send().await;
}

async fn plays_over_a_socket(daemon: &Daemon, encoding: Encoding, secrets: &mut Secrets) {
    let channel = "$lobby:vip";
    let jwt = secrets.own(
        "a JWT",
        &login(json!({ "sub": "cy", "exp": in_seconds(700) })),
    );
    let newer = secrets.own(
        "a newer JWT",
        &login(json!({ "sub": "cy", "exp": in_seconds(900) })),
    );
    let claims = json!({ "sub": "cy", "channel": channel, "exp": in_seconds(700) });
    let entrance = secrets.own("a token for a channel", &login(claims.clone()));

    let mut client = Client::dial_as(daemon.address(), encoding).await;
    let told = client.connects(&jwt).await.unwrap();
    if told["data"]["session"].get("token").is_some() {
        secrets.note("a session token", &told["data"]["session"]["token"]);
    }
    let body = json!({ "channel": channel, "token": entrance });
    client.asks("subscribe", body.clone()).await.unwrap();
    client.asks("sub_refresh", body).await.unwrap();
    let data = json!({ "esc": "\u{1b}[31m", "nul": "\u{0}", "line": "\r\n" });
    client.publishes(channel, data).await.unwrap();
    client
        .asks("refresh", json!({ "token": newer }))
        .await
        .unwrap();
    let key = format!("{RPC_KEY}-{encoding:?}");
    let key = secrets.own("a key of an rpc", &key);
    let opened = client.calls("room.open", json!({ "key": key })).await;
    let seat = secrets.note("a seat token", &opened.unwrap()["seat"]["token"]);
    let held = client.calls("session.get", json!({})).await.unwrap();
    secrets.note("a newer seat token", &held["seats"][0]["token"]);

    let mut other = Client::dial_as(daemon.address(), encoding).await;
    let told = other.connects(&seat).await.unwrap();
    let token = secrets.note("the token of a takeover", &told["data"]["session"]["token"]);
    let mut third = Client::dial_as(daemon.address(), encoding).await;
    third.connects(&token).await.unwrap();
    let wrong = secrets.own(
        "a token of no kind",
        "hfs_what-is-no-token-but-looks-like-one",
    );
    let mut refused = Client::dial_as(daemon.address(), encoding).await;
    refused.connects(&wrong).await.unwrap_err();
    let guest = Player::opens(daemon).await;
    secrets.own("a guest's token", &guest.token);
    let mut guest_client = Client::dial_as(daemon.address(), encoding).await;
    guest_client.connects(&guest.token).await.unwrap();
    guest_client.calls("session.end", json!({})).await.unwrap();
}

async fn watches_as_operator(daemon: &Daemon, secrets: &mut Secrets) {
    let ask = |method: &str, path: &str| Request::new(daemon.admin(), method, path);
    let login = ask("POST", "/admin/login").json(&json!({ "token": ADMIN_TOKEN }));
    let login = login.send().await;
    let cookie = login.headers["set-cookie"].split(';').next().unwrap();
    let (_, value) = cookie.split_once('=').unwrap();
    secrets.own("the operator's cookie", value);
    secrets.note("what changes show", &login.body["csrf"]);
    ask("GET", "/admin/login")
        .header("cookie", cookie)
        .send()
        .await;
    ask("GET", "/nothing").by(ADMIN_TOKEN).send().await;
    let wrong = secrets.own("a wrong admin token", "a-guess-of-the-admin-token-0001");
    ask("GET", "/nothing").by(&wrong).send().await;
}
