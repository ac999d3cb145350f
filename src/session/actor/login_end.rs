//! The end of the login that let a session in.

use std::sync::atomic::{AtomicI64, Ordering};

use super::state::Session;
use crate::clock::HubTime;

/// Stands for a login without an end: no moment of hub time is this late.
const NEVER: i64 = i64::MAX;

/// The moment until which its login lets a session in. The session alone moves it; its handles read it without
/// asking, as each use of the session's token needs it.
#[derive(Debug)]
pub(crate) struct LoginEnd(AtomicI64);

impl LoginEnd {
    pub(crate) fn new(until: Option<HubTime>) -> LoginEnd {
        LoginEnd(AtomicI64::new(stored(until)))
    }

    /// None: the session needs no login, or one that has no end made it.
    pub(crate) fn get(&self) -> Option<HubTime> {
        match self.0.load(Ordering::Relaxed) {
            NEVER => None,
            until => Some(HubTime(until)),
        }
    }

    pub(crate) fn set(&self, until: Option<HubTime>) {
        self.0.store(stored(until), Ordering::Relaxed);
    }
}

/// The earlier of the end of a session's life and of its login: until then its token is good.
pub(crate) fn token_until(expires_at: HubTime, login_until: Option<HubTime>) -> HubTime {
    login_until.map_or(expires_at, |until| until.min(expires_at))
}

impl Session {
    /// The user has logged in anew. Should a crash lose the mark, the token ends with the login before.
    pub(crate) fn logged_in(&mut self, until: Option<HubTime>) {
        if self.is_live() {
            self.known.login.set(until);
            self.seen();
        }
    }

    /// The moment until which the session's token is good.
    pub(crate) fn token_until(&self) -> HubTime {
        token_until(self.expires_at, self.known.login.get())
    }
}

fn stored(until: Option<HubTime>) -> i64 {
    until.map_or(NEVER, |until| until.0)
}
