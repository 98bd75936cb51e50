//! States as a PBX tells them: read from its events, and written as commands to the shards.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lampfield_core::command::Command;
use lampfield_core::placement::TenantId;
use lampfield_core::state::{DeviceAggregate, DeviceState, Presence, PresenceState};
use lampfield_wire::AmiMessage;
use lampfield_wire::ami::c_unescape;

use crate::config::StalePolicy;

/// Bytes of a name. Asterisk's own names end at 80 characters of a few bytes each.
const NAME_BYTES_MAX: usize = 255;

/// Which of the two kinds of state a name has.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Kind {
    Device,
    Presence,
}

/// The state of one source.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum State {
    Device(DeviceState),
    Presence(Presence),
}

/// A source by its kind and full name.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Name {
    pub(crate) kind: Kind,
    pub(crate) text: Arc<str>,
}

impl Name {
    pub(crate) fn device(text: &str) -> Self {
        Self { kind: Kind::Device, text: text.into() }
    }
}

/// What a `DeviceStateChange` or `PresenceStateChange` says, in a list or by itself; `None` if it
/// says nothing that can be used. Texts are cut at `text_bytes_max`.
pub(crate) fn read_change(event: &AmiMessage, text_bytes_max: usize) -> Option<(Name, State)> {
    let (kind, header) = match event.get("Event")? {
        "DeviceStateChange" => (Kind::Device, "Device"),
        "PresenceStateChange" => (Kind::Presence, "Presentity"),
        _ => return None,
    };
    let text = event.get(header).filter(|name| is_usable(name))?;
    let state = match kind {
        Kind::Device => State::Device(DeviceState::from_token(event.get("State")?)),
        Kind::Presence => State::Presence(Presence {
            state: PresenceState::from_token(event.get("Status")?)?,
            subtype: free_text(event.get("Subtype"), text_bytes_max),
            message: free_text(event.get("Message"), text_bytes_max),
        }),
    };
    Some((Name { kind, text: text.into() }, state))
}

fn is_usable(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.contains(char::is_control)
}

fn free_text(value: Option<&str>, bytes_max: usize) -> Arc<str> {
    let text = c_unescape(value.unwrap_or_default());
    text[..text.floor_char_boundary(bytes_max)].into()
}

impl State {
    /// What a source shows of which its PBX says nothing any more.
    pub(crate) fn unsaid(kind: Kind) -> Self {
        match kind {
            Kind::Device => Self::Device(DeviceState::Unknown),
            Kind::Presence => Self::Presence(Presence::default()),
        }
    }

    /// What watchers see while the PBX cannot be seen.
    pub(crate) fn stale(&self, policy: StalePolicy) -> Self {
        match (self, policy) {
            (_, StalePolicy::Keep) => self.clone(),
            (Self::Device(_), StalePolicy::Unknown) => Self::Device(DeviceState::Unknown),
            (Self::Device(_), StalePolicy::Unavailable) => Self::Device(DeviceState::Unavailable),
            // What a person said of herself is not made worse by a connection that is lost.
            (Self::Presence(_), _) => Self::Presence(Presence::default()),
        }
    }

    /// What several PBXs say of one source: devices add up as those of a hint do, of presences the
    /// highest counts, the first of equal ones.
    pub(crate) fn sum(states: impl Iterator<Item = State>) -> Option<State> {
        let mut devices = DeviceAggregate::default();
        let mut best: Option<State> = None;
        for state in states {
            match (&state, &best) {
                (Self::Device(device), _) => {
                    devices.add(*device);
                    best = Some(Self::Device(devices.state()));
                }
                (Self::Presence(new), Some(Self::Presence(old)))
                    if new.state.rank() <= old.state.rank() => {}
                _ => best = Some(state),
            }
        }
        best
    }

    /// The command that sets it.
    pub(crate) fn command(&self, tenant: TenantId, name: &Arc<str>) -> Command {
        match self {
            Self::Device(state) => {
                Command::SetDevice { tenant, device: Arc::clone(name), state: *state }
            }
            Self::Presence(presence) => Command::SetPresence {
                tenant,
                presentity: Arc::clone(name),
                presence: presence.clone(),
                written: written(presence).into(),
            },
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Device(state) => state.token(),
            Self::Presence(presence) => presence.state.token(),
        })
    }
}

