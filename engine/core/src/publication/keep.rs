//! Publications over a restart: one record each, with the entity-tag its publisher knows.

use std::collections::BTreeMap;
use std::sync::Arc;

use lampfield_wire::EntityId;

use super::document::{Account, Person, Presences, Tuple};
use super::server::{Server, feed_name};
use super::{Document, EntityTag, EventName, Publication};
use crate::keep::{read_messages, write_messages};
use crate::layout::{LAYOUT, Reader, Writer};
use crate::package::Package;
use crate::placement::TenantId;
use crate::record::Record;
use crate::source::ServerState;
use crate::state::{Call, DeviceState, Direction, Presence, PresenceState};
use crate::{Outputs, Shard, Time};

/// First byte of the key: event state.
pub(crate) const KIND_PUBLICATION: u8 = b'E';

/// First byte of the key: what a server has told of one source. After its publication, and before
/// the subscriptions.
pub(crate) const KIND_TOLD: u8 = b'F';

/// What became of a kept publication of a server, for what it has told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Restored {
    /// This shard keeps it, in this slot.
    Here(u32),
    /// Another shard does.
    Elsewhere(EntityId),
    /// It is this shard's, which has no room for it any more.
    Dropped(EntityId),
    /// It has run out.
    Over,
}

/// What stands for no state.
const NONE: u8 = u8::MAX;

impl Shard {
    /// Writes a publication's record.
    pub(super) fn keep_publication(&self, slot: u32, out: &mut Outputs) {
        let Some(publication) = self.publications.get(slot).filter(|p| !p.is_fleeting) else {
            return;
        };
        if !self.durable {
            return;
        }
        let ends_ms = self.unix_ms(Time::from_secs(publication.expires_at_s.into()));
        let value = Some(write(publication, ends_ms).bytes.into());
        out.records.push(Record { key: key_of(publication), value });
    }

    /// Takes a publication's record back.
    pub(super) fn forget_publication(&self, slot: u32, out: &mut Outputs) {
        if let Some(publication) = self.publications.get(slot).filter(|p| !p.is_fleeting)
            && self.durable
        {
            out.records.push(Record { key: key_of(publication), value: None });
        }
    }

    /// Puts back what a server has told of a source. Every shard reads every record: the owner of
    /// the source takes the state from it, and the owner of the publication that it was told.
    pub(crate) fn restore_told(
        &mut self,
        (key, mut value): (Reader<'_>, Reader<'_>),
        is_ours: bool,
        now: Time,
        out: &mut Outputs,
    ) -> Option<()> {
        let (tenant, id, source) = read_key(key)?;
        let source: Arc<str> = source.into();
        let serial = value.u64()?;
        let state = match value.u8()? {
            0 => ServerState::Device(Some(device(value.u8()?)?)),
            _ => ServerState::Mailbox(Some(read_messages(&mut value)?)),
        };
        let Some(restored) = self.publications.restored(id) else { return Some(()) };
        let server = match restored {
            Restored::Here(slot) => {
                let publication = self.publications.get_mut(slot)?;
                let Document::Server(server) = &mut publication.document else { return None };
                server.told.insert(Arc::clone(&source), (serial, state));
                server.id
            }
            Restored::Elsewhere(server) => server,
            Restored::Dropped(server) => {
                // Others took it for told.
                self.tell_of_server((tenant, source), server, state.nothing(), now, out);
                return Some(());
            }
            Restored::Over => {
                if is_ours {
                    let key = write_key(KIND_TOLD, tenant, id, &source);
                    out.records.push(Record { key, value: None });
                }
                return Some(());
            }
        };
        if is_ours {
            self.on_server_state((tenant, source), server, state, now, out);
        }
        Some(())
    }

