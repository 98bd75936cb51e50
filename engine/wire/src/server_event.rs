//! What an Asterisk tells other servers of itself, in `application/json`.
//!
//! ```text
//! {"type":"devicestate","device":"PJSIP/1","state":"INUSE","cachable":1,"eid":"02:00:00:00:00:01"}
//! {"type":"mailboxstate","uniqueid":"2000@default","old":3,"new":2,"eid":"02:00:00:00:00:01"}
//! {"type":"refresh","eid":"02:00:00:00:00:01"}
//! ```
//!
//! Source: `reference/pua.md` section 7.2, `res_pjsip_publish_asterisk`.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Names a server: six octets, unlike those of any other.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct EntityId(pub [u8; 6]);

impl EntityId {
    /// Reads `02:00:00:00:00:01`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut octets = text.split(':').map(|octet| {
            let is_hex = octet.len() == 2 && octet.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_hex.then(|| u8::from_str_radix(octet, 16).ok()).flatten()
        });
        let mut id = [0; 6];
        for octet in &mut id {
            *octet = octets.next()??;
        }
        octets.next().is_none().then_some(Self(id))
    }
}

impl fmt::Display for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// One such message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerEvent {
    /// The server that tells it.
    pub server: EntityId,
    /// What it tells.
    pub news: ServerNews,
}

/// What a server tells.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ServerNews {
    /// State of one of its devices.
    Device {
        /// Name.
        device: String,
        /// Token, as `INUSE`.
        state: String,
        /// Whether it lasts; else it is an event of the moment.
        is_cachable: bool,
    },
    /// Messages in one of its mailboxes.
    Mailbox {
        /// Name, as `2000@default`.
        mailbox: String,
        /// Not heard yet.
        new: u32,
        /// Heard.
        old: u32,
    },
    /// It wants to be told everything again.
    Refresh,
}

/// Why a body is no such message.
#[derive(Debug, Error)]
pub enum ServerEventError {
    /// No JSON, or values of other types.
    #[error("not the JSON expected: {0}")]
    Json(#[from] serde_json::Error),
    /// A value is missing or unreadable.
    #[error("{0} is missing or unreadable")]
    Missing(&'static str),
}

#[derive(Default, Deserialize, Serialize)]
struct Raw<'a> {
    #[serde(rename = "type")]
    kind: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cachable: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uniqueid: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new: Option<u32>,
    eid: Cow<'a, str>,
}

impl ServerEvent {
    /// Reads a message; keys that are not known are passed over.
    ///
    /// # Errors
    ///
    /// [`ServerEventError`].
    pub fn parse(body: &[u8]) -> Result<Self, ServerEventError> {
        let raw: Raw<'_> = serde_json::from_slice(body)?;
        let missing = ServerEventError::Missing;
        let text = |text: Option<Cow<'_, str>>, what| {
            let text = text.filter(|text| !text.is_empty() && !text.contains(char::is_control));
            text.map(Cow::into_owned).ok_or(missing(what))
        };
        let server = EntityId::parse(&raw.eid).ok_or(missing("eid"))?;
        let news = match &*raw.kind {
            "devicestate" => ServerNews::Device {
                device: text(raw.device, "device")?,
                state: text(raw.state, "state")?,
                is_cachable: raw.cachable.is_some_and(|cachable| cachable != 0),
            },
            "mailboxstate" => ServerNews::Mailbox {
                mailbox: text(raw.uniqueid, "uniqueid")?,
                new: raw.new.unwrap_or_default(),
                old: raw.old.unwrap_or_default(),
            },
            "refresh" => ServerNews::Refresh,
            _ => return Err(missing("type devicestate, mailboxstate or refresh")),
        };
        Ok(Self { server, news })
    }

    /// Writes a message as an Asterisk does.
    pub fn to_json(&self) -> String {
        let eid = self.server.to_string().into();
        let raw = match &self.news {
            ServerNews::Device { device, state, is_cachable } => Raw {
                kind: "devicestate".into(),
                device: Some(device.into()),
                state: Some(state.into()),
                cachable: Some((*is_cachable).into()),
                eid,
                ..Raw::default()
            },
            ServerNews::Mailbox { mailbox, new, old } => Raw {
                kind: "mailboxstate".into(),
                uniqueid: Some(mailbox.into()),
                old: Some(*old),
                new: Some(*new),
                eid,
                ..Raw::default()
            },
            ServerNews::Refresh => Raw { kind: "refresh".into(), eid, ..Raw::default() },
        };
        serde_json::to_string(&raw).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_real_asterisk_wrote_reads_and_writes_back() {
        for text in [
            r#"{"type":"devicestate","device":"MWI:7@sales","state":"NOT_INUSE","cachable":1,"eid":"02:00:00:00:00:01"}"#,
            r#"{"type":"mailboxstate","uniqueid":"2000@default","old":3,"new":2,"eid":"02:00:00:00:00:77"}"#,
            r#"{"type":"refresh","eid":"02:00:00:00:00:01"}"#,
        ] {
            let event = ServerEvent::parse(text.as_bytes()).expect(text);
            assert_eq!(event.to_json(), text);
        }
        let upper = br#"{"eid":"02:00:00:00:00:AB","type":"refresh","more":[1]}"#;
        assert_eq!(ServerEvent::parse(upper).unwrap().server, EntityId([2, 0, 0, 0, 0, 0xab]));
    }

    #[test]
    fn anything_else_is_refused() {
        let deep = "[".repeat(100_000);
        for text in [
            "",
            "{}",
            "null",
            r#"{"type":"refresh"}"#,
            r#"{"type":"refresh","eid":"02:00:00:00:00"}"#,
            r#"{"type":"refresh","eid":"02:00:00:00:00:01:02"}"#,
            r#"{"type":"refresh","eid":"02:00:00:00:00:+1"}"#,
            r#"{"type":"other","eid":"02:00:00:00:00:01"}"#,
            r#"{"type":"devicestate","state":"INUSE","eid":"02:00:00:00:00:01"}"#,
            r#"{"type":"devicestate","device":"","state":"INUSE","eid":"02:00:00:00:00:01"}"#,
            r#"{"type":"devicestate","device":"a\r\nb","state":"INUSE","eid":"02:00:00:00:00:01"}"#,
            r#"{"type":"devicestate","device":7,"state":"INUSE","eid":"02:00:00:00:00:01"}"#,
            r#"{"type":"mailboxstate","uniqueid":"x","new":-1,"eid":"02:00:00:00:00:01"}"#,
            r#"{"type":"refresh","eid":"02:00:00:00:00:01"} trailing"#,
            &deep,
        ] {
            assert!(ServerEvent::parse(text.as_bytes()).is_err(), "{}", text.len());
        }
    }
}
