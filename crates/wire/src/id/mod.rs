//! Identities: newtypes, so that one kind is never mistaken for another.

mod name;

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use uuid::Uuid;

pub use self::name::parse_name;

/// Maximum length of a user id, in bytes: enough for the keys of any account system.
pub const USER_ID_BYTES_MAX: usize = 128;

/// Maximum length of a name that other players see, in characters.
pub const NAME_CHARS_MAX: usize = 64;

/// Letters and digits of a room code, without those that look alike (0 O 1 I L U).
pub const CODE_ALPHABET: &[u8; 30] = b"23456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Characters in a room code: 30^6 is 729 million codes, short enough to say aloud.
pub const CODE_CHARS: usize = 6;

/// The start of every session token, so that people and secret scanners recognize one.
pub const SESSION_TOKEN_PREFIX: &str = "hfs_";

/// Maximum length of an idempotency key, in bytes: two UUIDs, or a prefix and one.
pub const KEY_BYTES_MAX: usize = 128;

/// Minimum length of a key that is the only proof of its sender: 128 bits in hexadecimal digits.
const STRONG_HEX_DIGITS_MIN: usize = 32;

/// The same minimum in letters of base64url.
const STRONG_CHARS_MIN: usize = 22;

/// Minimum number of different characters in such a key. Of 32 random hexadecimal digits, fewer are different once in
/// 25 million cases; a key that a person types in haste has fewer.
const STRONG_DIFFERENT_MIN: usize = 8;

/// Random bytes in a session token: with 256 bits no slow hash is needed.
const TOKEN_BYTES: usize = 32;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        impl $name {
            /// Returns a new id: a UUID v7, so that rows made together are adjacent in an index.
            pub fn new() -> $name {
                $name(Uuid::now_v7())
            }
        }

        impl Default for $name {
            fn default() -> $name {
                $name::new()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<$name, uuid::Error> {
                text.parse().map($name)
            }
        }
    };
}

uuid_id!(
    /// One room. A code may be used again, an id never.
    RoomId
);
uuid_id!(
    /// One session: a user's presence at the hub.
    SessionId
);
uuid_id!(
    /// One socket.
    ConnectionId
);

/// A user: the game's own id, or a UUID v7 for a guest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(Arc<str>);

/// The reason why a text is not a valid id, name, code, token or key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("a user id must not be empty")]
    UserIdEmpty,
    #[error("a user id has at most {USER_ID_BYTES_MAX} bytes, this one has {bytes}")]
    UserIdLong { bytes: usize },
    #[error("a user id has no control characters")]
    UserIdControl,
    #[error("a name must not be empty")]
    NameEmpty,
    #[error("a name has at most {NAME_CHARS_MAX} characters, this one has {chars}")]
    NameLong { chars: usize },
    #[error("a name has no control characters")]
    NameControl,
    #[error("a name has no invisible characters, this one has U+{code:04X}")]
    NameUnseen { code: u32 },
    #[error("a room code has {CODE_CHARS} characters of 23456789ABCDEFGHJKMNPQRSTVWXYZ")]
    Code,
    #[error("a session token begins with hfs_ and has 43 more characters of base64url")]
    Token,
    #[error("a key must not be empty")]
    KeyEmpty,
    #[error("a key has at most {KEY_BYTES_MAX} bytes, this one has {bytes}")]
    KeyLong { bytes: usize },
    #[error("a key has visible ASCII characters only, no spaces, quotes or backslashes")]
    KeyCharacters,
    #[error(
        "without a token the key itself shows who repeats a request: it needs 128 random bits, as \
         {STRONG_HEX_DIGITS_MIN} hexadecimal digits (a random UUID will do) or {STRONG_CHARS_MIN} letters of base64url, and \
         at least {STRONG_DIFFERENT_MIN} of them different"
    )]
    KeyWeak,
}

impl UserId {
    /// Checks the game's own id, and keeps it unchanged.
    pub fn parse(text: &str) -> Result<UserId, IdError> {
        if text.is_empty() {
            return Err(IdError::UserIdEmpty);
        }
        if text.len() > USER_ID_BYTES_MAX {
            return Err(IdError::UserIdLong { bytes: text.len() });
        }
        if text.chars().any(char::is_control) {
            return Err(IdError::UserIdControl);
        }
        Ok(UserId(text.into()))
    }

    /// Returns the id of a new guest.
    pub fn guest() -> UserId {
        UserId(Uuid::now_v7().to_string().into())
    }

