//! Merges the sources, and reads the configuration from them.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::error::ConfigError;
use super::reader::{Reader, Setting};
use super::source::{Sources, exists};
use super::{Config, kind, section, validate};

/// The variable that names the file, as `--config` does.
const FILE_VARIABLE: &str = "HOLDFAST_CONFIG";

/// The file that is read if none is named. The working directory is never searched: the daemon does the same wherever
/// it is started.
const SYSTEM_FILE: &str = "/etc/holdfast/holdfast.toml";

/// The flags that affect the configuration.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--config FILE`
    pub config: Option<PathBuf>,
    /// `--set key=value`, split at the first `=`. The last of one key wins.
    pub set: Vec<(String, String)>,
    /// `--dev`
    pub dev: bool,
}

/// A configuration with the origin of each value.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    /// All keys, section by section.
    pub settings: Vec<Setting>,
    /// The file that was read, if there was one.
    pub file: Option<PathBuf>,
}

impl Config {
    /// Reads file, environment and flags of this process.
    pub fn load(flags: &Flags) -> Result<Config, ConfigError> {
        Config::load_with_origins(flags).map(|loaded| loaded.config)
    }

    /// Does the same as [`Config::load`], and returns the origin of each value.
    pub fn load_with_origins(flags: &Flags) -> Result<Loaded, ConfigError> {
        let variables: Vec<(OsString, OsString)> = std::env::vars_os().collect();
        load_from(flags, &variables, Path::new(SYSTEM_FILE))
    }

    /// Returns the defaults with `--dev` and nothing else.
    pub fn dev_default() -> Config {
        built_in(true)
    }
}

impl Default for Config {
    fn default() -> Config {
        built_in(false)
    }
}

fn built_in(dev: bool) -> Config {
    read(Sources::default(), dev)
        .map(|(config, _)| config)
        .expect("the built-in defaults keep their own limits, as a test checks")
}

fn load_from(
    flags: &Flags,
    variables: &[(OsString, OsString)],
    system_file: &Path,
) -> Result<Loaded, ConfigError> {
    let mut sources = Sources::default();
    let file = named_file(flags, variables)
        .or_else(|| exists(system_file).then(|| (system_file.to_owned(), "system file")));
    if let Some((path, origin)) = &file {
        sources.add_file(path, origin)?;
    }
    sources.add_environment(variables);
    for (key, value) in &flags.set {
        sources.add_flag(key, value);
    }
    let (config, settings) = read(sources, flags.dev)?;
    Ok(Loaded {
        config,
        settings,
        file: file.map(|(path, _)| path),
    })
}

fn named_file(
    flags: &Flags,
    variables: &[(OsString, OsString)],
) -> Option<(PathBuf, &'static str)> {
    let variable = || {
        let named = variables
            .iter()
            .find(|(name, value)| name == OsStr::new(FILE_VARIABLE) && !value.is_empty());
        named.map(|(_, path)| (PathBuf::from(path), "environment HOLDFAST_CONFIG"))
    };
    let flag = flags.config.clone().map(|path| (path, "flag --config"));
    flag.or_else(variable)
}

fn read(sources: Sources, dev: bool) -> Result<(Config, Vec<Setting>), ConfigError> {
    let mut reader = Reader::new(sources);
    for section in section::SECTIONS {
        reader.forget_empty(section);
    }
    let data_dir = section::data_dir(&mut reader);
    let server = section::server(&mut reader);
    let admin = section::admin(&mut reader);
    let database = section::database(&mut reader, &data_dir);
    let persistence = section::persistence(&mut reader);
    let session = section::session(&mut reader);
    let seat_token = section::seat_token(&mut reader);
    let auth = section::auth(&mut reader, dev);
    let client = section::client(&mut reader);
    let admission = section::admission(&mut reader);
    let history = section::history(&mut reader);
    let shutdown = section::shutdown(&mut reader);
    let log = section::log(&mut reader);
    let kind = kind::kinds(&mut reader, session.ttl);
    let faults = section::faults(&mut reader, dev);
    let config = Config {
        dev,
        data_dir,
        server,
        admin,
        database,
        persistence,
        session,
        seat_token,
        auth,
        client,
        admission,
        history,
        shutdown,
        log,
        kind,
        faults,
    };
    validate::check(&mut reader, &config);
    let (settings, problems) = reader.finish();
    if problems.is_empty() {
        Ok((config, settings))
    } else {
        Err(ConfigError::Refused(problems))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Origin, SAMPLE, Wrong};

    fn load(
        flags: &Flags,
        variables: &[(&str, &str)],
        system: &Path,
    ) -> Result<Loaded, ConfigError> {
        let variables: Vec<_> = variables
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)))
            .collect();
        load_from(flags, &variables, system)
    }

    #[test]
    fn the_built_in_defaults_are_accepted_and_only_dev_lets_guests_in() {
        assert!(!Config::default().auth.guests);
        assert!(Config::default().check_safe_start().is_err());
        assert!(Config::dev_default().auth.guests);
        assert!(Config::dev_default().dev);
        assert!(Config::dev_default().check_safe_start().is_ok());
    }

    #[test]
    fn the_sample_makes_the_same_configuration_as_the_defaults() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("holdfast.toml");
        std::fs::write(&path, SAMPLE).unwrap();
        let flags = Flags {
            config: Some(path),
            ..Flags::default()
        };

        let loaded = load(&flags, &[], Path::new("/nonexistent")).unwrap();

        assert_eq!(
            format!("{:?}", loaded.config),
            format!("{:?}", Config::default())
        );
    }

    #[test]
    fn the_file_of_the_system_is_read_where_none_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let system = folder.path().join("holdfast.toml");
        std::fs::write(&system, "data_dir = \"/srv\"").unwrap();

        let loaded = load(&Flags::default(), &[], &system).unwrap();

        assert_eq!(loaded.config.data_dir, Path::new("/srv"));
        let setting = &loaded.settings[0];
        assert_eq!(setting.origin, Origin::File(system));
    }

    #[test]
    fn the_data_folder_goes_into_the_address_of_the_database() {
        use secrecy::ExposeSecret;
        let variables = [("HOLDFAST_DATA_DIR", "/srv/a?b")];

        let loaded = load(&Flags::default(), &variables, Path::new("/nonexistent")).unwrap();

        let url = loaded.config.database.url.expose_secret();
        assert_eq!(url, "sqlite:///srv/a%3Fb/holdfast.db");
    }

    #[test]
    fn a_variable_that_is_no_text_is_refused_by_name() {
        use std::os::unix::ffi::OsStringExt;
        let variable = (
            OsString::from("HOLDFAST_DATA_DIR"),
            OsString::from_vec(vec![0xff]),
        );

        let refused = load_from(&Flags::default(), &[variable], Path::new("/nonexistent"));

        let Err(ConfigError::Refused(problems)) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(problems[0].wrong, Wrong::Encoding);
    }
}
