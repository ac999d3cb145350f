//! Idempotency: a client gives a request a key, and a retry with the same key gets the stored response.
//!
//! The key's row is written in the commit of the request's change. So a response is stored if and only if the request
//! was carried out. A refused request leaves nothing behind, and may be retried under the same key. Tokens are not
//! stored: a replay adds a new token to the session, and signs new seat tokens.

use std::sync::Arc;

use serde::Serialize;
use sha2::{Digest, Sha256};
use tracing::error;

use super::player::{Actions, Caller, session_ended};
use crate::id::{ApiKeyHash, CommandKey, SessionId, SessionToken, UserId};
use crate::persistence::{
    AddToken, IdempotencyRecord, MaintenanceCommand, Scope, SessionCommand, StoredResponse, Write,
    WriteError,
};
use crate::room::{ResponseDraft, ResponseForm, refusal};
use crate::wire::{KeyedResponse, Reason, Refusal, StoredForm};

/// The method that opens a session, by any credential.
pub(super) const SESSION_OPEN: &str = "session.open";

/// The method that ends a session, by any interface.
pub(super) const SESSION_END: &str = "session.end";

/// A request with its idempotency key. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct IdempotentRequest(Arc<IdempotencyRecord>);

/// The part of the caller's identity that the key's scope does not contain. It is hashed with the request.
#[derive(Serialize)]
#[serde(untagged)]
enum Asker<'a> {
    Known,
    Guest(&'a str),
    Account(&'a str, Option<&'a str>),
    /// With the end of the user's access.
    AccountUntil(&'a str, Option<&'a str>, i64),
}

impl IdempotentRequest {
    /// Returns the caller's request under `key`, within the caller's scope. `content` is the whole request; its
    /// serialized form is hashed with the method, so later versions must not change it.
    pub(super) fn new(
        caller: &Caller,
        key: Option<CommandKey>,
        method: &str,
        content: &impl Serialize,
    ) -> Result<Option<IdempotentRequest>, Refusal> {
        let Some(key) = key else {
            return Ok(None);
        };
        let (scope, asker) = match caller {
            Caller::Session(session) => (Scope::Session(session.id()), Asker::Known),
            // The scope from before the session existed: a retry of the request that created it must find the key.
            Caller::Player(session) => (Scope::User(session.user().id.clone()), Asker::Known),
            Caller::Account {
                id,
                api_key: None,
                name: _,
                until: _,
            } => (Scope::User(id.clone()), Asker::Known),
            Caller::Account {
                id,
                api_key: Some(api_key),
                name,
                until,
            } => {
                let (id, name) = (id.as_str(), name.as_deref());
                let asker = match until {
                    None => Asker::Account(id, name),
                    Some(until) => Asker::AccountUntil(id, name, until.0),
                };
                (Scope::ApiKey(*api_key), asker)
            }
            Caller::Guest { name } => {
                check_strong(&key)?;
                (Scope::Guest, Asker::Guest(name))
            }
        };
        Ok(Some(IdempotentRequest::within(
            scope, asker, &key, method, content,
        )))
    }

    /// Returns the request of a caller with only a seat token of this user. Two parties may have the token, and a
    /// replay returns an existing session, so the key must be impossible to guess.
    pub(super) fn with_seat_token(
        user: &UserId,
        token: &str,
        key: Option<CommandKey>,
    ) -> Result<Option<IdempotentRequest>, Refusal> {
        let Some(key) = key else {
            return Ok(None);
        };
        check_strong(&key)?;
        let (scope, content) = (Scope::User(user.clone()), ("seat_token", token));
        let keyed = IdempotentRequest::within(scope, Asker::Known, &key, SESSION_OPEN, &content);
        Ok(Some(keyed))
    }

    /// Returns the request of a user who has logged in and presents a guest's session token.
    pub(super) fn with_login(
        user: &UserId,
        token: &SessionToken,
        key: &CommandKey,
    ) -> IdempotentRequest {
        let (scope, content) = (Scope::User(user.clone()), ("login", token.hash().0));
        IdempotentRequest::within(scope, Asker::Known, key, SESSION_OPEN, &content)
    }

    /// Returns a request of the game's server that is for no user.
    pub(super) fn by_game(
        api_key: ApiKeyHash,
        key: &CommandKey,
        method: &str,
        content: &impl Serialize,
    ) -> IdempotentRequest {
        let scope = Scope::ApiKey(api_key);
        IdempotentRequest::within(scope, Asker::Known, key, method, content)
    }

    /// Returns the request to end a session, which may have ended already.
    pub(super) fn end_of(session: SessionId, key: &CommandKey) -> IdempotentRequest {
        let scope = Scope::Session(session);
        IdempotentRequest::within(scope, Asker::Known, key, SESSION_END, &())
    }

