//! What AMI and console share: configuration, the way to the shards, names and global variables.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use lampfield_core::command::{Answer, Command, ExtensionRow, Query};
use lampfield_core::dialplan::Found;
use lampfield_core::placement::TenantId;
use lampfield_core::provider::Provider;
use lampfield_core::state::{
    DeviceState, FunctionError, Presence, parse_device_write, parse_presence_write,
};
use tokio::sync::Mutex;

use super::ami::Hub;
use super::{Change, ChangeError, Reload, ShardClient, ShardError, Shutdown};
use crate::config::NodeConfig;
use crate::mirror::Mirrors;
use crate::mirror::state::Kind;
use crate::store::{Batch, Copy};
use crate::tenants;

/// Global variables one tenant may set. They are conveniences of AMI clients, not a database.
pub(crate) const VARIABLE_COUNT_MAX: usize = 10_000;

/// The node as the control plane sees it.
pub(crate) struct Node {
    pub(crate) client: ShardClient,
    pub(crate) hub: Rc<Hub>,
    pub(crate) mirrors: Rc<Mirrors>,
    pub(crate) shutdown: Shutdown,
    pub(crate) started: Instant,
    config: RefCell<Arc<NodeConfig>>,
    reload: Reload,
    /// One reload at a time: each says which places tenants have.
    reloading: Mutex<()>,
    /// The way to the store.
    records: Option<async_channel::Sender<Batch>>,
    reloaded: Cell<Instant>,
    /// Watchers sent elsewhere a second, while the node is drained.
    draining: Cell<Option<u32>>,
    variables: RefCell<HashMap<(TenantId, String), String>>,
}

