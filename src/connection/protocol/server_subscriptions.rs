//! Subscriptions made by the hub: at connect, and later on request of a game server.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::dispatch::Connection;
use crate::room::{Grant, Initiator, Peer};
use crate::wire::{
    Encoding, Failure, Frame, Position, Publication, Push, SubscribeRequest, SubscribeResult, push,
};

/// A channel to which the hub subscribes a client, with its grant.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) channel: String,
    pub(crate) grant: Grant,
}

impl Wanted {
    /// Returns a subscription on the hub's own initiative.
    pub(crate) fn by_hub(channel: String) -> Wanted {
        Wanted {
            channel,
            grant: Grant {
                is_given: true,
                ..Grant::default()
            },
        }
    }
}

/// The reason why a connect cannot make all its subscriptions.
pub(crate) enum Unsubscribed {
    /// More channels than one connection may have.
    TooMany,
    Failed(Failure),
}

impl Connection {
    /// Subscribes a client whose connect is about to succeed. If one subscription fails, the connect fails.
    pub(crate) async fn enter_all(
        &mut self,
        peer: &Arc<Peer>,
        wanted: Vec<Wanted>,
        mut positions: BTreeMap<String, Position>,
    ) -> Result<BTreeMap<Arc<str>, SubscribeResult>, Unsubscribed> {
        if wanted.len() > self.context.client.channels_max {
            return Err(Unsubscribed::TooMany);
        }
        let mut results = BTreeMap::new();
        let mut left = self.outbound.half().bytes_max;
        for Wanted { channel, grant } in wanted {
            let request = SubscribeRequest {
                recover: positions.remove(&channel),
                ..SubscribeRequest::to(channel.as_str())
            };
            let entered = self.enter(Initiator::ByHub, Arc::clone(peer), request, grant);
            let result = entered.await.map_err(Unsubscribed::Failed)?;
            let mut result = result.unwrap_or_default();
            left = left.saturating_sub(fit(&mut result, left));
            results.insert(channel.into(), result);
        }
        Ok(results)
    }

    /// Subscribes a connected client. The client receives the subscribe push before anything else of the channel.
    pub(crate) async fn subscribe_by_hub(
        &mut self,
        wanted: Wanted,
        recover: Option<Position>,
    ) -> Result<(), Failure> {
        let Some(peer) = self.peer() else {
            return Ok(());
        };
        self.check_has_room_for(&wanted.channel)?;
        let channel = wanted.channel;
        let request = SubscribeRequest {
            recover,
            ..SubscribeRequest::to(channel.as_str())
        };
        let held_back = self.outbound.hold_back();
        let entered = self
            .enter(Initiator::ByHub, peer, request, wanted.grant)
            .await;
        match entered {
            Ok(result) => {
                let result = result.unwrap_or_default();
                held_back.release(told(self.outbound.encoding(), &channel, result));
                Ok(())
            }
            Err(failure) => {
                held_back.resume();
                Err(failure)
            }
        }
    }

    /// Ends a subscription made by the client or by the hub, and informs the client.
    pub(crate) async fn unsubscribe_by_hub(&mut self, channel: &str) {
        if let Some(subscription) = self.channels.remove(channel) {
            subscription
                .end(Initiator::ByHub, self.outbound.clone())
                .await;
        }
    }
}

/// Drops the recovered publications of a result if they exceed `bytes_max`, and marks the result as not recovered.
/// Returns the bytes that are left in it. One reply carries all channels of a connect, and no queue limits it.
fn fit(result: &mut SubscribeResult, bytes_max: usize) -> usize {
    let bytes = result.publications.iter().map(Publication::weight).sum();
    if bytes <= bytes_max {
        return bytes;
    }
    let missed = std::mem::take(&mut result.publications);
    result.offset = missed.last().map_or(result.offset, |last| last.offset);
    result.recovered = false;
    0
}

/// Encodes a push of the subscription, then one for each missed publication: the former cannot carry the latter.
fn told(encoding: Encoding, channel: &str, mut result: SubscribeResult) -> Frame {
    let missed = std::mem::take(&mut result.publications);
    (result.was_recovering, result.recovered) = (false, false);
    let mut frame = push(encoding, channel, &Push::Subscribe(&result)).to_vec();
    for publication in &missed {
        if encoding == Encoding::Json {
            frame.push(b'\n');
        }
        frame.extend_from_slice(&push(encoding, channel, &Push::Publication(publication)));
    }
    frame.into()
}
