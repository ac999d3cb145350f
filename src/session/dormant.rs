//! Dormant sessions: after a start of the hub they are only rows. The restore starts their actors in turn; a returning
//! client's session is started at once.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};

use metrics::{Gauge, gauge};
use parking_lot::Mutex;

use super::handle::SessionHandle;
use super::registry::Sessions;
use crate::id::{SessionId, TokenHash, UserId};
use crate::supervisor::LoadError;

/// The sessions that hold seats and have no actor yet; none has a connection. Empty except in the first seconds after a
/// start.
#[derive(Debug)]
pub(super) struct Dormant {
    sessions: Mutex<Keys>,
    away: Gauge,
}

/// The keys by which a dormant session is looked up. Tokens and users are kept as hashes, which find a session and
/// prove nothing.
#[derive(Debug, Default)]
struct Keys {
    ids: HashSet<SessionId>,
    tokens: HashMap<u64, SessionId>,
    users: HashMap<u64, Vec<SessionId>>,
}

impl Dormant {
    /// Creates the empty set. The metrics recorder must be installed before.
    pub(super) fn new() -> Dormant {
        Dormant {
            sessions: Mutex::default(),
            away: gauge!("holdfast_sessions", "phase" => "away"),
        }
    }

    /// Removes a session: it has an actor now, which counts itself.
    pub(super) fn wake(&self, id: SessionId) {
        if self.sessions.lock().ids.remove(&id) {
            self.away.decrement(1.0);
        }
    }

    /// Removes all sessions: the restore is over.
    pub(super) fn end(&self) {
        let rest = std::mem::take(&mut *self.sessions.lock());
        self.away.decrement(rest.ids.len() as f64);
    }

    pub(super) fn has(&self, id: SessionId) -> bool {
        self.sessions.lock().ids.contains(&id)
    }

    /// Returns the session that may have a token.
    pub(super) fn by_token(&self, token: TokenHash) -> Option<SessionId> {
        self.sessions.lock().tokens.get(&hash(&token.0)).copied()
    }

    pub(super) fn has_user(&self, user: &UserId) -> bool {
        self.sessions
            .lock()
            .users
            .contains_key(&hash(user.as_str()))
    }

    fn of_user(&self, user: &UserId) -> Vec<SessionId> {
        let sessions = self.sessions.lock();
        let found = sessions.users.get(&hash(user.as_str()));
        found.cloned().unwrap_or_default()
    }

    fn forget_user(&self, user: &UserId) {
        self.sessions.lock().users.remove(&hash(user.as_str()));
    }
}

impl Sessions {
    /// Adds a session with a seat, which the restore will start in turn.
    pub fn add_dormant(&self, id: SessionId, user: &UserId) {
        let dormant = &self.context().dormant;
        let mut sessions = dormant.sessions.lock();
        if sessions.ids.insert(id) {
            dormant.away.increment(1.0);
            let of_user = sessions.users.entry(hash(user.as_str()));
            of_user.or_default().push(id);
        }
    }

    /// Adds a token of a dormant session.
    pub fn add_dormant_token(&self, token: TokenHash, session: SessionId) {
        let mut sessions = self.context().dormant.sessions.lock();
        sessions.tokens.insert(hash(&token.0), session);
    }

    /// Returns true if a session holds a seat and has not been started yet.
    pub fn is_dormant(&self, id: SessionId) -> bool {
        self.context().dormant.has(id)
    }

    /// Returns true if a dormant session may be this user's.
    pub fn is_user_dormant(&self, user: &UserId) -> bool {
        self.context().dormant.has_user(user)
    }

    /// Returns true if a dormant session may have this token.
    pub fn is_token_dormant(&self, token: TokenHash) -> bool {
        self.context().dormant.by_token(token).is_some()
    }

    /// Returns the number of sessions that wait to be started.
    pub fn dormant(&self) -> usize {
        self.context().dormant.sessions.lock().ids.len()
    }
}

impl Sessions {
    /// Starts the dormant session with a token, if there is one.
    pub async fn wake_token(&self, token: TokenHash) -> Result<Option<SessionHandle>, LoadError> {
        let Some(id) = self.context().dormant.by_token(token) else {
            return Ok(None);
        };
        let session = self.resolve(id).await?;
        Ok(session.filter(|session| session.tokens().contains(&token)))
    }

    /// Starts every dormant session of a user, ahead of the restore.
    pub async fn wake_user(&self, user: &UserId) -> Result<(), LoadError> {
        let dormant = &self.context().dormant;
        for session in dormant.of_user(user) {
            if self.live_by_id(session).is_none() {
                self.resolve(session).await?;
            }
        }
        dormant.forget_user(user);
        Ok(())
    }
}

fn hash(key: &(impl Hash + ?Sized)) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(key)
}
