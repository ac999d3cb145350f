//! What each file is held to, whatever is in it.

use std::fs;
use std::path::Path;

use crate::source::{
    all_rust_files, module_of, module_of_file, production_code, read, report, rust_files,
    without_comments,
};

/// What is never committed. Split, so that this file does not contain it.
const BANNED: &[&str] = &[
    concat!("to", "do!("),
    concat!("db", "g!("),
    concat!("TO", "DO"),
    concat!("super::", "super"),
];

/// A reader can hold this much; the longest files of the best code bases are about as long.
const FILE_LINES_MAX: usize = 400;

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
