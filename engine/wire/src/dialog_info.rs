//! Dialog information, the read side: what a watcher learns from `application/dialog-info+xml`.
//!
//! Reads RFC 4235 documents and Asterisk's, which write `pvalue` for the parameter value that
//! the RFC calls `pval`.

use crate::facts::{FactsError, NS_DIALOG_INFO, owned};
use crate::limits::DIALOG_COUNT_MAX;
use crate::presence_document::refuse_twice;
use crate::xml::{XmlElement, XmlVisitor, visit};

/// The facts of one dialog-info document.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DialogInfoFacts {
    /// Document version.
    pub version: u32,
    /// Whether it lists every dialog (`state="full"`), not only changed ones.
    pub is_full: bool,
    /// Whose dialogs.
    pub entity: String,
    /// The dialogs, in order.
    pub dialogs: Vec<DialogFacts>,
}

/// One dialog.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DialogFacts {
    /// Id within the document; empty if missing.
    pub id: String,
    /// `trying`, `proceeding`, `early`, `confirmed` or `terminated`.
    pub state: String,
    /// `initiator` or `recipient`; empty if missing.
    pub direction: String,
    /// Call-ID, if told.
    pub call_id: Option<String>,
    /// Tag of the observed side, if told.
    pub local_tag: Option<String>,
    /// Tag of the other side, if told.
    pub remote_tag: Option<String>,
    /// `+sip.rendering` of the local target is `no`: on hold.
    pub rendering_no: bool,
    /// The observed side.
    pub local: Party,
    /// The other side.
    pub remote: Party,
}

/// One side of a dialog; missing parts are empty.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Party {
    /// Identity URI.
    pub identity: String,
    /// Display name of the identity.
    pub display: String,
    /// Target URI.
    pub target: String,
}

impl DialogInfoFacts {
    /// Reads a document.
    ///
    /// # Errors
    ///
    /// [`FactsError`]: no XML, another document, no entity, version or state, or a dialog
    /// without a state. A dialog without an id is read (some peers write it).
    pub fn parse(document: &[u8]) -> Result<DialogInfoFacts, FactsError> {
        let (root, dialogs) = read(document)?;
        let Root { version: Some(version), is_full: Some(is_full), entity, .. } = root else {
            return Err(FactsError::Missing { what: "dialog-info version or state" });
        };
        Ok(DialogInfoFacts { version, is_full, entity, dialogs })
    }

    /// Reads a document somebody publishes. Proxies leave the version to the server (0 then), one
    /// without a `state` is full, and Kamailio writes `Trying`.
    ///
    /// # Errors
    ///
    /// [`FactsError`]: no XML, another document, no entity, a version or state that cannot be
    /// read, a dialog in no known state, an id that comes twice, or too many dialogs.
    pub fn parse_published(document: &[u8]) -> Result<DialogInfoFacts, FactsError> {
        const STATES: [&str; 5] = ["trying", "proceeding", "early", "confirmed", "terminated"];
        let (root, mut dialogs) = read(document)?;
        dialogs.iter_mut().for_each(|dialog| dialog.state.make_ascii_lowercase());
        if root.version.is_none() && root.has_version {
            return Err(FactsError::Missing { what: "dialog-info version" });
        }
        if root.is_full.is_none() && root.has_state {
            return Err(FactsError::Missing { what: "dialog-info state" });
        }
        if dialogs.len() > DIALOG_COUNT_MAX {
            return Err(FactsError::TooMany { what: "dialogs", max: DIALOG_COUNT_MAX });
        }
        if dialogs.iter().any(|dialog| !STATES.contains(&dialog.state.as_str())) {
            return Err(FactsError::Missing { what: "dialog state" });
        }
        refuse_twice("dialog id", dialogs.iter().map(|dialog| dialog.id.as_str()))?;
        let (version, is_full) = (root.version.unwrap_or(0), root.is_full.unwrap_or(true));
        Ok(DialogInfoFacts { version, is_full, entity: root.entity, dialogs })
    }
}

