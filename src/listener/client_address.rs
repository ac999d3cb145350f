//! The client address of a request: the socket's peer, or the address that a trusted proxy forwards.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::http::HeaderMap;
use ipnet::IpNet;
use parking_lot::Mutex;
use tracing::warn;

use super::socket::Peer;
use crate::limits::Asker;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// The interval between warnings about a proxy that is not configured.
const WARNED_EVERY: Duration = Duration::from_hours(1);

/// Returns whether this address is a trusted proxy.
pub(super) fn is_trusted(address: IpAddr, proxies: &[IpNet]) -> bool {
    let address = address.to_canonical();
    proxies.iter().any(|net| net.contains(&address))
}

/// Returns the address of the client: the right-most one that is not a trusted proxy's.
///
/// Entries further left were written by the client itself, so they prove nothing.
pub fn origin_of(peer: SocketAddr, headers: &HeaderMap, proxies: &[IpNet]) -> SocketAddr {
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    if !is_trusted(peer.ip(), proxies) {
        return peer;
    }
    let mut client = peer;
    let values = headers.get_all(FORWARDED_FOR).iter().rev();
    let hops = values.flat_map(|value| value.to_str().unwrap_or("?").rsplit(','));
    // An empty entry of a list means nothing (RFC 9110, 5.6.1).
    for hop in hops.map(str::trim).filter(|hop| !hop.is_empty()) {
        // No trusted proxy writes an invalid address: stop before it.
        let Some(address) = parse_hop(hop) else {
            break;
        };
        client = address;
        if !is_trusted(address.ip(), proxies) {
            break;
        }
    }
    client
}

/// Returns the address to which a request is attributed. None without a socket, or behind a proxy that is not
/// configured, because all its clients would share one limit.
pub fn asker(request: &Request) -> Asker {
    let peer = request.extensions().get::<Peer>()?;
    let proxies = peer.slot.proxies();
    if is_unknown_proxy(peer.address.ip(), request.headers(), proxies) {
        warn_of_unknown_proxy(peer.address.ip());
        return None;
    }
    let client = origin_of(peer.address, request.headers(), proxies);
    Some(client.ip())
}

/// Returns whether a peer must be an unconfigured proxy on this machine or its network: only
/// proxies there forward addresses.
fn is_unknown_proxy(peer: IpAddr, headers: &HeaderMap, proxies: &[IpNet]) -> bool {
    headers.contains_key(FORWARDED_FOR) && is_near(peer) && !is_trusted(peer, proxies)
}

/// Returns whether an address belongs to this machine or to a private network.
fn is_near(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// Warns at once, and then once in an hour.
fn warn_of_unknown_proxy(peer: IpAddr) {
    static WARNED: Mutex<Option<Instant>> = Mutex::new(None);
    let mut warned = WARNED.lock();
    if warned.is_none_or(|at| at.elapsed() >= WARNED_EVERY) {
        *warned = Some(Instant::now());
        warn!(
            %peer,
            "a peer that is not in server.trusted_proxies sends X-Forwarded-For: limits per address do not hold for \
             what comes through it; name it in server.trusted_proxies if it is your proxy"
        );
    }
}

/// Parses `address`, `address:port`, `[v6]` or `[v6]:port`; a missing port is 0.
fn parse_hop(text: &str) -> Option<SocketAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let address = match bare.unwrap_or(text).parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, 0),
        Err(_) => text.parse().ok()?,
    };
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(peer: &str, forwarded: &[&str], client: &str) {
        let proxies = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(FORWARDED_FOR, value.parse().unwrap());
        }
        let found = origin_of(peer.parse().unwrap(), &headers, &proxies);
        assert_eq!(found.ip(), client.parse::<IpAddr>().unwrap());
    }

    #[test]
    fn a_stranger_cannot_choose_its_address() {
        check("203.0.113.9:1000", &["198.51.100.1"], "203.0.113.9");
        check("10.0.0.1:1000", &["1.1.1.1, 203.0.113.9"], "203.0.113.9");
    }

    #[test]
    fn trusted_proxies_are_skipped_from_the_right() {
        check("10.0.0.1:1", &["203.0.113.9, 10.2.3.4"], "203.0.113.9");
        check("10.0.0.1:1", &["203.0.113.9", "10.2.3.4"], "203.0.113.9");
        check("10.0.0.1:1", &["203.0.113.9, ,10.2.3.4,"], "203.0.113.9");
        check("10.0.0.1:1", &["203.0.113.9", ""], "203.0.113.9");
        check("[::ffff:10.0.0.1]:1", &["203.0.113.9:4711"], "203.0.113.9");
        check("10.0.0.1:1", &["[2001:db8::1]:80"], "2001:db8::1");
        check("10.0.0.1:1", &["10.9.9.9"], "10.9.9.9");
    }

    #[test]
    fn a_proxy_that_nobody_has_configured_is_known_by_what_it_sends_and_where_it_is() {
        let proxies = ["10.0.0.0/8".parse().unwrap()];
        let mut headers = HeaderMap::new();
        let is_unknown = |peer: &str, headers: &HeaderMap| {
            is_unknown_proxy(peer.parse().unwrap(), headers, &proxies)
        };
        assert!(!is_unknown("127.0.0.1", &headers));
        headers.append(FORWARDED_FOR, "203.0.113.9".parse().unwrap());
        for near in [
            "127.0.0.1",
            "::1",
            "192.168.1.2",
            "::ffff:172.16.0.1",
            "fd00::1",
            "fe80::1",
        ] {
            assert!(is_unknown(near, &headers), "{near}");
        }
        // A client cannot bypass the limits with a header.
        for other in ["203.0.113.9", "10.0.0.1", "2001:db8::1"] {
            assert!(!is_unknown(other, &headers), "{other}");
        }
    }

    #[test]
    fn what_is_no_address_ends_the_search() {
        check("10.0.0.1:1", &[], "10.0.0.1");
        check("10.0.0.1:1", &["unknown"], "10.0.0.1");
        check(
            "10.0.0.1:1",
            &["203.0.113.9, unknown, 10.2.2.2"],
            "10.2.2.2",
        );
    }
}
