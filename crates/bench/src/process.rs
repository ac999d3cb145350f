//! Resources that a process uses, from Linux's `/proc`. On other systems nothing is known.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

/// The unit of processor time in `/proc`, on every architecture in use.
const TICK: Duration = Duration::from_millis(10);

/// Descriptors that a process has besides those of its clients.
const OTHER_FILES: u64 = 100;

/// A process on this machine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Process(u32);

impl Process {
    pub(super) fn of(pid: u32) -> Process {
        Process(pid)
    }

    pub(super) fn this() -> Process {
        Process(std::process::id())
    }

    /// Returns the processor time used so far, by all threads, in user and system mode.
    pub(super) fn cpu(self) -> Option<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0)).ok()?;
        // The name in parentheses may contain spaces. After it come the state and ten more numbers.
        let (_, fields) = stat.rsplit_once(')')?;
        let mut times = fields.split_whitespace().skip(11);
        let user: u32 = times.next()?.parse().ok()?;
        let system: u32 = times.next()?.parse().ok()?;
        Some(TICK * (user + system))
    }

    /// Returns the number of cores that it may run on.
    pub(super) fn cores(self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0)).ok()?;
        let mask = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed:"))?;
        let bits = mask.chars().filter_map(|digit| digit.to_digit(16));
        Some(bits.map(|digit| u64::from(digit.count_ones())).sum())
    }

    /// Returns the resident memory, in KiB.
    pub(super) fn resident_kib(self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0)).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse().ok()
    }
}

/// Returns the command that runs a program on the first `cores` cores only.
pub(super) fn on_cores(program: &Path, cores: Option<u16>) -> Command {
    let Some(cores) = cores else {
        return Command::new(program);
    };
    // `taskset` replaces itself with the program, so the process has the same id.
    let mut command = Command::new("taskset");
    command
        .arg("-c")
        .arg(format!("0-{}", cores - 1))
        .arg(program);
    command
}

/// Moves this process off the first `cores` cores, if there are more.
///
/// # Errors
/// If `taskset` (of util-linux) cannot be run.
pub(super) fn leave_cores(cores: u16) -> io::Result<()> {
    let all = thread::available_parallelism()?.get();
    if usize::from(cores) >= all {
        return Ok(());
    }
    let left = format!("{cores}-{}", all - 1);
    // All threads, because those of the runtime already exist.
    let set = Command::new("taskset")
        .args(["-a", "-c", "-p", &left, &std::process::id().to_string()])
        .output()?;
    if set.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&set.stderr).trim().to_owned();
    Err(io::Error::other(words))
}

/// Returns the descriptors that a process needs for its clients, and the limit, if the limit is too low.
pub(super) fn lacking_files(clients: u32) -> Option<(u64, u64)> {
    let needed = u64::from(clients) + OTHER_FILES;
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    let limit: u64 = line.split_whitespace().next()?.parse().ok()?;
    (limit < needed).then_some((needed, limit))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_uses_time_and_memory() {
        let this = Process::this();
        let before = this.cpu().unwrap();
        let mut number = 0_u64;
        while this.cpu().unwrap() == before {
            number = std::hint::black_box(number.wrapping_add(1));
        }
        assert!(this.resident_kib().unwrap() > 1_000);
    }

    #[test]
    fn a_process_has_as_many_cores_as_it_may_use() {
        let cores = thread::available_parallelism().unwrap().get() as u64;
        assert!(Process::this().cores().unwrap() >= cores);
    }

    #[test]
    fn more_clients_than_descriptors_are_noticed() {
        assert_eq!(lacking_files(1), None);
        let (needed, limit) = lacking_files(u32::MAX).unwrap_or((1, 0));
        assert!(needed > limit);
    }
}
