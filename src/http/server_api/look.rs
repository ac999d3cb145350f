//! Server API: presence, history, channels, info.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::ServerApi;
use super::answer::{Answer, answer, done};
use super::fields::{Fields, must_be};
use crate::telemetry::process_use;
use crate::wire::{ErrorCode, Failure, HistoryRequest, Position};

/// The most channels in one answer: at most a megabyte of names. A narrower pattern returns fewer.
const CHANNELS_MAX: usize = 10_000;

/// The longest pattern: as long as the longest channel name.
const PATTERN_BYTES_MAX: usize = 255;

#[derive(Debug, Serialize)]
struct ChannelsAnswer {
    channels: BTreeMap<Arc<str>, ChannelAnswer>,
}

#[derive(Debug, Serialize)]
struct ChannelAnswer {
    num_clients: usize,
}

#[derive(Debug, Serialize)]
struct InfoAnswer<'a> {
    nodes: [NodeAnswer<'a>; 1],
}

#[derive(Debug, Serialize)]
struct NodeAnswer<'a> {
    uid: &'a str,
    name: &'a str,
    version: &'static str,
    num_clients: usize,
    num_users: usize,
    num_channels: usize,
    num_subs: usize,
    /// Seconds.
    #[serde(skip_serializing_if = "is_zero")]
    uptime: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<ProcessAnswer>,
}

#[derive(Debug, Serialize)]
struct ProcessAnswer {
    /// Percent of one core, since the start.
    cpu: f64,
    /// Bytes.
    rss: u64,
}

impl ServerApi {
    pub(super) async fn presence(&self, fields: &Fields<'_>) -> Answer {
        let channel = fields.needed_text("channel")?;
        answer(&self.rooms.presence(&channel).await?)
    }

    pub(super) async fn presence_stats(&self, fields: &Fields<'_>) -> Answer {
        let channel = fields.needed_text("channel")?;
        answer(&self.rooms.presence_stats(&channel).await?)
    }

    pub(super) async fn history(&self, fields: &Fields<'_>) -> Answer {
        let request = HistoryRequest {
            channel: fields.needed_text("channel")?,
            limit: fields.number("limit", "a whole number")?.unwrap_or(0),
            since: position(fields, "since")?,
            is_reverse: fields.is("reverse")?,
        };
        answer(&self.rooms.history(request).await?)
    }

    pub(super) async fn history_remove(&self, fields: &Fields<'_>) -> Answer {
        let channel = fields.needed_text("channel")?;
        self.rooms.remove_history(&channel).await?;
        done()
    }

    pub(super) fn channels(&self, fields: &Fields<'_>) -> Answer {
        let pattern = fields.text("pattern")?;
        if pattern.len() > PATTERN_BYTES_MAX {
            let kind = format_args!("{PATTERN_BYTES_MAX} bytes long at most");
            return Err(must_be("pattern", kind));
        }
        let heard = self.rooms.heard();
        let is_meant = |name: &str| pattern.is_empty() || matches(&pattern, name);
        let channels: BTreeMap<_, _> = heard
            .into_iter()
            .filter(|(name, _)| is_meant(name))
            .map(|(name, num_clients)| (name, ChannelAnswer { num_clients }))
            .take(CHANNELS_MAX + 1)
            .collect();
        if channels.len() > CHANNELS_MAX {
            return Err(ErrorCode::LimitExceeded.into());
        }
        answer(&ChannelsAnswer { channels })
    }

    pub(super) fn info(&self) -> Answer {
        let heard = self.rooms.heard();
        let (num_clients, num_users) = self.connections.count();
        let uptime = self.node.started.elapsed();
        let process = process_use().map(|used| ProcessAnswer {
            cpu: 100.0 * used.cpu_seconds / uptime.as_secs_f64().max(1.0),
            rss: used.resident_bytes,
        });
        answer(&InfoAnswer {
            nodes: [NodeAnswer {
                uid: &self.node.uid,
                name: &self.node.name,
                version: env!("CARGO_PKG_VERSION"),
                num_clients,
                num_users,
                num_channels: heard.len(),
                num_subs: heard.iter().map(|(_, members)| members).sum(),
                uptime: uptime.as_secs(),
                process,
            }],
        })
    }
}

/// Returns a stream position, if one is given.
pub(super) fn position(fields: &Fields<'_>, name: &str) -> Result<Option<Position>, Failure> {
    let Some(fields) = fields.object(name)? else {
        return Ok(None);
    };
    Ok(Some(Position {
        offset: fields.number("offset", "a whole number")?.unwrap_or(0),
        epoch: fields.text("epoch")?,
    }))
}

/// Returns whether a name matches a glob pattern: `*` stands for any characters or none, and `?` for one.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut in_name) = (0, 0);
    // The index of the last star, and the end of the characters that it has matched so far.
    let mut star = None;
    while in_name < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, in_name));
                at += 1;
            }
            Some(one) if *one == '?' || *one == name[in_name] => {
                at += 1;
                in_name += 1;
            }
            Some(_) | None => {
                let Some((star_at, end)) = star else {
                    return false;
                };
                star = Some((star_at, end + 1));
                at = star_at + 1;
                in_name = end + 1;
            }
        }
    }
    pattern[at..].iter().all(|one| *one == '*')
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_has_stars_and_question_marks() {
        for (pattern, name) in [
            ("*", ""),
            ("*", "lobby:main"),
            ("lobby:*", "lobby:"),
            ("lobby:*", "lobby:main"),
            ("*:main", "lobby:main"),
            ("l*b*:*n", "lobby:main"),
            ("lobby:ma?n", "lobby:main"),
            ("lobby:main", "lobby:main"),
            ("**n", "lobby:main"),
            ("?", "é"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("", "x"),
            ("?", ""),
            ("lobby", "lobby:main"),
            ("lobby:*x", "lobby:main"),
            ("?obby", "obby"),
            ("*a*a*a*a*a*b", &"a".repeat(255)),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}
