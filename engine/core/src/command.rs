//! What the control plane asks of a shard, and what it hears back.
//!
//! Commands and queries about one name go to its owner ([`crate::placement::Placement`]); lists
//! go to every shard and are put together by the caller.

use std::net::IpAddr;
use std::sync::Arc;

use lampfield_wire::EntityId;

use crate::config::Config;
use crate::dialplan::Hint;
use crate::flow::Flow;
use crate::placement::{ShardId, TenantId};
use crate::record::Record;
use crate::state::{DeviceState, ExtensionState, Messages, Presence};
use crate::stats::Stats;

/// A change asked for from outside.
#[derive(Clone, Debug)]
pub enum Command {
    /// Sets a device state. To the owner of `device`.
    SetDevice {
        /// Whose device.
        tenant: TenantId,
        /// Full name, as `Custom:lamp1` or `PJSIP/2000`.
        device: Arc<str>,
        /// The new state.
        state: DeviceState,
    },
    /// Sets a presence state. To the owner of `presentity`.
    SetPresence {
        /// Whose presentity.
        tenant: TenantId,
        /// Full name, as `CustomPresence:bob`, in the case it was given.
        presentity: Arc<str>,
        /// The new state, texts decoded.
        presence: Presence,
        /// The value as it was written, kept for listings (`away,dXA=,,e`).
        written: Arc<str>,
    },
    /// Counts the messages of a mailbox. To the owner of `mailbox`.
    SetMailbox {
        /// Whose mailbox.
        tenant: TenantId,
        /// Its source ([`crate::mailbox::mailbox_source`]), as `MWI:2000@default`.
        mailbox: Arc<str>,
        /// Its messages; `None` if it is no more.
        messages: Option<Messages>,
    },
    /// Takes over a new configuration; subscriptions whose extension still exists are untouched.
    /// To every shard.
    Reload(Arc<Config>),
    /// Puts back something that was kept before a restart. To the shard the record names.
    Restore(Record),
    /// Whether anybody listens to [`Event`]s; without listeners none are made. To every shard.
    ListenEvents(bool),
    /// Latencies are counted anew from now on. To every shard.
    ResetLatencies,
    /// Sends watchers elsewhere, so many a second of this shard, and takes no new ones; `None` ends
    /// that. To every shard.
    Drain(Option<u32>),
}

/// A question.
#[derive(Clone, Debug)]
pub enum Query {
    /// State of one device. To its owner.
    Device(TenantId, Arc<str>),
    /// State of one presentity. To its owner.
    Presence(TenantId, Arc<str>),
    /// All devices ever reported or hinted at. To every shard.
    Devices(TenantId),
    /// All presentities ever set. To every shard.
    Presences(TenantId),
    /// All mailboxes whose messages were counted. To every shard.
    Mailboxes(TenantId),
    /// One extension, instantiated if a pattern or range matches. To the owner of the hint found.
    Extension {
        /// Whose extension.
        tenant: TenantId,
        /// Context the hint was found in.
        context: Arc<str>,
        /// The extension.
        exten: Arc<str>,
    },
    /// All extensions a shard holds. To every shard.
    Extensions(TenantId),
    /// Why a lamp shows what it shows. To the owner of the hint found.
    Explain {
        /// Whose extension.
        tenant: TenantId,
        /// Context the hint was found in.
        context: Arc<str>,
        /// The extension.
        exten: Arc<str>,
    },
    /// Inbound subscriptions, at most `limit` per shard. To every shard.
    Subscriptions {
        /// Whose watchers; `None` for all tenants.
        tenant: Option<TenantId>,
        /// Only this Call-ID.
        call_id: Option<Arc<str>>,
        /// Rows per shard at most.
        limit: usize,
    },
    /// Publications others keep with us, at most `limit` per shard. To every shard.
    Publications {
        /// Whose presentities; `None` for all tenants.
        tenant: Option<TenantId>,
        /// Only of this source, as `Publication:2000`.
        presentity: Option<Arc<str>>,
        /// Rows per shard at most.
        limit: usize,
    },
    /// Contacts of registered users, at most `limit` per shard. To every shard.
    Registrations {
        /// Whose users; `None` for all tenants.
        tenant: Option<TenantId>,
        /// Rows per shard at most.
        limit: usize,
    },
    /// Counters and latencies. To every shard.
    Stats,
}

