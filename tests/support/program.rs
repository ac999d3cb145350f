//! Programs that the tests start, each with output of its own.
//!
//! A program that makes its standard output or error non-blocking, as Node does with pipes, makes it so for everybody
//! who shares it: the report of the tests is then cut off. So no program shares them with the tests.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::process::{Command, Output, Stdio};
use std::thread;

/// Returns a program without input, whose output goes nowhere unless the test redirects it.
pub(crate) fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Runs a program to its end and returns all that it wrote.
pub(crate) fn output(command: &mut Command) -> io::Result<Output> {
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
}

/// Runs a program that has to succeed.
#[track_caller]
pub(crate) fn run(command: &mut Command) {
    let output = output(command).unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The standard error of a program, which is shown if its test fails.
#[derive(Debug)]
pub(crate) struct ErrorOutput(File);

impl ErrorOutput {
    /// Keeps what the program will write.
    pub(crate) fn of(command: &mut Command) -> ErrorOutput {
        let file = tempfile::tempfile().unwrap();
        command.stderr(file.try_clone().unwrap());
        ErrorOutput(file)
    }
}

impl Drop for ErrorOutput {
    fn drop(&mut self) {
        let mut text = String::new();
        if thread::panicking()
            && self.0.rewind().is_ok()
            && self.0.read_to_string(&mut text).is_ok()
            && !text.is_empty()
        {
            eprintln!("the program's standard error:\n{text}");
        }
    }
}
