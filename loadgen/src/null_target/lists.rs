//! The null-target's resource lists: those of a scenario, or brought along in the SUBSCRIBE, and
//! the bodies that tell of them, right or wrong (RFC 4662 section 5).

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use lampfield_wire::{HeaderName, Message, ResourceLists};

use super::Fault;
use crate::document;
use crate::lamp::{BodyFormat, DeviceState};
use crate::outcome::LoadError;
use crate::population::Watched;
use crate::scenario::{self, Scenario};

/// Members of one part of a whole list, if it is split.
const SPLIT_SIZE: usize = 2;

/// The lists a target knows by name.
#[derive(Debug, Default)]
pub(super) struct Lists {
    scenario: Option<Scenario>,
    numbers: HashMap<String, u32>,
}

/// A list as one subscription sees it.
#[derive(Debug)]
pub(super) struct Membership {
    pub(super) members: Vec<String>,
    inner: Vec<(String, Range<usize>)>,
    /// Version of the next NOTIFY.
    pub(super) version: u32,
}

/// One NOTIFY body to write.
pub(super) struct Telling<'a> {
    pub(super) list: &'a str,
    pub(super) membership: &'a Membership,
    /// The members told of.
    pub(super) members: &'a [(usize, DeviceState)],
    pub(super) full: bool,
    pub(super) format: BodyFormat,
    pub(super) fault: Option<Fault>,
    /// Makes Content-IDs unique.
    pub(super) number: u64,
}

impl Lists {
    /// Those of a scenario file.
    ///
    /// # Errors
    ///
    /// The file cannot be read or is wrong.
    pub(super) fn of_file(path: &Path, sets: &[String]) -> Result<Lists, LoadError> {
        let scenario = scenario::load::load(path, sets)?.scenario;
        let count = scenario.population.list_count() as u32;
        let name = |list| scenario.watched_name(Watched::List(list));
        let numbers = (0..count).map(|list| (name(list), list)).collect();
        Ok(Lists { scenario: Some(scenario), numbers })
    }

    /// The list that a SUBSCRIBE asks for; `None`: it asks for no list.
    pub(super) fn find(&self, name: &str, message: &Message<'_>) -> Option<Membership> {
        let supports = message
            .values(HeaderName::Supported)
            .any(|value| value.eq_ignore_ascii_case(b"eventlist"));
        if !supports {
            return None;
        }
        if !message.body().is_empty() {
            let lists = ResourceLists::parse(message.body()).ok()?;
            let members = lists.flat_entries().iter().map(|entry| user(&entry.uri)).collect();
            return Some(Membership { members, inner: Vec::new(), version: 0 });
        }
        let (scenario, list) = (self.scenario.as_ref()?, *self.numbers.get(name)?);
        let population = &scenario.population;
        let count = population.member_count(Watched::List(list));
        let members = (0..count).map(|place| {
            let extension = population.member(Watched::List(list), place);
            scenario.extensions[extension as usize].clone()
        });
        let members = members.collect();
        Some(Membership { members, inner: population.inner_lists(name), version: 0 })
    }
}

impl Membership {
    /// The places told of in each NOTIFY of the whole list.
    pub(super) fn chunks(&self, fault: Option<Fault>) -> Vec<Range<usize>> {
        let all = self.members.len();
        let count = all.saturating_sub(usize::from(fault == Some(Fault::DropMember)));
        let size = if fault == Some(Fault::Split) { SPLIT_SIZE } else { all.max(1) };
        (0..count).step_by(size).map(|start| start..(start + size).min(count)).collect()
    }
}

impl Telling<'_> {
    /// Content type and body.
    pub(super) fn write(&self) -> (String, String) {
        let inner = &self.membership.inner;
        if inner.is_empty() {
            return self.level(self.list, "o", self.members, &[]);
        }
        let inner = inner.iter().enumerate().filter_map(|(number, (name, places))| {
            let told = self.members.iter().filter(|(place, _)| places.contains(place));
            let told: Vec<(usize, DeviceState)> = told.copied().collect();
            let level = || self.level(name, &format!("i{number}-"), &told, &[]);
            (!told.is_empty()).then(|| (name.clone(), level()))
        });
        let inner: Vec<(String, (String, String))> = inner.collect();
        self.level(self.list, "o", &[], &inner)
    }

    /// One list: its RLMI and its parts. `mark` keeps boundaries and ids of levels apart.
    fn level(
        &self,
        list: &str,
        mark: &str,
        members: &[(usize, DeviceState)],
        inner: &[(String, (String, String))],
    ) -> (String, String) {
        let (number, boundary) = (self.number, format!("{mark}{:x}", self.number));
        let (mut resources, mut parts) = (String::new(), String::new());
        let mut add = |uri: &str, place: usize, content_type: &str, body: &str| {
            let cid = format!("{mark}{number}.{place}@null");
            let told = if self.fault == Some(Fault::BadCid) { "nowhere@null" } else { &cid };
            let id = match self.fault {
                Some(Fault::NewInstance) => format!("n{number}"),
                _ => format!("m{place}"),
            };
            resources += &format!(
                "<resource uri=\"{uri}\"><instance id=\"{id}\" state=\"active\" cid=\"{told}\"/>\
                 </resource>"
            );
            parts += &format!(
                "--{boundary}\r\nContent-ID: <{cid}>\r\nContent-Type: {content_type}\r\n\
                 Content-Length: {}\r\n\r\n{body}\r\n",
                body.len()
            );
        };
        for (place, state) in members {
            let name = &self.membership.members[*place];
            let uri = format!("sip:{name}@null");
            let version = self.membership.version + 1;
            let (content_type, body) = document::write(self.format, *state, name, &uri, version);
            add(&uri, *place, content_type, &body);
            if self.fault == Some(Fault::NamedTwice) {
                add(&uri, *place + 1000, content_type, &body);
            }
            if self.fault == Some(Fault::Stranger) {
                add("sip:stranger@null", *place + 2000, content_type, &body);
            }
        }
        for (place, (name, (content_type, body))) in inner.iter().enumerate() {
            add(&format!("sip:{name}@null"), place, content_type, body);
        }
        let (version, full) = (self.membership.version, self.full);
        let rlmi = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<list \
             xmlns=\"urn:ietf:params:xml:ns:rlmi\" uri=\"sip:{list}@null\" version=\"{version}\" \
             fullState=\"{full}\">{resources}</list>"
        );
        let content_type =
            format!("multipart/related;type=\"application/rlmi+xml\";boundary={boundary}");
        let body = format!(
            "--{boundary}\r\nContent-ID: <{mark}{number}@null>\r\n\
             Content-Type: application/rlmi+xml\r\n\r\n{rlmi}\r\n{parts}--{boundary}--\r\n"
        );
        (content_type, body)
    }
}

fn user(uri: &str) -> String {
    let rest = uri.strip_prefix("sip:").unwrap_or(uri);
    rest.split('@').next().unwrap_or(rest).to_owned()
}
