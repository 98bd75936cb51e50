//! `explain`: why a lamp shows what it shows, from its sources to its watchers.

use std::fmt::Write;

use lampfield_core::command::{Answer, ExplainedSource, Explanation, Query};
use lampfield_core::dialplan::Found;
use lampfield_core::placement::TenantId;
use lampfield_core::state::{DeviceAggregate, DeviceState, ExtensionState};

use super::Failure;
use super::subscriptions::{acknowledged, ago};
use crate::control::Node;
use crate::control::node::one_line;
use crate::mirror::Mirrors;
use crate::mirror::state::Kind;
use crate::mirror::table::Origin;

/// Watchers listed one by one.
const WATCHER_COUNT_MAX: usize = 200;

/// Explains `exten` or `exten@context`.
pub(super) async fn explain(node: &Node, tenant: TenantId, name: &str) -> Result<String, Failure> {
    let found = find(node, tenant, name)?;
    let owner = node.client.placement().shard_of_extension(tenant, &found.context, &found.exten);
    let Found { context, exten, hint, explicit } = found;
    let query = Query::Explain { tenant, context, exten };
    let explanation = match node.client.ask_owner(query, &node.config().core.providers).await? {
        Answer::Explain(Some(explanation)) => explanation,
        // A pattern or range that nobody asked for yet has no state to explain.
        _ if !explicit => {
            let text = format!(
                "'{name}' fits the hint '{}' ({}), but nobody has watched it yet",
                one_line(&hint.text),
                hint.origin
            );
            return Err(Failure::Because(text));
        }
        _ => return Err(Failure::Because(format!("Shard {} does not know '{name}'", owner.0))),
    };
    let mut text = String::new();
    write_head(&mut text, &explanation, owner.0);
    let mirrors = &node.mirrors;
    write_devices(&mut text, &explanation, mirrors);
    write_presence(&mut text, &explanation, mirrors);
    write_watchers(&mut text, &explanation);
    Ok(text)
}

/// The hint of `exten[@context]`. Without a context it is looked for in `default`, then in every
/// context; it must be in one only.
fn find(node: &Node, tenant: TenantId, name: &str) -> Result<Found, Failure> {
    let config = node.config();
    let dialplan = &config.core.dialplan;
    if let Some((exten, context)) = name.rsplit_once('@') {
        let missing = || Failure::Because(format!("There is no hint for '{exten}' in '{context}'"));
        return config.core.find_hint(tenant, context, exten).ok_or_else(missing);
    }
    let with_hint = |context: &str| {
        let located = dialplan.locate(tenant, context, name)?;
        config.core.find_hint(tenant, located.context, name)
    };
    if let Some(found) = with_hint("default") {
        return Ok(found);
    }
    let mut places: Vec<Found> = Vec::new();
    for context in dialplan.contexts(tenant) {
        if let Some(found) = with_hint(context.name())
            && places.iter().all(|place| place.context != found.context)
        {
            places.push(found);
        }
    }
    if places.len() > 1 {
        let contexts: Vec<_> = places.iter().map(|f| format!("{name}@{}", f.context)).collect();
        return Err(Failure::Because(format!("Which one: {}?", contexts.join(", "))));
    }
    // Where extensions without a hint are watched, it may be one of these.
    places
        .pop()
        .or_else(|| config.core.find_hint(tenant, "default", name))
        .ok_or_else(|| Failure::Because(format!("There is no hint for '{name}'")))
}

fn write_head(text: &mut String, explanation: &Explanation, owner: u8) {
    let row = &explanation.extension;
    let presence =
        spell_presence(row.presence.state.token(), &row.presence.subtype, &row.presence.message);
    let _ = write!(
        text,
        "{}@{} shows {} ({}), presence {presence}\n  hint   {}{}\n  owner  shard {owner}\n",
        one_line(&row.exten),
        one_line(&row.context),
        row.state.text(),
        row.state.number(),
        one_line(&row.hint.text),
        if row.hint.origin.is_empty() { String::new() } else { format!("  ({})", row.hint.origin) },
    );
}

