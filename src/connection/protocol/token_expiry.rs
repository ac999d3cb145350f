//! What a token grants lasts as long as the token says, and goes on with a new one.
//!
//! A client is told how long, and has `client.expiry_grace` beyond that to bring a new token.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::value::RawValue;

use super::connect::{granted, shown};
use super::dispatch::Connection;
use super::subscription::Subscription;
use crate::auth::{SubscriptionError, TokenError};
use crate::room::{Grant, Peer};
use crate::wire::{
    Close, ErrorCode, Failure, Push, RefreshResult, Refusal, SubRefreshResult, SubscribeRequest,
    push,
};

impl Connection {
    /// Goes on with a new token of the same user.
    pub(crate) async fn refresh(
        &mut self,
        id: u32,
        token: &str,
        peer: Arc<Peer>,
    ) -> Result<(), Failure> {
        if token.is_empty() {
            self.outbound.close(Close::BadRequest);
            return Ok(());
        }
        if !self.context.verifier.has_keys() {
            return Err(ErrorCode::NotAvailable.into());
        }
        let login = match self.context.verifier.login(token).await {
            Ok(login) if login.user == peer.user.id => login,
            Err(TokenError::Expired | TokenError::Early) => {
                self.outbound.close(Close::Expired);
                return Ok(());
            }
            // Asked again in a moment, with the old token still good.
            Err(TokenError::Unavailable) => return Err(ErrorCode::Internal.into()),
            Ok(_) | Err(_) => {
                self.outbound.close(Close::InvalidToken);
                return Ok(());
            }
        };
        self.context.actions.check_active(&login.user).await?;
        self.lasts(login.ttl).await;
        if let Some(session) = self.session() {
            self.context.actions.renew_login(session, login.ttl);
        }
        self.shows(shown(Some(&login), &peer.user), &peer);
        let client = self.id.to_string();
        let renewed = RefreshResult {
            client: &client,
            version: env!("CARGO_PKG_VERSION"),
            expires: login.ttl.is_some(),
            ttl: login.ttl.unwrap_or(0),
        };
        self.answer(id, &renewed);
        Ok(())
    }

    /// Others see this of the connection from here on.
    fn shows(&mut self, info: Arc<RawValue>, peer: &Peer) {
        let peer = Arc::new(Peer {
            info,
            ..Peer::clone(peer)
        });
        for (_, subscription) in self.channels.iter() {
            subscription.renew(&peer);
        }
        self.become_peer(peer);
    }

    /// Goes on for as long as the game's server says, and tells the client.
    pub(crate) async fn refresh_by_hub(&mut self, ttl: Option<u32>, info: Option<Arc<RawValue>>) {
        let Some(peer) = self.peer() else {
            return;
        };
        self.lasts(ttl).await;
        // A session without a login needs none: its token stays as good as it was.
        if let Some(session) = self.session()
            && session.login_until().is_some()
        {
            self.context.actions.renew_login(session, ttl);
        }
        if let Some(info) = info {
            self.shows(info, &peer);
        }
        let refresh = Push::Refresh {
            expires: ttl.is_some(),
            ttl: ttl.unwrap_or(0),
        };
        // Full or closed: the connection is ending.
        let _ = self
            .outbound
            .offer(push(self.outbound.encoding(), "", &refresh));
    }

    /// What a subscription token grants its bearer. None: the connection is closed for it.
    pub(crate) async fn granted_by_token(
        &self,
        request: &SubscribeRequest,
        peer: &Peer,
    ) -> Result<Option<Grant>, Failure> {
        let (user, verifier) = (&peer.user.id, &self.context.verifier);
        let checked = verifier.subscription(&request.token, user, &request.channel);
        match checked.await {
            Ok(grant) => Ok(Some(granted(&grant))),
            Err(SubscriptionError::Foreign) => {
                self.outbound.close(Close::InvalidToken);
                Ok(None)
            }
            Err(SubscriptionError::Token(
                error @ (TokenError::Expired | TokenError::Early | TokenError::Unavailable),
            )) => Err(Refusal::from(error).into()),
            Err(SubscriptionError::Token(_)) => Err(ErrorCode::PermissionDenied.into()),
        }
    }

