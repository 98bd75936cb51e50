//! Addresses, AMI and the node itself in `lampfield.toml`.

use std::net::SocketAddr;

use lampfield_core::flow::Transport;
use toml::Spanned;

use super::super::load::{AMI_PORT, SIP_PORT};
use super::super::{self as config, acl};
use super::Native;
use super::file::{Ami, AmiUser, Listen, Node, TransportName};
use crate::control::ami::class;

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
        self.draft.console_socket = node.console_socket;
    }

    pub(super) fn listen(&mut self, listen: Vec<Listen>) {
        for Listen { transport, bind, advertised } in listen {
            let Some(bind) = self.address(&bind, SIP_PORT) else { continue };
            let advertised = match &advertised {
                Some(text) => match self.address(text, bind.port()) {
                    Some(address) => Some(address),
                    None => continue,
                },
                None => None,
            };
            let transport = match transport {
                TransportName::Udp => Transport::Udp,
                TransportName::Tcp => Transport::Tcp,
            };
            self.draft.listen.push(config::Listen { transport, bind, advertised });
        }
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
