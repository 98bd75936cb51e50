//! Resource list meta-information, the read side: which members a list NOTIFY tells about.
//!
//! Reads `application/rlmi+xml` (RFC 4662 section 5), the root part of a list body. Elements and
//! attributes of other namespaces are passed over; whether `cid`s have their part is for the
//! reader of the whole body to say.

use crate::facts::{FactsError, NS_RLMI, NS_XML};
use crate::xml::{XmlElement, XmlVisitor, visit};

/// The facts of one RLMI document.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RlmiFacts {
    /// The list's URI.
    pub uri: String,
    /// Document version, counted per subscription.
    pub version: u32,
    /// Whether every member is in it, not only changed ones.
    pub is_full: bool,
    /// Content-ID of a part about the list itself; rare.
    pub cid: Option<String>,
    /// Display names of the list.
    pub names: Vec<RlmiName>,
    /// The members, in order.
    pub resources: Vec<RlmiResource>,
}

/// A display name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RlmiName {
    /// `xml:lang`, if told.
    pub lang: Option<String>,
    /// The name, without surrounding white space.
    pub text: String,
}

/// One member of a list.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RlmiResource {
    /// The member's URI.
    pub uri: String,
    /// Its display names.
    pub names: Vec<RlmiName>,
    /// Its instances; none means that nothing is known yet.
    pub instances: Vec<RlmiInstance>,
}

/// One source of a member's state.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RlmiInstance {
    /// Id, stable for the life of the subscription.
    pub id: String,
    /// State of the virtual subscription to it.
    pub state: InstanceState,
    /// Why it is terminated, as spelled.
    pub reason: Option<String>,
    /// Content-ID of its part, without brackets.
    pub cid: Option<String>,
}

/// State of an instance (RFC 4662 section 5.3).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum InstanceState {
    /// Subscribed.
    Active,
    /// Not allowed yet.
    Pending,
    /// Over; another instance may follow.
    Terminated,
}

impl InstanceState {
    /// As the document spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            InstanceState::Active => "active",
            InstanceState::Pending => "pending",
            InstanceState::Terminated => "terminated",
        }
    }

    fn from_name(name: &str) -> Option<InstanceState> {
        [InstanceState::Active, InstanceState::Pending, InstanceState::Terminated]
            .into_iter()
            .find(|state| state.as_str() == name)
    }
}

impl RlmiFacts {
    /// Reads a document.
    ///
    /// # Errors
    ///
    /// [`FactsError`]: no XML, another document, or the first mandatory attribute that is
    /// missing or unreadable, with its element.
    pub fn parse(document: &[u8]) -> Result<RlmiFacts, FactsError> {
        let mut visitor = Visitor::default();
        visit(document, &mut visitor)?;
        if let Some(what) = visitor.missing {
            return Err(FactsError::Missing { what });
        }
        let mut facts = visitor.facts.ok_or(FactsError::WrongRoot { expected: "RLMI list" })?;
        let resource_names = facts.resources.iter_mut().flat_map(|resource| &mut resource.names);
        for name in facts.names.iter_mut().chain(resource_names) {
            name.text = name.text.trim().to_owned();
        }
        Ok(facts)
    }
}

#[derive(Default)]
struct Visitor {
    facts: Option<RlmiFacts>,
    /// The first mandatory attribute that is not there.
    missing: Option<&'static str>,
}

impl Visitor {
    /// Hands a value on; without one the document is refused for it.
    fn need<T>(&mut self, what: &'static str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.missing.get_or_insert(what);
        }
        value
    }

    fn open_list(&mut self, element: &XmlElement) -> Option<()> {
        let uri = self.need("uri of list", filled(element, "uri"))?;
        let version = element.attribute("version").and_then(|version| version.trim().parse().ok());
        let version = self.need("version of list", version)?;
        let is_full = element.attribute("fullState").and_then(boolean);
        let is_full = self.need("fullState of list", is_full)?;
        let cid = element.attribute("cid").map(str::to_owned);
        let (names, resources) = (Vec::new(), Vec::new());
        self.facts = Some(RlmiFacts { uri, version, is_full, cid, names, resources });
        Some(())
    }

    fn open_resource(&mut self, element: &XmlElement) -> Option<()> {
        let uri = self.need("uri of resource", filled(element, "uri"))?;
        let resource = RlmiResource { uri, ..RlmiResource::default() };
        self.facts.as_mut()?.resources.push(resource);
        Some(())
    }

    fn open_instance(&mut self, element: &XmlElement) -> Option<()> {
        let id = self.need("id of instance", filled(element, "id"))?;
        let state = element.attribute("state").map(str::trim).and_then(InstanceState::from_name);
        let state = self.need("state of instance", state)?;
        let optional = |name| element.attribute(name).map(str::to_owned);
        let (reason, cid) = (optional("reason"), optional("cid"));
        let resource = self.facts.as_mut()?.resources.last_mut()?;
        resource.instances.push(RlmiInstance { id, state, reason, cid });
        Some(())
    }

    fn names(&mut self, path: &[&'static str]) -> Option<&mut Vec<RlmiName>> {
        let facts = self.facts.as_mut()?;
        match path {
            ["list", "name"] => Some(&mut facts.names),
            ["list", "resource", "name"] => Some(&mut facts.resources.last_mut()?.names),
            _ => None,
        }
    }
}

impl XmlVisitor for Visitor {
    fn tag(&self, element: &XmlElement) -> &'static str {
        if element.namespace != NS_RLMI {
            return "";
        }
        match element.local.as_str() {
            "list" => "list",
            "name" => "name",
            "resource" => "resource",
            "instance" => "instance",
            _ => "",
        }
    }

    fn start(&mut self, path: &[&'static str], element: &XmlElement) {
        if self.missing.is_some() {
            return;
        }
        // What is missing is noted; a `None` only ends the element's own reading.
        let _ = match path {
            ["list"] => self.open_list(element),
            ["list", "resource"] => self.open_resource(element),
            ["list", "resource", "instance"] => self.open_instance(element),
            _ => None,
        };
        if let Some(names) = self.names(path) {
            let lang = element
                .attributes
                .iter()
                .find(|attribute| attribute.namespace == NS_XML && attribute.local == "lang")
                .map(|attribute| attribute.value.clone());
            names.push(RlmiName { lang, text: String::new() });
        }
    }

    fn text(&mut self, path: &[&'static str], text: &str) {
        if self.missing.is_some() {
            return;
        }
        if let Some(name) = self.names(path).and_then(|names| names.last_mut()) {
            name.text.push_str(text);
        }
    }
}

/// An attribute that is there and not blank, without white space around.
fn filled(element: &XmlElement, name: &str) -> Option<String> {
    let value = element.attribute(name)?.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

/// `xs:boolean`.
fn boolean(value: &str) -> Option<bool> {
    match value.trim() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}
