//! Hints of patterns and ranges: texts with `${EXTEN}` in them, filled in for one extension.
//!
//! The text is split into devices and presence sources when the configuration is read, and the
//! extension put in afterwards: what a watcher asks for can never add a device to a hint.
//!
//! Source: `reference/states.md` section 5.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::hint::{self, Hint, HintError};

/// How deep variables may stand inside the values of variables.
const EXPANSION_DEPTH_MAX: usize = 8;

/// Global variables, by name.
pub type Globals = BTreeMap<String, String>;

/// A hint still to be filled in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Template {
    /// The text as configured, without display name.
    pub text: Arc<str>,
    /// Where it was configured, as `file:line`.
    pub origin: Arc<str>,
    devices: Vec<Parts>,
    presence: Vec<Parts>,
    /// The whole text.
    whole: Parts,
    display_name: Parts,
}

/// Why a text is not a template.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TemplateError {
    /// `${FUNCTION(…)}` or `$[…]`: nobody here can evaluate it.
    #[error("{0} is a function or expression; only ${{EXTEN}}, ${{CONTEXT}} and globals are known")]
    Function(String),
    /// `${` without `}`.
    #[error("'${{' is not closed with '}}'")]
    Open,
    /// `${NAME:x}`.
    #[error("{0} is not an offset or length")]
    Slice(String),
    /// Globals that name each other in a circle.
    #[error("variables are nested too deeply")]
    Depth,
    /// The text around the variables.
    #[error(transparent)]
    Hint(#[from] HintError),
}

/// A text with places for the extension and the context.
type Parts = Box<[Part]>;

#[derive(Clone, Debug, Eq, PartialEq)]
enum Part {
    Literal(Box<str>),
    Exten(Slice),
    Context(Slice),
}

/// `${NAME:offset:length}`; negative numbers count from the end.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Slice {
    offset: i32,
    length: Option<i32>,
}

impl Template {
    /// Reads a hint text with variables: `${EXTEN}`, `${CONTEXT}` (both also as `{exten}` and
    /// `{context}`), each with `:offset` and `:length`, and `globals`. A global that does not
    /// exist is empty, as in Asterisk.
    ///
    /// # Errors
    ///
    /// What is wrong with the text.
    pub fn parse(text: &str, globals: &Globals, origin: &str) -> Result<Self, TemplateError> {
        let (text, display_name) = hint::split_display_name(text);
        let display_name = display_name.unwrap_or_default();
        hint::check(text)?;
        hint::check(display_name)?;
        let expanded = expand_globals(text, globals, 0)?;
        hint::check(&expanded)?;
        let (devices, presence) = hint::split_sources(&expanded)?;
        let compile =
            |names: Vec<&str>| names.into_iter().map(parts).collect::<Result<Vec<_>, _>>();
        Ok(Self {
            text: text.into(),
            origin: origin.into(),
            devices: compile(devices)?,
            presence: compile(presence)?,
            whole: parts(&expanded)?,
            display_name: parts(&expand_globals(display_name, globals, 0)?)?,
        })
    }

    /// Whether it has no place to fill in: the same hint for every extension.
    pub fn is_constant(&self) -> bool {
        let constant = |parts: &Parts| parts.iter().all(|part| matches!(part, Part::Literal(_)));
        constant(&self.whole) && constant(&self.display_name)
    }

    /// The hint of one extension.
    pub fn instantiate(&self, context: &str, exten: &str) -> Hint {
        let fill = |parts: &Parts| fill(parts, context, exten);
        // An empty slice may leave a name empty: it is skipped, like one written so.
        let names = |list: &[Parts]| {
            list.iter().map(fill).filter(|name| !name.is_empty()).map(Arc::from).collect()
        };
        let display_name = fill(&self.display_name);
        Hint {
            text: fill(&self.whole).into(),
            devices: names(&self.devices),
            presence: names(&self.presence),
            display_name: (!display_name.is_empty()).then(|| display_name.into()),
            last_overrules: false,
            voicemail_extension: None,
            origin: Arc::clone(&self.origin),
        }
    }
}

