//! Bodies of lists: every document of every form against the RFCs' schemas, and one body of each
//! dialect to look at.

use std::collections::{BTreeMap, BTreeSet};

use lampfield_core::config::{Config, Dialect};
use lampfield_core::dialplan::{Dialplan, Hint};
use lampfield_core::list::{List, ListItem};
use lampfield_core::package::Package;
use lampfield_core::state::DeviceState::{InUse, OnHold, Ringing};
use lampfield_wire::{HeaderName, Multipart, Part};

use super::lists::{config_with, list, reload, set, watcher};
use super::world::{Phone, Received, T, World};
use crate::schema;
use crate::xml::Element;

/// What the bodies of some NOTIFYs were made of.
#[derive(Debug, Default)]
struct Seen {
    /// Documents by the name of their root.
    documents: BTreeMap<String, u32>,
    /// Instances by state and reason.
    instances: BTreeMap<(String, String), u32>,
    content_ids: BTreeSet<Vec<u8>>,
    depth_max: usize,
}

impl Seen {
    fn of(notifies: &[Received]) -> Self {
        let mut seen = Self::default();
        for notify in notifies {
            let content_type = notify.header(HeaderName::ContentType);
            let multipart = Multipart::from_content_type(content_type.as_bytes()).expect("a list");
            seen.list(&multipart, notify.message().body(), 1);
        }
        seen
    }

    fn list(&mut self, multipart: &Multipart<'_>, body: &[u8], depth: usize) {
        self.depth_max = self.depth_max.max(depth);
        let parts: Result<Vec<Part<'_>>, _> = multipart.parts(body).collect();
        let parts = parts.unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(body)));
        for part in &parts {
            let id = part.content_id.expect("a Content-ID");
            assert!(self.content_ids.insert(id.to_vec()), "twice: {part:?}");
        }
        let (root, parts) = parts.split_first().expect("a root");
        assert_eq!(multipart.root_type, root.content_type, "RFC 2387 section 3.1");
        let rlmi = self.document(root.body);
        let cids: Vec<&[u8]> =
            rlmi.all("instance").into_iter().filter_map(|i| self.instance(i)).collect();
        let ids: Vec<&[u8]> = parts.iter().filter_map(|part| part.content_id).collect();
        assert_eq!(cids, ids, "RFC 4662 section 5.5: parts of this body, each named");
        for part in parts {
            match multipart.nested(part) {
                Ok(inner) => self.list(&inner, part.body, depth + 1),
                Err(_) => drop(self.document(part.body)),
            }
        }
    }

    /// An instance's `cid`.
    fn instance<'e>(&mut self, instance: &'e Element) -> Option<&'e [u8]> {
        let [state, reason, cid] = ["state", "reason", "cid"].map(|name| instance.attribute(name));
        // RFC 4662 section 5.5.
        assert!(state != "terminated" || !reason.is_empty(), "{instance:?}");
        assert!(state != "active" || !cid.is_empty(), "{instance:?}");
        *self.instances.entry((state.into(), reason.into())).or_default() += 1;
        (!cid.is_empty()).then_some(cid.as_bytes())
    }

    fn document(&mut self, document: &[u8]) -> Element {
        let text = std::str::from_utf8(document).expect("UTF-8");
        let root = Element::parse(text);
        assert_eq!(schema::check(&root), Ok(()), "{text}");
        *self.documents.entry(root.name.clone()).or_default() += 1;
        root
    }

    fn count(&self, root: &str) -> u32 {
        self.documents.get(root).copied().unwrap_or_default()
    }

    fn instance_count(&self, state: &str, reason: &str) -> u32 {
        self.instances.get(&(state.into(), reason.into())).copied().unwrap_or_default()
    }
}

/// A list of odd names in a list: what needs escaping, and what is not ASCII.
fn lists(package: Package) -> Vec<List> {
    let named = |name: &str, shown: &str| ListItem {
        display_name: Some(shown.into()),
        ..ListItem::parse(name)
    };
    let all = |list: List| List { package, display_names: true, ..list };
    let items = [named("lamp0", "R&D <\"é\">"), ListItem::parse("i&n"), ListItem::parse("lamp3")];
    vec![
        List { items: items.into(), ..all(list("sales", "")) },
        all(list("i&n", "lamp1 innermost")),
        all(list("innermost", "lamp2")),
        List { full_state: true, ..all(list("none", "nosuch")) },
    ]
}

fn world_with(package: Package) -> World {
    World::with(2, config_with(Dialect::Rfc, lists(package)), 0)
}

#[test]
fn documents_of_lists_are_valid_in_full_in_part_and_nested() {
    for (package, user_agent, root) in [
        (Package::Presence, "phone/1", "presence"),
        (Package::Presence, "Digium D65", "presence"),
        (Package::Dialog, "phone/1", "dialog-info"),
    ] {
        let mut world = world_with(package);
        world.set_presence("CustomPresence:lamp2", "away,\"lunch\",<R&D> é");
        set(&mut world, &[("lamp3", OnHold)]);
        let mut phone = watcher(9, "sales");
        phone.event = package.name().into();
        phone.user_agent = user_agent.into();
        let (_, mut all) = phone.subscribe(&mut world, Some(600));
        for (lamp, state) in [("lamp0", InUse), ("lamp1", Ringing), ("lamp2", InUse)] {
            set(&mut world, &[(lamp, state)]);
            all.extend(phone.listen(&mut world));
        }
        all.extend(phone.subscribe(&mut world, Some(0)).1);
        let seen = Seen::of(&all);
        // Twice all four, between them each of three by itself.
        assert_eq!((seen.count(root), seen.count("list")), (2 * 4 + 3, 2 * 3 + 1 + 2 + 3));
        assert_eq!((seen.documents.len(), seen.depth_max), (2, 3));
        let mut empty = Phone { event: phone.event.clone(), ..watcher(8, "none") };
        let (_, notifies) = empty.subscribe(&mut world, Some(600));
        assert_eq!(Seen::of(&notifies).documents, [("list".to_owned(), 1)].into());
    }
}

