//! What an operator can rely on when configuring the daemon: what wins, what is refused, what stays secret.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

use crate::support::{Issuer, output, program};

const SAMPLE: &str = include_str!("../config/holdfast.toml");

/// A machine with an empty environment and a working directory of its own.
struct Machine {
    folder: TempDir,
    environment: Vec<(String, String)>,
}

/// How a command ended.
struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl Machine {
    fn new() -> Machine {
        Machine {
            folder: tempfile::tempdir().expect("a temporary folder"),
            environment: Vec::new(),
        }
    }

    fn with(mut self, variable: &str, value: impl Into<String>) -> Machine {
        self.environment.push((variable.to_owned(), value.into()));
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).expect("a file in the temporary folder");
        self.path(name).display().to_string()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program(env!("CARGO_BIN_EXE_holdfast"));
        command
            .env_clear()
            .envs(self.environment.iter().cloned())
            .current_dir(self.folder.path())
            .args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        let Output {
            status,
            stdout,
            stderr,
        } = output(&mut self.command(arguments)).expect("the binary runs");
        Ended {
            code: status.code().unwrap_or(-1),
            out: String::from_utf8(stdout).expect("text"),
            err: String::from_utf8(stderr).expect("text"),
        }
    }

    /// Runs a command that has to be refused for its configuration, and gives what it said.
    #[track_caller]
    fn refused(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert_eq!(ended.code, 78, "{}{}", ended.out, ended.err);
        ended.err
    }

    /// What `config show` says with these further arguments.
    #[track_caller]
    fn shown(&self, arguments: &[&str]) -> String {
        let ended = self.run(&[&["config", "show"], arguments].concat());
        assert_eq!(ended.code, 0, "{}", ended.err);
        ended.out
    }
}

/// The value of a key as `config show` prints it.
#[track_caller]
fn value<'a>(shown: &'a str, section: &str, key: &str) -> &'a str {
    let mut current = "";
    for line in shown.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            current = name;
        } else if let Some((name, value)) = line.split_once(" = ")
            && current == section
            && name == key
        {
            return value;
        }
    }
    panic!("no {section}.{key} in\n{shown}");
}

#[track_caller]
fn says(text: &str, parts: &[&str]) {
    let missing: Vec<_> = parts.iter().filter(|part| !text.contains(**part)).collect();
    assert!(missing.is_empty(), "{missing:?} is missing in\n{text}");
}

/// A value given by flag is refused, naming flag and key, with what is allowed.
#[track_caller]
fn refuses(key: &str, value: &str, allowed: &str) {
    let flag = format!("{key}={value}");
    let said = Machine::new().refused(&["config", "show", "--set", &flag]);
    says(&said, &[&format!("flag --set {key}: {key}"), allowed]);
}

#[test]
fn flags_win_over_the_environment_over_the_file_over_the_defaults() {
    let machine = Machine::new()
        .with("HOLDFAST_CLIENT__PING", "12s")
        .with("HOLDFAST_CLIENT__CHANNELS_MAX", "12");
    let text = "[client]\nping = \"11s\"\nchannels_max = 11\nrecovery_max = 11\n";
    let file = machine.write("a.toml", text);

    let shown = machine.shown(&["--config", &file, "--set", "client.ping=13s"]);

    assert_eq!(value(&shown, "client", "ping"), "\"13s\"");
    assert_eq!(value(&shown, "client", "channels_max"), "12");
    assert_eq!(value(&shown, "client", "recovery_max"), "11");
    assert_eq!(value(&shown, "client", "pong_timeout"), "\"8s\"");
}

#[test]
fn each_value_tells_where_it_came_from() {
    let machine = Machine::new().with("HOLDFAST_CLIENT__CHANNELS_MAX", "12");
    let file = machine.write("a.toml", "[client]\nrecovery_max = 11\n");

    let set = ["--dev", "--config", &file, "--set", "client.ping=13s"];
    let shown = machine.shown(&[&["--origin"][..], &set].concat());

    let recovery = format!("recovery_max = 11  # file {file}");
    says(
        &shown,
        &[
            "ping = \"13s\"  # flag --set client.ping",
            "channels_max = 12  # environment HOLDFAST_CLIENT__CHANNELS_MAX",
            &recovery,
            "pong_timeout = \"8s\"  # default\n",
            "guests = true  # default of --dev",
        ],
    );
}

