//! What a lamp shows: the one vocabulary in which all body formats are compared.
//!
//! Servers write the same state in different documents (reference/states.md section 6). Each is
//! read into a [`Lamp`]; a state the generator sets is a [`LampSet`], the lamps that show it
//! rightly in the format asked for. The sets are as narrow as the format allows: xpidf has one
//! word for every kind of call, dialog-info has none for an absent phone.

use lampfield_wire::MediaType;
use lampfield_wire::dialog_info::DialogInfoFacts;
use lampfield_wire::pidf::{Basic, PidfFacts};
use lampfield_wire::xpidf::XpidfFacts;

/// A device state as set by the generator.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DeviceState {
    /// Idle.
    NotInUse,
    /// In a call.
    InUse,
    /// Busy.
    Busy,
    /// Not reachable.
    Unavailable,
    /// Alerting.
    Ringing,
    /// Alerting while in a call.
    RingInUse,
    /// All calls held.
    OnHold,
}

/// What a watcher sees.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Lamp {
    /// Nobody talks.
    Idle,
    /// Somebody talks.
    Busy,
    /// It rings.
    Ringing,
    /// A call is held.
    Hold,
    /// The phone is not there.
    Offline,
    /// A readable document that says none of these.
    Other,
}

/// A set of lamps.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LampSet(u8);

/// The body format a watcher asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BodyFormat {
    /// `application/pidf+xml` (RFC 3863).
    Pidf,
    /// `application/xpidf+xml` and `application/cpim-pidf+xml` as Asterisk writes them.
    Xpidf,
    /// `application/dialog-info+xml` (RFC 4235).
    DialogInfo,
}

impl DeviceState {
    const TOKENS: [(&'static str, DeviceState); 7] = [
        ("NOT_INUSE", DeviceState::NotInUse),
        ("INUSE", DeviceState::InUse),
        ("BUSY", DeviceState::Busy),
        ("UNAVAILABLE", DeviceState::Unavailable),
        ("RINGING", DeviceState::Ringing),
        ("RINGINUSE", DeviceState::RingInUse),
        ("ONHOLD", DeviceState::OnHold),
    ];

    /// Reads a token such as `NOT_INUSE`, in any case.
    pub fn from_token(text: &str) -> Option<DeviceState> {
        let found = DeviceState::TOKENS.iter().find(|(token, _)| token.eq_ignore_ascii_case(text));
        found.map(|(_, state)| *state)
    }

    /// The token Asterisk and Lampfield take.
    pub fn token(self) -> &'static str {
        let found = DeviceState::TOKENS.iter().find(|(_, state)| *state == self);
        found.map_or("UNKNOWN", |(token, _)| token)
    }

    /// The lamps that show this state rightly in `format`.
    pub const fn lamps(self, format: BodyFormat) -> LampSet {
        match (format, self) {
            (_, DeviceState::NotInUse) => LampSet::of(&[Lamp::Idle]),
            (_, DeviceState::InUse | DeviceState::Busy) => LampSet::of(&[Lamp::Busy]),
            (BodyFormat::DialogInfo, DeviceState::Unavailable) => LampSet::of(&[Lamp::Idle]),
            (_, DeviceState::Unavailable) => LampSet::of(&[Lamp::Offline]),
            (BodyFormat::Xpidf, _) => LampSet::of(&[Lamp::Busy]),
            (_, DeviceState::Ringing) => LampSet::of(&[Lamp::Ringing]),
            (BodyFormat::Pidf, DeviceState::RingInUse) => LampSet::of(&[Lamp::Ringing]),
            (BodyFormat::DialogInfo, DeviceState::RingInUse) => {
                LampSet::of(&[Lamp::Ringing, Lamp::Busy])
            }
            (_, DeviceState::OnHold) => LampSet::of(&[Lamp::Hold]),
        }
    }
}

impl Lamp {
    /// How many lamps there are.
    pub const COUNT: usize = 6;
    /// All lamps.
    pub const ALL: [Lamp; Lamp::COUNT] =
        [Lamp::Idle, Lamp::Busy, Lamp::Ringing, Lamp::Hold, Lamp::Offline, Lamp::Other];
}

impl LampSet {
    /// The set of these lamps.
    pub const fn of(lamps: &[Lamp]) -> LampSet {
        let mut bits = 0;
        let mut at = 0;
        while at < lamps.len() {
            bits |= 1 << lamps[at] as u8;
            at += 1;
        }
        LampSet(bits)
    }

