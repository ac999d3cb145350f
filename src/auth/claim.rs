//! The claims of a token, read after its signature is checked, and their limits.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::token::{SubscriptionError, TokenError};
use crate::id::{UserId, parse_name};
use crate::wire::{DEPTH_MAX, Overrides, is_deeper_than};

/// Maximum size of `info`, in bytes: it is sent with every publication of its bearer.
const INFO_BYTES_MAX: usize = 4096;

/// The identity of a user, from the game's login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    pub user: UserId,
    /// The `name` in the info, if it can be shown.
    pub name: Option<Arc<str>>,
    /// The connection info that other members see: JSON on one line.
    pub info: Option<Arc<str>>,
    /// Whole seconds until the connection needs a new token; `None` if it never does.
    pub ttl: Option<u32>,
    /// Channels that the connection is subscribed to from the start.
    pub channels: BTreeMap<Arc<str>, Grant>,
    /// For the hub only: JSON on one line.
    pub meta: Option<Arc<str>>,
}

/// Permission to subscribe to a channel, regardless of its kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grant {
    /// The subscription info that other members see: JSON on one line.
    pub info: Option<Arc<str>>,
    /// Data for the subscriber in the reply: JSON on one line.
    pub data: Option<Arc<str>>,
    pub overrides: Overrides,
    /// Whole seconds until the subscription needs a new token; `None` if it never does.
    pub ttl: Option<u32>,
}

/// The claims of a connection token. The library checks `aud`, `iss` and `nbf`.
#[derive(Debug, Deserialize)]
pub(super) struct LoginClaims {
    sub: Option<String>,
    exp: Option<f64>,
    expire_at: Option<f64>,
    info: Option<Box<RawValue>>,
    b64info: Option<String>,
    channels: Option<Vec<String>>,
    subs: Option<BTreeMap<String, OptionClaims>>,
    meta: Option<Box<RawValue>>,
    channel: Option<IgnoredAny>,
}

/// The claims of a subscription token.
#[derive(Debug, Deserialize)]
pub(super) struct SubscriptionClaims {
    sub: Option<String>,
    channel: Option<String>,
    exp: Option<f64>,
    expire_at: Option<f64>,
    // Not flattened: that would lose the text as it was written.
    info: Option<Box<RawValue>>,
    b64info: Option<String>,
    data: Option<Box<RawValue>>,
    b64data: Option<String>,
    #[serde(rename = "override")]
    overrides: Option<Overrides>,
}

/// The claims for one channel.
#[derive(Debug, Deserialize)]
struct OptionClaims {
    info: Option<Box<RawValue>>,
    b64info: Option<String>,
    data: Option<Box<RawValue>>,
    b64data: Option<String>,
    #[serde(rename = "override")]
    overrides: Option<Overrides>,
}

impl LoginClaims {
    /// Reads the bearer's identity. `now` is in seconds since 1970.
    pub(super) fn read(self, now: u64) -> Result<Login, TokenError> {
        if self.channel.is_some() {
            let detail = "channel claim makes it a subscription token, which opens no connection";
            return Err(TokenError::Claim(detail.into()));
        }
        let info = info(self.info.as_deref(), self.b64info.as_deref())?;
        Ok(Login {
            user: user(self.sub.as_deref())?,
            name: info.as_deref().and_then(name),
            info,
            ttl: ttl(self.exp, self.expire_at, now)?,
            channels: channels(self.subs, self.channels)?,
            meta: json("meta", self.meta.as_deref(), None)?,
        })
    }
}

impl SubscriptionClaims {
    /// Reads the permission, if the token is for this user and this channel.
    pub(super) fn read(
        self,
        user: &UserId,
        channel: &str,
        now: u64,
    ) -> Result<Grant, SubscriptionError> {
        if self.sub.as_deref() != Some(user.as_str()) || self.channel.as_deref() != Some(channel) {
            return Err(SubscriptionError::Foreign);
        }
        let ttl = ttl(self.exp, self.expire_at, now)?;
        let options = OptionClaims {
            info: self.info,
            b64info: self.b64info,
            data: self.data,
            b64data: self.b64data,
            overrides: self.overrides,
        };
        let grant = options.read()?;
        Ok(Grant { ttl, ..grant })
    }
}