    /// Goes on hearing a channel with a new token for it.
    pub(crate) async fn sub_refresh(
        &mut self,
        id: u32,
        channel: &str,
        token: &str,
        peer: Arc<Peer>,
    ) -> Result<(), Failure> {
        let subscription = self.channels.get(channel);
        if subscription.is_none_or(Subscription::is_ended) {
            return Err(ErrorCode::PermissionDenied.into());
        }
        if token.is_empty() {
            return Err(Failure::bad_request("token is missing"));
        }
        let (user, verifier) = (&peer.user.id, &self.context.verifier);
        let ttl = match verifier.subscription(token, user, channel).await {
            Ok(grant) => grant.ttl,
            Err(SubscriptionError::Token(TokenError::Expired | TokenError::Early)) => {
                // As an error it would end the subscription for good. It is to come back, and to hear there that
                // a newer token is needed.
                self.answer(
                    id,
                    &SubRefreshResult {
                        expires: false,
                        ttl: 0,
                    },
                );
                self.end_expired(channel);
                return Ok(());
            }
            Err(SubscriptionError::Token(TokenError::Unavailable)) => {
                return Err(ErrorCode::Internal.into());
            }
            Err(SubscriptionError::Token(_) | SubscriptionError::Foreign) => {
                self.outbound.close(Close::InvalidToken);
                return Ok(());
            }
        };
        let until = self.until(ttl);
        if let Some(subscription) = self.channels.get_mut(channel) {
            subscription.expires = until;
        }
        self.wake_next().await;
        let renewed = SubRefreshResult {
            expires: ttl.is_some(),
            ttl: ttl.unwrap_or(0),
        };
        self.answer(id, &renewed);
        Ok(())
    }

    /// The connection is good for so many seconds from now; None: without end.
    pub(crate) async fn lasts(&mut self, ttl: Option<u32>) {
        self.expires = self.until(ttl);
        self.wake_next().await;
    }

    /// When something is over that a token grants for so many seconds.
    pub(crate) fn until(&self, ttl: Option<u32>) -> Option<Instant> {
        let ttl = Duration::from_secs(u64::from(ttl?));
        Some(Instant::now() + ttl + self.context.client.expiry_grace)
    }

    /// Has itself woken when the next thing is over, if it is not woken earlier.
    pub(crate) async fn wake_next(&mut self) {
        let ends = self.channels.iter().filter_map(|(_, one)| one.expires);
        let Some(next) = ends.chain(self.expires).min() else {
            return;
        };
        if self.wakes.is_some_and(|earlier| earlier <= next) {
            return;
        }
        self.wakes = Some(next);
        let wait = next.saturating_duration_since(Instant::now());
        self.context.wheel.after(wait, self.id).await;
    }

    /// Ends what is over.
    pub(crate) async fn wake(&mut self) {
        self.wakes = None;
        let now = Instant::now();
        let is_over = |end: Option<Instant>| end.is_some_and(|end| end <= now);
        if is_over(self.expires) {
            self.outbound.close(Close::Expired);
            return;
        }
        let channels = self.channels.iter();
        let over: Vec<String> = channels
            .filter(|(_, subscription)| is_over(subscription.expires))
            .map(|(channel, _)| channel.to_owned())
            .collect();
        for channel in over {
            self.end_expired(&channel);
        }
        self.wake_next().await;
    }

    /// A client that subscribed by itself does so again; one that the hub subscribed, by a new connection.
    fn end_expired(&mut self, channel: &str) {
        match self.channels.remove(channel) {
            // It was over before.
            Some(subscription) if subscription.is_ended() => {}
            Some(subscription) if subscription.is_by_hub => {
                self.outbound.close(Close::SubscriptionExpired);
            }
            Some(subscription) => subscription.expire(),
            None => {}
        }
    }
}
