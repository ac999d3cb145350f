//! Settings for one subscription that override those of the kind.

use serde::{Deserialize, Deserializer};

/// Switches that a token or a game's server sets for one subscriber; the kind decides those that are not set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Overrides {
    /// The subscriber appears in presence.
    pub presence: Option<bool>,
    /// Others are notified when the subscriber joins and leaves.
    pub join_leave: Option<bool>,
    /// The subscriber may recover missed publications.
    pub force_recovery: Option<bool>,
    /// The subscriber receives its position in the stream.
    pub force_positioning: Option<bool>,
    /// The subscriber is notified when others join and leave.
    pub force_push_join_leave: Option<bool>,
}

#[derive(Deserialize)]
struct Switches {
    presence: Option<Switch>,
    join_leave: Option<Switch>,
    force_recovery: Option<Switch>,
    force_positioning: Option<Switch>,
    force_push_join_leave: Option<Switch>,
}

/// `{"value":true}`
#[derive(Deserialize)]
struct Switch {
    value: bool,
}

impl<'de> Deserialize<'de> for Overrides {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Overrides, D::Error> {
        let switches = Switches::deserialize(deserializer)?;
        let value = |switch: Option<Switch>| switch.map(|switch| switch.value);
        Ok(Overrides {
            presence: value(switches.presence),
            join_leave: value(switches.join_leave),
            force_recovery: value(switches.force_recovery),
            force_positioning: value(switches.force_positioning),
            force_push_join_leave: value(switches.force_push_join_leave),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_is_on_off_or_as_the_kind_has_it() {
        let text = r#"{"presence":{"value":false},"join_leave":{"value":true},
            "force_recovery":null,"something_else":1}"#;
        let read: Overrides = serde_json::from_str(text).unwrap();

        let expected = Overrides {
            presence: Some(false),
            join_leave: Some(true),
            ..Overrides::default()
        };
        assert_eq!(read, expected);
        for wrong in [r#"{"presence":true}"#, r#"{"presence":{}}"#, "1"] {
            assert!(serde_json::from_str::<Overrides>(wrong).is_err(), "{wrong}");
        }
    }
}
