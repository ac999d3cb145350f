//! The guarantees of the public listener to its clients, independent of the domain.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::request::Builder;
use axum::http::{Method, Request, Response, StatusCode};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::{Parts, router};
use crate::actions::tests::actions;
use crate::auth::Verifier;
use crate::config::{AuthConfig, ClientConfig, Config, ServerConfig};
use crate::connection::{Admission, Connections};
use crate::listener::{Health, Limits, Listener};
use crate::supervisor::Readiness;

/// Far longer than any step here takes; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

struct Hub {
    readiness: Readiness,
    database: Arc<AtomicBool>,
    tracker: TaskTracker,
    server: ServerConfig,
    auth: AuthConfig,
    folder: TempDir,
    is_dev: bool,
}

impl Hub {
    fn ready() -> Hub {
        let readiness = Readiness::starting();
        readiness.set_ready();
        Hub {
            folder: TempDir::new().unwrap(),
            is_dev: false,
            readiness,
            database: Arc::new(AtomicBool::new(true)),
            tracker: TaskTracker::new(),
            server: ServerConfig {
                listen: ([127, 0, 0, 1], 0).into(),
                allowed_origins: vec!["https://game.example".to_owned()],
                trusted_proxies: Vec::new(),
                connections_max: 100,
                connections_per_address_max: 0,
                connects_per_second: 0,
            },
            auth: AuthConfig {
                guests: true,
                api_keys: vec!["key-of-the-game".into()],
                hmac_secret: None,
                hmac_secret_previous: None,
                public_keys: Vec::new(),
                jwks_url: None,
                audience: None,
                issuer: None,
                create_users: true,
                personal_channel: false,
                newcomers_per_minute: 0,
                require_exp: true,
            },
        }
    }

    async fn router(&self) -> Router {
        let client = ClientConfig {
            ping: Duration::from_secs(25),
            pong_timeout: Duration::from_secs(8),
            connect_timeout: Duration::from_secs(10),
            expiry_grace: Duration::from_secs(25),
            message_max: 65_536,
            queue_bytes_max: 1_048_576,
            queue_count_max: 512,
            channels_max: 128,
            messages_per_second: 100,
            bytes_per_second: 65_536,
            recovery_max: 300,
            wrong_codes_per_minute: 30,
        };
        let database = Arc::clone(&self.database);
        let answers = move || {
            let answer = database.load(Ordering::SeqCst);
            Box::pin(async move { answer }) as futures_util::future::BoxFuture<'static, bool>
        };
        let actions = actions(self.folder.path()).await;
        let verifier = Verifier::open(&self.auth).await.unwrap();
        let parts = Parts {
            connections: Connections::new(
                &Config::default(),
                verifier.clone(),
                actions.clone(),
                self.tracker.clone(),
            ),
            actions,
            verifier,
            // Sends one message to each new socket: the client address that was determined.
            upgrades: Arc::new(|mut socket, peer: SocketAddr, _, _, has_connected| {
                has_connected();
                tokio::spawn(async move {
                    let word = Message::text(peer.ip().to_string());
                    socket.send(word).await.unwrap();
                    while let Some(Ok(_)) = socket.next().await {}
                });
            }),
            admission: Admission::new(&Config::default().admission),
            health: Health::new(
                self.readiness.clone(),
                Arc::new(answers),
                Arc::new(Vec::new),
            ),
            tracker: self.tracker.clone(),
            is_dev: self.is_dev,
            kill: None,
        };
        router(&self.server, &self.auth, &client, parts)
    }

    async fn call(&self, request: Request<Body>) -> Response<Body> {
        self.router().await.oneshot(request).await.unwrap()
    }

    async fn post(&self, path: &str, body: impl Into<Body>) -> Response<Body> {
        self.call(Request::post(path).body(body.into()).unwrap())
            .await
    }

    async fn get(&self, path: &str) -> Response<Body> {
        self.call(Request::get(path).body(Body::empty()).unwrap())
            .await
    }

    async fn serve(&self, limits: Limits) -> (SocketAddr, CancellationToken) {
        let listener = Listener::bind(self.server.listen).unwrap();
        let address = listener.local_address().unwrap();
        let stop = CancellationToken::new();
        let router = self.router().await;
        let serving = listener.serve(router, limits, self.tracker.clone(), stop.clone());
        self.tracker.spawn(serving);
        (address, stop)
    }
}

