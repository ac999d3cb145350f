//! Channels that are made up to fill the memory.

use serde_json::json;

use super::Honest;
use crate::support::{Client, Daemon, Database, eventually};

const CHANNELS: usize = 12;
const WORDS: usize = 15;

/// A third of all that is said in these channels.
const MEMORY: &str = "256KiB";
const MEMORY_BYTES: u64 = 256 << 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn histories_of_made_up_channels_share_one_memory_and_the_oldest_are_not_recovered() {
    let daemon = Daemon::on(Database::Sqlite)
        .set("history.memory_max", MEMORY)
        .set("kind.lobby.history_bytes", "1MiB")
        .set("client.bytes_per_second", "1GiB")
        .start()
        .await;
    let honest = Honest::play(&daemon).await;
    let (mut speaker, _) = Client::connect(daemon.address(), "").await;
    let (mut guest, _) = Client::connect(daemon.address(), "").await;

    let mut epochs = Vec::new();
    for number in 0..CHANNELS {
        let channel = format!("lobby:{number}");
        let subscribed = speaker.subscribes(&channel).await.unwrap();
        epochs.push(subscribed["epoch"].as_str().unwrap().to_owned());
        for _ in 0..WORDS {
            let word = json!("x".repeat(4_000));
            speaker.publishes(&channel, word).await.unwrap();
            let used = daemon.metric("holdfast_history_bytes").await;
            assert!(used <= MEMORY_BYTES, "{used} bytes");
        }
    }

    let mut comes_back = async |number: usize| {
        let channel = format!("lobby:{number}");
        let back = guest.recovers(&channel, &epochs[number], 0).await.unwrap();
        assert_eq!(back["was_recovering"], true);
        let count = back["publications"].as_array().map_or(0, Vec::len);
        (back["recovered"] == true, count)
    };
    assert_eq!(comes_back(CHANNELS - 1).await, (true, WORDS));
    for number in 0..CHANNELS / 2 {
        assert_eq!(comes_back(number).await, (false, 0), "{number}");
    }
    assert!(daemon.metric("holdfast_history_forgotten_total").await > 0);

    drop((speaker, guest));
    eventually(
        "what was kept is given back with its channels",
        async || match daemon.metric("holdfast_history_bytes").await {
            0 => Ok(()),
            used => Err(format!("{used} bytes")),
        },
    )
    .await;
    honest.have_lost_nothing("made-up channels").await;
}
