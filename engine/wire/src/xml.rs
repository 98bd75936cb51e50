//! XML from outside: quick-xml's pull reader behind a guard.
//!
//! quick-xml never expands custom entities and does not recurse, but lets pass much that is no
//! XML document. The guard refuses DOCTYPE and every entity but the five predefined ones and
//! character references, bounds size, depth, events and attributes (see [`crate::limits`]), and
//! insists on one root, declared prefixes, unique attributes and legal characters. Work is linear
//! in the input, apart from the duplicate check over a bounded number of attributes.
//! Source: XML 1.0 fifth edition, Namespaces in XML 1.0.

use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::name::{Namespace, ResolveResult};
use quick_xml::{NsReader, XmlVersion};
use thiserror::Error;

use crate::limits::{XML_ATTRIBUTE_COUNT_MAX, XML_BYTES_MAX, XML_DEPTH_MAX, XML_EVENT_COUNT_MAX};

/// Why a document was refused, and near which byte.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("{problem} (near byte {at})")]
pub struct XmlError {
    /// What is wrong.
    pub problem: XmlProblem,
    /// How far reading had come.
    pub at: usize,
}

/// What is wrong with a document.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum XmlProblem {
    /// Over [`XML_BYTES_MAX`].
    #[error("document is larger than {XML_BYTES_MAX} bytes")]
    TooLarge,
    /// Deeper than [`XML_DEPTH_MAX`].
    #[error("elements are nested deeper than {XML_DEPTH_MAX}")]
    TooDeep,
    /// More than [`XML_EVENT_COUNT_MAX`] events.
    #[error("document has more than {XML_EVENT_COUNT_MAX} parts")]
    TooManyEvents,
    /// More than [`XML_ATTRIBUTE_COUNT_MAX`] attributes on one element.
    #[error("element has more than {XML_ATTRIBUTE_COUNT_MAX} attributes")]
    TooManyAttributes,
    /// Not UTF-8.
    #[error("document is not UTF-8")]
    NotUtf8,
    /// A character XML cannot carry, written out or as a reference.
    #[error("character not allowed in XML")]
    IllegalCharacter,
    /// A document type declaration.
    #[error("DOCTYPE is not accepted")]
    Doctype,
    /// An entity that is not predefined.
    #[error("entity is not predefined")]
    Entity,
    /// No root, a second root, text outside it, or an end before it is closed.
    #[error("document is not exactly one closed root element")]
    NotOneRoot,
    /// A prefix without a declaration.
    #[error("namespace prefix is not declared")]
    UndeclaredPrefix,
    /// The same attribute twice on one element.
    #[error("attribute appears twice")]
    DuplicateAttribute,
    /// An XML declaration that is not at the start.
    #[error("XML declaration is not at the start")]
    LateDeclaration,
    /// Anything else that is no well-formed XML.
    #[error("not well-formed")]
    NotWellFormed,
}

/// An element's start tag.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct XmlElement {
    /// Namespace name; empty if there is none.
    pub namespace: String,
    /// Name without prefix.
    pub local: String,
    /// Attributes in order, namespace declarations left out.
    pub attributes: Vec<XmlAttribute>,
}

/// An attribute with its references resolved.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct XmlAttribute {
    /// Namespace name; empty without a prefix.
    pub namespace: String,
    /// Name without prefix.
    pub local: String,
    /// Normalised value.
    pub value: String,
}

impl XmlElement {
    /// Value of the attribute of that name without a namespace.
    pub fn attribute(&self, local: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|attribute| attribute.namespace.is_empty() && attribute.local == local)
            .map(|attribute| attribute.value.as_str())
    }
}

/// One step through a document.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum XmlEvent<'r> {
    /// An element opens; it is closed by its [`XmlEvent::End`], an empty one too.
    Start(&'r XmlElement),
    /// Text inside an element, references resolved. One run of text may come in pieces.
    Text(&'r str),
    /// The innermost open element closes.
    End,
    /// The document is over and was well-formed.
    Done,
}

/// Pull reader over one document.
#[derive(Debug)]
pub struct XmlReader<'a> {
    reader: NsReader<&'a [u8]>,
    element: XmlElement,
    text: String,
    depth: usize,
    event_count: usize,
    root_is_closed: bool,
}

