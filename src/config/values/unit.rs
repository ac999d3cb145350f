//! Durations and sizes as people write them.

use std::time::Duration;

use serde::de::value::{Error, StrDeserializer};

/// Sizes are powers of two, so that 64KiB means the same everywhere.
const SIZES: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// Whole units, the largest first, in milliseconds.
const DURATIONS: [(&str, u128); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Parses "25s", "5m" or "1h 30m". A number without a unit is refused, because its unit is unclear.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    humantime_serde::deserialize(StrDeserializer::<Error>::new(text)).ok()
}

/// Parses "64KiB" or a number of bytes.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let (number, unit) = SIZES
        .iter()
        .find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))
        .unwrap_or((text, 1));
    let number = number.trim();
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    number.parse::<u64>().ok()?.checked_mul(unit)
}

/// Writes a duration in the largest unit that needs no fraction.
pub(crate) fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis == 0 {
        return "0s".to_owned();
    }
    match DURATIONS
        .iter()
        .find(|(_, unit)| millis.is_multiple_of(*unit))
    {
        Some((name, unit)) => format!("{}{name}", millis / unit),
        None => format!("{millis}ms"),
    }
}

/// Writes a size in the largest unit that needs no fraction.
pub(crate) fn show_size(bytes: u64) -> String {
    match SIZES
        .iter()
        .find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit))
    {
        Some((name, unit)) => format!("{}{name}", bytes / unit),
        None => format!("{bytes}B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_duration(text: &str, read: Option<Duration>) {
        assert_eq!(parse_duration(text), read, "{text}");
    }

    #[track_caller]
    fn check_size(text: &str, read: Option<u64>) {
        assert_eq!(parse_size(text), read, "{text}");
    }

    #[test]
    fn durations_need_a_unit() {
        check_duration("25s", Some(Duration::from_secs(25)));
        check_duration("7d", Some(Duration::from_secs(604_800)));
        check_duration("500ms", Some(Duration::from_millis(500)));
        check_duration("1h 30m", Some(Duration::from_secs(5_400)));
        check_duration("25", None);
        check_duration("0", None);
        check_duration("", None);
        check_duration("-5s", None);
        check_duration("99999999999999999999d", None);
    }

    #[test]
    fn sizes_may_be_plain_bytes() {
        check_size("64KiB", Some(65_536));
        check_size("1 MiB", Some(1_048_576));
        check_size("100", Some(100));
        check_size("100B", Some(100));
        check_size("64KB", None);
        check_size("-1", None);
        check_size("+1", None);
        check_size("KiB", None);
        check_size("18446744073709551615GiB", None);
    }

    #[test]
    fn what_is_shown_reads_back() {
        for text in ["0s", "250ms", "90s", "5m", "7d", "36h"] {
            assert_eq!(show_duration(parse_duration(text).unwrap()), text);
        }
        for text in ["0B", "1500B", "64KiB", "3MiB"] {
            assert_eq!(show_size(parse_size(text).unwrap()), text);
        }
    }
}