    /// Restores an id that was checked when it was stored.
    pub fn from_stored(text: String) -> UserId {
        UserId(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<UserId, IdError> {
        UserId::parse(text)
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The code by which players find a room: six characters, in any case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomCode([u8; CODE_CHARS]);

impl RoomCode {
    /// Returns a random code. Only the database can decide if it is free.
    pub fn random() -> RoomCode {
        // 240 is the largest multiple of 30 in a byte. Bytes above are skipped, so that no letter is more likely than
        // another.
        const FAIR_BELOW: u8 = 240;
        let mut code = [0; CODE_CHARS];
        let mut filled = 0;
        while filled < CODE_CHARS {
            for byte in random_bytes::<16>() {
                if byte < FAIR_BELOW && filled < CODE_CHARS {
                    code[filled] = CODE_ALPHABET[usize::from(byte % 30)];
                    filled += 1;
                }
            }
        }
        RoomCode(code)
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a code is made of ASCII letters only")
    }
}

impl FromStr for RoomCode {
    type Err = IdError;

    fn from_str(text: &str) -> Result<RoomCode, IdError> {
        let bytes: [u8; CODE_CHARS] = text.as_bytes().try_into().map_err(|_| IdError::Code)?;
        let code = bytes.map(|byte| byte.to_ascii_uppercase());
        if code.iter().all(|byte| CODE_ALPHABET.contains(byte)) {
            Ok(RoomCode(code))
        } else {
            Err(IdError::Code)
        }
    }
}

impl fmt::Display for RoomCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RoomCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A secret that identifies a session. Sent to its client, never stored, and never logged whole.
#[derive(Clone)]
pub struct SessionToken(String);

impl SessionToken {
    pub fn random() -> SessionToken {
        let secret = URL_SAFE_NO_PAD.encode(random_bytes::<TOKEN_BYTES>());
        SessionToken(format!("{SESSION_TOKEN_PREFIX}{secret}"))
    }

    /// Accepts a token from a client, if it has the form of one.
    pub fn parse(text: &str) -> Result<SessionToken, IdError> {
        let secret = text
            .strip_prefix(SESSION_TOKEN_PREFIX)
            .ok_or(IdError::Token)?;
        let mut bytes = [0; TOKEN_BYTES];
        match URL_SAFE_NO_PAD.decode_slice(secret, &mut bytes) {
            Ok(TOKEN_BYTES) => Ok(SessionToken(text.to_owned())),
            Ok(_) | Err(_) => Err(IdError::Token),
        }
    }

    /// Returns the whole secret, for the one reply that contains it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Returns the first ten characters: enough to follow a token through the logs, useless to a thief.
    pub fn hint(&self) -> &str {
        &self.0[..10]
    }

    pub fn hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(self.0.as_bytes()).into())
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", self.hint())
    }
}

/// Proof of a seat, as its holder receives it. Sent to its client, and shown nowhere else.
#[derive(Clone, PartialEq, Eq)]
pub struct SeatToken(Arc<str>);

impl SeatToken {
    pub fn new(text: &str) -> SeatToken {
        SeatToken(text.into())
    }

    /// Returns the whole token, for the replies that contain it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SeatToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SeatToken([REDACTED])")
    }
}

/// SHA-256 of a session token, by which it is stored and found.
///
/// The duration of a look-up reveals nothing about the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash(pub [u8; 32]);

/// An idempotency key: a client's name for one request, so that it may repeat it. Never stored and never logged.
#[derive(Clone, PartialEq, Eq)]
pub struct CommandKey(String);

impl CommandKey {
    /// Accepts a key from a client.
    pub fn parse(text: &str) -> Result<CommandKey, IdError> {
        if text.is_empty() {
            return Err(IdError::KeyEmpty);
        }
        if text.len() > KEY_BYTES_MAX {
            return Err(IdError::KeyLong { bytes: text.len() });
        }
        let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
        match text.bytes().all(is_plain) {
            true => Ok(CommandKey(text.to_owned())),
            false => Err(IdError::KeyCharacters),
        }
    }

    /// Checks that the key is too long to guess, if it is random. That it is random cannot be checked.
    pub fn check_strong(&self) -> Result<(), IdError> {
        let is_hex = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
        let is_strong = if self.0.bytes().all(is_hex) {
            self.0.bytes().filter(u8::is_ascii_hexdigit).count() >= STRONG_HEX_DIGITS_MIN
        } else {
            self.0.len() >= STRONG_CHARS_MIN
        };
        let different: HashSet<u8> = self.0.bytes().collect();
        (is_strong && different.len() >= STRONG_DIFFERENT_MIN)
            .then_some(())
            .ok_or(IdError::KeyWeak)
    }

