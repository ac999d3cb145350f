//! Refusals of seat tokens.

use metrics::counter;

use crate::wire::{Reason, Refusal};

/// The reason why a token opens no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
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

impl Fault {
    /// Counts the refusal, and returns it with a text for the client.
    pub fn refuse(self) -> Refusal {
        counter!("holdfast_seat_tokens_refused_total", "reason" => self.label()).increment(1);
        Refusal::new(self.reason(), self.detail())
    }

    fn label(self) -> &'static str {
        match self {
            Fault::Malformed => "malformed",
            Fault::Algorithm => "algorithm",
            Fault::UnknownKey => "unknown_key",
            Fault::Signature => "signature",
            Fault::Expired => "expired",
            Fault::Foreign => "foreign",
            Fault::Released => "released",
            Fault::Ended => "ended",
            Fault::Reused => "reused",
        }
    }

    fn reason(self) -> Reason {
        match self {
            Fault::Expired => Reason::TokenExpired,
            Fault::Released => Reason::NotSeated,
            Fault::Malformed
            | Fault::Algorithm
            | Fault::UnknownKey
            | Fault::Signature
            | Fault::Foreign
            | Fault::Ended
            | Fault::Reused => Reason::TokenInvalid,
        }
    }

    fn detail(self) -> &'static str {
        match self {
            Fault::Malformed => "this is no seat token",
            Fault::Algorithm => "a seat token is signed with EdDSA",
            Fault::UnknownKey => "the seat token is signed with a key that this hub does not have",
            Fault::Signature => "the seat token's signature is wrong",
            Fault::Expired => "the seat token has expired",
            Fault::Foreign => "the seat token is not for this seat",
            Fault::Released => "the seat was given up",
            Fault::Ended => "the seat token is over: the seat has newer ones",
            Fault::Reused => {
                "a newer token of this seat was used before: all its tokens are over now"
            }
        }
    }
}
