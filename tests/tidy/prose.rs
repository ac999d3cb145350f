//! Words: plain English in comments, messages and pages, and one word for one idea in names.
//!
//! Two explicit lists over everything that a reader sees: neither may occur.

use std::fs;
use std::path::{Path, PathBuf};

use crate::source::{production_code, read, report, rust_files, without_comments};

/// Words that a native engineer would not say here. Split, so that this file does not contain them.
const WORDS: [&str; 5] = [
    concat!("to", "ld"),
    concat!("in a ", "box"),
    concat!("borne ", "with"),
    concat!("a", "new"),
    concat!("for ", "good"),
];

/// Words that begin a question. A sentence that begins with one and asks nothing has no subject.
const QUESTION_WORDS: [&str; 6] = ["Who", "Whoever", "Whom", "What", "Whatever", "Whether"];

/// Old names of types, and endings of constants, for which the field has a word.
const NAMES: [&str; 36] = [
    "Brood",
    "Roster",
    "Post",
    "Alive",
    "Listed",
    "Budget",
    "Spent",
    "Deed",
    "Doing",
    "Hear",
    "Journal",
    "Halt",
    "Seating",
    "Crowd",
    "Repeats",
    "SeatNews",
    "SeatNote",
    "SeatNotices",
    "GameQuestion",
    "Sitter",
    "Epoch",
    "Memo",
    "Keyed",
    "Fresh",
    "Doze",
    "Whom",
    "Gate",
    "Turned",
    "Marks",
    "RunStart",
    "Litter",
    "Voice",
    "_WITHIN",
    "_AGAIN_AFTER",
    "LOOK_EVERY",
    "AT_ONCE",
];

#[test]
fn prose_is_plain_english() {
    let mut places = Vec::new();
    for file in code() {
        let text = production_code(&file);
        for paragraph in comments(&text).into_iter().chain(strings(&text)) {
            places.extend(faults(&file, &paragraph));
        }
    }
    for file in pages() {
        for paragraph in paragraphs(&read(&file)) {
            places.extend(faults(&file, &paragraph));
        }
    }
    report(&places);
}

#[test]
fn names_are_the_words_of_the_field() {
    let mut places = Vec::new();
    for file in code() {
        let text = without_comments(&production_code(&file));
        for word in text.split(|c: char| !(c.is_alphanumeric() || c == '_')) {
            let is_old = |name: &&str| match name.contains('_') {
                true => word.ends_with(*name),
                false => word == *name,
            };
            if NAMES.iter().any(is_old) {
                places.push(format!("{}: {word}", file.display()));
            }
        }
    }
    report(&places);
}

fn code() -> Vec<PathBuf> {
    let folders = ["src", "crates/wire/src", "crates/bench/src"];
    let files = folders.into_iter().flat_map(rust_files);
    files
        .filter(|file| !file.ends_with("generated.rs"))
        .collect()
}

fn pages() -> Vec<PathBuf> {
    let docs = fs::read_dir("docs")
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let others = ["README.md", "CHANGELOG.md", "config/holdfast.toml"].map(PathBuf::from);
    docs.chain(others).collect()
}

/// The comments of a file, each block of lines as one paragraph.
fn comments(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| {
        let line = line.trim_start();
        let rest = line
            .strip_prefix("///")
            .or_else(|| line.strip_prefix("//!"));
        rest.or_else(|| line.strip_prefix("//"))
            .unwrap_or_default()
            .trim()
    });
    joined(lines)
}

/// The string literals of a file.
fn strings(text: &str) -> Vec<String> {
    let code = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let parts = code.flat_map(|line| line.split('"').skip(1).step_by(2));
    parts
        .filter(|part| part.contains(' '))
        .map(str::to_owned)
        .collect()
}

/// The paragraphs, list items and table cells of a page, or of the comments of a TOML file.
fn paragraphs(text: &str) -> Vec<String> {
    let lines = text
        .lines()
        .map(|line| line.trim_start_matches(['#', ' ']).trim_end());
    let broken: Vec<&str> = lines
        .flat_map(|line| match line.starts_with(['-', '|', '*']) {
            true => vec!["", line],
            false => vec![line],
        })
        .collect();
    joined(broken.into_iter())
}

/// Joins lines that are not empty.
fn joined<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut found = vec![String::new()];
    for line in lines {
        let last = found.last_mut().unwrap();
        match line.is_empty() {
            true if last.is_empty() => {}
            true => found.push(String::new()),
            false => {
                last.push_str(line);
                last.push(' ');
            }
        }
    }
    found
}

fn faults(file: &Path, paragraph: &str) -> Vec<String> {
    let lower = paragraph.to_lowercase();
    let is_word = |at: usize, word: &str| {
        let before = lower[..at].chars().next_back();
        let after = lower[at + word.len()..].chars().next();
        [before, after]
            .into_iter()
            .flatten()
            .all(|c| !(c.is_alphanumeric() || c == '_'))
    };
    let words = WORDS.iter().filter(|word| {
        let mut places = lower.match_indices(**word);
        places.any(|(at, _)| is_word(at, word))
    });
    let words = words.map(|word| format!("{}: `{word}` in: {paragraph}", file.display()));
    let starts = sentences(paragraph).into_iter().filter(|sentence| {
        let first = sentence.split(|c: char| !c.is_alphanumeric()).next();
        first.is_some_and(|first| QUESTION_WORDS.contains(&first)) && !sentence.ends_with('?')
    });
    let starts = starts.map(|sentence| format!("{}: {sentence}", file.display()));
    words.chain(starts).collect()
}

/// The sentences, list items and cells of a paragraph.
fn sentences(paragraph: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut begin = 0;
    let bytes = paragraph.as_bytes();
    for (at, c) in paragraph.char_indices() {
        let is_end = matches!(c, '.' | '!' | '?' | ':' | '|')
            && bytes.get(at + 1).is_none_or(|next| *next == b' ');
        if is_end {
            found.push(&paragraph[begin..=at]);
            begin = at + 1;
        }
    }
    found.push(&paragraph[begin..]);
    let marks: &[char] = &['-', '*', '|', ' ', '(', '"'];
    found
        .into_iter()
        .map(|one| one.trim_start_matches(marks).trim_end())
        .collect()
}
