//! What stays true when many do things at once.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{
    Actors, Client, Daemon, Database, Player, Refusal, eventually, on_both_databases,
};

on_both_databases!(
    many_who_join_at_once_each_get_a_seat_of_their_own,
    connecting_and_disconnecting_at_once_leaves_nothing_behind,
    a_broadcast_while_members_leave_reaches_those_who_stay_whole,
    who_reconnects_while_others_act_misses_nothing,
    no_member_is_lost_or_doubled_by_a_storm_of_joins_and_leaves,
    one_broadcast_reaches_exactly_the_members,
    of_fifty_who_race_for_one_seat_one_gets_it,
    of_fifty_who_race_for_the_last_seat_one_gets_it,
    of_two_clients_with_one_token_exactly_one_stays,
);

/// A hall is a room with a seat for everybody in these tests.
async fn start(database: Database) -> Daemon {
    Daemon::on(database)
        .set("kind.hall.seats", "64")
        .start()
        .await
}

async fn opens_hall(daemon: &Daemon) -> Player {
    Player::opens_with(daemon, json!({ "kind": "hall" })).await
}

async fn many_join(daemon: &Daemon, code: &str, count: usize) -> Vec<Player> {
    join_all((0..count).map(|_| Player::joins(daemon, code))).await
}

fn holders(room: &Value) -> BTreeSet<String> {
    let seats = room["seats"].as_array().unwrap().iter();
    seats
        .filter_map(|seat| Some(seat["user"]["id"].as_str()?.to_owned()))
        .collect()
}

fn users<'a>(players: impl IntoIterator<Item = &'a Player>) -> BTreeSet<String> {
    let users = players.into_iter().map(|player| player.user.clone());
    users.collect()
}

async fn many_who_join_at_once_each_get_a_seat_of_their_own(database: Database) {
    let daemon = start(database).await;
    let host = opens_hall(&daemon).await;

    let mut players = many_join(&daemon, &host.room, 50).await;
    players.push(host.clone());

    let seats: BTreeSet<u64> = players.iter().filter_map(|player| player.seat).collect();
    assert_eq!(seats.len(), 51);
    let room = daemon.room(&host.room).await;
    assert_eq!(holders(&room), users(&players));
}

async fn connecting_and_disconnecting_at_once_leaves_nothing_behind(database: Database) {
    let daemon = start(database).await;
    let host = opens_hall(&daemon).await;
    let players = many_join(&daemon, &host.room, 30).await;
    let before = daemon.actors().await;

    join_all(players.iter().map(|player| async {
        for _ in 0..5 {
            player.sits_down(&daemon).await.drops_the_line();
        }
    }))
    .await;

    eventually("the connections are gone", async || {
        let actors = daemon.actors().await;
        let is_as_before = actors == before;
        is_as_before.then_some(()).ok_or(format!("{actors:?}"))
    })
    .await;
    let clients = join_all(players.iter().map(|player| player.sits_down(&daemon))).await;
    let Actors { connections, .. } = daemon.actors().await;
    assert_eq!(connections, 30);
    assert!(clients.iter().all(Client::is_open));
}

async fn a_broadcast_while_members_leave_reaches_those_who_stay_whole(database: Database) {
    let daemon = start(database).await;
    let host = opens_hall(&daemon).await;
    let mut speaker = host.sits_down(&daemon).await;
    let players = many_join(&daemon, &host.room, 20).await;
    let mut stayers = join_all(players[..10].iter().map(|p| p.sits_down(&daemon))).await;
    let mut leavers = join_all(players[10..].iter().map(|p| p.sits_down(&daemon))).await;

    let speaking = async {
        for number in 0..50 {
            let data = json!({ "number": number });
            speaker.publishes(&host.channel, data).await.unwrap();
        }
    };
    let leaving = join_all(leavers.iter_mut().map(|leaver| async {
        leaver.hears_a_player(&host.channel).await;
        leaver.unsubscribes(&host.channel).await.unwrap();
    }));
    tokio::join!(speaking, leaving);

    for stayer in &mut stayers {
        for number in 0..50 {
            let heard = stayer.hears_a_player(&host.channel).await;
            assert_eq!(heard["data"]["number"], number);
        }
    }
    for leaver in &leavers {
        assert_numbers_are_whole(&leaver.heard_on(&host.channel));
    }
}

