//! The command line: commands, flags, and their help.

mod configuration;
mod migrate;
mod respawn;

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, ConfigError, Flags};
use holdfast_bench::BenchVerb;

pub use configuration::ConfigVerb;
pub use migrate::MigrateVerb;
pub use respawn::respawn;

/// The flag that a parent process adds for its child; users do not set it.
const HAS_PARENT: &str = "has-parent";

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "holdfast", version, about, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the hub until a signal stops it
    Serve {
        #[command(flatten)]
        flags: ConfigFlags,
        /// Restart the hub when it is killed, and let the playground kill it
        #[arg(long, requires = "dev")]
        respawn: bool,
        #[arg(long = HAS_PARENT, hide = true, requires = "respawn")]
        has_parent: bool,
    },
    /// Apply or revert the migrations of the database's tables, or show their state
    Migrate {
        #[command(subcommand)]
        verb: MigrateVerb,
        #[command(flatten)]
        flags: ConfigFlags,
    },
    /// Show, check or write the configuration
    Config {
        #[command(subcommand)]
        verb: ConfigVerb,
        #[command(flatten)]
        flags: ConfigFlags,
    },
    /// Measure a hub: a load generator that connects as its clients do
    Bench {
        #[command(subcommand)]
        verb: BenchVerb,
    },
    /// Print the version
    Version {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

/// Flags of every command that reads the configuration.
#[derive(Debug, Clone, Args)]
pub struct ConfigFlags {
    /// For trying things out: guests are allowed, and the data folder is created
    #[arg(long, global = true)]
    dev: bool,
    /// The configuration file [default: HOLDFAST_CONFIG, else /etc/holdfast/holdfast.toml if it exists]
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Set one key, such as server.listen=0.0.0.0:7450; wins over file and environment
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value, global = true)]
    set: Vec<(String, String)>,
}

impl ConfigFlags {
    /// Loads the configuration that these flags select.
    pub fn load(&self) -> Result<Config, ConfigError> {
        Config::load(&self.flags())
    }

    fn flags(&self) -> Flags {
        Flags {
            config: self.config.clone(),
            set: self.set.clone(),
            dev: self.dev,
        }
    }
}

/// Prints the version.
pub fn print_version(json: bool) -> io::Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let faults = cfg!(feature = "faults");
    let mut out = io::stdout().lock();
    if json {
        let version = serde_json::json!({"name": "holdfast", "version": version, "faults": faults});
        writeln!(out, "{version}")
    } else {
        writeln!(out, "holdfast {version}")
    }
}

fn key_value(text: &str) -> Result<(String, String), &'static str> {
    // The error leaves the text out: a value may be a secret.
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.to_owned()))
        }
        Some(_) | None => Err("write it as key=value, such as server.listen=0.0.0.0:7450"),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
