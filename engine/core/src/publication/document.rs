//! What is kept of a published document, and what several add up to.
//!
//! Presence (RFC 3863, 4479, 4480). Of a tuple or person that several documents name by the same
//! id, the newest counts. The presentity is open if any tuple is open, closed if there are tuples
//! and all are closed. Of all persons the busiest activity counts. A Digium tuple says the presence
//! state exactly and goes before activities, the newest first.
//!
//! Dialogs (RFC 4235) are collected: each publication is one observer with dialogs of its own. What
//! is not confirmed rings, unless the extension itself calls; what is confirmed is a call, held if
//! its target does not render.
//!
//! Both become one device state by the rules for a hint's devices, so that dialogs show in presence
//! documents too, as with OpenSIPS's `mix_dialog_presence`.
//!
//! Message summaries (RFC 3842) add up over accounts; of one account the newest counts. They say
//! nothing of devices.
//!
//! Source: `reference/pua.md` section 6, `reference/sip-pubsub.md` section 16.

use std::sync::Arc;

use lampfield_wire::{Basic, DialogInfoFacts, MessageSummary, PersonFacts, PresenceDocument};
use md5::{Digest, Md5};

use super::calls;
use super::server::Server;
use crate::config::CallDetails;
use crate::state::{Call, Calls, DeviceAggregate, DeviceState, Messages, Presence, PresenceState};

/// What a publication says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Document {
    Presence(Box<Presences>),
    Dialogs(Box<[Call]>),
    Messages(Box<Account>),
    /// Not of a presentity: what a server tells of its devices or mailboxes.
    Server(Box<Server>),
}

/// A presence document.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Presences {
    pub(crate) tuples: Box<[Tuple]>,
    pub(crate) persons: Box<[Person]>,
    /// First note that is no lamp's word, for a presentity without activity.
    pub(crate) note: Arc<str>,
    pub(crate) digium: Option<Presence>,
}

/// What waits in one account.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Account {
    /// Of Message-Account.
    pub(crate) id: Part,
    pub(crate) messages: Messages,
}

/// Names a tuple, person, dialog or account within a document: a hash of its id, or 0 for one without.
pub(crate) type Part = u64;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Tuple {
    pub(crate) id: Part,
    pub(crate) is_open: Option<bool>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Person {
    pub(crate) id: Part,
    /// What its telephone does, if it says so.
    pub(crate) phone: Option<DeviceState>,
    /// Its busiest activity: state, the activity's name, note.
    pub(crate) presence: Option<Presence>,
}

/// What an activity of RFC 4480 means; `None` for one that says nothing of availability.
fn state_of(activity: &str) -> Option<PresenceState> {
    Some(match activity {
        "busy" | "meeting" | "performance" | "presentation" | "steering" | "worship" => {
            PresenceState::Dnd
        }
        "holiday" | "permanent-absence" | "sleeping" | "travel" | "vacation" => PresenceState::Xa,
        "appointment" | "away" | "breakfast" | "dinner" | "in-transit" | "looking-for-work"
        | "meal" | "playing" | "shopping" | "spectator" | "tv" => PresenceState::Away,
        _ => return None,
    })
}

/// The lamp a note tells: the words Asterisk puts into what it publishes.
fn lamp_of(note: &str) -> Option<DeviceState> {
    Some(match note {
        "Ready" => DeviceState::NotInUse,
        "On the phone" => DeviceState::InUse,
        "Ringing" => DeviceState::Ringing,
        "On hold" => DeviceState::OnHold,
        "Unavailable" => DeviceState::Unavailable,
        _ => return None,
    })
}

pub(super) fn part(id: &str) -> Part {
    if id.is_empty() {
        return 0;
    }
    let digest = Md5::digest(id);
    let half = digest.first_chunk().map_or(0, |half| u64::from_le_bytes(*half));
    half.max(1)
}

/// A text for one line: bounded, without control characters.
pub(super) fn line(text: &str, bytes_max: usize) -> Arc<str> {
    let mut out = String::new();
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if out.len() + c.len_utf8() > bytes_max {
            break;
        }
        out.push(c);
    }
    out.into()
}

