//! A document as a tree with namespaces resolved, read by quick-xml.

use std::collections::BTreeMap;

use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;

/// One element.
#[derive(Debug, Default)]
pub(crate) struct Element {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) children: Vec<Element>,
    pub(crate) text: String,
}

impl Element {
    /// The root of `document`; panics with the document if it is not well-formed.
    pub(crate) fn parse(document: &str) -> Self {
        let mut reader = Reader::from_str(document);
        reader.config_mut().check_end_names = true;
        let mut open = vec![(Element::default(), BTreeMap::new())];
        loop {
            let event = reader.read_event().unwrap_or_else(|e| panic!("{e}\n{document}"));
            match event {
                Event::Start(start) => {
                    let entered = enter(&start, &open.last().expect("root").1);
                    open.push(entered);
                }
                Event::Empty(start) => {
                    let (element, _) = enter(&start, &open.last().expect("root").1);
                    open.last_mut().expect("root").0.children.push(element);
                }
                Event::End(_) => {
                    let (element, _) = open.pop().expect("end names are checked");
                    open.last_mut().expect("root").0.children.push(element);
                }
                Event::Text(text) => {
                    open.last_mut().expect("root").0.text += text.xml10_content().as_ref();
                }
                Event::GeneralRef(reference) => {
                    let c = match reference.resolve_char_ref().expect("character reference") {
                        Some(c) => c,
                        None => predefined(&reference.xml10_content()),
                    };
                    open.last_mut().expect("root").0.text.push(c);
                }
                Event::Decl(_) => assert!(document.starts_with("<?xml"), "{document}"),
                Event::Eof => break,
                other => panic!("unexpected {other:?} in\n{document}"),
            }
        }
        assert_eq!(open.len(), 1, "an element is not closed in\n{document}");
        let (mut top, _) = open.remove(0);
        assert_eq!(top.children.len(), 1, "one root wanted in\n{document}");
        top.children.remove(0)
    }

    /// Every element of this local name, anywhere below.
    pub(crate) fn all<'e>(&'e self, name: &str) -> Vec<&'e Element> {
        let mut found: Vec<_> = self.children.iter().filter(|child| child.name == name).collect();
        found.extend(self.children.iter().flat_map(|child| child.all(name)));
        found
    }

    pub(crate) fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

fn enter(
    start: &BytesStart<'_>,
    outer: &BTreeMap<String, String>,
) -> (Element, BTreeMap<String, String>) {
    let mut namespaces = outer.clone();
    let mut attributes = BTreeMap::new();
    for attribute in start.attributes() {
        let attribute = attribute.expect("well-formed attribute");
        let key: &str = attribute.key.as_ref();
        let value =
            attribute.normalized_value(XmlVersion::Implicit1_0).expect("value").into_owned();
        if key == "xmlns" {
            namespaces.insert(String::new(), value);
        } else if let Some(prefix) = key.strip_prefix("xmlns:") {
            namespaces.insert(prefix.to_owned(), value);
        } else {
            attributes.insert(key.to_owned(), value);
        }
    }
    let name = start.name();
    let qualified: &str = name.as_ref();
    let (prefix, name) = qualified.split_once(':').unwrap_or(("", qualified));
    let namespace = match namespaces.get(prefix) {
        Some(namespace) => namespace.clone(),
        None => {
            assert!(prefix.is_empty(), "prefix {prefix} is not declared");
            String::new()
        }
    };
    let element = Element { namespace, name: name.to_owned(), attributes, ..Element::default() };
    (element, namespaces)
}

fn predefined(name: &str) -> char {
    match name {
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "quot" => '"',
        "apos" => '\'',
        other => panic!("entity {other} is not predefined"),
    }
}
