//! Hints: which extensions exist, and whose states they show.
//!
//! A tenant's hints live in contexts. A context has hints of single extensions, patterns, ranges,
//! and other contexts it includes. [`Dialplan::find`] looks an extension up as Asterisk does:
//! its own hint first, then the patterns, the strictest first, then the ranges (ours), then the
//! included contexts, depth first and in order. An extension found through an include belongs to
//! the included context; that one is part of its key everywhere else.
//!
//! A context with `autohints` gives every state source that first reports and has no hint of its
//! name there one: `name,hint,TECH/name`. The dialplan only says which contexts want it
//! ([`Dialplan::autohint_contexts`]); such hints come and go with the sources and are kept by the
//! shard that owns the extension.
//!
//! Everything is listed in the order it was added; no listing walks a hash map.
//!
//! Source: `reference/states.md` section 5.

mod hint;
mod pattern;
mod range;
mod template;

use std::sync::Arc;

use smallvec::SmallVec;

pub use hint::{HINT_BYTES_MAX, HINT_SOURCE_COUNT_MAX, Hint, HintError, split_display_name};
use pattern::Pattern;
pub use pattern::PatternError;
use range::Ranges;
pub use range::{HintRange, RANGE_DIGIT_COUNT_MAX, RangeError, range_size, split_range};
pub use template::{Globals, Template, TemplateError, expand_globals};

use crate::placement::TenantId;

/// Bytes of an extension or of a context's name, as in Asterisk.
pub const NAME_BYTES_MAX: usize = 80;

/// Contexts one lookup visits; Asterisk's own bound on includes is the same.
const INCLUDED_CONTEXT_COUNT_MAX: usize = 128;

/// All hints of a node. Filled while the configuration is read, then immutable.
#[derive(Clone, Debug, Default)]
pub struct Dialplan {
    /// By tenant number.
    tenants: Vec<TenantPlan>,
}

type Index = hashbrown::HashMap<Arc<str>, u32, ahash::RandomState>;

#[derive(Clone, Debug)]
struct TenantPlan {
    contexts: Vec<Context>,
    index: Index,
}

/// One context: its own hints, and the contexts it includes.
#[derive(Clone, Debug)]
pub struct Context {
    name: Arc<str>,
    /// False while it is only known from an include.
    defined: bool,
    autohints: bool,
    exact: Vec<(Arc<str>, Arc<Hint>)>,
    exact_index: Index,
    /// The one to try first comes first.
    patterns: Vec<PatternHint>,
    ranges: Ranges,
    /// Places in [`TenantPlan::contexts`].
    includes: Vec<u32>,
}

/// A hint for all extensions that fit a pattern.
#[derive(Clone, Debug)]
pub struct PatternHint {
    /// The pattern as written, as `_77XX`.
    pub text: Arc<str>,
    /// Its hint.
    pub template: Template,
    pattern: Pattern,
}

/// A hint found for a subscribed extension.
#[derive(Clone, Debug)]
pub struct Found {
    /// The context the hint was found in (an included one, maybe): part of the extension's key.
    pub context: Arc<str>,
    /// The extension.
    pub exten: Arc<str>,
    /// The hint; a pattern or range is already instantiated for `exten`.
    pub hint: Arc<Hint>,
    /// False for a pattern or range: the extension exists only once somebody asks for it.
    pub explicit: bool,
}

/// Where a hint was found, before it is instantiated.
#[derive(Clone, Copy, Debug)]
pub struct Located<'a> {
    /// The context the hint was found in: part of the extension's key.
    pub context: &'a Arc<str>,
    source: Source<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Source<'a> {
    Exact(&'a Arc<str>, &'a Arc<Hint>),
    Template(&'a Template),
}

/// Why an entry cannot be added.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DialplanError {
    /// An extension or context name.
    #[error("'{0}' is not a name of 1 to {NAME_BYTES_MAX} bytes without control characters")]
    Name(String),
    /// The context already has it.
    #[error("{0} already has a hint in this context{first}", first = first_at(.1))]
    Duplicate(String, Arc<str>),
    /// Not a pattern.
    #[error("{0} is not a pattern: {1}")]
    Pattern(String, PatternError),
    /// Not a range.
    #[error(transparent)]
    Range(#[from] RangeError),
    /// Too many includes in one context.
    #[error("a context includes at most {INCLUDED_CONTEXT_COUNT_MAX} others")]
    TooManyIncludes,
}

