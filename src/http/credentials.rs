//! The caller of a request: a session by its token, a user by the game's own login, a game's
//! server by its key, or a guest.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use axum::http::header::{AUTHORIZATION, HeaderName};
use axum::http::{HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use crate::actions::{Actions, Caller};
use crate::auth::{Secret, TokenKind, Verifier, authorization, bearer, token_kind};
use crate::clock::WallTime;
use crate::config::AuthConfig;
use crate::id::{ApiKeyHash, CommandKey, SessionToken};
use crate::limits::SecretGuesses;
use crate::persistence::Retries;
use crate::session::SessionHandle;
use crate::wire::{AccountRequest, Fields, Reason, Refusal};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The configured ways to authenticate.
#[derive(Clone)]
pub(super) struct Authenticator {
    guests: bool,
    api_keys: Arc<[Secret]>,
    guesses: SecretGuesses,
    verifier: Verifier,
}

/// The unverified credentials of a request.
#[derive(Debug)]
pub(super) enum Credentials {
    Session(SessionToken),
    /// A JWT that is not verified yet.
    Login(SecretString, Verifier),
    /// A user, named by a game's server that has shown this key.
    Account(AccountRequest, ApiKeyHash),
    Guest {
        name: Arc<str>,
    },
}

impl Authenticator {
    pub(super) fn new(config: &AuthConfig, verifier: Verifier) -> Authenticator {
        Authenticator {
            guests: config.guests,
            api_keys: config.api_keys.iter().map(Secret::new).collect(),
            guesses: SecretGuesses::new("api_key"),
            verifier,
        }
    }

    /// Reads the credentials from the headers, or else from the body. Wrong API keys count for the address `asker`.
    pub(super) fn claim(
        &self,
        headers: &HeaderMap,
        fields: &Fields<'_>,
        asker: Option<IpAddr>,
    ) -> Result<Credentials, Refusal> {
        if let Some(claim) = self.bearer(headers)? {
            return match fields.account()? {
                None => Ok(claim),
                Some(_) => Err(user_needs_key()),
            };
        }
        if let Some(key) = headers.get(API_KEY) {
            let api_key = self.check(key.as_bytes(), asker)?;
            let account = fields.account()?.ok_or_else(|| {
                Refusal::bad_request("with an API key, user is required: {\"id\": text}")
            })?;
            return Ok(Credentials::Account(account, api_key));
        }
        if fields.account()?.is_some() {
            return Err(user_needs_key());
        }
        if !self.guests {
            return Err(no_token());
        }
        let name = fields.guest_name()?;
        Ok(Credentials::Guest { name })
    }

    /// Returns the verifier of the game's own logins.
    pub(super) fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// Returns the session token of a guest who logs in.
    pub(super) fn guest_token(&self, headers: &HeaderMap) -> Result<SessionToken, Refusal> {
        match self.bearer(headers)? {
            Some(Credentials::Session(token)) => Ok(token),
            Some(Credentials::Login(..) | Credentials::Account(..) | Credentials::Guest { .. })
            | None => Err(Refusal::bad_request(
                "login requires a guest's session token: send Authorization: Bearer hfs_...",
            )),
        }
    }

    /// Returns the credentials of the `Authorization` header, which is required.
    pub(super) fn asking(&self, headers: &HeaderMap) -> Result<Credentials, Refusal> {
        self.bearer(headers)?.ok_or_else(no_token)
    }

    /// Returns the credentials of the `Authorization` header, if there is one.
    fn bearer(&self, headers: &HeaderMap) -> Result<Option<Credentials>, Refusal> {
        if !headers.contains_key(AUTHORIZATION) {
            return Ok(None);
        }
        let unknown = || {
            Refusal::new(
                Reason::TokenInvalid,
                "Authorization must be Bearer with a session token (hfs_...) or a JWT of the game's login",
            )
        };
        let token = bearer(headers).ok_or_else(unknown)?;
        match token_kind(token) {
            TokenKind::Session => SessionToken::parse(token)
                .map(|token| Some(Credentials::Session(token)))
                .map_err(|_| unknown()),
            TokenKind::Login if self.verifier.has_keys() => Ok(Some(Credentials::Login(
                token.into(),
                self.verifier.clone(),
            ))),
            TokenKind::Login | TokenKind::Seat => Err(unknown()),
        }
    }

    /// Authenticates the game's own server by its key. Wrong keys count for the address `asker`.
    pub(super) fn check_key(
        &self,
        headers: &HeaderMap,
        asker: Option<IpAddr>,
    ) -> Result<ApiKeyHash, Refusal> {
        let named = headers.get(API_KEY).map(HeaderValue::as_bytes);
        let key = named.or_else(|| authorization(headers, "apikey").map(str::as_bytes));
        let key = key.ok_or_else(|| {
            let detail =
                "only the game's server may do this: send X-API-Key, or Authorization: apikey KEY";
            Refusal::new(Reason::TokenInvalid, detail)
        })?;
        self.check(key, asker)
    }

    fn check(&self, key: &[u8], asker: Option<IpAddr>) -> Result<ApiKeyHash, Refusal> {
        match self
            .guesses
            .judge(asker, Secret::is_any(&self.api_keys, key))?
        {
            true => Ok(ApiKeyHash::of(key)),
            false => Err(Refusal::new(Reason::TokenInvalid, "unknown API key")),
        }
    }
}

impl Credentials {
    /// Returns whether the caller is a game's own server that has shown its key.
    pub(super) fn is_by_game(&self) -> bool {
        matches!(self, Credentials::Account(..))
    }

    /// Returns the session of the caller.
    pub(super) async fn session(
        &self,
        actions: &Actions,
        retries: Retries<'_>,
    ) -> Result<SessionHandle, Refusal> {
        match self {
            Credentials::Session(token) => actions.identify(token, retries).await,
            Credentials::Login(token, verifier) => {
                let login = verifier.login(token.expose_secret()).await?;
                actions.session_of(&login.user).await
            }
            Credentials::Account(..) | Credentials::Guest { .. } => Err(no_token()),
        }
    }

    /// Ends the session of the caller.
    pub(super) async fn end_session(
        self,
        actions: &Actions,
        key: Option<CommandKey>,
        retries: Retries<'_>,
    ) -> Result<(), Refusal> {
        if let Credentials::Session(token) = &self {
            return actions.end_session_of(token, key, retries).await;
        }
        let session = self.session(actions, retries).await?;
        actions.end_session(&session, None, key).await
    }

    /// Verifies the credentials and looks the session up.
    pub(super) async fn prove(
        self,
        actions: &Actions,
        retries: Retries<'_>,
    ) -> Result<Caller, Refusal> {
        Ok(match self {
            Credentials::Session(token) => {
                Caller::Session(actions.identify(&token, retries).await?)
            }
            Credentials::Login(token, verifier) => {
                let login = verifier.login(token.expose_secret()).await?;
                actions.log_in(login.user, login.name, login.ttl).await?
            }
            Credentials::Account(account, api_key) => {
                let AccountRequest { id, name, until } = account;
                if let Some(until) = until.filter(|until| *until <= WallTime::now()) {
                    let until = until.to_rfc3339();
                    let detail = format!("expires_at must be in the future, {until} has passed");
                    return Err(Refusal::bad_request(detail));
                }
                Caller::Account {
                    id,
                    name,
                    api_key: Some(api_key),
                    until: until.map(|until| actions.from_wall(until)),
                }
            }
            Credentials::Guest { name } => Caller::Guest { name },
        })
    }
}

/// The seat token with which somebody comes, who then is nobody else.
pub(super) fn seat_token(
    headers: &HeaderMap,
    fields: &Fields<'_>,
) -> Result<Option<String>, Refusal> {
    let token = fields.seat_token()?;
    if token.is_some() && fields.login()?.is_some() {
        let detail = "send either login, with a guest's session token, or seat_token";
        return Err(Refusal::bad_request(detail));
    }
    if token.is_some() && (headers.contains_key(AUTHORIZATION) || headers.contains_key(API_KEY)) {
        let detail =
            "seat_token opens a session of its own: send neither Authorization nor X-API-Key";
        return Err(Refusal::bad_request(detail));
    }
    Ok(token)
}

fn no_token() -> Refusal {
    Refusal::new(
        Reason::TokenInvalid,
        "no token: send Authorization: Bearer with a session token or a JWT of the game's login",
    )
}

fn user_needs_key() -> Refusal {
    Refusal::bad_request("user may be given only with an API key")
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator")
            .field("guests", &self.guests)
            .field("api_keys", &self.api_keys.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn gate(guests: bool) -> Authenticator {
        Authenticator {
            guests,
            api_keys: ["first-key", "second-key"]
                .map(|key| Secret::new(&key.into()))
                .into(),
            guesses: SecretGuesses::new("api_key"),
            verifier: Verifier::new(&Config::default().auth).unwrap(),
        }
    }

    fn claim(
        gate: &Authenticator,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Credentials, Refusal> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                value.parse().unwrap(),
            );
        }
        gate.claim(&map, &Fields::parse(body.as_bytes()).unwrap(), None)
    }

    #[track_caller]
    fn refused(result: Result<Credentials, Refusal>, reason: Reason) {
        assert_eq!(result.unwrap_err().reason, reason);
    }

    #[test]
    fn a_session_token_says_who_is_asking() {
        let token = SessionToken::random();
        let header = format!("bearer {}", token.reveal());
        let found = claim(&gate(false), &[("authorization", &header)], "").unwrap();
        assert!(matches!(found, Credentials::Session(found) if found.hash() == token.hash()));
    }

    #[test]
    fn any_other_authorization_is_known_to_nobody() {
        for value in ["Bearer", "Bearer x", "Basic eDp5", "Bearer a.b.c", "hfs_x"] {
            let found = claim(&gate(true), &[("authorization", value)], "");
            refused(found, Reason::TokenInvalid);
        }
    }

    #[test]
    fn an_api_key_speaks_for_a_user() {
        let body = r#"{"user":{"id":"u1"},"guest":{"name":"ignored"}}"#;
        for key in ["first-key", "second-key"] {
            let found = claim(&gate(false), &[("x-api-key", key)], body).unwrap();
            assert!(
                matches!(found, Credentials::Account(account, _) if account.id.as_str() == "u1")
            );
        }
        let nobody = claim(&gate(true), &[("x-api-key", "first-key")], "");
        refused(nobody, Reason::BadRequest);
        let wrong = claim(&gate(true), &[("x-api-key", "first-ke")], body);
        refused(wrong, Reason::TokenInvalid);
    }

    #[test]
    fn a_game_server_shows_one_of_its_keys_in_either_header() {
        let check = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            gate(true).check_key(&headers, None)
        };
        for (name, value) in [
            ("x-api-key", "second-key"),
            ("authorization", "apikey first-key"),
            ("authorization", "ApiKey second-key"),
        ] {
            let key = value.rsplit(' ').next().unwrap();
            let known = ApiKeyHash::of(key.as_bytes());
            assert_eq!(check(name, value), Ok(known), "{name}: {value}");
        }
        for (name, value) in [
            ("x-api-key", ""),
            ("x-api-key", "first-ke"),
            ("authorization", "first-key"),
            ("authorization", "apikey"),
            ("authorization", "Bearer first-key"),
            ("authorization", "apikey third-key"),
        ] {
            let refused = check(name, value).unwrap_err();
            assert_eq!(refused.reason, Reason::TokenInvalid, "{name}: {value}");
        }
    }

    #[test]
    fn nobody_speaks_for_a_user_without_a_key() {
        let body = r#"{"user":{"id":"u1"}}"#;
        refused(claim(&gate(true), &[], body), Reason::BadRequest);
        let token = format!("Bearer {}", SessionToken::random().reveal());
        let with_token = claim(&gate(true), &[("authorization", &token)], body);
        refused(with_token, Reason::BadRequest);
    }

    #[test]
    fn guests_come_in_only_where_they_are_allowed() {
        let found = claim(&gate(true), &[], r#"{"guest":{"name":"Ana"}}"#).unwrap();
        assert!(matches!(found, Credentials::Guest { name } if &*name == "Ana"));
        assert!(
            matches!(claim(&gate(true), &[], ""), Ok(Credentials::Guest { name }) if &*name == "Guest")
        );
        refused(claim(&gate(false), &[], ""), Reason::TokenInvalid);
    }
}