impl<'a> XmlReader<'a> {
    /// Checks size, encoding and characters of the whole document, and starts reading.
    ///
    /// # Errors
    ///
    /// [`XmlError`] as found by those checks.
    pub fn new(document: &'a [u8]) -> Result<XmlReader<'a>, XmlError> {
        if document.len() > XML_BYTES_MAX {
            return Err(XmlError { problem: XmlProblem::TooLarge, at: XML_BYTES_MAX });
        }
        let text = str::from_utf8(document)
            .map_err(|e| XmlError { problem: XmlProblem::NotUtf8, at: e.valid_up_to() })?;
        if let Some((at, _)) = text.char_indices().find(|&(_, character)| !is_xml_char(character)) {
            return Err(XmlError { problem: XmlProblem::IllegalCharacter, at });
        }
        let mut reader = NsReader::from_str(text);
        let config = reader.config_mut();
        config.expand_empty_elements = true;
        config.check_comments = true;
        Ok(XmlReader {
            reader,
            element: XmlElement::default(),
            text: String::new(),
            depth: 0,
            event_count: 0,
            root_is_closed: false,
        })
    }

    /// The next step. After [`XmlEvent::Done`] it stays done.
    ///
    /// # Errors
    ///
    /// [`XmlError`]: the document is refused; what was read before must be thrown away.
    pub fn next_event(&mut self) -> Result<XmlEvent<'_>, XmlError> {
        loop {
            match self.step() {
                Ok(Step::Skip) => {}
                Ok(Step::Start) => return Ok(XmlEvent::Start(&self.element)),
                Ok(Step::Text) => return Ok(XmlEvent::Text(&self.text)),
                Ok(Step::End) => return Ok(XmlEvent::End),
                Ok(Step::Done) => return Ok(XmlEvent::Done),
                Err(problem) => {
                    let at = usize::try_from(self.reader.buffer_position()).unwrap_or(usize::MAX);
                    return Err(XmlError { problem, at });
                }
            }
        }
    }

    fn step(&mut self) -> Result<Step, XmlProblem> {
        self.event_count += 1;
        if self.event_count > XML_EVENT_COUNT_MAX {
            return Err(XmlProblem::TooManyEvents);
        }
        let event = self.reader.read_event().map_err(|_| XmlProblem::NotWellFormed)?;
        match event {
            Event::Start(start) | Event::Empty(start) => self.start(&start),
            Event::End(_) => {
                self.depth = self.depth.checked_sub(1).ok_or(XmlProblem::NotWellFormed)?;
                self.root_is_closed = self.depth == 0;
                Ok(Step::End)
            }
            Event::Text(text) => {
                let text = text.xml10_content();
                if text.contains("]]>") {
                    return Err(XmlProblem::NotWellFormed);
                }
                self.text(&text)
            }
            Event::CData(data) if self.depth > 0 => self.text(&data.xml10_content()),
            Event::CData(_) => Err(XmlProblem::NotOneRoot),
            Event::GeneralRef(reference) => self.reference(&reference),
            Event::Decl(_) if self.event_count == 1 => Ok(Step::Skip),
            Event::Decl(_) => Err(XmlProblem::LateDeclaration),
            Event::PI(_) | Event::Comment(_) => Ok(Step::Skip),
            Event::DocType(_) => Err(XmlProblem::Doctype),
            Event::Eof if self.root_is_closed => Ok(Step::Done),
            Event::Eof => Err(XmlProblem::NotOneRoot),
        }
    }

    fn start(&mut self, start: &BytesStart<'_>) -> Result<Step, XmlProblem> {
        if self.root_is_closed {
            return Err(XmlProblem::NotOneRoot);
        }
        self.depth += 1;
        if self.depth > XML_DEPTH_MAX {
            return Err(XmlProblem::TooDeep);
        }
        let resolver = self.reader.resolver();
        let (namespace, local) = resolver.resolve_element(start.name());
        let local = local.into_inner();
        if !is_name(local) {
            return Err(XmlProblem::NotWellFormed);
        }
        store(&mut self.element.namespace, namespace_name(&namespace)?);
        store(&mut self.element.local, local);
        self.element.attributes.clear();
        for (count, attribute) in start.attributes().enumerate() {
            let attribute = attribute.map_err(attribute_problem)?;
            if count == XML_ATTRIBUTE_COUNT_MAX {
                return Err(XmlProblem::TooManyAttributes);
            }
            if attribute.value.contains('<') {
                return Err(XmlProblem::NotWellFormed);
            }
            let value = attribute
                .normalized_value(XmlVersion::Explicit1_0)
                .map_err(|_| XmlProblem::Entity)?;
            if !value.chars().all(is_xml_char) {
                return Err(XmlProblem::IllegalCharacter);
            }
            if attribute.key.as_namespace_binding().is_some() {
                continue;
            }
            let (namespace, local) = resolver.resolve_attribute(attribute.key);
            let (namespace, local) = (namespace_name(&namespace)?, local.into_inner());
            let same = |other: &XmlAttribute| other.local == local && other.namespace == namespace;
            if self.element.attributes.iter().any(same) {
                return Err(XmlProblem::DuplicateAttribute);
            }
            if !is_name(local) {
                return Err(XmlProblem::NotWellFormed);
            }
            self.element.attributes.push(XmlAttribute {
                namespace: namespace.to_owned(),
                local: local.to_owned(),
                value: value.into_owned(),
            });
        }
        Ok(Step::Start)
    }

