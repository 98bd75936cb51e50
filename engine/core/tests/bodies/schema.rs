//! The parts of the schemas that our documents touch: order and number of children, attributes,
//! identifiers.
//!
//! Source: RFC 3863 section 4.4, RFC 4479 section 4, RFC 4480 section 5.2, RFC 4235 section 4.4,
//! RFC 4662 section 5.

use std::collections::BTreeSet;

use crate::xml::Element;

const PIDF: &str = "urn:ietf:params:xml:ns:pidf";
const MODEL: &str = "urn:ietf:params:xml:ns:pidf:data-model";
const RPID: &str = "urn:ietf:params:xml:ns:pidf:rpid";
const DIALOG: &str = "urn:ietf:params:xml:ns:dialog-info";
const RLMI: &str = "urn:ietf:params:xml:ns:rlmi";

/// What may stand next among an element's children.
enum Particle {
    /// An element of the parent's namespace, at least and at most so often.
    Own(&'static str, usize, usize),
    /// Elements of other namespaces.
    Other,
}

/// What an attribute may hold.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Uri,
    /// `xs:ID`: a name, unique in the document.
    Id,
    Number,
    OneOf(&'static [&'static str]),
}

struct Rule {
    namespace: &'static str,
    name: &'static str,
    children: &'static [Particle],
    /// Name, whether it must be there, what it holds.
    attributes: &'static [(&'static str, bool, Kind)],
    text: Option<Kind>,
}

const MANY: usize = usize::MAX;
use Kind::{Id, Number, OneOf, Text, Uri};
use Particle::{Other, Own};

const fn rule(
    namespace: &'static str,
    name: &'static str,
    children: &'static [Particle],
    attributes: &'static [(&'static str, bool, Kind)],
    text: Option<Kind>,
) -> Rule {
    Rule { namespace, name, children, attributes, text }
}

const RULES: [Rule; 22] = [
    rule(
        PIDF,
        "presence",
        &[Own("tuple", 0, MANY), Own("note", 0, MANY), Other],
        &[("entity", true, Uri)],
        None,
    ),
    rule(
        PIDF,
        "tuple",
        &[
            Own("status", 1, 1),
            Other,
            Own("contact", 0, 1),
            Own("note", 0, MANY),
            Own("timestamp", 0, 1),
        ],
        &[("id", true, Id)],
        None,
    ),
    rule(PIDF, "status", &[Own("basic", 0, 1), Other], &[], None),
    rule(PIDF, "basic", &[], &[], Some(OneOf(&["open", "closed"]))),
    rule(PIDF, "contact", &[], &[("priority", false, OneOf(&["1"]))], Some(Uri)),
    rule(PIDF, "note", &[], &[], Some(Text)),
    rule(
        MODEL,
        "person",
        &[Other, Own("note", 0, MANY), Own("timestamp", 0, 1)],
        &[("id", true, Id)],
        None,
    ),
    rule(RPID, "activities", &[Own("note", 0, MANY), Own("on-the-phone", 0, MANY)], &[], None),
    rule(RPID, "on-the-phone", &[], &[], None),
    rule(
        DIALOG,
        "dialog-info",
        &[Own("dialog", 0, MANY), Other],
        &[
            ("version", true, Number),
            ("state", true, OneOf(&["full", "partial"])),
            ("entity", true, Uri),
        ],
        None,
    ),
    rule(
        DIALOG,
        "dialog",
        &[
            Own("state", 1, 1),
            Own("duration", 0, 1),
            Own("replaces", 0, 1),
            Own("referred-by", 0, 1),
            Own("route-set", 0, 1),
            Own("local", 0, 1),
            Own("remote", 0, 1),
            Other,
        ],
        &[
            ("id", true, Text),
            ("call-id", false, Text),
            ("local-tag", false, Text),
            ("remote-tag", false, Text),
            ("direction", false, OneOf(&["initiator", "recipient"])),
        ],
        None,
    ),
    rule(
        DIALOG,
        "state",
        &[],
        &[],
        Some(OneOf(&["trying", "proceeding", "early", "confirmed", "terminated"])),
    ),
    rule(DIALOG, "local", &[Own("identity", 0, 1), Own("target", 0, 1), Other], &[], None),
    rule(DIALOG, "remote", &[Own("identity", 0, 1), Own("target", 0, 1), Other], &[], None),
    rule(DIALOG, "identity", &[], &[("display", false, Text)], Some(Uri)),
    rule(DIALOG, "target", &[Own("param", 0, MANY)], &[("uri", true, Text)], None),
    rule(DIALOG, "param", &[], &[("pname", true, Text), ("pval", true, Text)], None),
    rule(DIALOG, "duration", &[], &[], Some(Number)),
    rule(
        RLMI,
        "list",
        &[Own("name", 0, MANY), Own("resource", 0, MANY)],
        &[
            ("uri", true, Uri),
            ("version", true, Number),
            ("fullState", true, OneOf(&["true", "false", "1", "0"])),
            ("cid", false, Text),
        ],
        None,
    ),
    rule(
        RLMI,
        "resource",
        &[Own("name", 0, MANY), Own("instance", 0, MANY)],
        &[("uri", true, Uri)],
        None,
    ),
    rule(
        RLMI,
        "instance",
        &[Other],
        &[
            ("id", true, Text),
            ("state", true, OneOf(&["active", "pending", "terminated"])),
            ("reason", false, Text),
            ("cid", false, Text),
        ],
        None,
    ),
    rule(RLMI, "name", &[], &[("xml:lang", false, Text)], Some(Text)),
];

