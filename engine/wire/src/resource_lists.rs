//! Resource lists, the read side: what somebody wants to watch together.
//!
//! Reads `application/resource-lists+xml` (RFC 4826 section 3), as XCAP keeps it and as the body
//! of a SUBSCRIBE (RFC 5367). Entries by reference are told, not followed. Elements of other
//! namespaces are passed over. That siblings have different names and URIs is a rule of XCAP, not
//! of the grammar, and is not checked here.

use std::collections::HashSet;

use crate::canonical::canonical_uri;
use crate::facts::{FactsError, NS_RESOURCE_LISTS};
use crate::limits::{LIST_DEPTH_MAX, LIST_ITEM_COUNT_MAX};
use crate::xml::{XmlElement, XmlVisitor, visit};

/// The facts of one resource-lists document.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ResourceLists {
    /// The lists at the top, in order.
    pub lists: Vec<ResourceList>,
}

/// One list.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ResourceList {
    /// Name among its siblings, if told.
    pub name: Option<String>,
    /// What to show for it.
    pub display_name: Option<String>,
    /// What is in it, in order.
    pub items: Vec<ListItem>,
}

/// What stands in a list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ListItem {
    /// A member.
    Entry(ListEntry),
    /// A list below.
    List(ResourceList),
    /// A member in another document of the same XCAP root.
    EntryRef {
        /// Where, relative to the root.
        path: String,
        /// What to show for it.
        display_name: Option<String>,
    },
    /// A list on any server.
    External {
        /// Where, an HTTP URI; the grammar lets it be missing.
        anchor: Option<String>,
        /// What to show for it.
        display_name: Option<String>,
    },
}

/// A member of a list.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ListEntry {
    /// The member's URI, as written.
    pub uri: String,
    /// What to show for it.
    pub display_name: Option<String>,
}

impl ResourceLists {
    /// Reads a document.
    ///
    /// # Errors
    ///
    /// [`FactsError`]: no XML, another document, an entry without URI or a reference without
    /// target, more items than [`LIST_ITEM_COUNT_MAX`], lists deeper than [`LIST_DEPTH_MAX`].
    pub fn parse(document: &[u8]) -> Result<ResourceLists, FactsError> {
        let mut visitor = Visitor::default();
        visit(document, &mut visitor)?;
        if !visitor.is_resource_lists {
            return Err(FactsError::WrongRoot { expected: "resource-lists" });
        }
        Ok(ResourceLists { lists: visitor.reader.finish()? })
    }

    /// The members a SUBSCRIBE with this body asks for: entries of the lists at the top, in
    /// order, each once.
    ///
    /// Lists below and references are left out, as RFC 5367 section 4 allows. Two entries are
    /// the same member if their URIs have the same canonical spelling, or, where the scheme has
    /// none, are written the same; the first one stays, and its display name with it.
    pub fn flat_entries(&self) -> Vec<&ListEntry> {
        let mut seen = HashSet::new();
        let items = self.lists.iter().flat_map(|list| &list.items);
        let entries = items.filter_map(|item| match item {
            ListItem::Entry(entry) => Some(entry),
            ListItem::List(_) | ListItem::EntryRef { .. } | ListItem::External { .. } => None,
        });
        let key = |uri: &str| canonical_uri(uri.as_bytes()).unwrap_or_else(|_| uri.to_owned());
        entries.filter(|entry| seen.insert(key(&entry.uri))).collect()
    }
}

#[derive(Default)]
struct Visitor {
    is_resource_lists: bool,
    reader: ListReader,
}

