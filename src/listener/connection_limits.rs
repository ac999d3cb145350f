//! Limits on the connections of a listener: in all, per address, and per second.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use ipnet::IpNet;
use parking_lot::Mutex;

use super::client_address::is_trusted;
use super::timeouts::HEAD_TIMEOUT;
use super::unused_sockets::{Sort, Standing, UnusedSockets};
use crate::config::ServerConfig;
use crate::limits::subscriber;

/// Descriptors in reserve for everything but players: the database's pool and files, the admin listener with its
/// connections, logs, and connections that are being refused. They add up to about 200.
const DESCRIPTORS_RESERVED: usize = 256;

/// Connections to the private listener: a scraper, probes, a few people. Part of the reserve.
const PRIVATE_CONNECTIONS_MAX: usize = 64;

/// The share of these that may be unproven at one time, that is, without a request. The rest is
/// for connections with one.
const PRIVATE_STRANGERS_MAX: usize = 16;

/// Connections that are being refused with an answer, or are probes, at one time. Part of the reserve.
const REFUSALS_MAX: usize = 32;
const PRIVATE_REFUSALS_MAX: usize = 16;

/// Displaced connections that are not closed yet, because their tasks need a moment. Part of the reserve.
const LEAVING_MAX: usize = 16;

/// The time limit for a request's head from operators and their probes, which are near.
const PRIVATE_HEADER_TIMEOUT: Duration = Duration::from_secs(1);

/// Addresses whose connection rate is tracked at one time, about 5 MB of them. They expire after a second, so
/// only an attack fills this.
const ADDRESSES_MAX: usize = 65_536;

/// The limits of a listener. A limit of 0 is off, except for `connections_max`.
#[derive(Debug, Clone)]
pub struct Limits {
    pub connections_max: usize,
    pub connections_per_address_max: usize,
    pub connects_per_second: u32,
    /// Connections without a request in progress or a session.
    pub strangers_max: usize,
    /// Connections beyond all these limits that are refused with an answer.
    pub refusals_max: usize,
    pub header_timeout: Duration,
    pub trusted_proxies: Vec<IpNet>,
}

/// The reason for refusing a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    #[error("the hub holds as many connections as it may")]
    Full,
    #[error("this address holds as many connections as it may")]
    AddressFull,
    #[error("this address connects too often")]
    TooOften,
}

/// The connection counts of one listener.
pub(super) struct Capacity {
    limits: Limits,
    connections: AtomicUsize,
    /// Displaced connections, which are no longer counted.
    leaving: AtomicUsize,
    /// The number of all connections so far.
    arrived: AtomicU64,
    strangers: UnusedSockets,
    by_address: Mutex<HashMap<IpAddr, usize>>,
    connects: Option<DefaultKeyedRateLimiter<IpAddr>>,
}

/// The slot of an admitted connection. Its drop frees the capacity.
#[derive(Debug)]
pub struct Slot {
    capacity: Arc<Capacity>,
    standing: Standing,
    /// False once it is displaced: another connection has its place.
    is_counted: AtomicBool,
    /// The address for which this connection counts; behind a proxy it is known only at the upgrade.
    address: OnceLock<IpAddr>,
}

impl Limits {
    /// Returns the limits of the players' listener, lowered to the descriptors that the process may open.
    pub fn public(config: &ServerConfig) -> Limits {
        let allowed = fs::read_to_string("/proc/self/limits")
            .ok()
            .and_then(|text| descriptors_max(&text));
        let connections_max = match allowed {
            Some(descriptors) => config.connections_max.min(share_of(descriptors)),
            None => config.connections_max,
        };
        if connections_max < config.connections_max {
            tracing::warn!(
                configured = config.connections_max,
                connections_max,
                "server.connections_max is lowered to the limit on open files"
            );
        }
        Limits {
            connections_max,
            connections_per_address_max: config.connections_per_address_max,
            connects_per_second: config.connects_per_second,
            strangers_max: usize::MAX,
            refusals_max: REFUSALS_MAX,
            header_timeout: HEAD_TIMEOUT,
            trusted_proxies: config.trusted_proxies.clone(),
        }
    }

