//! The repository's own rules, checked by `cargo test` like any other behaviour.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use holdfast::wire::Reason;

/// What each module of `src/` may import, besides itself: exactly what it uses. A new row, or a new word in one, is
/// an architecture decision: argue it in the commit.
const LAYERS: &[(&str, &[&str])] = &[
    ("clock", &[]),
    ("mailbox", &[]),
    ("supervisor", &["clock", "mailbox"]),
    ("config", &[]),
    ("telemetry", &["config"]),
    // Keys are files, so it reads the configuration; a refusal has the words of the wire.
    ("token", &["clock", "config", "id", "wire"]),
    ("limits", &["wire"]),
    ("listener", &["config", "limits", "supervisor", "wire"]),
    ("delivery", &["wire"]),
    ("auth", &["config", "id", "wire"]),
    (
        "persistence",
        &["clock", "config", "id", "supervisor", "token"],
    ),
    ("matchmaking", &["id", "mailbox", "supervisor"]),
    (
        "room",
        &[
            "clock",
            "config",
            "delivery",
            "id",
            "mailbox",
            "matchmaking",
            "persistence",
            "supervisor",
            "token",
            "wire",
        ],
    ),
    (
        "session",
        &[
            "clock",
            "config",
            "delivery",
            "id",
            "mailbox",
            "persistence",
            "room",
            "supervisor",
            "token",
            "wire",
        ],
    ),
    (
        "actions",
        &[
            "clock",
            "config",
            "delivery",
            "id",
            "limits",
            "mailbox",
            "matchmaking",
            "persistence",
            "room",
            "session",
            "supervisor",
            "token",
            "wire",
        ],
    ),
    (
        "connection",
        &[
            "actions",
            "auth",
            "clock",
            "config",
            "delivery",
            "id",
            "limits",
            "mailbox",
            "room",
            "session",
            "supervisor",
            "wire",
        ],
    ),
    (
        "http",
        &[
            "actions",
            "auth",
            "clock",
            "config",
            "connection",
            "id",
            "limits",
            "listener",
            "persistence",
            "room",
            "session",
            "supervisor",
            "telemetry",
            "wire",
        ],
    ),
    ("admin", &["auth", "id", "listener", "wire"]),
    (
        "daemon",
        &[
            "actions",
            "admin",
            "auth",
            "clock",
            "config",
            "connection",
            "http",
            "id",
            "listener",
            "mailbox",
            "matchmaking",
            "persistence",
            "room",
            "session",
            "supervisor",
            "telemetry",
            "token",
        ],
    ),
    // Of `supervisor` only the restart budget: `--respawn` restarts the hub as any actor is restarted.
    ("cli", &["config", "daemon", "persistence", "supervisor"]),
];

/// What is below all modules: the crate `holdfast-wire`, under these names.
const CRATES: [&str; 2] = ["id", "wire"];

/// The folders inside a module, and which of their siblings each may import: exactly what it uses.
const SHELVES: &[(&str, &[&str])] = &[
    ("config/values", &[]),
    ("connection/socket", &[]),
    ("connection/protocol", &["socket"]),
    ("http/server_api", &[]),
    ("persistence/database", &[]),
    ("persistence/queries", &["database"]),
    ("persistence/statements", &["database"]),
    ("persistence/writer", &["database", "statements"]),
    ("room/rules", &[]),
    ("room/core", &["rules"]),
    ("session/actor", &[]),
];

/// The doors: a library and the only places in `src/` that may name it.
const DOORS: &[(&str, &[&str])] = &[
    ("sea_orm::", &["src/persistence/"]),
    ("sqlx::", &["src/persistence/"]),
    ("tungstenite::", &["src/connection/", "src/http/"]),
];

/// What is never committed. Split, so that this file does not contain it.
const BANNED: &[&str] = &[
    concat!("to", "do!("),
    concat!("db", "g!("),
    concat!("TO", "DO"),
    concat!("super::", "super"),
];

/// A reader can hold this much; the longest files of the best code bases are about as long.
const FILE_LINES_MAX: usize = 400;

