//! The shape of `lampfield.toml`.

use std::fmt;
use std::path::PathBuf;

use lampfield_core::config::{CallDetails, Combination, Dialect, PublishScope};
use lampfield_core::flow::Transport;
use lampfield_net::tls::ClientCheck;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    /// An Asterisk configuration directory to serve as well, relative to this file.
    pub(super) asterisk_dir: Option<PathBuf>,
    /// Whose it is; the first tenant without.
    pub(super) asterisk_tenant: Option<Spanned<String>>,
    /// The user of its `manager.conf` by which its states are mirrored.
    pub(super) asterisk_mirror: Option<Spanned<String>>,
    pub(super) node: Node,
    pub(super) listen: Vec<Spanned<Listen>>,
    pub(super) tenant: Vec<Tenant>,
    pub(super) provider: Vec<Provider>,
    pub(super) context: Vec<Context>,
    pub(super) endpoint: Vec<Spanned<Endpoint>>,
    pub(super) hint: Vec<Spanned<Hint>>,
    pub(super) hint_range: Vec<Spanned<HintRange>>,
    pub(super) pattern: Vec<Spanned<Pattern>>,
    pub(super) list: Vec<Spanned<List>>,
    pub(super) mailbox: Vec<Spanned<Mailbox>>,
    pub(super) feed: Vec<Spanned<Feed>>,
    pub(super) list_range: Vec<Spanned<ListRange>>,
    pub(super) mirror: Vec<Spanned<Mirror>>,
    pub(super) registrar: Registrar,
    pub(super) ami: Option<Ami>,
    pub(super) limits: Limits,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Node {
    pub(super) shards: Option<Spanned<u8>>,
    pub(super) state_dir: Option<PathBuf>,
    /// What may be said before it is on the disk.
    #[serde(default)]
    pub(super) sync: SyncName,
    /// The user to become once all addresses are bound.
    pub(super) user: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) core_dumps: bool,
    pub(super) console_socket: Option<PathBuf>,
    pub(super) user_agent: Option<Spanned<String>>,
    pub(super) realm: Option<Spanned<String>>,
    pub(super) digest_algorithms: Option<Spanned<Vec<String>>>,
    pub(super) dialect: Option<DialectName>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(super) enum SyncName {
    /// A crash may lose the last of it.
    #[default]
    Interval,
    /// Nothing.
    Always,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum DialectName {
    Rfc,
    Asterisk,
}

impl From<DialectName> for Dialect {
    fn from(name: DialectName) -> Self {
        match name {
            DialectName::Rfc => Self::Rfc,
            DialectName::Asterisk => Self::Asterisk,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listen {
    pub(super) transport: TransportName,
    pub(super) bind: Spanned<String>,
    pub(super) advertised: Option<Spanned<String>>,
    /// The certificate with those between it and its authority.
    pub(super) certificate: Option<Spanned<PathBuf>>,
    pub(super) private_key: Option<Spanned<PathBuf>>,
    /// Authorities of clients and servers we trust.
    pub(super) ca: Option<Spanned<PathBuf>>,
    #[serde(default)]
    pub(super) verify_clients: ClientCheckName,
    #[serde(default = "yes")]
    pub(super) verify_servers: bool,
    /// Pages that may connect by WebSocket; those of the same host without.
    pub(super) origins: Option<Vec<String>>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ClientCheckName {
    #[default]
    Never,
    IfShown,
    Always,
}

impl From<ClientCheckName> for ClientCheck {
    fn from(name: ClientCheckName) -> Self {
        match name {
            ClientCheckName::Never => Self::Never,
            ClientCheckName::IfShown => Self::IfShown,
            ClientCheckName::Always => Self::Always,
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum TransportName {
    Udp,
    Tcp,
    Tls,
    Ws,
    Wss,
}

impl From<TransportName> for Transport {
    fn from(name: TransportName) -> Self {
        match name {
            TransportName::Udp => Self::Udp,
            TransportName::Tcp => Self::Tcp,
            TransportName::Tls => Self::Tls,
            TransportName::Ws => Self::Ws,
            TransportName::Wss => Self::Wss,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tenant {
    pub(super) name: Spanned<String>,
    pub(super) domain: Option<Spanned<String>>,
    /// Shown to those who ask for the domain by TLS.
    pub(super) certificate: Option<Spanned<PathBuf>>,
    pub(super) private_key: Option<Spanned<PathBuf>>,
    /// What watchers see of an extension that has a hint and is published.
    pub(super) publications: Option<CombinationName>,
    /// Whether extensions without a hint can be published and watched.
    #[serde(default)]
    pub(super) watch_unhinted: bool,
    /// What watchers learn of published calls.
    pub(super) call_details: Option<CallDetailsName>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum CallDetailsName {
    All,
    Parties,
    None,
}

impl From<CallDetailsName> for CallDetails {
    fn from(name: CallDetailsName) -> Self {
        match name {
            CallDetailsName::All => Self::All,
            CallDetailsName::Parties => Self::Parties,
            CallDetailsName::None => Self::None,
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum CombinationName {
    Hint,
    Merged,
    PublicationFirst,
    Publication,
}

impl From<CombinationName> for Combination {
    fn from(name: CombinationName) -> Self {
        match name {
            CombinationName::Hint => Self::Hint,
            CombinationName::Merged => Self::Merged,
            CombinationName::PublicationFirst => Self::PublicationFirst,
            CombinationName::Publication => Self::Publication,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ScopeName {
    #[default]
    None,
    Own,
    Any,
}

impl From<ScopeName> for PublishScope {
    fn from(name: ScopeName) -> Self {
        match name {
            ScopeName::None => Self::None,
            ScopeName::Own => Self::Own,
            ScopeName::Any => Self::Any,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Provider {
    pub(super) label: Spanned<String>,
    pub(super) kind: KindName,
    #[serde(default)]
    pub(super) settable: bool,
    pub(super) initial: Option<Spanned<String>>,
    pub(super) names: Option<Vec<String>>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum KindName {
    Technology,
    Device,
    Presence,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Context {
    pub(super) name: Spanned<String>,
    pub(super) tenant: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) include: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) autohints: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Endpoint {
    pub(super) name: Spanned<String>,
    pub(super) tenant: Option<Spanned<String>>,
    #[serde(default = "default_context")]
    pub(super) context: String,
    pub(super) subscribe_context: Option<String>,
    #[serde(default, rename = "match")]
    pub(super) networks: Vec<Spanned<String>>,
    /// Whether the From user names it; with `auth` it does unless this says no.
    pub(super) match_from_user: Option<bool>,
    #[serde(default)]
    pub(super) anonymous: bool,
    #[serde(default = "yes")]
    pub(super) allow_subscribe: bool,
    #[serde(default)]
    pub(super) allow_publish: ScopeName,
    #[serde(default)]
    pub(super) allow_register: ScopeName,
    #[serde(default)]
    pub(super) sub_min_expiry_s: u32,
    #[serde(default)]
    pub(super) notify_early_inuse_ringing: bool,
    #[serde(default)]
    pub(super) force_single_dialog: bool,
    #[serde(default)]
    pub(super) rewrite_contact: bool,
    /// Whether NOTIFYs to an edge get spaces to be of one length.
    #[serde(default = "yes")]
    pub(super) train_padding: bool,
    /// Bytes of one NOTIFY at most; longer lists are split.
    pub(super) notify_bytes_max: Option<Spanned<u32>>,
    pub(super) dialect: Option<DialectName>,
    pub(super) auth: Option<Spanned<Auth>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Auth {
    pub(super) username: String,
    pub(super) password: Option<String>,
    pub(super) ha1_md5: Option<Spanned<String>>,
    pub(super) ha1_sha256: Option<Spanned<String>>,
    pub(super) ha1_sha512_256: Option<Spanned<String>>,
    pub(super) algorithms: Option<Spanned<Vec<String>>>,
    pub(super) realm: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hint {
    pub(super) tenant: Option<Spanned<String>>,
    #[serde(default = "default_context")]
    pub(super) context: String,
    pub(super) exten: Spanned<String>,
    pub(super) hint: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HintRange {
    pub(super) tenant: Option<Spanned<String>>,
    #[serde(default = "default_context")]
    pub(super) context: String,
    /// `FIRST..=LAST`; a zero-padded first number keeps its length.
    pub(super) range: Spanned<String>,
    pub(super) hint: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pattern {
    pub(super) tenant: Option<Spanned<String>>,
    #[serde(default = "default_context")]
    pub(super) context: String,
    pub(super) pattern: Spanned<String>,
    pub(super) hint: Spanned<String>,
}

/// Mailboxes that are watched together.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mailbox {
    pub(super) tenant: Option<Spanned<String>>,
    /// What is subscribed to.
    pub(super) name: Spanned<String>,
    pub(super) mailboxes: Spanned<Vec<String>>,
    pub(super) voicemail_extension: Option<String>,
    /// Endpoints whose own it is: they need not name it.
    #[serde(default)]
    pub(super) endpoints: Vec<Spanned<String>>,
}

/// A name to which other servers publish their states.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Feed {
    pub(super) tenant: Option<Spanned<String>>,
    /// The user part they publish to.
    pub(super) name: Spanned<String>,
    /// Only this endpoint may.
    pub(super) endpoint: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) devices: bool,
    pub(super) device_filter: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) mailboxes: bool,
    pub(super) mailbox_filter: Option<Spanned<String>>,
}

/// How registrations are taken.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Registrar {
    /// Registered users are its devices: `PJSIP/2000`.
    pub(super) technology: Option<Spanned<String>>,
    /// Only users that pass, a regular expression.
    pub(super) users: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    pub(super) tenant: Option<Spanned<String>>,
    pub(super) name: Spanned<String>,
    pub(super) event: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) events: Vec<Spanned<String>>,
    pub(super) items: Vec<Spanned<ListItem>>,
    #[serde(default)]
    pub(super) full_state: bool,
    #[serde(default)]
    pub(super) batch_interval_ms: u32,
    #[serde(default)]
    pub(super) display_names: bool,
}

/// `"EXTEN"`, `"EXTEN@CONTEXT"` or a table.
#[derive(Debug)]
pub(super) enum ListItem {
    Text(String),
    Table(ListItemTable),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListItemTable {
    pub(super) exten: String,
    pub(super) context: Option<String>,
    /// Shown instead of the name in the hint.
    pub(super) name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListRange {
    pub(super) tenant: Option<Spanned<String>>,
    /// With `{exten}`, a list for every number; with `{first}`, one for every group.
    pub(super) name: Spanned<String>,
    /// `FIRST..=LAST`; a zero-padded first number keeps its length.
    pub(super) range: Spanned<String>,
    pub(super) group_size: Spanned<u32>,
    /// Whether the list of a number shows that number too.
    #[serde(default)]
    pub(super) with_self: bool,
    pub(super) event: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) events: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) full_state: bool,
    #[serde(default)]
    pub(super) batch_interval_ms: u32,
    #[serde(default)]
    pub(super) display_names: bool,
}

/// See [`crate::config::MirrorConfig`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mirror {
    /// The address without.
    pub(super) name: Option<Spanned<String>>,
    pub(super) address: Spanned<String>,
    pub(super) user: Spanned<String>,
    pub(super) secret: Option<Spanned<String>>,
    /// Relative to this file; its first line is the secret.
    pub(super) secret_file: Option<Spanned<PathBuf>>,
    pub(super) login: Option<Spanned<String>>,
    pub(super) tenant: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) tenants: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) devices: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) presentities: Vec<Spanned<String>>,
    pub(super) stale: Option<Spanned<String>>,
    pub(super) stale_after_s: Option<Spanned<u32>>,
    pub(super) retry_s: Option<Spanned<u32>>,
    pub(super) retry_max_s: Option<Spanned<u32>>,
    pub(super) ping_s: Option<Spanned<u32>>,
    pub(super) answer_s: Option<Spanned<u32>>,
    pub(super) resync_s: Option<Spanned<u32>>,
    pub(super) name_count_max: Option<Spanned<u32>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ami {
    #[serde(default = "yes")]
    pub(super) enabled: bool,
    pub(super) bind: Option<Spanned<String>>,
    pub(super) auth_timeout_s: Option<Spanned<u32>>,
    pub(super) auth_limit: Option<Spanned<u32>>,
    #[serde(default)]
    pub(super) timestamp_events: bool,
    #[serde(default)]
    pub(super) disabled_events: Vec<String>,
    #[serde(default)]
    pub(super) user: Vec<Spanned<AmiUser>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AmiUser {
    pub(super) name: Spanned<String>,
    pub(super) secret: Spanned<String>,
    pub(super) tenant: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) read: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) write: Vec<Spanned<String>>,
    /// `permit 10.0.0.0/8` and `deny 0.0.0.0/0`, in order: the last match decides.
    #[serde(default)]
    pub(super) access: Vec<Spanned<String>>,
    #[serde(default = "yes")]
    pub(super) allow_multiple_login: bool,
    pub(super) write_timeout_ms: Option<Spanned<u32>>,
}

/// See [`lampfield_core::limits::Limits`] for what each protects.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    pub(super) subscription_count_max: Option<Spanned<u32>>,
    pub(super) watcher_count_max: Option<Spanned<u32>>,
    pub(super) subscription_per_source_max: Option<Spanned<u32>>,
    pub(super) view_count_max: Option<Spanned<u32>>,
    pub(super) publication_count_max: Option<Spanned<u32>>,
    pub(super) publication_per_tenant_max: Option<Spanned<u32>>,
    pub(super) publication_per_source_max: Option<Spanned<u32>>,
    pub(super) publication_per_presentity_max: Option<Spanned<u32>>,
    pub(super) publication_bytes_max: Option<Spanned<u32>>,
    pub(super) publication_told_max: Option<Spanned<u32>>,
    pub(super) publication_expires_min_s: Option<Spanned<u32>>,
    pub(super) publication_expires_max_s: Option<Spanned<u32>>,
    pub(super) publication_expires_default_s: Option<Spanned<u32>>,
    pub(super) registration_count_max: Option<Spanned<u32>>,
    pub(super) contact_count_max: Option<Spanned<u32>>,
    pub(super) register_expires_min_s: Option<Spanned<u32>>,
    pub(super) register_expires_max_s: Option<Spanned<u32>>,
    pub(super) register_expires_default_s: Option<Spanned<u32>>,
    pub(super) extension_count_max: Option<Spanned<u32>>,
    pub(super) source_count_max: Option<Spanned<u32>>,
    pub(super) expires_max_s: Option<Spanned<u32>>,
    pub(super) expires_default_s: Option<Spanned<u32>>,
    pub(super) expires_jitter_percent: Option<Spanned<u32>>,
    pub(super) notify_per_turn_max: Option<Spanned<u32>>,
    pub(super) train_padding_bytes_max: Option<Spanned<u16>>,
    pub(super) hop_window_initial: Option<Spanned<u32>>,
    pub(super) hop_window_max: Option<Spanned<u32>>,
    pub(super) t1_ms: Option<Spanned<u32>>,
    pub(super) t2_ms: Option<Spanned<u32>>,
    pub(super) probe_after_s: Option<Spanned<u32>>,
    pub(super) transaction_memory_s: Option<Spanned<u32>>,
    pub(super) transaction_count_max: Option<Spanned<u32>>,
    pub(super) presence_text_bytes_max: Option<Spanned<u32>>,
    pub(super) accept_value_count_max: Option<Spanned<u32>>,
    pub(super) dialog_bytes_max: Option<Spanned<u32>>,
    pub(super) mesh_waiting_max: Option<Spanned<u32>>,
    pub(super) store_waiting_max: Option<Spanned<u32>>,
    pub(super) event_waiting_max: Option<Spanned<u32>>,
    pub(super) list_member_count_max: Option<Spanned<u32>>,
    pub(super) list_edge_count_max: Option<Spanned<u32>>,
    pub(super) list_depth_max: Option<Spanned<u32>>,
    pub(super) request_uri_bytes_max: Option<Spanned<u32>>,
    pub(super) notify_bytes_max: Option<Spanned<u32>>,
    pub(super) notify_bytes_whole: Option<Spanned<u32>>,
    pub(super) request_list_bytes_max: Option<Spanned<u32>>,
}

impl<'de> Deserialize<'de> for ListItem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListItemVisitor)
    }
}

/// Looks at what is there, so that a message can say what is wrong with it.
struct ListItemVisitor;

impl<'de> Visitor<'de> for ListItemVisitor {
    type Value = ListItem;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"EXTEN\", \"EXTEN@CONTEXT\" or { exten = …, context = …, name = … }")
    }

    fn visit_str<E>(self, text: &str) -> Result<ListItem, E> {
        Ok(ListItem::Text(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ListItem, A::Error> {
        ListItemTable::deserialize(MapAccessDeserializer::new(map)).map(ListItem::Table)
    }
}

fn yes() -> bool {
    true
}

fn default_context() -> String {
    "default".into()
}
