//! Commands that happen once: a client's key, and the answer that is kept under it.

use std::sync::Arc;

use sea_orm::{DbErr, QueryResult};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::queries::read;
use super::writer::actor::unavailable;
use super::{Command, Persistence, Refused, Write, WriteError};
use crate::id::{ApiKeyHash, KeyHash, RoomId, SessionId, UserId};

/// Answers kept for one session or user: the oldest goes when one more comes. Many times what a client
/// can have under way.
pub(super) const KEPT_MAX: usize = 64;

/// Makes a command happen once: its row decides, and is written in the commit of the effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once {
    pub scope: Scope,
    pub key: KeyHash,
    /// Digest of what is asked for: a key stands for one request.
    pub content: [u8; 32],
    /// JSON, kept for whoever repeats the key. None: it is only asked whether one is kept.
    pub answer: Option<Arc<str>>,
}

/// Within what a key stands for one request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    Session(SessionId),
    User(UserId),
    /// A game's server, which asks for all of its users.
    ApiKey(ApiKeyHash),
    /// Publications of a game's server in the durable stream of a room.
    Room(RoomId),
    /// Somebody new: the key is all that they can show.
    Guest,
}

/// An answer that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What the command's user was called in that commit, if it brought one.
    pub name: Option<Arc<str>>,
    /// JSON, as it came with the command.
    pub answer: Arc<str>,
}

/// The form in which an answer is stored.
#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Arc<str>>,
    #[serde(borrow)]
    answer: &'a RawValue,
}

impl Once {
    /// The row's scope. Each guest's key has one of its own.
    pub(super) fn scope(&self) -> String {
        match &self.scope {
            Scope::Session(id) => scope_of_session(*id),
            Scope::User(id) => format!("user:{id}"),
            Scope::ApiKey(key) => format!("api_key:{key}"),
            Scope::Room(room) => format!("room:{}", room.0),
            Scope::Guest => format!("guest:{}", self.key),
        }
    }

    /// Whether only the newest answers of the scope are kept. A game's server asks for many players at
    /// once: its answers go by their age alone.
    pub(super) fn is_counted(&self) -> bool {
        match &self.scope {
            Scope::Session(_) | Scope::User(_) | Scope::Guest => true,
            Scope::ApiKey(_) | Scope::Room(_) => false,
        }
    }

    /// What the row under this key says to the command.
    pub(super) fn refusal(&self, content: &[u8], answer: &str) -> Result<Refused, DbErr> {
        if content != self.content {
            return Ok(Refused::KeyReused);
        }
        let stored: Stored<'_> = serde_json::from_str(answer).map_err(unreadable)?;
        Ok(Refused::Repeated(Kept {
            name: stored.name,
            answer: stored.answer.get().into(),
        }))
    }

    /// The text of the row, if an answer is to be kept.
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

/// What the rows of a session's keys have as their scope.
pub(super) fn scope_of_session(session: SessionId) -> String {
    format!("session:{session}")
}

impl Persistence {
    /// Whether the key was used before: what it was answered with then.
    ///
    /// # Errors
    /// [`Refused::KeyReused`], or nothing could be read.
    pub async fn recall(&self, once: &Once) -> Result<Option<Kept>, WriteError> {
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

    /// The same, once everything that was written before is settled.
    pub async fn recall_truth(&self, once: &Once) -> Result<Option<Kept>, WriteError> {
        let asked = Once {
            answer: None,
            ..once.clone()
        };
        let asking = Write::once(Command::Nothing, Some(Arc::new(asked)));
        told(self.write(asking).await.map(|_| ()))
    }
}

impl Once {
    fn refusal_of(&self, row: &QueryResult) -> Result<Refused, DbErr> {
        let content: Vec<u8> = row.try_get_by_index(0)?;
        let answer: String = row.try_get_by_index(1)?;
        self.refusal(&content, &answer)
    }
}

fn told(result: Result<(), WriteError>) -> Result<Option<Kept>, WriteError> {
    match result {
        Ok(()) => Ok(None),
        Err(WriteError::Refused(Refused::Repeated(kept))) => Ok(Some(kept)),
        Err(error) => Err(error),
    }
}

fn unreadable(error: serde_json::Error) -> DbErr {
    DbErr::Json(error.to_string())
}
