//! A run as asked for, checked against the limits: everything the threads need to know.
//!
//! It comes from a scenario file ([`load`]) or from the options of `lampload fanout`, which fill
//! the same tables ([`mod@file`]) and pass the same checks ([`check`]).

pub mod check;
pub mod file;
pub mod load;
mod phases;
pub mod step;

pub use self::phases::CALL_STATES;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use self::file::Thresholds;
use self::step::Step;
use crate::answer::Behaviour;
use crate::lamp::{BodyFormat, DeviceState};
use crate::population::Population;

/// One run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name in reports.
    pub name: String,
    /// The server under test.
    pub target: SocketAddr,
    /// Domain in From, To and Request-URI.
    pub domain: String,
    /// Names of the extensions.
    pub extensions: Vec<String>,
    /// Their numbers by name.
    pub numbers: HashMap<String, u32>,
    /// Who watches what.
    pub population: Population,
    /// Watchers, one subscription each.
    pub watcher_count: usize,
    /// Local sockets over all threads.
    pub socket_count: usize,
    /// Take and send datagrams in trains, as a peer of the fastest kind does.
    pub trains: bool,
    /// Local addresses the sockets are bound to.
    pub sources: Sources,
    /// Event package.
    pub event: &'static str,
    /// Accept header of a subscription to one extension; the leaf formats of a list.
    pub accept: String,
    /// Body format expected, which decides how states look.
    pub format: BodyFormat,
    /// Subscription length asked for, in seconds.
    pub expires_s: u32,
    /// How states are set.
    pub change_by: ChangeBy,
    /// Device name of an extension, with `{exten}`.
    pub device_template: String,
    /// The cycle of states; every extension starts in the first one.
    pub states: Vec<DeviceState>,
    /// What happens, in order.
    pub steps: Vec<Step>,
    /// Generator threads.
    pub core_count: usize,
    /// Pin generator threads to cores, the first one to this.
    pub pin_from_core: Option<usize>,
    /// How watchers behave; the first one is what remains of them.
    pub behaviours: Vec<Behaviour>,
    /// Every how many messages the second reader looks at one; 0 never.
    pub second_reader_every: u32,
    /// Lateness of the generator itself above which no number is claimed.
    pub own_lateness_max: Duration,
    /// Seed of everything random.
    pub seed: u64,
}

/// A scenario with the limits it is judged by.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The run.
    pub scenario: Scenario,
    /// Its limits.
    pub thresholds: Thresholds,
}

/// Local addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sources {
    /// All sockets on one address.
    One(IpAddr),
    /// Sockets spread over the hosts of a network, such as 127.0.0.0/8.
    Network {
        /// Network address.
        base: Ipv4Addr,
        /// Prefix length.
        prefix_bits: u8,
    },
}

/// How states are set.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ChangeBy {
    /// `Setvar DEVICE_STATE(...)` over the Asterisk Manager Interface.
    Ami {
        /// `host:port`.
        address: String,
        /// User name.
        user: String,
        /// Its secret.
        secret: String,
        /// Log in by challenge instead of sending the secret.
        md5: bool,
    },
    /// A shell command per change.
    Exec(String),
    /// SIP PUBLISH to the target.
    Publish,
    /// `SET exten STATE` in a datagram, as `lampload null-target` takes it.
    Udp(SocketAddr),
}

impl Sources {
    /// The address of socket `index`.
    pub fn address(self, index: usize) -> IpAddr {
        match self {
            Sources::One(address) => address,
            Sources::Network { base, prefix_bits } => {
                let host_bits = 32 - u32::from(prefix_bits);
                // Neither the network's own address nor its broadcast address.
                let host_count = (1u64 << host_bits).saturating_sub(2).max(1);
                let host = 1 + (index as u64 % host_count) as u32;
                IpAddr::V4(Ipv4Addr::from_bits(base.to_bits() + host))
            }
        }
    }
}

impl ChangeBy {
    /// Shown in reports; never with a secret.
    pub fn label(&self) -> String {
        match self {
            ChangeBy::Ami { address, user, .. } => format!("ami://{user}@{address}"),
            ChangeBy::Exec(command) => format!("exec:{command}"),
            ChangeBy::Publish => "publish".into(),
            ChangeBy::Udp(address) => format!("udp://{address}"),
        }
    }
}

impl Scenario {
    /// The device behind an extension.
    pub fn device(&self, extension: &str) -> String {
        crate::template::fill(&self.device_template, extension, "", "")
    }

    /// The user part of what a watcher subscribes to.
    pub fn watched_name(&self, watched: crate::population::Watched) -> String {
        self.population.name(watched, &self.extensions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_stay_inside_their_network() {
        let base = Ipv4Addr::new(127, 5, 0, 0);
        for (prefix_bits, index, want) in [
            (8, 0, "127.5.0.1"),
            (24, 253, "127.5.0.254"),
            (24, 254, "127.5.0.1"),
            (16, 65_533, "127.5.255.254"),
            (32, 3, "127.5.0.1"),
        ] {
            let sources = Sources::Network { base, prefix_bits };
            assert_eq!(sources.address(index).to_string(), want, "/{prefix_bits} {index}");
        }
    }

    #[test]
    fn a_label_has_no_secret() {
        let change_by = ChangeBy::Ami {
            address: "h:5038".into(),
            user: "u".into(),
            secret: "hush".into(),
            md5: true,
        };
        assert_eq!(change_by.label(), "ami://u@h:5038");
    }
}
