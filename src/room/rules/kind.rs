//! Kinds of rooms, and the team of each seat of a kind.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::config::KindConfig;
use crate::id::RoomCode;
use crate::room::handle::RoomKey;
use crate::wire::{ErrorCode, Failure, Reason, Refusal, raw_json};

/// The kind of a new room if the request names none.
pub const DEFAULT_KIND: &str = "table";

/// The first character of a channel that requires a token.
pub const PRIVATE: char = '$';

/// Separates a channel's name from the users that it is for, as in `dialog#ana,ben`.
pub const USERS: char = '#';

/// The longest channel name, in bytes, as in the protocol.
const CHANNEL_BYTES_MAX: usize = 255;

/// A configured template of rooms.
#[derive(Debug)]
pub struct Kind {
    pub name: Arc<str>,
    pub config: KindConfig,
    /// The team of each seat.
    teams: Vec<Option<Arc<str>>>,
    /// The info that members see of each seat's holder.
    infos: Vec<Arc<RawValue>>,
}

/// `chan_info` of a member with a seat.
#[derive(Serialize)]
struct SeatInfo<'a> {
    seat: u16,
    team: Option<&'a str>,
}

/// All kinds, by name.
#[derive(Debug, Clone)]
pub struct Kinds(Arc<BTreeMap<String, Arc<Kind>>>);

impl Kinds {
    pub fn new(configs: &BTreeMap<String, KindConfig>) -> Kinds {
        let kinds = configs.iter().map(|(name, config)| {
            let kind = Kind::new(name, config.clone());
            (name.clone(), Arc::new(kind))
        });
        Kinds(Arc::new(kinds.collect()))
    }

    pub fn get(&self, name: &str) -> Option<&Arc<Kind>> {
        self.0.get(name)
    }

    /// Returns the kind of a channel: the name before the colon, or `default`. A leading `$` belongs to neither: it
    /// marks a channel that requires a token.
    pub fn of_channel(&self, channel: &str) -> Option<&Arc<Kind>> {
        let channel = channel.strip_prefix(PRIVATE).unwrap_or(channel);
        let name = channel.split_once(':').map_or("default", |(name, _)| name);
        self.get(name)
    }

    /// Returns the key of a channel's room, which need not exist.
    ///
    /// # Errors
    /// 107 for an invalid channel name, 102 for an unknown kind or an invalid code.
    pub fn room_key(&self, channel: &str) -> Result<RoomKey, Failure> {
        // A user id may have any characters.
        let is_text = channel.is_ascii() || channel.contains(USERS);
        if channel.is_empty() || channel.len() > CHANNEL_BYTES_MAX || !is_text {
            return Err(Failure::bad_request(format_args!(
                "a channel has 1 to {CHANNEL_BYTES_MAX} ASCII characters"
            )));
        }
        let kind = self.of_channel(channel).ok_or(ErrorCode::UnknownChannel)?;
        if kind.is_open_channel() {
            return Ok(RoomKey::Channel(channel.into()));
        }
        let code = channel.split_once(':').map_or("", |(_, code)| code);
        let code: RoomCode = code.parse().map_err(|_| ErrorCode::UnknownChannel)?;
        Ok(RoomKey::Code(code))
    }

    /// Returns the kind for a new room.
    pub fn for_room(&self, name: Option<&str>) -> Result<&Arc<Kind>, Refusal> {
        let name = name.unwrap_or(DEFAULT_KIND);
        let kind = self.get(name).ok_or_else(|| {
            let detail = "there is no such kind of room; the configuration names the kinds";
            Refusal::new(Reason::UnknownKind, detail)
        })?;
        if kind.is_open_channel() {
            let detail = format!("kind {name} has no seats: subscribe to {name}:NAME instead");
            return Err(Refusal::bad_request(detail));
        }
        Ok(kind)
    }
}

impl Kind {
    fn new(name: &str, config: KindConfig) -> Kind {
        let mut teams: Vec<Option<Arc<str>>> = Vec::with_capacity(usize::from(config.seats));
        for (team, size) in &config.teams {
            let team: Arc<str> = team.as_str().into();
            teams.extend((0..*size).map(|_| Some(Arc::clone(&team))));
        }
        teams.resize(usize::from(config.seats), None);
        let infos = (0..).zip(&teams).map(|(seat, team)| {
            let team = team.as_deref();
            raw_json(&SeatInfo { seat, team })
        });
        Kind {
            name: name.into(),
            config,
            infos: infos.collect(),
            teams,
        }
    }

    /// Returns whether the kind has no seats: such a channel has no row and no code, and lives while it has members.
    pub fn is_open_channel(&self) -> bool {
        self.config.seats == 0
    }

    /// Returns the team of each seat, in the order of the seats.
    pub fn teams(&self) -> &[Option<Arc<str>>] {
        &self.teams
    }

    /// Counts the free seats of each team.
    pub(in crate::room) fn free(
        &self,
        is_free: impl Fn(u16) -> bool,
    ) -> Vec<(Option<Arc<str>>, u16)> {
        let mut free: Vec<(Option<Arc<str>>, u16)> = Vec::new();
        for (number, team) in (0_u16..).zip(&self.teams) {
            if is_free(number) {
                match free.iter_mut().find(|(name, _)| name == team) {
                    Some((_, seats)) => *seats += 1,
                    None => free.push((team.clone(), 1)),
                }
            }
        }
        free
    }

    /// Returns the seats that match the wish for a seat and a team, or the reason why no room can fulfil it.
    pub fn wanted(&self, seat: Option<u16>, team: Option<&str>) -> Result<Vec<u16>, Refusal> {
        if let Some(team) = team
            && !self.config.teams.contains_key(team)
        {
            let detail = format!("kind {} has no such team", self.name);
            return Err(Refusal::new(Reason::SeatNotFound, detail));
        }
        let Some(seat) = seat else {
            return Ok((0..self.config.seats)
                .filter(|seat| team.is_none() || self.team(*seat).as_deref() == team)
                .collect());
        };
        if seat >= self.config.seats {
            let last = self.config.seats.saturating_sub(1);
            let detail = format!("seats of kind {} count from 0 to {last}", self.name);
            return Err(Refusal::new(Reason::SeatNotFound, detail));
        }
        if team.is_some() && self.team(seat).as_deref() != team {
            let detail = format!("seat {seat} is not one of that team's");
            return Err(Refusal::bad_request(detail));
        }
        Ok(vec![seat])
    }

    /// Returns the info that members see of the seat's holder.
    pub fn seat_info(&self, seat: u16) -> Option<&Arc<RawValue>> {
        self.infos.get(usize::from(seat))
    }

    pub fn team(&self, seat: u16) -> Option<Arc<str>> {
        self.teams.get(usize::from(seat)).cloned().flatten()
    }
}
