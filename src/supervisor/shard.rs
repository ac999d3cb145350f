//! The supervisor of a share of the rooms or of the sessions.
//!
//! - Owns: the state of each of its keys.
//! - Supervised by: the hub.
//! - On failure: its actors end with it. The hub restarts it, and it loads them again.
//!
//! Each actor has a restart budget of its own. One that exceeds it rests, and everybody else plays on. The cause is
//! in its row or in its messages, so ending the shard or the process would not help.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ractor::{
    Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, ActorStatus, SupervisionEvent,
};
use tracing::{error, warn};

use super::alive::LiveGauge;
use super::brood::{ActorFactory, LoadError, ShardMessage, Waiter};
use super::budget::{RestartBudget, WINDOW};
use super::handle::ShardHandle;
use super::roster::{Activations, Found};
use crate::mailbox::answer;

/// Wait before a row that could not be read is read again, for an actor that must come back.
const REBUILD_RETRY: Duration = Duration::from_secs(1);

/// How long an actor that kept failing rests: until its failures are forgotten, so that its budget is full again.
const REST: Duration = WINDOW;

/// The actor.
#[derive(Debug)]
pub(super) struct Shard<B: ActorFactory> {
    pub(super) brood: B,
    pub(super) index: usize,
    pub(super) shards: ShardHandle<B>,
}

/// The state of a shard.
pub(super) struct ShardState<B: ActorFactory> {
    roster: Activations<B::Key, B::Handle, Waiter<B>>,
    children: HashMap<ActorId, B::Key>,
    cells: HashMap<B::Key, ActorCell>,
    /// The budgets of actors that failed within the window.
    budgets: HashMap<B::Key, RestartBudget>,
    readings: u64,
    _alive: LiveGauge,
}

impl<B: ActorFactory> Actor for Shard<B> {
    type Msg = ShardMessage<B>;
    type State = ShardState<B>;
    type Arguments = ();

    async fn pre_start(
        &self,
        myself: ActorRef<ShardMessage<B>>,
        (): (),
    ) -> Result<ShardState<B>, ActorProcessingErr> {
        let mut state = ShardState {
            roster: Activations::new(),
            children: HashMap::new(),
            cells: HashMap::new(),
            budgets: HashMap::new(),
            readings: 0,
            _alive: LiveGauge::new("shard"),
        };
        self.shards.begin(self.index);
        // Before anything is read: requests from here on reach this shard.
        self.shards.post(self.index).fill(myself.clone());
        for key in self.brood.leave_all(self.index) {
            self.shards.owe(&key);
        }
        for key in self.shards.owed(self.index) {
            self.load(&myself, &mut state, key, Vec::new(), true, Duration::ZERO);
        }
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<ShardMessage<B>>,
        message: ShardMessage<B>,
        state: &mut ShardState<B>,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ShardMessage::Start { key, seed, reply } => {
                if let Some(waiter) = self.find(&myself, state, &key, reply) {
                    self.spawn(&myself, state, key, seed, Some(waiter)).await;
                } else if state.roster.is_looked_up(&key) {
                    self.spawn(&myself, state, key, seed, None).await;
                }
            }
            ShardMessage::Restore { seeds, reply } => {
                answer(reply, self.restore(&myself, state, seeds).await);
            }
            ShardMessage::Resolve { key, reply } => {
                if let Some(waiter) = self.find(&myself, state, &key, reply) {
                    self.load(&myself, state, key, vec![waiter], false, Duration::ZERO);
                }
            }
            ShardMessage::Rebuild { key, reply } => self.rebuild(&myself, state, key, reply),
            ShardMessage::Missed { key, news } => self.missed(&myself, state, key, news),
            ShardMessage::Loaded {
                key,
                reading,
                is_rebuild,
                seed,
            } => {
                if state.roster.awaits(&key, reading) {
                    self.loaded(&myself, state, key, is_rebuild, seed).await;
                }
            }
            ShardMessage::Idle { key } => self.idle(state, &key),
            ShardMessage::Stays { key } => self.stays(state, &key),
            ShardMessage::Goes { key } => self.goes(&myself, state, key),
            #[cfg(feature = "faults")]
            ShardMessage::Panic => panic!("ordered"),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<ShardMessage<B>>,
        event: SupervisionEvent,
        state: &mut ShardState<B>,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(cell, reason) => {
                self.ended(&myself, state, cell.get_id(), &reason.to_string());
            }
            SupervisionEvent::ActorTerminated(cell, _, reason) => {
                let reason = reason.unwrap_or_default();
                self.ended(&myself, state, cell.get_id(), &reason);
            }
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {}
        }
        Ok(())
    }
}

