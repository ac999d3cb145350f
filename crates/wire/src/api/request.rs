//! Requests: the same fields in the body of an HTTP call and in the data of an rpc.
//!
//! An unknown field is ignored; a known one must have the right type, and `null` is the same as leaving it out. A
//! request written as JSON is compared when its idempotency key is used again. A new field must therefore be left out
//! where it is not given.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::refusal::{Reason, Refusal};
use super::whole::Whole;
use crate::id::{CODE_CHARS, CommandKey, NAME_CHARS_MAX, RoomCode, UserId, parse_name};
use crate::time::WallTime;

/// How deep arrays and objects may nest: half of the parser's own limit. No request of a game needs ten.
pub const DEPTH_MAX: usize = 64;

/// Maximum size of `settings`, which are kept in memory with the room and sent with each view of it.
pub const SETTINGS_BYTES_MAX: usize = 16 * 1024;

/// Maximum length of the name of a kind or a team. An estimate: they are words in the configuration.
pub const WORD_BYTES_MAX: usize = 64;

/// Separators that keyboards and text processors put between the parts of a code.
const HYPHENS: [char; 5] = ['-', '\u{2010}', '\u{2011}', '\u{2013}', '_'];

const SECONDS: &str = "a whole number of seconds";

/// The name of a guest that gives none.
pub const GUEST_NAME: &str = "Guest";

/// The fields of `POST /v1/rooms` and `room.open`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct OpenRoomRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seat: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// A JSON object on one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<Arc<str>>,
    /// The hold of the room's seats; its kind's by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace: Option<Duration>,
    /// True if the game's own server asks, which may set a longer hold than a player.
    #[serde(skip)]
    pub is_by_game: bool,
}

/// The fields of a join, and of `seat.claim`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct JoinRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seat: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub spectate: bool,
}

/// The fields of `POST /v1/quick-match` and `match.quick`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct QuickMatchRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
}

/// The account for which a game's server makes the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountRequest {
    pub id: UserId,
    pub name: Option<Arc<str>>,
    /// The time until which a session made by this request admits its user; `None` if there is no end.
    pub until: Option<WallTime>,
}

/// The fields of a request, not parsed yet.
#[derive(Debug, Default, Deserialize)]
pub struct Fields<'a> {
    #[serde(borrow)]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    seat: Option<&'a RawValue>,
    #[serde(borrow)]
    team: Option<&'a RawValue>,
    #[serde(borrow)]
    settings: Option<&'a RawValue>,
    #[serde(borrow)]
    grace: Option<&'a RawValue>,
    #[serde(borrow)]
    seconds: Option<&'a RawValue>,
    #[serde(borrow)]
    spectate: Option<&'a RawValue>,
    #[serde(borrow)]
    room: Option<&'a RawValue>,
    #[serde(borrow)]
    guest: Option<&'a RawValue>,
    #[serde(borrow)]
    user: Option<&'a RawValue>,
    #[serde(borrow)]
    expires_at: Option<&'a RawValue>,
    #[serde(borrow)]
    seat_token: Option<&'a RawValue>,
    #[serde(borrow)]
    login: Option<&'a RawValue>,
    #[serde(borrow)]
    key: Option<&'a RawValue>,
}

/// The fields of `guest` and `user`.
#[derive(Debug, Default, Deserialize)]
struct UserFields<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
}

impl OpenRoomRequest {
    pub fn parse(body: &[u8]) -> Result<OpenRoomRequest, Refusal> {
        OpenRoomRequest::read(&Fields::parse(body)?)
    }

    pub fn read(fields: &Fields<'_>) -> Result<OpenRoomRequest, Refusal> {
        Ok(OpenRoomRequest {
            kind: fields.kind()?,
            seat: fields.seat()?,
            team: fields.team()?,
            settings: fields.settings()?,
            grace: fields.grace()?,
            is_by_game: false,
        })
    }
}

impl JoinRequest {
    pub fn parse(body: &[u8]) -> Result<JoinRequest, Refusal> {
        JoinRequest::read(&Fields::parse(body)?)
    }

