//! RLMI as servers write it, read in one pass without copying (RFC 4662 section 5).
//!
//! A list of a million lamps is told in thousands of these documents a second, and they all look
//! alike. So there are two readers. This one knows a small part of XML: elements and attributes
//! without a prefix in RLMI's namespace, values in double quotes, no references, no comments, no
//! other elements. Whatever does not fit is left to [`RlmiFacts`], which reads all of XML and says
//! what is wrong. What this one accepts, the other one accepts and means the same by it: a test
//! breaks documents in every place, and in a run a sample of them is read by both
//! ([`crate::second_reader`]).
//!
//! [`RlmiFacts`]: lampfield_wire::RlmiFacts

use lampfield_wire::InstanceState;
use lampfield_wire::limits::XML_BYTES_MAX;

const NAMESPACE: &str = "urn:ietf:params:xml:ns:rlmi";
/// Members for which there is room from the start.
const RESOURCES_ROOM: usize = 16;

/// What a document says of one list.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct PlainList<'a> {
    /// Version of the list.
    pub(crate) version: u32,
    /// Whether every member is in it.
    pub(crate) is_full: bool,
    /// The members.
    pub(crate) resources: Vec<PlainResource<'a>>,
}

/// One member.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct PlainResource<'a> {
    /// Its URI.
    pub(crate) uri: &'a str,
    /// The instance that shows its state: an active one if there is any, else the first.
    pub(crate) instance: Option<PlainInstance<'a>>,
}

/// One source of a member's state.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct PlainInstance<'a> {
    /// Its id.
    pub(crate) id: &'a str,
    /// State of the subscription to it.
    pub(crate) state: InstanceState,
    /// Content-ID of its part.
    pub(crate) cid: Option<&'a str>,
}

/// Reads a document; `None`: it is for the full reader.
pub(crate) fn read(document: &[u8]) -> Option<PlainList<'_>> {
    if document.len() > XML_BYTES_MAX || document.iter().any(|byte| is_uncommon(*byte)) {
        return None;
    }
    let mut rest = Rest(str::from_utf8(document).ok()?);
    rest.skip_declaration()?;
    rest.skip_blanks();
    rest.take("<list")?;
    let (attributes, is_empty) =
        rest.attributes(["xmlns", "uri", "version", "fullState", "cid"])?;
    let [xmlns, uri, version, is_full, _] = attributes;
    if xmlns? != NAMESPACE || uri.is_none() {
        return None;
    }
    let (version, is_full) = (number(version?)?, boolean(is_full?)?);
    let mut list = PlainList { version, is_full, resources: Vec::with_capacity(RESOURCES_ROOM) };
    if !is_empty {
        rest.resources(&mut list.resources)?;
    }
    rest.skip_blanks();
    rest.0.is_empty().then_some(list)
}

/// Control characters and references; and the first byte of two characters that XML does not allow.
fn is_uncommon(byte: u8) -> bool {
    let is_control = byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r');
    is_control || byte == b'&' || byte == 0xEF
}