/// Without the hint of `lamp1`, and with `lamp3` gone from the list.
fn smaller() -> Config {
    let mut lists = lists(Package::Presence);
    lists[0].items = lists[0].items[..2].into();
    let mut config = config_with(Dialect::Rfc, lists);
    let mut plan = Dialplan::default();
    for exten in ["lamp0", "lamp2", "lamp3"] {
        let hint = Hint::parse(&format!("Custom:{exten}"), "test").expect("a hint");
        plan.add_hint(T, "hints", exten, hint).expect("an extension");
    }
    config.dialplan = plan;
    config
}

#[test]
fn lists_of_which_members_ended_are_valid() {
    let mut world = world_with(Package::Presence);
    let mut phone = watcher(9, "sales");
    phone.subscribe(&mut world, Some(600));
    reload(&mut world, smaller());
    let mut all = phone.listen(&mut world);
    all.extend(phone.subscribe(&mut world, Some(600)).1);
    let seen = Seen::of(&all);
    assert_eq!(seen.instance_count("terminated", "noresource"), 2, "{seen:?}");
    assert!(seen.instance_count("active", "") >= 4, "{seen:?}");
}

#[test]
fn lists_of_strangers_are_valid() {
    let mut world = world_with(Package::Presence);
    let mut phone = watcher(9, "rls");
    phone.extra += "Require: recipient-list-subscribe\r\n\
        Content-Type: application/resource-lists+xml\r\nContent-Disposition: recipient-list\r\n";
    phone.body = b"<resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\"><list>\
        <entry uri=\"sip:lamp1@192.0.2.1\"><display-name>&lt;1&gt; &amp; \xc3\xa9</display-name>\
        </entry><entry uri=\"sip:x@example.net;a=%22&amp;b\"/><entry uri=\"tel:+49-30\"/>\
        <entry uri=\"sip:nosuch@192.0.2.1\"/></list></resource-lists>"
        .to_vec();
    let (response, mut all) = phone.subscribe(&mut world, Some(600));
    assert_eq!(response.status(), 200);
    set(&mut world, &[("lamp1", InUse)]);
    all.extend(phone.listen(&mut world));
    let seen = Seen::of(&all);
    assert_eq!(seen.instance_count("terminated", "noresource"), 3, "{seen:?}");
    assert_eq!((seen.instance_count("active", ""), seen.count("presence")), (2, 2));
}

#[test]
fn the_schema_check_refuses_what_is_no_rlmi() {
    let good = "<list xmlns=\"urn:ietf:params:xml:ns:rlmi\" uri=\"sip:a@b\" version=\"0\" \
        fullState=\"true\"><name>a</name><resource uri=\"sip:c@b\"><name>c</name>\
        <instance id=\"i\" state=\"active\" cid=\"x@b\"/></resource></list>";
    assert_eq!(schema::check(&Element::parse(good)), Ok(()));
    for (from, to) in [
        (" version=\"0\"", ""),
        ("\"0\"", "\"-1\""),
        ("\"true\"", "\"full\""),
        ("\"active\"", "\"over\""),
        (" id=\"i\"", ""),
        (" uri=\"sip:c@b\"", ""),
        (" cid=", " part="),
        ("<name>a</name>", "<note>a</note>"),
        ("</list>", "<name>late</name></list>"),
        ("</resource>", "text</resource>"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert!(schema::check(&Element::parse(&bad)).is_err(), "{bad}");
    }
}

/// Line ends in sight; what is made of random or hashed numbers by its order, at its length.
fn masked(body: &str) -> String {
    let mut text = body.replace("\r\n", "\\r\n");
    let ids = |text: &str, before: &str| -> BTreeSet<String> {
        text.split(before).skip(1).map(|rest| rest[..8].to_owned()).collect()
    };
    for dialog in ids(&text, "Content-ID: <") {
        text = text.replace(&format!("<{dialog}."), "<(dialog).");
        text = text.replace(&format!("\"{dialog}."), "\"(dialog).");
    }
    let instances: Vec<String> =
        text.split("instance id=\"").skip(1).map(|rest| rest[..8].to_owned()).collect();
    for (at, id) in instances.iter().enumerate() {
        text = text.replace(&format!("id=\"{id}\""), &format!("id=\"(inst-{at})\""));
    }
    text
}

#[test]
fn one_body_of_each_dialect() {
    for (dialect, name) in [(Dialect::Rfc, "list_rfc"), (Dialect::Asterisk, "list_asterisk")] {
        let lists = vec![list("sales", "lamp0 inner"), list("inner", "lamp1")];
        let mut world = World::with(2, config_with(dialect, lists), 0);
        set(&mut world, &[("lamp1", InUse)]);
        let (_, notifies) = watcher(9, "sales").subscribe(&mut world, Some(600));
        insta::assert_snapshot!(name, masked(&notifies[0].body()));
    }
}