/// Puts the values of globals in, and leaves `${EXTEN…}` and `${CONTEXT…}` as they are.
///
/// # Errors
///
/// A function, an unclosed brace, a malformed slice, or values nested too deeply.
pub fn expand_globals(
    text: &str,
    globals: &Globals,
    depth: usize,
) -> Result<String, TemplateError> {
    if depth > EXPANSION_DEPTH_MAX {
        return Err(TemplateError::Depth);
    }
    if text.contains("$[") {
        return Err(TemplateError::Function("$[…]".into()));
    }
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let (variable, after) = split_variable(after)?;
        rest = after;
        if variable.contains('(') {
            return Err(TemplateError::Function(format!("${{{variable}}}")));
        }
        let (name, slice) =
            variable.split_once(':').map_or((variable, None), |(n, s)| (n, Some(s)));
        if matches!(name, "EXTEN" | "CONTEXT") {
            out.push_str(&format!("${{{variable}}}"));
            continue;
        }
        let value = globals.get(name).map_or("", String::as_str);
        let value = expand_globals(value, globals, depth + 1)?;
        match slice {
            None => out.push_str(&value),
            Some(slice) => out.push_str(Slice::parse(slice)?.of(&value)),
        }
        if out.len() > hint::HINT_BYTES_MAX {
            return Err(HintError::TooLong(out.len()).into());
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// Splits `NAME:1}rest` at the closing brace.
fn split_variable(text: &str) -> Result<(&str, &str), TemplateError> {
    let (variable, rest) = text.split_once('}').ok_or(TemplateError::Open)?;
    if variable.contains("${") {
        return Err(TemplateError::Function(format!("${{{variable}}}")));
    }
    Ok((variable, rest))
}

/// Compiles a text in which only the extension and the context are left to fill in.
fn parts(text: &str) -> Result<Parts, TemplateError> {
    let (mut parts, mut literal, mut rest) = (Vec::new(), String::new(), text);
    while let Some(brace) = rest.find('{') {
        let (before, after) = (&rest[..brace], &rest[brace + 1..]);
        let Some((name, after)) = after.split_once('}') else { break };
        let (name, slice) = name.split_once(':').unwrap_or((name, ""));
        let dollar = before.ends_with('$');
        let part: fn(Slice) -> Part = match (dollar, name) {
            (true, "EXTEN") | (false, "exten") => Part::Exten,
            (true, "CONTEXT") | (false, "context") => Part::Context,
            _ => {
                literal.push_str(&rest[..=brace]);
                rest = &rest[brace + 1..];
                continue;
            }
        };
        literal.push_str(if dollar { &before[..before.len() - 1] } else { before });
        if !literal.is_empty() {
            parts.push(Part::Literal(std::mem::take(&mut literal).into()));
        }
        parts.push(part(Slice::parse(slice)?));
        rest = after;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(Part::Literal(literal.into()));
    }
    Ok(parts.into())
}

fn fill(parts: &Parts, context: &str, exten: &str) -> String {
    let mut out = String::new();
    for part in parts {
        out.push_str(match part {
            Part::Literal(text) => text,
            Part::Exten(slice) => slice.of(exten),
            Part::Context(slice) => slice.of(context),
        });
    }
    out
}

impl Slice {
    /// Reads `offset[:length]`; either may be empty.
    fn parse(text: &str) -> Result<Self, TemplateError> {
        let number = |text: &str| match text {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| TemplateError::Slice(text.into())),
        };
        let (offset, length) = text.split_once(':').unwrap_or((text, ""));
        Ok(Self { offset: number(offset)?.unwrap_or(0), length: number(length)? })
    }

    /// The characters it selects.
    fn of<'a>(&self, text: &'a str) -> &'a str {
        let count = text.chars().count() as i64;
        let from_end = |n: i32| if n < 0 { (count + i64::from(n)).max(0) } else { i64::from(n) };
        let start = from_end(self.offset).min(count);
        let end = match self.length {
            None => count,
            Some(length) if length < 0 => from_end(length).max(start),
            Some(length) => (start + i64::from(length)).min(count),
        };
        let byte = |char_index: i64| {
            text.char_indices().nth(char_index as usize).map_or(text.len(), |(at, _)| at)
        };
        &text[byte(start)..byte(end)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn globals() -> Globals {
        let rows =
            [("TECH", "PJSIP"), ("PAIR", "${TECH}/a&Custom:b"), ("A", "${B}"), ("B", "${A}")];
        rows.map(|(name, value)| (name.into(), value.into())).into()
    }

    #[test]
    fn variables_are_filled_in_for_the_extension() {
        for (text, want) in [
            ("Custom:p${EXTEN},CustomPresence:p${EXTEN}", "Custom:p7701,CustomPresence:p7701"),
            ("Custom:{exten},CustomPresence:{exten}", "Custom:7701,CustomPresence:7701"),
            ("PJSIP/${EXTEN:1}", "PJSIP/701"),
            ("PJSIP/${EXTEN:-3}", "PJSIP/701"),
            ("PJSIP/${EXTEN:-9}", "PJSIP/7701"),
            ("PJSIP/${EXTEN:1:2}", "PJSIP/70"),
            ("PJSIP/${EXTEN:0:-1}", "PJSIP/770"),
            ("PJSIP/${EXTEN:-3:2}", "PJSIP/70"),
            ("PJSIP/${EXTEN::2}", "PJSIP/77"),
            ("PJSIP/${EXTEN:9}", "PJSIP/"),
            ("PJSIP/${EXTEN:3:-3}", "PJSIP/"),
            ("PJSIP/{exten:1:2}", "PJSIP/70"),
            ("${TECH}/${EXTEN}@${CONTEXT}", "PJSIP/7701@hints"),
            ("${TECH:0:2}/{context:-2}", "PJ/ts"),
            ("${PAIR},P:${EXTEN}", "PJSIP/a&Custom:b,P:7701"),
            ("Custom:${NOSUCH}${EXTEN}", "Custom:7701"),
            ("Custom:{x}$${EXTEN}{", "Custom:{x}$7701{"),
            ("Custom:fixed", "Custom:fixed"),
        ] {
            let template = Template::parse(text, &globals(), "f:1").unwrap();
            assert_eq!(&*template.instantiate("hints", "7701").text, want, "{text}");
        }
    }

    #[test]
    fn an_extension_cannot_add_devices_or_presence() {
        let template = Template::parse("Custom:${EXTEN},P:x", &globals(), "").unwrap();
        let hint = template.instantiate("hints", "1&Custom:spy,P:spy");
        assert_eq!(hint.devices, ["Custom:1&Custom:spy,P:spy".into()]);
        assert_eq!(hint.presence, ["P:x".into()]);
    }

    #[test]
    fn display_names_follow_the_rule_of_the_parenthesis() {
        for (text, want) in [
            ("PJSIP/{exten}(Desk {exten})", Some("Desk 7701")),
            ("PJSIP/x(Desk ${EXTEN:2})", Some("Desk 01")),
            ("PJSIP/x()", None),
            ("PJSIP/${EXTEN}(Desk)", None),
        ] {
            let hint = Template::parse(text, &globals(), "").unwrap().instantiate("hints", "7701");
            assert_eq!(hint.display_name.as_deref(), want, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_filled_in_says_why() {
        for (text, want) in [
            ("PJSIP/${DB(x/y)}", "${DB(x/y)} is a function or expression"),
            ("PJSIP/$[1+1]", "$[…] is a function or expression"),
            ("PJSIP/${EXTEN", "'${' is not closed"),
            ("PJSIP/${EXTEN:one}", "one is not an offset or length"),
            ("PJSIP/${EXTEN:${N}}", "${EXTEN:${N} is a function or expression"),
            ("PJSIP/${A}", "nested too deeply"),
        ] {
            let error = Template::parse(text, &globals(), "").unwrap_err().to_string();
            assert!(error.contains(want), "{text}: {error}");
        }
    }
}