fn first_at(origin: &str) -> String {
    if origin.is_empty() { String::new() } else { format!(" (first at {origin})") }
}

impl Dialplan {
    /// Adds a context, or does nothing if the tenant has it.
    ///
    /// # Errors
    ///
    /// A name that is too long.
    pub fn add_context(&mut self, tenant: TenantId, name: &str) -> Result<(), DialplanError> {
        self.define(tenant, name).map(drop)
    }

    /// Adds the hint of one extension.
    ///
    /// # Errors
    ///
    /// [`DialplanError::Duplicate`]: the first one stays.
    pub fn add_hint(
        &mut self,
        tenant: TenantId,
        context: &str,
        exten: &str,
        hint: Hint,
    ) -> Result<(), DialplanError> {
        check_name(exten)?;
        let context = self.define(tenant, context)?;
        if let Some(&place) = context.exact_index.get(exten) {
            let origin = Arc::clone(&context.exact[place as usize].1.origin);
            return Err(DialplanError::Duplicate(exten.into(), origin));
        }
        let exten: Arc<str> = exten.into();
        context.exact_index.insert(Arc::clone(&exten), context.exact.len() as u32);
        context.exact.push((exten, Arc::new(hint)));
        Ok(())
    }

    /// Adds a hint for all extensions that fit `pattern` (`_77XX`).
    ///
    /// # Errors
    ///
    /// Not a pattern, or [`DialplanError::Duplicate`]: the first one stays.
    pub fn add_pattern(
        &mut self,
        tenant: TenantId,
        context: &str,
        pattern: &str,
        template: Template,
    ) -> Result<(), DialplanError> {
        check_name(pattern)?;
        let text: Arc<str> = pattern.into();
        let pattern =
            Pattern::parse(&text).map_err(|e| DialplanError::Pattern(text.to_string(), e))?;
        let context = self.define(tenant, context)?;
        let order = |row: &PatternHint| row.pattern.preference(&pattern);
        match context.patterns.binary_search_by(order) {
            Ok(place) => {
                let origin = Arc::clone(&context.patterns[place].template.origin);
                Err(DialplanError::Duplicate(text.to_string(), origin))
            }
            Err(place) => {
                context.patterns.insert(place, PatternHint { text, template, pattern });
                Ok(())
            }
        }
    }

    /// Adds a hint for a range of numbers.
    ///
    /// # Errors
    ///
    /// Not a range, or one that overlaps with another of the context.
    pub fn add_range(
        &mut self,
        tenant: TenantId,
        context: &str,
        range: HintRange,
    ) -> Result<(), DialplanError> {
        Ok(self.define(tenant, context)?.ranges.add(range)?)
    }

    /// Makes `context` include `included`; a second time does nothing.
    ///
    /// # Errors
    ///
    /// A name that is too long, or too many includes.
    pub fn add_include(
        &mut self,
        tenant: TenantId,
        context: &str,
        included: &str,
    ) -> Result<(), DialplanError> {
        let target = self.place(tenant, included)?;
        let context = self.define(tenant, context)?;
        if context.includes.contains(&target) {
            return Ok(());
        }
        if context.includes.len() == INCLUDED_CONTEXT_COUNT_MAX {
            return Err(DialplanError::TooManyIncludes);
        }
        context.includes.push(target);
        Ok(())
    }

    /// Says that `context` takes automatic hints.
    ///
    /// # Errors
    ///
    /// A name that is too long.
    pub fn set_autohints(&mut self, tenant: TenantId, context: &str) -> Result<(), DialplanError> {
        self.define(tenant, context)?.autohints = true;
        Ok(())
    }

