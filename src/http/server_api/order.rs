//! Server API: `subscribe`, `unsubscribe`, `disconnect` and `refresh` of a user's connections.
//!
//! A call for a user without connections succeeds: the requested state is already reached.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::ServerApi;
use super::answer::{Answer, done};
use super::fields::{Fields, must_be};
use super::look::position;
use crate::clock::WallTime;
use crate::connection::ConnectionSelector;
use crate::id::{ConnectionId, SessionId, UserId};
use crate::room::Grant;
use crate::wire::{Close, Dismissal, ErrorCode, Failure};

/// Connections that one call asks at one time.
const CONCURRENCY_MAX: usize = 64;

impl ServerApi {
    pub(super) async fn subscribe(&self, fields: &Fields<'_>) -> Answer {
        let channel = self.known_channel(fields)?;
        let grant = Grant {
            is_given: true,
            info: self.raw(fields, "info")?,
            data: self.raw(fields, "data")?,
            overrides: fields
                .get("override", "an object of switches such as {\"value\":true}")?
                .unwrap_or_default(),
            ttl: self.ttl(fields)?,
        };
        let recover = position(fields, "recover_since")?;
        let (channel, grant, recover) = (&channel, &grant, &recover);
        self.each(fields, |id| async move {
            let (grant, recover) = (grant.clone(), recover.clone());
            let subscribed = self.connections.subscribe(id, channel, grant, recover);
            match subscribed.await {
                // The requested state is already reached.
                Err(failure) if failure == ErrorCode::AlreadySubscribed.into() => Ok(()),
                subscribed => subscribed,
            }
        })
        .await
    }

    pub(super) async fn unsubscribe(&self, fields: &Fields<'_>) -> Answer {
        let channel = &self.known_channel(fields)?;
        self.each(fields, |id| self.connections.unsubscribe(id, channel))
            .await
    }

    pub(super) fn disconnect(&self, fields: &Fields<'_>) -> Answer {
        let spared: Vec<String> = fields
            .get("whitelist", "a list of texts")?
            .unwrap_or_default();
        let close = close(fields)?;
        for id in self.meant(fields)? {
            if !spared.contains(&id.to_string()) {
                self.connections.close(id, close.clone());
            }
        }
        done()
    }

    pub(super) async fn refresh(&self, fields: &Fields<'_>) -> Answer {
        if fields.is("expired")? {
            for id in self.meant(fields)? {
                self.connections.close(id, Close::Expired);
            }
            return done();
        }
        let (ttl, info) = (self.ttl(fields)?, self.raw(fields, "info")?);
        self.each(fields, |id| self.connections.refresh(id, ttl, info.clone()))
            .await
    }

    /// Runs an effect on each selected connection. All of them are tried, and the first error is returned.
    async fn each<F>(&self, fields: &Fields<'_>, order: impl Fn(ConnectionId) -> F) -> Answer
    where
        F: Future<Output = Result<(), Failure>>,
    {
        let orders = self.meant(fields)?.into_iter().map(order);
        let outcomes: Vec<_> = stream::iter(orders)
            .buffered(CONCURRENCY_MAX)
            .collect()
            .await;
        outcomes.into_iter().collect::<Result<(), Failure>>()?;
        done()
    }

    /// Returns the connections that match all given fields.
    fn meant(&self, fields: &Fields<'_>) -> Result<Vec<ConnectionId>, Failure> {
        let texts = [
            fields.text("user")?,
            fields.text("client")?,
            fields.text("session")?,
        ];
        let [user, client, session] = texts
            .each_ref()
            .map(|text| Some(text).filter(|t| !t.is_empty()));
        let whom = [
            user.map(|user| UserId::parse(user).ok().map(ConnectionSelector::User)),
            client.map(|id| {
                uuid(id)
                    .map(ConnectionId)
                    .map(ConnectionSelector::Connection)
            }),
            session.map(|id| uuid(id).map(SessionId).map(ConnectionSelector::Session)),
        ];
        if whom.iter().all(Option::is_none) {
            return Err(must_be("user", "given as text, or client, or session"));
        }
        // An invalid id matches nothing.
        let whom: Option<Vec<ConnectionSelector>> = whom.into_iter().flatten().collect();
        Ok(whom.map_or_else(Vec::new, |whom| self.connections.of(&whom)))
    }

    /// Returns the channel of a call, whose kind must exist.
    fn known_channel(&self, fields: &Fields<'_>) -> Result<String, Failure> {
        let channel = fields.needed_text("channel")?;
        self.rooms.kinds().room_key(&channel)?;
        Ok(channel)
    }

    fn raw(&self, fields: &Fields<'_>, name: &str) -> Result<Option<Arc<RawValue>>, Failure> {
        let payload = fields.payload(name, self.data_bytes_max)?;
        let raw = payload.map(|payload| serde_json::from_slice::<Box<RawValue>>(&payload));
        let raw = raw.transpose().map_err(|_| must_be(name, "JSON"))?;
        Ok(raw.map(Arc::from))
    }

    /// Returns the seconds until a moment; None if none is given or it is 0.
    pub(super) fn ttl(&self, fields: &Fields<'_>) -> Result<Option<u32>, Failure> {
        let at: i64 = fields
            .number("expire_at", "a whole number of seconds since 1970")?
            .unwrap_or(0);
        if at == 0 {
            return Ok(None);
        }
        let left = at.saturating_sub(WallTime::now().0 / 1_000);
        match u32::try_from(left) {
            Ok(left @ 1..) => Ok(Some(left)),
            Ok(0) | Err(_) => Err(must_be("expire_at", "in the future, within 136 years")),
        }
    }
}

fn close(fields: &Fields<'_>) -> Result<Close, Failure> {
    let Some(words) = fields.object("disconnect")? else {
        return Ok(Close::ForceDisconnect);
    };
    let code: Option<u16> = words.number("code", "a whole number")?;
    let reason = words.text("reason")?;
    match code {
        None | Some(0) if reason.is_empty() => Ok(Close::ForceDisconnect),
        code => Dismissal::new(code.unwrap_or(0), &reason)
            .map(|dismissal| Close::Dismissed(Arc::new(dismissal)))
            .map_err(|wrong| Failure::bad_request(format_args!("disconnect: {wrong}"))),
    }
}

fn uuid(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text).ok()
}
