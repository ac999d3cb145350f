//! Who may connect now. After a restart everybody comes back at once: they are let in at the pace that
//! the hub can carry, those with a seat first, and no hold runs out because of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{counter, histogram};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep_until, timeout_at};

use super::admission_schedule::{AdmissionGrant, AdmissionSchedule, Priority};
use crate::actions::Returning;
use crate::config::AdmissionConfig;
use crate::id::random_bytes;
use crate::wire::{Reason, Refusal};

/// Those who are told to come back later are spread over so much more than they have to be.
const JITTER: Duration = Duration::from_secs(1);

/// The door of a hub, for sockets and HTTP together. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Admission(Arc<Door>);

#[derive(Debug)]
struct Door {
    pace: Mutex<AdmissionSchedule>,
    wait: Duration,
    all: Arc<Semaphore>,
    /// Half of all: newcomers never stand in the way of the seated.
    newcomers: Arc<Semaphore>,
}

/// Leave to connect, held for as long as that takes.
#[derive(Debug)]
pub(super) struct Pass {
    door: Arc<Door>,
    _permits: (Option<OwnedSemaphorePermit>, OwnedSemaphorePermit),
}

impl Admission {
    pub fn new(config: &AdmissionConfig) -> Admission {
        Admission(Arc::new(Door {
            pace: Mutex::new(AdmissionSchedule::new(config, Instant::now())),
            wait: config.wait,
            all: Arc::new(Semaphore::new(config.at_once)),
            newcomers: Arc::new(Semaphore::new(config.at_once.div_ceil(2))),
        }))
    }

    /// Lets somebody in, at once or after a wait. Who comes back to what is live goes first, by whichever
    /// token, and its hold lasts longer by the time for which it is kept waiting.
    ///
    /// # Errors
    /// UNAVAILABLE, with the time to come back.
    pub(super) async fn admit(&self, returning: Option<&Returning>) -> Result<Pass, Refusal> {
        let door = &self.0;
        let who = match returning {
            Some(_) => Priority::Seated,
            None => Priority::New,
        };
        let arrived = Instant::now();
        let turn = door.pace.lock().turn(who, arrived);
        let start = match turn {
            AdmissionGrant::Now => match door.try_enter(who) {
                Some(pass) => return Ok(pass),
                None => arrived,
            },
            AdmissionGrant::At(start) => start,
            AdmissionGrant::Later => return Err(self.turn_away(returning)),
        };
        if let Some(returning) = returning {
            returning.delayed(door.wait);
        }
        let waiting = timeout_at((arrived + door.wait).into(), door.wait(who, start));
        let Ok(Some(pass)) = waiting.await else {
            return Err(self.turn_away(returning));
        };
        count_delayed(who, "waited");
        histogram!("holdfast_admission_wait_seconds").record(arrived.elapsed());
        Ok(pass)
    }

    /// Whether somebody who is new may ask for a session or a seat: not while the seated have to wait.
    ///
    /// # Errors
    /// UNAVAILABLE, with the time to come back.
    pub fn check_newcomer(&self) -> Result<(), Refusal> {
        let is_behind = self.0.pace.lock().is_behind(Instant::now());
        match is_behind {
            false => Ok(()),
            true => Err(self.turn_away(None)),
        }
    }

    fn turn_away(&self, returning: Option<&Returning>) -> Refusal {
        let share = f64::from(u16::from_ne_bytes(random_bytes())) / f64::from(u16::MAX);
        let retry_after = self.0.pace.lock().come_back(Instant::now()) + JITTER.mul_f64(share);
        let who = match returning {
            Some(returning) => {
                returning.delayed(retry_after);
                Priority::Seated
            }
            None => Priority::New,
        };
        count_delayed(who, "turned_away");
        Refusal {
            retry_after: Some(retry_after),
            ..Refusal::new(
                Reason::Unavailable,
                "many players are coming back at this moment; it is your turn a little later",
            )
        }
    }
}

impl Door {
    fn try_enter(self: &Arc<Door>, who: Priority) -> Option<Pass> {
        let permit = |of: &Arc<Semaphore>| Arc::clone(of).try_acquire_owned().ok();
        let newcomer = match who {
            Priority::Seated => None,
            Priority::New => Some(permit(&self.newcomers)?),
        };
        Some(self.pass((newcomer, permit(&self.all)?)))
    }

    /// None: more of the seated came meanwhile.
    async fn wait(self: &Arc<Door>, who: Priority, start: Instant) -> Option<Pass> {
        let permit = |of: &Arc<Semaphore>| Arc::clone(of).acquire_owned();
        sleep_until(start.into()).await;
        let newcomer = match who {
            Priority::Seated => None,
            Priority::New if !self.pace.lock().start(Instant::now()) => return None,
            Priority::New => Some(permit(&self.newcomers).await.ok()?),
        };
        Some(self.pass((newcomer, permit(&self.all).await.ok()?)))
    }

    fn pass(
        self: &Arc<Door>,
        permits: (Option<OwnedSemaphorePermit>, OwnedSemaphorePermit),
    ) -> Pass {
        Pass {
            door: Arc::clone(self),
            _permits: permits,
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.door.pace.lock().done(Instant::now());
    }
}

fn count_delayed(who: Priority, outcome: &'static str) {
    counter!("holdfast_admissions_delayed_total", "who" => who.label(), "outcome" => outcome)
        .increment(1);
}