    fn text(&mut self, text: &str) -> Result<Step, XmlProblem> {
        if self.depth == 0 {
            let blank = text.chars().all(|c| matches!(c, ' ' | '\t' | '\r' | '\n' | '\u{FEFF}'));
            return if blank { Ok(Step::Skip) } else { Err(XmlProblem::NotOneRoot) };
        }
        store(&mut self.text, text);
        Ok(Step::Text)
    }

    fn reference(&mut self, reference: &BytesRef<'_>) -> Result<Step, XmlProblem> {
        if self.depth == 0 {
            return Err(XmlProblem::NotOneRoot);
        }
        let character = match reference.resolve_char_ref() {
            Ok(Some(character)) => character,
            Ok(None) => predefined(&reference.xml10_content()).ok_or(XmlProblem::Entity)?,
            Err(_) => return Err(XmlProblem::Entity),
        };
        if !is_xml_char(character) {
            return Err(XmlProblem::IllegalCharacter);
        }
        self.text.clear();
        self.text.push(character);
        Ok(Step::Text)
    }
}

enum Step {
    Skip,
    Start,
    Text,
    End,
    Done,
}

/// Collects facts from a document by the path of element tags that leads to them.
pub(crate) trait XmlVisitor {
    /// Short name of an element in the vocabulary of this document type; `""` for a foreign one.
    fn tag(&self, element: &XmlElement) -> &'static str;
    /// An element opened; its tag is the last of the path.
    fn start(&mut self, path: &[&'static str], element: &XmlElement);
    /// Text directly inside the last element of the path; may come in pieces.
    fn text(&mut self, path: &[&'static str], text: &str);
    /// The last element of the path closes.
    fn end(&mut self, _path: &[&'static str]) {}
}

/// Runs a visitor over a whole document.
pub(crate) fn visit(document: &[u8], visitor: &mut impl XmlVisitor) -> Result<(), XmlError> {
    let mut reader = XmlReader::new(document)?;
    let mut path: Vec<&'static str> = Vec::with_capacity(8);
    loop {
        match reader.next_event()? {
            XmlEvent::Start(element) => {
                path.push(visitor.tag(element));
                visitor.start(&path, element);
            }
            XmlEvent::Text(text) => visitor.text(&path, text),
            XmlEvent::End => {
                visitor.end(&path);
                path.pop();
            }
            XmlEvent::Done => return Ok(()),
        }
    }
}

/// XML 1.0 production 2, `Char`.
fn is_xml_char(character: char) -> bool {
    match character {
        '\t' | '\n' | '\r' => true,
        '\0'..='\x1F' | '\u{FFFE}' | '\u{FFFF}' => false,
        _ => true,
    }
}

/// Refuses what can be no name: empty, a second colon, markup or digits in front.
fn is_name(local: &str) -> bool {
    let odd = |c: char| c.is_ascii() && !c.is_ascii_alphanumeric() && !matches!(c, '-' | '.' | '_');
    let starts = local.chars().next().is_some_and(|c| !matches!(c, '-' | '.' | '0'..='9'));
    starts && !local.contains(odd)
}

fn namespace_name<'n>(resolved: &ResolveResult<'n>) -> Result<&'n str, XmlProblem> {
    match resolved {
        ResolveResult::Bound(Namespace(name)) => Ok(name),
        ResolveResult::Unbound => Ok(""),
        ResolveResult::Unknown(_) => Err(XmlProblem::UndeclaredPrefix),
    }
}

fn attribute_problem(error: quick_xml::events::attributes::AttrError) -> XmlProblem {
    match error {
        quick_xml::events::attributes::AttrError::Duplicated(..) => XmlProblem::DuplicateAttribute,
        _ => XmlProblem::NotWellFormed,
    }
}

fn predefined(name: &str) -> Option<char> {
    Some(match name {
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "quot" => '"',
        "apos" => '\'',
        _ => return None,
    })
}

fn store(target: &mut String, text: &str) {
    target.clear();
    target.push_str(text);
}
