//! `mirror show`: the PBXs whose states are followed, and how well.

use std::fmt::Write;
use std::time::Duration;

use super::Failure;
use super::subscriptions::ago;
use crate::control::Node;
use crate::control::node::one_line;
use crate::mirror::MirrorRow;
use crate::mirror::machine::Phase;

/// Every mirror, or the one of that name.
pub(super) fn show(node: &Node, name: Option<&str>) -> Result<String, Failure> {
    let rows = node.mirrors.rows();
    let wanted = |row: &&MirrorRow| name.is_none_or(|name| row.config.name == name);
    let mut text = String::new();
    for row in rows.iter().filter(wanted) {
        // Writing to a string does not fail.
        let _ = write_row(&mut text, node, row);
    }
    match (text.is_empty(), name) {
        (true, Some(name)) => Err(Failure::Because(format!("There is no mirror '{name}'"))),
        (true, None) => Ok("No mirrors are configured\n".to_owned()),
        (false, _) => {
            let (waiting_count, refused_count) = node.mirrors.waiting();
            let _ = writeln!(
                text,
                "{waiting_count} states wait for their shards; {refused_count} were refused and \
                 told again"
            );
            Ok(text)
        }
    }
}

fn write_row(text: &mut String, node: &Node, row: &MirrorRow) -> std::fmt::Result {
    let MirrorRow { config, figures, counts, .. } = row;
    writeln!(text, "mirror {}: {}@{}", one_line(&config.name), config.user, config.address)?;
    write!(text, "  state      {}, begun {}", state(row), ago(millis(row.phase_age)))?;
    match row.attempt_in {
        Some(time) => writeln!(text, "; tries again in {} s", time.as_secs_f32().ceil())?,
        None => writeln!(text)?,
    }
    let tenants = node.config();
    let tenants = config.tenants.iter().filter_map(|id| {
        let tenant = tenants.core.tenants.get(usize::from(id.0))?;
        Some(one_line(&tenant.name).into_owned())
    });
    let tenants: Vec<String> = tenants.collect();
    writeln!(
        text,
        "  feeds      {}: {} devices, {} presentities",
        tenants.join(", "),
        counts.device_count,
        counts.presentity_count
    )?;
    let stale_after_s = config.stale_after.as_secs();
    writeln!(text, "  when lost  {} after {stale_after_s} s", config.stale.token())?;
    writeln!(
        text,
        "  connected  {} attempts, {} logins, {} lost",
        figures.attempt_count, figures.login_count, figures.lost_count
    )?;
    writeln!(
        text,
        "  heard      {} comparisons, {} events, {} questions; {} states changed",
        figures.sync_count, figures.event_count, figures.question_count, counts.changed_count
    )?;
    writeln!(
        text,
        "  left out   {} messages that do not read, {} names beyond {}",
        figures.message_refused_count,
        figures.name_dropped_count + counts.dropped_count,
        config.name_count_max
    )?;
    match &row.last_error {
        Some((age, why)) => writeln!(text, "  last error {}: {}", ago(millis(*age)), one_line(why)),
        None => writeln!(text, "  last error none"),
    }
}

fn state(row: &MirrorRow) -> &'static str {
    match row.phase {
        Phase::Waiting => "not connected",
        Phase::Connecting => "connecting",
        Phase::Banner | Phase::Challenge | Phase::Login => "logging in",
        Phase::Booting => "logged in; the PBX may still be starting",
        Phase::Online if row.is_seen => "live",
        Phase::Online => "taking states over",
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
