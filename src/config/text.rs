//! Optional texts, secrets, and lists of both.

use figment::value::Value;
use secrecy::SecretString;

use super::error::{Origin, Wrong, found};
use super::reader::{Reader, describe, quoted, text};
use super::source::{Given, Written};
use super::values::redact::REDACTED;

/// Replaces a wrong secret in an error.
const KEPT_SECRET: &str = "a secret value";

impl Reader {
    /// Reads an optional text.
    pub(super) fn optional(
        &mut self,
        key: &str,
        allowed: &str,
        is_allowed: impl Fn(&str) -> bool,
    ) -> Option<String> {
        let given = self.given(key);
        let (text, origin) = self.text_of(key, given, allowed, is_allowed, false);
        self.note(key, text.as_deref().map(quoted), origin);
        text
    }

    /// Reads an optional secret. Errors never show its value.
    pub(super) fn secret(&mut self, key: &str, allowed: &str) -> Option<SecretString> {
        let given = self.given(key);
        let (text, origin) = self.text_of(key, given, allowed, |_| true, true);
        let shown = text.as_ref().map(|_| quoted(REDACTED));
        self.note(key, shown, origin);
        text.map(SecretString::from)
    }

    /// Reads a secret text with a default, shown by `show`.
    pub(super) fn secret_or(
        &mut self,
        key: &str,
        default: &str,
        allowed: &str,
        is_allowed: impl Fn(&str) -> bool,
        show: impl Fn(&str) -> String,
    ) -> String {
        let given = self.given(key);
        let (text, origin) = self.text_of(key, given, allowed, is_allowed, true);
        let text = text.unwrap_or_else(|| default.to_owned());
        self.note(key, Some(quoted(&show(&text))), origin);
        text
    }

    /// Reads a list of texts, each parsed by `parse`.
    pub(super) fn list<T>(
        &mut self,
        key: &str,
        allowed: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Vec<T> {
        let Some((entries, origin)) = self.entries(key, allowed, false) else {
            return Vec::new();
        };
        let shown: Vec<String> = entries.iter().map(|entry| quoted(entry)).collect();
        let mut list = Vec::with_capacity(entries.len());
        for entry in &entries {
            match parse(entry) {
                Some(value) => list.push(value),
                None => self.refuse(key, &origin, found(entry), allowed),
            }
        }
        self.note(key, Some(format!("[{}]", shown.join(", "))), origin);
        list
    }

    /// Reads a list of secrets; only their number is shown.
    pub(super) fn secret_list(&mut self, key: &str, allowed: &str) -> Vec<SecretString> {
        let Some((entries, origin)) = self.entries(key, allowed, true) else {
            return Vec::new();
        };
        if entries.iter().any(String::is_empty) {
            self.refuse(key, &origin, "an empty entry".to_owned(), allowed);
        }
        let shown = vec![quoted(REDACTED); entries.len()];
        self.note(key, Some(format!("[{}]", shown.join(", "))), origin);
        entries.into_iter().map(SecretString::from).collect()
    }

    fn text_of(
        &mut self,
        key: &str,
        given: Option<Given>,
        allowed: &str,
        is_allowed: impl Fn(&str) -> bool,
        is_secret: bool,
    ) -> (Option<String>, Origin) {
        let Some(Given { written, origin }) = given else {
            return (None, Origin::Default);
        };
        match text(&written) {
            Some("") => self.problem(key, origin.clone(), Wrong::Empty),
            Some(text) if is_allowed(text) => return (Some(text.to_owned()), origin),
            Some(_) | None if is_secret => {
                self.refuse(key, &origin, KEPT_SECRET.to_owned(), allowed);
            }
            Some(_) | None => self.refuse(key, &origin, describe(&written), allowed),
        }
        (None, origin)
    }

    fn entries(
        &mut self,
        key: &str,
        allowed: &str,
        is_secret: bool,
    ) -> Option<(Vec<String>, Origin)> {
        let Some(Given { written, origin }) = self.given(key) else {
            return Some((Vec::new(), Origin::Default));
        };
        let entries = match &written {
            Written::Toml(value) => texts(value),
            Written::Text(text) if text.trim_start().starts_with('[') => {
                text.trim().parse().ok().as_ref().and_then(texts)
            }
            Written::Text(text) if text.trim().is_empty() => Some(Vec::new()),
            Written::Text(text) => {
                let parts = text.split([',', '\n']).map(|entry| entry.trim().to_owned());
                Some(parts.collect())
            }
        };
        if entries.is_none() {
            let found = if is_secret {
                KEPT_SECRET.to_owned()
            } else {
                describe(&written)
            };
            self.refuse(key, &origin, found, allowed);
            self.note(key, Some("[]".to_owned()), origin.clone());
        }
        entries.map(|entries| (entries, origin))
    }
}

fn texts(value: &Value) -> Option<Vec<String>> {
    let entries = value.as_array()?.iter();
    entries
        .map(|entry| entry.as_str().map(str::to_owned))
        .collect()
}
