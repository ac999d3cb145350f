//! Whether a daemon may use the database, and how its schema gets there.

use std::time::Duration;

use holdfast::clock::HubClock;
use holdfast::config::Config;
use holdfast::persistence::{
    OpenError, Store, UserWrite, migrate_down, migrate_status, migrate_up,
};
use sea_orm::{DatabaseConnection, EntityTrait};
use sqlx::{Connection, PgConnection};

use super::database::Database;
use super::on_both;
use super::vocabulary::Player;
use crate::support::Server;

on_both!(
    a_second_daemon_is_refused_while_the_first_lives,
    migrations_are_refused_while_a_daemon_lives,
    a_database_newer_than_the_program_is_refused,
    pending_migrations_are_refused_where_they_may_not_run,
    the_schema_goes_up_down_and_up_again,
    the_schema_has_every_column_of_the_entities,
);

async fn open(config: &Config) -> Result<Store, OpenError> {
    Store::open_within(config, HubClock::start(), Duration::ZERO).await
}

async fn a_second_daemon_is_refused_while_the_first_lives(database: Database) {
    let hub = database.start().await;

    let second = open(&database.config).await.unwrap_err();
    hub.stop().await;
    // A file lock goes with the last handle of the process.
    let third = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            match open(&database.config).await {
                Err(OpenError::FileInUse { .. }) => tokio::task::yield_now().await,
                opened => return opened,
            }
        }
    });

    let text = second.to_string();
    assert!(text.contains("another daemon is using"), "{text}");
    assert_eq!(second.exit_code(), 69);
    assert!(third.await.unwrap().is_ok());
}

async fn migrations_are_refused_while_a_daemon_lives(database: Database) {
    let _hub = database.start().await;

    let refused = migrate_up(&database.config).await.unwrap_err();

    assert!(
        matches!(
            refused,
            OpenError::FileInUse { .. } | OpenError::DatabaseInUse
        ),
        "{refused}"
    );
}

async fn a_database_newer_than_the_program_is_refused(database: Database) {
    migrate_up(&database.config).await.unwrap();
    database
        .sql("INSERT INTO seaql_migrations (version, applied_at) VALUES ('m2999_later', 0)")
        .await;

    let refused = open(&database.config).await.unwrap_err();

    assert!(
        matches!(&refused, OpenError::Newer { migration } if migration == "m2999_later"),
        "{refused}"
    );
}

async fn pending_migrations_are_refused_where_they_may_not_run(mut database: Database) {
    database.config.database.migrate = false;

    let refused = open(&database.config).await.unwrap_err();

    assert!(matches!(refused, OpenError::Pending { .. }), "{refused}");
}

async fn the_schema_goes_up_down_and_up_again(database: Database) {
    let config = &database.config;
    let applied = || async {
        let status = migrate_status(config).await.unwrap();
        let all = status.len();
        let applied = status.iter().filter(|state| state.is_applied).count();
        (applied, all - applied)
    };

    let before = applied().await;
    migrate_up(config).await.unwrap();
    let up = applied().await;
    migrate_down(config, 3).await.unwrap();
    let three_down = applied().await;
    migrate_down(config, 100).await.unwrap();
    let down = applied().await;
    migrate_up(config).await.unwrap();
    let again = applied().await;

    let all = before.1;
    assert!(all >= 10, "{before:?}");
    assert_eq!([before, up, three_down], [(0, all), (all, 0), (all - 3, 3)]);
    assert_eq!([down, again], [(0, all), (all, 0)]);
}

