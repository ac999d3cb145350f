//! Reads the body of a request, within its limits of size and time.

use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use futures_util::StreamExt;
use tokio::time::timeout;

use crate::listener::Problem;
use crate::wire::Refusal;

/// The largest body: `settings` four times over, with room for its escapes.
pub(super) const BODY_BYTES_MAX: usize = 64 * 1024;

/// The time limit for a body: 64 KiB over the slowest of phone lines.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads the whole body of a player's request.
pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<Vec<u8>, Problem> {
    read_up_to(headers, body, BODY_BYTES_MAX).await
}

/// Reads the whole body, of at most `bytes_max` bytes.
pub(super) async fn read_up_to(
    headers: &HeaderMap,
    body: Body,
    bytes_max: usize,
) -> Result<Vec<u8>, Problem> {
    let declared = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|bytes| bytes > bytes_max as u64) {
        return Err(Problem::body_too_large(bytes_max));
    }
    match timeout(BODY_TIMEOUT, collect(body, bytes_max)).await {
        Ok(read) => read,
        Err(_) => Err(Problem::body_too_slow(BODY_TIMEOUT)),
    }
}

async fn collect(body: Body, bytes_max: usize) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece =
            piece.map_err(|_| Problem::from(Refusal::bad_request("the body ended early")))?;
        if bytes.len() + piece.len() > bytes_max {
            return Err(Problem::body_too_large(bytes_max));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}