impl<B: ActorFactory> Shard<B> {
    /// Looks up a key for a caller. Returns the caller if there is no actor and none on the way.
    fn find(
        &self,
        myself: &ActorRef<ShardMessage<B>>,
        state: &mut ShardState<B>,
        key: &B::Key,
        waiter: Waiter<B>,
    ) -> Option<Waiter<B>> {
        // The caller may know of a failure before this shard does.
        if let Some(cell) = state.cells.get(key)
            && cell.get_status() >= ActorStatus::Stopping
        {
            let id = cell.get_id();
            self.ended(myself, state, id, "it has stopped");
        }
        match state.roster.find(key, waiter) {
            Found::Live { handle, waiter } => answer(waiter, Ok(Some(handle))),
            Found::Rests { waiter } => answer(waiter, Err(LoadError::Unavailable)),
            Found::Waits => {}
            Found::Absent { waiter } => return Some(waiter),
        }
        None
    }

    /// Starts each actor that is neither live nor on the way. Returns the keys whose rows may have changed since they
    /// were read.
    async fn restore(
        &self,
        myself: &ActorRef<ShardMessage<B>>,
        state: &mut ShardState<B>,
        seeds: Vec<(B::Key, B::Seed)>,
    ) -> Vec<B::Key> {
        let mut left = Vec::new();
        for (key, seed) in seeds {
            if state.roster.is_known(&key) {
                continue;
            }
            match self.shards.may_restore(&key) {
                true => self.spawn(myself, state, key, seed, None).await,
                false => left.push(key),
            }
        }
        left
    }

    async fn spawn(
        &self,
        myself: &ActorRef<ShardMessage<B>>,
        state: &mut ShardState<B>,
        key: B::Key,
        seed: B::Seed,
        waiter: Option<Waiter<B>>,
    ) {
        match self.brood.spawn(seed, myself.get_cell()).await {
            Ok((handle, cell)) => {
                state.children.insert(cell.get_id(), key.clone());
                state.cells.insert(key.clone(), cell);
                self.brood.enter(&key, &handle);
                self.shards.settle(&key);
                let waiters = state.roster.started(key, handle.clone());
                for waiter in waiters.into_iter().chain(waiter) {
                    answer(waiter, Ok(Some(handle.clone())));
                }
            }
            Err(error) => {
                self.failed(myself, state, key.clone(), &error.to_string());
                if let Some(waiter) = waiter {
                    // It waits for the next try, unless there is none soon.
                    self.find(myself, state, &key, waiter);
                }
            }
        }
    }

    /// Reads the row of a key after a delay, in place of any read in progress.
    fn load(
        &self,
        myself: &ActorRef<ShardMessage<B>>,
        state: &mut ShardState<B>,
        key: B::Key,
        waiters: Vec<Waiter<B>>,
        is_rebuild: bool,
        delay: Duration,
    ) {
        let reading = self.read_later(myself, state, &key, is_rebuild, delay);
        state.roster.load(&key, waiters, reading, is_rebuild);
    }

