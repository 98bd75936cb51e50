//! Registrations as records, and the way back.

use std::sync::Arc;

use super::{Binding, REGISTRAR};
use crate::flow::{ConnectionId, Flow, Transport};
use crate::keep::{read_source_key, source_key};
use crate::layout::{LAYOUT, Reader, Writer};
use crate::record::Record;
use crate::source::{ServerState, SourceKey};
use crate::state::DeviceState;
use crate::{Outputs, Shard, Time};

/// First byte of the key.
pub(crate) const KIND_REGISTRATION: u8 = b'R';

impl Shard {
    /// Writes a user's record, or takes it back if he has no contact.
    pub(super) fn keep_registration(&self, key: &SourceKey, out: &mut Outputs) {
        if !self.durable {
            return;
        }
        let value = self.registrations.find(key).map(|registration| {
            let mut value = Writer::new(LAYOUT);
            value.u32(registration.bindings.len() as u32);
            for binding in &registration.bindings {
                self.write_binding(binding, &mut value);
            }
            value.bytes.into()
        });
        let key = source_key(KIND_REGISTRATION, key.0, &key.1);
        out.records.push(Record { key, value });
    }

    fn write_binding(&self, binding: &Binding, value: &mut Writer) {
        value.u64(self.unix_ms(Time::from_secs(binding.expires_at_s.into())));
        value.u32(binding.cseq);
        value.u32(binding.reg_id);
        let Binding { uri, params, instance, call_id, path, .. } = binding;
        for text in [uri, params, instance, call_id, path] {
            value.text(text.as_bytes());
        }
        value.bytes.push(binding.flow.transport.number());
        value.text(binding.flow.local.to_string().as_bytes());
        value.text(binding.flow.peer.to_string().as_bytes());
    }

    /// Takes a user's contacts back, and reports his device.
    pub(crate) fn restore_registration(
        &mut self,
        (key, mut value): (Reader<'_>, Reader<'_>),
        is_ours: bool,
        now: Time,
        out: &mut Outputs,
    ) -> Option<()> {
        let (tenant, name) = read_source_key(key)?;
        if !is_ours {
            return None;
        }
        let key: SourceKey = (tenant, Arc::from(name));
        let count = value.u32()? as usize;
        if count > self.config.limits.contact_count_max {
            return None;
        }
        let bindings: Option<Vec<Option<Binding>>> =
            (0..count).map(|_| self.read_binding(&mut value, now)).collect();
        let bindings: Vec<Binding> = bindings?.into_iter().flatten().collect();
        if bindings.is_empty() {
            self.keep_registration(&key, out);
            return Some(());
        }
        if self.registrations.len() >= self.config.limits.registration_count_max {
            return None;
        }
        self.registrations.replace(&key, bindings);
        let state = ServerState::Device(Some(DeviceState::NotInUse));
        self.on_server_state(key, REGISTRAR, state, now, out);
        Some(())
    }

    /// A contact; the inner `None` has run out while we were down.
    fn read_binding(&self, value: &mut Reader<'_>, now: Time) -> Option<Option<Binding>> {
        let ends_ms = value.u64()?;
        let (cseq, reg_id) = (value.u32()?, value.u32()?);
        let mut texts = [""; 5];
        for text in &mut texts {
            *text = value.str()?;
        }
        let transport = Transport::from_number(value.u8()?)?;
        let (local, peer) = (value.str()?.parse().ok()?, value.str()?.parse().ok()?);
        let [uri, params, instance, call_id, path] = texts.map(Box::from);
        let flow = Flow { transport, local, peer, connection: ConnectionId::default() };
        let expires_at_s = self.second_of(ends_ms, now);
        let binding =
            Binding { uri, params, instance, reg_id, call_id, cseq, expires_at_s, path, flow };
        Some((ends_ms > self.unix_ms(now)).then_some(binding))
    }
}