    pub fn read(fields: &Fields<'_>) -> Result<JoinRequest, Refusal> {
        Ok(JoinRequest {
            seat: fields.seat()?,
            team: fields.team()?,
            spectate: fields.spectate()?,
        })
    }
}

impl QuickMatchRequest {
    pub fn parse(body: &[u8]) -> Result<QuickMatchRequest, Refusal> {
        QuickMatchRequest::read(&Fields::parse(body)?)
    }

    pub fn read(fields: &Fields<'_>) -> Result<QuickMatchRequest, Refusal> {
        Ok(QuickMatchRequest {
            kind: fields.kind()?,
            team: fields.team()?,
        })
    }
}

impl<'a> Fields<'a> {
    /// Splits a request into its fields. An empty body is the same as `{}`.
    pub fn parse(body: &'a [u8]) -> Result<Fields<'a>, Refusal> {
        let text = std::str::from_utf8(body).map_err(|error| {
            let at = error.valid_up_to();
            Refusal::bad_request(format!("the request is not UTF-8: byte {at} is wrong"))
        })?;
        let text = text.trim_ascii();
        if text.is_empty() {
            return Ok(Fields::default());
        }
        if is_deeper_than(text.as_bytes(), DEPTH_MAX) {
            return Err(Refusal::bad_request(format!(
                "the request has more than {DEPTH_MAX} arrays and objects within each other"
            )));
        }
        object("the request", text)
    }

    pub fn kind(&self) -> Result<Option<String>, Refusal> {
        self.kind.map(|raw| word("kind", raw)).transpose()
    }

    pub fn seat(&self) -> Result<Option<u16>, Refusal> {
        let expected = "a whole number from 0 to 65535";
        let given = self
            .seat
            .map(|raw| typed::<Whole<u16>>("seat", raw.get(), expected));
        Ok(given.transpose()?.map(|Whole(seat)| seat))
    }

    pub fn team(&self) -> Result<Option<String>, Refusal> {
        self.team.map(|raw| word("team", raw)).transpose()
    }

    /// Returns the settings as the client wrote them, on one line so that they fit a line of the protocol.
    pub fn settings(&self) -> Result<Option<Arc<str>>, Refusal> {
        let Some(raw) = self.settings else {
            return Ok(None);
        };
        let text = raw.get();
        if !text.starts_with('{') {
            return Err(expected("settings", "a JSON object"));
        }
        if text.len() > SETTINGS_BYTES_MAX {
            let bytes = text.len();
            return Err(Refusal::bad_request(format!(
                "settings has at most {SETTINGS_BYTES_MAX} bytes, this one has {bytes}"
            )));
        }
        // Inside a JSON string a line break is always escaped, so this removes white space only.
        Ok(Some(text.replace(['\n', '\r'], "").into()))
    }

    /// Returns the hold of a room to open.
    pub fn grace(&self) -> Result<Option<Duration>, Refusal> {
        self.grace.map(|raw| seconds("grace", raw)).transpose()
    }

    /// Returns how long a seat is to be kept.
    pub fn seconds(&self) -> Result<Duration, Refusal> {
        let raw = self.seconds;
        seconds("seconds", raw.ok_or_else(|| expected("seconds", SECONDS))?)
    }

    pub fn spectate(&self) -> Result<bool, Refusal> {
        let given = self
            .spectate
            .map(|raw| typed("spectate", raw.get(), "true or false"));
        Ok(given.transpose()?.unwrap_or(false))
    }

    /// Returns the room of an rpc.
    pub fn room(&self) -> Result<RoomCode, Refusal> {
        let raw = self
            .room
            .ok_or_else(|| expected("room", "the code of a room"))?;
        room_code(&typed::<String>("room", raw.get(), "the code of a room")?)
    }

    /// Returns the name of a guest.
    pub fn guest_name(&self) -> Result<Arc<str>, Refusal> {
        let given = self
            .guest
            .map(|raw| object::<UserFields<'_>>("guest", raw.get()));
        let name = given.transpose()?.and_then(|guest| guest.name);
        let name = name.map(|raw| shown_name("guest.name", raw)).transpose()?;
        Ok(name.unwrap_or_else(|| GUEST_NAME.into()))
    }

    /// Returns the account that the request is for, if it names one.
    pub fn account(&self) -> Result<Option<AccountRequest>, Refusal> {
        let Some(raw) = self.user else {
            return Ok(None);
        };
        let user: UserFields<'_> = object("user", raw.get())?;
        let id = user
            .id
            .ok_or_else(|| expected("user.id", "given as text"))?;
        let id: String = typed("user.id", id.get(), "text")?;
        let id = UserId::parse(&id)
            .map_err(|error| Refusal::bad_request(format!("user.id is wrong: {error}")))?;
        let name = user.name.map(|raw| shown_name("user.name", raw));
        Ok(Some(AccountRequest {
            id,
            name: name.transpose()?,
            until: self.expires_at()?,
        }))
    }

    /// Returns the time until which the account's session admits its user.
    fn expires_at(&self) -> Result<Option<WallTime>, Refusal> {
        let kind = "a moment in RFC 3339, such as 2030-01-31T12:00:00Z";
        let Some(raw) = self.expires_at else {
            return Ok(None);
        };
        let text: String = typed("expires_at", raw.get(), kind)?;
        let until = WallTime::from_rfc3339(&text);
        until.map(Some).ok_or_else(|| expected("expires_at", kind))
    }

    /// Returns the idempotency key of an rpc.
    pub fn key(&self) -> Result<Option<CommandKey>, Refusal> {
        let text = self
            .key
            .map(|raw| typed::<String>("key", raw.get(), "text"));
        text.transpose()?.as_deref().map(command_key).transpose()
    }

    /// Returns the JWT with which a guest logs in.
    pub fn login(&self) -> Result<Option<String>, Refusal> {
        self.login
            .map(|raw| typed("login", raw.get(), "a JWT as text"))
            .transpose()
    }

    /// Returns the seat token of the request.
    pub fn seat_token(&self) -> Result<Option<String>, Refusal> {
        self.seat_token
            .map(|raw| typed("seat_token", raw.get(), "text"))
            .transpose()
    }
}

/// Reads an idempotency key.
pub fn command_key(text: &str) -> Result<CommandKey, Refusal> {
    CommandKey::parse(text).map_err(|error| Refusal::bad_request(error.to_string()))
}

/// Reads a room code as people write it: with spaces and hyphens between the letters, in any case. A text that cannot
/// be a code names no room, so guessing reveals nothing.
pub fn room_code(text: &str) -> Result<RoomCode, Refusal> {
    let is_letter = |letter: &char| !letter.is_whitespace() && !HYPHENS.contains(letter);
    // One more letter than a code has: a longer text is not a code.
    let letters = text.chars().filter(is_letter).take(CODE_CHARS + 1);
    letters
        .collect::<String>()
        .parse()
        .map_err(|_| Refusal::new(Reason::RoomNotFound, "there is no room with this code"))
}

/// Returns true if brackets nest deeper than `depth_max`. Examines bytes only: the text need not be JSON.
pub fn is_deeper_than(text: &[u8], depth_max: usize) -> bool {
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut escaped = false;
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > depth_max {
            return true;
        }
    }
    false
}

fn object<'a, T: Deserialize<'a>>(name: &str, text: &'a str) -> Result<T, Refusal> {
    // Serde would read a struct from an array as well.
    if !text.starts_with('{') {
        return Err(expected(name, "a JSON object"));
    }
    serde_json::from_str(text)
        .map_err(|error| Refusal::bad_request(format!("{name} cannot be read as JSON: {error}")))
}

fn typed<'a, T: Deserialize<'a>>(name: &str, text: &'a str, kind: &str) -> Result<T, Refusal> {
    serde_json::from_str(text).map_err(|_| expected(name, kind))
}

fn word(name: &str, raw: &RawValue) -> Result<String, Refusal> {
    let text: String = typed(name, raw.get(), "text")?;
    if text.is_empty() || text.len() > WORD_BYTES_MAX {
        let bytes = text.len();
        return Err(Refusal::bad_request(format!(
            "{name} has 1 to {WORD_BYTES_MAX} bytes, this one has {bytes}"
        )));
    }
    Ok(text)
}

fn shown_name(name: &str, raw: &RawValue) -> Result<Arc<str>, Refusal> {
    let wanted = format!("text of 1 to {NAME_CHARS_MAX} characters");
    let text: String = typed(name, raw.get(), &wanted)?;
    parse_name(&text).map_err(|error| Refusal::bad_request(format!("{name} is wrong: {error}")))
}

fn seconds(name: &str, raw: &RawValue) -> Result<Duration, Refusal> {
    let Whole(seconds) = typed(name, raw.get(), SECONDS)?;
    Ok(Duration::from_secs(seconds))
}

fn expected(name: &str, kind: &str) -> Refusal {
    Refusal::bad_request(format!("{name} must be {kind}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(body: &[u8], names: &str) {
        let refusal = OpenRoomRequest::parse(body).unwrap_err();
        assert_eq!(refusal.reason, Reason::BadRequest);
        assert!(refusal.detail.contains(names), "{}", refusal.detail);
    }

    #[test]
    fn an_empty_body_is_an_empty_object() {
        for body in ["", "  \n", "{}", r#"{"kind":null}"#] {
            let request = OpenRoomRequest::parse(body.as_bytes()).unwrap();
            assert_eq!(request, OpenRoomRequest::default(), "{body}");
        }
    }

    #[test]
    fn fields_are_read_and_unknown_ones_ignored() {
        let body = br#"{"kind":"duel","seat":1,"team":"red","colour":[1,{"a":2}],"room":7}"#;
        let request = OpenRoomRequest::parse(body).unwrap();
        assert_eq!(request.kind.as_deref(), Some("duel"));
        assert_eq!(request.seat, Some(1));
        assert_eq!(request.team.as_deref(), Some("red"));
    }

    #[test]
    fn a_wrong_type_is_refused_by_the_name_of_its_field() {
        refused(br#"{"seat":"1"}"#, "seat must be a whole number");
        refused(br#"{"seat":-1}"#, "seat must be a whole number");
        refused(br#"{"seat":65536}"#, "seat must be a whole number");
        refused(br#"{"seat":1e999}"#, "seat must be a whole number");
        refused(br#"{"seat":18446744073709551616}"#, "seat must be");
        refused(br#"{"seat":1.5}"#, "seat must be a whole number");
        refused(br#"{"kind":7}"#, "kind must be text");
        refused(br#"{"kind":"\ud800"}"#, "kind must be text");
        refused(br#"{"team":{}}"#, "team must be text");
        refused(br#"{"settings":[]}"#, "settings must be a JSON object");
        refused(br#"{"settings":"x"}"#, "settings must be a JSON object");
    }

    #[test]
    fn a_number_is_read_by_its_value() {
        let fields = Fields::parse(br#"{"seat":1.0,"grace":60.0,"seconds":9e1}"#).unwrap();
        assert_eq!(fields.seat(), Ok(Some(1)));
        assert_eq!(fields.grace(), Ok(Some(Duration::from_secs(60))));
        assert_eq!(fields.seconds(), Ok(Duration::from_secs(90)));
        refused(br#"{"grace":60.5}"#, "grace must be a whole number");
        refused(br#"{"grace":1e400}"#, "grace must be a whole number");
        refused(br#"{"seat":1e400}"#, "seat must be a whole number");
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for body in ["[]", "7", "\"x\"", "null", "true", r#"["duel",1]"#] {
            refused(body.as_bytes(), "must be a JSON object");
        }
        refused(b"{", "cannot be read as JSON");
        refused(b"{} {}", "cannot be read as JSON");
        refused(br#"{"seat":1,"seat":2}"#, "duplicate field");
    }

    #[test]
    fn bad_utf_8_is_refused_with_its_place() {
        refused(b"{\"kind\":\"\xff\"}", "byte 9");
    }

    #[test]
    fn a_request_may_be_deep_but_not_bottomless() {
        let nested = |depth: usize| {
            let open = "[".repeat(depth);
            let close = "]".repeat(depth);
            format!(r#"{{"unknown":{open}{close}}}"#)
        };
        assert!(OpenRoomRequest::parse(nested(DEPTH_MAX - 1).as_bytes()).is_ok());
        refused(nested(DEPTH_MAX).as_bytes(), "64");
        refused("[".repeat(60_000).as_bytes(), "64");
        let in_text = format!(r#"{{"unknown":"\"{}"}}"#, "[".repeat(1_000));
        assert!(OpenRoomRequest::parse(in_text.as_bytes()).is_ok());
    }

    #[test]
    fn settings_are_kept_as_written_on_one_line() {
        let body = b"{\"settings\": {\r\n \"big\": 1e999,\n\"text\":\"a\\nb\"}}";
        let request = OpenRoomRequest::parse(body).unwrap();
        let settings = request.settings.unwrap();
        assert_eq!(&*settings, r#"{ "big": 1e999,"text":"a\nb"}"#);
    }

    #[test]
    fn settings_have_a_size_limit() {
        let body = |bytes: usize| {
            let filler = "x".repeat(bytes - r#"{"a":""}"#.len());
            format!(r#"{{"settings":{{"a":"{filler}"}}}}"#)
        };
        assert!(OpenRoomRequest::parse(body(SETTINGS_BYTES_MAX).as_bytes()).is_ok());
        refused(body(SETTINGS_BYTES_MAX + 1).as_bytes(), "16384");
    }

    #[test]
    fn spectate_is_a_boolean() {
        assert!(
            JoinRequest::parse(br#"{"spectate":true}"#)
                .unwrap()
                .spectate
        );
        assert!(!JoinRequest::parse(b"").unwrap().spectate);
        let refusal = JoinRequest::parse(br#"{"spectate":"yes"}"#).unwrap_err();
        assert_eq!(refusal.detail, "spectate must be true or false");
    }

    #[test]
    fn guests_and_accounts_are_read_with_their_names() {
        let fields = Fields::parse(br#"{"guest":{"name":" Ana "}}"#).unwrap();
        assert_eq!(&*fields.guest_name().unwrap(), "Ana");
        assert_eq!(&*Fields::default().guest_name().unwrap(), "Guest");
        let fields = Fields::parse(br#"{"guest":true,"user":{"name":"x"}}"#).unwrap();
        assert!(fields.guest_name().is_err());
        assert!(fields.account().is_err());
        let fields = Fields::parse(br#"{"user":{"id":"u-1","name":"Bo"}}"#).unwrap();
        let account = fields.account().unwrap().unwrap();
        assert_eq!(account.id.as_str(), "u-1");
        assert_eq!(account.name.as_deref(), Some("Bo"));
    }

    #[test]
    fn what_cannot_be_a_code_is_an_unknown_room() {
        let fields = Fields::parse(br#"{"room":"nope"}"#).unwrap();
        assert_eq!(fields.room().unwrap_err().reason, Reason::RoomNotFound);
        for typed in [
            "k7qx2p",
            "K7Q-X2P",
            " k7q x2p ",
            "K 7 Q X 2 P",
            "k7q\u{2011}x2p\u{a0}\n",
            "K7Q_X2P",
        ] {
            assert_eq!(room_code(typed).unwrap().as_str(), "K7QX2P", "{typed}");
        }
        for typed in ["", " ", "K7QX2", "K7QX2PP", "K7Q.X2P", "K7Q0X2P", "ＫQ7X2P"] {
            let refused = room_code(typed).unwrap_err();
            assert_eq!(refused.reason, Reason::RoomNotFound, "{typed}");
        }
        let missing = Fields::default().room().unwrap_err();
        assert_eq!(missing.reason, Reason::BadRequest);
    }
}
