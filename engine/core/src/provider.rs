//! Providers: who supplies the states that hints name. Data, not code: a new provider is a new
//! row, and its states arrive from outside as commands.
//!
//! Source: `reference/states.md` section 1.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::state::{DeviceState, Presence};

/// The providers of a node.
#[derive(Clone, Debug)]
pub struct Providers {
    rows: Vec<Provider>,
}

/// What kind of state a provider supplies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ProviderKind {
    /// `TECH/rest`: a channel technology. The name part up to the slash is the label.
    Technology,
    /// `label:rest`, device states.
    Device,
    /// `label:rest`, presence states.
    Presence,
}

/// One provider.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Provider {
    /// Its label, compared without case: `Custom`, `CustomPresence`, `PJSIP` …
    pub label: Arc<str>,
    /// What it supplies.
    pub kind: ProviderKind,
    /// Whether AMI and console may set its states by their Asterisk commands.
    pub settable: bool,
    /// State of a device nobody has reported on yet.
    pub initial: DeviceState,
    /// The names that exist; any other is [`DeviceState::Invalid`] until somebody reports it.
    /// `None` if every name exists.
    pub names: Option<BTreeSet<Arc<str>>>,
}

impl Default for Providers {
    /// The providers Asterisk knows: `Custom:` and `CustomPresence:` (settable), the channel
    /// technologies (unavailable until somebody reports), and the pushed labels.
    fn default() -> Self {
        let mut rows = Vec::new();
        let mut add = |label: &str, kind, settable, initial| {
            rows.push(Provider { label: label.into(), kind, settable, initial, names: None });
        };
        add("Custom", ProviderKind::Device, true, DeviceState::Unknown);
        add("CustomPresence", ProviderKind::Presence, true, DeviceState::Unknown);
        // Without a publication nobody says anything: beside other devices it does not count, and
        // alone it is closed.
        for kind in [ProviderKind::Device, ProviderKind::Presence] {
            add(crate::publication::LABEL, kind, false, DeviceState::Invalid);
        }
        for technology in ["PJSIP", "SIP", "IAX2", "DAHDI", "SCCP", "Skinny", "Local"] {
            add(technology, ProviderKind::Technology, false, DeviceState::Unavailable);
        }
        for label in ["Park", "Meetme", "Agent", "Calendar", "ccss", "SLA", "Stasis"] {
            add(label, ProviderKind::Device, false, DeviceState::Unknown);
        }
        for label in ["Queue", "confbridge", "MWI"] {
            add(label, ProviderKind::Device, false, DeviceState::Invalid);
        }
        Self { rows }
    }
}

impl Providers {
    /// Adds a provider; a later row shadows an earlier one of the same label and kind.
    pub fn add(&mut self, provider: Provider) {
        self.rows.push(provider);
    }

    /// The provider of a device name: text before the first `/` (technology), else before the
    /// first `:`. `None` for a name without either, or of an unknown provider.
    pub fn of_device(&self, name: &str) -> Option<&Provider> {
        match name.split_once('/') {
            Some((technology, _)) => self.row(technology, ProviderKind::Technology),
            None => self.row(name.split_once(':')?.0, ProviderKind::Device),
        }
    }

    /// The provider of a presence source.
    pub fn of_presence(&self, name: &str) -> Option<&Provider> {
        self.row(name.split_once(':')?.0, ProviderKind::Presence)
    }

    /// State of a device nobody has reported on: its provider's initial state, or
    /// [`DeviceState::Invalid`] without a provider or if the provider has no such name.
    pub fn initial_device(&self, name: &str) -> DeviceState {
        match self.of_device(name) {
            Some(provider) if provider.knows(name) => provider.initial,
            _ => DeviceState::Invalid,
        }
    }

    /// Presence of a source nobody has reported on; `None` if no provider supplies it.
    pub fn initial_presence(&self, name: &str) -> Option<Presence> {
        self.of_presence(name).map(|_| Presence::default())
    }

    fn row(&self, label: &str, kind: ProviderKind) -> Option<&Provider> {
        let same = |row: &&Provider| row.kind == kind && row.label.eq_ignore_ascii_case(label);
        self.rows.iter().rev().find(same)
    }
}

impl Provider {
    /// Whether the name after the label (`2000` of `PJSIP/2000`) exists.
    fn knows(&self, name: &str) -> bool {
        let rest = name.get(self.label.len() + 1..).unwrap_or_default();
        self.names.as_ref().is_none_or(|names| names.contains(rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_with_a_list_of_names_has_no_others() {
        let mut providers = Providers::default();
        providers.add(Provider {
            names: Some(["2000".into()].into()),
            ..providers.of_device("PJSIP/x").unwrap().clone()
        });
        for (name, want) in [
            ("PJSIP/2000", DeviceState::Unavailable),
            ("pjsip/2000", DeviceState::Unavailable),
            ("PJSIP/2001", DeviceState::Invalid),
            ("PJSIP/", DeviceState::Invalid),
            ("SIP/2001", DeviceState::Unavailable),
        ] {
            assert_eq!(providers.initial_device(name), want, "{name}");
        }
    }

    #[test]
    fn a_name_finds_its_provider_by_slash_then_colon_without_case() {
        let providers = Providers::default();
        for (name, want) in [
            ("Custom:lamp0", DeviceState::Unknown),
            ("custom:lamp0", DeviceState::Unknown),
            ("PJSIP/2000", DeviceState::Unavailable),
            ("Local/x:y", DeviceState::Unavailable),
            ("Nope/2000", DeviceState::Invalid),
            ("nope:x", DeviceState::Invalid),
            ("lamp0", DeviceState::Invalid),
            ("Queue:sales", DeviceState::Invalid),
        ] {
            assert_eq!(providers.initial_device(name), want, "{name}");
        }
        assert!(providers.initial_presence("custompresence:bob").is_some());
        assert!(providers.initial_presence("Nope:bob").is_none());
        assert!(providers.initial_presence("bob").is_none());
    }
}