    fn within(
        scope: Scope,
        asker: Asker<'_>,
        key: &CommandKey,
        method: &str,
        content: &impl Serialize,
    ) -> IdempotentRequest {
        IdempotentRequest(Arc::new(IdempotencyRecord {
            scope,
            key: key.hash(),
            content: Sha256::digest(json(&(method, asker, content))).into(),
            answer: None,
        }))
    }

    /// Returns the key with the response to store, for the write of the request.
    pub(super) fn answered(&self, answer: &impl KeyedResponse) -> Arc<IdempotencyRecord> {
        self.0.answered(answer)
    }

    /// Returns the draft of a response that only the room can complete.
    pub(super) fn draft(self, form: ResponseForm) -> ResponseDraft {
        ResponseDraft { key: self.0, form }
    }

    /// Returns the key without a response.
    pub(super) fn into_key(self) -> Arc<IdempotencyRecord> {
        self.0
    }
}

impl Actions {
    /// Runs `work`, or replays the stored response if the request was carried out before.
    pub(super) async fn once<A: KeyedResponse>(
        &self,
        keyed: Option<IdempotentRequest>,
        work: impl AsyncFnOnce(Option<IdempotentRequest>) -> Result<A, Refusal>,
    ) -> Result<A, Refusal> {
        let Some(IdempotentRequest(once)) = keyed.clone() else {
            return work(None).await;
        };
        if let Some(kept) = self.persistence.recall(&once).await.map_err(unsettled)? {
            return self.repeat(&kept).await;
        }
        let refusal = match work(keyed).await {
            Ok(answer) => return Ok(answer),
            // Refused before any other check: a later retry finds a stored response, if there is one.
            Err(refusal) if refusal.reason == Reason::RateLimited => return Err(refusal),
            Err(refusal) => refusal,
        };
        // A faster attempt of the same request may be the reason for this refusal.
        match self.persistence.recall_truth(&once).await {
            Ok(Some(kept)) => self.repeat(&kept).await,
            Ok(None) => Err(refusal),
            Err(error) => Err(unsettled(error)),
        }
    }

    /// Stores the response to a request that changed nothing. Any other response is stored by the write of its change.
    pub(super) async fn keep<A: KeyedResponse>(
        &self,
        keyed: Option<IdempotentRequest>,
        answer: A,
    ) -> Result<A, Refusal> {
        if let Some(keyed) = keyed {
            let write = Write::once(MaintenanceCommand::Nothing, Some(keyed.answered(&answer)));
            self.persistence.write(write).await.map_err(unsettled)?;
        }
        Ok(answer)
    }

    /// Replays the end of a session that has ended, if the end was requested under this key; else refuses.
    pub(super) async fn recall_end(
        &self,
        session: SessionId,
        key: Option<&CommandKey>,
    ) -> Result<(), Refusal> {
        let IdempotentRequest(once) =
            IdempotentRequest::end_of(session, key.ok_or_else(session_ended)?);
        match self.persistence.recall(&once).await.map_err(unsettled)? {
            Some(kept) => self.repeat(&kept).await,
            None => Err(session_ended()),
        }
    }

    /// Returns a stored response, with a new session token if the original had one, and with new seat tokens.
    async fn repeat<A: KeyedResponse>(&self, kept: &StoredResponse) -> Result<A, Refusal> {
        let record = StoredForm::<A>::parse(&kept.answer).map_err(|error| {
            error!(%error, "a stored response cannot be parsed");
            Refusal::unavailable()
        })?;
        let mut answer = record.answer;
        if let Some(name) = &kept.name {
            answer.rename_user(name);
        }
        if record.is_session_new
            && let Some(session) = answer.session_mut()
        {
            session.token = Some(self.add_token(session.id).await?);
        }
        let session = answer.session_mut().map(|session| session.id);
        if let Some(session) = session {
            self.sign_again(session, answer.seats_mut()).await?;
        }
        metrics::counter!("holdfast_commands_repeated_total").increment(1);
        Ok(answer)
    }

    async fn add_token(&self, session: SessionId) -> Result<SessionToken, Refusal> {
        let token = SessionToken::random();
        let command = SessionCommand::AddToken(AddToken {
            session,
            token: token.hash(),
        });
        self.persistence.write(command).await.map_err(unsettled)?;
        Ok(token)
    }
}

/// Refuses a key that can be guessed, where a replay would reveal a secret response to anyone with the key.
fn check_strong(key: &CommandKey) -> Result<(), Refusal> {
    let strong = key.check_strong();
    strong.map_err(|error| Refusal::bad_request(error.to_string()))
}

fn unsettled(error: WriteError) -> Refusal {
    match error {
        WriteError::Refused(refused) => refusal(&refused),
        WriteError::Lost => Refusal::unavailable(),
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("requests and answers have text for keys")
}
