//! The end of the login that made a session. The session's token is valid until then, or until the session's own life
//! ends if that is earlier.

use std::sync::atomic::{AtomicI64, Ordering};

use super::state::Session;
use crate::clock::HubTime;

/// The stored value for a login without an end: no moment of hub time is this late.
const NEVER: i64 = i64::MAX;

/// The end of a session's login. Only the session moves it. Its handles read it without asking, since each use of the
/// session's token needs it.
#[derive(Debug)]
pub(crate) struct LoginEnd(AtomicI64);

impl LoginEnd {
    pub(crate) fn new(until: Option<HubTime>) -> LoginEnd {
        LoginEnd(AtomicI64::new(stored(until)))
    }

    /// Returns the end. `None`: the session needs no login, or its login has no end.
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

/// Returns the end of a session's life or of its login, if earlier: its token is valid until then.
pub(crate) fn token_until(expires_at: HubTime, login_until: Option<HubTime>) -> HubTime {
    login_until.map_or(expires_at, |until| until.min(expires_at))
}

impl Session {
    /// Moves the end of the login after the user has logged in again. If a crash loses this coalesced write, the token
    /// ends with the login before.
    pub(crate) fn logged_in(&mut self, until: Option<HubTime>) {
        if self.is_live() {
            self.known.login.set(until);
            self.seen();
        }
    }

    /// Returns the moment until which the session's token is valid.
    pub(crate) fn token_until(&self) -> HubTime {
        token_until(self.expires_at, self.known.login.get())
    }
}

fn stored(until: Option<HubTime>) -> i64 {
    until.map_or(NEVER, |until| until.0)
}