#[test]
fn the_file_is_named_by_the_flag_or_else_by_the_environment() {
    let machine = Machine::new();
    let one = machine.write("one.toml", "data_dir = \"one\"\n");
    let two = machine.write("two.toml", "data_dir = \"two\"\n");
    let machine = machine.with("HOLDFAST_CONFIG", one);

    assert_eq!(value(&machine.shown(&[]), "", "data_dir"), "\"one\"");
    let shown = machine.shown(&["--config", &two]);
    assert_eq!(value(&shown, "", "data_dir"), "\"two\"");
}

#[test]
fn a_file_that_is_named_and_missing_stops_the_start() {
    let said = Machine::new().refused(&["serve", "--dev", "--config", "none.toml"]);
    says(&said, &["flag --config", "cannot read none.toml"]);

    let machine = Machine::new().with("HOLDFAST_CONFIG", "none.toml");
    let said = machine.refused(&["serve", "--dev"]);
    says(&said, &["environment HOLDFAST_CONFIG", "none.toml"]);
}

#[test]
fn the_shipped_file_states_exactly_the_defaults() {
    let machine = Machine::new();
    let file = machine.write("holdfast.toml", SAMPLE);

    assert_eq!(machine.shown(&["--config", &file]), machine.shown(&[]));
    assert_eq!(
        machine.shown(&["--dev", "--config", &file]),
        machine.shown(&["--dev"])
    );
}

#[test]
fn the_shipped_file_has_every_key_with_a_comment() {
    let shown = Machine::new().shown(&[]);
    let mut section = "";
    for line in shown.lines() {
        if line.starts_with('[') {
            section = line;
        }
        let Some((key, _)) = line.trim_start_matches("# ").split_once(' ') else {
            continue;
        };
        // The other kinds that ship repeat only what they change, and test hooks are no setting.
        if !["[kind.duel]", "[kind.lobby]", "[faults]"].contains(&section) {
            assert_commented(section, key);
        }
    }
}

#[track_caller]
fn assert_commented(section: &str, key: &str) {
    let part = if section.is_empty() {
        SAMPLE
    } else {
        let start = format!("{section}\n");
        SAMPLE.split_once(&start).map_or("", |(_, part)| part)
    };
    let part = part.split("\n[").next().unwrap_or(part);
    let lines: Vec<&str> = part.lines().collect();
    let states = |line: &&str| {
        line.trim_start_matches("# ")
            .starts_with(&format!("{key} = "))
    };
    let place = lines.iter().position(states);
    let place = place.unwrap_or_else(|| panic!("{section} {key} is not in the file"));
    assert!(
        place > 0 && lines[place - 1].starts_with("# "),
        "{section} {key} has no comment"
    );
}

#[test]
fn without_any_configuration_the_defaults_hold() {
    let shown = Machine::new().shown(&[]);

    assert_eq!(value(&shown, "", "data_dir"), "\"data\"");
    assert_eq!(value(&shown, "server", "listen"), "\"127.0.0.1:7450\"");
    assert_eq!(value(&shown, "auth", "guests"), "false");
    assert_eq!(value(&shown, "client", "message_max"), "\"64KiB\"");
    assert_eq!(value(&shown, "session", "ttl"), "\"7d\"");
    assert_eq!(value(&shown, "kind.table", "seats"), "6");
    assert_eq!(value(&shown, "kind.table", "subscribe"), "\"seated\"");
    assert_eq!(value(&shown, "kind.duel", "seats"), "2");
    assert_eq!(value(&shown, "kind.duel", "history_durable"), "true");
    assert_eq!(value(&shown, "kind.lobby", "subscribe"), "\"anyone\"");
    assert_eq!(value(&shown, "kind.lobby", "publish"), "\"members\"");
}

#[test]
fn personal_channels_need_a_kind_to_be_of() {
    let machine = Machine::new();
    let check = ["config", "show", "--set", "auth.personal_channel=true"];
    let seated = [check.as_slice(), &["--set", "kind.default.seats=2"]].concat();
    for arguments in [check.as_slice(), &seated] {
        let said = machine.refused(arguments);
        says(
            &said,
            &["auth.personal_channel: needs [kind.default] with seats = 0"],
        );
    }
    let open = [check.as_slice(), &["--set", "kind.default.seats=0"]].concat();
    assert_eq!(machine.run(&open).code, 0);
}

