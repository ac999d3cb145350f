//! What reaches a client, in which order, and how much at once.

use holdfast::wire::Encoding;
use serde_json::{Value, json};
use tokio::sync::watch;

use futures_util::future::join_all;

use crate::support::{Client, Daemon, Database, Issuer, Player, on_both_databases};

on_both_databases!(
    no_push_overtakes_a_subscribe_reply_or_follows_an_unsubscribe_reply,
    a_recovery_of_more_than_half_the_queue_is_told_as_none,
    a_history_that_no_queue_holds_is_read_in_pages,
);

/// Subscriptions that each listener begins and ends.
const ROUNDS: usize = 40;

async fn no_push_overtakes_a_subscribe_reply_or_follows_an_unsubscribe_reply(database: Database) {
    let daemon = Daemon::on(database)
        .set("kind.table.spectators", "100")
        .set("kind.duel.spectators", "100")
        .set("client.messages_per_second", "100000")
        .start()
        .await;
    for kind in ["table", "duel"] {
        let host = Player::opens_with(&daemon, json!({ "kind": kind })).await;
        let speaker = host.sits_down(&daemon).await;
        let stop = watch::Sender::new(false);
        let speaking = tokio::spawn(speaks(speaker, host.channel.clone(), stop.subscribe()));
        let encodings = [Encoding::Json, Encoding::Protobuf].into_iter().cycle();
        let listening = encodings.take(10).map(|encoding| {
            let (daemon, host) = (&daemon, &host);
            async move {
                let fields = json!({ "spectate": true });
                let joined = Player::tries_to_join(daemon, &host.room, fields).await;
                let player = Player::from(&joined.expect(200));
                let mut client = Client::dial_as(daemon.address(), encoding).await;
                client.connects(&player.token).await.unwrap();
                comes_and_goes(&mut client, &host.channel).await;
                client.heard_in_order()
            }
        });
        let heard = join_all(listening).await;
        stop.send_replace(true);
        speaking.await.unwrap();

        let pushes: usize = heard.iter().map(|heard| pushes_in_order(heard)).sum();
        assert!(pushes > ROUNDS, "{kind}: only {pushes} pushes");
    }
}

/// Says one thing after the other, several in a frame.
async fn speaks(mut speaker: Client, channel: String, stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        let word = || json!({ "channel": channel, "data": "word" });
        let commands: Vec<_> = (0..5).map(|_| ("publish", word())).collect();
        for id in speaker.says_in_one_frame(&commands).await {
            speaker.reply(id, "publish").await.unwrap();
        }
    }
}

/// Subscribes and unsubscribes again and again, sometimes in one frame.
async fn comes_and_goes(client: &mut Client, channel: &str) {
    for round in 0..ROUNDS {
        if round % 2 == 0 {
            client.subscribes(channel).await.unwrap();
            client.hears(channel).await;
            client.unsubscribes(channel).await.unwrap();
        } else {
            let body = json!({ "channel": channel });
            let commands = [("subscribe", body.clone()), ("unsubscribe", body)];
            let ids = client.says_in_one_frame(&commands).await;
            client.reply(ids[1], "unsubscribe").await.unwrap();
        }
    }
}

/// Checks that pushes came only between a subscribe reply and an unsubscribe reply; says how many came.
#[track_caller]
fn pushes_in_order(heard: &[Value]) -> usize {
    let (mut is_subscribed, mut pushes) = (false, 0);
    for frame in heard {
        if frame.get("subscribe").is_some() {
            is_subscribed = true;
        } else if frame.get("unsubscribe").is_some() {
            is_subscribed = false;
        } else if frame.get("push").is_some() {
            assert!(is_subscribed, "{frame} came outside of a subscription");
            pushes += 1;
        }
    }
    pushes
}

