//! The key set (JWKS) of the game's login: cached, fetched on a schedule, and fetched again when a token names an
//! unknown key.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jsonwebtoken::Algorithm;
use jsonwebtoken::jwk::{Jwk, KeyOperations, PublicKeyUse};
use parking_lot::RwLock;
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::key::Key;
use super::metric::{count_keys, count_refresh};
use super::source::{FetchError, Source};
use super::token::TokenError;
use crate::config::{KeySetSource, PublicKey};

/// Time between two scheduled fetches: a key that is removed from the set is trusted this long, if no fetch fails.
const REFRESH_EVERY: Duration = Duration::from_mins(5);

/// Wait after a failed fetch; doubled with each further failure, up to the maximum.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_mins(1);

/// Time between two fetches that unknown keys cause, so that made-up keys cost the issuer no more than that.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// Maximum number of keys that are used; issuers have two or three. Each may be tried for a token that names none.
const KEYS_MAX: usize = 64;

/// The keys of a set, and their source.
pub(super) struct KeySet {
    source: Source,
    known: RwLock<Arc<Known>>,
    /// Locked during a fetch: there is one at a time.
    turn: Mutex<Turn>,
}

/// The keys from the last fetch that succeeded.
#[derive(Debug, Default)]
pub(super) struct Known {
    keys: Vec<(Option<String>, Key)>,
    /// True after the first fetch.
    is_fetched: bool,
}

/// The times of the last fetches.
#[derive(Debug, Default)]
struct Turn {
    /// Start of the last fetch that succeeded.
    fetched: Option<Instant>,
    /// Start of the last fetch that an unknown key caused.
    asked: Option<Instant>,
    is_failing: bool,
}

/// The next step for an unknown key.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// The set was fetched after the token arrived, so the key is not in it.
    GiveUp,
    /// An unknown key caused a fetch a moment ago: the answer is not known yet.
    Wait,
    Fetch,
}

impl Turn {
    fn next(&self, came: Instant, now: Instant) -> Step {
        if self.fetched.is_some_and(|fetched| fetched >= came) {
            return Step::GiveUp;
        }
        let is_soon = |asked: Instant| now.saturating_duration_since(asked) < ASK_EVERY;
        match self.asked.is_some_and(is_soon) {
            true => Step::Wait,
            false => Step::Fetch,
        }
    }
}

impl KeySet {
    pub(super) fn new(source: &KeySetSource) -> Result<KeySet, rustls::Error> {
        Ok(KeySet {
            source: Source::new(source)?,
            known: RwLock::default(),
            turn: Mutex::default(),
        })
    }

    /// Returns the keys that may have signed a token. An unknown key causes a fetch, but not for every such token.
    ///
    /// # Errors
    /// UnknownKey if the set has no such key at this moment; Unavailable if that is not known.
    pub(super) async fn find(&self, kid: Option<&str>) -> Result<Arc<Known>, TokenError> {
        let came = Instant::now();
        if let Some(known) = self.known(kid) {
            return Ok(known);
        }
        let mut turn = self.turn.lock().await;
        // Another request may have fetched it in the meantime.
        if let Some(known) = self.known(kid) {
            return Ok(known);
        }
        let now = Instant::now();
        match turn.next(came, now) {
            Step::GiveUp => Err(TokenError::UnknownKey),
            Step::Wait => Err(TokenError::Unavailable),
            Step::Fetch => {
                turn.asked = Some(now);
                let fetched = self.fetch(&mut turn).await;
                fetched.map_err(|_| TokenError::Unavailable)?;
                self.known(kid).ok_or(TokenError::UnknownKey)
            }
        }
    }

    /// Fetches the set at once.
    pub(super) async fn refresh(&self) -> Result<(), FetchError> {
        let mut turn = self.turn.lock().await;
        self.fetch(&mut turn).await
    }