    /// Returns the limits of the operators' listener.
    pub fn private() -> Limits {
        Limits {
            connections_max: PRIVATE_CONNECTIONS_MAX,
            connections_per_address_max: 0,
            connects_per_second: 0,
            strangers_max: PRIVATE_STRANGERS_MAX,
            refusals_max: PRIVATE_REFUSALS_MAX,
            header_timeout: PRIVATE_HEADER_TIMEOUT,
            trusted_proxies: Vec::new(),
        }
    }

    /// Returns the limits for connections that are refused by these limits.
    pub(super) fn refusals(&self) -> Limits {
        Limits {
            connections_max: self.refusals_max,
            connections_per_address_max: 0,
            connects_per_second: 0,
            strangers_max: usize::MAX,
            ..self.clone()
        }
    }
}

impl Rejected {
    pub(super) fn label(self) -> &'static str {
        match self {
            Rejected::Full => "full",
            Rejected::AddressFull => "address_full",
            Rejected::TooOften => "too_often",
        }
    }
}

impl Capacity {
    pub(super) fn new(limits: Limits) -> Arc<Capacity> {
        let connects = NonZeroU32::new(limits.connects_per_second)
            .map(|rate| RateLimiter::keyed(Quota::per_second(rate)));
        Arc::new(Capacity {
            limits,
            connections: AtomicUsize::new(0),
            leaving: AtomicUsize::new(0),
            arrived: AtomicU64::new(0),
            strangers: UnusedSockets::default(),
            by_address: Mutex::new(HashMap::new()),
            connects,
        })
    }

    /// Admits a new connection, or returns why there is no capacity for it. If the listener is full, a connection
    /// without any request is displaced.
    pub(super) fn admit(self: &Arc<Capacity>, peer: IpAddr) -> Result<Arc<Slot>, Rejected> {
        self.admit_before(peer, Sort::Silent)
    }

    /// Admits a refused connection that has sent a request: it displaces any connection without one in progress.
    pub(super) fn admit_asking(self: &Arc<Capacity>, peer: IpAddr) -> Result<Arc<Slot>, Rejected> {
        self.admit_before(peer, Sort::Idle)
    }

    /// Admits a new connection in place of one that has shown no more than `most`.
    fn admit_before(self: &Arc<Capacity>, peer: IpAddr, most: Sort) -> Result<Arc<Slot>, Rejected> {
        let earlier = self.connections.fetch_add(1, Ordering::Relaxed);
        // Created before the checks, so that its drop undoes the count.
        let slot = Arc::new(Slot {
            capacity: Arc::clone(self),
            standing: Standing::new(self.arrived.fetch_add(1, Ordering::Relaxed)),
            is_counted: AtomicBool::new(true),
            address: OnceLock::new(),
        });
        // First, so that no connection is displaced for one that is refused.
        if !is_trusted(peer, &self.limits.trusted_proxies) {
            slot.count_for(peer)?;
        }
        if earlier >= self.limits.connections_max && !self.displace_first(most) {
            return Err(Rejected::Full);
        }
        slot.waits(Sort::Silent);
        if self.strangers.len() > self.limits.strangers_max {
            self.displace_first(Sort::Idle);
        }
        Ok(slot)
    }

