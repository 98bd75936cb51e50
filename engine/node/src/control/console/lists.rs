//! `lists show`: resource lists as configured. Asterisk has no such command.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

use lampfield_core::config::Config;
use lampfield_core::list::{List, ListItem, ListRange};
use lampfield_core::mailbox;
use lampfield_core::package::Package;
use lampfield_core::placement::TenantId;

use super::{Failure, ROW_COUNT_MAX};
use crate::control::Node;
use crate::control::node::one_line;

/// All lists and all rules that make lists, by name.
pub(super) fn all(node: &Node, tenant: TenantId) -> String {
    let config = node.config();
    let mut lists: Vec<&Arc<List>> = config.core.lists.rows(tenant).collect();
    let ranges = config.core.lists.ranges(tenant);
    if lists.is_empty() && ranges.is_empty() {
        return "No resource lists\n".to_owned();
    }
    lists.sort_by_key(|list| (&list.name, list.package.name()));
    let mut text = format!(
        "{:<30} {:<8} {:>7} {:<4} {:>8} {:<5}  {}\n",
        "Name", "Package", "Members", "Full", "Batch ms", "Names", "From"
    );
    // Writing to a string does not fail.
    for list in lists.iter().take(ROW_COUNT_MAX) {
        let _ = writeln!(
            text,
            "{:<30} {:<8} {:>7} {:<4} {:>8} {:<5}  {}",
            one_line(&list.name),
            list.package.name(),
            list.items.len(),
            yes_no(list.full_state),
            list.batch_interval.as_millis(),
            yes_no(list.display_names),
            one_line(&list.origin),
        );
    }
    if lists.len() > ROW_COUNT_MAX {
        let _ = writeln!(text, "... and {} more", lists.len() - ROW_COUNT_MAX);
    }
    for range in ranges {
        let ListRange { name, first, last, group_size, package, origin, .. } = range;
        let count = range.list_count().unwrap_or_default();
        let _ = writeln!(
            text,
            "{:<30} {:<8} {count} lists, {first}..={last} in groups of {group_size}  {}",
            one_line(name),
            package.name(),
            one_line(origin),
        );
    }
    let _ = writeln!(text, "{} lists, {} rules", lists.len(), ranges.len());
    text
}

/// The lists of one name, one for each package, member by member.
pub(super) fn one(node: &Node, tenant: TenantId, name: &str) -> Result<String, Failure> {
    let config = node.config();
    let lists = Package::ALL.into_iter().filter_map(|p| config.core.lists.find(tenant, name, p));
    let mut text = String::new();
    lists.for_each(|list| write_list(&mut text, &config.core, tenant, &list));
    match text.is_empty() {
        true => Err(Failure::Because(format!("There is no resource list '{name}'"))),
        false => Ok(text),
    }
}

/// Names that begin with `prefix`. Names that a rule makes are not offered.
pub(super) fn names(node: &Node, tenant: TenantId, prefix: &str) -> Vec<String> {
    let config = node.config();
    let names = config.core.lists.rows(tenant).map(|list| &*list.name);
    names.filter(|name| name.starts_with(prefix)).map(str::to_owned).collect()
}

fn write_list(text: &mut String, config: &Config, tenant: TenantId, list: &List) {
    let _ = write!(
        text,
        "Name           : {}\nPackage        : {}\nFrom           : {}\nFull state     : {}\n\
         Batch interval : {} ms\nDisplay names  : {}\nMembers        : {}\n",
        one_line(&list.name),
        list.package.name(),
        one_line(&list.origin),
        yes_no(list.full_state),
        list.batch_interval.as_millis(),
        yes_no(list.display_names),
        list.items.len(),
    );
    let own = config.endpoints.iter().filter(|endpoint| endpoint.tenant == tenant);
    let contexts: BTreeSet<&str> = own.map(|endpoint| &**endpoint.hint_context()).collect();
    for item in &*list.items {
        let what = what(config, tenant, list.package, &contexts, item);
        let _ = writeln!(text, "  {:<28} : {}", one_line(&item.to_string()), one_line(&what));
    }
    text.push('\n');
}

/// What a member is: a list goes before an extension of the same name.
fn what(
    config: &Config,
    tenant: TenantId,
    package: Package,
    contexts: &BTreeSet<&str>,
    item: &ListItem,
) -> String {
    let inner = match item.context {
        Some(_) => None,
        None => config.lists.find(tenant, &item.name, package),
    };
    if let Some(inner) = inner {
        return format!("a list of {}", inner.items.len());
    }
    let find = |context: &str| config.find_hint(tenant, context, &item.name);
    let found = match &item.context {
        _ if package == Package::MessageSummary => {
            config.find_hint(tenant, mailbox::CONTEXT, &item.to_string())
        }
        Some(context) => find(context),
        None => contexts.iter().find_map(|context| find(context)),
    };
    match found {
        Some(found) => format!("{} in {}", found.hint.text, found.context),
        None => "nothing, left out".to_owned(),
    }
}

fn yes_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}