#[test]
fn a_file_in_the_working_directory_is_not_read_unasked() {
    let machine = Machine::new();
    machine.write("holdfast.toml", "data_dir = \"elsewhere\"\n");
    fs::create_dir(machine.path("config")).expect("a folder");
    machine.write("config/holdfast.toml", "data_dir = \"elsewhere\"\n");

    assert_eq!(value(&machine.shown(&[]), "", "data_dir"), "\"data\"");
}

#[test]
fn an_unknown_key_is_refused_from_every_source_with_the_key_that_was_meant() {
    let machine = Machine::new();
    let file = machine.write(
        "a.toml",
        "[server]\nlisten_on = \"x\"\n[clint]\nping = \"9s\"\n",
    );
    let said = machine.refused(&["serve", "--dev", "--config", &file]);
    let in_file =
        format!("file {file}: server.listen_on: unknown key; did you mean server.listen?");
    says(
        &said,
        &[
            &in_file,
            "clint.ping: unknown key; did you mean client.ping?",
        ],
    );

    let machine = Machine::new().with("HOLDFAST_SERVER_LISTEN", "127.0.0.1:0");
    let said = machine.refused(&["serve", "--dev"]);
    says(
        &said,
        &[
            "environment HOLDFAST_SERVER_LISTEN",
            "did you mean HOLDFAST_SERVER__LISTEN?",
        ],
    );

    let said = Machine::new().refused(&["serve", "--dev", "--set", "sever.listen=x"]);
    says(
        &said,
        &["flag --set sever.listen", "did you mean server.listen?"],
    );
}

#[test]
fn an_unknown_section_without_keys_is_refused() {
    let machine = Machine::new();
    let file = machine.write("a.toml", "[clientele]\n[client]\n");

    let said = machine.refused(&["config", "show", "--config", &file]);

    says(&said, &["clientele: unknown key"]);
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn a_section_written_as_a_key_is_told_apart_from_a_typing_error() {
    let said = Machine::new().refused(&["config", "show", "--set", "shutdown=30s"]);
    says(&said, &["is a section", "timeout, clients_per_second"]);

    let said = Machine::new().refused(&["config", "show", "--set", "kind=table"]);
    says(&said, &["its keys are duel, lobby, table\n"]);
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let machine = Machine::new().with("HOLDFAST_CLIENT__PING", "25");
    let file = machine.write("a.toml", "[server]\nconnections_max = \"many\"\n");

    let said = machine.refused(&["serve", "--config", &file, "--set", "log.format=xml"]);

    let in_file = format!("file {file}: server.connections_max: found \"many\"");
    says(
        &said,
        &[
            &in_file,
            "from 1 to 10000000",
            "environment HOLDFAST_CLIENT__PING: client.ping: found \"25\"",
            "flag --set log.format: log.format: found \"xml\", expected \"auto\", \"text\", \"json\"",
        ],
    );
}

#[test]
fn values_outside_their_limits_are_refused_with_the_limit() {
    refuses("server.listen", "127.0.0.1:70000", "a port from 0 to 65535");
    refuses("server.listen", "7450", "127.0.0.1:7450");
    refuses(
        "server.allowed_origins",
        "game.example",
        "https://game.example",
    );
    refuses("server.trusted_proxies", "10.0.0.0/40", "10.0.0.0/8");
    refuses("client.ping", "25", "with its unit");
    refuses("client.ping", "999ms", "from 1s to 1h");
    refuses("client.ping", "1500ms", "in whole seconds");
    refuses("client.message_max", "1023", "from 1KiB to 16MiB");
    refuses("client.message_max", "17MiB", "from 1KiB to 16MiB");
    refuses("client.message_max", "64KB", "units B, KiB, MiB, GiB");
    refuses("persistence.batch_max", "0", "from 1 to 4096");
    refuses("persistence.batch_max", "4097", "from 1 to 4096");
    refuses("persistence.batch_max", "1e3", "a whole number");
    refuses("kind.table.seats", "1025", "from 0 to 1024");
    refuses("kind.table.seats", "-1", "from 0 to 1024");
    refuses(
        "kind.table.publish",
        "everyone",
        "\"seated\", \"members\", \"anyone\", \"server\"",
    );
    refuses(
        "kind.table.quick_match",
        "on",
        "\"fill\", \"queue\", \"off\"",
    );
    refuses("auth.guests", "yes", "true or false");
    refuses("auth.jwks_url", "game.example", "https://");
    refuses("auth.jwks_url", "ftp://game.example", "file:///");
    refuses("auth.audience", "", "is empty");
    refuses("database.url", "mysql://db", "postgres://");
    refuses("log.level", "infoo", "\"info\"");
}

/// A key of RSA with 1024 bits, one of the curve P-521, and what stands for others.
const SHORT_KEY: &str = "-----BEGIN PUBLIC KEY-----\nMIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDlcUsBfSmNGD0EC1uOuyQlGUxU\n76/GdZT53v65hQqj+xi0oAYpTBjFj6gD8oywTOsO3FD9wN6OhwPtbTb7h1cdPIci\n0sOCZgswXdigaeZjVPiamAoBBkCzXQaMrq+7h9MMia9ACLq5FKL1xkFcZc7aj/d7\n25g2znIuvTH1JE9t0QIDAQAB\n-----END PUBLIC KEY-----\n";
const P521_KEY: &str = "-----BEGIN PUBLIC KEY-----\nMIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQAkPnZklllP5RO2ZcHjvwPqGT3afRT\nvr+1NNw/MpG4GigWmRVQxUtlSE7l4q325c5ujJTKvjHVR9+Lu+kQtG7LSd0AEiBk\nhdbZJyqxioaRRpND1cCX6vrvWTnKtYDMqgqcbBRW+cFaG32DQJp10d2Aijw8oqPN\nf122ZMcte46SM3yHm8g=\n-----END PUBLIC KEY-----\n";

#[test]
fn a_key_that_is_of_no_use_is_refused_without_showing_it() {
    let good = Issuer::ed().public().to_owned();
    for (key, wrong) in [
        (
            "-----BEGIN PRIVATE KEY-----\nMC4s3cret\n-----END PRIVATE KEY-----",
            "is a private key",
        ),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nMC4s3cret\n",
            "is a private key",
        ),
        (
            "-----BEGIN CERTIFICATE-----\nMC4s3cret\n",
            "is a certificate",
        ),
        ("-----BEGIN PUBLIC KEY-----\nMC4s3cret\n", "cannot be read"),
        ("s3cret", "cannot be read"),
        (
            SHORT_KEY,
            "is an RSA key of 1024 bits; it needs at least 2048",
        ),
        (P521_KEY, "is of a type that is not supported"),
    ] {
        let keys = serde_json::json!([good, key]);
        let flag = format!("auth.public_keys={keys}");
        let said = Machine::new().refused(&["config", "check", "--dev", "--set", &flag]);
        says(
            &said,
            &[
                "flag --set auth.public_keys: auth.public_keys: key 2",
                wrong,
            ],
        );
        assert!(!said.contains("s3cret"), "{said}");
    }
}