async fn the_schema_has_every_column_of_the_entities(database: Database) {
    migrate_up(&database.config).await.unwrap();
    let connection = database.look().await;

    async fn select<E: EntityTrait>(connection: &DatabaseConnection) {
        // It names every column of the entity, so one that is missing fails.
        E::find().one(connection).await.unwrap();
    }

    select::<entity::user::Entity>(&connection).await;
    select::<entity::room::Entity>(&connection).await;
    select::<entity::room_seat::Entity>(&connection).await;
    select::<entity::seat_token_key::Entity>(&connection).await;
    select::<entity::app_session::Entity>(&connection).await;
    select::<entity::session_token::Entity>(&connection).await;
    select::<entity::event_participant::Entity>(&connection).await;
    select::<entity::room_publication::Entity>(&connection).await;
    select::<entity::command::Entity>(&connection).await;
    select::<entity::commit_group::Entity>(&connection).await;
    select::<entity::hub_clock::Entity>(&connection).await;
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_database_that_cannot_be_reached_ends_the_start_with_69() {
    let mut database = Database::sqlite();
    // Port 1 is reserved, and nobody listens there.
    database.config.database.url = "postgres://hub@127.0.0.1:1/hub".to_owned().into();

    let refused = open(&database.config).await.unwrap_err();

    assert!(
        matches!(refused, OpenError::Unreachable { .. }),
        "{refused}"
    );
    assert_eq!(refused.exit_code(), 69);
}

/// A PostgreSQL database in this encoding, whatever the server's own is.
async fn encoded(encoding: &str) -> Option<Database> {
    let words = format!("ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
    Database::postgres_with(&words).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_cannot_store_every_name_is_refused_at_once() {
    for encoding in ["LATIN1", "WIN1252"] {
        let Some(database) = encoded(encoding).await else {
            return;
        };
        let refused = Store::open(&database.config, HubClock::start()).await;

        let refused = refused.unwrap_err();
        assert!(matches!(&refused, OpenError::Encoding { found } if found == encoding));
        assert!(refused.to_string().contains(encoding), "{refused}");
        assert_eq!(refused.exit_code(), 69);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_name_is_stored_where_bytes_are_stored_as_they_are() {
    let Some(database) = encoded("SQL_ASCII").await else {
        return;
    };
    let hub = database.start().await;
    for name in ["Ana", "Zoë", "Łukasz", "雪", "🦀"] {
        let player = Player::new();
        let account = UserWrite::Guest {
            id: player.user.clone(),
            name: name.into(),
        };
        let write = player.opens_session_as(account);
        hub.persistence.write(write).await.unwrap();

        let found = hub.persistence.user(&player.user).await.unwrap();
        assert_eq!(&*found.unwrap().name, name);
    }
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_that_time_does_not_mend_is_told_at_once_in_the_servers_words() {
    let Some(database) = Database::postgres().await else {
        return;
    };
    let (server, name) = database.url.rsplit_once('/').unwrap();
    let (_, place) = server.rsplit_once('@').unwrap();
    for (url, words) in [
        (format!("{server}/no{name}"), "does not exist"),
        (
            format!("postgres://nobody:wrong@{place}/{name}"),
            "password authentication failed",
        ),
    ] {
        let mut config = database.config.clone();
        config.database.url = url.into();
        let refused = Store::open(&config, HubClock::start()).await.unwrap_err();

        assert!(matches!(refused, OpenError::Refused { .. }), "{refused}");
        assert!(refused.to_string().contains(words), "{refused}");
        assert_eq!(refused.exit_code(), 69);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_admits_no_connection_more_says_so() {
    let server = Server::start_with(&["max_connections=8"]).await;
    let mut config = Database::sqlite().config.clone();
    config.database.url = server.url().into();
    let mut others = Vec::new();
    while let Ok(other) = PgConnection::connect(&server.url()).await {
        others.push(other);
    }

    let none = open(&config).await.unwrap_err();
    // Enough to look at the server, and too few to work with it.
    others.truncate(others.len() - 3);
    let few = open(&config).await.unwrap_err();

    for refused in [none, few] {
        assert!(
            matches!(refused, OpenError::Unreachable { .. }),
            "{refused}"
        );
        let words = "too many clients already";
        assert!(refused.to_string().contains(words), "{refused}");
    }
}
