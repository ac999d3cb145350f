//! The operators' listener: who passes, and what a browser needs.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::support::{Daemon, Database, Request, on_both_databases};

on_both_databases!(the_admin_token_is_made_once_and_is_needed_for_all_but_probes_and_metrics);

fn ask(daemon: &Daemon, method: &str, path: &str) -> Request {
    Request::new(daemon.admin(), method, path)
}

async fn the_admin_token_is_made_once_and_is_needed_for_all_but_probes_and_metrics(
    database: Database,
) {
    let mut daemon = Daemon::on(database).start().await;
    let token = daemon.admin_token();
    let file = daemon.data_dir().join("admin.token");
    let mode = fs::metadata(&file).unwrap().permissions().mode();

    assert_eq!(mode & 0o777, 0o600);
    assert!(token.len() >= 43, "256 random bits in base64");
    assert!(!daemon.log().contains(&token));
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(ask(&daemon, "GET", path).send().await.status, 200, "{path}");
    }
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/nothing"),
        ("GET", "/admin"),
        ("GET", "/admin/login"),
        ("POST", "/admin/logout"),
        ("POST", "/faults/panic"),
        ("GET", "/metrics/"),
    ] {
        let stranger = ask(&daemon, method, path).send().await;
        assert_eq!(stranger.refusal(), (401, "TOKEN_INVALID"), "{path}");
    }
    let operator = ask(&daemon, "GET", "/nothing").by(&token).send().await;
    assert_eq!(operator.refusal(), (404, "NOT_FOUND"));

    daemon.restart().await;
    assert_eq!(daemon.admin_token(), token);
    let operator = ask(&daemon, "GET", "/nothing").by(&token).send().await;
    assert_eq!(operator.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_logs_in_with_the_token_until_the_restart() {
    let token = "an-operators-token-of-32-characters";
    let mut daemon = Daemon::on(Database::Sqlite)
        .set("admin.token", token)
        .start()
        .await;
    let own = format!("http://{}", daemon.admin());

    let login = ask(&daemon, "POST", "/admin/login").header("origin", &own);
    let login = login.json(&json!({ "token": token })).send().await;
    assert_eq!(login.status, 200, "{login:?}");
    assert_eq!(login.headers["cache-control"], "no-store");
    let set = &login.headers["set-cookie"];
    for part in [
        "holdfast_admin=",
        "HttpOnly",
        "SameSite=Strict",
        "Path=/admin",
        "Max-Age=43200",
    ] {
        assert!(set.contains(part), "{part} in {set}");
    }
    assert!(!set.contains("Secure") && !set.contains(token), "{set}");
    let cookie = set.split(';').next().unwrap();
    let value = cookie.split_once('=').unwrap().1;
    assert!(value.len() >= 43, "256 random bits in base64");
    let csrf = login.body["csrf"].as_str().unwrap();

    let look = async |daemon: &Daemon| {
        let request = ask(daemon, "GET", "/admin/login").header("cookie", cookie);
        request.send().await
    };
    assert_eq!(look(&daemon).await.expect(200)["csrf"], csrf);
    let fault = |origin: &str, csrf: &str| {
        let request = ask(&daemon, "POST", "/faults/panic").header("cookie", cookie);
        let request = request
            .header("origin", origin)
            .header("x-csrf-token", csrf);
        request.json(&json!({ "in": "matchmaker" })).send()
    };
    for (origin, shown) in [
        ("http://evil.example", csrf),
        (own.as_str(), "wrong"),
        ("null", csrf),
    ] {
        let refused = fault(origin, shown).await;
        assert_eq!(refused.refusal(), (403, "PERMISSION_DENIED"), "{origin}");
    }
    fault(&own, csrf).await.expect(202);
    daemon.restart().await;
    assert_eq!(look(&daemon).await.refusal(), (401, "TOKEN_INVALID"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_guesses_the_token_waits() {
    let daemon = Daemon::on(Database::Sqlite).start().await;
    let (token, guess) = (daemon.admin_token(), "a-guess-of-the-admin-token-000001");

    // Fewer than the places that the listener has for those who have shown nothing yet.
    let guesses = (0..12).map(|_| ask(&daemon, "GET", "/nothing").by(guess).send());
    let answers = futures_util::future::join_all(guesses).await;

    let wrong = answers.iter().filter(|answer| answer.status == 401).count();
    let limited = answers.iter().filter(|answer| answer.status == 429);
    assert_eq!((wrong, limited.count()), (5, 7));
    let late = ask(&daemon, "GET", "/nothing").by(&token).send().await;
    assert_eq!(late.refusal(), (429, "RATE_LIMITED"));
    assert!(late.headers.contains_key("retry-after"), "{late:?}");
    assert_eq!(ask(&daemon, "GET", "/livez").send().await.status, 200);
    let metrics = daemon.metrics().await;
    let series = "holdfast_admin_refused_total{reason=\"wrong_token\"}";
    assert_eq!(metrics.value(series), 5.0);
    assert!(!daemon.log().contains(guess) && !daemon.log().contains(&token));
}
