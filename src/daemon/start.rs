//! Brings back what was there before the hub stopped.

use std::time::Instant;

use tokio::sync::mpsc;
use tracing::info;

use super::StartError;
use super::hub::Parts;
use crate::config::Config;
use crate::mailbox::Unanswered;
use crate::persistence::{ReadError, Store, WriteError};
use crate::token::{Keyring, new_key, own_key_file};

/// Batches read ahead of the actors that are started from them.
const BATCHES_AHEAD: usize = 4;

/// Why nothing could be restored.
#[derive(Debug, thiserror::Error)]
pub(super) enum RestoreError {
    #[error("the start could not be recorded: {0}")]
    Write(#[from] WriteError),
    #[error("the rooms and sessions could not be read: {0}")]
    Read(#[from] ReadError),
    #[error("the rooms and sessions could not be started: {0}")]
    Start(#[from] Unanswered),
}

/// The keys of seat tokens: those that are configured, else the hub's own, made at its first start.
pub(super) async fn keyring(config: &Config, store: &Store) -> Result<Keyring, StartError> {
    let fresh = new_key();
    let stored = match config.seat_token.keys.is_empty() {
        true => store.seat_token_key(&fresh).await?,
        false => None,
    };
    let keyring = Keyring::open(&config.seat_token, || match stored {
        Some(key) => Ok((key, "the seat-token key in the database".to_owned())),
        None => own_key_file(&config.data_dir, &fresh),
    })?;
    Ok(keyring)
}

/// Starts every room with a seat that is kept, and every session that holds one.
pub(super) async fn restore(parts: &Parts) -> Result<(), RestoreError> {
    let began = Instant::now();
    let run = parts.persistence.begin_run().await?;
    let (rooms_out, mut rooms_in) = mpsc::channel(BATCHES_AHEAD);
    let (sessions_out, mut sessions_in) = mpsc::channel(BATCHES_AHEAD);
    let reading = async {
        let read = parts.persistence.restore(rooms_out, sessions_out).await;
        read.map(|_| ()).map_err(RestoreError::from)
    };
    let rooms = async {
        let mut count = 0;
        while let Some(batch) = rooms_in.recv().await {
            count += batch.len();
            parts.rooms.restore(batch).await?;
        }
        Ok(count)
    };
    let sessions = async {
        let mut count = 0;
        while let Some(batch) = sessions_in.recv().await {
            count += batch.len();
            parts.sessions.restore(batch).await?;
        }
        Ok(count)
    };
    let ((), rooms, sessions) = tokio::try_join!(reading, rooms, sessions)?;
    metrics::counter!("holdfast_sessions_restored_total").absolute(sessions as u64);
    info!(
        rooms,
        sessions,
        after_clean_stop = run.is_clean,
        milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        "restored"
    );
    Ok(())
}