/// The answer of one shard to one query.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The number the query was asked under.
    pub id: u64,
    /// Who answers.
    pub shard: ShardId,
    /// The answer.
    pub answer: Answer,
}

/// What a shard knows.
#[derive(Clone, Debug)]
pub enum Answer {
    /// To [`Query::Device`] (one row) and [`Query::Devices`].
    Devices(Vec<DeviceRow>),
    /// To [`Query::Presence`] (one row, or none if no provider supplies it) and
    /// [`Query::Presences`].
    Presences(Vec<PresenceRow>),
    /// To [`Query::Mailboxes`].
    Mailboxes(Vec<MailboxRow>),
    /// To [`Query::Extension`] (one row or none) and [`Query::Extensions`].
    Extensions(Vec<ExtensionRow>),
    /// To [`Query::Explain`]; `None` if the shard has no such extension.
    Explain(Option<Box<Explanation>>),
    /// To [`Query::Subscriptions`]: rows, and how many there are in all.
    Subscriptions(Vec<SubscriptionRow>, usize),
    /// To [`Query::Publications`]: rows, and how many there are in all.
    Publications(Vec<PublicationRow>, usize),
    /// To [`Query::Registrations`]: rows, and how many there are in all.
    Registrations(Vec<ContactRow>, usize),
    /// To [`Query::Stats`].
    Stats(Box<Stats>),
    /// To [`crate::Input::Change`], from the shard that owns the source: the other shards that
    /// confirm it, each with one [`Answer::Confirmed`] under the same number. These may come first.
    Changed(Result<Box<[ShardId]>, Refusal>),
    /// This shard has applied the change.
    Confirmed,
}

/// Why a change was not made. Nothing has changed then.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The table of sources is full.
    #[error("its shard holds {count_max} sources already (source_count_max)")]
    TooManySources {
        /// The limit.
        count_max: u32,
    },
    /// Too much waits for other shards or the store.
    #[error("its shard is overloaded: too much waits for other shards or the store")]
    Overloaded,
    /// The command is not a change of a state.
    #[error("only states can be changed so")]
    NotAState,
}

/// A device as a shard knows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeviceRow {
    /// Full name.
    pub device: Arc<str>,
    /// Its state.
    pub state: DeviceState,
    /// Whether somebody ever reported it (else the state is its provider's initial one).
    pub reported: bool,
}

/// A presentity as a shard knows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PresenceRow {
    /// Full name.
    pub presentity: Arc<str>,
    /// Its state, texts decoded.
    pub presence: Presence,
    /// The value as it was written; empty if never set.
    pub written: Arc<str>,
}

/// A mailbox as a shard knows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MailboxRow {
    /// Its name, as `2000@default`.
    pub mailbox: Arc<str>,
    /// Its messages.
    pub messages: Messages,
}

/// An extension as a shard knows it.
#[derive(Clone, Debug)]
pub struct ExtensionRow {
    /// Whose extension.
    pub tenant: TenantId,
    /// Context of the hint.
    pub context: Arc<str>,
    /// The extension.
    pub exten: Arc<str>,
    /// Its hint.
    pub hint: Arc<Hint>,
    /// What its devices add up to.
    pub state: ExtensionState,
    /// What its presence sources add up to.
    pub presence: Presence,
    /// How many subscriptions watch it, lists aside.
    pub watcher_count: u32,
    /// How many documents of it go to shards whose lists show it.
    pub list_shard_count: u32,
}

/// An inbound subscription.
#[derive(Clone, Debug)]
pub struct SubscriptionRow {
    /// Endpoint name.
    pub endpoint: Arc<str>,
    /// Watched extension, or name of the list.
    pub exten: Arc<str>,
    /// Its context.
    pub context: Arc<str>,
    /// Event package with its `id`, if any: `presence`, `dialog;id=7`.
    pub event: Box<str>,
    /// Content type of its bodies.
    pub content_type: &'static str,
    /// Call-ID of the dialog.
    pub call_id: Box<str>,
    /// The watcher's URI.
    pub watcher: Box<str>,
    /// Where NOTIFYs go, as `udp:192.0.2.1:5060`.
    pub next_hop: Box<str>,
    /// Seconds until it ends.
    pub expires_s: u32,
    /// `ACTIVE`, `SUSPECT` (a NOTIFY went unanswered) or `TERMINATED`.
    pub state: &'static str,
    /// CSeq of the last NOTIFY sent.
    pub cseq: u32,
    /// Extension state the watcher last acknowledged; `None` before the first answer.
    pub acknowledged: Option<ExtensionState>,
    /// Whether a NOTIFY waits for its answer.
    pub in_flight: bool,
    /// Milliseconds since the last acknowledgement; `None` before the first.
    pub acknowledged_age_ms: Option<u64>,
    /// What the extension shows now; `None` for a list.
    pub extension_state: Option<ExtensionState>,
    /// What a list shows; `None` for a single extension.
    pub members: Option<ListMembers>,
}