#[test]
fn a_hub_with_keys_for_jwts_alone_starts_if_they_are_good() {
    let machine = Machine::new();
    let missing = machine.path("keys.json").display().to_string();
    let flag = format!("auth.jwks_url={missing}");
    let data = format!("data_dir={}", machine.path("data").display());
    let serve = [
        "serve",
        "--set",
        &flag,
        "--set",
        &data,
        "--set",
        "server.listen=127.0.0.1:0",
    ];
    let serve = [&serve[..], &["--set", "admin.listen=127.0.0.1:0"]].concat();

    let said = machine.refused(&serve);
    says(
        &said,
        &["auth.jwks_url", &missing, "cannot be read: No such file"],
    );
    machine.write("keys.json", "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}");
    says(
        &machine.refused(&serve),
        &[&missing, "no key that can be used"],
    );
    machine.write("keys.json", "<html>");
    says(&machine.refused(&serve), &[&missing, "it is no key set"]);
    assert!(!machine.path("data/holdfast.db").exists());
}

#[test]
fn the_limits_themselves_are_allowed() {
    let accepts = |flag: &str| {
        let ended = Machine::new().run(&["config", "show", "--set", flag]);
        assert_eq!(ended.code, 0, "{flag}: {}", ended.err);
    };
    accepts("server.listen=[::1]:0");
    accepts("client.message_max=1KiB");
    accepts("client.message_max=1048576");
    accepts("persistence.batch_max=4096");
    accepts("kind.table.seats=1024");
    accepts("kind.table.grace=7d");
    accepts("log.level=warn,holdfast::room=trace");
    accepts("session.ttl=1s");
    accepts("database.connections_max=5");
}

