//! Refusals of seat tokens.

use metrics::counter;

use crate::wire::{Reason, Refusal};

/// The reason why a token opens no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeatTokenError {
    /// Not a JWT, not a seat token, or cut off.
    Malformed,
    /// Signed with another algorithm than the hub's, or not at all.
    Algorithm,
    UnknownKey,
    Signature,
    Expired,
    /// Names another room or team than the seat's.
    Foreign,
    /// The seat was released, or belongs to another user.
    Released,
    /// From an earlier holder of the seat, or ended by a reuse.
    Ended,
    Reused,
}

impl SeatTokenError {
    /// Counts the refusal, and returns it with a text for the client.
    pub fn refuse(self) -> Refusal {
        counter!("holdfast_seat_tokens_refused_total", "reason" => self.label()).increment(1);
        Refusal::new(self.reason(), self.detail())
    }

    fn label(self) -> &'static str {
        match self {
            SeatTokenError::Malformed => "malformed",
            SeatTokenError::Algorithm => "algorithm",
            SeatTokenError::UnknownKey => "unknown_key",
            SeatTokenError::Signature => "signature",
            SeatTokenError::Expired => "expired",
            SeatTokenError::Foreign => "foreign",
            SeatTokenError::Released => "released",
            SeatTokenError::Ended => "ended",
            SeatTokenError::Reused => "reused",
        }
    }

    fn reason(self) -> Reason {
        match self {
            SeatTokenError::Expired => Reason::TokenExpired,
            SeatTokenError::Released => Reason::NotSeated,
            SeatTokenError::Malformed
            | SeatTokenError::Algorithm
            | SeatTokenError::UnknownKey
            | SeatTokenError::Signature
            | SeatTokenError::Foreign
            | SeatTokenError::Ended
            | SeatTokenError::Reused => Reason::TokenInvalid,
        }
    }

    fn detail(self) -> &'static str {
        match self {
            SeatTokenError::Malformed => "this is no seat token",
            SeatTokenError::Algorithm => "a seat token is signed with EdDSA",
            SeatTokenError::UnknownKey => {
                "the seat token is signed with a key that this hub does not have"
            }
            SeatTokenError::Signature => "the seat token's signature is wrong",
            SeatTokenError::Expired => "the seat token has expired",
            SeatTokenError::Foreign => "the seat token is not for this seat",
            SeatTokenError::Released => "the seat was given up",
            SeatTokenError::Ended => "the seat token is over: the seat has newer ones",
            SeatTokenError::Reused => {
                "a newer token of this seat was used before: all its tokens are over now"
            }
        }
    }
}