async fn json(response: Response<Body>) -> Value {
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// Checks that the answer is a complete problem, with this status and code.
#[track_caller]
fn check_head(response: &Response<Body>, status: u16) {
    assert_eq!(response.status().as_u16(), status);
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );
    assert!(response.headers().contains_key("x-request-id"));
}

async fn check(response: Response<Body>, status: u16, code: &str) -> Value {
    check_head(&response, status);
    let request_id = response.headers()["x-request-id"].clone();
    let problem = json(response).await;
    assert_eq!(problem["code"], code, "{problem}");
    assert_eq!(problem["status"], status, "{problem}");
    assert_eq!(problem["request_id"], request_id.to_str().unwrap());
    problem
}

#[tokio::test]
async fn bad_input_is_a_bad_request_on_every_route_that_takes_a_body() {
    let hub = Hub::ready();
    for path in [
        "/v1/sessions",
        "/v1/rooms",
        "/v1/rooms/K7QX2P/join",
        "/v1/quick-match",
    ] {
        for body in [b"[]".as_slice(), b"{", b"\xff", b"nul", b"{\"guest\":7}"] {
            check(hub.post(path, body).await, 400, "BAD_REQUEST").await;
        }
        let deep = "[".repeat(60_000);
        check(hub.post(path, deep).await, 400, "BAD_REQUEST").await;
        let large = vec![b' '; 65 * 1024];
        let problem = check(hub.post(path, large).await, 413, "BAD_REQUEST").await;
        assert!(problem["detail"].as_str().unwrap().contains("65536"));
    }
}

