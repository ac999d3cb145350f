//! Web pages from elsewhere: what they may not ask for, and the names under which they may not come.

use serde_json::{Value, json};

use crate::support::{Daemon, Database, Player, Request, on_both_databases};

on_both_databases!(a_page_from_elsewhere_changes_nothing);

const EVIL: &str = "https://evil.example";

/// What a form of a page sends: its browser asks nobody first.
fn as_form(request: Request, origin: &str) -> Request {
    request
        .header("origin", origin)
        .header("content-type", "text/plain")
}

async fn a_page_from_elsewhere_changes_nothing(database: Database) {
    let daemon = Daemon::on(database)
        .with_api_key()
        .set("server.allowed_origins", "[\"https://game.example\"]")
        .start()
        .await;
    let host = Player::opens(&daemon).await;
    let post = |path: &str, body: Value| Request::new(daemon.address(), "POST", path).text(&body);
    let changes = || {
        [
            post("/v1/sessions", json!({ "guest": { "name": "Eve" } })),
            post("/v1/rooms", json!({})),
            post("/v1/quick-match", json!({})),
            post(&format!("/v1/rooms/{}/join", host.room), json!({})),
            post("/v1/rooms", json!({})).by(&host.token),
            daemon.delete("/v1/session").by(&host.token),
            post("/api/publish", json!({ "channel": "lobby:a", "data": 1 }))
                .header("x-api-key", daemon.api_key()),
            post("/v1/nothing", json!({})),
        ]
    };
    let count = "SELECT (SELECT count(*) FROM users) + (SELECT count(*) FROM rooms) \
                 + (SELECT count(*) FROM app_sessions WHERE ended_at IS NULL)";
    let before = daemon.store().count(count).await;

    for origin in [EVIL, "null", "https://game.example.evil.example"] {
        for change in changes() {
            let answer = as_form(change, origin).send().await;
            assert_eq!(answer.refusal(), (403, "PERMISSION_DENIED"), "{origin}");
            let allowed = answer.headers.get("access-control-allow-origin");
            assert_eq!(allowed, None, "{answer:?}");
        }
    }
    assert_eq!(daemon.store().count(count).await, before);

    // To look is not to change, and what is read stays with the browser.
    let looked = daemon
        .get("/v1/session")
        .by(&host.token)
        .header("origin", EVIL);
    let looked = looked.send().await;
    assert_eq!(looked.status, 200);
    assert_eq!(looked.headers.get("access-control-allow-origin"), None);
    let asks_first = Request::new(daemon.address(), "OPTIONS", "/v1/rooms")
        .header("origin", "https://game.example")
        .header("access-control-request-method", "POST");
    let asks_first = asks_first.send().await;
    assert_eq!(asks_first.status, 200, "{asks_first:?}");
    let of_game = post("/v1/rooms", json!({})).header("origin", "https://game.example");
    let of_game = of_game.send().await;
    assert_eq!(of_game.status, 201, "{of_game:?}");
    assert_eq!(
        of_game.headers["access-control-allow-origin"],
        "https://game.example"
    );
    // A game that is no page has no origin.
    post("/v1/rooms", json!({})).send().await.expect(201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hubs_own_page_may_ask_for_changes() {
    let daemon = Daemon::on(Database::Sqlite).start().await;
    for host in [
        daemon.address().to_string(),
        format!("localhost:{}", daemon.address().port()),
    ] {
        let request = daemon.post("/v1/rooms", json!({})).for_host(&host);
        let answer = request.header("origin", &format!("http://{host}")).send();
        answer.await.expect(201);
    }
}

/// An upgrade to a socket, as a page of this origin asks for it.
fn upgrade(daemon: &Daemon, origin: &str) -> Request {
    daemon
        .get("/connection/websocket")
        .header("origin", origin)
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_whose_name_is_made_to_mean_this_machine_reaches_no_listener() {
    let mut daemon = Daemon::on(Database::Sqlite).respawned().start().await;
    let port = daemon.address().port();
    let own = daemon.address().to_string();
    for host in [
        "evil.example".to_owned(),
        format!("evil.example:{port}"),
        format!("localhost.evil.example:{port}"),
        format!("127.0.0.1.evil.example:{port}"),
        format!("xn--evil.example.:{port}"),
    ] {
        let origin = format!("http://{host}");
        let asked = [
            daemon.get("/"),
            daemon.get("/livez"),
            daemon.get("/v1/session"),
            daemon.get("/nothing"),
            daemon.post("/v1/sessions", json!({})),
            daemon.post("/dev/kill", json!({})),
            upgrade(&daemon, &origin),
            Request::new(daemon.admin(), "GET", "/metrics"),
            Request::new(daemon.admin(), "GET", "/livez"),
            Request::new(daemon.admin(), "POST", "/admin/login"),
        ];
        for request in asked {
            let answer = request.for_host(&host).header("origin", &origin);
            let answer = answer.send().await;
            assert_eq!(answer.refusal(), (421, "MISDIRECTED_REQUEST"), "{host}");
        }
    }
    for host in [
        own,
        format!("localhost:{port}"),
        format!("LOCALHOST:{port}"),
        format!("table.localhost:{port}"),
        "127.0.0.1".to_owned(),
        format!("[::1]:{port}"),
    ] {
        let answer = daemon.get("/livez").for_host(&host).send().await;
        assert_eq!(answer.status, 200, "{host}");
        let answer = Request::new(daemon.admin(), "GET", "/metrics").for_host(&host);
        assert_eq!(answer.send().await.status, 200, "{host}");
    }
    assert_eq!(daemon.log().matches("\"event\":\"ready\"").count(), 1);
    let told = "a request to the loopback interface named another host";
    assert_eq!(daemon.log().matches(told).count(), 2, "once a listener");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_host_of_an_allowed_origin_is_the_hubs() {
    let daemon = Daemon::on(Database::Sqlite)
        .set("server.allowed_origins", "[\"https://game.example:8443\"]")
        .start()
        .await;
    let status = async |host: &str| daemon.get("/livez").for_host(host).send().await.status;

    assert_eq!(status("game.example").await, 200);
    assert_eq!(status("GAME.example:443").await, 200);
    assert_eq!(status("game.example.").await, 200);
    assert_eq!(status("other.example").await, 421);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_page_of_another_name_has_the_hub_killed_where_all_origins_are_allowed() {
    let mut daemon = Daemon::on(Database::Sqlite)
        .set("server.allowed_origins", "[\"*\"]")
        .respawned()
        .start()
        .await;
    let host = format!("evil.example:{}", daemon.address().port());
    let kill = daemon.post("/dev/kill", json!({})).for_host(&host);

    let refused = kill
        .header("origin", &format!("http://{host}"))
        .send()
        .await;

    assert_eq!(refused.refusal(), (403, "PERMISSION_DENIED"));
    assert_eq!(daemon.log().matches("\"event\":\"ready\"").count(), 1);
    let scrape = Request::new(daemon.admin(), "GET", "/metrics").for_host(&host);
    assert_eq!(scrape.send().await.refusal(), (421, "MISDIRECTED_REQUEST"));
    daemon.stop().await;
}