async fn a_recovery_of_more_than_half_the_queue_is_told_as_none(database: Database) {
    let daemon = Daemon::on(database)
        .set("client.message_max", "2KiB")
        .set("client.queue_bytes_max", "64KiB")
        .set("client.queue_count_max", "40")
        .start()
        .await;
    for kind in ["table", "duel"] {
        let host = Player::opens_with(&daemon, json!({ "kind": kind })).await;
        let guest = Player::joins(&daemon, &host.room).await;
        let (mut speaker, _) = host.connects(&daemon).await;
        let (mut listener, _) = guest.connects(&daemon).await;
        // Once this is said, so are the news of their coming.
        let first = speaker.publishes(&host.channel, json!("first")).await;
        first.unwrap();
        let long = "x".repeat(1_900);
        for (missed, word, is_recovered) in [
            (20, "x", true),
            (21, "x", false),
            (15, long.as_str(), true),
            (18, long.as_str(), false),
        ] {
            let subscribed = listener.subscribes(&host.channel).await.unwrap();
            listener.unsubscribes(&host.channel).await.unwrap();
            let epoch = subscribed["epoch"].as_str().unwrap();
            let offset = subscribed["offset"].as_u64().unwrap_or(0);
            for _ in 0..missed {
                speaker.publishes(&host.channel, json!(word)).await.unwrap();
            }

            let answer = listener.recovers(&host.channel, epoch, offset).await;

            let answer = answer.unwrap();
            assert_eq!(answer["was_recovering"], true);
            assert_eq!(
                answer["recovered"] == true,
                is_recovered,
                "{kind}: {missed} of {}",
                word.len()
            );
            let count = answer["publications"].as_array().map_or(0, Vec::len);
            assert_eq!(count, if is_recovered { missed } else { 0 });
            listener.unsubscribes(&host.channel).await.unwrap();
        }
        assert!(listener.is_open());
    }
}

async fn a_history_that_no_queue_holds_is_read_in_pages(database: Database) {
    const WORDS: usize = 60;
    let daemon = Daemon::on(database)
        .set("client.message_max", "2KiB")
        .set("client.queue_bytes_max", "64KiB")
        .start()
        .await;
    for kind in ["table", "duel"] {
        let host = Player::opens_with(&daemon, json!({ "kind": kind })).await;
        let (mut client, _) = host.connects(&daemon).await;
        let start = client.subscribes(&host.channel).await.unwrap();
        client.unsubscribes(&host.channel).await.unwrap();
        for number in 0..WORDS {
            let word = json!([number, "x".repeat(1_900)]);
            client.publishes(&host.channel, word).await.unwrap();
        }
        client.subscribes(&host.channel).await.unwrap();

        let (mut read, mut pages) = (Vec::new(), 0);
        let mut since = start["offset"].as_u64().unwrap_or(0);
        loop {
            let since_then = json!({ "epoch": start["epoch"], "offset": since });
            let body = json!({ "channel": host.channel, "limit": -1, "since": since_then });
            let page = client.asks("history", body).await.unwrap();
            let publications = page["publications"].as_array().unwrap();
            let Some(last) = publications.last() else {
                assert_eq!(page["offset"], since);
                break;
            };
            since = last["offset"].as_u64().unwrap();
            read.extend(
                publications
                    .iter()
                    .filter_map(|one| one["data"][0].as_u64()),
            );
            pages += 1;
        }

        assert_eq!(read, (0..WORDS as u64).collect::<Vec<_>>(), "{kind}");
        assert!(pages > 1, "{kind}: all of it came at once");
        assert!(client.is_open());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_presence_that_no_queue_holds_is_refused() {
    const SECRET: &str = "a-secret-of-thirty-two-characters";
    let daemon = Daemon::on(Database::Sqlite)
        .set("auth.hmac_secret", SECRET)
        .set("auth.require_exp", "false")
        .set("client.message_max", "8KiB")
        .set("client.queue_bytes_max", "16KiB")
        .start()
        .await;
    let game = Issuer::secret(jsonwebtoken::Algorithm::HS256, SECRET);
    let mut members = Vec::new();
    for number in 0..5 {
        let info = json!({ "about": "x".repeat(4_000) });
        let token = game.signs(json!({ "sub": format!("u{number}"), "info": info }));
        let (mut client, _) = Client::connect(daemon.address(), &token).await;
        client.subscribes("lobby:a").await.unwrap();
        members.push(client);
        let asked = json!({ "channel": "lobby:a" });

        let present = members[0].asks("presence", asked.clone()).await;
        let count = members[0].asks("presence_stats", asked).await.unwrap();

        let code = present.err().map_or(0, |refusal| refusal.code());
        assert_eq!(code, if number < 3 { 0 } else { 106 }, "{number}");
        assert_eq!(count["num_clients"], number + 1);
    }
}
