//! Brings back what was there before the hub stopped.

use std::io;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::StartError;
use super::hub::Parts;
use crate::config::{Config, FolderError, ShortSecret, own_file};
use crate::id::random_bytes;
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

/// The file in the data folder with the admin token that the hub made itself.
const ADMIN_TOKEN_FILE: &str = "admin.token";

/// Makes the data folder ready. A hub whose database is elsewhere and whose admin token is configured keeps nothing in
/// it, and needs none.
pub(super) fn prepare_folder(config: &Config) -> Result<(), StartError> {
    let is_database_elsewhere = !config.database.url.expose_secret().starts_with("sqlite:");
    match (config.prepare_data_folder(), &config.admin.token) {
        (Ok(()), _) => Ok(()),
        (Err(error), Some(_)) if is_database_elsewhere => {
            info!(%error, "there is no data folder: nothing is kept on this machine");
            Ok(())
        }
        (Err(error), None) if is_database_elsewhere => Err(StartError::NoFolder(error)),
        (Err(error), _) => Err(error.into()),
    }
}

/// The admin token: the configured one, else the hub's own, made at its first start.
pub(super) fn admin_token(config: &Config) -> Result<SecretString, StartError> {
    if let Some(token) = &config.admin.token {
        return Ok(token.clone());
    }
    let fresh = URL_SAFE_NO_PAD.encode(random_bytes::<32>()) + "\n";
    let path = config.data_dir.join(ADMIN_TOKEN_FILE);
    let text = own_file(&config.data_dir, ADMIN_TOKEN_FILE, &fresh);
    match text.as_deref().map(str::trim) {
        Ok("") => Err(StartError::AdminTokenEmpty { path }),
        Ok(token) => Ok(token.into()),
        Err(source) => Err(FolderError::Write {
            path,
            source: io::Error::new(source.kind(), source.to_string()),
        }
        .into()),
    }
}

/// Warns of secrets that are shorter than is advised.
pub(super) fn warn_of_short_secrets(config: &Config) {
    for ShortSecret {
        key,
        bytes,
        advised,
    } in config.short_secrets()
    {
        warn!(
            key,
            bytes, advised, "a secret is short enough to be guessed"
        );
    }
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
