//! Messages between shards. Owned and `Send`; a crossing is an output, so a simulator can delay
//! and reorder it. The runtime keeps the order per sender and receiver and loses nothing.

use std::sync::Arc;

use lampfield_wire::EntityId;

use crate::dialplan::Hint;
use crate::flow::Flow;
use crate::placement::TenantId;
pub use crate::rls::{PartEnd, PartNews, PartRequest};
pub use crate::source::ServerState;
use crate::state::{Calls, DeviceState, Messages, Presence};

/// A message from one shard to another.
#[derive(Clone, Debug)]
pub enum ShardMessage {
    /// A SIP message that belongs to the receiver.
    Sip {
        /// Where it came from.
        flow: Flow,
        /// Its bytes.
        bytes: Box<[u8]>,
    },
    /// The sender hints at a source of the receiver: it wants the state now and on every change.
    Attach {
        /// Whose source.
        tenant: TenantId,
        /// Its name.
        name: Arc<str>,
        /// The sender's number for this attachment, to tell it from an earlier one.
        serial: u32,
    },
    /// The sender hints at it no longer.
    Detach {
        /// Whose source.
        tenant: TenantId,
        /// Its name.
        name: Arc<str>,
    },
    /// State of a source, from its owner.
    Source {
        /// The attachment it answers to. What was said to an earlier one, and is overtaken by a
        /// detachment and an attachment, may be older than what the control plane was told.
        serial: u32,
        /// The state.
        state: SourceState,
    },
    /// Another server says something else of a source of the receiver.
    ServerState {
        /// Whose source.
        tenant: TenantId,
        /// Its name.
        name: Arc<str>,
        /// The server.
        server: EntityId,
        /// What it says.
        state: ServerState,
    },
    /// A context with `autohints` gained a hint; every shard must find it from now on.
    AutoHint {
        /// Whose context.
        tenant: TenantId,
        /// The context.
        context: Arc<str>,
        /// The extension.
        exten: Arc<str>,
        /// Its hint.
        hint: Arc<Hint>,
    },
    /// The sender shows an extension of the receiver in lists: it wants the document now and on
    /// every change.
    AttachPart(Box<PartRequest>),
    /// The sender shows it no longer.
    DetachPart(Box<PartEnd>),
    /// The document of an extension, from its owner.
    Part(PartNews),
    /// Somebody waits for the receiver to have applied what the sender has said so far. Order is
    /// kept, so that is so when this arrives: [`crate::command::Answer::Confirmed`].
    Confirm {
        /// The number the change was made under.
        id: u64,
    },
}

/// What the owner of a source tells those who hint at it.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceState {
    /// Whose source.
    pub tenant: TenantId,
    /// Its name.
    pub name: Arc<str>,
    /// Device state, if anybody ever reported one.
    pub device: Option<DeviceState>,
    /// Presence, if anybody ever set one.
    pub presence: Option<Presence>,
    /// The calls behind the device state, if somebody tells them.
    pub calls: Option<Calls>,
    /// Messages, of a mailbox that was counted.
    pub messages: Option<Messages>,
}
