//! Heartbeat of a connection: decides when to ping a client, and when to give it up.
//!
//! A connection is new until it has connected, then quiet between pings, and asked from a ping to its pong. The caller
//! supplies the time.

use std::time::Duration;

use crate::clock::RunTime;
use crate::config::ClientConfig;
use crate::id::random_bytes;

/// The heartbeat of one connection.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    ping_every: Duration,
    pong_within: Duration,
    phase: Phase,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// Not connected yet. At `until` the connection closes as stale.
    New { until: RunTime },
    /// Connected. The next ping goes out at `until`.
    Quiet { until: RunTime },
    /// A ping is out. Without its pong the connection is given up at `until`.
    Asked { until: RunTime },
}

/// The action that the heartbeat requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beat {
    Nothing,
    Ping,
    Stale,
    NoPong,
}

impl Heartbeat {
    pub(crate) fn new(config: &ClientConfig, now: RunTime) -> Heartbeat {
        Heartbeat {
            ping_every: config.ping,
            pong_within: config.pong_timeout,
            phase: Phase::New {
                until: now.plus(config.connect_timeout),
            },
        }
    }

    /// Starts the pings of a connected client. The first is at a random time in the second half of the interval, so
    /// that clients that connected together are not pinged together.
    pub(crate) fn connected(&mut self, now: RunTime) {
        if let Phase::New { .. } = self.phase {
            let share = f64::from(u16::from_ne_bytes(random_bytes())) / f64::from(u16::MAX);
            let half = self.ping_every / 2;
            self.phase = Phase::Quiet {
                until: now.plus(half + half.mul_f64(share)),
            };
        }
    }

    /// Records a pong. An unsolicited pong is ignored.
    pub(crate) fn pong(&mut self, now: RunTime) {
        if let Phase::Asked { .. } = self.phase {
            self.phase = Phase::Quiet {
                until: now.plus(self.ping_every),
            };
        }
    }

    /// Returns the time to call [`Heartbeat::beat`].
    pub(crate) fn deadline(&self) -> RunTime {
        match self.phase {
            Phase::New { until } | Phase::Quiet { until } | Phase::Asked { until } => until,
        }
    }

    /// Returns the action at `now`. A busy connection is not given up: while it carries out a command, no pong can be
    /// read.
    pub(crate) fn beat(&mut self, now: RunTime, is_busy: bool) -> Beat {
        if now < self.deadline() {
            return Beat::Nothing;
        }
        match self.phase {
            Phase::Quiet { .. } => {
                self.phase = Phase::Asked {
                    until: now.plus(self.pong_within),
                };
                Beat::Ping
            }
            Phase::New { .. } if is_busy => {
                self.phase = Phase::New {
                    until: now.plus(self.pong_within),
                };
                Beat::Nothing
            }
            Phase::Asked { .. } if is_busy => {
                self.phase = Phase::Asked {
                    until: now.plus(self.pong_within),
                };
                Beat::Nothing
            }
            Phase::New { .. } => Beat::Stale,
            Phase::Asked { .. } => Beat::NoPong,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heartbeat(now: RunTime) -> Heartbeat {
        Heartbeat::new(&crate::config::Config::default().client, now)
    }

    #[test]
    fn who_does_not_connect_in_time_is_stale() {
        let now = RunTime::now();
        let mut heart = heartbeat(now);

        assert_eq!(
            heart.beat(now.plus(Duration::from_secs(9)), false),
            Beat::Nothing
        );
        assert_eq!(
            heart.beat(now.plus(Duration::from_secs(10)), false),
            Beat::Stale
        );
    }

    #[test]
    fn a_ping_wants_a_pong_and_a_pong_wins_time() {
        let now = RunTime::now();
        let mut heart = heartbeat(now);
        heart.connected(now);
        let first = heart.deadline();
        assert!(first >= now.plus(Duration::from_millis(12_500)));
        assert!(first <= now.plus(Duration::from_secs(25)));

        assert_eq!(heart.beat(first, false), Beat::Ping);
        heart.pong(first);
        let second = heart.deadline();
        assert_eq!(second, first.plus(Duration::from_secs(25)));
        assert_eq!(heart.beat(second, false), Beat::Ping);
        assert_eq!(heart.beat(heart.deadline(), false), Beat::NoPong);
    }

    #[test]
    fn the_first_ping_is_spread_over_half_the_interval() {
        let now = RunTime::now();
        let first = |_| {
            let mut heart = heartbeat(now);
            heart.connected(now);
            heart.deadline().since(now)
        };
        let (early, late): (Vec<Duration>, Vec<Duration>) = (0..1_000)
            .map(first)
            .partition(|wait| *wait < Duration::from_millis(18_750));

        assert!(early.len() > 400 && late.len() > 400, "{}", early.len());
    }

    #[test]
    fn a_pong_that_nobody_asked_for_wins_no_time() {
        let now = RunTime::now();
        let mut heart = heartbeat(now);
        heart.connected(now);
        let ping = heart.deadline();

        heart.pong(now);
        assert_eq!(heart.deadline(), ping);
        assert_eq!(heart.beat(ping, false), Beat::Ping);
        assert_eq!(heart.beat(heart.deadline(), false), Beat::NoPong);
    }

    #[test]
    fn who_waits_for_an_answer_is_not_given_up() {
        let now = RunTime::now();
        let mut heart = heartbeat(now);
        heart.connected(now);
        let ping = heart.deadline();
        heart.beat(ping, false);
        let deadline = heart.deadline();

        assert_eq!(heart.beat(deadline, true), Beat::Nothing);
        assert_eq!(heart.deadline(), deadline.plus(Duration::from_secs(8)));
    }
}