    /// Fetches the set on a schedule. Never returns.
    pub(super) async fn keep_fresh(&self) {
        let mut retry = RETRY_FIRST;
        loop {
            match self.refresh().await {
                Ok(()) => {
                    retry = RETRY_FIRST;
                    sleep(REFRESH_EVERY).await;
                }
                Err(_) => {
                    sleep(retry).await;
                    retry = (retry * 2).min(RETRY_LAST);
                }
            }
        }
    }

    fn known(&self, kid: Option<&str>) -> Option<Arc<Known>> {
        let known = self.known.read();
        known.may_have(kid).then(|| Arc::clone(&known))
    }

    /// Fetches the set. A failure keeps the known keys.
    async fn fetch(&self, turn: &mut Turn) -> Result<(), FetchError> {
        let began = Instant::now();
        let fetched = match self.source.fetch().await {
            Ok(bytes) => Known::read(&bytes),
            Err(error) => Err(error),
        };
        count_refresh(fetched.is_ok());
        match fetched {
            Ok(known) => {
                if turn.is_failing || turn.fetched.is_none() {
                    info!(
                        keys = known.keys.len(),
                        "the key set of the game's login has been fetched"
                    );
                }
                turn.fetched = Some(began);
                turn.is_failing = false;
                count_keys(known.keys.len());
                *self.known.write() = Arc::new(known);
                Ok(())
            }
            Err(error) => {
                // Logged once, and not at every try.
                if !turn.is_failing {
                    warn!(%error, "the key set of the game's login could not be fetched; the known keys stay valid");
                }
                turn.is_failing = true;
                Err(error)
            }
        }
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeySet({:?})", self.source)
    }
}

impl Known {
    /// Returns the keys that may have signed a token with this kid; all of them if it names none.
    pub(super) fn candidates<'a>(&'a self, kid: Option<&'a str>) -> impl Iterator<Item = &'a Key> {
        let is_meant = move |id: &Option<String>| kid.is_none() || id.as_deref() == kid;
        let keys = self.keys.iter().filter(move |(id, _)| is_meant(id));
        keys.map(|(_, key)| key)
    }

    fn may_have(&self, kid: Option<&str>) -> bool {
        match kid {
            None => self.is_fetched,
            Some(_) => self.candidates(kid).next().is_some(),
        }
    }

    /// Reads a set. Keys without use here are skipped: issuers keep keys for other purposes there.
    fn read(bytes: &[u8]) -> Result<Known, FetchError> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        let set: Set =
            serde_json::from_slice(bytes).map_err(|error| FetchError::Form(error.to_string()))?;
        let mut keys: Vec<(Option<String>, Key)> = set.keys.into_iter().filter_map(key).collect();
        if keys.is_empty() {
            return Err(FetchError::Empty);
        }
        if keys.len() > KEYS_MAX {
            warn!(
                keys = keys.len(),
                used = KEYS_MAX,
                "the key set has more keys than are used"
            );
            keys.truncate(KEYS_MAX);
        }
        Ok(Known {
            keys,
            is_fetched: true,
        })
    }
}

