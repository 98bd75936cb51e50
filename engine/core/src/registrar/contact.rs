//! The contacts a REGISTER names.

use lampfield_wire::{HeaderName, Message, NameAddr, canonical_uri, parse_expires};

use super::Binding;
use crate::respond::Answer;
use crate::subscribe::Request;

/// What a REGISTER asks for.
#[derive(Debug)]
pub(super) enum Asked {
    /// Which contacts there are.
    Nothing,
    /// That all be removed (`Contact: *`).
    RemoveAll,
    /// That these be added, refreshed or, with 0 seconds, removed.
    Contacts(Vec<(Binding, u32)>),
}

/// Reads all Contact headers; with each how many seconds it asks for.
pub(super) fn asked(request: &Request<'_, '_>, default_s: u32) -> Result<Asked, Answer> {
    let message = request.message;
    let broken = |text: &dyn std::fmt::Display| Answer::new(400, "Bad Request").warning(text);
    let header_s = message
        .header(HeaderName::Expires)
        .map(|value| parse_expires(value).ok_or_else(|| broken(&"Expires is not a number")));
    let header_s = header_s.transpose()?;
    let path = path_of(message);
    let mut contacts = Vec::new();
    let mut is_all = false;
    for value in message.values(HeaderName::Contact) {
        let contact = NameAddr::parse(value).map_err(|error| broken(&error))?;
        if contact.is_wildcard() {
            is_all = true;
            continue;
        }
        canonical_uri(contact.uri).map_err(|error| broken(&error))?;
        let own_s = contact
            .param("expires")
            .map(|value| parse_expires(value).ok_or_else(|| broken(&"expires is not a number")));
        let wanted_s = own_s.transpose()?.or(header_s).unwrap_or(default_s);
        contacts.push((binding(request, &contact, &path), wanted_s));
    }
    match (is_all, contacts.is_empty()) {
        (true, true) if header_s == Some(0) => Ok(Asked::RemoveAll),
        (true, _) => Err(broken(&"Contact * stands alone, with Expires 0")),
        (false, true) => Ok(Asked::Nothing),
        (false, false) => Ok(Asked::Contacts(contacts)),
    }
}

fn binding(request: &Request<'_, '_>, contact: &NameAddr<'_>, path: &str) -> Binding {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let mut params = String::new();
    for (name, value) in contact.params() {
        let (name, value) = (text(name), value.map(text));
        if name.eq_ignore_ascii_case("expires") {
            continue;
        }
        params.push(';');
        params.push_str(&name);
        if let Some(value) = value {
            params.push('=');
            params.push_str(&value);
        }
    }
    let reg_id = contact.param("reg-id").and_then(|value| str::from_utf8(value).ok()?.parse().ok());
    Binding {
        uri: text(contact.uri).into(),
        params: params.into(),
        instance: contact.param("+sip.instance").map(text).unwrap_or_default().into(),
        reg_id: reg_id.unwrap_or(0),
        call_id: text(request.basics.call_id).into(),
        cseq: request.basics.cseq,
        expires_at_s: 0,
        path: path.into(),
        flow: request.flow,
    }
}

/// The values of all Path headers, as one list (RFC 3327 section 5.3).
fn path_of(message: &Message<'_>) -> String {
    let values: Vec<String> = message
        .values(HeaderName::Path)
        .map(|value| String::from_utf8_lossy(value).into_owned())
        .collect();
    values.join(", ")
}

impl Binding {
    /// Whether both are the same contact: the same flow of a device, else the same URI.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        if self.reg_id > 0 && !self.instance.is_empty() {
            return self.reg_id == other.reg_id && self.instance == other.instance;
        }
        let spelled = |binding: &Self| canonical_uri(binding.uri.as_bytes()).ok();
        other.reg_id == 0 && spelled(self) == spelled(other)
    }
}
