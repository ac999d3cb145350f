//! The fields of a call. Errors name the wrong field.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::wire::{DEPTH_MAX, Failure, Whole, WholeNumber, is_deeper_than, one_line};

/// The fields of one object. Unknown fields are ignored; `null` is the same as a missing field.
#[derive(Debug)]
pub(super) struct Fields<'a>(HashMap<String, &'a RawValue>);

impl<'a> Fields<'a> {
    /// Splits an object into its fields.
    ///
    /// # Errors
    /// `what` is no object.
    pub(super) fn parse(what: &str, text: &'a str) -> Result<Fields<'a>, Failure> {
        serde_json::from_str(text)
            .map(Fields)
            .map_err(|_| must_be(what, "a JSON object"))
    }

    /// Returns the only field of an object with exactly one.
    pub(super) fn only(&self) -> Option<(&str, &'a str)> {
        let mut fields = self.0.iter().filter(|(_, raw)| raw.get() != "null");
        let (name, raw) = fields.next()?;
        fields.next().is_none().then_some((name, raw.get()))
    }

    /// Returns a field of this type, if it is present.
    pub(super) fn get<T: Deserialize<'a>>(
        &self,
        name: &str,
        kind: &str,
    ) -> Result<Option<T>, Failure> {
        self.raw(name)
            .map(|raw| serde_json::from_str(raw.get()).map_err(|_| must_be(name, kind)))
            .transpose()
    }

    /// Returns a whole number by its value, if it is present.
    pub(super) fn number<T: WholeNumber>(
        &self,
        name: &str,
        kind: &str,
    ) -> Result<Option<T>, Failure> {
        let given = self.get::<Whole<T>>(name, kind)?;
        Ok(given.map(|Whole(number)| number))
    }

    /// Returns a text; empty if it is missing.
    pub(super) fn text(&self, name: &str) -> Result<String, Failure> {
        Ok(self.get(name, "text")?.unwrap_or_default())
    }

    /// Returns a required text.
    pub(super) fn needed_text(&self, name: &str) -> Result<String, Failure> {
        let text = self.text(name)?;
        match text.is_empty() {
            true => Err(must_be(name, "given as text")),
            false => Ok(text),
        }
    }

    pub(super) fn is(&self, name: &str) -> Result<bool, Failure> {
        Ok(self.get(name, "true or false")?.unwrap_or(false))
    }

    /// Returns an object within this one.
    pub(super) fn object(&self, name: &str) -> Result<Option<Fields<'a>>, Failure> {
        self.raw(name)
            .map(|raw| Fields::parse(name, raw.get()))
            .transpose()
    }

    /// Returns a list.
    pub(super) fn list(&self, name: &str) -> Result<Vec<&'a RawValue>, Failure> {
        Ok(self.get(name, "a list")?.unwrap_or_default())
    }

    /// Returns JSON to be forwarded, on one line: as it stands in `name`, or in base64 in `b64name`.
    pub(super) fn payload(&self, name: &str, bytes_max: usize) -> Result<Option<Bytes>, Failure> {
        let encoded_name = format!("b64{name}");
        let encoded = self.text(&encoded_name)?;
        let (name, bytes) = match self.raw(name) {
            _ if !encoded.is_empty() => {
                let bytes = STANDARD
                    .decode(encoded)
                    .map_err(|error| must_be(&encoded_name, format_args!("base64: {error}")))?;
                (encoded_name.as_str(), bytes)
            }
            Some(raw) => (name, raw.get().as_bytes().to_vec()),
            None => return Ok(None),
        };
        if bytes.len() > bytes_max {
            let kind = format!("{bytes_max} bytes long at most, and has {}", bytes.len());
            return Err(must_be(name, kind));
        }
        if is_deeper_than(&bytes, DEPTH_MAX) {
            return Err(must_be(
                name,
                format_args!("nested {DEPTH_MAX} deep at most"),
            ));
        }
        // Any receiver may use the JSON protocol, whose frames are lines.
        let line = one_line(bytes.into())
            .map_err(|error| must_be(name, format_args!("JSON, in any encoding: {error}")))?;
        Ok(Some(line))
    }

    fn raw(&self, name: &str) -> Option<&'a RawValue> {
        let raw = self.0.get(name).copied();
        raw.filter(|raw| raw.get() != "null")
    }
}

/// Returns error 107 with the requirement on a field.
pub(super) fn must_be(name: &str, kind: impl std::fmt::Display) -> Failure {
    Failure::bad_request(format_args!("{name} must be {kind}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn payload(body: &str) -> Result<Option<Bytes>, String> {
        let fields = Fields::parse("the call", body).unwrap();
        let payload = fields.payload("data", 16);
        payload.map_err(|failure| failure.message.into_owned())
    }

    #[test]
    fn a_payload_is_passed_on_as_it_stands_but_on_one_line() {
        for (body, expected) in [
            (r#"{"data":{"x": 1.50}}"#, r#"{"x": 1.50}"#),
            ("{\"data\":[1,\n2]}", "[1, 2]"),
            (r#"{"b64data":"eyJ4IjoxfQ=="}"#, r#"{"x":1}"#),
            (r#"{"data":1,"b64data":"Mg=="}"#, "2"),
            (r#"{"data":"","b64data":""}"#, r#""""#),
        ] {
            assert_eq!(payload(body), Ok(Some(Bytes::from(expected))), "{body}");
        }
        for body in ["{}", r#"{"data":null}"#] {
            assert_eq!(payload(body), Ok(None), "{body}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_payload_is_said() {
        for (body, words) in [
            (r#"{"b64data":"x"}"#, "b64data must be base64"),
            (r#"{"b64data":"eHl6"}"#, "b64data must be JSON"),
            (r#"{"b64data":5}"#, "b64data must be text"),
            (
                r#"{"data":"0123456789abcdef"}"#,
                "data must be 16 bytes long",
            ),
        ] {
            let message = payload(body).unwrap_err();
            assert!(message.contains(words), "{body}: {message}");
        }
        let mut deep = "[".repeat(DEPTH_MAX + 1);
        deep.push_str(&"]".repeat(DEPTH_MAX + 1));
        let body = format!("{{\"data\":{deep}}}");
        let fields = Fields::parse("the call", &body).unwrap();
        assert!(fields.payload("data", 1_024).is_err());
    }

    #[test]
    fn a_number_is_read_by_its_value() {
        let fields = Fields::parse("the call", r#"{"a":3.0,"b":1.5,"c":1e400,"d":-1.0}"#).unwrap();
        assert_eq!(fields.number::<u16>("a", "a whole number"), Ok(Some(3)));
        assert_eq!(fields.number::<i32>("d", "a whole number"), Ok(Some(-1)));
        for name in ["b", "c"] {
            let wrong = fields.number::<u64>(name, "a whole number").unwrap_err();
            assert_eq!(
                wrong.message,
                format!("bad request: {name} must be a whole number")
            );
        }
    }

    #[test]
    fn fields_say_what_they_must_be() {
        let fields = Fields::parse("the call", r#"{"a":1,"b":null,"c":[]}"#).unwrap();
        let message = fields.text("a").unwrap_err().message;
        assert_eq!(message, "bad request: a must be text");
        assert_eq!(fields.text("b"), Ok(String::new()));
        assert!(fields.needed_text("b").is_err());
        assert!(fields.object("c").is_err());
        assert!(Fields::parse("the call", "[]").is_err());
        assert!(fields.only().is_none());
        let one = Fields::parse("a command", r#"{"publish":{},"id":null}"#).unwrap();
        assert_eq!(one.only(), Some(("publish", "{}")));
    }
}