/// Returns one key of a set, if it verifies signatures of tokens.
fn key(value: serde_json::Value) -> Option<(Option<String>, Key)> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let is_for_signatures = match (&jwk.common.public_key_use, &jwk.common.key_operations) {
        (Some(PublicKeyUse::Encryption | PublicKeyUse::Other(_)), _) => false,
        (_, Some(operations)) => operations.contains(&KeyOperations::Verify),
        (Some(PublicKeyUse::Signature) | None, None) => true,
    };
    if !is_for_signatures {
        return None;
    }
    let mut key = match PublicKey::from_jwk(&jwk) {
        Ok(key) => Key::from(key),
        Err(error) => {
            debug!(%error, kid = jwk.common.key_id, "a key of the key set is not used");
            return None;
        }
    };
    if let Some(named) = jwk.common.key_algorithm {
        let named = Algorithm::try_from(named).ok()?;
        let at = key.algorithms.iter().position(|known| *known == named)?;
        key.algorithms = &key.algorithms[at..=at];
    }
    Some((jwk.common.key_id, key))
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    /// From RFC 8037 (Ed25519) and RFC 7515 (P-256).
    const ED: &str =
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#;
    const EC: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0""#;

    fn read(keys: &[&str]) -> Result<Known, FetchError> {
        Known::read(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes())
    }

    #[track_caller]
    fn check_passed_over(key: &str) {
        assert!(matches!(read(&[key]), Err(FetchError::Empty)), "{key}");
    }

    #[test]
    fn a_key_is_found_by_its_id_and_says_its_algorithm() {
        let ed = format!(r#"{ED},"kid":"a","use":"sig","alg":"EdDSA"}}"#);
        let ec = format!(r#"{EC},"kid":"b","key_ops":["verify"]}}"#);
        let known = read(&[&ed, &ec]).unwrap();

        let algorithms = |kid| {
            let keys = known.candidates(kid);
            keys.flat_map(|key| key.algorithms).collect::<Vec<_>>()
        };
        assert_eq!(algorithms(Some("a")), [&Algorithm::EdDSA]);
        assert_eq!(algorithms(Some("b")), [&Algorithm::ES256]);
        assert_eq!(algorithms(None), [&Algorithm::EdDSA, &Algorithm::ES256]);
        assert!(known.may_have(None));
        assert!(!known.may_have(Some("c")));
    }

    #[test]
    fn what_checks_no_signature_is_passed_over() {
        check_passed_over(&format!(r#"{ED},"use":"enc"}}"#));
        check_passed_over(&format!(r#"{ED},"key_ops":["sign"]}}"#));
        check_passed_over(&format!(r#"{ED},"alg":"RS256"}}"#));
        check_passed_over(&format!(r#"{ED},"alg":"ML-DSA-44"}}"#));
        check_passed_over(
            r#"{"kty":"OKP","crv":"X25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
        );
        check_passed_over(r#"{"kty":"new"}"#);
        check_passed_over("7");
    }

    #[test]
    fn a_secret_in_a_public_set_is_no_secret() {
        check_passed_over(
            r#"{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr0","alg":"HS256"}"#,
        );
    }

    #[test]
    fn what_is_no_set_is_refused() {
        for bytes in ["", "<html>", "[]", "{}", r#"{"keys":{}}"#] {
            let read = Known::read(bytes.as_bytes());
            assert!(matches!(read, Err(FetchError::Form(_))), "{bytes}");
        }
        assert!(matches!(read(&[]), Err(FetchError::Empty)));
    }

    /// Lets time pass until the condition holds, at most two refreshes.
    async fn within_two_refreshes(is_so: impl Fn() -> bool) {
        let looking = async {
            while !is_so() {
                sleep(RETRY_FIRST).await;
            }
        };
        timeout(2 * REFRESH_EVERY, looking).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_is_taken_out_of_the_set_is_believed_for_minutes_and_no_longer() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys.json");
        let write = |kid: &str| {
            let set = format!(r#"{{"keys":[{ED},"kid":"{kid}"}}]}}"#);
            std::fs::write(&file, set).unwrap();
        };
        write("old");
        let set = Arc::new(KeySet::new(&KeySetSource::File(file.clone())).unwrap());
        let kept = Arc::clone(&set);
        let keeping = tokio::spawn(async move { kept.keep_fresh().await });
        let has = |kid| set.known.read().may_have(Some(kid));
        within_two_refreshes(|| has("old")).await;

        write("new");
        within_two_refreshes(|| has("new")).await;

        assert!(!has("old"));
        keeping.abort();
    }

    #[test]
    fn a_key_that_is_not_there_is_asked_for_and_not_all_the_time() {
        let came = Instant::now();
        let later = |seconds| came + Duration::from_secs(seconds);
        let mut turn = Turn::default();
        assert_eq!(turn.next(came, came), Step::Fetch);

        turn.fetched = Some(came);
        turn.asked = Some(came);
        assert_eq!(turn.next(came, later(1)), Step::GiveUp);
        assert_eq!(turn.next(later(1), later(1)), Step::Wait);
        assert_eq!(turn.next(later(4), later(5)), Step::Fetch);
    }
}