impl OptionClaims {
    fn read(self) -> Result<Grant, TokenError> {
        Ok(Grant {
            info: info(self.info.as_deref(), self.b64info.as_deref())?,
            data: json("data", self.data.as_deref(), self.b64data.as_deref())?,
            overrides: self.overrides.unwrap_or_default(),
            ttl: None,
        })
    }
}

/// Reads the user. Everything here belongs to one, so a token must name it.
fn user(sub: Option<&str>) -> Result<UserId, TokenError> {
    let Some(sub) = sub.filter(|sub| !sub.is_empty()) else {
        let detail = "sub claim is missing: it names the user of the token";
        return Err(TokenError::Claim(detail.into()));
    };
    UserId::parse(sub)
        .map_err(|error| TokenError::Claim(format!("sub claim is wrong: {error}").into()))
}

/// Reads the channels of the connection. `subs` wins over `channels`.
fn channels(
    subs: Option<BTreeMap<String, OptionClaims>>,
    channels: Option<Vec<String>>,
) -> Result<BTreeMap<Arc<str>, Grant>, TokenError> {
    match subs.filter(|subs| !subs.is_empty()) {
        Some(subs) => subs
            .into_iter()
            .map(|(channel, options)| Ok((channel.into(), options.read()?)))
            .collect(),
        None => Ok(channels
            .unwrap_or_default()
            .into_iter()
            .map(|channel| (channel.into(), Grant::default()))
            .collect()),
    }
}

/// Returns the lifetime of the permission: until `expire_at`, without end if that is 0, else until `exp`.
fn ttl(exp: Option<f64>, expire_at: Option<f64>, now: u64) -> Result<Option<u32>, TokenError> {
    let until = match expire_at {
        Some(expire_at) => Some(expire_at).filter(|at| *at > 0.0),
        None => exp,
    };
    let Some(until) = until else {
        return Ok(None);
    };
    // The cast saturates: a number that is no possible time becomes one.
    let left = (until as u64).saturating_sub(now);
    match u32::try_from(left) {
        Ok(0) => Err(TokenError::Expired),
        Ok(left) => Ok(Some(left)),
        Err(_) => Ok(Some(u32::MAX)),
    }
}

/// Reads the name that other players see. A name that cannot be shown does not keep its bearer out.
fn name(info: &str) -> Option<Arc<str>> {
    #[derive(Deserialize)]
    struct Info {
        name: Option<String>,
    }
    let info: Info = serde_json::from_str(info).ok()?;
    parse_name(&info.name?).ok()
}

fn info(raw: Option<&RawValue>, b64: Option<&str>) -> Result<Option<Arc<str>>, TokenError> {
    let info = json("info", raw, b64)?;
    match &info {
        Some(text) if text.len() > INFO_BYTES_MAX => {
            let bytes = text.len();
            let detail =
                format!("info claim has at most {INFO_BYTES_MAX} bytes, this one has {bytes}");
            Err(TokenError::Claim(detail.into()))
        }
        Some(_) | None => Ok(info),
    }
}

