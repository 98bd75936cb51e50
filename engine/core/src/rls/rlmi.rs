//! The body of a list's NOTIFY: multipart/related with the RLMI document first.
//!
//! Content-IDs are made from the subscription's random check, the version and the member: unique
//! in the message and everywhere, and of one length. No document of ours holds a line that begins with
//! a boundary: texts in them are escaped, line ends included.
//! Source: RFC 4662 section 5, RFC 2387, traces 10 and 12.

use super::compose::{Content, Entry};
use super::{Face, Shape};
use crate::config::Dialect;
use crate::tag::Tag;

/// What else a list's body is written from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writing<'a> {
    pub(crate) content: &'a Content,
    pub(crate) tag: Tag,
    pub(crate) version: u32,
    pub(crate) dialect: Dialect,
    /// What documents name the watcher by, escaped.
    pub(crate) watcher: &'a [u8],
    /// It is the last NOTIFY of the subscription.
    pub(crate) is_last: bool,
}

/// Markup of one member and the headers of its part, beside its texts.
const MEMBER_BYTES: usize = 230;
/// Markup of one list and the headers of its RLMI part, beside its texts.
const LIST_BYTES: usize = 256;
/// Bytes of a Content-ID up to its host.
const CID_BYTES: usize = 23;
/// Number of the RLMI document of the outermost list in Content-IDs.
const ROOT: u32 = 0xffff;
/// Numbers of nested lists start here; members' numbers are smaller.
const NESTED: u32 = 0x8000;

const NAMESPACE: &str = "urn:ietf:params:xml:ns:rlmi";
const CONTENT_TYPE: &str = "multipart/related;type=\"application/rlmi+xml\";boundary=";
const ENCODING: &[u8] = b"Content-Transfer-Encoding: binary\r\n";
const BOUNDARY: &str = "lf";

/// Members of one subscription at most, so that Content-IDs stay unique.
pub(super) const MEMBER_COUNT_MAX: usize = NESTED as usize;
/// Nested lists of one subscription at most.
pub(super) const NESTED_COUNT_MAX: usize = ((ROOT - NESTED) / 2) as usize;

/// Bytes of a list's frame at most, its nested lists included.
pub(super) fn list_bytes(shape: &Shape) -> usize {
    let frame = |label: &str, uri: &str| LIST_BYTES + label.len() + uri.len();
    let cid = CID_BYTES + shape.labels.host().len();
    let nested = shape.nested.iter();
    let nested = nested.map(|list| 2 * frame(&list.label, &list.uri) + MEMBER_BYTES + 3 * cid);
    frame(shape.labels.label(), shape.labels.uri()) + cid + nested.sum::<usize>()
}

/// Bytes of a member at most, beside its document.
pub(super) fn face_bytes(member: u32, face: &Face, shape: &Shape) -> usize {
    let texts = shape.name_of(member, face).len() + shape.uri_of(member, face).len();
    MEMBER_BYTES + texts + 2 * (CID_BYTES + shape.labels.host().len())
}

/// Bytes of one whom a request names and nobody here knows.
pub(super) fn stranger_bytes(uri: &str) -> usize {
    MEMBER_BYTES + uri.len()
}

fn push_boundary_type(depth: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(CONTENT_TYPE.as_bytes());
    push_boundary(depth, out);
}

fn push_boundary(depth: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(BOUNDARY.as_bytes());
    out.push(b'0' + depth as u8);
}

/// Appends room for a length, to be filled by [`fill_length`].
fn push_length(out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(b"     ");
    out.len()
}

/// Writes `length` into the room that ends at `end`.
fn fill_length(out: &mut [u8], end: usize, length: usize) {
    let mut number = itoa::Buffer::new();
    let digits = number.format(length).as_bytes();
    out[end - digits.len()..end].copy_from_slice(digits);
}

/// A list whose part is being written.
struct Level<'c> {
    /// Its place in [`Shape::nested`]; `None` for the outermost.
    list: Option<u16>,
    depth: usize,
    entries: &'c [Entry],
}