/// Why a state was not set.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetError {
    /// The name is of no provider whose states may be set this way.
    #[error("`{0}` is not a name of provider `{1}:`")]
    NotSettable(String, &'static str),
    /// A mirror feeds it: the PBX says what it shows.
    #[error("`{0}` is fed by mirror `{1}`: it is set there")]
    Mirrored(String, Arc<str>),
    /// The value is wrong.
    #[error(transparent)]
    Value(#[from] FunctionError),
    /// It was refused, or not everybody has confirmed it.
    #[error(transparent)]
    Change(#[from] ChangeError),
}

impl From<ShardError> for SetError {
    fn from(error: ShardError) -> Self {
        Self::Change(error.into())
    }
}

/// Whether the Asterisk commands may set states of a name: its provider allows it, and something
/// stands behind the label.
fn check_settable(
    provider: Option<&Provider>,
    name: &str,
    label: &'static str,
) -> Result<(), SetError> {
    match provider.is_some_and(|provider| provider.settable) && !name.ends_with(':') {
        true => Ok(()),
        false => Err(SetError::NotSettable(name.to_owned(), label)),
    }
}

impl Node {
    pub(crate) fn new(
        client: ShardClient,
        config: NodeConfig,
        reload: Reload,
        records: Option<async_channel::Sender<Batch>>,
        shutdown: Shutdown,
    ) -> Self {
        let now = Instant::now();
        Self {
            client,
            hub: Rc::default(),
            mirrors: Rc::new(Mirrors::new()),
            shutdown,
            started: now,
            config: RefCell::new(Arc::new(config)),
            reload,
            reloading: Mutex::default(),
            records,
            reloaded: Cell::new(now),
            draining: Cell::default(),
            variables: RefCell::default(),
        }
    }

    /// The configuration in force.
    pub(crate) fn config(&self) -> Arc<NodeConfig> {
        Arc::clone(&self.config.borrow())
    }

    /// Seconds since start, and since the configuration was last read.
    pub(crate) fn ages_s(&self) -> (u64, u64) {
        (self.started.elapsed().as_secs(), self.reloaded.get().elapsed().as_secs())
    }

    /// Reads the configuration again and hands it to all shards. Addresses and shard count stay
    /// as they were at start; new TLS connections use the certificates as they are now.
    ///
    /// # Errors
    ///
    /// What is wrong with the files; nothing has changed then.
    pub(crate) async fn reload(&self) -> anyhow::Result<()> {
        let _one_at_a_time = self.reloading.lock().await;
        let reload = Arc::clone(&self.reload);
        let known = tenants::names(&self.config().core);
        let known_count = known.len();
        let config = tokio::task::spawn_blocking(move || reload(&known)).await??;
        let config = self.with_same_addresses(config);
        let core = Arc::clone(&config.core);
        let new = tenants::records(known_count, &core);
        if let Some(store) = self.records.as_ref().filter(|_| !new.is_empty()) {
            // Before any record of theirs.
            store.send(new.into()).await.context("the store has ended")?;
        }
        *self.config.borrow_mut() = Arc::new(config);
        self.reloaded.set(Instant::now());
        self.client.broadcast(Command::Reload(core)).await?;
        self.mirrors.reconfigure();
        Ok(())
    }

    /// `newer` with the addresses that are served, and their TLS as `newer` has it.
    fn with_same_addresses(&self, newer: NodeConfig) -> NodeConfig {
        let listen = self.config().listen.clone();
        for served in &listen {
            let again = newer.listen.iter().find(|again| served.is_same_address(again));
            match (&served.tls, again.and_then(|again| again.tls.as_ref())) {
                (Some(tls), Some(newer)) => tls.adopt(newer),
                (Some(_), None) => {
                    let token = served.transport.token();
                    tracing::warn!(
                        "{token} {} is served until the next start, with the old certificate",
                        served.bind
                    );
                }
                (None, _) => {}
            }
        }
        NodeConfig { listen, ..newer }
    }

    /// Sends watchers elsewhere, so many a second of the whole node; `None` ends that.
    ///
    /// # Errors
    ///
    /// A shard that does not take it. The others have.
    pub(crate) async fn drain(&self, per_s: Option<u32>) -> Result<(), ShardError> {
        self.draining.set(per_s);
        let shard_count = u32::from(self.client.placement().shard_count());
        let of_shard = per_s.map(|per_s| per_s.div_ceil(shard_count));
        self.client.broadcast(Command::Drain(of_shard)).await
    }

    /// Copies the store into `backups` of the state directory, under a name that is not taken.
    /// Returns the file, and the number of records.
    ///
    /// # Errors
    ///
    /// Nothing is kept, the name is no name or taken, or the disk refuses.
    pub(crate) async fn backup(&self, name: &str) -> anyhow::Result<(PathBuf, usize)> {
        let config = self.config();
        let (Some(store), Some(state_dir)) = (&self.records, &config.state_dir) else {
            anyhow::bail!("this node keeps nothing: it has no state directory");
        };
        let is_name_char =
            |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '-' | '_');
        let is_name = !name.starts_with('.') && name.chars().all(is_name_char) && name.len() <= 100;
        anyhow::ensure!(is_name, "'{name}' is no name of a file: letters, digits, . - _ expected");
        let dir = state_dir.join("backups");
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let (done, told) = tokio::sync::oneshot::channel();
        let to = dir.join(name);
        let copy = Some(Copy { to: to.clone(), done });
        let batch = Batch { copy, ..Batch::from(Vec::new()) };
        store.send(batch).await.context("the store has ended")?;
        let count = told.await.context("the store has ended")??;
        Ok((to, count))
    }

    /// Watchers sent elsewhere a second, if they are.
    pub(crate) fn draining(&self) -> Option<u32> {
        self.draining.get()
    }

    /// Finds the hint of an extension, as a subscription would.
    pub(crate) fn find(&self, tenant: TenantId, context: &str, exten: &str) -> Option<Found> {
        self.config.borrow().core.find_hint(tenant, context, exten)
    }

    /// The state of an extension, `None` without a hint.
    pub(crate) async fn extension(
        &self,
        tenant: TenantId,
        context: &str,
        exten: &str,
    ) -> Result<Option<ExtensionRow>, ShardError> {
        let Some(found) = self.find(tenant, context, exten) else {
            return Ok(None);
        };
        let Found { context, exten, .. } = found;
        let query = Query::Extension { tenant, context, exten };
        let config = self.config();
        match self.client.ask_owner(query, &config.core.providers).await? {
            Answer::Extensions(rows) => Ok(rows.into_iter().next()),
            _ => Ok(None),
        }
    }

    /// The state of a device. A device nobody knows is [`DeviceState::Invalid`].
    pub(crate) async fn device(
        &self,
        tenant: TenantId,
        name: &str,
    ) -> Result<DeviceState, ShardError> {
        let core = Arc::clone(&self.config().core);
        let query = Query::Device(tenant, name.into());
        match self.client.ask_owner(query, &core.providers).await? {
            Answer::Devices(rows) if !rows.is_empty() => Ok(rows[0].state),
            _ => Ok(core.providers.initial_device(name)),
        }
    }

    /// The presence of a source, `None` if no provider supplies it.
    pub(crate) async fn presence(
        &self,
        tenant: TenantId,
        name: &str,
    ) -> Result<Option<Presence>, ShardError> {
        let core = Arc::clone(&self.config().core);
        if core.providers.of_presence(name).is_none() {
            return Ok(None);
        }
        let query = Query::Presence(tenant, name.into());
        match self.client.ask_owner(query, &core.providers).await? {
            Answer::Presences(rows) if !rows.is_empty() => {
                Ok(rows.into_iter().next().map(|row| row.presence))
            }
            _ => Ok(core.providers.initial_presence(name)),
        }
    }

    /// Begins to set the presence of `CustomPresence:…` from a value in the syntax of
    /// `PRESENCE_STATE`.
    ///
    /// Case of the label does not matter (`custompresence:bob` is `CustomPresence:bob`): it is
    /// owned, stored and listed in the provider's own spelling, and events show the name as it was
    /// given, as Asterisk's do.
    pub(crate) async fn begin_presence(
        &self,
        tenant: TenantId,
        name: &str,
        value: &str,
    ) -> Result<Change, SetError> {
        let core = Arc::clone(&self.config().core);
        check_settable(core.providers.of_presence(name), name, "CustomPresence")?;
        self.check_own(tenant, Kind::Presence, name)?;
        let write = parse_presence_write(value)?;
        let (presentity, presence) = (name.into(), write.presence);
        let command = Command::SetPresence { tenant, presentity, presence, written: value.into() };
        Ok(self.client.change(command, &core.providers).await?)
    }

    /// Begins to set the state of `Custom:…` from a value of `DEVICE_STATE`.
    pub(crate) async fn begin_device(
        &self,
        tenant: TenantId,
        name: &str,
        value: &str,
    ) -> Result<Change, SetError> {
        let core = Arc::clone(&self.config().core);
        check_settable(core.providers.of_device(name), name, "Custom")?;
        self.check_own(tenant, Kind::Device, name)?;
        let state = parse_device_write(value)?;
        Ok(self.begin_report(tenant, name, state).await?)
    }

    /// As [`Node::begin_presence`], and waits until it is applied everywhere.
    pub(crate) async fn set_presence(
        &self,
        tenant: TenantId,
        name: &str,
        value: &str,
    ) -> Result<(), SetError> {
        Ok(self.begin_presence(tenant, name, value).await?.applied().await?)
    }

    /// As [`Node::begin_device`], and waits until it is applied everywhere.
    pub(crate) async fn set_device(
        &self,
        tenant: TenantId,
        name: &str,
        value: &str,
    ) -> Result<(), SetError> {
        Ok(self.begin_device(tenant, name, value).await?.applied().await?)
    }

    /// Reports the state of any provider's device, as a PBX or registrar would, and waits until it
    /// is applied everywhere.
    pub(crate) async fn report_device(
        &self,
        tenant: TenantId,
        name: &str,
        state: DeviceState,
    ) -> Result<(), SetError> {
        self.check_own(tenant, Kind::Device, name)?;
        Ok(self.begin_report(tenant, name, state).await?.applied().await?)
    }

    /// Whether a source is not some PBX's: two who set it would show each other's states by turns.
    pub(crate) fn check_own(
        &self,
        tenant: TenantId,
        kind: Kind,
        name: &str,
    ) -> Result<(), SetError> {
        match self.mirrors.owner(tenant, kind, name, &self.config().core.providers) {
            Some(mirror) => Err(SetError::Mirrored(name.to_owned(), mirror)),
            None => Ok(()),
        }
    }

    async fn begin_report(
        &self,
        tenant: TenantId,
        name: &str,
        state: DeviceState,
    ) -> Result<Change, ShardError> {
        let config = self.config();
        let command = Command::SetDevice { tenant, device: name.into(), state };
        self.client.change(command, &config.core.providers).await
    }

    /// A global variable of a tenant.
    pub(crate) fn variable(&self, tenant: TenantId, name: &str) -> Option<String> {
        self.variables.borrow().get(&(tenant, name.to_owned())).cloned()
    }

    /// Sets a global variable; an empty value removes it. False when there are too many.
    pub(crate) fn set_variable(&self, tenant: TenantId, name: &str, value: &str) -> bool {
        let mut variables = self.variables.borrow_mut();
        let key = (tenant, name.to_owned());
        if value.is_empty() {
            variables.remove(&key);
            return true;
        }
        if variables.len() >= VARIABLE_COUNT_MAX && !variables.contains_key(&key) {
            return false;
        }
        variables.insert(key, value.to_owned());
        true
    }
}

/// Text for one line of a terminal: control characters are written as C escapes, all else is left
/// as it is. Keeps free text from breaking a listing, or from commanding the terminal.
pub(crate) fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            c if c.is_control() => line.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => line.push(c),
        }
    }
    Cow::Owned(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_control_character_reaches_a_terminal() {
        for (text, want) in [
            ("Sick, out \"ä\" \\", "Sick, out \"ä\" \\"),
            ("a\r\nb\tc", r"a\r\nb\tc"),
            ("\u{1b}[2J\0\u{9b}", r"\x1b[2J\x00\x9b"),
        ] {
            assert_eq!(one_line(text), want);
        }
    }
}
