//! The limits that hold for requests of players, and how each request is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::player::{Actions, Caller, room_not_found, unanswered};
use crate::config::Config;
use crate::id::{RoomCode, RoomId, SessionId};
use crate::limits::{AddressRateLimit, Asker, Attempt, FailureLimit, Limited, RateLimit};
use crate::room::RoomKey;
use crate::session::SessionHandle;
use crate::wire::Refusal;

/// Newcomers at once, as a share of those in a minute: a class that begins together.
const NEWCOMERS_BURST: u32 = 3;

/// Changes at once, in seconds' worth of them: a page that joins several rooms as it opens.
const CHANGES_BURST: u32 = 4;

/// The limits of all players together.
#[derive(Debug)]
pub struct PlayerLimits {
    newcomers: AddressRateLimit,
    changes: RateLimit<Changed>,
    wrong_codes: FailureLimit,
}

/// By what changes are counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Changed {
    Session(SessionId),
    /// Whoever shows its token: each time, the seat goes to a new session.
    Seat(RoomId, u16),
}

/// Where a request comes from, and whether it is counted as a newcomer's already: it is so once, however many attempts it takes.
#[derive(Debug, Clone, Default)]
pub(super) struct Origin {
    asker: Asker,
    is_counted: Arc<AtomicBool>,
}

/// A room code that a client has named, while it is looked up. Dropped, it was right.
#[derive(Debug)]
#[must_use]
pub struct Guess(Option<Attempt>);

impl PlayerLimits {
    pub fn new(config: &Config) -> PlayerLimits {
        let newcomers = config.auth.newcomers_per_minute;
        let changes = config.session.changes_per_second;
        PlayerLimits {
            newcomers: AddressRateLimit::per_minute(newcomers, newcomers.div_ceil(NEWCOMERS_BURST)),
            changes: RateLimit::per_second(changes, changes.saturating_mul(CHANGES_BURST)),
            wrong_codes: FailureLimit::new(config.client.wrong_codes_per_minute),
        }
    }
}

impl Guess {
    /// A code that was not guessed: it comes from the hub itself, or is signed by the game.
    pub fn known() -> Guess {
        Guess(None)
    }

    /// No room has the code.
    pub fn wrong(self) {
        if let Some(attempt) = self.0 {
            attempt.failed();
        }
    }
}

impl Caller {
    /// The session that asks, if there is one already.
    pub(super) fn session(&self) -> Option<&SessionHandle> {
        match self {
            Caller::Session(session) | Caller::Player(session) => Some(session),
            Caller::Guest { .. } | Caller::Account { .. } => None,
        }
    }
}

impl Actions {
    /// The same actions for one request, which counts for this address.
    #[must_use]
    pub fn asked_from(&self, asker: Asker) -> Actions {
        Actions {
            origin: Origin {
                asker,
                is_counted: Arc::default(),
            },
            ..self.clone()
        }
    }

    /// Counts somebody who is about to get a session or a room of its own. The game's own server is not counted.
    ///
    /// # Errors
    /// RATE_LIMITED.
    pub fn count_newcomer(&self) -> Result<(), Refusal> {
        let Origin { asker, is_counted } = &self.origin;
        let Some(address) = asker else {
            return Ok(());
        };
        if is_counted.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let counted = self.limits.newcomers.take(*address);
        counted.map_err(|rest| Limited::Newcomers.refuse(rest))
    }

    /// Counts a change that a session is about to make. What its game's server asks for is not counted.
    ///
    /// # Errors
    /// RATE_LIMITED.
    pub(super) fn count_change(&self, session: Option<&SessionHandle>) -> Result<(), Refusal> {
        session.map_or(Ok(()), |session| self.count(Changed::Session(session.id())))
    }

    /// Counts that a seat is about to go to a new session.
    ///
    /// # Errors
    /// RATE_LIMITED.
    pub(super) fn count_takeover(&self, room: RoomId, seat: u16) -> Result<(), Refusal> {
        self.count(Changed::Seat(room, seat))
    }

    fn count(&self, changed: Changed) -> Result<(), Refusal> {
        let counted = self.limits.changes.take(&changed);
        counted.map_err(|rest| Limited::Changes.refuse(rest))
    }

    /// Reserves a look-up of a room by its code. The code of a room in which the session sits is never guessed, whatever
    /// others of its address do.
    ///
    /// # Errors
    /// RATE_LIMITED.
    pub async fn guess(
        &self,
        code: RoomCode,
        session: Option<&SessionHandle>,
    ) -> Result<Guess, Refusal> {
        let Some(address) = self.origin.asker else {
            return Ok(Guess::known());
        };
        let wrong_codes = &self.limits.wrong_codes;
        if let Ok(attempt) = wrong_codes.try_begin(address) {
            return Ok(Guess(Some(attempt)));
        }
        if let Some(session) = session
            && self.sits_in(session, code).await
        {
            return Ok(Guess::known());
        }
        match wrong_codes.begin(address).await {
            Ok(attempt) => Ok(Guess(Some(attempt))),
            Err(rest) => Err(Limited::WrongCodes.refuse(rest)),
        }
    }

    /// Makes sure that there is a room with a code that a client has named.
    ///
    /// # Errors
    /// ROOM_NOT_FOUND, RATE_LIMITED, UNAVAILABLE.
    pub(super) async fn check_code(
        &self,
        code: RoomCode,
        session: Option<&SessionHandle>,
    ) -> Result<(), Refusal> {
        let guess = self.guess(code, session).await?;
        let found = self.rooms.find(&RoomKey::Code(code)).await;
        match found.map_err(unanswered)? {
            Some(_) => Ok(()),
            None => {
                guess.wrong();
                Err(room_not_found())
            }
        }
    }

    /// Whether a session holds a seat in the room with this code. One that does not answer holds none.
    pub(super) async fn sits_in(&self, session: &SessionHandle, code: RoomCode) -> bool {
        let report = self.report(session).await;
        report.is_ok_and(|report| report.seats.iter().any(|seat| seat.code == code))
    }
}
