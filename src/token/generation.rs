//! The generations of a seat's tokens, which decide if a token may still be used. Pure, without keys or seats.
//!
//! A seat has a confirmed generation and offers the next one. Signing a token writes nothing, so a lost reply costs
//! nothing: the holder's token stays valid until a newer one is used. If a token older than the confirmed one is
//! used, two parties have it.

use crate::clock::HubTime;

/// The state of one seat's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generations {
    /// The newest generation that was used.
    pub confirmed: i64,
    /// Generations up to this one have ended, and using one changes nothing more.
    pub ended: i64,
}

/// The status of a token, by its generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GenerationStatus {
    /// The generation on offer: using it confirms it.
    Offered,
    /// The confirmed generation.
    Confirmed,
    /// Older than one that was used: another party has it.
    Reused,
    /// From a seat that was released since, or ended because one was reused.
    Ended,
    /// Newer than any that was signed for this seat.
    Unknown,
}

impl Generations {
    /// Step of the confirmed generation when the seat becomes another user's: past the one on offer, so that no token
    /// of the user before is valid.
    pub const PER_USER: i64 = 2;

    /// Returns the generations of a seat that is claimed at this moment. They are greater than those of any earlier
    /// holder, whose tokens have ended.
    pub fn begin(now: HubTime) -> Generations {
        Generations {
            confirmed: now.0,
            ended: now.0,
        }
    }

    /// Returns the generation to sign.
    pub fn offered(self) -> i64 {
        self.confirmed.saturating_add(1)
    }

    pub fn worth(self, presented: i64) -> GenerationStatus {
        if presented <= self.ended {
            GenerationStatus::Ended
        } else if presented < self.confirmed {
            GenerationStatus::Reused
        } else if presented == self.confirmed {
            GenerationStatus::Confirmed
        } else if presented == self.offered() {
            GenerationStatus::Offered
        } else {
            GenerationStatus::Unknown
        }
    }

    /// Returns the state after a token of this generation was used.
    pub fn confirm(self, presented: i64) -> Generations {
        Generations {
            confirmed: self.confirmed.max(presented),
            ..self
        }
    }

    /// Returns the state after the seat has become another user's.
    pub fn hand_over(self) -> Generations {
        Generations {
            confirmed: self.confirmed.saturating_add(Generations::PER_USER),
            ..self
        }
    }

    /// Returns the state after a reuse: every token signed so far has ended, including the one on offer.
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
        assert_eq!(begun().worth(1_001), GenerationStatus::Offered);
        assert_eq!(begun().worth(1_000), GenerationStatus::Ended);
        assert_eq!(begun().worth(1_002), GenerationStatus::Unknown);
    }

    #[test]
    fn a_token_stays_good_until_a_newer_one_is_used() {
        let used = begun().confirm(1_001);
        assert_eq!(used.worth(1_001), GenerationStatus::Confirmed);
        assert_eq!(used.confirm(1_001), used);

        let newer = used.confirm(used.offered());
        assert_eq!(newer.worth(1_001), GenerationStatus::Reused);
        assert_eq!(newer.worth(1_002), GenerationStatus::Confirmed);
    }

    #[test]
    fn a_reuse_ends_all_that_were_signed_and_is_one_only_once() {
        let ended = begun().confirm(1_001).confirm(1_002).end();

        for signed in [1_001, 1_002, 1_003] {
            assert_eq!(ended.worth(signed), GenerationStatus::Ended);
        }
        assert_eq!(ended.worth(ended.offered()), GenerationStatus::Offered);
    }

    #[test]
    fn tokens_of_an_earlier_holder_are_over() {
        let earlier = begun().confirm(1_001).confirm(1_002);
        let later = Generations::begin(HubTime(60_000));

        assert_eq!(later.worth(earlier.offered()), GenerationStatus::Ended);
    }
}