    /// Returns whether displaced connections are not closed yet.
    pub(super) fn has_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed) > 0
    }

    /// Displaces the first connection that has shown no more than `most`. False if there is
    /// none, or too many are closing.
    fn displace_first(&self, most: Sort) -> bool {
        if self.leaving.load(Ordering::Relaxed) >= LEAVING_MAX {
            return false;
        }
        let Some(displaced) = self.strangers.displace_first(most) else {
            return false;
        };
        self.leaving.fetch_add(1, Ordering::Relaxed);
        displaced.is_counted.store(false, Ordering::Relaxed);
        self.connections.fetch_sub(1, Ordering::Relaxed);
        metrics::counter!("holdfast_http_connections_displaced_total").increment(1);
        true
    }

    pub(super) fn proxies(&self) -> &[IpNet] {
        &self.limits.trusted_proxies
    }

    /// Removes idle addresses from the rate limit.
    pub(super) fn sweep(&self) {
        if let Some(connects) = &self.connects {
            connects.retain_recent();
            connects.shrink_to_fit();
        }
    }

    fn check_rate(&self, address: IpAddr) -> Result<(), Rejected> {
        let Some(connects) = &self.connects else {
            return Ok(());
        };
        // Refusing everybody would be worse than too many connects of some: they are still counted, and are displaced
        // first when the listener is full.
        if connects.len() >= ADDRESSES_MAX {
            return Ok(());
        }
        connects.check_key(&address).map_err(|_| Rejected::TooOften)
    }

    fn take(&self, address: IpAddr) -> Result<(), Rejected> {
        let most = self.limits.connections_per_address_max;
        if most == 0 {
            return Ok(());
        }
        let mut by_address = self.by_address.lock();
        let count = by_address.entry(address).or_insert(0);
        if *count >= most {
            return Err(Rejected::AddressFull);
        }
        *count += 1;
        Ok(())
    }

    fn give_back(&self, address: IpAddr) {
        let mut by_address = self.by_address.lock();
        if let Some(count) = by_address.get_mut(&address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                by_address.remove(&address);
            }
        }
    }
}

impl Slot {
    /// Counts this connection for an address. Only the first call has an effect.
    pub fn count_for(&self, address: IpAddr) -> Result<(), Rejected> {
        let address = subscriber(address);
        if self.address.get().is_some() {
            return Ok(());
        }
        self.capacity.check_rate(address)?;
        self.capacity.take(address)?;
        if self.address.set(address).is_err() {
            self.capacity.give_back(address);
        }
        Ok(())
    }

    pub fn proxies(&self) -> &[IpNet] {
        self.capacity.proxies()
    }

    pub(super) fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Marks the socket as having no request in progress.
    pub(super) fn waits(self: &Arc<Slot>, sort: Sort) {
        let slot: Weak<Slot> = Arc::downgrade(self);
        self.capacity.strangers.enter(&slot, &self.standing, sort);
    }

    /// Marks the socket as having a request in progress.
    pub(super) fn works(&self) {
        self.capacity.strangers.leave(&self.standing);
    }

    /// Marks the socket as having a session.
    pub fn is_shown(&self) {
        self.capacity.strangers.known(&self.standing);
    }

    /// Polls for displacement; used by a read that has to wait.
    pub(super) fn poll_displaced(&self, cx: &Context<'_>) -> Poll<()> {
        self.standing.poll_displaced(cx)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.capacity.strangers.leave(&self.standing);
        let count = match self.is_counted.load(Ordering::Relaxed) {
            true => &self.capacity.connections,
            false => &self.capacity.leaving,
        };
        count.fetch_sub(1, Ordering::Relaxed);
        if let Some(address) = self.address.get() {
            self.capacity.give_back(*address);
        }
    }
}

impl fmt::Debug for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capacity")
            .field("limits", &self.limits)
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

