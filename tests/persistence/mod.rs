//! What is stored, and when: the same promises on SQLite and on PostgreSQL.
//!
//! The tests on PostgreSQL need `HOLDFAST_TEST_DATABASE_URL`, a URL whose user may create databases.

mod database;
mod news;
mod open;
mod pooler;
mod proxy;
mod run;
mod stop;
mod stream;
mod sweep;
mod trouble;
mod vocabulary;
mod write;

/// Runs each of these tests on both databases. Without the environment variable the PostgreSQL half has
/// nothing to run on.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::persistence::database::Database::sqlite()).await;
            })+
        }

        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(database) = crate::persistence::database::Database::postgres().await {
                    super::$name(database).await;
                }
            })+
        }
    };
}
use on_both;