    /// Puts a kept publication back, if it has time left and its endpoint may still publish.
    pub(crate) fn restore_publication(
        &mut self,
        whole_key: &[u8],
        (key, mut value): (Reader<'_>, Reader<'_>),
        is_ours: bool,
        now: Time,
        out: &mut Outputs,
    ) -> Option<()> {
        let (tenant, id, name) = read_key(key)?;
        let key = (tenant, name.into());
        let is_feed = feed_name(&key).is_some();
        if !is_ours && !is_feed {
            return None;
        }
        let ends_ms = value.u64()?;
        if ends_ms <= self.unix_ms(now) {
            if is_feed {
                self.publications.remember_restored(id, Restored::Over);
            }
            if is_ours {
                out.records.push(Record { key: whole_key.into(), value: None });
            }
            return Some(());
        }
        let expires_at_s = self.second_of(ends_ms, now);
        let publication = read(&mut value, key.clone(), id, expires_at_s)?;
        let limits = &self.config.limits;
        let has_room = self.publications.len() < limits.publication_count_max
            && self.publications.of(&key).len() < limits.publication_per_presentity_max;
        if !self.may_stay(&publication) {
            return Some(());
        }
        if let Document::Server(server) = &publication.document
            && !(is_ours && has_room)
        {
            let of = if is_ours { Restored::Dropped } else { Restored::Elsewhere };
            self.publications.remember_restored(id, of(server.id));
            return None;
        }
        if !has_room {
            return None;
        }
        self.publications.next_serial(publication.entity_tag.serial >> 16);
        let slot = self.publications.insert(publication);
        match is_feed {
            true => self.publications.remember_restored(id, Restored::Here(slot)),
            false => self.recompose(&key, now, out),
        }
        Some(())
    }
}

/// The record of what a server's publication has told of a source.
pub(super) fn keep_told(
    tenant: TenantId,
    id: u64,
    source: &str,
    serial: u64,
    state: ServerState,
) -> Record {
    let mut value = Writer::new(LAYOUT);
    value.u64(serial);
    match state {
        ServerState::Device(device) => {
            value.bytes.extend_from_slice(&[0, device.unwrap_or_default() as u8]);
        }
        ServerState::Mailbox(messages) => {
            value.bytes.push(1);
            write_messages(&messages.unwrap_or_default(), &mut value);
        }
    }
    Record { key: write_key(KIND_TOLD, tenant, id, source), value: Some(value.bytes.into()) }
}

fn key_of(publication: &Publication) -> Box<[u8]> {
    let (tenant, name) = &publication.key;
    write_key(KIND_PUBLICATION, *tenant, publication.id, name)
}

/// The key of a publication, or of what it has told of a source of this name.
pub(super) fn write_key(kind: u8, tenant: TenantId, id: u64, name: &str) -> Box<[u8]> {
    let mut key = Writer::new(kind);
    key.bytes.extend_from_slice(&tenant.0.to_le_bytes());
    key.u64(id);
    key.bytes.extend_from_slice(name.as_bytes());
    key.bytes.into()
}

/// Reads such a key behind its kind.
pub(crate) fn read_key(mut key: Reader<'_>) -> Option<(TenantId, u64, &str)> {
    Some((TenantId(key.u16()?), key.u64()?, std::str::from_utf8(key.bytes).ok()?))
}

fn write(publication: &Publication, ends_ms: u64) -> Writer {
    let mut value = Writer::new(LAYOUT);
    value.u64(ends_ms);
    value.u64(publication.entity_tag.serial);
    value.u64(publication.entity_tag.random);
    value.u64(publication.said);
    value.text(publication.event.name().as_bytes());
    value.text(publication.endpoint.as_bytes());
    value.text(publication.source.to_string().as_bytes());
    match &publication.document {
        Document::Dialogs(dialogs) => {
            value.u32(dialogs.len() as u32);
            for call in dialogs {
                value.u64(call.id);
                value.bytes.push(call.state as u8);
                value.bytes.push(call.direction.map_or(NONE, |direction| direction as u8));
                value.text(call.ids.as_bytes());
                value.text(call.remote.as_bytes());
            }
        }
        Document::Presence(presences) => write_presences(presences, &mut value),
        Document::Messages(account) => {
            value.u64(account.id);
            write_messages(&account.messages, &mut value);
        }
        // What it has told has records of its own.
        Document::Server(server) => value.bytes.extend_from_slice(&server.id.0),
    }
    value
}

