//! The floor plan: which module imports which, and how large a folder may be.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::source::{
    doc, folders, imports, module_of, module_of_file, production_code, read, report, rust_files,
    without_comments,
};

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
        // The events that it commits with a change are the wire's, under the name that the commit finds.
        &["clock", "config", "id", "supervisor", "token", "wire"],
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
    ("persistence/command", &[]),
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

/// Who returns which error and who translates it: nobody has to search for it.
#[test]
fn every_error_has_a_row_in_the_table_of_errors() {
    let map = doc(&read(Path::new("src/lib.rs")));
    let (_, rows) = map.split_once("# Errors").unwrap();
    let (rows, _) = rows.split_once("\n//! # ").unwrap();
    let cells = rows.lines().filter_map(|line| line.split('|').nth(1));
    let listed: BTreeSet<&str> = cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();

    let mut declared = BTreeSet::new();
    for file in ["src", "crates/wire/src"].into_iter().flat_map(rust_files) {
        let module = match file.starts_with("src") {
            true => module_of(&file),
            false => "wire".to_owned(),
        };
        let code = production_code(&file);
        let mut lines = code
            .lines()
            .skip_while(|line| !line.contains("thiserror::Error"));
        while let Some(declaration) =
            lines.find(|line| line.contains("enum ") || line.contains("struct "))
        {
            let mut words = declaration.split(|c: char| !c.is_alphanumeric());
            words.find(|word| ["enum", "struct"].contains(word));
            declared.insert(format!("{module}::{}", words.next().unwrap()));
            lines
                .by_ref()
                .find(|line| line.contains("thiserror::Error"));
        }
    }

    let is_missing = |name: &&String| !listed.contains(name.as_str());
    let missing: Vec<&String> = declared.iter().filter(is_missing).collect();
    assert!(missing.is_empty(), "without a row: {missing:?}");
    assert!(declared.len() > 15, "{declared:?}");
}
