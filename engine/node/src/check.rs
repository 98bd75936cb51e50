//! `lampfield check`: what a configuration would serve, for people to read.

use std::fmt::Write as _;

use lampfield_core::config::{Config, Dialect, Endpoint, EndpointId, Identify, PublishScope};
use lampfield_core::dialplan::{Context, range_size};
use lampfield_core::list::ListRange;
use lampfield_core::package::Package;
use lampfield_core::placement::TenantId;

use crate::config::{AmiConfig, Loaded, NodeConfig};
use crate::control::ami::class;

/// Endpoints printed one by one; beyond, only their number.
const ENDPOINT_ROW_MAX: usize = 20;

/// What `loaded` would serve, and what it would not.
pub fn report(loaded: &Loaded) -> String {
    let mut out = String::new();
    let node = &loaded.node;
    // Writing to a string cannot fail.
    let _ = write_node(&mut out, node);
    for (n, tenant) in node.core.tenants.iter().enumerate() {
        let domain = tenant.domain.as_ref().map(|d| format!(", domain {d}")).unwrap_or_default();
        let _ = writeln!(out, "tenant {}{domain}", tenant.name);
        let _ = write_contexts(&mut out, &node.core, TenantId(n as u16));
        let _ = write_lists(&mut out, &node.core, TenantId(n as u16));
        let _ = write_endpoints(&mut out, &node.core, TenantId(n as u16));
    }
    let _ = write_ami(&mut out, node);
    let _ = write_mirrors(&mut out, node);
    for file in &loaded.files {
        let _ = writeln!(out, "read {}", file.display());
    }
    for notice in &loaded.notices {
        let _ = writeln!(out, "note: {notice}");
    }
    for warning in &loaded.warnings {
        let _ = writeln!(out, "warning: {warning}");
    }
    out
}

fn write_node(out: &mut String, node: &NodeConfig) -> std::fmt::Result {
    for listen in &node.listen {
        write!(out, "listen {} {}", listen.transport.token().to_ascii_lowercase(), listen.bind)?;
        match listen.advertised {
            Some(address) => writeln!(out, ", advertised as {address}")?,
            None => writeln!(out)?,
        }
    }
    match node.shard_count {
        Some(count) => writeln!(out, "shards {count}")?,
        None => writeln!(out, "shards one per core")?,
    }
    match &node.state_dir {
        Some(dir) => writeln!(out, "state {}", dir.display())?,
        None => writeln!(out, "state not kept (no state directory)")?,
    }
    writeln!(out, "user agent {}", node.core.user_agent)?;
    writeln!(out, "dialect {}", dialect(node.core.dialect))
}

fn dialect(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Rfc => "rfc",
        Dialect::Asterisk => "asterisk",
    }
}

fn write_contexts(out: &mut String, core: &Config, tenant: TenantId) -> std::fmt::Result {
    for context in core.dialplan.contexts(tenant) {
        write!(out, "  context {}: {}", context.name(), count(context.hint_count(), "hint"))?;
        write!(out, ", {}", count(context.patterns().len(), "pattern"))?;
        let (range_count, size) = (context.ranges().len(), size_of_ranges(context));
        write!(out, ", {}", count(range_count, "range"))?;
        if range_count > 0 {
            write!(out, " of {}", count(size as usize, "number"))?;
        }
        if context.include_count() > 0 {
            write!(out, ", {}", count(context.include_count(), "include"))?;
        }
        writeln!(out, "{}", if context.autohints() { ", automatic hints" } else { "" })?;
    }
    Ok(())
}

fn size_of_ranges(context: &Context) -> u64 {
    let size = |first: &str, last: &str| range_size(first, last).unwrap_or_default();
    context.ranges().iter().map(|range| size(&range.first, &range.last)).sum()
}

fn write_lists(out: &mut String, core: &Config, tenant: TenantId) -> std::fmt::Result {
    for package in Package::ALL {
        let rows = || core.lists.rows(tenant).filter(|list| list.package == package);
        let item_count = rows().map(|list| list.items.len()).sum();
        if item_count > 0 {
            let (lists, items) = (rows().count(), count(item_count, "item"));
            writeln!(out, "  lists of {}: {lists}, {items}", package.name())?;
        }
    }
    for range in core.lists.ranges(tenant) {
        let ListRange { name, first, last, group_size, package, .. } = range;
        write!(out, "  lists of {} {name}: ", package.name())?;
        let count = range.list_count().unwrap_or_default();
        writeln!(out, "{count}, {first}..={last} in groups of {group_size}")?;
    }
    Ok(())
}

