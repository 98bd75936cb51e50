//! Extension states: what watchers of an extension see of its devices.
//!
//! Source: `reference/states.md` section 3.

use super::DeviceState;

/// State of an extension, with Asterisk's numbers.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum ExtensionState {
    /// No call.
    #[default]
    Idle = 0,
    /// In a call.
    InUse = 1,
    /// Busy.
    Busy = 2,
    /// Not reachable.
    Unavailable = 4,
    /// Alerting.
    Ringing = 8,
    /// Alerting while in a call.
    InUseRinging = 9,
    /// All calls held.
    OnHold = 16,
}

impl ExtensionState {
    /// What an aggregate of device states means for the extension.
    pub const fn from_devices(aggregate: DeviceState) -> Self {
        match aggregate {
            DeviceState::NotInUse | DeviceState::Unknown => Self::Idle,
            DeviceState::InUse => Self::InUse,
            DeviceState::Busy => Self::Busy,
            DeviceState::Unavailable | DeviceState::Invalid => Self::Unavailable,
            DeviceState::Ringing => Self::Ringing,
            DeviceState::RingInUse => Self::InUseRinging,
            DeviceState::OnHold => Self::OnHold,
        }
    }

    /// Asterisk's number, as in AMI `Status`.
    pub const fn number(self) -> i32 {
        self as i32
    }

    /// Whether the extension rings; such a state is reported again even when it repeats.
    pub const fn rings(self) -> bool {
        matches!(self, Self::Ringing | Self::InUseRinging)
    }

    /// The text of AMI `StatusText` and of the console.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Idle => "Idle",
            Self::InUse => "InUse",
            Self::Busy => "Busy",
            Self::Unavailable => "Unavailable",
            Self::Ringing => "Ringing",
            Self::InUseRinging => "InUse&Ringing",
            Self::OnHold => "Hold",
        }
    }

    /// The text of the dialplan function `EXTENSION_STATE`.
    pub const fn function_text(self) -> &'static str {
        match self {
            Self::Idle => "NOT_INUSE",
            Self::InUse => "INUSE",
            Self::Busy => "BUSY",
            Self::Unavailable => "UNAVAILABLE",
            Self::Ringing => "RINGING",
            Self::InUseRinging => "RINGINUSE",
            Self::OnHold => "ONHOLD",
        }
    }
}
