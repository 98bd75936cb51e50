//! `extensions.conf`: contexts, includes, and of the extensions their hints.
//!
//! Everything else of a dialplan is for calls and is passed over silently.

use std::sync::Arc;

use lampfield_core::dialplan::{DialplanError, Globals, Hint, Template, expand_globals};
use lampfield_core::placement::TenantId;

use super::super::build::Draft;
use super::super::problem::Place;
use super::section::{Entry, Section, truth};

/// Reads all contexts into the dialplan of `tenant`.
pub(super) fn load(sections: &[Section], tenant: TenantId, draft: &mut Draft) {
    let globals = globals(sections);
    let is_context = |section: &&Section| {
        !section.is_template && !matches!(&*section.name, "general" | "globals")
    };
    for section in sections.iter().filter(is_context) {
        let result = draft.core.dialplan.add_context(tenant, &section.name);
        draft.dialplan(&section.place, true, result);
        let mut context =
            Context { name: &section.name, tenant, globals: &globals, last_exten: None, draft };
        section.entries.iter().for_each(|entry| context.entry(entry));
    }
}

/// `[globals]`, each value with those before it put in.
fn globals(sections: &[Section]) -> Globals {
    let mut globals = Globals::new();
    for section in sections.iter().filter(|section| &*section.name == "globals") {
        for Entry { name, value, .. } in &section.entries {
            // A function in it is reported where a hint uses the variable.
            let value = expand_globals(value, &globals, 0).unwrap_or_else(|_| value.clone());
            globals.insert(name.to_string(), value);
        }
    }
    globals
}

/// The context being read.
struct Context<'a> {
    name: &'a Arc<str>,
    tenant: TenantId,
    globals: &'a Globals,
    last_exten: Option<String>,
    draft: &'a mut Draft,
}

impl Context<'_> {
    fn entry(&mut self, entry: &Entry) {
        let Entry { name, value, place } = entry;
        match &*name.to_ascii_lowercase() {
            "exten" => self.exten(value, place),
            "same" => self.same(value, place),
            "include" => self.include(value, place),
            "autohints" => self.autohints(value, place),
            "switch" | "lswitch" | "eswitch" => self.draft.problems.warn(
                place,
                format!(
                    "{name}: hints behind a switch are not looked for; only those of this file"
                ),
            ),
            "ignorepat" => {}
            _ => {
                let text = format!(
                    "{name} is nothing a context has (exten, same, include, switch, ignorepat, \
                     autohints); ignored"
                );
                self.draft.problems.warn(place, text);
            }
        }
    }

    /// `EXT[/CALLERID],PRIORITY,APPLICATION`.
    fn exten(&mut self, value: &str, place: &Place) {
        let (exten, rest) = value.split_once(',').unwrap_or((value, ""));
        let exten = match expand_globals(exten.trim(), self.globals, 0) {
            Ok(exten) => exten,
            Err(error) => {
                self.last_exten = None;
                if is_hint(rest) {
                    let text = format!("this hint is not served: {error}");
                    self.draft.problems.warn(place, text);
                }
                return;
            }
        };
        self.priority(&exten, rest, place);
        self.last_exten = Some(exten);
    }

    /// `PRIORITY,APPLICATION` of the extension before.
    fn same(&mut self, value: &str, place: &Place) {
        if let Some(exten) = self.last_exten.take() {
            self.priority(&exten, value, place);
            self.last_exten = Some(exten);
        } else if is_hint(value) {
            let text = "'same' needs an 'exten' before it in this context; ignored";
            self.draft.problems.warn(place, text);
        }
    }

    fn priority(&mut self, exten: &str, rest: &str, place: &Place) {
        let (priority, text) = rest.split_once(',').unwrap_or((rest, ""));
        match priority.trim() {
            "hint" => self.hint(exten, text, place),
            other if other.eq_ignore_ascii_case("hint") => {
                let text = format!("{other}: Asterisk knows 'hint' in lower case only; ignored");
                self.draft.problems.warn(place, text);
            }
            _ => {}
        }
    }

    fn hint(&mut self, exten: &str, text: &str, place: &Place) {
        let (exten, caller_id) = exten.split_once('/').map_or((exten, ""), |(e, c)| (e, c));
        if !caller_id.is_empty() {
            let text = "a hint for one caller id is never shown: a watcher has none; ignored";
            return self.draft.problems.warn(place, text);
        }
        for name in unset_globals(text, self.globals) {
            let text = format!("${{{name}}} is not set in [globals]: empty, as in Asterisk");
            self.draft.problems.warn(place, text);
        }
        let result = match Template::parse(text, self.globals, &place.to_string()) {
            Ok(template) => self.add(exten, template),
            Err(error) => {
                return self
                    .draft
                    .problems
                    .warn(place, format!("this hint is not served: {error}"));
            }
        };
        self.draft.dialplan(place, true, result);
    }

    fn add(&mut self, exten: &str, template: Template) -> Result<(), DialplanError> {
        let dialplan = &mut self.draft.core.dialplan;
        if exten.starts_with('_') {
            return dialplan.add_pattern(self.tenant, self.name, exten, template);
        }
        let hint: Hint = template.instantiate(self.name, exten);
        dialplan.add_hint(self.tenant, self.name, exten, hint)
    }

    /// `CONTEXT[,TIME,…]`.
    fn include(&mut self, value: &str, place: &Place) {
        let (included, times) = value.split_once([',', '|']).unwrap_or((value, ""));
        if !times.trim().is_empty() {
            let text =
                format!("include {included}: its hints are found at all times, not only then");
            self.draft.problems.warn(place, text);
        }
        match expand_globals(included.trim(), self.globals, 0) {
            Ok(included) => {
                let dialplan = &mut self.draft.core.dialplan;
                let result = dialplan.add_include(self.tenant, self.name, &included);
                self.draft.dialplan(place, true, result);
            }
            Err(error) => {
                self.draft.problems.warn(place, format!("this include is ignored: {error}"));
            }
        }
    }

    fn autohints(&mut self, value: &str, place: &Place) {
        match truth(value) {
            Some(true) => {
                let result = self.draft.core.dialplan.set_autohints(self.tenant, self.name);
                self.draft.dialplan(place, true, result);
            }
            Some(false) => {}
            None => {
                let text = format!("autohints = {value}: yes or no expected");
                self.draft.problems.error(place, text);
            }
        }
    }
}

fn is_hint(rest: &str) -> bool {
    rest.split(',').next().is_some_and(|priority| priority.trim() == "hint")
}

/// Variables of a text that are neither its extension's nor global.
fn unset_globals<'t>(text: &'t str, globals: &Globals) -> Vec<&'t str> {
    let names = text.split("${").skip(1).filter_map(|rest| rest.split(['}', ':']).next());
    let known = |name: &&str| {
        matches!(*name, "EXTEN" | "CONTEXT") || globals.contains_key(*name) || name.contains('(')
    };
    names.filter(|name| !known(name)).collect()
}
