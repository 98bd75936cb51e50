//! The body of a list NOTIFY, read (RFC 4662 section 5): which members it tells of, and the
//! document of each.
//!
//! Nesting is followed as deep as the multipart reader goes. What breaks a rule is counted and
//! the rest is read on: the counters shall show what a server does wrong, not hide it.

use std::borrow::Cow;

use lampfield_wire::{InstanceState, Multipart, Part, RlmiFacts, RlmiInstance};

use crate::plain_rlmi::{self, PlainInstance, PlainResource};
use crate::watcher::branch_hash;

/// A list as one NOTIFY tells it, inner lists resolved.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct ListBody<'a> {
    /// Version of the outermost list.
    pub version: u32,
    /// Whether the outermost list is whole.
    pub is_full: bool,
    /// Whether all inner lists are whole, too: then nobody is left out.
    pub is_whole: bool,
    /// The members.
    pub entries: Vec<Entry<'a>>,
    /// Inner lists.
    pub inner_count: u64,
    /// Content-IDs that no part has.
    pub unresolved_count: u64,
    /// Parts that nothing refers to.
    pub orphan_count: u64,
}

/// One member.
#[derive(Debug, Eq, PartialEq)]
pub struct Entry<'a> {
    /// User part of its URI.
    pub user: Cow<'a, str>,
    /// Hash of its instance's id; 0 without an instance.
    pub instance_hash: u32,
    /// What is told of it.
    pub state: EntryState<'a>,
}

/// What is told of a member.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EntryState<'a> {
    /// A document and its content type.
    Document(&'a [u8], &'a [u8]),
    /// It is not there any more.
    Gone,
    /// Nothing is known yet.
    Nothing,
}

/// How RLMI is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum How {
    /// By the plain reader, and only what it leaves by the full one.
    Fast,
    /// By the full reader.
    Full,
}

/// Reads a body.
///
/// # Errors
///
/// Says what cannot be read.
pub fn read<'a>(content_type: &'a [u8], body: &'a [u8], how: How) -> Result<ListBody<'a>, String> {
    let outer = Multipart::from_content_type(content_type).map_err(|error| error.to_string())?;
    let mut list = ListBody { is_whole: true, ..ListBody::default() };
    (list.version, list.is_full) = read_level(&outer, body, how, &mut list)?;
    Ok(list)
}

/// One list of the document, whoever read it.
struct Level<'a> {
    version: u32,
    is_full: bool,
    members: Vec<Member<'a>>,
}

/// A member as RLMI tells of it.
struct Member<'a> {
    user: Cow<'a, str>,
    instance_hash: u32,
    state: Option<InstanceState>,
    cid: Option<Cow<'a, str>>,
}

/// Reads one list and those inside it; returns its version, and whether it is full. The depth is
/// bounded by [`Multipart::nested`].
fn read_level<'a>(
    multipart: &Multipart<'a>,
    body: &'a [u8],
    how: How,
    list: &mut ListBody<'a>,
) -> Result<(u32, bool), String> {
    let parts: Result<Vec<Part<'a>>, _> = multipart.parts(body).collect();
    let parts = parts.map_err(|error| error.to_string())?;
    let root = (0..parts.len()).find(|index| multipart.is_root(*index, &parts[*index]));
    let root = root.ok_or("no root part")?;
    let level = Level::read(parts[root].body, how)?;
    list.is_whole &= level.is_full;
    list.entries.reserve(level.members.len());
    // Parts mostly come in the order of the members: the search starts behind the last one found.
    let mut next = 0;
    let mut used = vec![false; parts.len()];
    used[root] = true;
    for Member { user, instance_hash, state, cid } in level.members {
        let part = cid.as_ref().and_then(|cid| {
            let mut order = (next..parts.len()).chain(0..next);
            order.find(|index| parts[*index].content_id == Some(cid.as_bytes()))
        });
        if let Some(index) = part {
            (next, used[index]) = (index + 1, true);
            if is_list(&parts[index]) {
                list.inner_count += 1;
                let inner = multipart.nested(&parts[index]).map_err(|error| error.to_string())?;
                read_level(&inner, parts[index].body, how, list)?;
                continue;
            }
        }
        list.unresolved_count += u64::from(cid.is_some() && part.is_none());
        let state = match (state, part) {
            (Some(InstanceState::Terminated), _) => EntryState::Gone,
            (Some(_), Some(index)) => EntryState::Document(
                parts[index].content_type.unwrap_or_default(),
                parts[index].body,
            ),
            _ => EntryState::Nothing,
        };
        list.entries.push(Entry { user, instance_hash, state });
    }
    list.orphan_count += used.iter().filter(|used| !**used).count() as u64;
    Ok((level.version, level.is_full))
}

impl<'a> Level<'a> {
    fn read(document: &'a [u8], how: How) -> Result<Level<'a>, String> {
        let plain = if how == How::Fast { plain_rlmi::read(document) } else { None };
        if let Some(list) = plain {
            let members = list.resources.into_iter().map(Member::from).collect();
            return Ok(Level { version: list.version, is_full: list.is_full, members });
        }
        let facts = RlmiFacts::parse(document).map_err(|error| error.to_string())?;
        let members = facts.resources.into_iter().map(|resource| {
            let instance = chosen(&resource.instances);
            Member {
                user: Cow::Owned(user_of(&resource.uri).to_owned()),
                instance_hash: instance.map_or(0, |it| branch_hash(it.id.as_bytes())),
                state: instance.map(|it| it.state),
                cid: instance.and_then(|it| it.cid.clone()).map(Cow::Owned),
            }
        });
        let members = members.collect();
        Ok(Level { version: facts.version, is_full: facts.is_full, members })
    }
}

impl<'a> From<PlainResource<'a>> for Member<'a> {
    fn from(resource: PlainResource<'a>) -> Member<'a> {
        let instance: Option<PlainInstance<'a>> = resource.instance;
        Member {
            user: Cow::Borrowed(user_of(resource.uri)),
            instance_hash: instance.map_or(0, |it| branch_hash(it.id.as_bytes())),
            state: instance.map(|it| it.state),
            cid: instance.and_then(|it| it.cid).map(Cow::Borrowed),
        }
    }
}

/// Whether a part is a list in the list.
fn is_list(part: &Part<'_>) -> bool {
    let kind = part.content_type.and_then(|value| value.get(..10));
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case(b"multipart/"))
        && part.is("multipart/related")
}

