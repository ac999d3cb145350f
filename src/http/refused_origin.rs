//! The log lines about web pages whose origin was refused: a browser hides the reason from its page.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use axum::http::HeaderValue;
use parking_lot::Mutex;

/// The time in which one origin is logged once. A refused page tries again every few seconds.
const LOGGED_EVERY: Duration = Duration::from_secs(3600);

/// Origins that are remembered at one time. Invented origins can fill it, and then no more are logged.
const ORIGINS_MAX: usize = 256;

/// The longest text of a header in a log line. Host names have at most 253 characters.
const SHOWN_BYTES_MAX: usize = 280;

/// The refused origins that were logged, and when.
#[derive(Debug, Default)]
pub(super) struct RefusedOrigins {
    logged: Mutex<Logged>,
}

#[derive(Debug, Default)]
struct Logged {
    origins: HashMap<String, Instant>,
    full: Option<Instant>,
}

/// The log line for a refusal.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Origin,
    TableFull,
    Nothing,
}

impl RefusedOrigins {
    /// Logs an origin once an hour.
    pub(super) fn log(&self, origin: &HeaderValue, host: Option<&HeaderValue>, now: Instant) {
        let origin = shown(origin);
        let line = self.logged.lock().line(&origin, now);
        match line {
            Line::Origin => tracing::warn!(
                origin,
                host = host.map(shown),
                key = "server.allowed_origins",
                "a web page of another origin was refused; if it is yours, add its origin to server.allowed_origins; \
                 if the host is not the one in its address, have the proxy forward the Host header"
            ),
            Line::TableFull => tracing::warn!(
                key = "server.allowed_origins",
                "web pages of more than {ORIGINS_MAX} origins were refused within an hour; further ones are not logged"
            ),
            Line::Nothing => {}
        }
    }
}

impl Logged {
    fn line(&mut self, origin: &str, now: Instant) -> Line {
        let is_recent = |logged: &Instant| now.duration_since(*logged) < LOGGED_EVERY;
        if self.origins.get(origin).is_some_and(is_recent) {
            return Line::Nothing;
        }
        if self.origins.len() >= ORIGINS_MAX {
            self.origins.retain(|_, logged| is_recent(logged));
        }
        if self.origins.len() < ORIGINS_MAX {
            self.origins.insert(origin.to_owned(), now);
            return Line::Origin;
        }
        if self.full.as_ref().is_some_and(is_recent) {
            return Line::Nothing;
        }
        self.full = Some(now);
        Line::TableFull
    }
}

/// Returns a header as shown in a log line.
fn shown(value: &HeaderValue) -> String {
    let text = value.to_str().unwrap_or("(no text)");
    text.chars().take(SHOWN_BYTES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_logged_once_an_hour() {
        let mut logged = Logged::default();
        let start = Instant::now();
        let just_before = start + LOGGED_EVERY - Duration::from_millis(1);

        assert_eq!(logged.line("https://a.example", start), Line::Origin);
        assert_eq!(logged.line("https://a.example", just_before), Line::Nothing);
        assert_eq!(logged.line("https://b.example", just_before), Line::Origin);
        let later = start + LOGGED_EVERY;
        assert_eq!(logged.line("https://a.example", later), Line::Origin);
    }

    #[test]
    fn made_up_origins_take_bounded_memory_and_bounded_log() {
        let mut logged = Logged::default();
        let start = Instant::now();
        let lines: Vec<Line> = (0..10_000)
            .map(|number| logged.line(&format!("https://{number}.example"), start))
            .collect();

        let count = |line: &Line| lines.iter().filter(|l| *l == line).count();
        assert_eq!(count(&Line::Origin), ORIGINS_MAX);
        assert_eq!(count(&Line::TableFull), 1);
        assert_eq!(logged.origins.len(), ORIGINS_MAX);
        let later = start + LOGGED_EVERY;
        assert_eq!(logged.line("https://honest.example", later), Line::Origin);
        assert_eq!(logged.origins.len(), 1);
    }
}