#[test]
fn modules_import_only_the_layers_beneath_them() {
    let mut faults = Vec::new();
    for file in rust_files("src") {
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == module_of(&file)) else {
            continue;
        };
        for used in imports(&production_code(&file)) {
            if used != module_of(&file) && !allowed.contains(&used.as_str()) {
                faults.push(format!("{} must not import `{used}`", file.display()));
            }
        }
    }
    report(&faults);
}

/// A permission that is not needed today would let a later import pass unseen.
#[test]
fn each_permission_to_import_is_used() {
    let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in rust_files("src") {
        let imports = imports(&production_code(&file));
        used.entry(module_of(&file)).or_default().extend(imports);
    }
    let mut faults = Vec::new();
    for (module, allowed) in LAYERS {
        let unused = allowed
            .iter()
            .filter(|name| !used[*module].contains(**name));
        faults.extend(unused.map(|name| format!("`{module}` does not import `{name}`")));
    }
    report(&faults);
}

/// Each row may name only rows above it, so that no circle is possible.
#[test]
fn no_module_imports_one_of_a_higher_floor() {
    let mut faults = Vec::new();
    for (index, (module, allowed)) in LAYERS.iter().enumerate() {
        let below: Vec<&str> = LAYERS[..index]
            .iter()
            .map(|(name, _)| *name)
            .chain(CRATES)
            .collect();
        let above = allowed.iter().filter(|name| !below.contains(*name));
        faults.extend(above.map(|name| format!("`{module}` is not above `{name}`")));
    }
    report(&faults);
}

#[test]
fn shelves_import_only_the_siblings_beneath_them() {
    let mut faults = Vec::new();
    for folder in folders("src").into_iter().flat_map(folders) {
        let name = folder.strip_prefix("src/").unwrap();
        let Some((_, allowed)) = SHELVES.iter().find(|(shelf, _)| *shelf == name) else {
            faults.push(format!("{folder} has no row in SHELVES"));
            continue;
        };
        let (module, _) = name.split_once('/').unwrap();
        let siblings = folders(format!("src/{module}"));
        let own = folder.rsplit('/').next();
        let code: String = rust_files(&folder)
            .iter()
            .map(|file| production_code(file))
            .collect();
        for sibling in siblings.iter().filter_map(|path| path.rsplit('/').next()) {
            let is_used = code.contains(&format!("crate::{module}::{sibling}::"));
            let is_allowed = allowed.contains(&sibling);
            if Some(sibling) != own && is_used != is_allowed {
                faults.push(format!(
                    "{name} and {sibling}: used {is_used}, allowed {is_allowed}"
                ));
            }
        }
    }
    report(&faults);
}

/// Files in one folder, its `mod.rs` included: as many as a reader takes in at a glance.
const FOLDER_FILES_MAX: usize = 14;

#[test]
fn folders_hold_no_more_files_than_a_reader_takes_in() {
    let crates = ["crates/wire/src", "crates/bench/src", "migration/src"].map(str::to_owned);
    let mut folders_left: Vec<String> = crates.into_iter().chain(["src".to_owned()]).collect();
    let mut faults = Vec::new();
    while let Some(folder) = folders_left.pop() {
        folders_left.extend(folders(&folder));
        let entries = fs::read_dir(&folder).unwrap();
        let is_code = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rs");
        let files = entries.map(|entry| entry.unwrap().path()).filter(is_code);
        // A migration is never changed, and there is no order of them but by time.
        let files = files.filter(|file| !module_of_file(file).starts_with("m2"));
        let count = files.count();
        if count > FOLDER_FILES_MAX {
            faults.push(format!("{folder} has {count} files"));
        }
    }
    report(&faults);
}

/// Files of one folder that may need each other, directly or not.
const CIRCLE_FILES_MAX: usize = 5;

#[test]
fn no_circle_of_imports_inside_a_folder_is_large() {
    let mut folders_left = vec!["src".to_owned()];
    let mut faults = Vec::new();
    while let Some(folder) = folders_left.pop() {
        folders_left.extend(folders(&folder));
        let imports = sibling_imports(&folder);
        for file in imports.keys() {
            let circle: Vec<&String> = reachable(file, &imports)
                .into_iter()
                .filter(|other| reachable(other, &imports).contains(file))
                .collect();
            if circle.len() > CIRCLE_FILES_MAX {
                faults.push(format!("{folder}: {file} is in a circle with {circle:?}"));
            }
        }
    }
    report(&faults);
}

