//! Idempotency keys: a command with a client's key is carried out once, and a replay gets the stored response.

use std::sync::Arc;

use sea_orm::{DbErr, QueryResult};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::queries::read;
use super::writer::actor::unavailable;
use super::{MaintenanceCommand, Persistence, Refused, Write, WriteError};
use crate::id::{ApiKeyHash, KeyHash, RoomId, SessionId, UserId};
use crate::wire::{KeyedResponse, StoredForm};

/// Responses stored per session or user: one more drops the oldest. Many times the requests that a client has in
/// flight.
pub(super) const KEPT_MAX: usize = 64;

/// An idempotency key and its response. The row is written in the commit of the command, and decides whether it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyRecord {
    pub scope: Scope,
    pub key: KeyHash,
    /// Digest of the request: a key stands for one request.
    pub content: [u8; 32],
    /// JSON, stored for replays. None: only looks up whether a response is stored.
    pub answer: Option<Arc<str>>,
}

impl IdempotencyRecord {
    /// Returns the key with the response to store.
    pub fn answered(&self, response: &impl KeyedResponse) -> Arc<IdempotencyRecord> {
        Arc::new(IdempotencyRecord {
            answer: Some(StoredForm::of(response).to_json().into()),
            ..self.clone()
        })
    }
}

/// The scope within which a key stands for one request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    Session(SessionId),
    User(UserId),
    /// A game server, which asks for all of its users.
    ApiKey(ApiKeyHash),
    /// Publications of a game server in a room's durable stream.
    Room(RoomId),
    /// A new guest: the key is the only proof of identity.
    Guest,
}

/// A stored response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredResponse {
    /// The name of the command's user in that commit, if it had one.
    pub name: Option<Arc<str>>,
    /// JSON, as it came with the command.
    pub answer: Arc<str>,
}

/// The stored form of a response.
#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Arc<str>>,
    #[serde(borrow)]
    answer: &'a RawValue,
}

impl IdempotencyRecord {
    /// Returns the scope of the row. Each guest's key has a scope of its own.
    pub(super) fn scope(&self) -> String {
        match &self.scope {
            Scope::Session(id) => scope_of_session(*id),
            Scope::User(id) => format!("user:{id}"),
            Scope::ApiKey(key) => format!("api_key:{key}"),
            Scope::Room(room) => format!("room:{}", room.0),
            Scope::Guest => format!("guest:{}", self.key),
        }
    }

    /// Returns whether only the newest responses of the scope are kept. A game server asks for many players at once,
    /// so its responses expire by age alone.
    pub(super) fn is_counted(&self) -> bool {
        match &self.scope {
            Scope::Session(_) | Scope::User(_) | Scope::Guest => true,
            Scope::ApiKey(_) | Scope::Room(_) => false,
        }
    }

    /// Returns the refusal of a command whose key has this row: a replay, or a reused key.
    pub(super) fn refusal(&self, content: &[u8], answer: &str) -> Result<Refused, DbErr> {
        if content != self.content {
            return Ok(Refused::KeyReused);
        }
        let stored: Stored<'_> = serde_json::from_str(answer).map_err(unreadable)?;
        Ok(Refused::Repeated(StoredResponse {
            name: stored.name,
            answer: stored.answer.get().into(),
        }))
    }

    /// Returns the text of the row, if there is a response to store.
    pub(super) fn stored(&self, name: Option<Arc<str>>) -> Result<Option<String>, DbErr> {
        let Some(answer) = &self.answer else {
            return Ok(None);
        };
        let answer = serde_json::from_str(answer).map_err(unreadable)?;
        serde_json::to_string(&Stored { name, answer })
            .map(Some)
            .map_err(unreadable)
    }
}

/// Returns the scope of a session's rows.
pub(super) fn scope_of_session(session: SessionId) -> String {
    format!("session:{session}")
}

impl Persistence {
    /// Returns the stored response, if the key was used before.
    ///
    /// # Errors
    /// [`Refused::KeyReused`], or [`Refused::Unavailable`] if the row could not be read.
    pub async fn recall(
        &self,
        once: &IdempotencyRecord,
    ) -> Result<Option<StoredResponse>, WriteError> {
        let (readers, asked) = (self.readers(), once.clone());
        let sql = "SELECT content_hash, answer FROM commands WHERE scope = $1 AND key = $2";
        let found = self
            .read(async move {
                let values = [asked.scope().into(), asked.key.to_string().into()];
                let row = read::one(&readers, sql, values).await?;
                row.map(|row| asked.refusal_of(&row)).transpose()
            })
            .await;
        told(match found {
            Ok(Some(refused)) => Err(WriteError::Refused(refused)),
            Ok(None) => Ok(()),
            Err(_) => Err(WriteError::Refused(unavailable())),
        })
    }

    /// Returns the same as [`recall`](Self::recall), once all earlier writes are settled.
    pub async fn recall_truth(
        &self,
        once: &IdempotencyRecord,
    ) -> Result<Option<StoredResponse>, WriteError> {
        let asked = IdempotencyRecord {
            answer: None,
            ..once.clone()
        };
        let asking = Write::once(MaintenanceCommand::Nothing, Some(Arc::new(asked)));
        told(self.write(asking).await.map(|_| ()))
    }
}

impl IdempotencyRecord {
    fn refusal_of(&self, row: &QueryResult) -> Result<Refused, DbErr> {
        let content: Vec<u8> = row.try_get_by_index(0)?;
        let answer: String = row.try_get_by_index(1)?;
        self.refusal(&content, &answer)
    }
}

fn told(result: Result<(), WriteError>) -> Result<Option<StoredResponse>, WriteError> {
    match result {
        Ok(()) => Ok(None),
        Err(WriteError::Refused(Refused::Repeated(kept))) => Ok(Some(kept)),
        Err(error) => Err(error),
    }
}

fn unreadable(error: serde_json::Error) -> DbErr {
    DbErr::Json(error.to_string())
}