/// One contact of a registered user.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ContactRow {
    /// The device it is reported as.
    pub device: Arc<str>,
    /// Its URI.
    pub contact: Arc<str>,
    /// The path it is reached by, as header values; empty without (RFC 3327).
    pub path: Arc<str>,
    /// How it registered.
    pub flow: Flow,
    /// Seconds it has left.
    pub expires_s: u32,
}

/// A publication.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PublicationRow {
    /// The source it is a part of, as `Publication:2000`.
    pub presentity: Arc<str>,
    /// Event package.
    pub event: &'static str,
    /// Its entity-tag now.
    pub entity_tag: Box<str>,
    /// The endpoint that published it last.
    pub endpoint: Arc<str>,
    /// The address it came from first.
    pub source: IpAddr,
    /// Seconds until it ends.
    pub expires_s: u32,
    /// What it says of the device, if anything.
    pub device: Option<DeviceState>,
    /// What it says of the presence, if anything: state, subtype, message.
    pub presence: Option<Presence>,
    /// What it says of waiting messages, if anything.
    pub messages: Option<Messages>,
    /// Of a server's: its entity id, and of how many devices or mailboxes it tells.
    pub server: Option<(EntityId, usize)>,
}

/// The members of a list subscription.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ListMembers {
    /// How many there are, in nested lists too.
    pub member_count: usize,
    /// How many show something that was not sent yet.
    pub waiting_count: usize,
    /// Content type of their documents.
    pub content_type: &'static str,
}

/// Why an extension is in its state.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The extension itself.
    pub extension: ExtensionRow,
    /// Its devices and presentities: name, state token (with texts), age of the last report in
    /// milliseconds (`None` if never reported), owning shard.
    pub sources: Vec<ExplainedSource>,
    /// Its watchers.
    pub watchers: Vec<SubscriptionRow>,
}

/// One source of an explained extension.
#[derive(Clone, Debug)]
pub struct ExplainedSource {
    /// Full name.
    pub name: Arc<str>,
    /// State as last heard, with subtype and message for presence.
    pub state: Box<str>,
    /// Milliseconds since it last changed here; `None` if nobody reported it.
    pub age_ms: Option<u64>,
    /// The shard that owns it.
    pub owner: ShardId,
}

/// Something the control plane may want to tell (AMI).
#[derive(Clone, Debug)]
pub enum Event {
    /// A presence state was published, changed or not.
    PresenceStateChange {
        /// Whose presentity.
        tenant: TenantId,
        /// Name as it was set.
        presentity: Arc<str>,
        /// Its state.
        presence: Presence,
    },
    /// The presence of a hint really changed.
    PresenceStatus {
        /// The extension, already with the new state.
        extension: Arc<str>,
        /// Its context.
        context: Arc<str>,
        /// Whose extension.
        tenant: TenantId,
        /// Its hint.
        hint: Arc<Hint>,
        /// Its presence.
        presence: Presence,
    },
    /// A device state changed.
    DeviceStateChange {
        /// Whose device.
        tenant: TenantId,
        /// Its name.
        device: Arc<str>,
        /// Its state.
        state: DeviceState,
    },
    /// The messages of a mailbox changed.
    MessageWaiting {
        /// Whose mailbox.
        tenant: TenantId,
        /// Its name, as `2000@default`.
        mailbox: Arc<str>,
        /// Its messages; none if it is no more.
        messages: Messages,
    },
    /// The device state of a hint changed, or rings again; `None`: the hint was removed.
    ExtensionStatus {
        /// The extension.
        extension: Arc<str>,
        /// Its context.
        context: Arc<str>,
        /// Whose extension.
        tenant: TenantId,
        /// Its hint.
        hint: Arc<Hint>,
        /// Its state; `None` when the hint was removed.
        state: Option<ExtensionState>,
    },
}
