//! The steps of a start before players are accepted: the data folder, the secrets, the downtime, and the kept seats.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use tracing::{info, warn};

use super::StartError;
use super::hub::Parts;
use super::restore::Waiting;
use crate::clock::HubTime;
use crate::config::{Config, FolderError, ShortSecret, own_file};
use crate::id::{RoomId, random_bytes};
use crate::persistence::{ReadError, SeatedPage, SeatedRoom, Store, WriteError};
use crate::room::DormantRoom;
use crate::token::{Keyring, new_key, own_key_file};

/// Limit on the time for which reads of the seats may fail before they end the start: the same as for an unreachable
/// database. The time of a read that succeeds does not count.
const FAILING_MAX: Duration = Duration::from_secs(30);

/// Wait before a failed read of the seats is repeated.
const RETRY_DELAY: Duration = Duration::from_millis(250);

/// The reason why a run could not begin.
#[derive(Debug, thiserror::Error)]
pub(super) enum BeginError {
    #[error("the start could not be recorded: {0}")]
    Write(#[from] WriteError),
    #[error("the seats could not be read: {0}")]
    Read(#[from] ReadError),
}

/// The file in the data folder with the hub's own admin token.
const ADMIN_TOKEN_FILE: &str = "admin.token";

/// Prepares the data folder. A hub with its database elsewhere and a configured admin token keeps nothing in it, and
/// needs none.
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

/// Returns the admin token: the configured one, else the hub's own, which is generated at its first start.
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

/// Warns of secrets that are shorter than advised.
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

/// Returns the keys of seat tokens: those that are configured, else the hub's own, generated at its first start.
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

/// Begins a run: extends the holds by the downtime, and finds every room with a kept seat and every session that
/// holds one. They are rows still: a client that asks for one starts it, and the restore starts all others in the
/// order of their deadlines. A start that ends here has changed nothing but the holds.
pub(super) async fn begin(parts: &Parts) -> Result<Vec<Waiting>, BeginError> {
    let began = Instant::now();
    let run = parts.persistence.begin_run().await?;
    let mut survey = Survey::default();
    let mut after = None;
    loop {
        let page = seated(parts, after).await?;
        after = page.next;
        survey.take(parts, page);
        if after.is_none() {
            break;
        }
    }
    survey.close_room(parts);
    survey.warn_of_unconfigured();
    let sessions = parts.sessions.dormant();
    metrics::counter!("holdfast_sessions_restored_total").absolute(sessions as u64);
    info!(
        rooms = survey.waiting.len(),
        sessions,
        after_clean_stop = run.is_clean,
        milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        "restored"
    );
    Ok(survey.in_order())
}

async fn seated(parts: &Parts, after: Option<(RoomId, u16)>) -> Result<SeatedPage, ReadError> {
    let began = Instant::now();
    loop {
        match parts.persistence.seated(after).await {
            Err(_) if began.elapsed() < FAILING_MAX => tokio::time::sleep(RETRY_DELAY).await,
            outcome => return outcome,
        }
    }
}

/// The rooms found so far. The seats of a room are adjacent, but may be on two pages.
#[derive(Default)]
struct Survey {
    waiting: Vec<Waiting>,
    current: Option<(Waiting, DormantRoom)>,
    /// Kinds that rooms have and that are not configured, with the number of rooms.
    unconfigured: HashMap<String, usize>,
}

impl Survey {
    fn take(&mut self, parts: &Parts, page: SeatedPage) {
        for (token, session) in page.tokens {
            parts.sessions.add_dormant_token(token, session);
        }
        for seat in page.seats {
            parts.sessions.add_dormant(seat.session, &seat.user);
            self.add(parts, seat);
        }
    }

    fn add(&mut self, parts: &Parts, seat: SeatedRoom) {
        // The hold of a held seat begins when its room is started.
        let hold_until = seat.hold_until.unwrap_or(HubTime(i64::MAX));
        match &mut self.current {
            Some((waiting, room)) if waiting.id == seat.room => {
                waiting.first_deadline = waiting.first_deadline.min(hold_until);
                room.seats.push(seat.seat);
            }
            Some(_) | None => {
                self.close_room(parts);
                let waiting = Waiting {
                    first_deadline: hold_until,
                    id: seat.room,
                };
                let room = DormantRoom {
                    code: seat.code,
                    kind: seat.kind,
                    seats: vec![seat.seat],
                };
                self.current = Some((waiting, room));
            }
        }
    }

    fn close_room(&mut self, parts: &Parts) {
        let Some((waiting, room)) = self.current.take() else {
            return;
        };
        self.waiting.push(waiting);
        if parts.rooms.kinds().get(&room.kind).is_none() {
            *self.unconfigured.entry(room.kind).or_default() += 1;
            return;
        }
        parts.rooms.add_dormant(&room);
    }

    fn warn_of_unconfigured(&self) {
        for (kind, rooms) in &self.unconfigured {
            warn!(
                kind,
                rooms,
                "rooms of a kind that is not configured: their seats are kept until their holds end"
            );
        }
    }

    fn in_order(mut self) -> Vec<Waiting> {
        self.waiting
            .sort_unstable_by_key(|room| room.first_deadline);
        self.waiting
    }
}