    /// Finds the hint of `exten` in `context`: exact, then patterns, then ranges, then the
    /// included contexts, depth first.
    pub fn find(&self, tenant: TenantId, context: &str, exten: &str) -> Option<Found> {
        Some(self.locate(tenant, context, exten)?.found(exten))
    }

    /// As [`Dialplan::find`], without instantiating the hint of a pattern or range.
    pub fn locate(&self, tenant: TenantId, context: &str, exten: &str) -> Option<Located<'_>> {
        check_name(exten).ok()?;
        let plan = self.tenants.get(usize::from(tenant.0))?;
        let start = *plan.index.get(context)?;
        let context = &plan.contexts[start as usize];
        match context.source(exten) {
            Some(source) => Some(Located { context: &context.name, source }),
            None if context.includes.is_empty() => None,
            None => plan.locate_included(start, exten),
        }
    }

    /// The contexts of a tenant.
    pub fn contexts(&self, tenant: TenantId) -> impl Iterator<Item = &Context> {
        self.all_contexts(tenant).filter(|context| context.defined)
    }

    /// One context.
    pub fn context(&self, tenant: TenantId, name: &str) -> Option<&Context> {
        let plan = self.tenants.get(usize::from(tenant.0))?;
        let context = &plan.contexts[*plan.index.get(name)? as usize];
        context.defined.then_some(context)
    }

    /// Hints of single extensions of a tenant: context, extension, hint.
    pub fn explicit_hints(
        &self,
        tenant: TenantId,
    ) -> impl Iterator<Item = (&Arc<str>, &Arc<str>, &Arc<Hint>)> {
        self.contexts(tenant).flat_map(|context| {
            context.exact.iter().map(|(exten, hint)| (&context.name, exten, hint))
        })
    }

    /// Pattern hints of a tenant with their contexts, the first to try first within a context.
    pub fn pattern_hints(
        &self,
        tenant: TenantId,
    ) -> impl Iterator<Item = (&Arc<str>, &PatternHint)> {
        self.contexts(tenant)
            .flat_map(|context| context.patterns.iter().map(|pattern| (&context.name, pattern)))
    }

    /// Contexts of a tenant that take automatic hints.
    pub fn autohint_contexts(&self, tenant: TenantId) -> impl Iterator<Item = &Arc<str>> {
        self.contexts(tenant).filter(|context| context.autohints).map(|context| &context.name)
    }

    /// Includes of contexts that do not exist: the context, and the name it includes.
    pub fn dangling_includes(&self, tenant: TenantId) -> Vec<(&Arc<str>, &Arc<str>)> {
        let Some(plan) = self.tenants.get(usize::from(tenant.0)) else { return Vec::new() };
        plan.contexts
            .iter()
            .flat_map(|context| context.includes.iter().map(move |&place| (&context.name, place)))
            .map(|(name, place)| (name, &plan.contexts[place as usize]))
            .filter(|(_, included)| !included.defined)
            .map(|(name, included)| (name, &included.name))
            .collect()
    }

    fn all_contexts(&self, tenant: TenantId) -> impl Iterator<Item = &Context> {
        self.tenants.get(usize::from(tenant.0)).into_iter().flat_map(|plan| &plan.contexts)
    }

    /// The context of this name, which exists from now on.
    fn define(&mut self, tenant: TenantId, name: &str) -> Result<&mut Context, DialplanError> {
        let place = self.place(tenant, name)?;
        let context = &mut self.tenants[usize::from(tenant.0)].contexts[place as usize];
        context.defined = true;
        Ok(context)
    }

    /// The place of a context, defined or not.
    fn place(&mut self, tenant: TenantId, name: &str) -> Result<u32, DialplanError> {
        check_name(name)?;
        let tenant = usize::from(tenant.0);
        if self.tenants.len() <= tenant {
            self.tenants.resize_with(tenant + 1, TenantPlan::default);
        }
        let plan = &mut self.tenants[tenant];
        if let Some(&place) = plan.index.get(name) {
            return Ok(place);
        }
        let (name, place): (Arc<str>, _) = (name.into(), plan.contexts.len() as u32);
        plan.index.insert(Arc::clone(&name), place);
        plan.contexts.push(Context::new(name));
        Ok(place)
    }
}