/// Which files of a folder each of its files imports from. What a folder's `mod.rs` has is the ground of them all.
fn sibling_imports(folder: &str) -> BTreeMap<String, BTreeSet<String>> {
    let path = folder.trim_start_matches("src").trim_start_matches('/');
    let own = path.replace('/', "::");
    let files: Vec<PathBuf> = rust_files(folder)
        .into_iter()
        .filter(|file| file.parent() == Some(Path::new(folder)))
        .collect();
    let names: BTreeSet<String> = files.iter().map(|file| module_of_file(file)).collect();
    files
        .iter()
        .map(|file| (module_of_file(file), production_code(file)))
        .filter(|(name, _)| !["mod", "lib", "main"].contains(&name.as_str()))
        .map(|(name, code)| {
            let uses = |other: &&String| {
                let paths = [
                    format!("super::{other}::"),
                    format!("crate::{own}::{other}::"),
                ];
                **other != name && paths.iter().any(|path| code.contains(path))
            };
            let used = names.iter().filter(uses).cloned().collect();
            (name, used)
        })
        .collect()
}

/// All files that one needs, directly or not.
fn reachable<'a>(
    file: &'a String,
    imports: &'a BTreeMap<String, BTreeSet<String>>,
) -> BTreeSet<&'a String> {
    let mut found = BTreeSet::new();
    let mut next = vec![file];
    while let Some(one) = next.pop() {
        for used in imports.get(one).into_iter().flatten() {
            if found.insert(used) {
                next.push(used);
            }
        }
    }
    found
}

#[test]
fn every_module_has_a_layer_and_a_line_in_the_code_map() {
    let map = doc(&read(Path::new("src/lib.rs")));
    let words: BTreeSet<&str> = map
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .collect();
    let mut faults = Vec::new();
    for entry in fs::read_dir("src").unwrap() {
        let module = module_of(&entry.unwrap().path());
        if ["lib", "main"].contains(&module.as_str()) {
            continue;
        }
        if !LAYERS.iter().any(|(name, _)| *name == module) {
            faults.push(format!("src: `{module}` has no row in LAYERS"));
        }
        if !words.contains(module.as_str()) {
            faults.push(format!("src/lib.rs: its doc says nothing of `{module}`"));
        }
    }
    report(&faults);
}

/// What a protocol's `.proto` makes, and where it is kept: nobody needs a compiler for it to build the daemon.
const GENERATED: [(&str, &str); 1] = [(
    "crates/wire/src/protobuf/client.proto",
    "crates/wire/src/protobuf/generated.rs",
)];

#[test]
fn generated_code_is_what_its_proto_says() {
    for (proto, kept) in GENERATED {
        let proto = Path::new(proto);
        let out = tempfile::tempdir().unwrap();
        let files = protox::compile([proto], [proto.parent().unwrap()]).unwrap();
        let package = files.file[0].package().to_owned();
        prost_build::Config::new()
            .out_dir(out.path())
            .bytes(["."])
            .btree_map(["."])
            .compile_fds(files)
            .unwrap();
        let made = read(&out.path().join(format!("{package}.rs")));
        if made != read(Path::new(kept)) {
            let place = std::env::temp_dir().join("generated.rs");
            fs::write(&place, made).unwrap();
            panic!("{kept} is out of date: take {}", place.display());
        }
    }
}

#[test]
fn files_say_what_they_are_for_and_stay_short() {
    let mut faults = Vec::new();
    for file in all_rust_files() {
        if GENERATED.iter().any(|(_, kept)| file == Path::new(kept)) {
            continue;
        }
        if !read(&file).starts_with("//!") {
            faults.push(format!(
                "{} does not begin with a module doc",
                file.display()
            ));
        }
        let code = production_code(&file);
        // Tests are read one at a time; what they stand on is read whole.
        if file.starts_with("tests") && !file.starts_with("tests/support") {
            continue;
        }
        let lines = code.lines().filter(|line| !line.trim().is_empty()).count();
        if lines > FILE_LINES_MAX {
            faults.push(format!(
                "{} has {lines} lines, {FILE_LINES_MAX} are allowed",
                file.display()
            ));
        }
    }
    report(&faults);
}