impl Document {
    /// Keeps what counts of a presence document.
    pub(crate) fn presence(document: &PresenceDocument, text_bytes_max: usize) -> Self {
        let tuple_notes = document.tuples.iter().filter_map(|tuple| tuple.note.as_deref());
        let person_notes = document.persons.iter().filter_map(|person| person.note.as_deref());
        let notes = || document.note.as_deref().into_iter().chain(tuple_notes.clone());
        let said = person_notes.chain(notes()).find(|note| lamp_of(note).is_none());
        let tuple = |tuple: &lampfield_wire::TupleFacts| Tuple {
            id: part(&tuple.id),
            is_open: tuple.basic.map(|basic| basic == Basic::Open),
        };
        let digium = document.digium.as_ref().and_then(|digium| {
            let state = PresenceState::from_token(&digium.kind)?;
            let [subtype, message] =
                [&digium.subtype, &digium.message].map(|text| line(text, text_bytes_max));
            (state != PresenceState::NotSet).then_some(Presence { state, subtype, message })
        });
        let person = |facts: &PersonFacts| person(facts, notes(), text_bytes_max);
        Self::Presence(Box::new(Presences {
            tuples: document.tuples.iter().map(tuple).collect(),
            persons: document.persons.iter().map(person).collect(),
            note: line(said.unwrap_or_default(), text_bytes_max),
            digium,
        }))
    }

    /// Keeps what counts of a message summary.
    pub(crate) fn messages(summary: &MessageSummary) -> Self {
        let id = part(summary.account.as_deref().unwrap_or_default());
        Self::Messages(Box::new(Account { id, messages: summary.into() }))
    }

    /// Keeps the live dialogs of a document. A partial one changes what `before` knew.
    pub(crate) fn dialogs(
        info: &DialogInfoFacts,
        before: Option<&Self>,
        text_bytes_max: usize,
    ) -> Self {
        let mut calls: Vec<Call> = match before {
            Some(Self::Dialogs(before)) if !info.is_full => before.to_vec(),
            _ => Vec::new(),
        };
        for facts in &info.dialogs {
            let id = part(&facts.id);
            calls.retain(|call| call.id != id || id == 0);
            calls.extend(calls::call(facts, text_bytes_max));
        }
        Self::Dialogs(calls.into())
    }
}

fn person<'a>(
    facts: &PersonFacts,
    mut notes: impl Iterator<Item = &'a str>,
    text_bytes_max: usize,
) -> Person {
    let on_the_phone = facts.activities.iter().any(|activity| activity == "on-the-phone");
    // The word on the lamp stands in a note of the person, the document or a tuple.
    let lamp = facts.note.as_deref().and_then(lamp_of).or_else(|| notes.find_map(lamp_of));
    let phone = match lamp {
        _ if !on_the_phone => None,
        Some(state @ (DeviceState::Ringing | DeviceState::OnHold)) => Some(state),
        _ => Some(DeviceState::InUse),
    };
    let states = facts.activities.iter().filter_map(|a| Some((state_of(a)?, a)));
    let busiest =
        states.reduce(|best, next| if next.0.rank() > best.0.rank() { next } else { best });
    let note = facts.note.as_deref().filter(|note| lamp_of(note).is_none());
    let presence = busiest.map(|(state, activity)| Presence {
        state,
        subtype: activity.as_str().into(),
        message: line(note.unwrap_or_default(), text_bytes_max),
    });
    Person { id: part(&facts.id), phone, presence }
}

/// What all publications of a presentity say together. `None`: nothing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Composed {
    pub(crate) device: Option<DeviceState>,
    pub(crate) presence: Option<Presence>,
    pub(crate) calls: Option<Calls>,
    pub(crate) messages: Option<Messages>,
}

/// Adds documents up; they come newest first.
pub(crate) fn compose<'a>(
    documents: impl Iterator<Item = &'a Document>,
    details: CallDetails,
) -> Composed {
    let mut sum = Sum::default();
    documents.for_each(|document| sum.add(document));
    sum.finish(details)
}

#[derive(Default)]
struct Sum<'a> {
    devices: DeviceAggregate,
    has_device: bool,
    tuples: Vec<Part>,
    persons: Vec<Part>,
    accounts: Vec<Part>,
    messages: Option<Messages>,
    is_open: Option<bool>,
    busiest: Option<&'a Presence>,
    digium: Option<&'a Presence>,
    note: Option<&'a Arc<str>>,
    calls: Vec<&'a Call>,
}

impl<'a> Sum<'a> {
    fn add(&mut self, document: &'a Document) {
        match document {
            Document::Dialogs(calls) => {
                self.device(DeviceState::NotInUse);
                calls.iter().for_each(|call| self.device(call.state));
                self.calls.extend(calls);
            }
            Document::Presence(presences) => self.presences(presences),
            Document::Server(_) => {}
            Document::Messages(account) => {
                // Without a name it is the same account whoever tells of it.
                if !self.accounts.contains(&account.id) {
                    self.accounts.push(account.id);
                    self.messages.get_or_insert_default().add(&account.messages);
                }
            }
        }
    }

    fn device(&mut self, state: DeviceState) {
        self.has_device = true;
        self.devices.add(state);
    }