#[test]
fn keys_that_do_not_go_together_are_refused_naming_both() {
    let refused = |flag: &str, parts: &[&str]| {
        says(
            &Machine::new().refused(&["config", "show", "--set", flag]),
            parts,
        );
    };
    refused(
        "client.pong_timeout=25s",
        &["client.pong_timeout: is 25s, which must be shorter than client.ping (25s)"],
    );
    refused(
        "client.ping=5s",
        &["flag --set client.ping", "client.pong_timeout: is 8s"],
    );
    refused(
        "kind.table.grace=8d",
        &["kind.table.grace: is 8d, which must be at most session.ttl (7d)"],
    );
    refused(
        "kind.table.grace_max=4m",
        &["kind.table.grace_max: is 4m, which must be at least kind.table.grace (5m)"],
    );
    refused(
        "kind.table.grace_max=8d",
        &["kind.table.grace_max: is 8d, which must be at most session.ttl (7d)"],
    );
    refused(
        "client.message_max=2MiB",
        &["client.queue_bytes_max", "at least client.message_max"],
    );
    refused(
        "kind.table.teams={red=3,blue=2}",
        &[
            "kind.table.teams: the teams have 5 seats together",
            "the 6 of kind.table.seats",
        ],
    );
    refused(
        "kind.lobby.history_durable=true",
        &["kind.lobby.history_durable: needs seats"],
    );
    refused(
        "kind.duel.history_size=0",
        &["kind.duel.history_durable: needs a history: history_size is 0"],
    );
    refused(
        "database.connections_min=31",
        &["at most database.connections_max (30)"],
    );
}

#[test]
fn a_kind_can_be_changed_and_added_from_every_source() {
    let machine = Machine::new()
        .with("HOLDFAST_KIND__TABLE__SEATS", "4")
        .with("HOLDFAST_KIND__ARENA__TEAMS", "{red=2,blue=2}");
    let file = machine.write(
        "a.toml",
        "[kind.arena]\nseats = 4\nteams = { all = 4 }\n[kind.chat]\n",
    );

    let shown = machine.shown(&["--config", &file, "--set", "kind.arena.grace=1m"]);

    assert_eq!(value(&shown, "kind.table", "seats"), "4");
    assert_eq!(value(&shown, "kind.table", "grace"), "\"5m\"");
    assert_eq!(
        value(&shown, "kind.arena", "teams"),
        "{ \"blue\" = 2, \"red\" = 2 }"
    );
    assert_eq!(value(&shown, "kind.arena", "grace"), "\"1m\"");
    assert_eq!(value(&shown, "kind.arena", "publish"), "\"seated\"");
    assert_eq!(value(&shown, "kind.chat", "publish"), "\"members\"");
}

#[test]
fn a_kind_with_an_impossible_name_is_refused() {
    let said = Machine::new().refused(&["config", "show", "--set", "kind.Big Table.seats=4"]);
    says(&said, &["kind.Big Table", "lower-case letters"]);
}

#[test]
fn lists_can_be_written_in_the_environment() {
    let machine = Machine::new()
        .with(
            "HOLDFAST_SERVER__ALLOWED_ORIGINS",
            "[\"https://a.example\", \"https://b.example\"]",
        )
        .with(
            "HOLDFAST_SERVER__TRUSTED_PROXIES",
            "10.0.0.0/8, 192.168.1.1",
        );

    let shown = machine.shown(&[]);

    let origins = "[\"https://a.example\", \"https://b.example\"]";
    assert_eq!(value(&shown, "server", "allowed_origins"), origins);
    let proxies = "[\"10.0.0.0/8\", \"192.168.1.1\"]";
    assert_eq!(value(&shown, "server", "trusted_proxies"), proxies);
}

#[test]
fn variables_of_tests_and_of_kubernetes_are_not_taken_for_keys() {
    let machine = Machine::new()
        .with("HOLDFAST_TEST_DATABASE_URL", "postgres://x")
        .with("HOLDFAST_SERVICE_HOST", "10.0.0.1")
        .with("HOLDFAST_SERVICE_PORT", "7450")
        .with("HOLDFAST_PORT", "tcp://10.0.0.1:7450")
        .with("HOLDFAST_PORT_7450_TCP_ADDR", "10.0.0.1")
        // Of its own database, as a Helm release named holdfast has it.
        .with("HOLDFAST_POSTGRESQL_SERVICE_HOST", "10.96.13.7")
        .with("HOLDFAST_POSTGRESQL_SERVICE_PORT", "5432")
        .with("HOLDFAST_POSTGRESQL_SERVICE_PORT_TCP_POSTGRESQL", "5432")
        .with("HOLDFAST_POSTGRESQL_PORT", "tcp://10.96.13.7:5432")
        .with("HOLDFAST_POSTGRESQL_PORT_5432_TCP", "tcp://10.96.13.7:5432")
        .with("HOLDFAST_POSTGRESQL_PORT_5432_TCP_PROTO", "tcp")
        .with("HOLDFAST_ADMIN_PORT_53_UDP_ADDR", "10.96.13.8")
        .with("HOLDFAST_HEADLESS_PORT", "sctp://[fd00::7]:9");

    machine.shown(&[]);
}

