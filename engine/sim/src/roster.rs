//! A list as its watcher knows it: built from acknowledged NOTIFYs alone, by the rules of RFC 4662.
//!
//! Full state replaces what was known of a list, partial state is merged into it, and an instance
//! that is told as terminated is gone. Everything a NOTIFY says is checked on the way: Content-IDs
//! name one part each, versions only rise, instances keep their names.

use std::collections::{BTreeMap, BTreeSet};

use lampfield_wire::{InstanceState, Multipart, Part, RlmiFacts};

use crate::facts::{self, Look};
use crate::sip::Sip;

/// What one watcher knows of its list.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    root: Level,
    /// Version of the last NOTIFY it took.
    version: Option<u32>,
    /// Versions of nested lists, and of members' own documents, by URI.
    versions: BTreeMap<String, u32>,
    /// The living instance of each member, by URI.
    instances: BTreeMap<String, String>,
    /// The instance of each nested list, by URI: it has one as long as the dialog lives.
    lists: BTreeMap<String, String>,
    /// Instances before a full state, while it is read.
    replaced: BTreeMap<String, String>,
    /// Tag of what it knows (RFC 5839).
    pub(crate) etag: Option<String>,
}

/// One list: its resources by URI.
#[derive(Debug, Default)]
struct Level(BTreeMap<String, Resource>);

#[derive(Debug, Default)]
struct Resource {
    name: String,
    instances: BTreeMap<String, Instance>,
}

#[derive(Debug)]
enum Instance {
    /// What its document says.
    Leaf(String),
    List(Level),
}

/// A list as one NOTIFY tells it.
#[derive(Debug)]
struct Told {
    uri: String,
    version: u32,
    is_full: bool,
    resources: Vec<ToldResource>,
}

#[derive(Debug)]
struct ToldResource {
    uri: String,
    name: String,
    /// With their ids.
    instances: Vec<(String, ToldInstance)>,
}

#[derive(Debug)]
enum ToldInstance {
    Ended,
    Leaf { facts: String, version: Option<u32> },
    List(Told),
}

/// Content-IDs of a message.
struct Ids {
    seen: BTreeSet<Vec<u8>>,
    /// It ends the subscription: an Asterisk ends the members with it, documents and all.
    is_last: bool,
}

impl Roster {
    /// Believes a NOTIFY. `is_stable`: no member can have gone since the last one.
    pub(crate) fn take(
        &mut self,
        notify: &Sip<'_>,
        look: Look,
        is_stable: bool,
    ) -> Result<(), String> {
        let multipart = Multipart::from_content_type(notify.header("Content-Type").as_bytes())
            .map_err(|error| format!("Content-Type: {error}"))?;
        let is_last = notify.header("Subscription-State").starts_with("terminated");
        let mut ids = Ids { seen: BTreeSet::new(), is_last };
        let told = read(&multipart, notify.body.as_bytes(), look, &mut ids)?;
        let (before, version) = (self.version, told.version);
        if before.is_some_and(|before| version <= before) {
            return Err(format!("list version {version} after {before:?}"));
        }
        // RFC 4662 section 5.1: after a gap only the full state helps.
        if !told.is_full && before.is_none_or(|before| version != before + 1) {
            return Err(format!("partial state with list version {version} after {before:?}"));
        }
        self.version = Some(version);
        if told.is_full {
            self.replaced = std::mem::take(&mut self.instances);
        }
        let mut root = std::mem::take(&mut self.root);
        let taken = self.apply(&mut root, told, is_stable);
        self.root = root;
        self.replaced.clear();
        let etag = notify.header("SIP-ETag");
        self.etag = (!etag.is_empty()).then(|| etag.to_owned());
        taken
    }

    fn apply(&mut self, level: &mut Level, told: Told, is_stable: bool) -> Result<(), String> {
        if told.is_full {
            level.0.clear();
        }
        let mut seen = BTreeSet::new();
        for ToldResource { uri, name, instances } in told.resources {
            if !seen.insert(uri.clone()) {
                return Err(format!("{uri} twice in {}", told.uri));
            }
            let mut resource = level.0.remove(&uri).unwrap_or_default();
            resource.name = name;
            for (id, instance) in instances {
                self.apply_instance(&mut resource, &uri, id, instance, is_stable)?;
            }
            if !resource.instances.is_empty() {
                level.0.insert(uri, resource);
            }
        }
        Ok(())
    }

