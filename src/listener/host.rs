//! Checks before a route: the host that a request names, and the origin of the page that sends it.
//!
//! DNS rebinding points a web page's own name to 127.0.0.1, so that its browser takes the page and a hub there for
//! the same origin. Such a request names the page's host, by which it is recognized.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{Request, State};
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::client_address::origin_of;
use super::problem::Problem;
use super::socket::Peer;
use crate::config::{PageOrigin, ServerConfig};
use crate::limits::subscriber;

/// The most characters of a host that a refusal repeats.
const SHOWN_CHARS_MAX: usize = 60;

/// The hosts that a request through the loopback interface may name. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HostRule {
    /// The hosts of the allowed origins, in lower case.
    allowed: Arc<[String]>,
    is_any_allowed: bool,
    is_logged: Arc<AtomicBool>,
}

impl HostRule {
    pub fn new(config: &ServerConfig) -> HostRule {
        let origins = config.allowed_origins.iter();
        let hosts = origins.filter_map(|origin| origin.split_once("://"));
        HostRule {
            allowed: hosts
                .map(|(_, rest)| name(rest.trim_end_matches('/')))
                .filter(|host| !host.is_empty())
                .collect(),
            is_any_allowed: config.allowed_origins.iter().any(|origin| origin == "*"),
            is_logged: Arc::default(),
        }
    }

    /// Returns the rule of the operators' listener. It ignores `*`: pages of all origins may
    /// play, but not operate the hub.
    pub fn private(config: &ServerConfig) -> HostRule {
        HostRule {
            is_any_allowed: false,
            ..HostRule::new(config)
        }
    }

    /// Returns the host that a request names but must not.
    fn foreign(&self, request: &Request) -> Option<String> {
        // Only a router that is called without a listener has no peer.
        let peer = request.extensions().get::<Peer>()?;
        if self.is_any_allowed || !is_loopback(peer.local) {
            return None;
        }
        let is_foreign = |host: &String| !is_own_name(host) && !self.allowed.contains(host);
        hosts(request.headers(), request.uri().host()).find(is_foreign)
    }

    /// Logs once: an operator whose proxy forwards the public name needs the hint, and a rebound page repeats itself.
    fn log(&self, host: &str) {
        if !self.is_logged.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                host,
                key = "server.allowed_origins",
                "a request to the loopback interface named another host and was refused (421); if a proxy passes this \
                 name on, add its origin to server.allowed_origins"
            );
        }
    }
}

/// Refuses requests through the loopback interface that name a foreign host.
pub async fn check_host(State(rule): State<HostRule>, request: Request, next: Next) -> Response {
    match rule.foreign(&request) {
        None => next.run(request).await,
        Some(host) => {
            let host: String = host.chars().take(SHOWN_CHARS_MAX).collect();
            rule.log(&host);
            Problem::misdirected(&host).into_response()
        }
    }
}

/// Returns whether the browser states that a page of the requested host sent this.
pub fn is_of_own_page(headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(ORIGIN).iter();
    let origin = origins.next().filter(|_| origins.next().is_none());
    let origin = origin.and_then(|origin| PageOrigin::parse(origin.to_str().ok()?));
    origin.is_some_and(|origin| is_of_host(&origin, headers.get(HOST)))
}

/// Returns whether an origin is that of the host that a request names.
pub(crate) fn is_of_host(origin: &PageOrigin, host: Option<&HeaderValue>) -> bool {
    let (Some(scheme), Some(Ok(host))) = (origin.scheme(), host.map(HeaderValue::to_str)) else {
        return false;
    };
    // The host may leave out the usual port of the page's scheme, so it is read as if it had it.
    let host = PageOrigin::parse(&format!("{scheme}://{host}"));
    origin.host().is_some() && host.as_ref() == Some(origin)
}

/// Returns the address of a request for the limits on secrets. A peer that sends X-Forwarded-For but is not trusted
/// is taken as the client. None without a socket.
pub fn caller_address(request: &Request) -> Option<IpAddr> {
    let peer = request.extensions().get::<Peer>()?;
    let client = origin_of(peer.address, request.headers(), peer.slot.proxies());
    Some(subscriber(client.ip()))
}

/// Returns whether a request comes from this machine and names it, which a rebound page cannot do.
pub fn is_from_here(peer: &Peer, headers: &HeaderMap) -> bool {
    is_loopback(peer.address) && hosts(headers, None).all(|host| is_own_name(&host))
}

/// Returns the hosts that a request names. A browser names one; a client that names none is not a web page.
fn hosts(headers: &HeaderMap, of_target: Option<&str>) -> impl Iterator<Item = String> {
    let of_header = headers.get_all(HOST).into_iter();
    // Invalid text is no host, and an empty one is none.
    let of_header = of_header.map(|host| host.to_str().unwrap_or("?"));
    let named = of_header.chain(of_target).map(name);
    let named: Vec<String> = named.filter(|host| !host.is_empty()).collect();
    named.into_iter()
}

/// Returns the name in `name[:port]`, in lower case.
fn name(authority: &str) -> String {
    let end = match authority.rfind(']') {
        Some(bracket) => bracket + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let name = authority[..end].trim().to_ascii_lowercase();
    name.strip_suffix('.').map(str::to_owned).unwrap_or(name)
}

/// Returns whether a host is an address, or a name that always means this machine: no page elsewhere can have it.
fn is_own_name(host: &str) -> bool {
    let inside = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    host == "localhost"
        || host.ends_with(".localhost")
        || inside.unwrap_or(host).parse::<IpAddr>().is_ok()
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_without_its_port() {
        for (text, expected) in [
            ("localhost:7450", "localhost"),
            ("LOCALHOST", "localhost"),
            ("localhost.", "localhost"),
            ("127.0.0.1:80", "127.0.0.1"),
            ("[::1]:7450", "[::1]"),
            ("[::1]", "[::1]"),
            ("evil.example:7450", "evil.example"),
            ("", ""),
        ] {
            assert_eq!(name(text), expected, "{text}");
        }
    }

    #[test]
    fn an_address_and_a_loopback_name_are_this_machines_and_nothing_like_them() {
        for own in [
            "localhost",
            "game.localhost",
            "127.0.0.1",
            "10.1.2.3",
            "[::1]",
        ] {
            assert!(is_own_name(own), "{own}");
        }
        for foreign in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evillocalhost",
            "evil@127.0.0.1",
            "?",
            "[evil]",
        ] {
            assert!(!is_own_name(foreign), "{foreign}");
        }
    }
}
