//! `holdfast migrate`: the database's tables, step by step.

use clap::Subcommand;

use crate::config::Config;
use crate::persistence::{MigrationState, OpenError, migrate_down, migrate_status, migrate_up};

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
    pub async fn run(&self, config: &Config) -> Result<Vec<String>, OpenError> {
        let before = migrate_status(config).await?;
        match self {
            MigrateVerb::Up => {
                migrate_up(config).await?;
                let after = migrate_status(config).await?;
                Ok(told(&before, &after, "up to date already", "taken"))
            }
            MigrateVerb::Down { steps } => {
                migrate_down(config, *steps).await?;
                let after = migrate_status(config).await?;
                Ok(told(&before, &after, "no step to take back", "taken back"))
            }
            MigrateVerb::Status => Ok(before
                .iter()
                .map(|step| {
                    let state = if step.is_applied {
                        "taken  "
                    } else {
                        "missing"
                    };
                    format!("{state}  {}", step.name)
                })
                .collect()),
        }
    }
}

/// One line for each step that is another than before.
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
