//! Logins of browsers at the admin listener: each has a cookie that it received for the admin token.
//!
//! Only the hashes of the cookies are kept, and only in memory: a restart ends all logins.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use axum::http::header::COOKIE;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;

use crate::id::random_bytes;

/// The cookie of a browser that has logged in.
const COOKIE_NAME: &str = "holdfast_admin";

/// The header that proves that a change comes from a page that may read the answers of this listener.
const CSRF: HeaderName = HeaderName::from_static("x-csrf-token");

/// The lifetime of a login: a working day.
pub(super) const LOGIN_TTL: Duration = Duration::from_hours(12);

/// The most logins at one time: the operators of one hub, with a few browsers each. Beyond it the oldest ends.
const LOGINS_MAX: usize = 64;

/// Separates the two values that are derived from one secret.
const CSRF_DOMAIN: &[u8] = b"holdfast admin csrf\0";

/// The logins since the start of the daemon.
#[derive(Default)]
pub(super) struct Logins {
    /// The end of each login, by the hash of its cookie.
    ends: Mutex<HashMap<[u8; 32], Instant>>,
}

/// The secret in a cookie: 256 random bits.
pub(super) struct LoginSecret(String);

impl Logins {
    pub(super) fn open(&self, now: Instant) -> LoginSecret {
        let secret = LoginSecret(URL_SAFE_NO_PAD.encode(random_bytes::<32>()));
        let mut ends = self.ends.lock();
        ends.retain(|_, end| *end > now);
        while ends.len() >= LOGINS_MAX {
            let Some(oldest) = ends.iter().min_by_key(|(_, end)| **end) else {
                break;
            };
            let oldest = *oldest.0;
            ends.remove(&oldest);
        }
        ends.insert(secret.hash(), now + LOGIN_TTL);
        secret
    }

    /// Returns the login of a request, with its remaining time.
    pub(super) fn of(&self, headers: &HeaderMap, now: Instant) -> Option<(LoginSecret, Duration)> {
        let secret = LoginSecret::read(headers)?;
        let end = *self.ends.lock().get(&secret.hash())?;
        let left = end.checked_duration_since(now)?;
        (!left.is_zero()).then_some((secret, left))
    }

    pub(super) fn close(&self, secret: &LoginSecret) {
        self.ends.lock().remove(&secret.hash());
    }
}

impl LoginSecret {
    fn read(headers: &HeaderMap) -> Option<LoginSecret> {
        let cookies = headers.get_all(COOKIE).iter();
        let pairs = cookies
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'));
        let mut named = pairs.filter_map(|pair| pair.trim().strip_prefix(COOKIE_NAME));
        let value = named.find_map(|rest| rest.strip_prefix('='))?;
        Some(LoginSecret(value.to_owned()))
    }

    fn hash(&self) -> [u8; 32] {
        Sha256::digest(&self.0).into()
    }

    /// Returns the token that a page sends with each change. It is derived from the cookie, which no page can read.
    pub(super) fn csrf(&self) -> String {
        let hash = Sha256::new_with_prefix(CSRF_DOMAIN).chain_update(&self.0);
        URL_SAFE_NO_PAD.encode(hash.finalize())
    }

    /// Returns whether a request proves that its page may read the answers of this listener.
    pub(super) fn is_shown(&self, headers: &HeaderMap) -> bool {
        let shown = headers.get(CSRF);
        shown.is_some_and(|shown| shown.as_bytes().ct_eq(self.csrf().as_bytes()).into())
    }

    /// Returns a `Set-Cookie` that stores the secret. `is_tls`: the page came over TLS, so the
    /// cookie is sent over TLS only.
    pub(super) fn cookie(&self, is_tls: bool) -> HeaderValue {
        set_cookie(&self.0, LOGIN_TTL, is_tls)
    }
}

/// Returns a `Set-Cookie` that removes the secret.
pub(super) fn no_cookie() -> HeaderValue {
    set_cookie("", Duration::ZERO, false)
}

fn set_cookie(value: &str, ttl: Duration, is_tls: bool) -> HeaderValue {
    let secure = if is_tls { "; Secure" } else { "" };
    let text = format!(
        "{COOKIE_NAME}={value}; Path=/admin; Max-Age={}; HttpOnly; SameSite=Strict{secure}",
        ttl.as_secs()
    );
    HeaderValue::try_from(text).expect("base64 and numbers are a header's text")
}

impl fmt::Debug for Logins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Logins({})", self.ends.lock().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_cookie(secret: &LoginSecret) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let cookies = format!("theme=dark; {COOKIE_NAME}={}; x=y", secret.0);
        headers.insert(COOKIE, cookies.parse().unwrap());
        headers
    }

    #[test]
    fn a_login_lasts_half_a_day_and_ends_when_it_is_closed() {
        let (logins, now) = (Logins::default(), Instant::now());
        let secret = logins.open(now);
        let headers = with_cookie(&secret);

        let last = now + LOGIN_TTL - Duration::from_secs(1);
        assert!(logins.of(&headers, last).is_some());
        assert!(logins.of(&headers, now + LOGIN_TTL).is_none());
        assert!(logins.of(&HeaderMap::new(), now).is_none());
        logins.close(&secret);
        assert!(logins.of(&headers, now).is_none());
    }

    #[test]
    fn the_oldest_of_too_many_logins_ends() {
        let (logins, now) = (Logins::default(), Instant::now());
        let later = |number: usize| now + Duration::from_secs(number as u64);
        let all: Vec<_> = (0..=LOGINS_MAX)
            .map(|number| logins.open(later(number)))
            .collect();

        let is_open = |secret| logins.of(&with_cookie(secret), later(LOGINS_MAX)).is_some();
        assert!(!is_open(&all[0]));
        assert!(all[1..].iter().all(is_open));
    }

    #[test]
    fn a_change_shows_what_follows_from_its_own_cookie() {
        let (logins, now) = (Logins::default(), Instant::now());
        let (mine, other) = (logins.open(now), logins.open(now));
        let mut headers = with_cookie(&mine);

        assert!(!mine.is_shown(&headers));
        headers.insert(CSRF, other.csrf().parse().unwrap());
        assert!(!mine.is_shown(&headers));
        headers.insert(CSRF, mine.csrf().parse().unwrap());
        assert!(mine.is_shown(&headers));
        assert_ne!(mine.csrf(), mine.0);
    }

    #[test]
    fn a_cookie_is_for_this_listener_alone() {
        let secret = Logins::default().open(Instant::now());
        let cookie = |is_tls| secret.cookie(is_tls).to_str().unwrap().to_owned();

        for part in [
            "Path=/admin",
            "HttpOnly",
            "SameSite=Strict",
            "Max-Age=43200",
        ] {
            assert!(cookie(false).contains(part), "{part}");
        }
        assert!(cookie(true).ends_with("; Secure"));
        assert!(!cookie(false).contains("Secure"));
        assert!(no_cookie().to_str().unwrap().contains("Max-Age=0"));
    }
}