fn write_devices(text: &mut String, explanation: &Explanation, mirrors: &Mirrors) {
    let hint = &explanation.extension.hint;
    text.push_str("\nDevices\n");
    let mut aggregate = DeviceAggregate::default();
    let mut states = Vec::new();
    for device in &hint.devices {
        let source = explanation.sources.iter().find(|source| source.name == *device);
        write_source(text, device, source);
        write_origins(text, &mirrors.origins(explanation.extension.tenant, Kind::Device, device));
        let state = source.map_or(DeviceState::Unknown, |s| DeviceState::from_token(&s.state));
        aggregate.add(state);
        states.push(state);
    }
    let shown = explanation.extension.state;
    let sum = aggregate.state();
    let why = match states[..] {
        [] => "no devices".to_owned(),
        [state] => format!("one device, {}", state.token()),
        _ => format!("{} together are {}, {}", states.len(), sum.token(), reason(&states, sum)),
    };
    let _ =
        writeln!(text, "  => {why}: extension state {}", ExtensionState::from_devices(sum).text());
    if ExtensionState::from_devices(sum) != shown {
        // Sources and extension are told of changes one after the other.
        let _ = writeln!(
            text,
            "     a change is on its way; the extension still shows {}",
            shown.text()
        );
    }
}

/// Which rule of the aggregate decided.
fn reason(states: &[DeviceState], sum: DeviceState) -> &'static str {
    match sum {
        DeviceState::RingInUse if !states.contains(&DeviceState::RingInUse) => {
            "because one rings beside one that is in use, held or busy"
        }
        _ => {
            "the highest of INVALID < UNKNOWN < UNAVAILABLE < NOT_INUSE < ONHOLD < RINGING < \
              INUSE < BUSY < RINGINUSE"
        }
    }
}

fn write_presence(text: &mut String, explanation: &Explanation, mirrors: &Mirrors) {
    let row = &explanation.extension;
    text.push_str("\nPresence\n");
    for name in &row.hint.presence {
        let source = explanation.sources.iter().find(|source| source.name == *name);
        write_source(text, name, source);
        write_origins(text, &mirrors.origins(row.tenant, Kind::Presence, name));
    }
    let rule = match row.hint.presence.len() {
        0 => "no presence in the hint",
        1 => "one source",
        _ => "the highest of not_set < available < unavailable < chat < away < xa < dnd",
    };
    let _ = writeln!(text, "  => {rule}: {}", row.presence.state.token());
}

fn write_source(text: &mut String, name: &str, source: Option<&ExplainedSource>) {
    let Some(source) = source else {
        let _ = writeln!(text, "  {:<34} not heard of yet", one_line(name));
        return;
    };
    let age = source.age_ms.map_or("never reported".to_owned(), ago);
    let _ = writeln!(
        text,
        "  {:<34} {:<24} {age:<16} shard {}",
        one_line(name),
        one_line(&source.state),
        source.owner.0
    );
}

/// Which PBXs say so, and whether that is still true.
fn write_origins(text: &mut String, origins: &[Origin]) {
    for Origin { mirror, state, is_seen, is_replaced } in origins {
        let sight = match (is_seen, is_replaced) {
            (true, _) => "",
            (false, false) => ", STALE: not seen now",
            (false, true) => ", STALE: not seen for long, and replaced",
        };
        let _ = writeln!(text, "    mirror {} says {state}{sight}", one_line(mirror));
    }
}

fn write_watchers(text: &mut String, explanation: &Explanation) {
    let row = &explanation.extension;
    let _ = writeln!(text, "\nWatchers: {}", row.watcher_count);
    for watcher in explanation.watchers.iter().take(WATCHER_COUNT_MAX) {
        let lag = match watcher.acknowledged {
            Some(state) if state == row.state => "",
            _ => "  BEHIND",
        };
        let _ = writeln!(
            text,
            "  {:<30} {:<10} {:<28} CSeq {:<10} acknowledged {}{}{}{lag}",
            one_line(&watcher.watcher),
            one_line(&watcher.event),
            watcher.next_hop,
            watcher.cseq,
            acknowledged(watcher),
            if watcher.in_flight { ", one in flight" } else { "" },
            if watcher.state == "SUSPECT" { ", SUSPECT" } else { "" },
        );
    }
    let more = (row.watcher_count as usize).saturating_sub(WATCHER_COUNT_MAX);
    if more > 0 {
        let _ = writeln!(text, "  ... and {more} more");
    }
    if row.list_shard_count > 0 {
        let count = row.list_shard_count;
        let _ = writeln!(text, "Shown in lists: {count} documents of it go to shards with lists");
    }
}

pub(super) fn spell_presence(state: &str, subtype: &str, message: &str) -> String {
    let mut text = state.to_owned();
    for part in [subtype, message] {
        if !part.is_empty() {
            let _ = write!(text, ", \"{}\"", one_line(part));
        }
    }
    text
}
