//! The limits on requests of players: newcomers and wrong room codes per client address, changes per session or seat,
//! lookups over HTTP per session or address.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::player::{Actions, Caller, room_not_found, unanswered};
use crate::config::Config;
use crate::id::{RoomCode, RoomId, SessionId};
use crate::limits::{AddressRateLimit, Asker, Attempt, FailureLimit, Limited, RateLimit};
use crate::room::RoomKey;
use crate::session::SessionHandle;
use crate::wire::Refusal;

/// Burst of newcomers, as a fraction of those per minute: enough for a school class that starts together.
const NEWCOMERS_BURST: u32 = 3;

/// Burst of changes, in seconds of their rate: enough for a page that joins several rooms as it opens.
const CHANGES_BURST: u32 = 4;

/// Burst of lookups, in seconds of their rate, as for the commands of a connection.
const LOOKUPS_BURST: u32 = 2;

/// The lookups of an address, as a multiple of a session's: many players may share it.
const LOOKUPS_PER_ADDRESS: u32 = 16;

/// Bytes of an answer that cost as much as a lookup, as for the commands of a connection.
const BYTES_OF_A_LOOKUP: usize = 1 << 10;

/// The limits on all players.
#[derive(Debug)]
pub struct PlayerLimits {
    newcomers: AddressRateLimit,
    changes: RateLimit<Changed>,
    session_lookups: RateLimit<SessionId>,
    address_lookups: AddressRateLimit,
    wrong_codes: FailureLimit,
}

/// The key under which changes are counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Changed {
    Session(SessionId),
    /// The takeovers of a seat: each moves it to a new session.
    Seat(RoomId, u16),
}

/// The party for which a lookup over HTTP is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payer {
    Session(SessionId),
    Address(IpAddr),
    /// The game's own server, which is not counted.
    GameServer,
}

/// The origin of a request. It counts as a newcomer's once at most, however many attempts it takes.
#[derive(Debug, Clone, Default)]
pub(super) struct Origin {
    asker: Asker,
    is_counted: Arc<AtomicBool>,
}

/// A room code from a client, while it is looked up. Dropping it means that the code was right.
#[derive(Debug)]
#[must_use]
pub struct Guess(Option<Attempt>);

impl PlayerLimits {
    pub fn new(config: &Config) -> PlayerLimits {
        let newcomers = config.auth.newcomers_per_minute;
        let changes = config.session.changes_per_second;
        let lookups = config.client.messages_per_second;
        let of_address = lookups.saturating_mul(LOOKUPS_PER_ADDRESS);
        PlayerLimits {
            newcomers: AddressRateLimit::per_minute(newcomers, newcomers.div_ceil(NEWCOMERS_BURST)),
            changes: RateLimit::per_second(changes, changes.saturating_mul(CHANGES_BURST)),
            session_lookups: RateLimit::per_second(lookups, lookups.saturating_mul(LOOKUPS_BURST)),
            address_lookups: AddressRateLimit::per_second(
                of_address,
                of_address.saturating_mul(LOOKUPS_BURST),
            ),
            wrong_codes: FailureLimit::new(config.client.wrong_codes_per_minute),
        }
    }
}

impl Guess {
    /// Returns a guess that is not counted: the code comes from the hub itself, or is signed by the game.
    pub fn known() -> Guess {
        Guess(None)
    }

    /// Counts a wrong code: no room has it.
    pub fn wrong(self) {
        if let Some(attempt) = self.0 {
            attempt.failed();
        }
    }
}

impl Caller {
    /// Returns the caller's session, if it has one already.
    pub(super) fn session(&self) -> Option<&SessionHandle> {
        match self {
            Caller::Session(session) | Caller::Player(session) => Some(session),
            Caller::Guest { .. } | Caller::Account { .. } => None,
        }
    }
}

impl Actions {
    /// Returns the same actions for one request, counted for this client address.
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

    /// Counts a caller that is about to get a new session or a new room. The game's server is not counted.
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

    /// Counts a change that a session is about to make. A request of the game's server is not counted.
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

    /// Counts a lookup over HTTP, for the caller's session if it is known, else for the address of the request. Returns
    /// the party that pays for the answer.
    ///
    /// # Errors
    /// RATE_LIMITED.
    pub fn count_lookup(&self, session: Option<&SessionHandle>) -> Result<Payer, Refusal> {
        let payer = match (session, self.origin.asker) {
            (Some(session), _) => Payer::Session(session.id()),
            (None, Some(address)) => Payer::Address(address),
            (None, None) => Payer::GameServer,
        };
        self.take_lookup(payer)?;
        Ok(payer)
    }

    /// Counts the answer to a lookup like one more lookup for each KiB. Its payer waits before the next one if that is
    /// more than it has.
    pub fn count_answer(&self, payer: Payer, bytes: usize) {
        let lookups = u32::try_from(bytes / BYTES_OF_A_LOOKUP).unwrap_or(u32::MAX);
        let limits = &self.limits;
        match payer {
            Payer::Session(session) => limits.session_lookups.charge(&session, lookups),
            Payer::Address(address) => limits.address_lookups.charge(address, lookups),
            Payer::GameServer => {}
        }
    }

    fn take_lookup(&self, payer: Payer) -> Result<(), Refusal> {
        let limits = &self.limits;
        let taken = match payer {
            Payer::Session(session) => limits.session_lookups.take(&session),
            Payer::Address(address) => limits.address_lookups.take(address),
            Payer::GameServer => Ok(()),
        };
        taken.map_err(|rest| Limited::Lookups.refuse(rest))
    }

    /// Reserves a lookup of a room by its code. The code of a room in which the session sits never counts as a guess,
    /// even if other clients of its address have used up the limit.
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

    /// Checks that there is a room with a code from a client.
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

    /// Returns true if a session holds a seat in the room with this code. False if the session does not answer.
    pub(super) async fn sits_in(&self, session: &SessionHandle, code: RoomCode) -> bool {
        let report = self.report(session).await;
        report.is_ok_and(|report| report.seats.iter().any(|seat| seat.code == code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::tests::actions;
    use crate::wire::Reason;

    #[tokio::test]
    async fn a_lookup_costs_as_much_as_its_answer_has_kib_and_each_payer_pays_for_itself() {
        let folder = tempfile::tempdir().unwrap();
        let actions = actions(folder.path()).await;
        let [large, small] = [(); 2].map(|()| Payer::Session(SessionId::new()));
        let address = Payer::Address([192, 0, 2, 1].into());
        for payer in [large, small, address, Payer::GameServer] {
            actions.take_lookup(payer).unwrap();
        }

        // More than ten times what a session may have at once, and less than an address may.
        for payer in [large, address, Payer::GameServer] {
            actions.count_answer(payer, 2_500 << 10);
        }
        actions.count_answer(small, 1_023);

        let refused = actions.take_lookup(large).unwrap_err();
        assert_eq!(refused.reason, Reason::RateLimited);
        assert!(refused.retry_after.is_some());
        for payer in [small, address, Payer::GameServer] {
            actions.take_lookup(payer).unwrap();
        }
    }
}