#[test]
fn libraries_are_used_only_behind_their_doors() {
    let mut faults = Vec::new();
    for file in rust_files("src") {
        let path = file.to_str().unwrap();
        let code = without_comments(&production_code(&file));
        for (library, places) in DOORS {
            if code.contains(library) && !places.iter().any(|place| path.starts_with(place)) {
                faults.push(format!("{path} must not use `{library}`"));
            }
        }
        if code.contains("dashmap::") && file.file_name().unwrap() != "directory.rs" {
            faults.push(format!("{path} uses `dashmap` and is no directory.rs"));
        }
    }
    report(&faults);
}

#[test]
fn nothing_unfinished_is_left_in_the_code() {
    let mut faults = Vec::new();
    for file in all_rust_files() {
        for (index, line) in read(&file).lines().enumerate() {
            for banned in BANNED.iter().filter(|banned| line.contains(**banned)) {
                faults.push(format!("{}:{}: {banned}", file.display(), index + 1));
            }
        }
    }
    report(&faults);
}

/// A program that shares the report's file may make it non-blocking, and the report is cut off.
#[test]
fn programs_that_tests_start_have_output_of_their_own() {
    let start = concat!("Command::", "new(");
    let mut faults = Vec::new();
    for file in rust_files("tests") {
        let is_helper = file.ends_with("support/program.rs");
        if !is_helper && read(&file).contains(start) {
            faults.push(format!("{} starts one without `program`", file.display()));
        }
    }
    report(&faults);
}

#[test]
fn every_test_file_is_run() {
    let main = read(Path::new("tests/main.rs"));
    let manifest = read(Path::new("Cargo.toml"));
    let mut faults = Vec::new();
    for entry in fs::read_dir("tests").unwrap() {
        let path = entry.unwrap().path();
        let module = module_of(&path);
        let is_module = path.is_dir() && path.join("mod.rs").exists();
        let is_file = path.extension().is_some_and(|extension| extension == "rs");
        let is_target = manifest.contains(&format!("path = \"{}\"", path.display()));
        if is_target || !(is_module || is_file) {
            continue;
        }
        if !main.lines().any(|line| line == format!("mod {module};")) {
            faults.push(format!(
                "{} is never run: list it in tests/main.rs",
                path.display()
            ));
        }
    }
    report(&faults);
}

#[test]
fn the_guide_for_clients_has_every_code_and_no_other() {
    let guide = read(Path::new("docs/clients.md"));
    let (_, tables) = guide.split_once("## Errors in replies").unwrap();
    let cells = tables.lines().filter_map(|line| line.strip_prefix("| "));
    let told: BTreeSet<u32> = cells
        .filter_map(|line| line.split(" |").next())
        .flat_map(|cell| cell.split(", "))
        .filter_map(|code| code.parse().ok())
        .collect();
    let used: BTreeSet<u32> = ["close", "failure", "api/refusal"]
        .into_iter()
        .flat_map(|file| {
            codes(&production_code(Path::new(&format!(
                "crates/wire/src/{file}.rs"
            ))))
        })
        .collect();
    assert_eq!(told, used);
}

/// Every reason that there is; the test below counts them.
const REASONS: [Reason; 21] = [
    Reason::RoomNotFound,
    Reason::RoomFull,
    Reason::RoomClosed,
    Reason::SeatTaken,
    Reason::SeatNotFound,
    Reason::AlreadySeated,
    Reason::NotSeated,
    Reason::InvalidUserReference,
    Reason::InsufficientCredits,
    Reason::KeyReused,
    Reason::UnknownKind,
    Reason::UserNotFound,
    Reason::TooManySeats,
    Reason::BadRequest,
    Reason::TokenInvalid,
    Reason::TokenExpired,
    Reason::SessionEnded,
    Reason::PermissionDenied,
    Reason::RateLimited,
    Reason::Unavailable,
    Reason::Internal,
];

