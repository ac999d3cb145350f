//! The generations of a seat's tokens: which token may still be used, with no key and no seat in sight.
//!
//! A seat has a confirmed generation and offers the next one. Signing a token writes nothing, so a reply
//! that is lost costs nothing: the holder's token stays good until a newer one is used. A token older than
//! the confirmed one is in two hands.

use crate::clock::HubTime;

/// Where the tokens of one seat stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generations {
    /// The newest generation that was used.
    pub confirmed: i64,
    /// Generations up to this one are over, and using one changes nothing more.
    pub ended: i64,
}

/// What a token of some generation is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worth {
    /// The one on offer: using it confirms it.
    Offered,
    /// The confirmed one.
    Confirmed,
    /// Older than one that was used: somebody has it who should not.
    Reused,
    /// Of a seat that was given up since, or ended because one was reused.
    Ended,
    /// Newer than any that was signed for this seat.
    Unknown,
}

impl Generations {
    /// By how much the confirmed generation moves when a seat becomes another user's: past the one on offer, so that none
    /// of those that the user before has is good.
    pub const PER_USER: i64 = 2;

    /// Those of a seat that is claimed at this moment: greater than any of an earlier holder's, whose
    /// tokens are over.
    pub fn begin(now: HubTime) -> Generations {
        Generations {
            confirmed: now.0,
            ended: now.0,
        }
    }

    /// The generation that is signed.
    pub fn offered(self) -> i64 {
        self.confirmed.saturating_add(1)
    }

    pub fn worth(self, presented: i64) -> Worth {
        if presented <= self.ended {
            Worth::Ended
        } else if presented < self.confirmed {
            Worth::Reused
        } else if presented == self.confirmed {
            Worth::Confirmed
        } else if presented == self.offered() {
            Worth::Offered
        } else {
            Worth::Unknown
        }
    }

    /// After a token of this generation was used.
    pub fn confirm(self, presented: i64) -> Generations {
        Generations {
            confirmed: self.confirmed.max(presented),
            ..self
        }
    }

    /// After the seat has become another user's.
    pub fn hand_over(self) -> Generations {
        Generations {
            confirmed: self.confirmed.saturating_add(Generations::PER_USER),
            ..self
        }
    }

    /// After a reuse: every token signed so far is over, the one on offer included.
    pub fn end(self) -> Generations {
        Generations {
            confirmed: self.offered(),
            ended: self.offered(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun() -> Generations {
        Generations::begin(HubTime(1_000))
    }

    #[test]
    fn a_new_seat_knows_only_the_token_on_offer() {
        assert_eq!(begun().worth(1_001), Worth::Offered);
        assert_eq!(begun().worth(1_000), Worth::Ended);
        assert_eq!(begun().worth(1_002), Worth::Unknown);
    }

    #[test]
    fn a_token_stays_good_until_a_newer_one_is_used() {
        let used = begun().confirm(1_001);
        assert_eq!(used.worth(1_001), Worth::Confirmed);
        assert_eq!(used.confirm(1_001), used);

        let newer = used.confirm(used.offered());
        assert_eq!(newer.worth(1_001), Worth::Reused);
        assert_eq!(newer.worth(1_002), Worth::Confirmed);
    }

    #[test]
    fn a_reuse_ends_all_that_were_signed_and_is_one_only_once() {
        let ended = begun().confirm(1_001).confirm(1_002).end();

        for signed in [1_001, 1_002, 1_003] {
            assert_eq!(ended.worth(signed), Worth::Ended);
        }
        assert_eq!(ended.worth(ended.offered()), Worth::Offered);
    }

    #[test]
    fn tokens_of_an_earlier_holder_are_over() {
        let earlier = begun().confirm(1_001).confirm(1_002);
        let later = Generations::begin(HubTime(60_000));

        assert_eq!(later.worth(earlier.offered()), Worth::Ended);
    }
}