#[tokio::test]
async fn a_wrong_field_is_named() {
    let hub = Hub::ready();
    let problem = check(
        hub.post("/v1/rooms", r#"{"seat":-1}"#).await,
        400,
        "BAD_REQUEST",
    )
    .await;
    assert_eq!(
        problem["detail"],
        "seat must be a whole number from 0 to 65535"
    );
}

#[tokio::test]
async fn what_cannot_be_a_code_is_a_room_that_is_not_found() {
    let hub = Hub::ready();
    for path in ["/v1/rooms/nope", "/v1/rooms/%ff%fe", "/v1/rooms/..%2f..%2f"] {
        check(hub.get(path).await, 404, "ROOM_NOT_FOUND").await;
    }
    let joined = hub.post("/v1/rooms/O0O0O0/join", "").await;
    check(joined, 404, "ROOM_NOT_FOUND").await;
}

#[tokio::test]
async fn unknown_addresses_and_methods_are_problems_too() {
    let hub = Hub::ready();
    check(hub.get("/nothing").await, 404, "NOT_FOUND").await;
    let response = hub.get("/v1/rooms").await;
    assert_eq!(response.headers()["allow"], "POST");
    check(response, 405, "METHOD_NOT_ALLOWED").await;
    check(hub.post("/livez", "").await, 405, "METHOD_NOT_ALLOWED").await;
}

#[tokio::test]
async fn whoever_is_unknown_is_unauthorized() {
    let mut hub = Hub::ready();
    hub.auth.guests = false;
    check(hub.post("/v1/rooms", "").await, 401, "TOKEN_INVALID").await;
    check(hub.get("/v1/session").await, 401, "TOKEN_INVALID").await;
    let wrong_key = Request::post("/v1/rooms")
        .header("x-api-key", "wrong")
        .body(Body::from(r#"{"user":{"id":"u"}}"#));
    check(hub.call(wrong_key.unwrap()).await, 401, "TOKEN_INVALID").await;
    let delete = Request::delete("/v1/session").header("authorization", "Bearer x");
    let response = hub.call(delete.body(Body::empty()).unwrap()).await;
    assert_eq!(response.headers()["www-authenticate"], "Bearer");
    check(response, 401, "TOKEN_INVALID").await;
}

#[tokio::test]
async fn a_hub_that_is_not_ready_says_when_to_come_back() {
    let hub = Hub::ready();
    hub.readiness.set_stopping();
    let response = hub.post("/v1/rooms", "").await;
    assert_eq!(response.headers()["retry-after"], "1");
    let problem = check(response, 503, "UNAVAILABLE").await;
    assert_eq!(problem["retry_after"], 1);
}

#[tokio::test]
async fn health_tells_a_lost_database_from_a_hub_that_is_not_ready() {
    let hub = Hub::ready();
    assert_eq!(json(hub.get("/api/health").await).await["status"], "ok");

    hub.database.store(false, Ordering::SeqCst);
    let ready = hub.get("/readyz").await;
    assert_eq!(ready.status(), StatusCode::OK);
    let report = json(ready).await;
    assert_eq!(report["status"], "degraded");
    assert_eq!(report["database"], false);
    let health = hub.get("/api/health").await;
    assert_eq!(health.status(), StatusCode::SERVICE_UNAVAILABLE);

    hub.readiness.set_stopping();
    let stopping = hub.get("/readyz").await;
    assert_eq!(stopping.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(json(stopping).await["status"], "stopping");
    assert_eq!(hub.get("/livez").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn pages_of_allowed_origins_may_call_the_client_api() {
    let hub = Hub::ready();
    let ask = |origin: &str, path: &str| {
        Request::builder()
            .method(Method::OPTIONS)
            .uri(path)
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization")
            .body(Body::empty())
            .unwrap()
    };
    let allowed = hub.call(ask("https://game.example", "/v1/rooms")).await;
    let headers = allowed.headers();
    assert_eq!(
        headers["access-control-allow-origin"],
        "https://game.example"
    );
    let other = hub.call(ask("https://evil.example", "/v1/rooms")).await;
    assert!(!other.headers().contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_can_read_every_answer_a_refusal_too() {
    let mut hub = Hub::ready();
    hub.auth.guests = false;
    let large = "x".repeat(65 * 1024);
    for (method, path, body, status) in [
        ("GET", "/v1/rooms/nope", "", 404),
        ("GET", "/v1/nothing", "", 404),
        ("GET", "/", "", 404),
        ("GET", "/v1/rooms", "", 405),
        ("POST", "/livez", "", 405),
        ("POST", "/v1/rooms", "[", 400),
        ("POST", "/v1/rooms", &large, 413),
        ("POST", "/v1/rooms", "", 401),
        ("POST", "/api/info", "{}", 401),
        ("GET", "/connection/websocket", "", 426),
        ("GET", "/livez", "", 200),
        ("GET", "/.well-known/jwks.json", "", 200),
    ] {
        for (origin, shown) in [
            ("https://game.example", true),
            ("https://evil.example", false),
        ] {
            let request = Request::builder().method(method).uri(path);
            let request = request
                .header("origin", origin)
                .header("host", "hub.example");
            let request = request.body(Body::from(body.to_owned())).unwrap();
            let answer = hub.call(request).await;
            let header = answer.headers().get("access-control-allow-origin");
            assert_eq!(
                header.is_some_and(|value| value == origin),
                shown,
                "{method} {path} {answer:?}"
            );
            if shown {
                assert_eq!(answer.status().as_u16(), status, "{method} {path}");
                assert!(
                    answer
                        .headers()
                        .contains_key("access-control-expose-headers")
                );
            }
        }
    }
}

fn upgrade(path: &str) -> Builder {
    Request::get(path)
        .header("host", "hub.example")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
}

#[tokio::test]
async fn a_refused_upgrade_is_an_ordinary_problem() {
    let hub = Hub::ready();
    let path = "/connection/websocket";
    let plain = hub.get(path).await;
    assert_eq!(plain.headers()["upgrade"], "websocket");
    check(plain, 426, "BAD_REQUEST").await;
    let foreign = upgrade(path).header("origin", "https://evil.example");
    let refused = hub.call(foreign.body(Body::empty()).unwrap()).await;
    check(refused, 403, "PERMISSION_DENIED").await;
    hub.readiness.set_stopping();
    let late = hub.call(upgrade(path).body(Body::empty()).unwrap()).await;
    check(late, 503, "UNAVAILABLE").await;
}

#[tokio::test]
async fn a_socket_opens_through_the_listener_and_keeps_its_place_until_it_closes() {
    let hub = Hub::ready();
    let (address, stop) = hub
        .serve(Limits {
            connections_max: 1,
            connections_per_address_max: 0,
            connects_per_second: 0,
            trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()],
            ..Limits::private()
        })
        .await;
    let mut request = format!("ws://{address}/connection/websocket")
        .into_client_request()
        .unwrap();
    let headers = request.headers_mut();
    headers.insert("x-forwarded-for", "203.0.113.9".parse().unwrap());
    headers.insert("sec-websocket-protocol", "centrifuge-json".parse().unwrap());
    let stream = TcpStream::connect(address).await.unwrap();
    let opened = tokio_tungstenite::client_async(request, stream);
    let (mut socket, response) = timeout(PATIENCE, opened).await.unwrap().unwrap();
    assert_eq!(
        response.headers()["sec-websocket-protocol"],
        "centrifuge-json"
    );
    let word = timeout(PATIENCE, socket.next()).await.unwrap();
    assert_eq!(word.unwrap().unwrap().to_text().unwrap(), "203.0.113.9");

    let request =
        b"GET /.well-known/jwks.json HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let refusal = raw(address, request).await;
    assert!(refusal.starts_with("HTTP/1.1 503"), "{refusal}");

    drop(socket);
    let answered = async { while !raw(address, request).await.starts_with("HTTP/1.1 200") {} };
    timeout(PATIENCE, answered).await.unwrap();

    stop.cancel();
    hub.tracker.close();
    timeout(PATIENCE, hub.tracker.wait()).await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn heads_beyond_the_limit_are_refused_and_unfinished_ones_time_out() {
    let hub = Hub::ready();
    let (address, _stop) = hub.serve(Limits::private()).await;
    let mut long = b"GET /livez HTTP/1.1\r\nhost: localhost\r\nx-long: ".to_vec();
    long.resize(31_000, b'x');
    long.extend_from_slice(b"\r\nconnection: close\r\n\r\n");
    let taken = raw(address, &long).await;
    assert!(taken.starts_with("HTTP/1.1 200"), "{taken}");
    long.splice(64..64, vec![b'x'; 800_000]);
    let refusal = raw(address, &long).await;
    assert!(refusal.starts_with("HTTP/1.1 431"), "{refusal}");
    let limit = "the head of a request has at most 32768 bytes in at most 100 headers";
    assert!(refusal.contains(limit), "{refusal}");
    let garbage = raw(address, b"\x16\x03\x01\x00\x00 hello\r\n\r\n").await;
    assert!(
        garbage.contains("the hub cannot parse this request"),
        "{garbage}"
    );
    let unfinished = timeout(PATIENCE, raw(address, b"GET /livez HTTP/1.1\r\nho")).await;
    assert!(!unfinished.unwrap().starts_with("HTTP/1.1 200"));
}

/// Sends these bytes and reads until the hub closes.
async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut heard = Vec::new();
    // A reset after the answer is as good as a close.
    let _ = stream.read_to_end(&mut heard).await;
    String::from_utf8_lossy(&heard).into_owned()
}

#[tokio::test]
async fn the_playground_is_served_to_those_who_try_the_hub_and_to_nobody_else() {
    let mut hub = Hub::ready();
    let page = |router: Router, path: &'static str| async move {
        let request = Request::get(path).body(Body::empty()).unwrap();
        router.oneshot(request).await.unwrap()
    };
    let files = [
        ("/?room=K7QX2P", "text/html"),
        ("/web/playground.js", "text/javascript"),
        ("/web/board.js", "text/javascript"),
        ("/web/playground.css", "text/css"),
        ("/web/icon.svg", "image/svg+xml"),
        ("/web/holdfast.js", "text/javascript"),
    ];
    let router = hub.router().await;
    for (path, _) in files {
        let answer = page(router.clone(), path).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
    }

    hub.is_dev = true;
    // A database of its own for the second router.
    hub.folder = TempDir::new().unwrap();
    let router = hub.router().await;
    for (path, content_type) in files {
        let answer = page(router.clone(), path).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert!(header("content-type").starts_with(content_type), "{path}");
        let policy = header("content-security-policy");
        assert!(policy.starts_with("default-src 'self'"), "{path}");
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
    }
}