impl XmlVisitor for Visitor {
    fn tag(&self, element: &XmlElement) -> &'static str {
        match (element.namespace.as_str(), element.local.as_str()) {
            (NS_RESOURCE_LISTS, "resource-lists") => "resource-lists",
            _ => list_tag(element),
        }
    }

    fn start(&mut self, path: &[&'static str], element: &XmlElement) {
        match path {
            ["resource-lists"] => self.is_resource_lists = true,
            ["resource-lists", below @ ..] => self.reader.start(below, element),
            _ => {}
        }
    }

    fn text(&mut self, path: &[&'static str], text: &str) {
        if let ["resource-lists", below @ ..] = path {
            self.reader.text(below, text);
        }
    }

    fn end(&mut self, path: &[&'static str]) {
        if let ["resource-lists", below @ ..] = path {
            self.reader.end(below);
        }
    }
}

/// Tag of an element that makes up lists.
pub(crate) fn list_tag(element: &XmlElement) -> &'static str {
    if element.namespace != NS_RESOURCE_LISTS {
        return "";
    }
    match element.local.as_str() {
        "list" => "list",
        "entry" => "entry",
        "entry-ref" => "entry-ref",
        "external" => "external",
        "display-name" => "display-name",
        _ => "",
    }
}

/// Builds lists from the elements below whatever holds them; paths start at the outermost list.
#[derive(Debug, Default)]
pub(crate) struct ListReader {
    /// Closed outermost lists.
    lists: Vec<ResourceList>,
    /// Lists the reader is inside of, outermost first.
    open: Vec<ResourceList>,
    item_count: usize,
    /// Whether text of the display name at hand is kept: the first one of its element is.
    keeps_text: bool,
    problem: Option<FactsError>,
}

impl ListReader {
    pub(crate) fn start(&mut self, path: &[&'static str], element: &XmlElement) {
        if self.problem.is_none()
            && let Err(problem) = self.try_start(path, element)
        {
            self.problem = Some(problem);
        }
    }

    pub(crate) fn text(&mut self, path: &[&'static str], text: &str) {
        if self.keeps_text
            && let Some(name) = self.display_name(path)
        {
            name.get_or_insert_default().push_str(text);
        }
    }

    pub(crate) fn end(&mut self, path: &[&'static str]) {
        if self.problem.is_some() {
            return;
        }
        if self.keeps_text
            && let Some(Some(name)) = self.display_name(path)
        {
            *name = name.trim().to_owned();
            self.keeps_text = false;
        }
        if path.iter().all(|&tag| tag == "list")
            && let Some(list) = self.open.pop()
        {
            match self.open.last_mut() {
                Some(outer) => outer.items.push(ListItem::List(list)),
                None => self.lists.push(list),
            }
        }
    }

    /// The outermost list closed last.
    pub(crate) fn take(&mut self) -> Option<ResourceList> {
        self.lists.pop()
    }

    pub(crate) fn finish(self) -> Result<Vec<ResourceList>, FactsError> {
        match self.problem {
            Some(problem) => Err(problem),
            None => Ok(self.lists),
        }
    }

    fn try_start(&mut self, path: &[&'static str], element: &XmlElement) -> Result<(), FactsError> {
        if let Some(name) = self.display_name(path) {
            let is_first = name.is_none();
            name.get_or_insert_default();
            self.keeps_text = is_first;
            return Ok(());
        }
        let depth = path.iter().take_while(|&&tag| tag == "list").count();
        let optional = |name| element.attribute(name).map(str::to_owned);
        let display_name = None;
        let item = match &path[depth..] {
            [] if depth > LIST_DEPTH_MAX => {
                return Err(FactsError::TooMany {
                    what: "lists inside lists",
                    max: LIST_DEPTH_MAX,
                });
            }
            [] => {
                self.count_item()?;
                self.open.push(ResourceList { name: optional("name"), ..Default::default() });
                return Ok(());
            }
            ["entry"] => ListItem::Entry(ListEntry {
                uri: need(element, "uri", "uri of entry")?,
                display_name,
            }),
            ["entry-ref"] => {
                ListItem::EntryRef { path: need(element, "ref", "ref of entry-ref")?, display_name }
            }
            ["external"] => ListItem::External { anchor: optional("anchor"), display_name },
            _ => return Ok(()),
        };
        self.count_item()?;
        if let Some(list) = self.open.last_mut() {
            list.items.push(item);
        }
        Ok(())
    }

    fn count_item(&mut self) -> Result<(), FactsError> {
        self.item_count += 1;
        match self.item_count > LIST_ITEM_COUNT_MAX {
            true => Err(FactsError::TooMany { what: "list items", max: LIST_ITEM_COUNT_MAX }),
            false => Ok(()),
        }
    }

    /// Where a display name at this path belongs.
    fn display_name(&mut self, path: &[&'static str]) -> Option<&mut Option<String>> {
        let [lists @ .., "display-name"] = path else { return None };
        let (owner, lists) = match lists {
            [lists @ .., owner @ ("entry" | "entry-ref" | "external")] => (Some(*owner), lists),
            lists => (None, lists),
        };
        if lists.is_empty() || lists.iter().any(|&tag| tag != "list") {
            return None;
        }
        let list = self.open.last_mut()?;
        if owner.is_none() {
            return Some(&mut list.display_name);
        }
        match list.items.last_mut()? {
            ListItem::Entry(entry) => Some(&mut entry.display_name),
            ListItem::EntryRef { display_name, .. } | ListItem::External { display_name, .. } => {
                Some(display_name)
            }
            ListItem::List(_) => None,
        }
    }
}

/// An attribute that must be there and not blank, without white space around.
pub(crate) fn need(
    element: &XmlElement,
    name: &str,
    what: &'static str,
) -> Result<String, FactsError> {
    let value = element.attribute(name).unwrap_or_default().trim();
    if value.is_empty() { Err(FactsError::Missing { what }) } else { Ok(value.to_owned()) }
}