#[test]
fn a_key_with_a_typo_is_refused_also_where_it_resembles_a_variable_of_kubernetes() {
    for (name, value) in [
        ("HOLDFAST_SERVER__PORT", "7450"),
        ("HOLDFAST_SERVER_PORT", "7450"),
        ("HOLDFAST_SERVER__SERVICE_PORT", "7450"),
        ("HOLDFAST_DATABASE__POSTGRESQL_SERVICE_HOST", "10.96.13.7"),
    ] {
        let ended = Machine::new().with(name, value).run(&["config", "check"]);
        assert_eq!(ended.code, 78, "{name}: {}", ended.out);
        says(&ended.err, &[name, "unknown key"]);
    }
}

#[test]
fn an_origin_of_any_kind_of_page_can_be_named_and_one_that_no_browser_sends_cannot() {
    let named = "https://game.example,chrome-extension://abc,ionic+x.y://localhost,file://,null";
    let machine = Machine::new().with("HOLDFAST_SERVER__ALLOWED_ORIGINS", named);
    let shown = machine.shown(&[]);
    assert!(shown.contains("\"chrome-extension://abc\""), "{shown}");
    for origin in [
        "https://game.example/path",
        "https://*.game.example",
        "https://",
        "1a://x",
        "https://bücher.example",
    ] {
        refuses("server.allowed_origins", origin, "https://game.example");
    }
}

#[test]
fn rust_log_wins_over_the_configured_level() {
    let machine = Machine::new()
        .with("HOLDFAST_LOG__LEVEL", "warn")
        .with("RUST_LOG", "debug");

    assert_eq!(value(&machine.shown(&[]), "log", "level"), "\"debug\"");
}

#[test]
fn secrets_are_never_shown() {
    let machine = Machine::new()
        .with("HOLDFAST_ADMIN__TOKEN", "s3cret-a")
        .with("HOLDFAST_AUTH__HMAC_SECRET", "s3cret-b")
        .with("HOLDFAST_AUTH__API_KEYS", "s3cret-c,s3cret-d")
        .with("HOLDFAST_DATABASE__URL", "postgres://ana:s3cret-e@db/hub");

    let shown = machine.shown(&["--origin"]);

    assert!(!shown.contains("s3cret"), "{shown}");
    says(
        &shown,
        &[
            "token = \"[redacted]\"",
            "hmac_secret = \"[redacted]\"",
            "api_keys = [\"[redacted]\", \"[redacted]\"]",
            "url = \"postgres://ana:[redacted]@db/hub\"",
        ],
    );
}

#[test]
fn an_error_never_repeats_a_secret() {
    let machine = Machine::new().with("HOLDFAST_DATABASE__URL", "s3cret://ana@db");
    let text = "[admin]\ntoken = [\"s3cret\"]\n[auth]\napi_keys = { a = \"s3cret\" }\n";
    let file = machine.write("a.toml", text);
    let said = machine.refused(&["config", "show", "--config", &file]);
    says(&said, &["admin.token", "auth.api_keys", "database.url"]);
    assert!(!said.contains("s3cret"), "{said}");

    let file = machine.write("b.toml", "[admin]\ntoken = \"s3cret\n");
    let said = Machine::new().refused(&["config", "show", "--config", &file]);
    says(&said, &["not valid TOML", "line 2"]);
    assert!(!said.contains("s3cret"), "{said}");

    let ended = Machine::new().run(&["config", "show", "--set", "=s3cret"]);
    assert_eq!(ended.code, 2, "{}", ended.err);
}

