//! `holdfast migrate`: the database's tables, step by step.

use std::fmt::Display;

use clap::Subcommand;

use self::unwired as door;
use crate::config::Config;

/// Why a migration failed, as the database's own door says it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct MigrateFailed(String);

#[derive(Debug, Clone, Subcommand)]
pub enum MigrateVerb {
    /// Take all steps that are missing
    Up,
    /// Take the latest steps back, with the data that they hold
    Down {
        /// How many
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        steps: u32,
    },
    /// Show which steps are taken
    Status,
}

impl MigrateVerb {
    /// Does it, and tells what was done, one line a step.
    pub async fn run(&self, config: &Config) -> Result<Vec<String>, MigrateFailed> {
        match self {
            MigrateVerb::Up => {
                let steps = door::migrate_up(config).await.map_err(failed)?;
                Ok(told(steps, "up to date already", "taken"))
            }
            MigrateVerb::Down { steps } => {
                let steps = door::migrate_down(config, *steps).await.map_err(failed)?;
                Ok(told(steps, "no step to take back", "taken back"))
            }
            MigrateVerb::Status => {
                let steps = door::migrate_status(config).await.map_err(failed)?;
                let line = |(name, is_taken): (String, bool)| {
                    format!("{}  {name}", if is_taken { "taken  " } else { "missing" })
                };
                Ok(steps.into_iter().map(line).collect())
            }
        }
    }
}

fn told(steps: Vec<String>, nothing: &str, done: &str) -> Vec<String> {
    if steps.is_empty() {
        return vec![nothing.to_owned()];
    }
    let line = |name: String| format!("{done}  {name}");
    steps.into_iter().map(line).collect()
}

fn failed(error: impl Display) -> MigrateFailed {
    MigrateFailed(error.to_string())
}

/// Stands where `crate::persistence` gives these three.
mod unwired {
    use crate::config::Config;

    const ABSENT: &str = "this build has no migrations";

    pub(super) async fn migrate_up(_: &Config) -> Result<Vec<String>, &'static str> {
        Err(ABSENT)
    }

    pub(super) async fn migrate_down(_: &Config, _: u32) -> Result<Vec<String>, &'static str> {
        Err(ABSENT)
    }

    pub(super) async fn migrate_status(_: &Config) -> Result<Vec<(String, bool)>, &'static str> {
        Err(ABSENT)
    }
}
