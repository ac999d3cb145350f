//! The two encodings of a socket, and frames that are encoded once for many clients.

use bytes::Bytes;

use super::command::{Command, FrameError};
use super::{json, protobuf};

/// A whole reply, ready for a socket, shared by all its receivers.
pub type Frame = Bytes;

/// The encoding of both directions, chosen at the upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// Text frames, one object a line.
    #[default]
    Json,
    /// Binary frames, each message after its length.
    Protobuf,
}

impl Encoding {
    /// Decodes all commands of a frame.
    ///
    /// # Errors
    /// If a command is invalid: close the connection with 3501, and carry out nothing of the frame.
    pub fn decode(self, frame: &[u8]) -> Result<Vec<Command>, FrameError> {
        match self {
            Encoding::Json => json::decode(frame),
            Encoding::Protobuf => protobuf::decode(frame),
        }
    }

    /// Returns the frame that checks if a client is alive: an empty reply.
    pub fn ping(self) -> Frame {
        match self {
            Encoding::Json => Bytes::from_static(b"{}"),
            Encoding::Protobuf => Bytes::from_static(&[0]),
        }
    }
}

/// A message for many receivers: encoded at most once per encoding, and only in those that a receiver uses.
#[derive(Debug)]
pub struct Shared<F> {
    encode: F,
    json: Option<Frame>,
    protobuf: Option<Frame>,
}

impl<F: Fn(Encoding) -> Frame> Shared<F> {
    pub fn new(encode: F) -> Shared<F> {
        Shared {
            encode,
            json: None,
            protobuf: None,
        }
    }

    pub fn frame(&mut self, encoding: Encoding) -> &Frame {
        let made = match encoding {
            Encoding::Json => &mut self.json,
            Encoding::Protobuf => &mut self.protobuf,
        };
        made.get_or_insert_with(|| (self.encode)(encoding))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn what_many_hear_is_encoded_once_in_each_encoding_that_is_wanted() {
        let times = Cell::new(0);
        let mut shared = Shared::new(|encoding: Encoding| {
            times.set(times.get() + 1);
            encoding.ping()
        });
        for _ in 0..3 {
            assert_eq!(shared.frame(Encoding::Protobuf), &Encoding::Protobuf.ping());
        }
        assert_eq!(times.get(), 1);
        shared.frame(Encoding::Json);
        assert_eq!(times.get(), 2);
    }
}