/// The numbers that players published come from 0 in order, however many there are.
fn assert_numbers_are_whole(publications: &[Value]) {
    let numbers = publications
        .iter()
        .filter_map(|publication| publication["data"]["number"].as_u64());
    for (expected, number) in (0..).zip(numbers) {
        assert_eq!(number, expected, "{publications:?}");
    }
}

async fn who_reconnects_while_others_act_misses_nothing(database: Database) {
    let daemon = start(database).await;
    let host = opens_hall(&daemon).await;
    let guest = Player::joins(&daemon, &host.room).await;
    let mut speaker = host.sits_down(&daemon).await;
    let (mut client, _) = guest.connects(&daemon).await;
    let start = client.subscribes(&host.channel).await.unwrap();
    let epoch = start["epoch"].as_str().unwrap().to_owned();
    let mut offset = start["offset"].as_u64().unwrap_or(0);

    let speaking = async {
        for number in 0..100 {
            let data = json!({ "number": number });
            speaker.publishes(&host.channel, data).await.unwrap();
        }
    };
    let reconnecting = async {
        let mut numbers = Vec::new();
        while numbers.len() < 100 {
            (client, _) = guest.connects(&daemon).await;
            let result = client.recovers(&host.channel, &epoch, offset).await;
            let result = result.unwrap();
            assert_eq!(result["recovered"], true, "{result}");
            let empty = Vec::new();
            let missed = result["publications"].as_array().unwrap_or(&empty);
            let next = match missed.len() {
                0 => vec![client.hears(&host.channel).await],
                _ => missed.clone(),
            };
            for publication in next {
                assert_eq!(publication["offset"], offset + 1, "{publication}");
                offset += 1;
                numbers.extend(publication["data"]["number"].as_u64());
            }
        }
        numbers
    };
    let ((), numbers) = tokio::join!(speaking, reconnecting);

    assert_eq!(numbers, (0..100).collect::<Vec<_>>());
}

async fn no_member_is_lost_or_doubled_by_a_storm_of_joins_and_leaves(database: Database) {
    let daemon = start(database).await;
    let host = opens_hall(&daemon).await;
    let players = many_join(&daemon, &host.room, 40).await;

    let clients = join_all(players.iter().enumerate().map(|(index, player)| {
        let daemon = &daemon;
        async move {
            let mut client = player.sits_down(daemon).await;
            let room = json!({ "room": player.room });
            for _ in 0..3 {
                client.calls("room.leave", room.clone()).await.unwrap();
                client.calls("room.join", room.clone()).await.unwrap();
            }
            if index % 2 == 0 {
                client.calls("room.leave", room).await.unwrap();
            } else {
                // Leaving the room has ended the subscription.
                client.subscribes(&player.channel).await.unwrap();
            }
            client
        }
    }))
    .await;

    let stayers = players.iter().skip(1).step_by(2);
    let mut expected = users(stayers.clone());
    let mut host_client = host.sits_down(&daemon).await;
    expected.insert(host.user.clone());
    assert_eq!(holders(&daemon.room(&host.room).await), expected);
    let answer = host_client
        .asks("presence", json!({ "channel": host.channel }))
        .await
        .unwrap();
    let present = answer["presence"].as_object().unwrap();
    assert_eq!(present.len(), 21, "{answer}");
    let present = present.values().map(|info| info["user"].as_str().unwrap());
    assert_eq!(
        present.map(str::to_owned).collect::<BTreeSet<_>>(),
        expected
    );
    drop(clients);
}

