//! The keys of seat tokens: the first one signs, all of them verify.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use metrics::{Counter, counter};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::fault::SeatTokenError;
use super::key::{Key, KeyError};
use crate::clock::{HubTime, Reading, WallTime};
use crate::config::SeatTokenConfig;
use crate::id::{RoomCode, RoomId, SeatToken, SessionId, UserId};

/// The `typ` of a seat token.
const TYPE: &str = "seat+jwt";

const ISSUER: &str = "holdfast";

/// Maximum size of a token: twice the longest one, whose user id has 128 bytes, each of them escaped.
const TOKEN_BYTES_MAX: usize = 4096;

const MILLIS: i64 = 1_000;

/// The claims of a seat token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    pub user: UserId,
    pub room: RoomId,
    pub code: RoomCode,
    pub seat: u16,
    pub team: Option<Arc<str>>,
    /// The session that held the seat when the token was signed.
    pub session: SessionId,
    pub generation: i64,
}

/// A signed token.
#[derive(Debug, Clone)]
pub struct Signed {
    pub token: SeatToken,
    pub expires_at: WallTime,
}

/// The keys, and the lifetime of the tokens.
pub struct Keyring {
    kid: String,
    sign: EncodingKey,
    check: HashMap<String, DecodingKey>,
    validation: Validation,
    key_set: Arc<str>,
    ttl: Duration,
    signed: Counter,
}

/// The claims in JSON.
#[derive(Serialize, Deserialize)]
struct Body {
    iss: String,
    iat: i64,
    exp: i64,
    user: String,
    room: Uuid,
    code: String,
    seat: u16,
    team: Option<Arc<str>>,
    session: Uuid,
    generation: i64,
    /// `None` in a token of an older version.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    hub: Option<SignedAt>,
}

/// The relation of hub time to the wall clock when a token was signed. With it the hub checks the expiry by a clock
/// that nobody can set.
#[derive(Serialize, Deserialize)]
struct SignedAt {
    /// The run of the daemon: hub time is different in another one.
    run: i64,
    /// Whole seconds by which the wall clock was ahead, so that tokens of one second are the same.
    ahead: i64,
}

impl Body {
    fn is_expired(&self, now: Reading) -> bool {
        let end = self.exp.saturating_mul(MILLIS);
        match &self.hub {
            Some(signed) if signed.run == now.run => {
                let ahead = signed.ahead.saturating_mul(MILLIS);
                now.hub >= HubTime(end.saturating_sub(ahead))
            }
            Some(_) | None => now.wall >= WallTime(end),
        }
    }
}

/// The fields of a header, before anything is verified.
#[derive(Deserialize)]
struct Head {
    alg: Option<String>,
    typ: Option<String>,
    kid: Option<String>,
}

fn head(text: &str) -> Option<Head> {
    if text.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let (head, _) = text.split_once('.')?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(head).ok()?).ok()
}

impl Keyring {
    /// Reads the configured keys, or, if there are none, the hub's own, which `own` returns with its origin. Call it
    /// after the metrics recorder is installed.
    pub fn open(
        config: &SeatTokenConfig,
        own: impl FnOnce() -> Result<(String, String), KeyError>,
    ) -> Result<Keyring, KeyError> {
        let mut texts = Vec::new();
        for path in &config.keys {
            let text = fs::read_to_string(path).map_err(|source| KeyError::Unreadable {
                path: path.clone(),
                source,
            })?;
            texts.push((text, path.display().to_string()));
        }
        if texts.is_empty() {
            texts.push(own()?);
        }
        Keyring::new(&texts, config.ttl)
    }