fn write_presences(presences: &Presences, value: &mut Writer) {
    value.u32(presences.tuples.len() as u32);
    for tuple in &presences.tuples {
        value.u64(tuple.id);
        value.bytes.push(tuple.is_open.map_or(NONE, u8::from));
    }
    value.u32(presences.persons.len() as u32);
    for person in &presences.persons {
        value.u64(person.id);
        value.bytes.push(person.phone.map_or(NONE, |state| state as u8));
        write_presence(person.presence.as_ref(), value);
    }
    value.text(presences.note.as_bytes());
    write_presence(presences.digium.as_ref(), value);
}

fn write_presence(presence: Option<&Presence>, value: &mut Writer) {
    let Some(Presence { state, subtype, message }) = presence else {
        return value.bytes.push(NONE);
    };
    value.bytes.push(*state as u8);
    value.text(subtype.as_bytes());
    value.text(message.as_bytes());
}

fn read(
    value: &mut Reader<'_>,
    key: (TenantId, Arc<str>),
    id: u64,
    expires_at_s: u32,
) -> Option<Publication> {
    let entity_tag = EntityTag { serial: value.u64()?, random: value.u64()? };
    let said = value.u64()?;
    let event = EventName::from_name(value.text()?)?;
    let (endpoint, source) = (value.str()?.into(), value.str()?.parse().ok()?);
    let document = match event {
        EventName::ServerDevices | EventName::ServerMailboxes => {
            let id = EntityId(value.take()?);
            Document::Server(Box::new(Server { id, told: BTreeMap::new() }))
        }
        EventName::Package(Package::Dialog) => Document::Dialogs(read_each(value, read_call)?),
        EventName::Package(Package::Presence) => {
            Document::Presence(Box::new(read_presences(value)?))
        }
        EventName::Package(Package::MessageSummary) => {
            let (id, messages) = (value.u64()?, read_messages(value)?);
            Document::Messages(Box::new(Account { id, messages }))
        }
    };
    Some(Publication {
        key,
        event,
        entity_tag,
        id,
        endpoint,
        source,
        expires_at_s,
        armed_at_s: 0,
        said,
        is_fleeting: false,
        document,
    })
}

fn read_call(value: &mut Reader<'_>) -> Option<Call> {
    Some(Call {
        id: value.u64()?,
        state: device(value.u8()?)?,
        direction: match value.u8()? {
            0 => Some(Direction::Initiator),
            1 => Some(Direction::Recipient),
            _ => None,
        },
        ids: value.str()?.into(),
        remote: value.str()?.into(),
    })
}

fn read_presences(value: &mut Reader<'_>) -> Option<Presences> {
    let tuples = read_each(value, |value| {
        let (id, basic) = (value.u64()?, value.u8()?);
        Some(Tuple { id, is_open: (basic != NONE).then_some(basic == 1) })
    })?;
    let persons = read_each(value, |value| {
        let (id, phone) = (value.u64()?, value.u8()?);
        let phone = if phone == NONE { None } else { Some(device(phone)?) };
        Some(Person { id, phone, presence: read_presence(value)? })
    })?;
    Some(Presences { tuples, persons, note: value.str()?.into(), digium: read_presence(value)? })
}

fn read_presence(value: &mut Reader<'_>) -> Option<Option<Presence>> {
    let number = value.u8()?;
    if number == NONE {
        return Some(None);
    }
    let state = PresenceState::ALL.into_iter().find(|state| *state as u8 == number)?;
    Some(Some(Presence { state, subtype: value.str()?.into(), message: value.str()?.into() }))
}

/// A count and as many items. Nothing is reserved: the count may be wrong.
fn read_each<T>(
    value: &mut Reader<'_>,
    item: impl Fn(&mut Reader<'_>) -> Option<T>,
) -> Option<Box<[T]>> {
    let count = value.u32()?;
    (0..count).map(|_| item(value)).collect()
}

fn device(number: u8) -> Option<DeviceState> {
    DeviceState::ALL.into_iter().find(|state| *state as u8 == number)
}