/// Reads a value that is passed on unchanged, on one line. The form in base64 (with padding) wins.
fn json(
    claim: &'static str,
    raw: Option<&RawValue>,
    b64: Option<&str>,
) -> Result<Option<Arc<str>>, TokenError> {
    let decoded;
    let text = match (b64.filter(|b64| !b64.is_empty()), raw) {
        (Some(b64), _) => {
            decoded = decode(b64).ok_or_else(|| {
                let detail = format!("b64{claim} claim is not JSON in base64 with padding");
                TokenError::Claim(detail.into())
            })?;
            decoded.as_str()
        }
        (None, Some(raw)) => raw.get(),
        (None, None) => return Ok(None),
    };
    if is_deeper_than(text.as_bytes(), DEPTH_MAX) {
        let detail = format!("{claim} claim nests more than {DEPTH_MAX} arrays and objects");
        return Err(TokenError::Claim(detail.into()));
    }
    // Inside a JSON string a line break is always escaped, so this replaces white space only.
    Ok(Some(text.replace(['\n', '\r'], " ").into()))
}

fn decode(b64: &str) -> Option<String> {
    let text = String::from_utf8(STANDARD.decode(b64).ok()?).ok()?;
    serde_json::from_str::<&RawValue>(&text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000;

    fn login(claims: &str) -> Result<Login, TokenError> {
        let claims: LoginClaims = serde_json::from_str(claims).unwrap();
        claims.read(NOW)
    }

    fn subscription(claims: &str) -> Result<Grant, SubscriptionError> {
        let claims: SubscriptionClaims = serde_json::from_str(claims).unwrap();
        claims.read(&UserId::parse("u1").unwrap(), "table:K7QX2P", NOW)
    }

    #[track_caller]
    fn refused<T: std::fmt::Debug>(read: Result<T, TokenError>, part: &str) {
        let error = read.unwrap_err();
        assert!(matches!(error, TokenError::Claim(_)), "{error:?}");
        assert!(error.to_string().contains(part), "{error}");
    }

    #[test]
    fn a_token_names_its_user() {
        assert_eq!(login(r#"{"sub":"u1"}"#).unwrap().user.as_str(), "u1");
        for claims in ["{}", r#"{"sub":""}"#, r#"{"sub":null}"#] {
            refused(login(claims), "sub claim is missing");
        }
        let long = format!(r#"{{"sub":"{}"}}"#, "x".repeat(129));
        refused(login(&long), "at most 128 bytes");
        assert!(serde_json::from_str::<LoginClaims>(r#"{"sub":7}"#).is_err());
    }

    #[test]
    fn a_token_for_a_channel_opens_no_connection() {
        refused(
            login(r#"{"sub":"u1","channel":"table:K7QX2P"}"#),
            "channel claim",
        );
        refused(login(r#"{"sub":"u1","channel":""}"#), "channel claim");
    }

    #[test]
    fn info_is_kept_as_it_was_written_on_one_line_and_names_the_user() {
        let read =
            login("{\"sub\":\"u1\",\"info\":{\"name\": \" Ana \",\r\n\"level\":1.50}}").unwrap();
        assert_eq!(read.name.as_deref(), Some("Ana"));
        assert_eq!(
            read.info.as_deref(),
            Some(r#"{"name": " Ana ",  "level":1.50}"#)
        );
        for info in ["null", "7", "[1]", r#"{"name":7}"#, r#"{"name":" "}"#] {
            let read = login(&format!(r#"{{"sub":"u1","info":{info}}}"#)).unwrap();
            assert_eq!(read.name, None, "{info}");
        }
        assert_eq!(login(r#"{"sub":"u1","info":null}"#).unwrap().info, None);
    }

    #[test]
    fn info_in_base64_wins() {
        let b64 = STANDARD.encode(r#"{"name":"Bo"}"#);
        let claims = format!(r#"{{"sub":"u1","info":{{"name":"Ana"}},"b64info":"{b64}"}}"#);
        assert_eq!(login(&claims).unwrap().name.as_deref(), Some("Bo"));
        for wrong in ["*", "e30", &STANDARD.encode("{"), &STANDARD.encode(b"\xff")] {
            let claims = format!(r#"{{"sub":"u1","b64info":"{wrong}"}}"#);
            refused(login(&claims), "b64info claim is not JSON");
        }
    }

    #[test]
    fn info_is_bounded() {
        let sized = |bytes: usize| format!(r#"{{"sub":"u1","info":"{}"}}"#, "x".repeat(bytes - 2));
        assert!(login(&sized(INFO_BYTES_MAX)).is_ok());
        refused(login(&sized(INFO_BYTES_MAX + 1)), "at most 4096 bytes");
        let deep = format!(
            r#"{{"sub":"u1","meta":{}{}}}"#,
            "[".repeat(65),
            "]".repeat(65)
        );
        refused(login(&deep), "meta claim nests more than 64");
    }

    #[test]
    fn a_connection_lasts_as_long_as_its_token_says() {
        let ttl = |claims: &str| login(&format!(r#"{{"sub":"u1"{claims}}}"#)).map(|read| read.ttl);
        assert_eq!(ttl(""), Ok(None));
        assert_eq!(ttl(r#","exp":1000060"#), Ok(Some(60)));
        assert_eq!(ttl(r#","exp":1000060.9"#), Ok(Some(60)));
        assert_eq!(ttl(r#","exp":1000000"#), Err(TokenError::Expired));
        assert_eq!(ttl(r#","exp":1000060,"expire_at":0"#), Ok(None));
        assert_eq!(ttl(r#","exp":1000060,"expire_at":null"#), Ok(Some(60)));
        assert_eq!(ttl(r#","exp":1000060,"expire_at":1000007"#), Ok(Some(7)));
        assert_eq!(ttl(r#","expire_at":999999"#), Err(TokenError::Expired));
        assert_eq!(ttl(r#","exp":1e300"#), Ok(Some(u32::MAX)));
    }

    #[test]
    fn subs_win_over_channels() {
        let read = login(r#"{"sub":"u1","channels":["a:b","c:d"]}"#).unwrap();
        let names: Vec<&str> = read.channels.keys().map(|name| &**name).collect();
        assert_eq!(names, ["a:b", "c:d"]);
        let read = login(
            r#"{"sub":"u1","channels":["a:b"],"subs":{"c:d":{"info":{"x":1},"data":[2],
                "override":{"presence":{"value":false},"force_recovery":{"value":true}}},"e:f":{}}}"#,
        )
        .unwrap();
        assert_eq!(read.channels.len(), 2);
        let grant = &read.channels["c:d"];
        assert_eq!(grant.info.as_deref(), Some(r#"{"x":1}"#));
        assert_eq!(grant.data.as_deref(), Some("[2]"));
        assert_eq!(
            grant.overrides,
            Overrides {
                presence: Some(false),
                force_recovery: Some(true),
                ..Overrides::default()
            }
        );
        assert_eq!(read.channels["e:f"], Grant::default());
        refused(
            login(r#"{"sub":"u1","subs":{"a:b":{"b64data":"*"}}}"#),
            "b64data claim is not JSON",
        );
    }

    #[test]
    fn a_subscription_token_is_for_one_user_and_one_channel() {
        let good = r#"{"sub":"u1","channel":"table:K7QX2P","exp":1000060,"info":{"x":1}}"#;
        let grant = subscription(good).unwrap();
        assert_eq!(grant.ttl, Some(60));
        assert_eq!(grant.info.as_deref(), Some(r#"{"x":1}"#));
        for foreign in [
            r#"{"sub":"u2","channel":"table:K7QX2P"}"#,
            r#"{"channel":"table:K7QX2P"}"#,
            r#"{"sub":"u1","channel":"table:k7qx2p"}"#,
            r#"{"sub":"u1","channel":"table:K7QX2P "}"#,
            r#"{"sub":"u1"}"#,
        ] {
            assert_eq!(
                subscription(foreign),
                Err(SubscriptionError::Foreign),
                "{foreign}"
            );
        }
        let late = r#"{"sub":"u1","channel":"table:K7QX2P","exp":1000060,"expire_at":1}"#;
        assert_eq!(subscription(late), Err(TokenError::Expired.into()));
    }
}
