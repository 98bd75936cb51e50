//! Addresses, AMI and the node itself in `lampfield.toml`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lampfield_core::flow::Transport;
use lampfield_net::sys;
use lampfield_net::tcp::WebOrigins;
use lampfield_net::tls::{CertificateFiles, Tls, TlsSettings};
use toml::Spanned;

use super::super::load::{AMI_PORT, sip_port};
use super::super::tls;
use super::super::{self as config, acl};
use super::Native;
use super::file::{Ami, AmiUser, Listen, Node, SyncName};
use crate::control::ami::class;

/// `*` stands for all pages; none named, for those of the host itself.
fn origins(named: Option<Vec<String>>) -> WebOrigins {
    match named {
        None => WebOrigins::SameHost,
        Some(named) if named.iter().any(|origin| origin == "*") => WebOrigins::Any,
        Some(named) => WebOrigins::Listed(named),
    }
}

impl Native<'_> {
    pub(super) fn node(&mut self, node: Node) {
        if let Some(shards) = &node.shards {
            if *shards.get_ref() == 0 {
                self.error(shards, "at least one shard expected");
            }
            self.draft.shard_count = Some(*shards.get_ref());
        }
        for (text, what) in [(&node.user_agent, "user_agent"), (&node.realm, "realm")] {
            let Some(text) = text else { continue };
            if text.get_ref().is_empty() || text.get_ref().contains(['\r', '\n', '"', '\\']) {
                self.error(text, format!("{what}: a text without quotes and line ends expected"));
            }
        }
        if let Some(text) = node.user_agent {
            self.draft.core.user_agent = text.into_inner().into();
        }
        self.draft.state_dir = node.state_dir;
        self.draft.core_dumps = node.core_dumps;
        self.draft.syncs_always = node.sync == SyncName::Always;
        if let Some(user) = node.user {
            match sys::find_account(user.get_ref()) {
                Ok(Some(_)) => {}
                Ok(None) => self.error(&user, format!("there is no user '{}'", user.get_ref())),
                Err(error) => self.error(&user, format!("users cannot be looked up: {error}")),
            }
            self.draft.user = Some(user.into_inner());
        }
        self.draft.console_socket = node.console_socket;
    }

    /// Certificates of tenants must be known already. Files lie near this one unless they say where.
    pub(super) fn listen(&mut self, listen: Vec<Spanned<Listen>>, near: &Path) {
        for entry in listen {
            let file = entry.get_ref();
            let transport = Transport::from(file.transport);
            let Some(bind) = self.address(&file.bind, sip_port(transport)) else { continue };
            let advertised = match &file.advertised {
                Some(text) => match self.address(text, bind.port()) {
                    Some(address) => Some(address),
                    None => continue,
                },
                None => None,
            };
            let tls = match self.tls(transport, &entry, near) {
                Ok(tls) => tls,
                Err(()) => continue,
            };
            let origins = origins(file.origins.clone());
            self.draft.listen.push(config::Listen { transport, bind, advertised, tls, origins });
        }
    }

    /// TLS of an address, if it is to be secure. What is wrong is told already.
    fn tls(
        &mut self,
        transport: Transport,
        entry: &Spanned<Listen>,
        near: &Path,
    ) -> Result<Option<Arc<Tls>>, ()> {
        let file = entry.get_ref();
        let (chain, key) = (file.certificate.as_ref(), file.private_key.as_ref());
        if !transport.is_secure() {
            let given = [chain, key, file.ca.as_ref()].into_iter().flatten().next();
            return match given {
                None => Ok(None),
                Some(given) => {
                    let text = "transport tls or wss expected beside it: this one is not secure";
                    self.error(given, text);
                    Err(())
                }
            };
        }
        let (Some(chain), Some(key)) = (chain, key) else {
            self.error(entry, "certificate and private_key expected: files in PEM");
            return Err(());
        };
        let path = |path: &Spanned<PathBuf>| near.join(path.get_ref());
        let settings = TlsSettings {
            certificate: CertificateFiles { chain: path(chain), key: path(key) },
            by_name: self.draft.certificates.clone(),
            authorities: file.ca.as_ref().map(path),
            clients: file.verify_clients.into(),
            verifies_servers: file.verify_servers,
        };
        let place = self.source.place(chain);
        if transport == Transport::Tls && file.verify_servers && file.ca.is_none() {
            self.draft.notices.push(format!(
                "{place}: without ca nobody is trusted that we would connect to: NOTIFYs go over \
                 connections that phones have opened"
            ));
        }
        tls::load(settings, &place, self.draft).map(Some).ok_or(())
    }

    pub(super) fn ami(&mut self, ami: Option<Ami>) {
        let Some(ami) = ami else { return };
        self.draft.has_native_ami = true;
        self.draft.ami_enabled = ami.enabled;
        self.draft.ami.bind = ami.bind.and_then(|text| self.address(&text, AMI_PORT));
        self.draft.ami.timestamp_events = ami.timestamp_events;
        self.draft.ami.disabled_events = ami.disabled_events;
        if let Some(number) = self.positive(ami.auth_timeout_s.as_ref()) {
            self.draft.ami.auth_timeout_s = number;
        }
        if let Some(number) = self.positive(ami.auth_limit.as_ref()) {
            self.draft.ami.auth_limit = number;
        }
        for user in &ami.user {
            if let Some(user) = self.ami_user(user) {
                self.draft.ami.users.push(user);
            }
        }
    }

    fn ami_user(&mut self, entry: &Spanned<AmiUser>) -> Option<config::AmiUser> {
        let file = entry.get_ref();
        let name = file.name.get_ref();
        if name.is_empty() || self.draft.ami.users.iter().any(|user| user.name == *name) {
            self.error(&file.name, format!("'{name}' is no name, or that of another user"));
        }
        if file.secret.get_ref().is_empty() {
            self.error(&file.secret, "a secret that is not empty expected");
        }
        let (read, write) = (self.classes(&file.read), self.classes(&file.write));
        let mut access = Vec::new();
        for rule in &file.access {
            let (word, network) = rule.get_ref().split_once(' ').unwrap_or(("", ""));
            match (word, acl::network(network.trim())) {
                ("permit", Some(network)) => access.push((true, network)),
                ("deny", Some(network)) => access.push((false, network)),
                _ => self.error(rule, "\"permit NETWORK\" or \"deny NETWORK\" expected"),
            }
        }
        let default = config::AmiUser::default();
        Some(config::AmiUser {
            name: name.clone(),
            secret: file.secret.get_ref().clone(),
            read,
            write,
            access,
            tenant: self.tenant_of(file.tenant.as_ref(), entry)?,
            allow_multiple_login: file.allow_multiple_login,
            write_timeout_ms: self
                .positive(file.write_timeout_ms.as_ref())
                .unwrap_or(default.write_timeout_ms),
            event_filters: Vec::new(),
        })
    }

    fn classes(&mut self, names: &[Spanned<String>]) -> u64 {
        let mut classes = 0;
        for name in names {
            match class::parse_names(name.get_ref()) {
                Ok(mask) => classes |= mask,
                Err(word) => {
                    self.error(
                        name,
                        format!("'{word}' is no class; system, call, …, all expected"),
                    );
                }
            }
        }
        classes
    }

    fn address(&mut self, text: &Spanned<String>, port: u16) -> Option<SocketAddr> {
        let address = acl::address(text.get_ref(), port);
        if address.is_none() {
            let text_ref = text.get_ref();
            self.error(
                text,
                format!("'{text_ref}': an IP address, with or without port, expected"),
            );
        }
        address
    }

    /// A number that may not be 0.
    pub(super) fn positive(&mut self, number: Option<&Spanned<u32>>) -> Option<u32> {
        let number = number?;
        if *number.get_ref() == 0 {
            self.error(number, "a number from 1 on expected");
        }
        Some(*number.get_ref())
    }
}