async fn one_broadcast_reaches_exactly_the_members(database: Database) {
    let daemon = start(database).await;
    let host = opens_hall(&daemon).await;
    let others = opens_hall(&daemon).await;
    let mut members = many_clients(&daemon, &host, 10).await;
    let mut strangers = many_clients(&daemon, &others, 10).await;
    // They have a seat, and do not listen any more.
    let mut leavers = many_clients(&daemon, &host, 10).await;
    let leaving = leavers.iter_mut();
    join_all(leaving.map(|leaver| leaver.unsubscribes(&host.channel))).await;

    let said = json!("to all");
    members[0]
        .publishes(&host.channel, said.clone())
        .await
        .unwrap();
    let marker = json!("after it");
    members[0]
        .publishes(&host.channel, marker.clone())
        .await
        .unwrap();
    strangers[0]
        .publishes(&others.channel, marker.clone())
        .await
        .unwrap();

    for member in &mut members {
        assert_eq!(member.hears_a_player(&host.channel).await["data"], said);
        assert_eq!(member.hears_a_player(&host.channel).await["data"], marker);
    }
    for stranger in &mut strangers {
        assert_eq!(
            stranger.hears_a_player(&others.channel).await["data"],
            marker
        );
        assert_eq!(stranger.heard_on(&host.channel), Vec::<Value>::new());
    }
    for leaver in &mut leavers {
        leaver.calls("session.get", json!({})).await.unwrap();
        let heard = leaver.heard_on(&host.channel);
        let is_said = |publication: &Value| [&said, &marker].contains(&&publication["data"]);
        assert!(!heard.iter().any(is_said), "{heard:?}");
    }
}

async fn many_clients(daemon: &Daemon, host: &Player, count: usize) -> Vec<Client> {
    let players = many_join(daemon, &host.room, count).await;
    join_all(players.iter().map(|player| player.sits_down(daemon))).await
}

async fn of_fifty_who_race_for_one_seat_one_gets_it(database: Database) {
    let daemon = start(database).await;
    let host = opens_hall(&daemon).await;

    let wish = json!({ "seat": 7 });
    let race = (0..50).map(|_| Player::tries_to_join(&daemon, &host.room, wish.clone()));
    let answers = join_all(race).await;

    let winners: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status == 200)
        .collect();
    assert_eq!(winners.len(), 1, "{winners:?}");
    for loser in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!(loser.refusal(), (409, "SEAT_TAKEN"));
    }
    let room = daemon.room(&host.room).await;
    assert_eq!(room["seats"][7]["user"], winners[0].body["user"]);
    assert_eq!(holders(&room).len(), 2);
}

async fn of_fifty_who_race_for_the_last_seat_one_gets_it(database: Database) {
    let daemon = start(database).await;
    let host = Player::opens_with(&daemon, json!({ "kind": "duel" })).await;

    let race = (0..50).map(|_| Player::tries_to_join(&daemon, &host.room, json!({})));
    let answers = join_all(race).await;

    let winners = answers.iter().filter(|answer| answer.status == 200);
    assert_eq!(winners.count(), 1);
    for loser in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!(loser.refusal(), (409, "ROOM_FULL"));
    }
}

async fn of_two_clients_with_one_token_exactly_one_stays(database: Database) {
    let daemon = start(database).await;
    let player = opens_hall(&daemon).await;

    for _ in 0..200 {
        let mut one = Client::dial(daemon.address()).await;
        let mut two = Client::dial(daemon.address()).await;
        let results = tokio::join!(one.connects(&player.token), two.connects(&player.token));

        let (mut stayed, mut replaced) = match results {
            (Err(_), Ok(_)) => (two, one),
            (Ok(_), Err(_)) => (one, two),
            // Both were answered; the older of them is closed right after.
            (Ok(_), Ok(_)) => {
                let one_is_gone = eventually("one is closed", async || {
                    match (one.is_open(), two.is_open()) {
                        (false, true) => Ok(true),
                        (true, false) => Ok(false),
                        (false, false) => panic!("both were closed"),
                        (true, true) => Err("both are open".to_owned()),
                    }
                })
                .await;
                if one_is_gone { (two, one) } else { (one, two) }
            }
            (Err(one), Err(two)) => panic!("nobody stays: {one:?}, {two:?}"),
        };
        assert_eq!(replaced.closed().await.0, 4501);
        let answer: Result<Value, Refusal> = stayed.calls("session.get", json!({})).await;
        assert_eq!(answer.unwrap()["seats"][0]["room"], player.room);
    }
}
