//! `holdfast migrate`: the migrations of the database's tables.

use clap::Subcommand;

use crate::config::Config;
use crate::persistence::{MigrationState, OpenError, migrate_down, migrate_status, migrate_up};

#[derive(Debug, Clone, Subcommand)]
pub enum MigrateVerb {
    /// Apply all pending migrations
    Up,
    /// Revert the latest migrations, with the data in their tables
    Down {
        /// How many
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        steps: u32,
    },
    /// Show which migrations are applied
    Status,
}

impl MigrateVerb {
    /// Runs the command. Returns the lines to print, one for each migration.
    pub async fn run(&self, config: &Config) -> Result<Vec<String>, OpenError> {
        let before = migrate_status(config).await?;
        match self {
            MigrateVerb::Up => {
                migrate_up(config).await?;
                let after = migrate_status(config).await?;
                Ok(told(&before, &after, "up to date already", "applied"))
            }
            MigrateVerb::Down { steps } => {
                migrate_down(config, *steps).await?;
                let after = migrate_status(config).await?;
                Ok(told(&before, &after, "nothing to revert", "reverted"))
            }
            MigrateVerb::Status => Ok(before
                .iter()
                .map(|step| {
                    let state = if step.is_applied {
                        "applied"
                    } else {
                        "pending"
                    };
                    format!("{state}  {}", step.name)
                })
                .collect()),
        }
    }
}

/// Returns one line for each migration whose state has changed.
fn told(
    before: &[MigrationState],
    after: &[MigrationState],
    nothing: &str,
    done: &str,
) -> Vec<String> {
    let lines: Vec<_> = before
        .iter()
        .zip(after)
        .filter(|(before, after)| before.is_applied != after.is_applied)
        .map(|(step, _)| format!("{done}  {}", step.name))
        .collect();
    if lines.is_empty() {
        return vec![nothing.to_owned()];
    }
    lines
}
