//! Commands that change the durable stream of a room.

use std::sync::Arc;

use bytes::Bytes;

use super::Command;
use crate::clock::HubTime;
use crate::id::RoomId;

/// A change of a durable stream.
#[derive(Debug, Clone)]
pub enum StreamCommand {
    Publish(Publish),
    RemoveHistory(RemoveHistory),
}

/// Publications for one durable stream, in order: all are stored or none. The commit assigns the offsets that follow
/// the stream's top, so a refusal leaves no gap.
#[derive(Debug, Clone)]
pub struct Publish {
    pub stream: StreamId,
    pub publications: Arc<[NewPublication]>,
}

/// The durable stream of a room. A command for a stream other than the stored one is refused as stale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamId {
    pub room: RoomId,
    pub epoch: Arc<str>,
    /// Set for a stream that the database may not have yet: the offset after which it begins.
    pub begins_after: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPublication {
    pub data: Bytes,
    /// The publisher as JSON, if there was one.
    pub info: Option<Bytes>,
    /// A JSON object, if there are tags.
    pub tags: Option<Bytes>,
    pub time: HubTime,
}

/// The removal of a durable stream's history up to and including an offset. The stream epoch and top stay.
#[derive(Debug, Clone)]
pub struct RemoveHistory {
    pub room: RoomId,
    pub epoch: Arc<str>,
    pub up_to: u64,
}

impl From<StreamCommand> for Command {
    fn from(command: StreamCommand) -> Command {
        Command::Stream(command)
    }
}