/// What is not read yet.
#[derive(Clone, Copy)]
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn take(&mut self, text: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(text)?;
        Some(())
    }

    fn skip_blanks(&mut self) {
        self.0 = self.0.trim_ascii_start();
    }

    /// `<?xml version="1.0" encoding="UTF-8"?>` and its like, or nothing.
    fn skip_declaration(&mut self) -> Option<()> {
        let Some(rest) = self.0.strip_prefix("<?xml version=\"1.0\"") else {
            return Some(());
        };
        let rest = rest.strip_prefix(" encoding=\"UTF-8\"").unwrap_or(rest);
        self.0 = rest.strip_prefix("?>")?;
        Some(())
    }

    /// Attributes of these names and the end of the tag; whether that ends the element, too.
    fn attributes<const COUNT: usize>(
        &mut self,
        names: [&str; COUNT],
    ) -> Option<([Option<&'a str>; COUNT], bool)> {
        let mut values = [None; COUNT];
        loop {
            let before = self.0.len();
            self.skip_blanks();
            match self.0.as_bytes().first()? {
                b'>' => {
                    self.take(">")?;
                    return Some((values, false));
                }
                b'/' => {
                    self.take("/>")?;
                    return Some((values, true));
                }
                _ if self.0.len() == before => return None,
                _ => {}
            }
            let equals = self.0.bytes().position(|byte| byte == b'=')?;
            let (name, rest) = self.0.split_at(equals);
            let place = names.iter().position(|known| *known == name)?;
            self.0 = rest.strip_prefix("=\"")?;
            let value = self.value()?;
            if values[place].replace(value).is_some() {
                return None;
            }
        }
    }

    /// An attribute's value and the quote behind it. One with blanks at its ends, with line ends or
    /// without anything is left to the other reader.
    fn value(&mut self) -> Option<&'a str> {
        let ends = |byte: &u8| matches!(byte, b'"' | b'<') || *byte < b' ';
        let end = self.0.as_bytes().iter().position(ends)?;
        let (value, rest) = self.0.split_at(end);
        self.0 = rest.strip_prefix('"')?;
        let bytes = value.as_bytes();
        (bytes.first()?.is_ascii_graphic() && bytes.last()?.is_ascii_graphic()).then_some(value)
    }

    /// Names and members, and the end of the list.
    fn resources(&mut self, resources: &mut Vec<PlainResource<'a>>) -> Option<()> {
        loop {
            self.skip_blanks();
            if self.take("<resource").is_some() {
                let ([uri], is_empty) = self.attributes(["uri"])?;
                let mut resource = PlainResource { uri: uri?, instance: None };
                if !is_empty {
                    self.instances(&mut resource)?;
                }
                resources.push(resource);
            } else if self.take("</list>").is_some() {
                return Some(());
            } else {
                self.name()?;
            }
        }
    }

    /// Names and instances of a member, and its end.
    fn instances(&mut self, resource: &mut PlainResource<'a>) -> Option<()> {
        loop {
            self.skip_blanks();
            if self.take("<instance").is_some() {
                let ([id, state, cid, _], is_empty) =
                    self.attributes(["id", "state", "cid", "reason"])?;
                let instance = PlainInstance { id: id?, state: instance_state(state?)?, cid };
                let is_better = |shown: &PlainInstance<'_>| {
                    shown.state == InstanceState::Terminated
                        && instance.state != InstanceState::Terminated
                };
                if resource.instance.as_ref().is_none_or(is_better) {
                    resource.instance = Some(instance);
                }
                if !is_empty {
                    self.skip_blanks();
                    self.take("</instance>")?;
                }
            } else if self.take("</resource>").is_some() {
                return Some(());
            } else {
                self.name()?;
            }
        }
    }

    /// A display name, which does not matter here.
    fn name(&mut self) -> Option<()> {
        self.take("<name")?;
        let (_, is_empty) = self.attributes(["xml:lang"])?;
        if !is_empty {
            // One with a `>` might hold the `]]>` that XML forbids.
            let end = self.0.bytes().position(|byte| matches!(byte, b'<' | b'>'))?;
            self.0 = &self.0[end..];
            self.take("</name>")?;
        }
        Some(())
    }
}

fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

fn instance_state(text: &str) -> Option<InstanceState> {
    [InstanceState::Active, InstanceState::Pending, InstanceState::Terminated]
        .into_iter()
        .find(|state| state.as_str() == text)
}

#[cfg(test)]
mod tests {
    use lampfield_wire::RlmiFacts;

    use super::*;