/// Something a list shows: a member, or a list with the members it shows.
enum Child<'c> {
    Member(&'c Entry),
    List(u16, &'c [Entry]),
}

impl Writing<'_> {
    /// Appends the value of Content-Type, Content-Length, and the whole body.
    pub(crate) fn write_with_head(&self, out: &mut Vec<u8>) {
        push_boundary_type(0, out);
        out.extend_from_slice(b"\r\nContent-Length: ");
        let end = push_length(out);
        out.extend_from_slice(b"\r\n\r\n");
        let start = out.len();
        self.write(out);
        let length = out.len() - start;
        fill_length(out, end, length);
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.write_level(&Level { list: None, depth: 0, entries: &self.content.entries }, out);
    }

    fn write_level(&self, level: &Level<'_>, out: &mut Vec<u8>) {
        let number = level.list.map_or(ROOT, |list| NESTED + u32::from(list) * 2 + 1);
        self.open_part(level.depth, number, out);
        let at = out.len();
        let end = self.push_part_head("application/rlmi+xml", out);
        let start = out.len();
        self.write_rlmi(level, out);
        self.close_part(at, end, start, out);
        for child in self.children(level) {
            match child {
                Child::Member(entry) => self.write_document(level.depth, entry, out),
                Child::List(list, entries) => self.write_nested(level.depth, list, entries, out),
            }
        }
        out.extend_from_slice(b"\r\n--");
        push_boundary(level.depth, out);
        out.extend_from_slice(b"--\r\n");
    }

    fn write_document(&self, depth: usize, entry: &Entry, out: &mut Vec<u8>) {
        let Some(body) = &entry.body else { return };
        self.open_part(depth, entry.member, out);
        let at = out.len();
        let end = self.push_part_head(self.content.format.content_type(), out);
        let start = out.len();
        body.write_dense_for(self.version, self.watcher, out);
        self.close_part(at, end, start, out);
    }

    /// Appends a part's Content-Type and, as an Asterisk does, room for its length.
    fn push_part_head(&self, content_type: &str, out: &mut Vec<u8>) -> usize {
        push(out, &["Content-Type: ", content_type, "\r\n"]);
        let mut end = 0;
        if self.dialect == Dialect::Asterisk {
            out.extend_from_slice(b"Content-Length: ");
            end = push_length(out);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
        end
    }

    /// A part that began at `start` is complete: fills in its length, or says before its
    /// Content-Type at `at` that it is not mere ASCII (RFC 2045 section 6.1).
    fn close_part(&self, at: usize, end: usize, start: usize, out: &mut Vec<u8>) {
        let length = out.len() - start;
        match self.dialect {
            Dialect::Asterisk => fill_length(out, end, length),
            Dialect::Rfc if out[start..].is_ascii() => {}
            Dialect::Rfc => drop(out.splice(at..at, ENCODING.iter().copied())),
        }
    }

    fn write_nested(&self, depth: usize, list: u16, entries: &[Entry], out: &mut Vec<u8>) {
        self.open_part(depth, NESTED + u32::from(list) * 2, out);
        let at = out.len();
        let mut content_type = Vec::with_capacity(64);
        push_boundary_type(depth + 1, &mut content_type);
        let end = self.push_part_head(&String::from_utf8_lossy(&content_type), out);
        let start = out.len();
        self.write_level(&Level { list: Some(list), depth: depth + 1, entries }, out);
        self.close_part(at, end, start, out);
    }

    /// Delimiter and Content-ID.
    fn open_part(&self, depth: usize, number: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\r\n--");
        push_boundary(depth, out);
        out.extend_from_slice(b"\r\nContent-ID: <");
        self.push_cid(number, out);
        out.extend_from_slice(b">\r\n");
    }

    fn push_cid(&self, number: u32, out: &mut Vec<u8>) {
        crate::tag::push_hex(out, self.tag.check, 8);
        out.push(b'.');
        crate::tag::push_hex(out, self.version, 8);
        out.push(b'.');
        crate::tag::push_hex(out, number, 4);
        out.push(b'@');
        out.extend_from_slice(self.content.shape.labels.host().as_bytes());
    }

    fn write_rlmi(&self, level: &Level<'_>, out: &mut Vec<u8>) {
        let content = self.content;
        let shape = &content.shape;
        let (label, uri, version) = match level.list {
            None => (shape.labels.label(), shape.labels.uri(), self.version),
            Some(list) => {
                let nested = &shape.nested[usize::from(list)];
                (&*nested.label, &*nested.uri, content.versions[usize::from(list)])
            }
        };
        let mut number = itoa::Buffer::new();
        push(out, &["<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<list xmlns=\"", NAMESPACE]);
        push(out, &["\" uri=\"", uri, "\" version=\"", number.format(version), "\" fullState=\""]);
        push(out, &[if content.is_full { "true" } else { "false" }, "\">\n <name>", label]);
        push(out, &["</name>\n"]);
        for child in self.children(level) {
            match child {
                Child::Member(entry) => self.push_member(entry, out),
                Child::List(list, _) => self.push_list(list, out),
            }
        }
        if level.list.is_none() {
            self.push_leaving(out);
        }
        push(out, &["</list>\n"]);
    }

    /// Members that left, and those a request names and nobody here knows. No resource comes
    /// twice: an instance that ended stands beside the one that took its place.
    fn push_leaving(&self, out: &mut Vec<u8>) {
        let Content { leaving, entries, shape, stranger_count, .. } = self.content;
        for (at, face) in leaving.iter().enumerate() {
            let is_shown = entries.iter().any(|entry| entry.face.uri == face.uri)
                || leaving[..at].iter().any(|other| other.uri == face.uri);
            if !is_shown {
                self.push_ended(u32::MAX, face, out);
            }
        }
        for uri in shape.strangers.iter().take(*stranger_count) {
            if leaving.iter().all(|face| face.uri != *uri) {
                self.push_stranger(uri, out);
            }
        }
    }

    fn push_member(&self, entry: &Entry, out: &mut Vec<u8>) {
        let (face, shape) = (&*entry.face, &self.content.shape);
        if entry.body.is_none() {
            return self.push_ended(entry.member, face, out);
        }
        push(out, &[" <resource uri=\"", shape.uri_of(entry.member, face), "\">\n  <name>"]);
        push(out, &[shape.name_of(entry.member, face), "</name>\n"]);
        self.push_earlier(face, out);
        push(out, &["  <instance id=\""]);
        crate::tag::push_hex(out, face.instance, 8);
        self.push_state(out);
        self.push_cid(entry.member, out);
        push(out, &["\" />\n </resource>\n"]);
    }

    fn push_list(&self, list: u16, out: &mut Vec<u8>) {
        let nested = &self.content.shape.nested[usize::from(list)];
        push(out, &[" <resource uri=\"", &nested.uri, "\">\n  <name>", &nested.label]);
        push(out, &["</name>\n  <instance id=\""]);
        crate::tag::push_hex(out, nested.instance, 8);
        self.push_state(out);
        self.push_cid(NESTED + u32::from(list) * 2, out);
        push(out, &["\" />\n </resource>\n"]);
    }

    /// The state of an instance that has a document. An Asterisk ends the members with the list;
    /// by RFC 4662 section 5.5 they would need a reason of their own.
    fn push_state(&self, out: &mut Vec<u8>) {
        let is_over = self.is_last && self.dialect == Dialect::Asterisk;
        push(out, &["\" state=\"", if is_over { "terminated" } else { "active" }, "\" cid=\""]);
    }

    fn push_ended(&self, member: u32, face: &Face, out: &mut Vec<u8>) {
        let shape = &self.content.shape;
        push(out, &[" <resource uri=\"", shape.uri_of(member, face), "\">\n  <name>"]);
        push(out, &[shape.name_of(member, face), "</name>\n"]);
        self.push_earlier(face, out);
        self.push_ended_instance(face, out);
        push(out, &[" </resource>\n"]);
    }

    /// Other instances of a resource, which ended.
    fn push_earlier(&self, face: &Face, out: &mut Vec<u8>) {
        let earlier = self.content.leaving.iter();
        earlier
            .filter(|other| other.uri == face.uri && other.instance != face.instance)
            .for_each(|other| self.push_ended_instance(other, out));
    }

    fn push_ended_instance(&self, face: &Face, out: &mut Vec<u8>) {
        push(out, &["  <instance id=\""]);
        crate::tag::push_hex(out, face.instance, 8);
        push(out, &["\" state=\"terminated\""]);
        self.push_end(out);
    }

    fn push_stranger(&self, uri: &str, out: &mut Vec<u8>) {
        push(out, &[" <resource uri=\"", uri, "\">\n  <instance id=\"0\" state=\"terminated\""]);
        self.push_end(out);
        push(out, &[" </resource>\n"]);
    }

    fn push_end(&self, out: &mut Vec<u8>) {
        if self.dialect == Dialect::Rfc {
            push(out, &[" reason=\"noresource\""]);
        }
        push(out, &[" />\n"]);
    }

    /// What a list shows, in order: members, and lists that have members to show.
    fn children<'c>(&'c self, level: &'c Level<'c>) -> impl Iterator<Item = Child<'c>> + 'c {
        let mut rest = level.entries;
        std::iter::from_fn(move || {
            let first = rest.first()?;
            let Some((list, end)) = self.list_of(first.member, level.list) else {
                rest = &rest[1..];
                return Some(Child::Member(first));
            };
            let count = rest.iter().take_while(|entry| entry.member < end).count();
            let (inner, after) = rest.split_at(count);
            rest = after;
            Some(Child::List(list, inner))
        })
    }

    /// The list directly inside `parent` that a member stands in, and where that list ends.
    fn list_of(&self, member: u32, parent: Option<u16>) -> Option<(u16, u32)> {
        let nested = self.content.shape.nested.iter().enumerate();
        let mut inside = nested
            .filter(|(_, list)| list.parent == parent && (list.first..list.end).contains(&member));
        inside.next().map(|(at, list)| (at as u16, list.end))
    }
}

fn push(out: &mut Vec<u8>, parts: &[&str]) {
    parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
}