#[test]
fn a_secret_can_come_from_a_file() {
    let machine = Machine::new();
    let token = machine.write("token", "from-a-file\n");
    let machine = machine.with("HOLDFAST_ADMIN__TOKEN_FILE", &token);

    let shown = machine.shown(&["--origin"]);

    let line =
        format!("token = \"[redacted]\"  # file {token} of environment HOLDFAST_ADMIN__TOKEN_FILE");
    says(&shown, &[&line]);
}

#[test]
fn a_secret_file_that_is_missing_empty_or_doubled_is_refused() {
    let machine = Machine::new().with("HOLDFAST_ADMIN__TOKEN_FILE", "none");
    says(
        &machine.refused(&["config", "show"]),
        &["HOLDFAST_ADMIN__TOKEN_FILE", "cannot read"],
    );

    let machine = Machine::new();
    let empty = machine.write("empty", "\n");
    let machine = machine.with("HOLDFAST_ADMIN__TOKEN_FILE", empty);
    says(
        &machine.refused(&["config", "show"]),
        &["admin.token: is empty"],
    );

    let machine = Machine::new();
    let token = machine.write("token", "a");
    let machine = machine
        .with("HOLDFAST_ADMIN__TOKEN_FILE", token)
        .with("HOLDFAST_ADMIN__TOKEN", "b");
    says(
        &machine.refused(&["config", "show"]),
        &["admin.token: is set twice"],
    );
}

#[test]
fn only_secrets_come_from_files() {
    let machine = Machine::new().with("HOLDFAST_SERVER__LISTEN_FILE", "x");
    says(
        &machine.refused(&["config", "show"]),
        &["HOLDFAST_SERVER__LISTEN_FILE", "unknown key"],
    );
}

#[test]
fn the_default_database_lies_in_the_data_folder() {
    let shown = Machine::new().shown(&["--set", "data_dir=/srv/holdfast"]);
    let url = value(&shown, "database", "url");
    assert_eq!(url, "\"sqlite://<data_dir>/holdfast.db\"");
}

#[test]
fn a_hub_that_nobody_could_log_in_to_does_not_start() {
    says(
        &Machine::new().refused(&["serve"]),
        &["no way to log in is configured", "auth.guests = true"],
    );
    says(
        &Machine::new().refused(&["config", "check"]),
        &["no way to log in is configured"],
    );

    let checked = |flag: &str| Machine::new().run(&["config", "check", "--set", flag]).code;
    assert_eq!(checked("auth.guests=true"), 0);
    assert_eq!(checked("auth.hmac_secret=a-secret-of-16-by"), 0);
    assert_eq!(checked("auth.api_keys=a-secret-of-16-by"), 0);
    assert_eq!(checked("auth.jwks_url=https://game.example/keys"), 0);
    assert_eq!(Machine::new().run(&["config", "check", "--dev"]).code, 0);
}

#[test]
fn a_hub_with_secrets_that_can_be_guessed_does_not_start_but_for_trying_things_out() {
    for key in ["auth.api_keys", "auth.hmac_secret", "admin.token"] {
        let short = format!("{key}=s3cret-15-bytes");
        let set = ["--set", "auth.guests=true", "--set", short.as_str()];
        for verb in [&["serve"][..], &["config", "check"]] {
            let said = Machine::new().refused(&[verb, &set].concat());
            says(&said, &[key, "15 bytes", "at least 16"]);
            assert!(!said.contains("s3cret"), "{said}");
        }
        let dev = [&["config", "check", "--dev"][..], &set].concat();
        assert_eq!(Machine::new().run(&dev).code, 0, "{key}");
    }
}

#[test]
fn a_queue_that_one_permitted_message_would_fill_is_refused() {
    let said = Machine::new().refused(&[
        "config",
        "show",
        "--set",
        "client.queue_bytes_max=64KiB",
        "--set",
        "kind.chat.message_max=33KiB",
    ]);
    says(
        &said,
        &[
            "client.queue_bytes_max: is 64KiB, which must be at least twice kind.chat.message_max (33KiB)",
        ],
    );
}

#[test]
fn a_public_admin_listener_needs_a_token() {
    let open = [
        "--set",
        "auth.guests=true",
        "--set",
        "admin.listen=0.0.0.0:0",
    ];

    let said = Machine::new().refused(&[&["serve"][..], &open].concat());
    says(&said, &["admin.listen is 0.0.0.0:0", "set admin.token"]);

    let machine = Machine::new().with("HOLDFAST_ADMIN__TOKEN", "a-token-of-some-length");
    assert_eq!(
        machine
            .run(&[&["config", "check"][..], &open].concat())
            .code,
        0
    );
}

