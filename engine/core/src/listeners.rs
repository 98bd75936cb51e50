//! What those who listen to events hear when a source changes.

use std::sync::Arc;

use crate::command::Event;
use crate::mailbox::mailbox_of;
use crate::mesh::SourceState;
use crate::publication::LABEL;
use crate::{Outputs, Shard};

impl Shard {
    /// Tells listeners in what a source differs from before.
    pub(crate) fn tell_listeners(
        &self,
        before: &SourceState,
        told: &SourceState,
        out: &mut Outputs,
    ) {
        if !self.listens {
            return;
        }
        let (tenant, name) = (told.tenant, &told.name);
        if before.device != told.device {
            let initial = || self.config.providers.initial_device(name);
            let (device, state) = (Arc::clone(name), told.device.unwrap_or_else(initial));
            out.events.push(Event::DeviceStateChange { tenant, device, state });
        }
        if before.presence != told.presence {
            let presentity = Arc::clone(name);
            let presence = told.presence.clone().unwrap_or_default();
            out.events.push(Event::PresenceStateChange { tenant, presentity, presence });
        }
        // Messages that are published of an extension are no mailbox.
        let is_published = name.split_once(':').is_some_and(|(label, _)| label == LABEL);
        if before.messages != told.messages && !is_published {
            let mailbox = mailbox_of(name).unwrap_or(name).into();
            let messages = told.messages.unwrap_or_default();
            out.events.push(Event::MessageWaiting { tenant, mailbox, messages });
        }
    }
}