fn count(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn write_endpoints(out: &mut String, core: &Config, tenant: TenantId) -> std::fmt::Result {
    let of_tenant = || {
        let all = core.endpoints.iter().enumerate();
        all.filter(|(_, endpoint)| endpoint.tenant == tenant)
    };
    for (n, endpoint) in of_tenant().take(ENDPOINT_ROW_MAX) {
        write!(out, "  endpoint {}: ", endpoint.name)?;
        match endpoint.allow_subscribe {
            true => write!(out, "subscribes in {}", endpoint.hint_context())?,
            false => write!(out, "may not subscribe")?,
        }
        match endpoint.allow_publish {
            PublishScope::None => {}
            PublishScope::Own => write!(out, ", publishes about itself")?,
            PublishScope::Any => write!(out, ", publishes")?,
        }
        write!(out, ", {}", identified(core, EndpointId(n as u32), endpoint))?;
        if endpoint.auth.is_some() {
            write!(out, ", with credentials")?;
        }
        if endpoint.dialect != core.dialect {
            write!(out, ", dialect {}", dialect(endpoint.dialect))?;
        }
        writeln!(out)?;
    }
    let more_count = of_tenant().count().saturating_sub(ENDPOINT_ROW_MAX);
    if more_count > 0 {
        writeln!(out, "  and {}", count(more_count, "more endpoint"))?;
    }
    Ok(())
}

/// How a request finds this endpoint.
fn identified(core: &Config, id: EndpointId, endpoint: &Endpoint) -> String {
    let Identify { hosts, networks, .. } = &core.identify;
    let mut hosts: Vec<_> = hosts.iter().filter(|(_, endpoint)| **endpoint == id).collect();
    hosts.sort_unstable();
    let networks = networks.iter().filter(|(_, endpoint)| *endpoint == id);
    let mut ways: Vec<String> = hosts.iter().map(|(address, _)| address.to_string()).collect();
    ways.extend(networks.map(|(network, _)| format!("{}/{}", network.address, network.prefix)));
    if core.identify.users.get(&endpoint.name) == Some(&id) {
        ways.push(format!("From user {}", endpoint.name));
    }
    if core.identify.anonymous == Some(id) {
        ways.push("everybody else".into());
    }
    match ways.is_empty() {
        true => "found by nothing".into(),
        false => format!("found by {}", ways.join(", ")),
    }
}

fn write_ami(out: &mut String, node: &NodeConfig) -> std::fmt::Result {
    let Some(AmiConfig { bind: Some(bind), users, .. }) = &node.ami else {
        return writeln!(out, "ami not served");
    };
    writeln!(out, "ami {bind}")?;
    for user in users {
        let tenant = node.core.tenants.get(usize::from(user.tenant.0));
        let tenant = tenant.map_or("", |tenant| &tenant.name);
        let (read, write) = (classes(user.read), classes(user.write));
        write!(out, "  user {} of tenant {tenant}: read {read}, write {write}", user.name)?;
        match user.access.is_empty() {
            true => writeln!(out)?,
            false => writeln!(out, ", {}", count(user.access.len(), "address rule"))?,
        }
    }
    Ok(())
}

fn write_mirrors(out: &mut String, node: &NodeConfig) -> std::fmt::Result {
    for mirror in &node.mirrors {
        let tenants = mirror.tenants.iter();
        let tenants = tenants.filter_map(|id| node.core.tenants.get(usize::from(id.0)));
        let tenants: Vec<&str> = tenants.map(|tenant| &*tenant.name).collect();
        write!(out, "mirror {} at {} as {}", mirror.name, mirror.address, mirror.user)?;
        write!(out, " for tenant {}", tenants.join(", "))?;
        for (what, patterns) in
            [("devices", &mirror.devices), ("presentities", &mirror.presentities)]
        {
            if !patterns.rows().is_empty() {
                write!(out, ", {what} {}", patterns.rows().join(" "))?;
            }
        }
        let stale_after_s = mirror.stale_after.as_secs();
        writeln!(out, ", {} when lost for {stale_after_s} s", mirror.stale.token())?;
    }
    Ok(())
}

fn classes(classes: u64) -> String {
    match classes {
        0 => "none".into(),
        class::ALL => "all".into(),
        classes => class::names(classes),
    }
}
