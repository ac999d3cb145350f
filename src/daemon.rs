//! Builds every part in order, serves, and stops them in reverse.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::config::{Config, ConfigError, FolderError};
use crate::telemetry;

/// Why the daemon did not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen on {address}: {source}")]
    Port {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("the database cannot be used: {0}")]
    Database(String),
    #[error("another daemon is running: {0}")]
    SecondDaemon(String),
    #[error(transparent)]
    DataFolder(#[from] FolderError),
    #[error(transparent)]
    Configuration(#[from] ConfigError),
    #[error("{0}")]
    Failure(String),
}

impl StartError {
    /// What the process ends with, after `sysexits.h`, so that an init system can tell what restarting would
    /// mend.
    pub fn exit_code(&self) -> u8 {
        match self {
            StartError::Failure(_) => 1,
            StartError::Port { .. } | StartError::Database(_) | StartError::SecondDaemon(_) => 69,
            StartError::DataFolder(_) => 77,
            StartError::Configuration(_) => 78,
        }
    }
}

/// Serves until the process is told to stop.
pub async fn run(config: Config) -> Result<(), StartError> {
    config.prepare_data_folder()?;
    let server = listen(config.server.listen).await?;
    let admin = listen(config.admin.listen).await?;
    telemetry::announce_ready(&config, address(&server)?, address(&admin)?);
    let stopped = tokio::signal::ctrl_c().await;
    stopped.map_err(|error| StartError::Failure(error.to_string()))
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|source| StartError::Port { address, source })
}

fn address(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    let address = listener.local_addr();
    address.map_err(|error| StartError::Failure(error.to_string()))
}
