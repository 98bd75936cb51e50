//! `presencestate`, `devstate` and `source`: states of sources.

use std::fmt::Write;

use lampfield_core::command::{Answer, Query};
use lampfield_core::placement::TenantId;
use lampfield_core::state::{DeviceState, PresenceState, split_presence_write};

use super::Failure;
use super::table::{Command, Kind};
use crate::control::Node;
use crate::control::node::{SetError, one_line};

const RULE: &str = "---------------------------------------------------------------------\n";

pub(super) async fn presence_list(node: &Node, tenant: TenantId) -> Result<String, Failure> {
    let mut rows = Vec::new();
    for answer in node.client.ask_all(Query::Presences(tenant)).await? {
        if let Answer::Presences(more) = answer {
            rows.extend(more.into_iter().filter(|row| !row.written.is_empty()));
        }
    }
    if rows.is_empty() {
        return Ok("No custom presence states defined\n".to_owned());
    }
    rows.sort_unstable_by(|a, b| a.presentity.cmp(&b.presentity));
    let mut text = heading("--- Custom Presence States ");
    for row in rows {
        // The texts are shown as they were written, base64 or not.
        let Ok(written) = split_presence_write(&row.written) else { continue };
        let _ = write!(
            text,
            "--- Name: '{}'\n    --- State: '{}'\n    --- Subtype: '{}'\n    --- Message: '{}'\n    \
             --- Base64 Encoded: '{}'\n---\n",
            one_line(&row.presentity),
            written.state.token(),
            one_line(&written.subtype),
            one_line(&written.message),
            if written.encoded { "Yes" } else { "No" },
        );
    }
    Ok(text + RULE + RULE + "\n")
}

pub(super) async fn presence_change(
    node: &Node,
    tenant: TenantId,
    name: &str,
    value: &str,
) -> Result<String, Failure> {
    let state = value.split(',').next().unwrap_or_default();
    match node.set_presence(tenant, name, value).await {
        Ok(()) => Ok(format!("Changing {} to {state}\n", after_label(name))),
        Err(SetError::NotSettable(..)) => Err(Failure::Because(
            "The presencestate command can only be used to set 'CustomPresence:' presence state!"
                .to_owned(),
        )),
        Err(SetError::Value(_)) if PresenceState::from_token(state).is_none() => {
            Err(usage(Kind::PresenceChange))
        }
        Err(error) => Err(Failure::Because(error.to_string())),
    }
}

pub(super) async fn device_list(node: &Node, tenant: TenantId) -> Result<String, Failure> {
    let config = node.config();
    let custom = |name: &str| config.core.providers.of_device(name).is_some_and(|p| p.settable);
    let mut rows = Vec::new();
    for answer in node.client.ask_all(Query::Devices(tenant)).await? {
        if let Answer::Devices(more) = answer {
            rows.extend(more.into_iter().filter(|row| row.reported && custom(&row.device)));
        }
    }
    if rows.is_empty() {
        return Ok("No custom device states defined\n".to_owned());
    }
    rows.sort_unstable_by(|a, b| a.device.cmp(&b.device));
    let mut text = heading("--- Custom Device States ");
    for row in rows {
        let (name, state) = (one_line(&row.device), row.state.token());
        let _ = write!(text, "--- Name: '{name}'  State: '{state}'\n---\n");
    }
    Ok(text + RULE + RULE + "\n")
}

pub(super) async fn device_change(
    node: &Node,
    tenant: TenantId,
    name: &str,
    state: &str,
) -> Result<String, Failure> {
    match node.set_device(tenant, name, state).await {
        Ok(()) => Ok(format!("Changing {} to {state}\n", after_label(name))),
        Err(SetError::NotSettable(..)) => Err(Failure::Because(
            "The devstate command can only be used to set 'Custom:' device state!".to_owned(),
        )),
        Err(SetError::Value(_)) => Err(usage(Kind::DevstateChange)),
        Err(error) => Err(Failure::Because(error.to_string())),
    }
}

pub(super) async fn source_set(
    node: &Node,
    tenant: TenantId,
    name: &str,
    token: &str,
) -> Result<String, Failure> {
    if node.config().core.providers.of_device(name).is_none() {
        let text = format!("'{name}' is of no known provider: TECH/name or label:name expected");
        return Err(Failure::Because(text));
    }
    let state = DeviceState::from_token(token);
    if state == DeviceState::Unknown && !token.eq_ignore_ascii_case("UNKNOWN") {
        return Err(usage(Kind::SourceSet));
    }
    let reported = node.report_device(tenant, name, state).await;
    reported.map_err(|error| Failure::Because(error.to_string()))?;
    Ok(format!("Reported {name} as {}\n", state.token()))
}

fn heading(title: &str) -> String {
    let dashes = "-".repeat(RULE.len() - 1 - title.len());
    format!("\n{RULE}{title}{dashes}\n{RULE}---\n")
}

fn after_label(name: &str) -> &str {
    name.split_once(':').map_or(name, |(_, rest)| rest)
}

fn usage(kind: Kind) -> Failure {
    Command::of(kind).usage()
}