    /// Whether `lamp` is in the set.
    pub const fn contains(self, lamp: Lamp) -> bool {
        self.0 & (1 << lamp as u8) != 0
    }

    /// Whether some lamp is in both sets.
    pub const fn overlaps(self, other: LampSet) -> bool {
        self.0 & other.0 != 0
    }
}

/// What a NOTIFY body says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Document {
    /// The lamp.
    pub lamp: Lamp,
    /// The document's version, in formats that have one.
    pub version: Option<u32>,
}

/// Reads a body; `None` if it cannot be read or its type is none of ours.
pub fn read(content_type: &[u8], body: &[u8]) -> Option<Document> {
    let media_type = MediaType::parse(content_type).ok()?;
    if media_type.is("application/pidf+xml") {
        let lamp = pidf_lamp(&PidfFacts::parse(body).ok()?);
        Some(Document { lamp, version: None })
    } else if media_type.is("application/dialog-info+xml") {
        let facts = DialogInfoFacts::parse(body).ok()?;
        let version = Some(facts.version);
        Some(Document { lamp: dialog_lamp(&facts), version })
    } else if media_type.is("application/xpidf+xml") {
        xpidf_document(body)
    } else if media_type.is("application/cpim-pidf+xml") {
        // Asterisk writes XPIDF under this name, the draft meant an early PIDF.
        xpidf_document(body).or_else(|| {
            let lamp = pidf_lamp(&PidfFacts::parse(body).ok()?);
            Some(Document { lamp, version: None })
        })
    } else {
        None
    }
}

/// The note says most; without one, the activity; without one, the basic status.
fn pidf_lamp(facts: &PidfFacts) -> Lamp {
    match facts.basic {
        Some(Basic::Closed) => return Lamp::Offline,
        None => return Lamp::Other,
        Some(Basic::Open) => {}
    }
    let note = facts.note.as_deref().unwrap_or_default().to_ascii_lowercase();
    let engaged = facts.activities.iter().any(|activity| activity.eq_ignore_ascii_case("busy"));
    match note.as_str() {
        "ringing" | "early" => Lamp::Ringing,
        "on hold" | "hold" => Lamp::Hold,
        "on the phone" | "busy" | "in use" => Lamp::Busy,
        _ if engaged || facts.is_on_the_phone() => Lamp::Busy,
        _ => Lamp::Idle,
    }
}

/// Of several dialogs the most urgent one decides, as on a phone's lamp.
fn dialog_lamp(facts: &DialogInfoFacts) -> Lamp {
    let mut lamp = Lamp::Idle;
    for dialog in &facts.dialogs {
        let this = match dialog.state.as_str() {
            "terminated" => Lamp::Idle,
            "trying" | "proceeding" | "early" => Lamp::Ringing,
            "confirmed" if dialog.rendering_no => Lamp::Hold,
            "confirmed" => Lamp::Busy,
            _ => Lamp::Other,
        };
        let urgency = |lamp| match lamp {
            Lamp::Idle | Lamp::Offline => 0,
            Lamp::Hold => 1,
            Lamp::Busy => 2,
            Lamp::Ringing => 3,
            Lamp::Other => 4,
        };
        if urgency(this) > urgency(lamp) {
            lamp = this;
        }
    }
    lamp
}

fn xpidf_document(body: &[u8]) -> Option<Document> {
    let facts = XpidfFacts::parse(body).ok()?;
    let lamp = match facts.status.as_str() {
        "open" => Lamp::Idle,
        "inuse" => Lamp::Busy,
        "closed" => Lamp::Offline,
        _ => Lamp::Other,
    };
    Some(Document { lamp, version: None })
}

/// Remembers the last bodies read: all watchers of an extension tend to be sent the same bytes,
/// and comparing costs a tenth of parsing.
#[derive(Debug)]
pub struct Reader {
    seen: Vec<(Vec<u8>, Option<Document>)>,
}

/// Bodies remembered at most: with more extensions, some share a place.
const SEEN_COUNT_MAX: usize = 131_072;

impl Reader {
    /// For so many extensions.
    pub fn new(extension_count: usize) -> Reader {
        Reader { seen: vec![(Vec::new(), None); extension_count.clamp(1, SEEN_COUNT_MAX)] }
    }