    fn presences(&mut self, presences: &'a Presences) {
        for tuple in &presences.tuples {
            if let (true, Some(is_open)) = (is_new(&mut self.tuples, tuple.id), tuple.is_open) {
                self.is_open = Some(self.is_open.unwrap_or(false) || is_open);
            }
        }
        for person in &presences.persons {
            if !is_new(&mut self.persons, person.id) {
                continue;
            }
            person.phone.into_iter().for_each(|state| self.device(state));
            let rank = |presence: Option<&Presence>| presence.map_or(0, |p| p.state.rank());
            if rank(person.presence.as_ref()) > rank(self.busiest) {
                self.busiest = person.presence.as_ref();
            }
        }
        self.digium = self.digium.or(presences.digium.as_ref());
        self.note = self.note.or(Some(&presences.note).filter(|note| !note.is_empty()));
    }

    fn finish(mut self, details: CallDetails) -> Composed {
        match self.is_open {
            Some(true) => self.device(DeviceState::NotInUse),
            Some(false) => self.device(DeviceState::Unavailable),
            None => {}
        }
        let basic = self.is_open.map(|is_open| Presence {
            state: if is_open { PresenceState::Available } else { PresenceState::Unavailable },
            subtype: "".into(),
            message: self.note.map_or_else(|| "".into(), Arc::clone),
        });
        Composed {
            device: self.has_device.then(|| self.devices.state()),
            presence: self.digium.or(self.busiest).cloned().or(basic),
            calls: calls::shown(self.calls.into_iter(), details),
            messages: self.messages,
        }
    }
}

/// Whether no newer document named it. One without an id is always its own.
fn is_new(seen: &mut Vec<Part>, id: Part) -> bool {
    if id == 0 {
        return true;
    }
    let is_new = !seen.contains(&id);
    if is_new {
        seen.push(id);
    }
    is_new
}

#[cfg(test)]
mod tests {
    use super::*;
    use DeviceState::{InUse, NotInUse, OnHold, RingInUse, Ringing, Unavailable};

    fn presence(inner: &str) -> Document {
        let document = format!(
            "<presence xmlns='urn:ietf:params:xml:ns:pidf' xmlns:d='urn:ietf:params:xml:ns:pidf:data-model' \
             xmlns:r='urn:ietf:params:xml:ns:pidf:rpid' entity='sip:a@b'>{inner}</presence>"
        );
        Document::presence(&PresenceDocument::parse(document.as_bytes()).unwrap(), 20)
    }

    fn dialogs(state: &str, inner: &str, before: Option<&Document>) -> Document {
        let document = format!(
            "<dialog-info xmlns='urn:ietf:params:xml:ns:dialog-info' state='{state}' entity='sip:a@b'>\
             {inner}</dialog-info>"
        );
        Document::dialogs(
            &DialogInfoFacts::parse_published(document.as_bytes()).unwrap(),
            before,
            20,
        )
    }

    fn tuple(id: &str, basic: &str) -> String {
        format!("<tuple id='{id}'><status><basic>{basic}</basic></status></tuple>")
    }

    fn person(id: &str, activities: &str, note: &str) -> String {
        let note = if note.is_empty() { String::new() } else { format!("<d:note>{note}</d:note>") };
        format!("<d:person id='{id}'><r:activities>{activities}</r:activities>{note}</d:person>")
    }

    fn dialog(id: &str, direction: &str, state: &str) -> String {
        format!("<dialog id='{id}' direction='{direction}'><state>{state}</state></dialog>")
    }

    fn spell(composed: &Composed) -> (Option<DeviceState>, String) {
        let presence = composed.presence.as_ref();
        let text = |p: &Presence| format!("{}/{}/{}", p.state.token(), p.subtype, p.message);
        (composed.device, presence.map(text).unwrap_or_default())
    }