impl Default for TenantPlan {
    fn default() -> Self {
        Self { contexts: Vec::new(), index: new_index() }
    }
}

impl TenantPlan {
    /// Looks through the includes of `start`, which itself was looked at already. A context that
    /// was visited is not visited again: that cuts loops, and changes no answer.
    fn locate_included(&self, start: u32, exten: &str) -> Option<Located<'_>> {
        let mut visited: SmallVec<[u32; 16]> = SmallVec::from_slice(&[start]);
        let mut stack: SmallVec<[u32; 16]> = SmallVec::new();
        stack.extend(self.contexts[start as usize].includes.iter().rev().copied());
        while let Some(place) = stack.pop() {
            if visited.contains(&place) {
                continue;
            }
            if visited.len() > INCLUDED_CONTEXT_COUNT_MAX {
                return None;
            }
            visited.push(place);
            let context = &self.contexts[place as usize];
            if let Some(source) = context.source(exten) {
                return Some(Located { context: &context.name, source });
            }
            stack.extend(context.includes.iter().rev().copied());
        }
        None
    }
}

impl Context {
    fn new(name: Arc<str>) -> Self {
        Self {
            name,
            defined: false,
            autohints: false,
            exact: Vec::new(),
            exact_index: new_index(),
            patterns: Vec::new(),
            ranges: Ranges::default(),
            includes: Vec::new(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Whether it takes automatic hints.
    pub fn autohints(&self) -> bool {
        self.autohints
    }

    /// How many single extensions have a hint.
    pub fn hint_count(&self) -> usize {
        self.exact.len()
    }

    /// How many other contexts it includes.
    pub fn include_count(&self) -> usize {
        self.includes.len()
    }

    /// Its patterns, the first to try first.
    pub fn patterns(&self) -> &[PatternHint] {
        &self.patterns
    }

    /// Its ranges.
    pub fn ranges(&self) -> &[HintRange] {
        self.ranges.rows()
    }

    /// What this context itself has for an extension.
    fn source(&self, exten: &str) -> Option<Source<'_>> {
        if let Some(&place) = self.exact_index.get(exten) {
            let (exten, hint) = &self.exact[place as usize];
            return Some(Source::Exact(exten, hint));
        }
        let pattern = self.patterns.iter().find(|row| row.pattern.matches(exten));
        let template = pattern.map(|row| &row.template);
        template
            .or_else(|| self.ranges.find(exten).map(|range| &range.template))
            .map(Source::Template)
    }
}

impl Located<'_> {
    /// Whether the extension exists without anybody asking for it.
    pub fn is_explicit(&self) -> bool {
        matches!(self.source, Source::Exact(..))
    }

    /// The hint, instantiated for `exten` if need be.
    pub fn found(&self, exten: &str) -> Found {
        let (exten, hint) = match self.source {
            Source::Exact(exten, hint) => (Arc::clone(exten), Arc::clone(hint)),
            Source::Template(template) => {
                (exten.into(), Arc::new(template.instantiate(self.context, exten)))
            }
        };
        Found { context: Arc::clone(self.context), exten, hint, explicit: self.is_explicit() }
    }
}

/// Whether a text can name an extension, a context or a list. Control characters are refused because names are printed
/// into line-based protocols, and what is subscribed to comes from outside.
pub(crate) fn is_name(name: &str) -> bool {
    let fits = (1..=NAME_BYTES_MAX).contains(&name.len());
    fits && !name.bytes().any(|byte| byte.is_ascii_control())
}

fn check_name(name: &str) -> Result<(), DialplanError> {
    if is_name(name) {
        return Ok(());
    }
    Err(DialplanError::Name(name.chars().take(NAME_BYTES_MAX).collect()))
}

/// The keys come from the operator, so fixed seeds are safe, and equal runs stay equal.
fn new_index() -> Index {
    Index::with_hasher(ahash::RandomState::with_seeds(0x6869, 0x6e74, 0x6469, 0x616c))
}

#[cfg(test)]
mod tests;