/// Parses the soft limit on open files from the text of `/proc/self/limits`.
fn descriptors_max(limits: &str) -> Option<usize> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Returns the share of the descriptors for players: all but the reserve, but at least half.
fn share_of(descriptors: usize) -> usize {
    descriptors
        .saturating_sub(DESCRIPTORS_RESERVED)
        .max(descriptors / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(connections_max: usize, per_address: usize, per_second: u32) -> Limits {
        Limits {
            connections_max,
            connections_per_address_max: per_address,
            connects_per_second: per_second,
            strangers_max: usize::MAX,
            refusals_max: 1,
            header_timeout: HEAD_TIMEOUT,
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_connection_that_ends_makes_room_for_another() {
        let capacity = Capacity::new(limits(1, 0, 0));
        let first = capacity.admit(ip("192.0.2.1")).unwrap();
        first.works();
        let second = capacity.admit(ip("192.0.2.2"));
        assert_eq!(second.unwrap_err(), Rejected::Full);
        drop(first);
        assert!(capacity.admit(ip("192.0.2.2")).is_ok());
    }

    #[test]
    fn the_first_that_shows_nothing_makes_room_and_its_place_is_not_counted_twice() {
        let capacity = Capacity::new(limits(4, 0, 0));
        let come = || capacity.admit(ip("192.0.2.1")).unwrap();
        let (known, idle, upgraded, silent) = (come(), come(), come(), come());
        known.is_shown();
        idle.waits(Sort::Idle);
        upgraded.waits(Sort::Upgraded);

        let next = come();
        assert!(silent.standing().is_displaced());
        assert!(capacity.has_leaving());
        drop(silent);
        assert!(!capacity.has_leaving());
        next.works();
        let refused = capacity.admit(ip("192.0.2.1"));
        assert_eq!(refused.unwrap_err(), Rejected::Full);
        let asking = || capacity.admit_asking(ip("192.0.2.1"));
        let after = asking().unwrap();
        after.works();
        assert!(upgraded.standing().is_displaced() && !idle.standing().is_displaced());
        let last = asking().unwrap();
        last.works();
        assert!(idle.standing().is_displaced() && !known.standing().is_displaced());
        assert_eq!(asking().unwrap_err(), Rejected::Full);

        drop((known, idle, upgraded, next, after, last));
        assert_eq!(capacity.connections.load(Ordering::Relaxed), 0);
        assert_eq!(capacity.strangers.len(), 0);
    }

    #[test]
    fn those_that_were_told_to_go_are_bounded() {
        let capacity = Capacity::new(limits(1, 0, 0));
        let came: Vec<_> = (0..=LEAVING_MAX)
            .map(|_| capacity.admit(ip("192.0.2.1")).unwrap())
            .collect();
        let refused = capacity.admit(ip("192.0.2.1"));
        assert_eq!(refused.unwrap_err(), Rejected::Full);
        drop(came);
        assert!(capacity.admit(ip("192.0.2.1")).is_ok());
    }

    #[test]
    fn few_places_are_for_those_that_show_nothing_where_there_are_few() {
        let capacity = Capacity::new(Limits::private());
        let came: Vec<_> = (0..PRIVATE_STRANGERS_MAX + 4)
            .map(|_| capacity.admit(ip("192.0.2.1")).unwrap())
            .collect();
        let displaced = came.iter().filter(|slot| slot.standing().is_displaced());
        assert_eq!(displaced.count(), 4);
    }

    #[test]
    fn one_address_cannot_take_the_room_of_others() {
        let capacity = Capacity::new(limits(10, 1, 0));
        let first = capacity.admit(ip("192.0.2.1")).unwrap();
        let second = capacity.admit(ip("192.0.2.1"));
        assert_eq!(second.unwrap_err(), Rejected::AddressFull);
        assert!(capacity.admit(ip("192.0.2.2")).is_ok());
        drop(first);
        assert!(capacity.admit(ip("192.0.2.1")).is_ok());
        assert!(capacity.by_address.lock().is_empty());
    }

    #[test]
    fn players_behind_a_proxy_count_for_themselves() {
        let capacity = Capacity::new(limits(10, 1, 0));
        let first = capacity.admit(ip("10.0.0.1")).unwrap();
        let second = capacity.admit(ip("10.0.0.1")).unwrap();
        first.count_for(ip("192.0.2.1")).unwrap();
        let again = second.count_for(ip("192.0.2.1"));
        assert_eq!(again.unwrap_err(), Rejected::AddressFull);
        second.count_for(ip("192.0.2.2")).unwrap();
    }

    #[test]
    fn an_address_that_connects_too_often_is_turned_away() {
        let capacity = Capacity::new(limits(10, 0, 1));
        drop(capacity.admit(ip("192.0.2.1")).unwrap());
        let again = capacity.admit(ip("192.0.2.1"));
        assert_eq!(again.unwrap_err(), Rejected::TooOften);
        assert!(capacity.admit(ip("192.0.2.2")).is_ok());
    }

    #[test]
    fn players_never_take_the_descriptors_of_the_database() {
        let text = "Limit  Soft Limit  Hard Limit\nMax open files    20000   40000   files\n";
        assert_eq!(descriptors_max(text), Some(20_000));
        let unlimited = "Max open files  unlimited unlimited files\n";
        assert_eq!(descriptors_max(unlimited), None);
        assert_eq!(share_of(20_000), 19_744);
        assert_eq!(share_of(256), 128);
    }
}