    /// [`read`] for a body of `extension`, the content type being the same for equal bodies.
    pub fn read(&mut self, extension: u32, content_type: &[u8], body: &[u8]) -> Option<Document> {
        let place = extension as usize % self.seen.len();
        let (bytes, document) = &mut self.seen[place];
        if bytes != body {
            bytes.clear();
            bytes.extend_from_slice(body);
            *document = read(content_type, body);
        }
        *document
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document;

    const STATES: [DeviceState; 7] = [
        DeviceState::NotInUse,
        DeviceState::InUse,
        DeviceState::Busy,
        DeviceState::Unavailable,
        DeviceState::Ringing,
        DeviceState::RingInUse,
        DeviceState::OnHold,
    ];

    #[test]
    fn every_state_written_in_every_format_is_read_as_a_lamp_that_shows_it() {
        for format in [BodyFormat::Pidf, BodyFormat::Xpidf, BodyFormat::DialogInfo] {
            for state in STATES {
                let (content_type, body) = document::write(format, state, "a", "sip:a@h", 3);
                let read = read(content_type.as_bytes(), body.as_bytes()).expect(&body);
                assert!(state.lamps(format).contains(read.lamp), "{state:?}: {read:?} in {body}");
                let versioned = format == BodyFormat::DialogInfo;
                assert_eq!(read.version, versioned.then_some(3));
                assert_eq!(DeviceState::from_token(state.token()), Some(state));
            }
        }
    }

    #[test]
    fn states_that_a_format_tells_apart_do_not_overlap() {
        use DeviceState::{InUse, NotInUse, OnHold, RingInUse, Ringing, Unavailable};
        let apart =
            |format, a: DeviceState, b: DeviceState| !a.lamps(format).overlaps(b.lamps(format));
        assert!(apart(BodyFormat::Pidf, NotInUse, InUse));
        assert!(apart(BodyFormat::Pidf, Ringing, InUse));
        assert!(apart(BodyFormat::Pidf, OnHold, InUse));
        assert!(apart(BodyFormat::Pidf, NotInUse, Unavailable));
        assert!(apart(BodyFormat::DialogInfo, Ringing, InUse));
        assert!(!apart(BodyFormat::DialogInfo, RingInUse, InUse));
        assert!(!apart(BodyFormat::DialogInfo, NotInUse, Unavailable));
        assert!(!apart(BodyFormat::Xpidf, Ringing, InUse));
    }

    #[test]
    fn other_servers_words_are_understood_and_nonsense_is_not() {
        let pidf = |basic: &str, rest: &str| {
            let body = format!(
                "<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" \
                 xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\" \
                 xmlns:rpid=\"urn:ietf:params:xml:ns:pidf:rpid\" entity=\"sip:a@h\">\
                 <tuple id=\"1\"><status><basic>{basic}</basic></status></tuple>{rest}</presence>"
            );
            read(b"application/pidf+xml;charset=utf-8", body.as_bytes()).map(|read| read.lamp)
        };
        let busy =
            "<dm:person id=\"p\"><rpid:activities><rpid:busy/></rpid:activities></dm:person>";
        assert_eq!(pidf("open", ""), Some(Lamp::Idle));
        assert_eq!(pidf("open", busy), Some(Lamp::Busy));
        assert_eq!(pidf("closed", busy), Some(Lamp::Offline));
        assert_eq!(read(b"application/pidf+xml", b"<presence"), None);
        assert_eq!(read(b"text/plain", b"open"), None);
        let dialogs = "<dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"4\" \
            state=\"full\" entity=\"sip:a@h\"><dialog id=\"1\"><state>terminated</state></dialog>\
            <dialog id=\"2\"><state>early</state></dialog>\
            <dialog id=\"3\"><state>confirmed</state></dialog></dialog-info>";
        let read = read(b"application/dialog-info+xml", dialogs.as_bytes());
        assert_eq!(read, Some(Document { lamp: Lamp::Ringing, version: Some(4) }));
    }

    #[test]
    fn remembered_bodies_are_not_mixed_up() {
        let mut reader = Reader::new(64);
        let body = |state| document::write(BodyFormat::Pidf, state, "a", "sip:a@h", 1).1;
        let (idle, busy) = (body(DeviceState::NotInUse), body(DeviceState::InUse));
        for (extension, body, want) in [
            (1, &idle, Lamp::Idle),
            (1, &idle, Lamp::Idle),
            (1, &busy, Lamp::Busy),
            (65, &idle, Lamp::Idle),
            (1, &busy, Lamp::Busy),
        ] {
            let read = reader.read(extension, b"application/pidf+xml", body.as_bytes());
            assert_eq!(read.map(|read| read.lamp), Some(want));
        }
    }
}
