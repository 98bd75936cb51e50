//! Mailboxes (RFC 3842): whose messages wait, and who watches them.
//!
//! A mailbox is a source, `MWI:2000@default`, owned by the shard of that name like every other: its
//! state is its messages, and a lamp that hints at it is lit while there are new ones. What is
//! watched by Event `message-summary` is an address of record that names mailboxes. It is an
//! extension of a context of its own with the mailboxes as its devices, so that subscriptions,
//! lists, fan-out and restart treat it like any other.
//!
//! Source: `reference/states.md` section 6.3, `reference/sip-pubsub.md` sections 1 and 2.

use std::borrow::Cow;
use std::sync::Arc;

use crate::command::{MailboxRow, Refusal};
use crate::config::Endpoint;
use crate::dialplan::{Found, Hint, HintError};
use crate::placement::TenantId;
use crate::source::{Attached, canonical_name};
use crate::state::Messages;
use crate::{Outputs, Shard, Time};

/// Label of the sources that mailboxes are.
const LABEL: &str = "MWI";

/// The context of what is watched by Event `message-summary`.
pub const CONTEXT: &str = "mwi:aor";

/// The source of a mailbox.
pub fn mailbox_source(mailbox: &str) -> Arc<str> {
    format!("{LABEL}:{mailbox}").into()
}

/// The mailbox of a source, if it is one.
pub(crate) fn mailbox_of(source: &str) -> Option<&str> {
    source.strip_prefix(LABEL)?.strip_prefix(':')
}

type Index<K, V> = hashbrown::HashMap<K, V, ahash::RandomState>;

/// Addresses of record with mailboxes. Filled while the configuration is read, then immutable.
#[derive(Clone, Debug, Default)]
pub struct Mailboxes {
    rows: Index<(TenantId, Arc<str>), Arc<Hint>>,
    /// Addresses of record by endpoint and voicemail extension.
    extensions: Index<(TenantId, Arc<str>, Arc<str>), Arc<str>>,
}

impl Mailboxes {
    /// Adds an address of record; a second one of the same name replaces the first.
    ///
    /// # Errors
    ///
    /// Mailboxes that could not be named in a hint: too many, too long, or control characters.
    pub fn add(
        &mut self,
        tenant: TenantId,
        name: Arc<str>,
        mailboxes: &[&str],
        voicemail_extension: Option<Arc<str>>,
        origin: &str,
    ) -> Result<(), HintError> {
        let hint =
            Hint::of_devices(mailboxes.iter().map(|mailbox| mailbox_source(mailbox)), origin)?;
        self.rows.insert((tenant, name), Arc::new(Hint { voicemail_extension, ..hint }));
        Ok(())
    }

    /// An endpoint's address of record is watched by its voicemail extension, too.
    pub fn add_extension(
        &mut self,
        tenant: TenantId,
        endpoint: Arc<str>,
        extension: &str,
        name: Arc<str>,
    ) {
        let key = (tenant, endpoint, extension.to_ascii_lowercase().into());
        self.extensions.entry(key).or_insert(name);
    }

    /// What an endpoint watches that names nothing: the mailboxes of all its addresses of record.
    pub fn name_of_all(endpoint: &str) -> String {
        format!("@{endpoint}")
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(crate) fn find(&self, tenant: TenantId, name: &str) -> Option<Found> {
        let key = (tenant, Arc::from(name));
        let hint = Arc::clone(self.rows.get(&key)?);
        Some(Found { context: CONTEXT.into(), exten: key.1, hint, explicit: false })
    }

    /// The name of what an endpoint means by the user of a request.
    pub(crate) fn resolve<'u>(&self, endpoint: &Endpoint, user: &'u str) -> Cow<'u, str> {
        if user.is_empty() {
            return Self::name_of_all(&endpoint.name).into();
        }
        if self.rows.contains_key(&(endpoint.tenant, Arc::from(user))) {
            return user.into();
        }
        let extension = user.to_ascii_lowercase().into();
        let key = (endpoint.tenant, Arc::clone(&endpoint.name), extension);
        self.extensions.get(&key).map_or(user.into(), |name| name.to_string().into())
    }
}

impl Shard {
    /// The messages of a mailbox were counted; `None`: it is no more.
    pub(crate) fn set_mailbox(
        &mut self,
        (tenant, mailbox): (TenantId, Arc<str>),
        messages: Option<Messages>,
        now: Time,
        out: &mut Outputs,
    ) -> Result<Attached, Refusal> {
        let key = (tenant, canonical_name(&self.config.providers, &mailbox));
        let count_max = self.config.limits.source_count_max;
        let source = self.sources.get_or_insert(key.clone(), count_max);
        let source = source.ok_or(Refusal::TooManySources { count_max })?;
        if source.messages.as_deref() == messages.as_ref() {
            let attached = source.attached.clone();
            self.sources.release(&key);
            self.stats.counters.source_repeated += 1;
            return Ok(attached);
        }
        let device = messages.map(|messages| messages.device());
        let before = source.state();
        source.messages = messages.map(Box::new);
        source.device = device;
        let (told, attached) = (source.state(), source.attached.clone());
        self.sources.release(&key);
        self.stats.counters.source_changed += 1;
        self.keep_mailbox(&key, messages.as_ref(), out);
        self.tell_listeners(&before, &told, out);
        self.tell(&attached, told, now, out);
        Ok(attached)
    }

    /// The mailboxes of a tenant whose messages were counted.
    pub(crate) fn mailboxes(&self, tenant: TenantId) -> Vec<MailboxRow> {
        let of_tenant = self.sources.iter().filter(|source| source.key.0 == tenant);
        let counted = of_tenant.filter_map(|source| {
            let mailbox = mailbox_of(&source.key.1)?.into();
            Some(MailboxRow { mailbox, messages: source.messages_of_all()? })
        });
        counted.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_names_an_address_of_record_or_its_voicemail_extension() {
        let mut mailboxes = Mailboxes::default();
        let (t, phone): (_, Arc<str>) = (TenantId(1), "phone".into());
        for (name, boxes) in [("2000", &["2000@default"][..]), ("@phone", &["a", "b"])] {
            mailboxes.add(t, name.into(), boxes, None, "").expect("a hint");
        }
        mailboxes.add_extension(t, Arc::clone(&phone), "VM", "2000".into());
        mailboxes.add_extension(t, Arc::clone(&phone), "vm", "2001".into());
        let endpoint =
            |tenant, name: &str| Endpoint { tenant, name: name.into(), ..Endpoint::default() };
        for (tenant, endpoint_name, user, want) in [
            (t, "phone", "2000", "2000"),
            (t, "phone", "vm", "2000"),
            (t, "other", "vm", "vm"),
            (TenantId(0), "phone", "vm", "vm"),
            (t, "phone", "", "@phone"),
            (t, "phone", "3", "3"),
        ] {
            let name = mailboxes.resolve(&endpoint(tenant, endpoint_name), user);
            assert_eq!(&*name, want, "{endpoint_name} {user}");
        }
        let found = mailboxes.find(t, "@phone").expect("there");
        assert_eq!(found.hint.devices, ["MWI:a".into(), "MWI:b".into()]);
        assert!(mailboxes.find(TenantId(0), "2000").is_none());
        assert!(mailboxes.add(t, "x".into(), &["a\r\nb"], None, "").is_err());
    }
}
