//! A small disk of one test's own, to fill and to make read-only.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use tempfile::TempDir;

use super::program::{program, run};
use super::server::is_root;

/// More than the databases of these tests need, and quick to fill.
const SIZE: &str = "size=48m";

/// What fills the disk.
const BALLAST: &str = "ballast";

/// A file system in memory. It is unmounted when it is dropped.
#[derive(Debug)]
pub(crate) struct Disk {
    folder: TempDir,
}

impl Disk {
    /// None, and says why, where the test may not mount anything.
    pub(crate) fn mount() -> Option<Disk> {
        if !is_root() {
            eprintln!("skipped: only root may mount a small disk");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let options = ["-t", "tmpfs", "-o", SIZE, "holdfast-test"];
        run(program("mount").args(options).arg(folder.path()));
        Some(Disk { folder })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes until there is no room for a single byte more.
    pub(crate) fn fill(&self) {
        let mut ballast = File::create(self.path().join(BALLAST)).unwrap();
        let mut chunk = vec![0_u8; 1 << 20];
        while !chunk.is_empty() {
            if ballast.write_all(&chunk).is_err() {
                chunk.truncate(chunk.len() / 2);
            }
        }
    }

    pub(crate) fn make_room(&self) {
        fs::remove_file(self.path().join(BALLAST)).unwrap();
    }

    pub(crate) fn set_read_only(&self, is_read_only: bool) {
        let options = if is_read_only {
            "remount,ro"
        } else {
            "remount,rw"
        };
        run(program("mount").args(["-o", options]).arg(self.path()));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, so that it goes even if something still has a file open there.
        let _ = program("umount").arg("-l").arg(self.path()).status();
    }
}
