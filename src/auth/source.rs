//! Fetches a key set, within limits on size and time.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::crypto::aws_lc_rs;
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use crate::config::KeySetSource;

/// Limit on a fetch: a request that waits for it with a token gives up after 5 s.
const FETCH_TIMEOUT: Duration = Duration::from_secs(3);

/// Maximum size of a key set, in bytes: room for 64 keys with the certificates that some issuers add.
const BYTES_MAX: usize = 256 * 1024;

/// The place from which a key set is fetched.
pub(super) enum Source {
    File(PathBuf),
    Url {
        uri: Uri,
        client: Box<Client<HttpsConnector<HttpConnector>, Empty<Bytes>>>,
    },
}

/// The reason why a key set was not fetched.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("it was not there within {} s", FETCH_TIMEOUT.as_secs())]
    Late,
    #[error("it cannot be read: {0}")]
    File(#[from] io::Error),
    #[error("it cannot be fetched: {0}")]
    Line(String),
    #[error("it was answered with status {}", .0.as_u16())]
    Status(StatusCode),
    #[error("it has more than {BYTES_MAX} bytes")]
    Large,
    #[error("it is no key set: {0}")]
    Form(String),
    #[error("it has no key that can be used")]
    Empty,
}

impl Source {
    /// Prepares for fetching.
    ///
    /// # Errors
    /// If there are no certificates to verify a server with.
    pub(super) fn new(source: &KeySetSource) -> Result<Source, rustls::Error> {
        Ok(match source {
            KeySetSource::File(path) => Source::File(path.clone()),
            KeySetSource::Url(uri) => Source::Url {
                uri: uri.clone(),
                // A connection that is used once in minutes is not worth keeping.
                client: Box::new(
                    Client::builder(TokioExecutor::new())
                        .pool_max_idle_per_host(0)
                        .build(connector()?),
                ),
            },
        })
    }

    /// Fetches the current set.
    pub(super) async fn fetch(&self) -> Result<Bytes, FetchError> {
        let fetching = async {
            match self {
                Source::File(path) => read(path).await,
                Source::Url { uri, client } => get(uri, client).await,
            }
        };
        timeout(FETCH_TIMEOUT, fetching)
            .await
            .unwrap_or(Err(FetchError::Late))
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File(path) => write!(f, "File({})", path.display()),
            Source::Url { uri, .. } => write!(f, "Url({:?})", uri.host()),
        }
    }
}

/// Trusts the certificates of the machine, to which an operator may add; if there are none, Mozilla's.
fn connector() -> Result<HttpsConnector<HttpConnector>, rustls::Error> {
    let builder =
        HttpsConnectorBuilder::new().with_provider_and_native_roots(aws_lc_rs::default_provider());
    let builder = match builder {
        Ok(builder) => builder,
        Err(_) => HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(aws_lc_rs::default_provider())?,
    };
    Ok(builder.https_or_http().enable_http1().build())
}

async fn read(path: &Path) -> Result<Bytes, FetchError> {
    let file = tokio::fs::File::open(path).await?;
    let mut bytes = Vec::new();
    let one_more = BYTES_MAX as u64 + 1;
    file.take(one_more).read_to_end(&mut bytes).await?;
    match bytes.len() > BYTES_MAX {
        true => Err(FetchError::Large),
        false => Ok(bytes.into()),
    }
}

async fn get(
    uri: &Uri,
    client: &Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
) -> Result<Bytes, FetchError> {
    let request = Request::get(uri)
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, concat!("holdfast/", env!("CARGO_PKG_VERSION")))
        .body(Empty::new())
        .map_err(|error| FetchError::Line(error.to_string()))?;
    let answer = client
        .request(request)
        .await
        .map_err(|error| FetchError::Line(cause(&error)))?;
    if answer.status() != StatusCode::OK {
        return Err(FetchError::Status(answer.status()));
    }
    let body = Limited::new(answer.into_body(), BYTES_MAX).collect().await;
    match body {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(FetchError::Large),
        Err(error) => Err(FetchError::Line(error.to_string())),
    }
}

/// Returns the innermost error: the library's own text is "client error".
fn cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