/// The value that sets a presence, in the syntax of `PRESENCE_STATE`: texts that the syntax would
/// take apart are written as base64.
fn written(presence: &Presence) -> String {
    let Presence { state, subtype, message } = presence;
    let plain = !subtype.contains(',') && !message.contains(',');
    match (plain, subtype.is_empty() && message.is_empty()) {
        (true, true) => state.token().to_owned(),
        (true, false) => format!("{},{subtype},{message}", state.token()),
        (false, _) => {
            let (subtype, message) = (STANDARD.encode(&**subtype), STANDARD.encode(&**message));
            format!("{},{subtype},{message},e", state.token())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lampfield_core::state::parse_presence_write;
    use lampfield_wire::AmiReader;

    fn event(text: &str) -> AmiMessage {
        let text = format!("{text}\r\n\r\n").replace('|', "\r\n");
        AmiReader::for_follower().read(&mut text.as_bytes()).unwrap().unwrap()
    }

    fn presence(state: PresenceState, subtype: &str, message: &str) -> Presence {
        Presence { state, subtype: subtype.into(), message: message.into() }
    }

    #[test]
    fn events_are_read_or_passed_over() {
        let long = "x".repeat(256);
        let long = format!("Event: DeviceStateChange|Device: {long}|State: INUSE");
        for (text, want) in [
            ("Event: DeviceStateChange|Device: PJSIP/1|State: INUSE", Some("PJSIP/1 INUSE")),
            ("Event: DeviceStateChange|Device: PJSIP/1|State: ?", Some("PJSIP/1 UNKNOWN")),
            ("Event: DeviceStateChange|Device: |State: INUSE", None),
            ("Event: DeviceStateChange|Device: a\u{1}b|State: INUSE", None),
            ("Event: DeviceStateChange|State: INUSE", None),
            ("Event: DeviceStateChange|Device: PJSIP/1", None),
            (&long, None),
            ("Event: PresenceStateChange|Presentity: P:b|Status: away", Some("P:b away")),
            ("Event: PresenceStateChange|Presentity: P:b|Status: gone", None),
            ("Event: PresenceStatus|Presentity: P:b|Status: away", None),
            ("Response: Success|Device: PJSIP/1|State: INUSE", None),
        ] {
            let read = read_change(&event(text), 100);
            let read = read.map(|(name, state)| format!("{} {state}", name.text));
            assert_eq!(read.as_deref(), want, "{text}");
        }
    }

    #[test]
    fn texts_are_unescaped_and_cut_between_characters() {
        let text =
            "Event: PresenceStateChange|Presentity: P:b|Status: dnd|Subtype: a\\nb|Message: äää";
        let (_, state) = read_change(&event(text), 5).unwrap();
        assert_eq!(state, State::Presence(presence(PresenceState::Dnd, "a\nb", "ää")));
    }

    #[test]
    fn a_presence_that_is_written_reads_back() {
        for (subtype, message, want) in [
            ("", "", "away"),
            ("at home", "", "away,at home,"),
            ("", " ill", "away,, ill"),
            ("a,b", "", "away,YSxi,,e"),
            ("", "ill, back at 5", "away,,aWxsLCBiYWNrIGF0IDU=,e"),
        ] {
            let presence = presence(PresenceState::Away, subtype, message);
            assert_eq!(written(&presence), want);
            assert_eq!(parse_presence_write(want).unwrap().presence, presence);
        }
    }

    #[test]
    fn several_say_of_one_source() {
        let device = |state| State::Device(state);
        for (states, want) in [
            (&[][..], None),
            (&[DeviceState::InUse], Some(DeviceState::InUse)),
            (&[DeviceState::NotInUse, DeviceState::Unavailable], Some(DeviceState::NotInUse)),
            (&[DeviceState::Ringing, DeviceState::InUse], Some(DeviceState::RingInUse)),
        ] {
            assert_eq!(State::sum(states.iter().copied().map(device)), want.map(device));
        }
        let two = ["one", "two"].map(|text| presence(PresenceState::Away, text, ""));
        let states = two.iter().cloned().chain([presence(PresenceState::Available, "", "")]);
        assert_eq!(State::sum(states.map(State::Presence)), Some(State::Presence(two[0].clone())));
    }
}
