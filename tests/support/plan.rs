//! What a daemon under test is started with.

use std::path::{Path, PathBuf};

use super::daemon::API_KEY;
use super::{Daemon, Database, Disk, Server};

/// What a daemon will be started with.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(super) database: Database,
    pub(super) settings: Vec<(String, String)>,
    pub(super) is_behind_proxy: bool,
    pub(super) has_clock: bool,
    pub(super) trusted: Option<PathBuf>,
    /// None: the PostgreSQL of all tests.
    pub(super) server: Option<String>,
    /// None: a folder among the test's own.
    pub(super) data_dir: Option<PathBuf>,
    pub(super) is_respawned: bool,
    pub(super) wrapper: &'static [&'static str],
}

impl Plan {
    pub(super) fn on(database: Database) -> Plan {
        Plan {
            database,
            settings: Vec::new(),
            is_behind_proxy: false,
            has_clock: false,
            trusted: None,
            server: None,
            data_dir: None,
            is_respawned: false,
            wrapper: &[],
        }
    }

    /// Adds `--set key=value`.
    pub(crate) fn set(mut self, key: &str, value: &str) -> Plan {
        self.settings.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Lets the game's own server in.
    pub(crate) fn with_api_key(self) -> Plan {
        self.set("auth.api_keys", &format!("[\"{API_KEY}\"]"))
    }

    /// Puts a proxy between the daemon and its PostgreSQL.
    pub(crate) fn behind_proxy(mut self) -> Plan {
        self.is_behind_proxy = true;
        self
    }

    /// Gives it a wall clock that the test sets.
    pub(crate) fn with_wall_clock(mut self) -> Plan {
        self.has_clock = true;
        self
    }

    /// Has it trust the certificates of this file alone.
    pub(crate) fn trusting(mut self, certificates: &Path) -> Plan {
        self.trusted = Some(certificates.to_owned());
        self
    }

    /// Gives it a PostgreSQL that no other test uses.
    pub(crate) fn on_server(mut self, server: &Server) -> Plan {
        self.server = Some(server.url());
        self
    }

    /// Keeps its data on a disk of its own.
    pub(crate) fn on_disk(mut self, disk: &Disk) -> Plan {
        self.data_dir = Some(disk.path().join("data"));
        self
    }

    /// Keeps its data in a folder that the test has made.
    pub(crate) fn in_folder(mut self, folder: &Path) -> Plan {
        self.data_dir = Some(folder.to_owned());
        self
    }

    /// Has it make files that anybody may read and write, where it asks for nothing else.
    pub(crate) fn with_open_umask(self) -> Plan {
        self.under(&["sh", "-c", "umask 0; exec \"$0\" \"$@\""])
    }

    /// Has a parent start it again whenever it is killed.
    pub(crate) fn respawned(mut self) -> Plan {
        self.is_respawned = true;
        self
    }

    /// Has another command start it, such as `nohup`, with the daemon's own as its further arguments.
    pub(crate) fn under(mut self, wrapper: &'static [&'static str]) -> Plan {
        self.wrapper = wrapper;
        self
    }

    /// Starts it and waits until it is ready.
    pub(crate) async fn start(self) -> Daemon {
        Daemon::start(self).await
    }
}
