//! Reads the repository's own files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[track_caller]
pub(crate) fn report(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The first part of the path below the root folder: `src/room/state.rs` is `room`.
pub(crate) fn module_of(path: &Path) -> String {
    let part = path.iter().nth(1).expect("a path below a root folder");
    part.to_str().unwrap().trim_end_matches(".rs").to_owned()
}

pub(crate) fn module_of_file(path: &Path) -> String {
    path.file_stem().unwrap().to_str().unwrap().to_owned()
}

/// The file without its test module; nothing of a file that is a test module as a whole.
pub(crate) fn production_code(file: &Path) -> String {
    if file.starts_with("src") && module_of_file(file) == "tests" {
        return String::new();
    }
    let text = read(file);
    let end = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
    text[..end].to_owned()
}

pub(crate) fn without_comments(code: &str) -> String {
    let lines = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

pub(crate) fn doc(text: &str) -> String {
    let lines = text.lines().filter(|line| line.starts_with("//!"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The modules named after `crate::`, in groups too.
pub(crate) fn imports(code: &str) -> BTreeSet<String> {
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

pub(crate) fn all_rust_files() -> Vec<PathBuf> {
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
pub(crate) fn folders(directory: impl AsRef<str>) -> Vec<String> {
    let entries = fs::read_dir(directory.as_ref()).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let folders = paths.filter(|path| path.is_dir());
    let mut folders: Vec<String> = folders
        .map(|path| path.to_str().unwrap().to_owned())
        .collect();
    folders.sort();
    folders
}

pub(crate) fn rust_files(directory: &str) -> Vec<PathBuf> {
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
