//! A row that cannot be read, however often one tries.

use serde_json::json;

use crate::support::{Client, Daemon, Database, on_both_databases};

on_both_databases!(a_session_that_can_never_be_read_is_internal_and_the_others_are_served,);

async fn a_session_that_can_never_be_read_is_internal_and_the_others_are_served(
    database: Database,
) {
    let daemon = Daemon::on(database).with_api_key().start().await;
    let session_of = async |user: &str| {
        let body = json!({ "user": { "id": user } });
        let opened = daemon.post_as_game("/v1/sessions", body).send().await;
        opened.expect(201)["session"].clone()
    };
    let (ana, ben) = (session_of("ana").await, session_of("ben").await);
    let (ana_token, ben_token) = (ana["token"].as_str(), ben["token"].as_str());
    let one_byte = match database {
        Database::Sqlite => "x'00'",
        Database::Postgres => "'\\x00'::bytea",
    };
    let damage = format!(
        "INSERT INTO session_tokens (hash, session_id, created_at) \
         SELECT {one_byte}, id, 0 FROM app_sessions WHERE user_id = 'ana'"
    );

    daemon.store().execute(&damage).await;

    let over_http = daemon.get("/v1/session").by(ana_token.unwrap());
    let over_http = over_http.send().await;
    assert_eq!(over_http.refusal(), (500, "INTERNAL"));
    assert!(over_http.body.get("retry_after").is_none(), "{over_http:?}");
    let mut client = Client::dial(daemon.address()).await;
    let connected = client.connects(ana_token.unwrap()).await;
    let refused = connected.unwrap_err();
    assert_eq!(refused.code(), 100, "{refused:?}");
    assert!(format!("{refused:?}").contains("INTERNAL"), "{refused:?}");
    let end = json!({ "session": ana["id"] });
    let end = daemon.post_as_game("/api/session_end", end).send().await;
    assert_eq!(end.expect(200)["error"]["message"], "INTERNAL");
    let other = daemon.get("/v1/session").by(ben_token.unwrap());
    other.send().await.expect(200);

    let repair = "DELETE FROM session_tokens WHERE length(hash) < 32";
    daemon.store().execute(repair).await;
    let session = daemon.get("/v1/session").by(ana_token.unwrap());
    session.send().await.expect(200);
}