    pub fn hash(&self) -> KeyHash {
        KeyHash::of(&self.0)
    }
}

impl fmt::Debug for CommandKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CommandKey([REDACTED])")
    }
}

/// SHA-256 of an idempotency key. A guest's key is as good as a token, so it is stored in the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// Hashes a key, which may be any text.
    pub fn of(key: &str) -> KeyHash {
        KeyHash(Sha256::digest(key.as_bytes()).into())
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

/// The identity of an API key, as the scope of its requests. It is not the digest that verifies the key: that one
/// exists in memory only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ApiKeyHash([u8; 32]);

impl ApiKeyHash {
    /// Hashes a key as it was sent.
    pub fn of(key: &[u8]) -> ApiKeyHash {
        let digest = Sha256::new().chain_update(b"scope of an API key\0");
        ApiKeyHash(digest.chain_update(key).finalize().into())
    }
}

impl fmt::Display for ApiKeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

/// Returns bytes from the system's random generator.
///
/// # Panics
/// If the system has none: there is no safe way to continue without them.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system's random generator answers");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_code_is_read_without_regard_to_case() {
        assert_eq!("k7qx2p".parse::<RoomCode>().unwrap().as_str(), "K7QX2P");
    }

    #[test]
    fn letters_that_are_read_for_one_another_are_no_code() {
        for text in [
            "K7QX20", "K7QX2O", "K7QX21", "", "K7QX2", "K7QX2PP", "K7QX2é",
        ] {
            assert_eq!(text.parse::<RoomCode>(), Err(IdError::Code), "{text}");
        }
    }

    #[test]
    fn a_random_code_reads_back() {
        let code = RoomCode::random();
        assert_eq!(code.as_str().parse(), Ok(code));
    }

    #[test]
    fn a_token_reads_back_and_hashes_the_same() {
        let token = SessionToken::random();
        let again = SessionToken::parse(token.reveal()).unwrap();
        assert_eq!(again.hash(), token.hash());
        assert_ne!(SessionToken::random().hash(), token.hash());
    }

    #[test]
    fn a_token_never_shows_its_secret_in_debug_output() {
        let token = SessionToken::random();
        assert!(!format!("{token:?}").contains(&token.reveal()[11..]));
    }

    #[test]
    fn what_cannot_be_a_token_is_refused() {
        for text in [
            "",
            "hfs_",
            "hfs_short",
            "HFS_aaaa",
            &format!("hfs_{}", "a".repeat(44)),
        ] {
            assert!(SessionToken::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn keys_are_bounded_and_plain() {
        assert!(CommandKey::parse("move-17.b:2~").is_ok());
        assert_eq!(CommandKey::parse(""), Err(IdError::KeyEmpty));
        assert!(CommandKey::parse(&"x".repeat(KEY_BYTES_MAX)).is_ok());
        assert_eq!(
            CommandKey::parse(&"x".repeat(129)),
            Err(IdError::KeyLong { bytes: 129 })
        );
        for text in ["a b", "a\tb", "\u{e9}", "a\0", "\"a\"", "a\\b"] {
            assert_eq!(CommandKey::parse(text), Err(IdError::KeyCharacters));
        }
    }

    #[test]
    fn a_strong_key_has_room_for_128_random_bits() {
        let is_strong = |text: &str| CommandKey::parse(text).unwrap().check_strong().is_ok();
        assert!(is_strong("7c9e6679-7425-40de-944b-e07fc1f90ae7"));
        assert!(is_strong("7c9e6679742540de944be07fc1f90ae7"));
        assert!(!is_strong("7c9e6679742540de944be07fc1f90ae"));
        assert!(!is_strong("7c9e6679-7425-40de-944b-e07fc1f90ae--"));
        assert!(is_strong("fJ5mZ3QlQN6US-B_wfkK5w"));
        assert!(!is_strong("fJ5mZ3QlQN6US-B_wfkK5"));
        assert!(!is_strong("join-room-1"));
        assert!(!is_strong(&"0".repeat(26)));
        assert!(!is_strong("12121212-1212-1212-1212-121212121212"));
        assert!(!is_strong("abcabcabcabcabcabcabcabc-xyz"));
    }

    #[test]
    fn user_ids_are_bounded() {
        assert!(UserId::parse(&"x".repeat(128)).is_ok());
        assert_eq!(
            UserId::parse(&"x".repeat(129)),
            Err(IdError::UserIdLong { bytes: 129 })
        );
    }
}
