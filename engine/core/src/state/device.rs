//! Device states and the aggregate over a hint's devices.
//!
//! Source: `reference/states.md` sections 1 and 2.

/// State of one device, as Asterisk numbers and names them.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum DeviceState {
    /// A valid device whose state is not known.
    #[default]
    Unknown = 0,
    /// Idle.
    NotInUse = 1,
    /// In a call.
    InUse = 2,
    /// Busy.
    Busy = 3,
    /// No such device, technology or provider.
    Invalid = 4,
    /// Known, but not registered.
    Unavailable = 5,
    /// Alerting.
    Ringing = 6,
    /// Alerting and in use.
    RingInUse = 7,
    /// All calls held.
    OnHold = 8,
}

impl DeviceState {
    /// Every state, in the order of its number.
    pub const ALL: [DeviceState; 9] = [
        Self::Unknown,
        Self::NotInUse,
        Self::InUse,
        Self::Busy,
        Self::Invalid,
        Self::Unavailable,
        Self::Ringing,
        Self::RingInUse,
        Self::OnHold,
    ];

    /// The token used on the wire, in AMI and on the console.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::NotInUse => "NOT_INUSE",
            Self::InUse => "INUSE",
            Self::Busy => "BUSY",
            Self::Invalid => "INVALID",
            Self::Unavailable => "UNAVAILABLE",
            Self::Ringing => "RINGING",
            Self::RingInUse => "RINGINUSE",
            Self::OnHold => "ONHOLD",
        }
    }

    /// Reads a token in any case. Anything else is [`DeviceState::Unknown`], as in Asterisk.
    pub fn from_token(text: &str) -> Self {
        Self::ALL.into_iter().find(|s| s.token().eq_ignore_ascii_case(text)).unwrap_or_default()
    }

    /// Position in the aggregate's order: the highest present wins.
    const fn rank(self) -> u8 {
        match self {
            Self::Invalid => 0,
            Self::Unknown => 1,
            Self::Unavailable => 2,
            Self::NotInUse => 3,
            Self::OnHold => 4,
            Self::Ringing => 5,
            Self::InUse => 6,
            Self::Busy => 7,
            Self::RingInUse => 8,
        }
    }
}

/// The states of a hint's devices, combined: a device that rings beside one that is in use, held
/// or busy makes ring-and-in-use; otherwise the highest rank wins. The order does not matter.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeviceAggregate {
    highest: Option<DeviceState>,
    rings: bool,
    in_use: bool,
}

impl DeviceAggregate {
    /// Adds one device.
    pub fn add(&mut self, state: DeviceState) {
        self.rings |= state == DeviceState::Ringing;
        self.in_use |=
            matches!(state, DeviceState::InUse | DeviceState::OnHold | DeviceState::Busy);
        if self.highest.is_none_or(|highest| state.rank() > highest.rank()) {
            self.highest = Some(state);
        }
    }

    /// The combined state; [`DeviceState::Invalid`] when no device was added.
    pub fn state(&self) -> DeviceState {
        if self.rings && self.in_use {
            return DeviceState::RingInUse;
        }
        self.highest.unwrap_or(DeviceState::Invalid)
    }
}

impl FromIterator<DeviceState> for DeviceAggregate {
    fn from_iter<I: IntoIterator<Item = DeviceState>>(states: I) -> Self {
        let mut aggregate = Self::default();
        states.into_iter().for_each(|state| aggregate.add(state));
        aggregate
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use DeviceState::*;

    /// The pair table of `reference/states.md` section 2, upper triangle by rows.
    const PAIRS: [(DeviceState, DeviceState, DeviceState); 20] = [
        (Unknown, Unknown, Unknown),
        (Unknown, Invalid, Unknown),
        (Unknown, Unavailable, Unavailable),
        (NotInUse, Unknown, NotInUse),
        (NotInUse, InUse, InUse),
        (NotInUse, Unavailable, NotInUse),
        (NotInUse, OnHold, OnHold),
        (InUse, Busy, Busy),
        (InUse, Ringing, RingInUse),
        (InUse, OnHold, InUse),
        (Busy, Ringing, RingInUse),
        (Busy, OnHold, Busy),
        (Invalid, Invalid, Invalid),
        (Invalid, Unavailable, Unavailable),
        (Unavailable, Ringing, Ringing),
        (Ringing, Ringing, Ringing),
        (Ringing, OnHold, RingInUse),
        (RingInUse, Busy, RingInUse),
        (RingInUse, Unavailable, RingInUse),
        (OnHold, OnHold, OnHold),
    ];

    #[test]
    fn pairs_combine_as_asterisk_combines_them_in_either_order() {
        for (a, b, want) in PAIRS {
            assert_eq!(
                [a, b].into_iter().collect::<DeviceAggregate>().state(),
                want,
                "{a:?} {b:?}"
            );
            assert_eq!(
                [b, a].into_iter().collect::<DeviceAggregate>().state(),
                want,
                "{b:?} {a:?}"
            );
        }
        assert_eq!(DeviceAggregate::default().state(), Invalid);
    }

    #[test]
    fn tokens_read_back_in_any_case_and_anything_else_is_unknown() {
        for state in DeviceState::ALL {
            assert_eq!(DeviceState::from_token(state.token()), state);
            assert_eq!(DeviceState::from_token(&state.token().to_lowercase()), state);
        }
        for text in ["", "In use", "bogus", " INUSE"] {
            assert_eq!(DeviceState::from_token(text), Unknown, "{text}");
        }
    }
}
