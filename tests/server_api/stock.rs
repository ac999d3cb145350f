//! The stock library for Python, as a game's server uses it.

use std::path::Path;

use super::{guest, hub, user};
use crate::support::{Database, output, program};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_method_of_the_stock_library_is_served() {
    let daemon = hub(Database::Sqlite).start().await;
    let (mut client, connected) = guest(&daemon).await;
    client.subscribes("lobby:main").await.unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join(".cache/python/bin/python");
    let mut script = program(&python);
    script
        .arg(root.join("tests/sdk/server.py"))
        .arg(format!("http://{}/api", daemon.address()))
        .args([daemon.api_key(), user(&connected)]);

    let run = tokio::task::spawn_blocking(move || output(&mut script));
    let output = run.await.unwrap().unwrap_or_else(|error| {
        let python = python.display();
        panic!("{python}: {error}; start the tests with tests/run")
    });

    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}");
    assert_eq!(client.hears("lobby:main").await["data"], "from cent");
    assert_eq!(client.closed().await.0, 4500);
}
