//! `holdfast config`: shows the configuration in effect, checks it, or writes a file to start from.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::ConfigFlags;
use crate::config::{Config, Loaded, SAMPLE, Setting, create_private_file};
use crate::daemon::StartError;

#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Print the configuration in effect; secrets are redacted
    Show {
        /// Show the origin of each value
        #[arg(long)]
        origin: bool,
    },
    /// Check if `serve` would start with this configuration
    Check,
    /// Write a file with every key, its default and its meaning
    Init {
        /// The file to write; an existing one is never overwritten
        #[arg(default_value = "holdfast.toml")]
        path: PathBuf,
    },
}

impl ConfigVerb {
    pub fn run(&self, flags: &ConfigFlags) -> Result<(), StartError> {
        match self {
            ConfigVerb::Show { origin } => {
                let loaded = Config::load_with_origins(&flags.flags())?;
                print(&shown(&loaded, *origin))
            }
            ConfigVerb::Check => {
                let loaded = Config::load_with_origins(&flags.flags())?;
                loaded.config.check_safe_start()?;
                let file = match &loaded.file {
                    Some(path) => path.display().to_string(),
                    None => "no file".to_owned(),
                };
                print(&format!("the configuration is valid ({file})\n"))
            }
            ConfigVerb::Init { path } => init(path),
        }
    }
}

fn init(path: &Path) -> Result<(), StartError> {
    // Only this user may read it, because it will contain secrets.
    let written = create_private_file(path).and_then(|mut file| file.write_all(SAMPLE.as_bytes()));
    match written {
        Ok(()) => print(&format!(
            "wrote {path}; start with: holdfast serve --config {path}\n",
            path = path.display()
        )),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let path = path.display();
            Err(StartError::Failure(format!(
                "{path} exists already and is not overwritten; remove it or name another file"
            )))
        }
        Err(error) => {
            let path = path.display();
            Err(StartError::Failure(format!("cannot write {path}: {error}")))
        }
    }
}

/// Returns the configuration as TOML that could be read again, except for the redacted secrets.
fn shown(loaded: &Loaded, with_origin: bool) -> String {
    let mut text = String::new();
    let mut current = "";
    for setting in &loaded.settings {
        let (section, key) = setting.key.rsplit_once('.').unwrap_or(("", &setting.key));
        if section != current {
            text.push_str(&format!("\n[{section}]\n"));
            current = section;
        }
        text.push_str(&line(setting, key));
        if with_origin {
            // Writing into a String cannot fail.
            let _ = write!(text, "  # {}", setting.origin);
        }
        text.push('\n');
    }
    text
}

fn line(setting: &Setting, key: &str) -> String {
    match &setting.shown {
        Some(value) => format!("{key} = {value}"),
        None => format!("# {key} is not set"),
    }
}

fn print(text: &str) -> Result<(), StartError> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => Ok(()),
        // The reader has closed the pipe, as `| head` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(StartError::Failure(format!("cannot print: {error}"))),
    }
}
