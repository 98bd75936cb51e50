//! The text of events.
//!
//! Source: `reference/ami.md` sections 4 and 7, `traces/20-ami-presence.txt`.

use std::time::{SystemTime, UNIX_EPOCH};

use lampfield_core::command::Event;
use lampfield_core::placement::TenantId;
use lampfield_wire::ami::AmiWriter;

use super::super::Node;
use super::class;
use crate::config::EventFilter;

/// An event as it goes to every connection that may hear it.
#[derive(Debug)]
pub(crate) struct Frame {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its classes; a connection needs all of them.
    pub(crate) classes: u64,
    /// Whose event; connections of other tenants do not get it.
    pub(crate) tenant: TenantId,
    /// The message.
    pub(crate) text: Box<[u8]>,
}

impl Frame {
    /// Whether a user with these filters gets it.
    pub(crate) fn passes(&self, filters: &[EventFilter]) -> bool {
        if filters.is_empty() {
            return true;
        }
        let text = String::from_utf8_lossy(&self.text);
        let headers: Vec<_> = text.lines().filter_map(|line| line.split_once(": ")).collect();
        EventFilter::passes(filters, self.name, headers.get(1..).unwrap_or_default())
    }
}

/// Whose event it is.
pub(crate) fn tenant_of(event: &Event) -> TenantId {
    match event {
        Event::PresenceStateChange { tenant, .. }
        | Event::PresenceStatus { tenant, .. }
        | Event::DeviceStateChange { tenant, .. }
        | Event::ExtensionStatus { tenant, .. }
        | Event::MessageWaiting { tenant, .. } => *tenant,
    }
}

/// The message of an event of the shards. All of them are of class `call`.
pub(super) fn frame(event: &Event, node: &Node) -> Frame {
    let tenant = tenant_of(event);
    build(node, name_of(event), class::CALL, tenant, |m| match event {
        Event::PresenceStateChange { presentity, presence, .. } => m
            .header("Presentity", presentity)
            .header("Status", presence.state.token())
            .header_escaped("Subtype", &presence.subtype)
            .header_escaped("Message", &presence.message),
        Event::PresenceStatus { extension, context, hint, presence, .. } => m
            .header("Exten", extension)
            .header("Context", context)
            .header("Hint", &hint.text)
            .header("Status", presence.state.token())
            .header("Subtype", &presence.subtype)
            .header("Message", &presence.message),
        Event::DeviceStateChange { device, state, .. } => {
            m.header("Device", device).header("State", state.token())
        }
        Event::ExtensionStatus { extension, context, hint, state, .. } => m
            .header("Exten", extension)
            .header("Context", context)
            .header("Hint", &hint.text)
            .header_i64("Status", state.map_or(REMOVED, |state| state.number().into()))
            .header("StatusText", state.map_or("Unknown", |state| state.text())),
        Event::MessageWaiting { mailbox, messages, .. } => m
            .header("Mailbox", mailbox)
            .header_i64("Waiting", messages.is_waiting.into())
            .header_i64("New", messages.counts.new.into())
            .header_i64("Old", messages.counts.old.into()),
    })
}

/// An event made by the control plane itself.
pub(crate) fn build(
    node: &Node,
    name: &'static str,
    classes: u64,
    tenant: TenantId,
    write: impl FnOnce(AmiWriter<'_>) -> AmiWriter<'_>,
) -> Frame {
    let mut text = Vec::new();
    let mut message = AmiWriter::event(&mut text, name, Some(&class::privilege(classes)));
    if node.config().ami.as_ref().is_some_and(|ami| ami.timestamp_events) {
        message = message.header("Timestamp", &timestamp());
    }
    write(message).end();
    Frame { name, classes, tenant, text: text.into() }
}

/// Unix time with microseconds.
pub(crate) fn timestamp() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}.{:06}", now.as_secs(), now.subsec_micros())
}

/// Extension state of a hint that was removed.
const REMOVED: i64 = -2;

fn name_of(event: &Event) -> &'static str {
    match event {
        Event::PresenceStateChange { .. } => "PresenceStateChange",
        Event::PresenceStatus { .. } => "PresenceStatus",
        Event::DeviceStateChange { .. } => "DeviceStateChange",
        Event::ExtensionStatus { .. } => "ExtensionStatus",
        Event::MessageWaiting { .. } => "MessageWaiting",
    }
}