/// Says what is wrong with a document, or nothing.
pub(crate) fn check(root: &Element) -> Result<(), String> {
    let mut ids = BTreeSet::new();
    check_element(root, &mut ids)
}

fn check_element(element: &Element, ids: &mut BTreeSet<String>) -> Result<(), String> {
    let known = [PIDF, MODEL, RPID, DIALOG, RLMI].contains(&element.namespace.as_str());
    if !known {
        // Foreign elements are processed laxly; all they need is a namespace.
        return if element.namespace.is_empty() { Err(format!("{element:?}")) } else { Ok(()) };
    }
    let rule = RULES
        .iter()
        .find(|rule| rule.namespace == element.namespace && rule.name == element.name)
        .ok_or_else(|| format!("{} {} is not declared", element.namespace, element.name))?;
    check_children(element, rule)?;
    for name in element.attributes.keys() {
        if !rule.attributes.iter().any(|(declared, ..)| declared == name) {
            return Err(format!("{} has no attribute {name}", rule.name));
        }
    }
    for (name, required, kind) in rule.attributes {
        match element.attributes.get(*name) {
            Some(value) => check_value(value, *kind, ids)?,
            None if *required => return Err(format!("{} lacks {name}", rule.name)),
            None => {}
        }
    }
    match rule.text {
        Some(kind) => check_value(&element.text, kind, ids)?,
        None if !element.text.trim().is_empty() => return Err(format!("text in {}", rule.name)),
        None => {}
    }
    element.children.iter().try_for_each(|child| check_element(child, ids))
}

fn check_children(element: &Element, rule: &Rule) -> Result<(), String> {
    let mut rest = element.children.iter().peekable();
    for particle in rule.children {
        let (min, max) = match particle {
            Own(_, min, max) => (*min, *max),
            Other => (0, MANY),
        };
        let matches = |child: &&Element| match particle {
            Own(name, ..) => child.namespace == rule.namespace && child.name == *name,
            Other => child.namespace != rule.namespace,
        };
        let mut count = 0;
        while count < max && rest.next_if(matches).is_some() {
            count += 1;
        }
        if count < min {
            return Err(format!("{} lacks a child", rule.name));
        }
    }
    match rest.next() {
        Some(child) => Err(format!("{} may not stand there in {}", child.name, rule.name)),
        None => Ok(()),
    }
}

fn check_value(value: &str, kind: Kind, ids: &mut BTreeSet<String>) -> Result<(), String> {
    let fits = match kind {
        Text => true,
        Uri => value.contains(':') && !value.contains(char::is_whitespace),
        Id => {
            let starts = value.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
            let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
            starts && value.chars().all(name) && ids.insert(value.to_owned())
        }
        Number => !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()),
        OneOf(values) => values.contains(&value),
    };
    if fits { Ok(()) } else { Err(format!("{value:?} does not fit")) }
}
