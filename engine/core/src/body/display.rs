//! What an extension state looks like in each format: one table.
//!
//! Source: `reference/states.md` section 6.

use crate::state::ExtensionState;

/// One row of the table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Display {
    /// PIDF `<basic>`: open or closed.
    pub(super) open: bool,
    /// PIDF `<note>`.
    pub(super) note: &'static str,
    /// PIDF with activities: `rpid:on-the-phone`.
    pub(super) on_the_phone: bool,
    /// XPIDF `status`.
    pub(super) status: &'static str,
    /// XPIDF `msnsubstatus`.
    pub(super) substatus: &'static str,
    /// dialog-info.
    pub(super) dialog: Dialog,
}

/// The one dialog of a dialog-info document.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Dialog {
    /// No call.
    Terminated,
    /// A call comes in.
    Early,
    /// A call stands.
    Confirmed,
    /// A call stands and is held.
    Held,
}

/// Every extension state, to measure slots with.
pub(super) const STATES: [ExtensionState; 7] = [
    ExtensionState::Idle,
    ExtensionState::InUse,
    ExtensionState::Busy,
    ExtensionState::Unavailable,
    ExtensionState::Ringing,
    ExtensionState::InUseRinging,
    ExtensionState::OnHold,
];

impl Display {
    /// The row of `state`.
    pub(super) fn of(state: ExtensionState, early_inuse_ringing: bool) -> Self {
        let call = |note, dialog| Self {
            open: true,
            note,
            on_the_phone: true,
            status: "inuse",
            substatus: "onthephone",
            dialog,
        };
        match state {
            ExtensionState::Idle => Self {
                open: true,
                note: "Ready",
                on_the_phone: false,
                status: "open",
                substatus: "online",
                dialog: Dialog::Terminated,
            },
            ExtensionState::Unavailable => Self {
                open: false,
                note: "Unavailable",
                on_the_phone: false,
                status: "closed",
                substatus: "offline",
                dialog: Dialog::Terminated,
            },
            ExtensionState::InUse | ExtensionState::Busy => call("On the phone", Dialog::Confirmed),
            ExtensionState::Ringing => call("Ringing", Dialog::Early),
            ExtensionState::InUseRinging if early_inuse_ringing => call("Ringing", Dialog::Early),
            ExtensionState::InUseRinging => call("Ringing", Dialog::Confirmed),
            ExtensionState::OnHold => call("On hold", Dialog::Held),
        }
    }
}
