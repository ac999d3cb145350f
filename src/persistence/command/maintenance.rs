//! Commands that no player asks for directly.

use super::Command;
use crate::persistence::sweep::Sweep;

/// Work on rows that belong to nobody in particular.
#[derive(Debug, Clone)]
pub enum MaintenanceCommand {
    Sweep(Sweep),
    /// No change: only its idempotency key is looked up, and its response stored if it has one.
    Nothing,
}

impl From<MaintenanceCommand> for Command {
    fn from(command: MaintenanceCommand) -> Command {
        Command::Maintenance(command)
    }
}