/// Root and dialogs of a document.
fn read(document: &[u8]) -> Result<(Root, Vec<DialogFacts>), FactsError> {
    let mut visitor = Visitor::default();
    visit(document, &mut visitor)?;
    let Some(root) = visitor.root else {
        return Err(FactsError::WrongRoot { expected: "dialog-info" });
    };
    if root.entity.is_empty() {
        return Err(FactsError::Missing { what: "dialog-info entity" });
    }
    let mut dialogs = visitor.dialogs;
    for dialog in &mut dialogs {
        for text in [&mut dialog.state, &mut dialog.local.identity, &mut dialog.remote.identity] {
            *text = text.trim().to_owned();
        }
        if dialog.state.is_empty() {
            return Err(FactsError::Missing { what: "dialog state" });
        }
    }
    Ok((root, dialogs))
}

struct Root {
    version: Option<u32>,
    /// Whether there is a `version`, readable or not.
    has_version: bool,
    is_full: Option<bool>,
    /// Whether there is a `state`, readable or not.
    has_state: bool,
    entity: String,
}

#[derive(Default)]
struct Visitor {
    root: Option<Root>,
    dialogs: Vec<DialogFacts>,
}

impl Visitor {
    fn open_root(&mut self, element: &XmlElement) {
        self.root = Some(Root {
            version: element.attribute("version").and_then(|version| version.trim().parse().ok()),
            has_version: element.attribute("version").is_some(),
            has_state: element.attribute("state").is_some(),
            is_full: match element.attribute("state") {
                Some("full") => Some(true),
                Some("partial") => Some(false),
                _ => None,
            },
            entity: owned(element.attribute("entity")),
        });
    }

    fn open_dialog(&mut self, element: &XmlElement) {
        let optional = |name| element.attribute(name).map(str::to_owned);
        self.dialogs.push(DialogFacts {
            id: owned(element.attribute("id")),
            direction: owned(element.attribute("direction")),
            call_id: optional("call-id"),
            local_tag: optional("local-tag"),
            remote_tag: optional("remote-tag"),
            ..DialogFacts::default()
        });
    }
}

impl XmlVisitor for Visitor {
    fn tag(&self, element: &XmlElement) -> &'static str {
        if element.namespace != NS_DIALOG_INFO {
            return "";
        }
        match element.local.as_str() {
            "dialog-info" => "dialog-info",
            "dialog" => "dialog",
            "state" => "state",
            "local" => "local",
            "remote" => "remote",
            "identity" => "identity",
            "target" => "target",
            "param" => "param",
            _ => "",
        }
    }

    fn start(&mut self, path: &[&'static str], element: &XmlElement) {
        let inner = match path {
            ["dialog-info"] => return self.open_root(element),
            ["dialog-info", "dialog"] => return self.open_dialog(element),
            ["dialog-info", "dialog", inner @ ..] => inner,
            _ => return,
        };
        let Some(dialog) = self.dialogs.last_mut() else { return };
        match inner {
            ["local", rest @ ..] => {
                open_party(&mut dialog.local, rest, element);
                let value = element.attribute("pval").or_else(|| element.attribute("pvalue"));
                if rest == ["target", "param"]
                    && element.attribute("pname") == Some("+sip.rendering")
                    && value.is_some_and(|value| value.eq_ignore_ascii_case("no"))
                {
                    dialog.rendering_no = true;
                }
            }
            ["remote", rest @ ..] => open_party(&mut dialog.remote, rest, element),
            _ => {}
        }
    }

    fn text(&mut self, path: &[&'static str], text: &str) {
        let Some(dialog) = self.dialogs.last_mut() else { return };
        let field = match path {
            ["dialog-info", "dialog", "state"] => &mut dialog.state,
            ["dialog-info", "dialog", "local", "identity"] => &mut dialog.local.identity,
            ["dialog-info", "dialog", "remote", "identity"] => &mut dialog.remote.identity,
            _ => return,
        };
        field.push_str(text);
    }
}

fn open_party(party: &mut Party, path: &[&'static str], element: &XmlElement) {
    match path {
        ["identity"] | ["target"] => {
            // Kamailio names the other side in the target.
            if let Some(display) = element.attribute("display").filter(|_| party.display.is_empty())
            {
                party.display = display.to_owned();
            }
        }
        _ => {}
    }
    if path == ["target"] {
        party.target = owned(element.attribute("uri"));
    }
}