    fn read_later(
        &self,
        myself: &ActorRef<ShardMessage<B>>,
        state: &mut ShardState<B>,
        key: &B::Key,
        is_rebuild: bool,
        delay: Duration,
    ) -> u64 {
        state.readings += 1;
        let (brood, myself) = (self.brood.clone(), myself.clone());
        let (key, reading) = (key.clone(), state.readings);
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let seed = brood.load(key.clone(), is_rebuild).await;
            // The shard has failed; its successor loads the row again.
            let _ = myself.cast(ShardMessage::Loaded {
                key,
                reading,
                is_rebuild,
                seed,
            });
        });
        reading
    }

    async fn loaded(
        &self,
        myself: &ActorRef<ShardMessage<B>>,
        state: &mut ShardState<B>,
        key: B::Key,
        is_rebuild: bool,
        seed: Result<Option<B::Seed>, LoadError>,
    ) {
        match seed {
            Ok(Some(seed)) => self.spawn(myself, state, key, seed, None).await,
            Ok(None) => {
                self.shards.settle(&key);
                self.shards.outdate(&key);
                let waiters = state.roster.gone(&key);
                if is_rebuild && !waiters.is_empty() {
                    // It need not come back by itself, but a caller asks for it.
                    self.load(myself, state, key, waiters, false, Duration::ZERO);
                } else {
                    for waiter in waiters {
                        answer(waiter, Ok(None));
                    }
                }
            }
            Err(error) => {
                for waiter in state.roster.gone(&key) {
                    answer(waiter, Err(error));
                }
                if is_rebuild {
                    self.load(myself, state, key, Vec::new(), true, REBUILD_RETRY);
                }
            }
        }
    }

    /// Brings an actor back, unless it is live: then the caller sends it the change.
    fn rebuild(
        &self,
        myself: &ActorRef<ShardMessage<B>>,
        state: &mut ShardState<B>,
        key: B::Key,
        reply: Waiter<B>,
    ) {
        let is_read = state.roster.is_read(&key);
        match self.find(myself, state, &key, reply) {
            Some(waiter) => self.load(myself, state, key, vec![waiter], true, Duration::ZERO),
            // The row in the current read may be older than the change.
            None if is_read => self.load(myself, state, key, Vec::new(), true, Duration::ZERO),
            None if state.roster.live(&key).is_some() => self.shards.settle(&key),
            None => {}
        }
    }

    /// Handles a message that an actor missed. A row that is being read may be older than the message, so it is read
    /// again. An actor that is here receives the message; an absent one reads the change when it starts.
    fn missed(
        &self,
        myself: &ActorRef<ShardMessage<B>>,
        state: &mut ShardState<B>,
        key: B::Key,
        news: B::News,
    ) {
        if state.roster.is_read(&key) {
            let is_rebuild = !state.roster.is_looked_up(&key);
            self.load(myself, state, key, Vec::new(), is_rebuild, Duration::ZERO);
        } else if let Some(handle) = state.roster.here(&key) {
            self.brood.hear(handle, news);
        } else {
            self.shards.outdate(&key);
        }
    }

    /// Asks an idle actor to stop. Until it does, it stays in its directory: an event in the meantime may be a reason
    /// to stay.
    fn idle(&self, state: &mut ShardState<B>, key: &B::Key) {
        if let Some(handle) = state.roster.leaving(key) {
            self.brood.let_go(&handle);
        }
    }

    fn stays(&self, state: &mut ShardState<B>, key: &B::Key) {
        if let Some((handle, waiters)) = state.roster.stays(key) {
            self.shards.settle(key);
            for waiter in waiters {
                answer(waiter, Ok(Some(handle.clone())));
            }
        }
    }

    /// Retires an actor: removes its entry first, then lets it handle its last messages.
    fn goes(&self, myself: &ActorRef<ShardMessage<B>>, state: &mut ShardState<B>, key: B::Key) {
        self.brood.leave(&key);
        self.shards.settle(&key);
        self.shards.outdate(&key);
        if let Some(cell) = state.cells.remove(&key) {
            state.children.remove(&cell.get_id());
            // An actor that has stopped by itself has no messages left.
            let _ = cell.drain();
        }
        let waiters = state.roster.gone(&key);
        if !waiters.is_empty() {
            self.load(myself, state, key, waiters, false, Duration::ZERO);
        }
    }

    /// Handles the end of an actor that was not asked to stop.
    fn ended(
        &self,
        myself: &ActorRef<ShardMessage<B>>,
        state: &mut ShardState<B>,
        id: ActorId,
        reason: &str,
    ) {
        if let Some(key) = state.children.remove(&id) {
            state.cells.remove(&key);
            self.failed(myself, state, key, reason);
        }
    }

    /// Rebuilds an actor that has failed, or leaves it alone for a while if it keeps failing.
    fn failed(
        &self,
        myself: &ActorRef<ShardMessage<B>>,
        state: &mut ShardState<B>,
        key: B::Key,
        reason: &str,
    ) {
        metrics::counter!("holdfast_actor_restarts_total", "kind" => B::KIND).increment(1);
        self.brood.leave(&key);
        self.shards.owe(&key);
        let now = Instant::now();
        state.budgets.retain(|_, budget| !budget.is_fresh(now));
        match state.budgets.entry(key.clone()).or_default().spend(now) {
            Ok(delay) => {
                warn!(kind = B::KIND, ?key, reason, "actor failed, rebuilding it");
                self.load(myself, state, key, Vec::new(), true, delay);
            }
            Err(spent) => {
                error!(kind = B::KIND, ?key, reason, %spent, "actor keeps failing and is left alone");
                metrics::counter!("holdfast_actors_rested_total", "kind" => B::KIND).increment(1);
                let reading = self.read_later(myself, state, &key, true, REST);
                for waiter in state.roster.rest(&key, reading) {
                    answer(waiter, Err(LoadError::Unavailable));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::supervisor::shard_of;

    const KEY: u8 = 1;

    const MISSED: ShardMessage<Readers> = ShardMessage::Missed { key: KEY, news: () };

    /// Actors that know the content of their row when it was read.
    #[derive(Clone)]
    struct Readers {
        row: Arc<Mutex<&'static str>>,
        /// A read has seen the row, but has not returned yet.
        begun: Arc<Semaphore>,
        /// Lets one read return.
        end: Arc<Semaphore>,
        told: Arc<Semaphore>,
        /// An actor was asked to stop.
        asked: Arc<Semaphore>,
        /// The directory, as the rest of the hub sees it.
        known: Arc<Mutex<HashSet<u8>>>,
    }

    impl Readers {
        fn new() -> Readers {
            let nothing = || Arc::new(Semaphore::new(0));
            Readers {
                row: Arc::new(Mutex::new("as it was")),
                begun: nothing(),
                end: nothing(),
                told: nothing(),
                asked: nothing(),
                known: Arc::default(),
            }
        }

        /// Starts the shard of [`KEY`]. Returns it with a handle.
        async fn start(&self) -> (ActorRef<ShardMessage<Readers>>, ShardHandle<Readers>) {
            let shards = ShardHandle::vacant();
            let shard = Shard {
                brood: self.clone(),
                index: shard_of(&KEY),
                shards: shards.clone(),
            };
            let (actor, _) = Actor::spawn(None, shard, ()).await.unwrap();
            (actor, shards)
        }

        fn is_known(&self) -> bool {
            self.known.lock().contains(&KEY)
        }
    }

    struct Reader;

    impl Actor for Reader {
        type Msg = ();
        type State = ();
        type Arguments = ();

        async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
            Ok(())
        }

        async fn handle_supervisor_evt(
            &self,
            _: ActorRef<()>,
            _: SupervisionEvent,
            (): &mut (),
        ) -> Result<(), ActorProcessingErr> {
            Ok(())
        }
    }

    impl ActorFactory for Readers {
        type Key = u8;
        type Handle = &'static str;
        type Seed = &'static str;
        type News = ();

        const KIND: &'static str = "reader";

        async fn spawn(
            &self,
            row: &'static str,
            shard: ActorCell,
        ) -> Result<(&'static str, ActorCell), ractor::SpawnErr> {
            let (reader, _) = Actor::spawn_linked(None, Reader, (), shard).await?;
            Ok((row, reader.get_cell()))
        }

        async fn load(&self, _: u8, _: bool) -> Result<Option<&'static str>, LoadError> {
            let row = *self.row.lock();
            self.begun.add_permits(1);
            self.end
                .acquire()
                .await
                .map_err(|_| LoadError::Unavailable)?
                .forget();
            Ok(Some(row))
        }

        fn enter(&self, key: &u8, _: &&'static str) {
            self.known.lock().insert(*key);
        }

        fn leave(&self, key: &u8) {
            self.known.lock().remove(key);
        }

        fn leave_all(&self, _: usize) -> Vec<u8> {
            Vec::new()
        }

        fn hear(&self, _: &&'static str, (): ()) {
            self.told.add_permits(1);
        }

        fn let_go(&self, _: &&'static str) {
            self.asked.add_permits(1);
        }
    }

    #[tokio::test]
    async fn who_is_being_read_when_its_row_changes_never_goes_by_what_the_row_said() {
        let readers = Readers::new();
        let (actor, shards) = readers.start().await;
        let missed = || shards.of(&KEY).tell(MISSED);

        let looking = tokio::spawn({
            let shards = shards.clone();
            async move { shards.resolve(&KEY).await }
        });
        readers.begun.acquire().await.unwrap().forget();
        *readers.row.lock() = "as it is";
        missed();
        // The shard receives the change before the first read returns.
        readers.end.add_permits(2);

        assert_eq!(looking.await.unwrap(), Ok(Some("as it is")));
        // A live actor receives the message.
        missed();
        readers.told.acquire().await.unwrap().forget();
        actor.stop(None);
    }

    #[tokio::test]
    async fn who_is_asked_whether_it_can_go_is_found_and_told_everything_until_it_goes() {
        let readers = Readers::new();
        let (actor, shards) = readers.start().await;
        let tell = |message| shards.of(&KEY).tell(message);
        shards.start(&KEY, "as it is").await.unwrap();

        tell(ShardMessage::Idle { key: KEY });
        readers.asked.acquire().await.unwrap().forget();
        assert!(readers.is_known());
        tell(MISSED);
        readers.told.acquire().await.unwrap().forget();

        tell(ShardMessage::Goes { key: KEY });
        let looking = tokio::spawn(async move { shards.resolve(&KEY).await });
        readers.begun.acquire().await.unwrap().forget();
        assert!(!readers.is_known());
        readers.end.add_permits(1);
        assert_eq!(looking.await.unwrap(), Ok(Some("as it was")));
        actor.stop(None);
    }

    #[tokio::test]
    async fn a_row_that_was_read_before_a_change_starts_nothing() {
        let readers = Readers::new();
        let (actor, shards) = readers.start().await;
        let is_neighbour = |key: &u8| *key != KEY && shard_of(key) == shard_of(&KEY);
        let neighbour = (0..=u8::MAX).find(is_neighbour).unwrap();
        let restore = async || {
            let seeds = vec![(KEY, "as it was"), (neighbour, "as it is")];
            let restored = shards
                .of(&KEY)
                .ask(|reply| ShardMessage::Restore { seeds, reply });
            restored.await.unwrap()
        };

        shards.of(&KEY).tell(MISSED);

        assert_eq!(restore().await, [KEY]);
        assert!(!readers.is_known());
        assert!(readers.known.lock().contains(&neighbour));
        // The same after the restore.
        shards.restored();
        assert_eq!(restore().await, [KEY]);
        actor.stop(None);
    }
}