#[test]
fn the_guide_for_clients_names_each_error_with_its_code_and_status() {
    let rows = rows_of_guide("## Errors in replies", "## Closes");
    let names = words(
        &production_code(Path::new("crates/wire/src/api/refusal.rs")),
        "fn name",
    );
    assert_eq!(names.len(), REASONS.len(), "{names:?}");
    for reason in REASONS {
        let name = format!("`{}`", reason.name());
        let row = rows.iter().find(|row| row[1].contains(&name));
        let row = row.unwrap_or_else(|| panic!("no row for {name}"));
        // On the socket it is a close.
        let is_close = matches!(reason, Reason::TokenInvalid | Reason::SessionEnded);
        let code = reason.code().to_string();
        assert_eq!(row[0], if is_close { "" } else { &code }, "{name}");
        let status = reason.status().to_string();
        assert!(row[2].split(", ").any(|told| told == status), "{name}");
    }
    let code = production_code(Path::new("crates/wire/src/failure.rs"));
    let numbers = words(&code, "fn number");
    for (variant, message) in words(&code, "fn message") {
        let row = rows.iter().find(|row| row[0] == numbers[&variant]);
        let message = format!("`{message}`");
        assert!(
            row.is_some_and(|row| row[1].contains(&message)),
            "{message}"
        );
    }
}

#[test]
fn the_guide_for_clients_tells_each_close_in_its_words_and_whether_to_come_back() {
    let rows = rows_of_guide("## Closes", "## holdfast.js");
    let code = production_code(Path::new("crates/wire/src/close.rs"));
    let reasons = words(&code, "fn reason");
    for (variant, number) in words(&code, "fn code") {
        // The game's server chooses its own.
        let Ok(number) = number.parse::<u16>() else {
            continue;
        };
        let row = rows.iter().find(|row| row[0] == number.to_string());
        let row = row.unwrap_or_else(|| panic!("no row for {number}"));
        let reason = &reasons[&variant];
        assert!(row[1].starts_with(reason), "{number} is `{reason}`");
        let is_terminal = (3500..4000).contains(&number) || (4500..5000).contains(&number);
        let does_come_back = row[2].contains("come back");
        // The SDKs differ about this one.
        assert!(number == 1009 || does_come_back != is_terminal, "{number}");
    }
    let guide = read(Path::new("docs/clients.md"));
    let members = production_code(Path::new("src/room/rules/members.rs"));
    let unsubscribes = members
        .lines()
        .filter_map(|line| line.strip_prefix("const UNSUBSCRIBE_"));
    let unsubscribes: Vec<_> = unsubscribes
        .filter_map(|line| line.rsplit_once(" = ")?.1.strip_suffix(';'))
        .collect();
    assert_eq!(unsubscribes.len(), 3);
    for code in unsubscribes {
        assert!(guide.contains(&format!("{code}: ")), "{code}");
    }
}

/// The cells of the table rows between two headings.
fn rows_of_guide(from: &str, to: &str) -> Vec<Vec<String>> {
    let guide = read(Path::new("docs/clients.md"));
    let (_, rest) = guide.split_once(from).unwrap();
    let (part, _) = rest.split_once(to).unwrap();
    let lines = part.lines().filter_map(|line| line.strip_prefix('|'));
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect();
    lines.map(cells).collect()
}

/// What the arms of a function's `match` say of each variant: `Close::Slow => "slow",`.
fn words(code: &str, function: &str) -> BTreeMap<String, String> {
    let (_, rest) = code.split_once(function).unwrap();
    let (body, _) = rest.split_once("\n    }\n").unwrap();
    let arms = body.lines().filter_map(|line| line.split_once(" => "));
    arms.filter_map(|(variant, word)| {
        // Of variants that share an arm the first stands for all.
        let (_, variant) = variant.split(" | ").next()?.split_once("::")?;
        let word = word.trim_end_matches(',').trim_matches('"');
        Some((variant.to_owned(), word.to_owned()))
    })
    .collect()
}

/// The numbers that an enum's variants stand for: `Close::Slow => 3008,`.
fn codes(code: &str) -> Vec<u32> {
    let arms = code.lines().filter_map(|line| line.split_once("=> "));
    arms.filter_map(|(_, number)| number.strip_suffix(','))
        // The statuses of HTTP are in the same file.
        .filter_map(|number| number.parse().ok())
        .filter(|number| !(400..600).contains(number))
        .collect()
}

