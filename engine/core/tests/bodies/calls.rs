//! Documents that tell calls.

use std::sync::Arc;

use lampfield_core::body::{Body, Format, Shown, Update, View};
use lampfield_core::config::Dialect;
use lampfield_core::state::{Call, DeviceState, Direction, ExtensionState, Presence};

use crate::xml::Element;
use crate::{schema, text, view};

fn call(id: u64, state: DeviceState, ids: &str, remote: &str) -> Call {
    let remote = match remote {
        "" => String::new(),
        uri => {
            format!("\n  <remote>\n   <identity display=\"R&amp;D\">{uri}</identity>\n  </remote>")
        }
    };
    let direction = (state == DeviceState::InUse).then_some(Direction::Initiator);
    Call { id, state, direction, ids: ids.into(), remote: Arc::from(remote) }
}

/// State, direction, Call-ID and other side of each dialog.
fn dialogs(document: &str) -> Vec<String> {
    let root = Element::parse(document);
    let dialogs = root.all("dialog");
    let ids: std::collections::BTreeSet<_> = dialogs.iter().map(|d| d.attribute("id")).collect();
    assert_eq!(ids.len(), dialogs.len(), "ids are unique: {document}");
    assert_eq!(dialogs[0].attribute("id"), "lamp0");
    let text_of = |element: &Element| element.text.trim().to_owned();
    let row = |dialog: &&Element| {
        let remote = dialog.all("remote");
        let remote = remote.first().map(|r| text_of(r.all("identity")[0])).unwrap_or_default();
        let held = if dialog.all("param").is_empty() { "" } else { " held" };
        format!(
            "{} {} {} {remote}{held}",
            text_of(dialog.all("state")[0]),
            dialog.attribute("direction"),
            dialog.attribute("call-id"),
        )
    };
    dialogs.iter().map(row).collect()
}

#[test]
fn calls_are_told_while_they_are_all_there_is_to_the_state() {
    use DeviceState::{InUse, OnHold, Ringing};
    let ringing = call(1, Ringing, " call-id=\"r\" local-tag=\"l\"", "sip:5@h");
    let talking = call(2, InUse, " call-id=\"t\"", "sip:6@h");
    let held = call(0, OnHold, "", "");
    let both = [ringing.clone(), talking.clone()];
    let rows: [(&[Call], ExtensionState, &[&str]); 8] = [
        (&both[..1], ExtensionState::Ringing, &["early recipient r sip:5@h"]),
        (&both[1..], ExtensionState::InUse, &["confirmed initiator t sip:6@h"]),
        (std::slice::from_ref(&held), ExtensionState::OnHold, &["confirmed    held"]),
        (
            &both,
            ExtensionState::InUseRinging,
            &["confirmed initiator t sip:6@h", "early recipient r sip:5@h"],
        ),
        (
            &[talking.clone(), talking, held.clone()],
            ExtensionState::InUse,
            &[
                "confirmed initiator t sip:6@h",
                "confirmed initiator t sip:6@h",
                "confirmed    held",
            ],
        ),
        (&both[..1], ExtensionState::InUseRinging, &["confirmed   "]),
        (&both[..1], ExtensionState::Idle, &["terminated   "]),
        (&[], ExtensionState::InUse, &["confirmed   "]),
    ];
    let quiet = Presence::default();
    for dialect in [Dialect::Rfc, Dialect::Asterisk] {
        let plain = view(Format::DialogInfo, dialect, false);
        let mut body = Body::render(
            &plain,
            &Shown { state: ExtensionState::Idle, presence: &quiet, calls: &[], mailboxes: None },
        );
        for (calls, state, want) in rows {
            let shown = Shown { state, presence: &quiet, calls, mailboxes: None };
            let document = text(&Body::render(&plain, &shown), 7);
            assert_eq!(dialogs(&document), want, "{document}");
            if dialect == Dialect::Rfc {
                assert_eq!(schema::check(&Element::parse(&document)), Ok(()), "{document}");
            }
            assert_ne!(body.update(&plain, &shown), Update::Unchanged);
            assert_eq!(dialogs(&text(&body, 7)), want, "patched");
            assert_eq!(body.update(&plain, &shown), Update::Unchanged);
            let single = View { single_dialog: true, ..plain };
            assert_eq!(dialogs(&text(&Body::render(&single, &shown), 7)), want[..1]);
        }
        let early = View { early_inuse_ringing: true, single_dialog: true, ..plain };
        let shown = Shown {
            state: ExtensionState::InUseRinging,
            presence: &quiet,
            calls: &both,
            mailboxes: None,
        };
        let document = text(&Body::render(&early, &shown), 7);
        assert_eq!(dialogs(&document), ["early recipient r sip:5@h"]);
    }
}
