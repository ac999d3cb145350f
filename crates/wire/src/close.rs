//! All ways in which a connection ends, with their codes and reasons.

use std::sync::Arc;

use super::command::FrameError;

/// Maximum length of a close reason, in bytes: the space in a WebSocket control frame.
const REASON_BYTES_MAX: usize = 123;

/// The codes that a game's server may choose; those below belong to the WebSocket protocol.
const CODES: std::ops::RangeInclusive<u16> = 3000..=4999;

/// A close code and reason from a game's server.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Dismissal {
    code: u16,
    reason: Box<str>,
}

impl Dismissal {
    /// Checks the code and the reason.
    ///
    /// # Errors Describes the mistake, for people: the code is not in 3000 to 4999, or the reason is empty, too long,
    /// more than one line, or JSON, which client libraries would read as advice in an old format.
    pub fn new(code: u16, reason: &str) -> Result<Dismissal, String> {
        if !CODES.contains(&code) {
            let (least, most) = (CODES.start(), CODES.end());
            return Err(format!("code must be from {least} to {most}"));
        }
        let is_line = !reason.is_empty() && !reason.contains(char::is_control);
        if !is_line || reason.len() > REASON_BYTES_MAX {
            return Err(format!(
                "reason must be one line of 1 to {REASON_BYTES_MAX} bytes"
            ));
        }
        if serde_json::from_str::<serde::de::IgnoredAny>(reason).is_ok() {
            return Err("reason must not be JSON".to_owned());
        }
        let reason = reason.into();
        Ok(Dismissal { code, reason })
    }
}

/// The reason why a socket is closed. 3500–3999 and 4500–4999 are terminal for the client; after the others it comes
/// back by itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Close {
    /// The frame breaks the WebSocket protocol.
    ProtocolError,
    /// A text frame is not UTF-8.
    NotUtf8,
    /// More fragments or control frames than any client needs, or a message without end.
    PolicyViolation,
    /// A message is larger than `client.message_max`.
    MessageTooBig,
    /// The daemon stops: the client comes back in a moment.
    Shutdown,
    /// Something in the hub failed: the client comes back.
    Internal,
    /// The connection's token has expired and was not renewed: the client comes back with a new one.
    Expired,
    /// The same for a subscription that the hub made for the client.
    SubscriptionExpired,
    /// The client reads more slowly than its rooms publish. The seat is kept.
    Slow,
    /// A subscription that the hub made for the client is lost: the client comes back.
    InsufficientState,
    /// The session's actor is gone: the client comes back.
    ForceReconnect,
    /// No answer to a ping.
    NoPong,
    /// The client keeps exceeding its rate limit, although it receives errors for that.
    TooManyRequests,
    InvalidToken,
    /// A command out of order, or no token where guests are not admitted.
    BadRequest,
    /// A frame that cannot be read, with the error.
    Unreadable(Arc<str>),
    /// Not connected within `client.connect_timeout`.
    Stale,
    /// The hub would subscribe the client to more channels than `client.channels_max`.
    ChannelLimit,
    /// A command that this hub does not serve.
    NotAvailable,
    SessionEnded,
    /// Replaced by a newer connection of the session.
    Replaced,
    /// A game's server disconnects the client, without a code of its own.
    ForceDisconnect,
    /// A game's server disconnects the client, with a code and a reason of its own.
    Dismissed(Arc<Dismissal>),
}

impl Close {
    /// Returns 3501 for a frame that cannot be read.
    pub fn unreadable(error: &FrameError) -> Close {
        let mut reason = match error {
            FrameError::Malformed(wrong) => format!("bad request: {wrong}"),
            FrameError::Empty | FrameError::TooMany | FrameError::NoId | FrameError::NoMethod => {
                format!("bad request: {error}")
            }
        };
        let mut end = reason.len().min(REASON_BYTES_MAX);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        reason.truncate(end);
        Close::Unreadable(reason.replace(['\n', '\r'], " ").into())
    }