    const DOCUMENT: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
        <list xmlns=\"urn:ietf:params:xml:ns:rlmi\" uri=\"sip:l@h\" version=\"7\" \
        fullState=\"false\" cid=\"l@h\">\n <name>L\u{f6}</name>\n\
        <resource uri=\"sip:a@h\">\n  <name xml:lang=\"de\">A</name>\n\
        <instance id=\"i1\" state=\"terminated\" reason=\"noresource\"/>\
        <instance id=\"i2\" state=\"active\" cid=\"p1@h\" />\n </resource>\n\
        <resource uri=\"sip:b@h\"/><resource uri=\"sip:c@h\">\
        <instance id=\"i3\" state=\"pending\"></instance></resource>\n</list>\n";

    /// The same as the full reader has it.
    fn full<'a>(facts: &'a RlmiFacts) -> PlainList<'a> {
        let instance = |it: &'a lampfield_wire::RlmiInstance| PlainInstance {
            id: &it.id,
            state: it.state,
            cid: it.cid.as_deref(),
        };
        let resource = |it: &'a lampfield_wire::RlmiResource| PlainResource {
            uri: &it.uri,
            instance: crate::list_body::chosen(&it.instances).map(instance),
        };
        let resources = facts.resources.iter().map(resource).collect();
        PlainList { version: facts.version, is_full: facts.is_full, resources }
    }

    /// Whether the plain reader took it; then both must agree.
    fn is_read_alike(document: &[u8]) -> bool {
        let Some(plain) = read(document) else {
            return false;
        };
        let text = String::from_utf8_lossy(document);
        let facts = RlmiFacts::parse(document).expect(&text);
        assert_eq!(plain, full(&facts), "{text}");
        true
    }

    #[test]
    fn a_document_as_servers_write_it_is_read_like_the_full_reader_does() {
        assert!(is_read_alike(DOCUMENT.as_bytes()));
        let list = read(DOCUMENT.as_bytes()).expect("plain");
        assert_eq!((list.version, list.is_full, list.resources.len()), (7, false, 3));
        let instance = PlainInstance { id: "i2", state: InstanceState::Active, cid: Some("p1@h") };
        assert_eq!(list.resources[0], PlainResource { uri: "sip:a@h", instance: Some(instance) });
        assert_eq!(list.resources[1].instance, None);
    }

    #[test]
    fn a_document_broken_anywhere_is_left_to_the_full_reader_or_means_the_same() {
        let bytes = DOCUMENT.as_bytes();
        let mut taken_count = 0;
        let mut look = |document: Vec<u8>| taken_count += u32::from(is_read_alike(&document));
        let inserts: [&[u8]; 22] = [
            b"",
            b" ",
            b"\t",
            b"\r",
            b"\n",
            b"\"",
            b"'",
            b"<",
            b">",
            b"/",
            b"&",
            b"&amp;",
            b"=",
            b"x",
            b"7",
            b"\xff",
            b"\x01",
            b"\xef\xbf\xbe",
            b"<!-- -->",
            b"<x/>",
            b"]]>",
            b"\xc2\xa0",
        ];
        for at in 0..=bytes.len() {
            for insert in inserts {
                for cut in 0..2 {
                    let behind = bytes.get(at + cut..).unwrap_or_default();
                    look([&bytes[..at], insert, behind].concat());
                }
            }
            look(bytes[..at].to_vec());
        }
        // Most breaks are in text or values, where they are none.
        assert!(taken_count > 1000, "{taken_count}");
    }

    #[test]
    fn whatever_is_moved_or_missing_means_the_same_to_both() {
        let mut random = fastrand::Rng::with_seed(7);
        let words: Vec<&str> = DOCUMENT.split_inclusive(['>', ' ', '"']).collect();
        let mut taken_count = 0;
        for _ in 0..20_000 {
            let mut words = words.clone();
            for _ in 0..random.usize(1..3) {
                let (from, to) = (random.usize(..words.len()), random.usize(..words.len()));
                match random.u8(..3) {
                    0 => words.swap(from, to),
                    1 => words.insert(to, words[from]),
                    _ => drop(words.remove(from)),
                }
            }
            taken_count += u32::from(is_read_alike(words.concat().as_bytes()));
        }
        assert!(taken_count > 100, "{taken_count}");
    }
}