    #[test]
    fn presence_documents_add_up_by_tuple_and_person() {
        let (open, closed) = (tuple("1", "open"), tuple("1", "closed"));
        let meeting = person("p", "<r:meeting/><r:away/>", "room 5");
        let phone = person("p", "<r:on-the-phone/>", "");
        let digium = "<tuple id='digium-presence'><status><digium_presence type='xa' subtype='s'>m\
                      </digium_presence></status></tuple>";
        let rows: [(&[String], Option<DeviceState>, &str); 16] = [
            (&[], None, ""),
            (&["".into()], None, ""),
            (std::slice::from_ref(&open), Some(NotInUse), "available//"),
            (std::slice::from_ref(&closed), Some(Unavailable), "unavailable//"),
            (&[closed.clone(), open.clone()], Some(Unavailable), "unavailable//"),
            (&[open.clone(), closed.clone()], Some(NotInUse), "available//"),
            (&[closed.clone(), tuple("2", "open")], Some(NotInUse), "available//"),
            (&[tuple("", "closed"), tuple("", "open")], Some(NotInUse), "available//"),
            (&[meeting.clone() + &open], Some(NotInUse), "dnd/meeting/room 5"),
            (&[meeting.clone() + &closed], Some(Unavailable), "dnd/meeting/room 5"),
            (&[person("p", "<r:away/>", ""), meeting.clone()], None, "away/away/"),
            (&[person("q", "<r:away/>", ""), meeting.clone()], None, "dnd/meeting/room 5"),
            (&[phone.clone() + &closed], Some(InUse), "unavailable//"),
            (&[phone + "<note>On hold</note>" + &open], Some(OnHold), "available//"),
            (&[open.clone() + digium, meeting], Some(NotInUse), "xa/s/m"),
            (
                &[open.clone() + "<note>back at&#10;five or later, or not</note>"],
                Some(NotInUse),
                "available//back at five or late",
            ),
        ];
        for (documents, device, text) in rows {
            let documents: Vec<Document> = documents.iter().map(|inner| presence(inner)).collect();
            let composed = compose(documents.iter(), CallDetails::All);
            assert_eq!(spell(&composed), (device, text.to_owned()), "{documents:?}");
        }
    }

    #[test]
    fn what_asterisk_publishes_comes_back_as_the_lamp_it_was() {
        for (note, activity, basic, want) in [
            ("Ready", "", "open", NotInUse),
            ("On the phone", "<r:on-the-phone/>", "open", InUse),
            ("Ringing", "<r:on-the-phone/>", "open", Ringing),
            ("On hold", "<r:on-the-phone/>", "open", OnHold),
            ("Unavailable", "", "closed", Unavailable),
        ] {
            let inner =
                format!("<note>{note}</note>{}{}", tuple("x", basic), person("", activity, ""));
            let composed = compose([presence(&inner)].iter(), CallDetails::All);
            assert_eq!(composed.device, Some(want), "{note}");
            assert_eq!(composed.presence.unwrap().message, "".into(), "{note} is no message");
        }
    }

    #[test]
    fn dialogs_are_collected_and_a_partial_document_changes_what_it_names() {
        let rows: [(&str, DeviceState); 10] = [
            ("", NotInUse),
            (&dialog("1", "recipient", "early"), Ringing),
            (&dialog("1", "", "trying"), Ringing),
            (&dialog("1", "initiator", "early"), InUse),
            (&dialog("1", "recipient", "confirmed"), InUse),
            (&dialog("1", "recipient", "terminated"), NotInUse),
            (&(dialog("1", "", "early") + &dialog("2", "", "confirmed")), RingInUse),
            (&(dialog("", "", "early") + &dialog("", "", "confirmed")), RingInUse),
            (&(dialog("1", "", "terminated") + &dialog("2", "", "confirmed")), InUse),
            (
                "<dialog id='1'><state>confirmed</state><local><target uri='sip:a@b'>\
                 <param pname='+sip.rendering' pval='no'/></target></local></dialog>",
                OnHold,
            ),
        ];
        for (inner, want) in rows {
            let composed = compose([dialogs("full", inner, None)].iter(), CallDetails::All);
            assert_eq!(spell(&composed), (Some(want), String::new()), "{inner}");
        }
        let ringing = dialogs("full", &dialog("1", "", "early"), None);
        let both = dialogs("partial", &dialog("2", "", "confirmed"), Some(&ringing));
        assert_eq!(compose([both.clone()].iter(), CallDetails::All).device, Some(RingInUse));
        let answered = dialogs("partial", &dialog("1", "", "confirmed"), Some(&both));
        assert_eq!(compose([answered.clone()].iter(), CallDetails::All).device, Some(InUse));
        let over = dialogs("partial", &dialog("1", "", "terminated"), Some(&answered));
        assert_eq!(
            compose([over].iter(), CallDetails::All).device,
            Some(InUse),
            "the other call goes on"
        );
        let full = dialogs("full", "", Some(&answered));
        assert_eq!(
            compose([full, ringing].iter(), CallDetails::All).device,
            Some(Ringing),
            "another observer"
        );
    }

    #[test]
    fn dialogs_show_in_presence_too() {
        let closed = presence(&tuple("1", "closed"));
        let idle = dialogs("full", "", None);
        assert_eq!(compose([closed.clone(), idle].iter(), CallDetails::All).device, Some(NotInUse));
        let call = dialogs("full", &dialog("1", "", "confirmed"), None);
        let composed = compose([closed, call].iter(), CallDetails::All);
        assert_eq!(spell(&composed), (Some(InUse), "unavailable//".to_owned()));
    }
}