    pub fn code(&self) -> u16 {
        match self {
            Close::ProtocolError => 1002,
            Close::NotUtf8 => 1007,
            Close::PolicyViolation => 1008,
            Close::MessageTooBig => 1009,
            Close::Shutdown => 3001,
            Close::Internal => 3004,
            Close::Expired => 3005,
            Close::SubscriptionExpired => 3006,
            Close::Slow => 3008,
            Close::InsufficientState => 3010,
            Close::ForceReconnect => 3011,
            Close::NoPong => 3012,
            Close::TooManyRequests => 3013,
            Close::InvalidToken => 3500,
            Close::BadRequest | Close::Unreadable(_) => 3501,
            Close::Stale => 3502,
            Close::ChannelLimit => 3505,
            Close::NotAvailable => 3508,
            Close::SessionEnded => 4500,
            Close::Replaced => 4501,
            Close::ForceDisconnect => 3503,
            Close::Dismissed(dismissal) => dismissal.code,
        }
    }

    /// Returns the label in metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Close::ProtocolError => "protocol_error",
            Close::NotUtf8 => "not_utf8",
            Close::MessageTooBig => "message_too_big",
            Close::PolicyViolation => "policy_violation",
            Close::Shutdown => "shutdown",
            Close::Internal => "internal",
            Close::Expired => "expired",
            Close::SubscriptionExpired => "subscription_expired",
            Close::Slow => "slow",
            Close::InsufficientState => "insufficient_state",
            Close::ForceReconnect => "force_reconnect",
            Close::NoPong => "no_pong",
            Close::TooManyRequests => "too_many_requests",
            Close::InvalidToken => "invalid_token",
            Close::BadRequest | Close::Unreadable(_) => "bad_request",
            Close::Stale => "stale",
            Close::ChannelLimit => "channel_limit",
            Close::NotAvailable => "not_available",
            Close::SessionEnded => "session_ended",
            Close::Replaced => "replaced",
            Close::ForceDisconnect | Close::Dismissed(_) => "dismissed",
        }
    }

    /// Returns the reason, never as JSON: a client library would read that as advice in an old format.
    pub fn reason(&self) -> &str {
        match self {
            Close::ProtocolError => "protocol error",
            Close::NotUtf8 => "invalid utf-8",
            Close::PolicyViolation => "policy violation",
            Close::MessageTooBig => "message size limit exceeded",
            Close::Shutdown => "shutdown",
            Close::Internal => "internal server error",
            Close::Expired => "connection expired",
            Close::SubscriptionExpired => "subscription expired",
            Close::Slow => "slow",
            Close::InsufficientState => "insufficient state",
            Close::ForceReconnect => "force reconnect",
            Close::NoPong => "no pong",
            Close::TooManyRequests => "too many requests",
            Close::InvalidToken => "invalid token",
            Close::BadRequest => "bad request",
            Close::Unreadable(reason) => reason,
            Close::Stale => "stale",
            Close::ChannelLimit => "channel limit",
            Close::NotAvailable => "not available",
            Close::SessionEnded => "session ended",
            Close::Replaced => "replaced by a newer connection",
            Close::ForceDisconnect => "force disconnect",
            Close::Dismissed(dismissal) => &dismissal.reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_that_cannot_be_read_is_told_what_is_wrong_within_the_room_of_a_close() {
        let close = Close::unreadable(&FrameError::NoId);
        assert_eq!(close.code(), 3501);
        let wrong = "bad request: a command other than send and pong has an id above 0";
        assert_eq!(close.reason(), wrong);
        let close = Close::unreadable(&FrameError::Malformed("é\n".repeat(100)));
        assert!(close.reason().len() > REASON_BYTES_MAX - 2);
        assert!(close.reason().len() <= REASON_BYTES_MAX);
        assert!(!close.reason().contains('\n'));
    }

    #[test]
    fn a_game_server_chooses_numbers_and_words_that_clients_understand() {
        for (code, reason) in [(3000, "x"), (4999, "bye, all"), (4500, &*"é".repeat(61))] {
            let dismissal = Dismissal::new(code, reason).unwrap();
            let close = Close::Dismissed(Arc::new(dismissal));
            assert_eq!((close.code(), close.reason()), (code, reason));
        }
        for (code, reason) in [
            (2999, "x"),
            (5000, "x"),
            (1000, "x"),
            (4000, ""),
            (4000, "two\nlines"),
            (4000, "{\"reconnect\":true}"),
            (4000, "42"),
            (4000, &*"x".repeat(124)),
        ] {
            assert!(Dismissal::new(code, reason).is_err(), "{code} {reason}");
        }
    }
}
