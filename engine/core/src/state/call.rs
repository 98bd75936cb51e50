//! Calls of an extension, as somebody who sees them told them: what a watcher needs to show who
//! calls, and to pick the call up.
//!
//! Source: RFC 4235 section 4.1, `reference/pua.md` section 6.

use std::sync::Arc;

use super::{DeviceAggregate, DeviceState, ExtensionState};

/// Calls of one extension, shared on their way to its watchers.
pub type Calls = Arc<Box<[Call]>>;

/// One call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Call {
    /// Tells it from the others of the same observer; 0 if it has no name.
    pub id: u64,
    /// What it makes of the device.
    pub state: DeviceState,
    /// Who began it, if that is known.
    pub direction: Option<Direction>,
    /// Call-ID and tags as attributes of a `dialog` element, each with a blank before it; empty if
    /// they are not told.
    pub ids: Arc<str>,
    /// The `remote` element; empty if the other side is not told.
    pub remote: Arc<str>,
}

/// Who began a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Direction {
    /// The extension.
    Initiator,
    /// The other side.
    Recipient,
}

impl Direction {
    /// Reads the value of the attribute.
    pub fn from_token(token: &str) -> Option<Self> {
        match token {
            "initiator" => Some(Self::Initiator),
            "recipient" => Some(Self::Recipient),
            _ => None,
        }
    }
}

impl Call {
    /// Whether more is known of it than its state.
    pub fn has_details(&self) -> bool {
        !self.ids.is_empty() || !self.remote.is_empty()
    }
}

/// What calls amount to; `None` for none.
pub(crate) fn sum_of(calls: &[Call]) -> Option<ExtensionState> {
    let aggregate: DeviceAggregate = calls.iter().map(|call| call.state).collect();
    (!calls.is_empty()).then(|| ExtensionState::from_devices(aggregate.state()))
}
