//! Presence states: what a person says of herself.
//!
//! Source: `reference/states.md` section 4.

use std::sync::Arc;

/// The seven presence states.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum PresenceState {
    /// Nothing was ever said.
    #[default]
    NotSet = 0,
    /// Present, but not available for communication.
    Unavailable = 1,
    /// Available.
    Available = 2,
    /// Not present.
    Away = 3,
    /// Not present, and not expected soon.
    Xa = 4,
    /// Rather chats than speaks.
    Chat = 5,
    /// Does not wish to be disturbed.
    Dnd = 6,
}

impl PresenceState {
    /// Every state, in the order of its number.
    pub const ALL: [PresenceState; 7] = [
        Self::NotSet,
        Self::Unavailable,
        Self::Available,
        Self::Away,
        Self::Xa,
        Self::Chat,
        Self::Dnd,
    ];

    /// The token used on the wire, in AMI and on the console.
    pub const fn token(self) -> &'static str {
        match self {
            Self::NotSet => "not_set",
            Self::Unavailable => "unavailable",
            Self::Available => "available",
            Self::Away => "away",
            Self::Xa => "xa",
            Self::Chat => "chat",
            Self::Dnd => "dnd",
        }
    }

    /// Reads a token in any case; `None` for anything else.
    pub fn from_token(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.token().eq_ignore_ascii_case(text))
    }

    /// Position among several presence states of one hint: the highest wins.
    pub const fn rank(self) -> u8 {
        match self {
            Self::NotSet => 1,
            Self::Available => 2,
            Self::Unavailable => 3,
            Self::Chat => 4,
            Self::Away => 5,
            Self::Xa => 6,
            Self::Dnd => 7,
        }
    }
}

/// A presence state with its two free texts, decoded. Empty text means absent.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Presence {
    /// The state.
    pub state: PresenceState,
    /// A brief word on the nature of the state.
    pub subtype: Arc<str>,
    /// A longer explanation.
    pub message: Arc<str>,
}