    fn apply_instance(
        &mut self,
        resource: &mut Resource,
        uri: &str,
        id: String,
        instance: ToldInstance,
        is_stable: bool,
    ) -> Result<(), String> {
        match instance {
            ToldInstance::Ended => {
                resource.instances.remove(&id);
                if self.instances.get(uri) == Some(&id) {
                    self.instances.remove(uri);
                }
            }
            ToldInstance::Leaf { facts, version } => {
                if let Some(version) = version {
                    self.check_version(uri, version)?;
                }
                let old = self.instances.insert(uri.to_owned(), id.clone());
                let old = old.or_else(|| self.replaced.remove(uri));
                if let Some(old) = old.filter(|old| is_stable && *old != id) {
                    return Err(format!("instance {old} of {uri} is called {id} now"));
                }
                resource.instances.insert(id, Instance::Leaf(facts));
            }
            ToldInstance::List(told) => {
                self.check_version(uri, told.version)?;
                let first = self.lists.entry(uri.to_owned()).or_insert_with(|| id.clone());
                if *first != id {
                    return Err(format!("instance {first} of the list {uri} is called {id} now"));
                }
                let mut level = match resource.instances.remove(&id) {
                    Some(Instance::List(level)) => level,
                    _ => Level::default(),
                };
                self.apply(&mut level, told, is_stable)?;
                resource.instances.insert(id, Instance::List(level));
            }
        }
        Ok(())
    }

    fn check_version(&mut self, uri: &str, version: u32) -> Result<(), String> {
        match self.versions.insert(uri.to_owned(), version) {
            Some(before) if version <= before => {
                Err(format!("version {version} of {uri} after {before}"))
            }
            _ => Ok(()),
        }
    }

    /// All it knows, as one line of text.
    pub(crate) fn describe(&self) -> String {
        self.root.describe()
    }
}

impl Level {
    fn describe(&self) -> String {
        let resources = self.0.iter().filter_map(|(uri, resource)| {
            let said = resource.instances.values().filter_map(|instance| match instance {
                Instance::Leaf(facts) => Some(facts.clone()),
                Instance::List(level) if level.0.is_empty() => None,
                Instance::List(level) => Some(format!("[{}]", level.describe())),
            });
            let said: Vec<String> = said.collect();
            (!said.is_empty()).then(|| line(uri, &resource.name, &said.join(" and ")))
        });
        resources.collect::<Vec<_>>().join("; ")
    }
}

/// A resource, its name, and what is known of it.
pub(crate) fn line(uri: &str, name: &str, said: &str) -> String {
    format!("{uri} {name:?} {said}")
}

/// Reads one list, and the lists within it.
fn read(multipart: &Multipart<'_>, body: &[u8], look: Look, ids: &mut Ids) -> Result<Told, String> {
    let mut parts = BTreeMap::new();
    let mut root = None;
    for (index, part) in multipart.parts(body).enumerate() {
        let part = part.map_err(|error| format!("part {index}: {error}"))?;
        let id = part.content_id.ok_or_else(|| format!("part {index} has no Content-ID"))?;
        if !ids.seen.insert(id.to_owned()) {
            return Err(format!("Content-ID {} twice", String::from_utf8_lossy(id)));
        }
        if part.content_length.is_some_and(|length| length != part.body.len()) {
            return Err(format!("Content-Length {:?} of part {index}", part.content_length));
        }
        match multipart.is_root(index, &part) {
            true => root = Some(part),
            false => drop(parts.insert(id, part)),
        }
    }
    let root = root.filter(|part| part.is("application/rlmi+xml")).ok_or("no RLMI document")?;
    let rlmi = RlmiFacts::parse(root.body).map_err(|error| format!("RLMI: {error}"))?;
    let mut told =
        Told { uri: rlmi.uri, version: rlmi.version, is_full: rlmi.is_full, resources: Vec::new() };
    for resource in rlmi.resources {
        let name = resource.names.first().map(|name| name.text.clone()).unwrap_or_default();
        let mut instances = Vec::new();
        for instance in resource.instances {
            let said = match (instance.state, instance.cid) {
                (InstanceState::Terminated, None) => ToldInstance::Ended,
                (state, Some(cid)) if state == InstanceState::Active || ids.is_last => {
                    let part = parts.remove(cid.as_bytes());
                    let part = part.ok_or_else(|| format!("cid {cid} names no part"))?;
                    read_part(multipart, &part, look, ids)?
                }
                (state, cid) => return Err(format!("{state:?} with cid {cid:?}")),
            };
            instances.push((instance.id, said));
        }
        told.resources.push(ToldResource { uri: resource.uri, name, instances });
    }
    match parts.keys().next() {
        Some(id) => Err(format!("nothing names the part {}", String::from_utf8_lossy(id))),
        None => Ok(told),
    }
}

fn read_part(
    outer: &Multipart<'_>,
    part: &Part<'_>,
    look: Look,
    ids: &mut Ids,
) -> Result<ToldInstance, String> {
    if part.is("multipart/related") {
        let inner = outer.nested(part).map_err(|error| format!("a nested list: {error}"))?;
        return Ok(ToldInstance::List(read(&inner, part.body, look, ids)?));
    }
    if !part.is(look.format.content_type()) {
        return Err(format!("a part of type {:?}", part.content_type.map(String::from_utf8_lossy)));
    }
    let body = str::from_utf8(part.body).map_err(|_| "a part is not UTF-8".to_owned())?;
    let facts = facts::read(look.format, body)?;
    Ok(ToldInstance::Leaf { facts, version: facts::version(body) })
}
