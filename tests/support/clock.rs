//! A wall clock that a test sets, and a disk that it has fail: small libraries in the daemon's process stand between it
//! and the system.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::program::{program, run};

/// The libraries in C: what stands between a program and the system can be written in no other way.
const LIBRARIES: [&str; 2] = [
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/clock.c"),
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/sync.c"),
];

/// The wall clock of one daemon, over its restarts.
#[derive(Debug)]
pub(crate) struct WallClock {
    library: PathBuf,
    skew: PathBuf,
    sync_fails: PathBuf,
}

impl WallClock {
    /// A clock that is right.
    pub(super) fn make(folder: &Path) -> WallClock {
        let clock = WallClock {
            library: folder.join("clock.so"),
            skew: folder.join("skew"),
            sync_fails: folder.join("sync_fails"),
        };
        let mut compiler = program("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]);
        run(compiler.arg(&clock.library).args(LIBRARIES));
        fs::write(&clock.skew, 0_i64.to_ne_bytes()).unwrap();
        clock
    }

    /// Has a command go by the clock, if there is one.
    pub(super) fn put_into(clock: Option<&WallClock>, command: &mut Command) {
        if let Some(clock) = clock {
            command.env("LD_PRELOAD", &clock.library);
            command.env("TEST_CLOCK_SKEW", &clock.skew);
            command.env("TEST_SYNC_FAILS", &clock.sync_fails);
        }
    }

    /// Sets it so much ahead of the right time, at once.
    pub(crate) fn is_ahead_by(&self, time: Duration) {
        self.is_wrong_by(i64::try_from(time.as_secs()).unwrap());
    }

    /// Sets it so much behind the right time, at once.
    pub(crate) fn is_behind_by(&self, time: Duration) {
        self.is_wrong_by(-i64::try_from(time.as_secs()).unwrap());
    }

    /// Has each fsync of the daemon fail from here on, or none.
    pub(crate) fn has_each_sync_fail(&self, fails: bool) {
        match fails {
            true => fs::write(&self.sync_fails, "").unwrap(),
            false => fs::remove_file(&self.sync_fails).unwrap(),
        }
    }

    fn is_wrong_by(&self, seconds: i64) {
        // In place: the daemon has the file in its memory.
        let mut file = File::options().write(true).open(&self.skew).unwrap();
        file.write_all(&seconds.to_ne_bytes()).unwrap();
    }
}