#[test]
fn a_hub_to_try_things_with_is_for_this_machine_alone() {
    for (key, open) in [
        ("server.listen", "0.0.0.0:0"),
        ("server.listen", "[::]:0"),
        ("admin.listen", "192.0.2.1:0"),
    ] {
        let machine =
            Machine::new().with("HOLDFAST_ADMIN__TOKEN", "a-token-of-the-operator-00000001");
        let said = machine.refused(&["serve", "--dev", "--set", &format!("{key}={open}")]);
        says(&said, &[&format!("{key} is {open}"), "--dev", "127.0.0.1"]);
    }
}

#[test]
fn config_init_writes_the_commented_file_and_never_over_another() {
    let machine = Machine::new();

    assert_eq!(machine.run(&["config", "init", "mine.toml"]).code, 0);
    let again = machine.run(&["config", "init", "mine.toml"]);

    let path = machine.path("mine.toml");
    assert_eq!(fs::read_to_string(&path).expect("the file"), SAMPLE);
    let mode = fs::metadata(&path).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(again.code, 1);
    says(&again.err, &["mine.toml exists already"]);
}

#[test]
fn test_hooks_are_refused_outside_of_dev() {
    let said = Machine::new().refused(&["config", "show", "--set", "faults.commit_delay=20ms"]);
    says(&said, &["flag --set faults.commit_delay", "faults"]);
}

#[cfg(feature = "faults")]
#[test]
fn test_hooks_are_accepted_in_dev() {
    let shown = Machine::new().shown(&["--dev", "--set", "faults.commit_delay=20ms"]);
    assert_eq!(value(&shown, "faults", "commit_delay"), "\"20ms\"");
}

#[test]
fn usage_errors_end_with_2() {
    assert_eq!(Machine::new().run(&[]).code, 2);
    assert_eq!(Machine::new().run(&["fly"]).code, 2);
    assert_eq!(Machine::new().run(&["serve", "--set", "novalue"]).code, 2);
    assert_eq!(
        Machine::new()
            .run(&["migrate", "down", "--steps", "0"])
            .code,
        2
    );
}

#[test]
fn the_version_is_printed_for_people_and_for_programs() {
    let version = env!("CARGO_PKG_VERSION");

    let text = Machine::new().run(&["version"]);
    let json = Machine::new().run(&["version", "--json"]);

    assert_eq!(text.out, format!("holdfast {version}\n"));
    let json: serde_json::Value = serde_json::from_str(&json.out).expect("JSON");
    assert_eq!(json["version"], version);
}

#[test]
fn a_data_folder_that_cannot_be_used_ends_with_77() {
    let machine = Machine::new();
    machine.write("data", "a file, not a folder");

    let ended = machine.run(&["serve", "--dev"]);

    assert_eq!(ended.code, 77, "{}", ended.err);
    says(&ended.err, &["the data folder data is not a folder"]);
}

#[test]
fn a_port_that_is_taken_ends_with_69() {
    let other = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = other.local_addr().expect("its address");
    let listen = format!("server.listen={address}");

    let ended = Machine::new().run(&["serve", "--dev", "--set", &listen]);

    assert_eq!(ended.code, 69, "{}", ended.err);
    says(&ended.err, &[&address.to_string()]);
}

/// A daemon that is killed with the test.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn without_a_terminal_the_log_is_json_and_says_when_the_hub_is_ready() {
    let machine = Machine::new();
    let free = [
        "--set",
        "server.listen=127.0.0.1:0",
        "--set",
        "admin.listen=127.0.0.1:0",
    ];
    let mut command = machine.command(&[&["serve", "--dev"][..], &free].concat());
    let mut served = Served(command.stderr(Stdio::piped()).spawn().expect("it runs"));

    let lines = BufReader::new(served.0.stderr.take().expect("a pipe")).lines();
    let mut events = lines.map_while(Result::ok).map(|line| {
        serde_json::from_str::<serde_json::Value>(&line).unwrap_or_else(|_| panic!("{line}"))
    });
    let ready = events
        .find(|event| event["event"] == "ready")
        .expect("a ready event");

    assert_ne!(ready["server"], "127.0.0.1:0");
    assert_eq!(ready["database"], "sqlite://data/holdfast.db");
    let folder = fs::metadata(machine.path("data")).expect("the data folder");
    assert_eq!(folder.permissions().mode() & 0o777, 0o700);
}
