//! Commands of a client.

use std::collections::BTreeMap;

use bytes::Bytes;

/// Maximum number of commands in one frame. A client library sends its connect and all its subscribes in one frame,
/// and a connection has at most a few hundred channels; the message size bounds it anyway.
pub const COMMANDS_PER_FRAME_MAX: usize = 1024;

/// One command, in the order of its frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Echoed in the reply. 0 only for [`Request::Send`] and [`Request::Pong`].
    pub id: u32,
    pub request: Request,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    Connect(ConnectRequest),
    Subscribe(SubscribeRequest),
    Unsubscribe { channel: String },
    Publish { channel: String, data: Bytes },
    Presence { channel: String },
    PresenceStats { channel: String },
    History(HistoryRequest),
    Ping,
    Send,
    Rpc { method: String, data: Option<Bytes> },
    Refresh { token: String },
    SubRefresh { channel: String, token: String },
    Pong,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectRequest {
    pub token: String,
    pub data: Option<Bytes>,
    /// The client's positions in channels to which the hub subscribes it by itself.
    pub subs: BTreeMap<String, Position>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscribeRequest {
    pub channel: String,
    /// A subscription token; empty without one.
    pub token: String,
    /// The client's position, if it asks for missed publications.
    pub recover: Option<Position>,
    /// The delta format that the client can read; empty if it asks for none.
    pub delta: String,
    /// True if the client asks for some tags only.
    pub has_filter: bool,
    /// Feature flags, one bit each.
    pub flag: i64,
    /// 0 is a stream. The other types are maps and polls, which this hub does not serve.
    pub sort: i32,
}

/// The bit of [`SubscribeRequest::flag`] that refuses a subscription without recovery.
const FLAG_REJECT_UNRECOVERED: i64 = 2;

impl SubscribeRequest {
    /// Returns a plain subscription to a channel.
    pub fn to(channel: impl Into<String>) -> SubscribeRequest {
        SubscribeRequest {
            channel: channel.into(),
            token: String::new(),
            recover: None,
            delta: String::new(),
            has_filter: false,
            flag: 0,
            sort: 0,
        }
    }

    /// Returns true if a position that cannot be recovered is answered with error 112 and no subscription.
    pub fn is_recovery_required(&self) -> bool {
        self.flag & FLAG_REJECT_UNRECOVERED != 0
    }
}

/// A position in a stream. An empty epoch matches any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    pub epoch: String,
    pub offset: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryRequest {
    pub channel: String,
    /// 0: only the position. Negative: everything, up to the hub's limit.
    pub limit: i32,
    pub since: Option<Position>,
    pub is_reverse: bool,
}

/// The reason why a frame could not be read. The connection ends with 3501.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("the frame is empty")]
    Empty,
    #[error("the frame is not a sequence of commands: {0}")]
    Malformed(String),
    #[error("a frame has at most {COMMANDS_PER_FRAME_MAX} commands")]
    TooMany,
    #[error("a command other than send and pong has an id above 0")]
    NoId,
    #[error("a command names no method")]
    NoMethod,
}

/// Returns the payload of a publication that has none.
pub(super) fn null() -> Bytes {
    Bytes::from_static(b"null")
}

impl Command {
    /// Makes a command, or a pong if it is empty.
    pub(super) fn new(id: u32, request: Option<Request>) -> Result<Command, FrameError> {
        let is_idle = id == 0;
        let request = match request {
            Some(Request::Send) => Request::Send,
            None if is_idle => Request::Pong,
            None => return Err(FrameError::NoMethod),
            Some(_) if is_idle => return Err(FrameError::NoId),
            Some(request) => request,
        };
        Ok(Command { id, request })
    }
}
