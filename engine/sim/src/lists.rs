//! Resource lists of the slow model: what is configured, and what a watcher must end up knowing.
//!
//! Depth first, the first mention of a name counts, what names nothing is left out: the rules of
//! `reference/sip-pubsub.md` section 10.2, written down a second time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use lampfield_core::list::{List, ListItem};
use lampfield_core::package::Package;

use crate::facts::Look;
use crate::model::{CONTEXT, Model};
use crate::roster;

/// Host of all URIs.
pub(crate) const HOST: &str = "node.example.com";
/// Lists per tenant.
const LIST_COUNT: usize = 4;

/// A list that is configured, or was.
#[derive(Clone, Debug)]
pub(crate) struct ListSpec {
    pub(crate) tenant: u16,
    pub(crate) name: String,
    pub(crate) package: Package,
    /// As written: `exten`, `exten@context` or the name of a list; and a name to show.
    pub(crate) items: Vec<(String, Option<&'static str>)>,
    pub(crate) full_state: bool,
    pub(crate) display_names: bool,
    /// The shortest it ever is.
    pub(crate) batch_interval: Duration,
    /// It is twice as long now.
    pub(crate) is_slow: bool,
    /// Configured now.
    pub(crate) present: bool,
}

/// What a list subscription watches.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum ListSource {
    /// A list of the model.
    Configured(usize),
    /// URIs in the request, and names to show.
    Request(Vec<(String, Option<&'static str>)>),
}

/// Names already met.
#[derive(Default)]
struct Met {
    /// Members are shown under their hints' display names: the outermost list decides.
    with_names: bool,
    items: BTreeSet<String>,
    extens: BTreeSet<String>,
}

impl ListSpec {
    /// The lists of both tenants.
    pub(crate) fn all(model: &Model, rng: &mut Rng) -> Vec<Self> {
        let names = (0..2u16).flat_map(|tenant| (0..LIST_COUNT).map(move |at| (tenant, at)));
        let list = |(tenant, at)| {
            let mut list = Self {
                tenant,
                name: format!("list{at}"),
                package: [Package::Presence, Package::Dialog][usize::from(at == 3)],
                items: Vec::new(),
                full_state: rng.u8(..4) == 0,
                display_names: rng.bool(),
                batch_interval: Duration::from_millis([0, 0, 400, 1500][rng.usize(..4)]),
                is_slow: false,
                present: true,
            };
            list.choose_items(model, rng);
            list
        };
        names.map(list).collect()
    }

    /// Other members.
    pub(crate) fn choose_items(&mut self, model: &Model, rng: &mut Rng) {
        let hints: Vec<&str> = model.extens_of(self.tenant).collect();
        self.items = (0..rng.usize(1..=8))
            .map(|_| {
                let exten = hints[rng.usize(..hints.len())];
                let item = match rng.u8(..12) {
                    0..=6 => exten.to_owned(),
                    7 => format!("{exten}@{CONTEXT}"),
                    8 => "999".to_owned(),
                    _ => format!("list{}", rng.usize(..LIST_COUNT)),
                };
                (item, [None, None, None, Some("A <name> & more")][rng.usize(..4)])
            })
            .collect();
    }

    /// As the configuration has it.
    pub(crate) fn configured(&self, hides_batches: bool) -> List {
        let item = |(text, name): &(String, Option<&'static str>)| ListItem {
            display_name: name.map(Arc::from),
            ..ListItem::parse(text)
        };
        let batch_interval = self.batch_interval * (1 + u32::from(self.is_slow));
        List {
            name: self.name.as_str().into(),
            package: self.package,
            items: self.items.iter().map(item).collect(),
            full_state: self.full_state,
            batch_interval: if hides_batches { Duration::ZERO } else { batch_interval },
            display_names: self.display_names,
            origin: "sim".into(),
        }
    }
}

impl Model {
    /// Extensions that a tenant has, or had.
    pub(crate) fn extens_of(&self, tenant: u16) -> impl Iterator<Item = &str> {
        self.hints.iter().filter(move |hint| hint.tenant == tenant).map(|hint| hint.exten.as_str())
    }

    /// What a watcher of a list must know now.
    pub(crate) fn list_truth(&self, tenant: u16, source: &ListSource, look: Look) -> String {
        match source {
            ListSource::Configured(at) => {
                let list = &self.lists[*at];
                let mut met = Met { with_names: list.display_names, ..Met::default() };
                met.items.insert(list.name.clone());
                self.members(list, look, &mut met)
            }
            ListSource::Request(entries) => {
                let mut lines = Vec::new();
                let mut met = Met { with_names: true, ..Met::default() };
                for (uri, name) in entries {
                    let exten = uri.strip_prefix("sip:").and_then(|rest| rest.split_once('@'));
                    let exten = exten.filter(|(_, host)| *host == HOST).map(|(exten, _)| exten);
                    let Some(exten) = exten else { continue };
                    lines.extend(self.member(tenant, exten, *name, look, &mut met));
                }
                join(lines)
            }
        }
    }

    fn members(&self, list: &ListSpec, look: Look, met: &mut Met) -> String {
        let mut lines = Vec::new();
        for (item, name) in &list.items {
            if !met.items.insert(item.clone()) {
                continue;
            }
            let inner = self.lists.iter().find(|inner| {
                let is_same = (inner.tenant, inner.package) == (list.tenant, list.package);
                is_same && inner.present && inner.name == *item
            });
            if let Some(inner) = inner {
                let said = self.members(inner, look, met);
                if !said.is_empty() {
                    let name = name.unwrap_or(&inner.name);
                    lines.push(told(&inner.name, name, &format!("[{said}]")));
                }
                continue;
            }
            let exten = item.split('@').next().unwrap_or(item);
            lines.extend(self.member(list.tenant, exten, *name, look, met));
        }
        join(lines)
    }

    fn member(
        &self,
        tenant: u16,
        exten: &str,
        name: Option<&str>,
        look: Look,
        met: &mut Met,
    ) -> Option<(String, String)> {
        let is_it =
            |h: &crate::model::HintSpec| h.tenant == tenant && h.exten == exten && h.present;
        let hint = self.hints.iter().position(is_it)?;
        if !met.extens.insert(exten.to_owned()) {
            return None;
        }
        let shown = self.hints[hint].display_name.filter(|_| met.with_names);
        let name = name.or(shown).unwrap_or(exten);
        Some(told(exten, name, &self.truth(hint, look)))
    }
}

fn told(exten: &str, name: &str, said: &str) -> (String, String) {
    let uri = format!("sip:{exten}@{HOST}");
    let line = roster::line(&uri, name, said);
    (uri, line)
}

fn join(mut lines: Vec<(String, String)>) -> String {
    lines.sort();
    lines.into_iter().map(|(_, line)| line).collect::<Vec<_>>().join("; ")
}
