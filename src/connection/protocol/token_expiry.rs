//! Expiry of tokens: a token states how long its rights last, and a new token renews them.
//!
//! A client receives the time as `ttl`. It has `client.expiry_grace` beyond that to present a new token. Then the
//! connection or the subscription ends.

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
    /// Renews the connection with a new token of the same user.
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
            // The client retries in a moment, and its old token still counts.
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

    /// Changes the `info` that others see of the connection.
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

    /// Renews the connection for the time that a game server sets, and informs the client.
    pub(crate) async fn refresh_by_hub(&mut self, ttl: Option<u32>, info: Option<Arc<RawValue>>) {
        let Some(peer) = self.peer() else {
            return;
        };
        self.lasts(ttl).await;
        // A session without a login needs no renewal: its token stays valid as before.
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

    /// Returns the grant of a subscription token; None if the token closes the connection.
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

    /// Renews a subscription with a new token for its channel.
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
                // An error would end the subscription permanently. Instead the client subscribes again, and then
                // learns that a newer token is needed.
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

    /// Sets how many seconds the connection lasts from now. None: without end.
    pub(crate) async fn lasts(&mut self, ttl: Option<u32>) {
        self.expires = self.until(ttl);
        self.wake_next().await;
    }

    /// Returns the time at which a right with this `ttl` expires, including the grace.
    pub(crate) fn until(&self, ttl: Option<u32>) -> Option<Instant> {
        let ttl = Duration::from_secs(u64::from(ttl?));
        Some(Instant::now() + ttl + self.context.client.expiry_grace)
    }

    /// Schedules a wake-up for the next expiry, unless an earlier one is set.
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

    /// Ends each expired subscription, or the whole connection.
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

    /// Ends an expired subscription. A client that subscribed by itself subscribes again; for one that the hub
    /// subscribed, the connection closes and the client reconnects.
    fn end_expired(&mut self, channel: &str) {
        match self.channels.remove(channel) {
            // The room had ended it before.
            Some(subscription) if subscription.is_ended() => {}
            Some(subscription) if subscription.is_by_hub => {
                self.outbound.close(Close::SubscriptionExpired);
            }
            Some(subscription) => subscription.expire(),
            None => {}
        }
    }
}
