//! Dialogs of published documents, kept as the calls watchers are shown.

use std::fmt::Write;
use std::sync::Arc;

use lampfield_wire::{DialogFacts, Party};

use crate::body::escaped;
use crate::config::CallDetails;
use crate::state::{Call, Calls, DeviceState, Direction};

use super::document::{line, part};

/// Calls of one extension a document tells at most, those of the newest publications first.
const CALL_COUNT_MAX: usize = 8;

/// Call-ID and tags together, escaped. Longer ones are left out: a part of one picks nothing up.
const IDS_BYTES_MAX: usize = 512;

/// A URI, escaped. Longer ones are left out.
const URI_BYTES_MAX: usize = 256;

/// The call of a dialog; `None` for one that is over.
pub(super) fn call(facts: &DialogFacts, text_bytes_max: usize) -> Option<Call> {
    let direction = Direction::from_token(&facts.direction);
    let state = match facts.state.as_str() {
        "terminated" => return None,
        "confirmed" if facts.rendering_no => DeviceState::OnHold,
        "confirmed" => DeviceState::InUse,
        _ if direction == Some(Direction::Initiator) => DeviceState::InUse,
        _ => DeviceState::Ringing,
    };
    let id = part(&facts.id);
    Some(Call {
        id,
        state,
        direction,
        ids: ids(facts),
        remote: remote(&facts.remote, text_bytes_max),
    })
}

fn ids(facts: &DialogFacts) -> Arc<str> {
    let mut ids = String::new();
    for (name, value) in [
        ("call-id", &facts.call_id),
        ("local-tag", &facts.local_tag),
        ("remote-tag", &facts.remote_tag),
    ] {
        if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
            // Writing to a string does not fail.
            let _ = write!(ids, " {name}=\"{}\"", escaped(value));
        }
    }
    if ids.len() > IDS_BYTES_MAX { "".into() } else { ids.into() }
}

fn remote(party: &Party, text_bytes_max: usize) -> Arc<str> {
    let [identity, target] = [&party.identity, &party.target].map(|uri| match escaped(uri) {
        uri if uri.len() <= URI_BYTES_MAX => uri,
        _ => "".into(),
    });
    let display = escaped(&line(&party.display, text_bytes_max));
    let mut inner = String::new();
    if !identity.is_empty() {
        let display = match &*display {
            "" => String::new(),
            display => format!(" display=\"{display}\""),
        };
        let _ = write!(inner, "\n   <identity{display}>{identity}</identity>");
    }
    if !target.is_empty() {
        let _ = write!(inner, "\n   <target uri=\"{target}\" />");
    }
    match &*inner {
        "" => "".into(),
        inner => format!("\n  <remote>{inner}\n  </remote>").into(),
    }
}

/// What is left of `older` calls once a newer publication of the same observer tells the same call
/// with its tags; `None` if that is all. Kamailio's pua does not wait for the entity-tag of its
/// first word on a call, and begins a second publication; the first is never taken back.
pub(super) fn left_of(older: &[Call], newer: &[Call]) -> Option<Box<[Call]>> {
    let is_told_anew = |call: &Call| {
        let follows = |new: &Call| {
            new.direction == call.direction
                && new.ids.len() > call.ids.len()
                && new.ids.starts_with(&*call.ids)
        };
        !call.ids.is_empty() && !call.ids.contains("-tag=\"") && newer.iter().any(follows)
    };
    let has_news = older.iter().any(is_told_anew);
    has_news.then(|| older.iter().filter(|call| !is_told_anew(call)).cloned().collect())
}

/// The calls watchers are shown, as far as their tenant lets them. `None` if that is no more than
/// one state says.
pub(super) fn shown<'a>(
    calls: impl Iterator<Item = &'a Call>,
    details: CallDetails,
) -> Option<Calls> {
    let nothing: Arc<str> = "".into();
    let calls = calls.take(CALL_COUNT_MAX).map(|call| match details {
        CallDetails::All => call.clone(),
        CallDetails::Parties => Call { ids: Arc::clone(&nothing), ..call.clone() },
        CallDetails::None => {
            Call { ids: Arc::clone(&nothing), remote: Arc::clone(&nothing), ..call.clone() }
        }
    });
    let calls: Box<[Call]> = calls.collect();
    (calls.len() > 1 || calls.iter().any(Call::has_details)).then(|| Arc::new(calls))
}