#[test]
fn each_migration_is_listed_goes_both_ways_and_stands_alone() {
    let list = read(Path::new("migration/src/lib.rs"));
    let mut faults = Vec::new();
    for file in rust_files("migration/src") {
        let name = module_of_file(&file);
        if !name.starts_with('m')
            || name == "main"
            || !name[1..].starts_with(|c: char| c.is_ascii_digit())
        {
            continue;
        }
        let text = read(&file);
        if !list.contains(&format!("mod {name};")) || !list.contains(&format!("{name}::Migration"))
        {
            faults.push(format!("migration/src/lib.rs does not list {name}"));
        }
        if !text.contains("fn down(") {
            faults.push(format!("{} has no way back", file.display()));
        }
        // Later changes of an entity would change what an old migration does.
        if without_comments(&text).contains("entity::") {
            faults.push(format!("{} imports `entity`", file.display()));
        }
    }
    report(&faults);
}

#[test]
fn each_configuration_key_is_explained() {
    let path = Path::new("config/holdfast.toml");
    if !path.exists() {
        return;
    }
    let mut faults = Vec::new();
    let mut is_explained = false;
    for (index, line) in read(path).lines().enumerate() {
        let line = line.trim();
        if line.starts_with('#') {
            is_explained = true;
        } else if line.is_empty() || line.starts_with('[') {
            is_explained = false;
        } else if let Some((key, value)) = line.split_once(" = ") {
            if !is_explained && !value.contains('#') {
                faults.push(format!(
                    "config/holdfast.toml:{}: `{key}` has no comment",
                    index + 1
                ));
            }
            is_explained = false;
        }
    }
    report(&faults);
}

#[track_caller]
fn report(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The first part of the path below the root folder: `src/room/state.rs` is `room`.
fn module_of(path: &Path) -> String {
    let part = path.iter().nth(1).expect("a path below a root folder");
    part.to_str().unwrap().trim_end_matches(".rs").to_owned()
}

fn module_of_file(path: &Path) -> String {
    path.file_stem().unwrap().to_str().unwrap().to_owned()
}

/// The file without its test module; nothing of a file that is a test module as a whole.
fn production_code(file: &Path) -> String {
    if file.starts_with("src") && module_of_file(file) == "tests" {
        return String::new();
    }
    let text = read(file);
    let end = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
    text[..end].to_owned()
}

fn without_comments(code: &str) -> String {
    let lines = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

fn doc(text: &str) -> String {
    let lines = text.lines().filter(|line| line.starts_with("//!"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The modules named after `crate::`, in groups too.
fn imports(code: &str) -> BTreeSet<String> {
    let code = without_comments(code);
    let mut modules = BTreeSet::new();
    for (at, prefix) in code.match_indices("crate::") {
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            Some(group) => modules.extend(first_words_of_group(group)),
            None => modules.extend(first_word(rest)),
        }
    }
    modules
}

/// The word that begins each member of `{a::{x, y}, b}`.
fn first_words_of_group(group: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut depth = 1;
    let mut is_start = true;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => is_start = true,
            c if is_start && !c.is_whitespace() => {
                words.extend(first_word(&group[at..]));
                is_start = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    words
}

fn first_word(text: &str) -> Option<String> {
    let is_word = |c: char| c.is_ascii_lowercase() || c == '_';
    let word: String = text.chars().take_while(|c| is_word(*c)).collect();
    // An item of the crate root, such as a macro or a type, is no module.
    let is_path =
        text[word.len()..].starts_with("::") || text[word.len()..].starts_with([',', '}', ';']);
    (!word.is_empty() && is_path).then_some(word)
}

fn all_rust_files() -> Vec<PathBuf> {
    [
        "src",
        "crates/bench/src",
        "crates/wire/src",
        "tests",
        "entity/src",
        "migration/src",
    ]
    .into_iter()
    .flat_map(rust_files)
    .collect()
}

/// The folders directly inside one.
fn folders(directory: impl AsRef<str>) -> Vec<String> {
    let entries = fs::read_dir(directory.as_ref()).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let folders = paths.filter(|path| path.is_dir());
    let mut folders: Vec<String> = folders
        .map(|path| path.to_str().unwrap().to_owned())
        .collect();
    folders.sort();
    folders
}

fn rust_files(directory: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(path.to_str().unwrap()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}
