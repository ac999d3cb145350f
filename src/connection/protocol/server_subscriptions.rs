//! Subscriptions that the hub makes for a client by itself: at connect, and later at a game server's word.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::dispatch::Connection;
use crate::room::{Grant, Initiator, Peer};
use crate::wire::{
    Encoding, Failure, Frame, Position, Publication, Push, SubscribeRequest, SubscribeResult, push,
};

/// What a client is to hear without asking, and with what right.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) channel: String,
    pub(crate) grant: Grant,
}

impl Wanted {
    /// A channel that the hub itself wants the client to hear.
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

/// Why a connect cannot subscribe to all that is wanted.
pub(crate) enum Unsubscribed {
    /// More channels than one connection may have.
    TooMany,
    Failed(Failure),
}

impl Connection {
    /// Subscribes a client that is about to be told that it is connected. All of it, or the connect fails.
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

    /// Subscribes a connected client. It hears of it before anything else of the channel.
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

    /// Ends a subscription, whoever made it, and tells the client.
    pub(crate) async fn unsubscribe_by_hub(&mut self, channel: &str) {
        if let Some(subscription) = self.channels.remove(channel) {
            subscription
                .end(Initiator::ByHub, self.outbound.clone())
                .await;
        }
    }
}

/// Takes out of a result what was missed, if that has more than so many bytes: it is told as not recovered then. Gives
/// the bytes of what is left in it. All channels of a connect are told in one reply, which no queue bounds.
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

/// A push of the subscription, then one for each publication that was missed: the former cannot carry the latter.
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