    fn new(texts: &[(String, String)], ttl: Duration) -> Result<Keyring, KeyError> {
        let mut first = None;
        let mut check = HashMap::new();
        let mut public = Vec::new();
        for (text, origin) in texts {
            let key = Key::read(text, origin)?;
            if first.is_none() {
                let sign = key.sign.ok_or_else(|| KeyError::SignsNothing {
                    origin: origin.clone(),
                })?;
                first = Some((key.kid.clone(), sign));
            }
            if check.insert(key.kid, key.check).is_some() {
                return Err(KeyError::Twice {
                    origin: origin.clone(),
                });
            }
            public.push(key.public);
        }
        let (kid, sign) = first.expect("there is a key, configured or the hub's own");
        let key_set = serde_json::to_string(&JwkSet { keys: public });
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "iss"]);
        // Checked below, by hub time if the token was signed in this run: changing the wall clock ends no token.
        validation.validate_exp = false;
        Ok(Keyring {
            kid,
            sign,
            check,
            validation,
            key_set: key_set.expect("a key set has text only").into(),
            ttl,
            signed: counter!("holdfast_seat_tokens_signed_total"),
        })
    }

    /// Returns the lifetime of a token.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Returns the public keys ([RFC 7517](https://www.rfc-editor.org/rfc/rfc7517)).
    pub fn key_set(&self) -> Arc<str> {
        Arc::clone(&self.key_set)
    }

    /// Signs the claims of a seat's holder. Nothing is written.
    ///
    /// # Panics
    /// Never: the key was tested when it was read.
    pub fn sign(&self, claims: &Claims, now: Reading) -> Signed {
        let expires_at = now.wall.plus(self.ttl).0.saturating_add(MILLIS - 1) / MILLIS;
        let body = Body {
            iss: ISSUER.to_owned(),
            iat: now.wall.0 / MILLIS,
            exp: expires_at,
            user: claims.user.as_str().to_owned(),
            room: claims.room.0,
            code: claims.code.as_str().to_owned(),
            seat: claims.seat,
            team: claims.team.clone(),
            session: claims.session.0,
            generation: claims.generation,
            hub: Some(SignedAt {
                run: now.run,
                ahead: now.wall.0.saturating_sub(now.hub.0) / MILLIS,
            }),
        };
        let header = Header {
            typ: Some(TYPE.to_owned()),
            kid: Some(self.kid.clone()),
            ..Header::new(Algorithm::EdDSA)
        };
        let token = jsonwebtoken::encode(&header, &body, &self.sign);
        self.signed.increment(1);
        Signed {
            token: SeatToken::new(&token.expect("a key that was read signs")),
            expires_at: WallTime(expires_at.saturating_mul(MILLIS)),
        }
    }

    /// Returns the claims of a token, if one of the keys signed it and it has not expired.
    pub fn check(&self, text: &str, now: Reading) -> Result<Claims, SeatTokenError> {
        let head = head(text).ok_or(SeatTokenError::Malformed)?;
        if head.typ.as_deref() != Some(TYPE) {
            return Err(SeatTokenError::Malformed);
        }
        if head.alg.as_deref() != Some("EdDSA") {
            return Err(SeatTokenError::Algorithm);
        }
        let key = head.kid.and_then(|kid| self.check.get(&kid));
        let key = key.ok_or(SeatTokenError::UnknownKey)?;
        let checked = jsonwebtoken::decode::<Body>(text, key, &self.validation);
        let body = checked
            .map_err(|error| match *error.kind() == ErrorKind::InvalidSignature {
                true => SeatTokenError::Signature,
                false => SeatTokenError::Malformed,
            })?
            .claims;
        if body.is_expired(now) {
            return Err(SeatTokenError::Expired);
        }
        Ok(Claims {
            user: UserId::parse(&body.user).map_err(|_| SeatTokenError::Malformed)?,
            room: RoomId(body.room),
            code: body.code.parse().map_err(|_| SeatTokenError::Malformed)?,
            seat: body.seat,
            team: body.team,
            session: SessionId(body.session),
            generation: body.generation,
        })
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring")
            .field("kid", &self.kid)
            .field("ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::new_key;

    const NOW: Reading = Reading {
        hub: HubTime(1_763_718_000_250),
        wall: WallTime(1_763_718_000_250),
        run: 7,
    };

    fn later(millis: i64) -> Reading {
        Reading {
            hub: HubTime(NOW.hub.0 + millis),
            wall: WallTime(NOW.wall.0 + millis),
            ..NOW
        }
    }

    /// The bytes before the 32 bytes of a public Ed25519 key.
    const SPKI_HEAD: [u8; 12] = [
        0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
    ];

    fn keyring(keys: &[&str]) -> Result<Keyring, KeyError> {
        let texts: Vec<_> = keys
            .iter()
            .map(|key| ((*key).to_owned(), "the test".to_owned()))
            .collect();
        Keyring::new(&texts, Duration::from_secs(60))
    }

    fn claims() -> Claims {
        Claims {
            user: UserId::parse("ana").unwrap(),
            room: RoomId::new(),
            code: "K7QX2P".parse().unwrap(),
            seat: 1,
            team: Some("red".into()),
            session: SessionId::new(),
            generation: 7,
        }
    }

    /// Returns a token with changed parts.
    fn forged(token: &str, head: Option<&str>, signature: Option<&str>) -> String {
        let parts: Vec<&str> = token.split('.').collect();
        let head = head.map_or(parts[0].to_owned(), |head| URL_SAFE_NO_PAD.encode(head));
        format!("{head}.{}.{}", parts[1], signature.unwrap_or(parts[2]))
    }

    #[test]
    fn what_was_signed_reads_back_until_it_expires() {
        let keyring = keyring(&[&new_key()]).unwrap();
        let claims = claims();

        let signed = keyring.sign(&claims, NOW);
        let token = signed.token.reveal();

        assert_eq!(keyring.check(token, NOW), Ok(claims));
        assert_eq!(signed.expires_at, WallTime(1_763_718_061_000));
        assert!(keyring.check(token, later(60_749)).is_ok());
        assert_eq!(
            keyring.check(token, later(60_750)),
            Err(SeatTokenError::Expired)
        );
    }

    #[test]
    fn a_wall_clock_that_is_set_ends_no_token_of_this_run_and_prolongs_none() {
        const DAY: i64 = 86_400_000;
        let keyring = keyring(&[&new_key()]).unwrap();
        let wrong = |by: i64, now: Reading| Reading {
            wall: WallTime(now.wall.0 + by),
            ..now
        };
        let token = keyring.sign(&claims(), NOW).token;
        let early = keyring.sign(&claims(), wrong(2 * DAY, NOW)).token;

        assert!(keyring.check(token.reveal(), wrong(2 * DAY, NOW)).is_ok());
        let over = keyring.check(early.reveal(), later(61_000));
        assert_eq!(over, Err(SeatTokenError::Expired));
        let next_run = Reading {
            run: 8,
            ..later(61_000)
        };
        let over = keyring.check(token.reveal(), next_run);
        assert_eq!(over, Err(SeatTokenError::Expired));
    }

    #[test]
    fn a_token_that_was_touched_is_refused_by_what_is_wrong_with_it() {
        let (own, foreign) = (new_key(), new_key());
        let hub = keyring(&[&own]).unwrap();
        let token = hub.sign(&claims(), NOW).token;
        let token = token.reveal();
        let kid = &hub.kid;
        let other = keyring(&[&foreign]).unwrap().sign(&claims(), NOW).token;
        let head =
            |alg: &str, typ: &str| format!(r#"{{"alg":"{alg}","typ":"{typ}","kid":"{kid}"}}"#);
        let none = forged(token, Some(&head("none", TYPE)), Some(""));
        let hmac = forged(token, Some(&head("HS256", TYPE)), None);
        let plain = forged(token, Some(&head("EdDSA", "JWT")), None);
        let signature = other.reveal().rsplit('.').next();

        for (text, fault) in [
            (none.as_str(), SeatTokenError::Algorithm),
            (&hmac, SeatTokenError::Algorithm),
            (&plain, SeatTokenError::Malformed),
            (other.reveal(), SeatTokenError::UnknownKey),
            (&forged(token, None, signature), SeatTokenError::Signature),
            (&token[..token.len() - 2], SeatTokenError::Signature),
            (&token[..token.len() / 2], SeatTokenError::Malformed),
            (&token[..10], SeatTokenError::Malformed),
            ("", SeatTokenError::Malformed),
            ("a.b.c", SeatTokenError::Malformed),
            (&"a".repeat(TOKEN_BYTES_MAX + 1), SeatTokenError::Malformed),
        ] {
            assert_eq!(hub.check(text, NOW), Err(fault), "{text}");
        }
    }

    #[test]
    fn the_first_key_signs_and_all_check() {
        let (older, newer) = (new_key(), new_key());
        let before = keyring(&[&older]).unwrap().sign(&claims(), NOW).token;
        let rotated = keyring(&[&newer, &older]).unwrap();
        let after = rotated.sign(&claims(), NOW).token;

        assert!(rotated.check(before.reveal(), NOW).is_ok());
        assert!(rotated.check(after.reveal(), NOW).is_ok());
        let only_older = keyring(&[&older]).unwrap();
        assert_eq!(
            only_older.check(after.reveal(), NOW),
            Err(SeatTokenError::UnknownKey)
        );
        let set: serde_json::Value = serde_json::from_str(&rotated.key_set()).unwrap();
        assert_eq!(set["keys"][0]["kid"], rotated.kid);
        assert_eq!(set["keys"][1]["kid"], only_older.kid);
        assert_eq!(set["keys"][0]["kty"], "OKP");
        assert!(set["keys"][0].get("d").is_none(), "{set}");
    }

    #[test]
    fn a_public_key_checks_and_does_not_sign() {
        let private = new_key();
        let set = keyring(&[&private]).unwrap().key_set();
        let set: serde_json::Value = serde_json::from_str(&set).unwrap();
        let x = URL_SAFE_NO_PAD.decode(set["keys"][0]["x"].as_str().unwrap());
        let der = [SPKI_HEAD.as_slice(), &x.unwrap()].concat();
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        let public = format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n");
        let token = keyring(&[&private]).unwrap().sign(&claims(), NOW).token;

        let rotated = keyring(&[&new_key(), &public]).unwrap();

        assert!(rotated.check(token.reveal(), NOW).is_ok());
        assert!(matches!(
            keyring(&[&public]),
            Err(KeyError::SignsNothing { .. })
        ));
        assert!(matches!(keyring(&["none"]), Err(KeyError::NotAKey { .. })));
        assert!(matches!(
            keyring(&[&private, &public]),
            Err(KeyError::Twice { .. })
        ));
    }
}
