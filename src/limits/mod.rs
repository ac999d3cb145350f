//! Limits on the requests of one address or one session, over all listeners.
//!
//! Two algorithms, one type for each. [`RateLimit`] is the generic cell rate algorithm (GCRA): it counts each
//! request, successful or not. [`FailureLimit`] is a fixed window of failures, in which each attempt is reserved
//! before it is made. A limit per address counts for the subscriber, and for the site where the address has one: see
//! [`Networks`].

mod failure;
mod network;
mod rate;
mod secret_guesses;
mod table;
mod wrong_tokens;

use std::net::IpAddr;
use std::time::Duration;

use metrics::counter;

pub use self::failure::{Attempt, FailureLimit};
pub use self::network::{Networks, SITE_SHARE, subscriber};
pub use self::rate::{AddressRateLimit, RateLimit};
pub use self::secret_guesses::SecretGuesses;
pub use self::wrong_tokens::WrongTokens;

use crate::wire::{Reason, Refusal};

/// Keys that one limit remembers at one time, about 8 MB of them. A key is dropped once its limit is fully restored,
/// so only an attack fills the table. A full table drops an arbitrary key: one client's requests never cause
/// another's refusal.
const KEYS_MAX: usize = 65_536;

/// The address for which a request counts. None for a request without such limits, as from the game's own server with
/// its API key.
pub type Asker = Option<IpAddr>;

/// A limit that was exceeded. The closed set of labels of `holdfast_limited_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limited {
    Newcomers,
    Changes,
    WrongCodes,
    Lookups,
}

impl Limited {
    /// Returns the label in the metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Limited::Newcomers => "newcomers",
            Limited::Changes => "changes",
            Limited::WrongCodes => "wrong_codes",
            Limited::Lookups => "lookups",
        }
    }

    /// Counts a request over the limit, and returns its refusal.
    pub fn refuse(self, retry_after: Duration) -> Refusal {
        counter!("holdfast_limited_total", "limit" => self.label()).increment(1);
        let detail = match self {
            Limited::Newcomers => {
                "too many new players and rooms come from this address (auth.newcomers_per_minute); try again later"
            }
            Limited::Changes => {
                "this session makes too many changes (session.changes_per_second); try again later"
            }
            Limited::WrongCodes => {
                "too many room codes from this address were wrong (client.wrong_codes_per_minute); try again in a minute"
            }
            Limited::Lookups => {
                "too many lookups over HTTP for their size (client.messages_per_second); try again later"
            }
        };
        Refusal {
            retry_after: Some(retry_after),
            ..Refusal::new(Reason::RateLimited, detail)
        }
    }
}
