//! Rate limits by address and by session, shared by all listeners.
//!
//! There are two algorithms, with one type for each. [`RateLimit`] is the [generic cell rate algorithm][gcra], for
//! requests that count whether they succeed or not. [`FailureLimit`] is a fixed window of failures, in which each
//! attempt is reserved before it is made. A limit per address counts for the subscriber behind the address, and for
//! its site if it has one: see [`Networks`].
//!
//! [gcra]: https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm

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

/// Keys that one limit remembers, about 8 MB of them. A key is dropped once it has its whole allowance again, so only
/// an attack fills the table. Then any key is dropped, so no client is refused because others send too much.
const KEYS_MAX: usize = 65_536;

/// The address that a request counts for. None for requests of the game's own server, which count for no address.
pub type Asker = Option<IpAddr>;

/// The sort of request that was over its limit: the closed set of labels of `holdfast_limited_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limited {
    Newcomers,
    Changes,
    WrongCodes,
}

impl Limited {
    /// The label in the metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Limited::Newcomers => "newcomers",
            Limited::Changes => "changes",
            Limited::WrongCodes => "wrong_codes",
        }
    }

    /// Counts a request over the limit, and returns its refusal.
    pub fn refuse(self, retry_after: Duration) -> Refusal {
        counter!("holdfast_limited_total", "limit" => self.label()).increment(1);
        let detail = match self {
            Limited::Newcomers => {
                "too many new players and rooms come from this address (auth.newcomers_per_minute); try again a little later"
            }
            Limited::Changes => {
                "this session makes too many changes (session.changes_per_second); try again a little later"
            }
            Limited::WrongCodes => {
                "too many room codes from this address were wrong (client.wrong_codes_per_minute); try again in a minute"
            }
        };
        Refusal {
            retry_after: Some(retry_after),
            ..Refusal::new(Reason::RateLimited, detail)
        }
    }
}
