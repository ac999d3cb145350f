//! The client protocol in Protobuf: the same commands, results and pushes as in JSON.
//!
//! `client.proto` defines their layout. The code for it is generated, and a test compares the two.

mod decode;
mod encode;
#[allow(
    missing_debug_implementations,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    reason = "generated"
)]
#[rustfmt::skip]
mod generated;

pub use self::generated::*;

pub(super) use self::decode::decode;
pub(super) use self::encode::push;

use bytes::Bytes;

/// Encodes one message of a frame, after its length.
pub fn frame(message: &impl prost::Message) -> Bytes {
    message.encode_length_delimited_to_vec().into()
}

/// Reads the messages of a frame in order. Ends after the first that is invalid.
pub fn messages<M: prost::Message + Default>(
    mut frame: &[u8],
) -> impl Iterator<Item = Result<M, prost::DecodeError>> + '_ {
    std::iter::from_fn(move || {
        if frame.is_empty() {
            return None;
        }
        let message = M::decode_length_delimited(&mut frame);
        if message.is_err() {
            frame = &[];
        }
        Some(message)
    })
}
