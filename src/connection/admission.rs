//! Admission of connecting players. After a restart all players return at once. Admission paces their connects to the
//! hub's capacity and lets players with a live session go first. No hold ends while its player waits for admission.

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

/// The spread added to the retry delay of refused clients.
const JITTER: Duration = Duration::from_secs(1);

/// The admission of a hub, for sockets and HTTP together. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Admission(Arc<Door>);

#[derive(Debug)]
struct Door {
    pace: Mutex<AdmissionSchedule>,
    wait: Duration,
    all: Arc<Semaphore>,
    /// Half of all permits: newcomers never block returning players.
    newcomers: Arc<Semaphore>,
}

/// Permission to connect, held while the client connects.
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

    /// Admits a client, at once or after a wait. Clients that return to a live session, by whichever token, go first,
    /// and their holds are extended by the time that they wait.
    ///
    /// # Errors
    /// UNAVAILABLE, with the time to retry after.
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

    /// Checks that a newcomer may ask for a session or a seat: not while returning players have to wait.
    ///
    /// # Errors
    /// UNAVAILABLE, with the time to retry after.
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
                "many players are reconnecting at the moment; try again later",
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

    /// Waits for the start time and the permits. Returns None if returning players need the capacity by then.
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