/// The instance that shows the member's state: an active one if there is any.
pub(crate) fn chosen(instances: &[RlmiInstance]) -> Option<&RlmiInstance> {
    let active = instances.iter().find(|instance| instance.state != InstanceState::Terminated);
    active.or(instances.first())
}

/// `sip:alice@h` and `alice` are alike: some servers name members without scheme.
fn user_of(uri: &str) -> &str {
    let rest = uri.split_once(':').filter(|(scheme, _)| matches!(*scheme, "sip" | "sips" | "pres"));
    let rest = rest.map_or(uri, |(_, rest)| rest);
    rest.split('@').next().unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &[u8] = b"multipart/related;type=\"application/rlmi+xml\";boundary=bb";

    fn resource(user: &str, instance: &str) -> String {
        format!("<resource uri=\"sip:{user}@h\">{instance}</resource>")
    }

    fn body(full: bool, resources: &str, parts: &str) -> String {
        format!(
            "--bb\r\nContent-ID: <l@h>\r\nContent-Type: application/rlmi+xml\r\n\r\n\
             <list xmlns=\"urn:ietf:params:xml:ns:rlmi\" uri=\"sip:l@h\" version=\"7\" \
             fullState=\"{full}\">{resources}</list>\r\n{parts}--bb--\r\n"
        )
    }

    fn part(cid: &str, content_type: &str, body: &str) -> String {
        format!("--bb\r\nContent-ID: <{cid}>\r\nContent-Type: {content_type}\r\n\r\n{body}\r\n")
    }

    fn read_both(text: &[u8]) -> ListBody<'_> {
        let fast = read(TYPE, text, How::Fast).expect("readable");
        assert_eq!(Ok(&fast), read(TYPE, text, How::Full).as_ref());
        fast
    }

    fn users(list: &ListBody<'_>) -> String {
        let users: Vec<&str> = list.entries.iter().map(|entry| &*entry.user).collect();
        users.join(" ")
    }

    #[test]
    fn members_find_their_documents_whatever_their_order() {
        let active = |cid| format!("<instance id=\"i\" state=\"active\" cid=\"{cid}\"/>");
        let ended = "<instance id=\"t\" state=\"terminated\" reason=\"noresource\"/>";
        let resources = [
            resource("a", &active("p1@h")),
            resource("b", &active("p2@h")),
            resource("c", ended),
            resource("d", ""),
            resource("e", &active("none@h")),
        ];
        let parts =
            part("p2@h", "x/b", "B") + &part("p1@h", "x/a", "A") + &part("p3@h", "x/c", "C");
        let text = body(true, &resources.concat(), &parts);
        let list = read_both(text.as_bytes());
        assert_eq!((list.version, list.is_full, list.is_whole), (7, true, true));
        assert_eq!(users(&list), "a b c d e");
        let states: Vec<EntryState<'_>> = list.entries.iter().map(|entry| entry.state).collect();
        assert_eq!(
            states,
            [
                EntryState::Document(b"x/a", b"A"),
                EntryState::Document(b"x/b", b"B"),
                EntryState::Gone,
                EntryState::Nothing,
                EntryState::Nothing,
            ]
        );
        assert_eq!((list.unresolved_count, list.orphan_count), (1, 1));
        let hashes: Vec<u32> = list.entries.iter().map(|entry| entry.instance_hash).collect();
        assert!(hashes[0] == hashes[1] && hashes[0] != hashes[2] && hashes[3] == 0);
    }

    #[test]
    fn inner_lists_are_resolved_and_a_partial_one_leaves_the_whole_open() {
        let active = "<instance id=\"i\" state=\"active\" cid=\"in@h\"/>";
        for inner_full in [true, false] {
            let inner = body(inner_full, &resource("x", ""), "").replace("bb", "cc");
            let content_type = "multipart/related;type=\"application/rlmi+xml\";boundary=cc";
            let parts = part("in@h", content_type, &inner);
            let text = body(true, &(resource("sub", active) + &resource("y", "")), &parts);
            let list = read_both(text.as_bytes());
            assert_eq!((users(&list).as_str(), list.inner_count), ("x y", 1));
            assert_eq!((list.is_full, list.is_whole), (true, inner_full));
        }
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for (content_type, text) in [
            (&b"application/pidf+xml"[..], body(true, "", "")),
            (TYPE, "no part".into()),
            (TYPE, body(true, "", "").replace("version=\"7\"", "")),
            (TYPE, body(true, "", "").replace("--bb--", "")),
        ] {
            for how in [How::Fast, How::Full] {
                assert!(read(content_type, text.as_bytes(), how).is_err(), "{text}");
            }
        }
        assert_eq!(user_of("sips:a@b"), "a");
        assert_eq!(user_of("a"), "a");
    }
}
