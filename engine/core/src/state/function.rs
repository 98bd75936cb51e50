//! The dialplan functions `PRESENCE_STATE` and `DEVICE_STATE` as AMI and console use them.
//!
//! Source: `reference/states.md` sections 1.4, 4.1 and 4.2, and `traces/20-ami-presence.txt`.
//!
//! # The value of a presence write
//!
//! ```text
//! state [ "," subtype [ "," message [ "," options ] ] ]
//! ```
//!
//! Nothing is trimmed: a blank after a comma belongs to the text. Asterisk splits at every comma,
//! takes whatever follows the third one for options, and decodes both texts from base64 as soon as
//! that contains an `e`, so a message with a comma is refused or turned to garbage. Here:
//!
//! * `\,` (backslash, comma) is a comma inside a text. A backslash before anything else is itself.
//!   A text that ends in a backslash is written with option `e`.
//! * `options` is empty or nothing but the letter `e` (once or more, lower case). Anything else,
//!   and any field after it, is an error: it is text that lost its `\`.
//! * With `e` both texts must be base64 (padding optional) of UTF-8, or the write fails.
//! * A decoded text of more than [`TEXT_BYTES_MAX`] bytes is an error; nothing is cut.
//! * Line ends and other control characters may come in by base64. They stay in the value; whoever
//!   writes it into a line protocol escapes it.
//!
//! A write that fails changes nothing.

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::{DeviceState, Presence, PresenceState};

/// Bytes of a decoded subtype or message: what the Digium body of Asterisk can carry.
pub const TEXT_BYTES_MAX: usize = 1023;

/// Base64 as phones and dialplans write it: with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Why a function call failed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct FunctionError(pub String);

/// A parsed right-hand side of `PRESENCE_STATE(CustomPresence:x)=…`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PresenceWrite {
    /// The state, texts decoded.
    pub presence: Presence,
    /// Whether the texts were written in base64.
    pub encoded: bool,
}

/// A written value taken apart but not decoded, as listings show it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PresenceWritten {
    /// The state.
    pub state: PresenceState,
    /// The subtype as written.
    pub subtype: String,
    /// The message as written.
    pub message: String,
    /// Whether both are base64.
    pub encoded: bool,
}

/// The field a read asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PresenceField {
    /// The state's token.
    Value,
    /// The subtype.
    Subtype,
    /// The message.
    Message,
    /// Any other word: reads as empty.
    Other,
}

/// A parsed argument of `${PRESENCE_STATE(provider,field[,options])}`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PresenceRead<'a> {
    /// The presence source.
    pub provider: Cow<'a, str>,
    /// Which part of it.
    pub field: PresenceField,
    /// Whether texts are to be returned in base64.
    pub encode: bool,
}

impl PresenceRead<'_> {
    /// What the read returns for a source whose presence is `presence`.
    pub fn value(&self, presence: &Presence) -> String {
        let text = match self.field {
            PresenceField::Value => return presence.state.token().to_owned(),
            PresenceField::Subtype => &presence.subtype,
            PresenceField::Message => &presence.message,
            PresenceField::Other => return String::new(),
        };
        if self.encode { BASE64.encode(text.as_bytes()) } else { text.to_string() }
    }
}

/// Parses the value of a `PRESENCE_STATE` write.
///
/// # Errors
///
/// What is wrong with it; nothing is to be changed then.
pub fn parse_presence_write(value: &str) -> Result<PresenceWrite, FunctionError> {
    let PresenceWritten { state, subtype, message, encoded } = split_presence_write(value)?;
    let presence = Presence {
        state,
        subtype: decode_text("subtype", subtype, encoded)?.into(),
        message: decode_text("message", message, encoded)?.into(),
    };
    Ok(PresenceWrite { presence, encoded })
}

/// Takes the value of a `PRESENCE_STATE` write apart without decoding its texts.
///
/// # Errors
///
/// As [`parse_presence_write`], but for texts that do not decode.
pub fn split_presence_write(value: &str) -> Result<PresenceWritten, FunctionError> {
    let mut fields = split_texts(value);
    let mut next = || fields.next().unwrap_or_default();
    let (state, subtype, message, options) = (next(), next(), next(), next());
    let Some(state) = PresenceState::from_token(&state) else {
        return error(format!(
            "`{state}` is not a presence state: not_set, unavailable, available, away, xa, chat or dnd expected"
        ));
    };
    if !options.bytes().all(|b| b == b'e') {
        return error(format!(
            "`{options}` is not an option: `e` or nothing expected; a comma inside a text is written `\\,`"
        ));
    }
    if let Some(extra) = fields.next() {
        return error(format!(
            "`{extra}` comes after the options; a comma inside a text is written `\\,`"
        ));
    }
    Ok(PresenceWritten { state, subtype, message, encoded: !options.is_empty() })
}

/// Parses the argument of a `PRESENCE_STATE` read. Arguments may be quoted as in the dialplan:
/// double quotes and backslashes protect, and commas inside brackets do not separate.
///
/// # Errors
///
/// What is wrong with it.
pub fn parse_presence_read(argument: &str) -> Result<PresenceRead<'_>, FunctionError> {
    let mut arguments = split_arguments(argument).into_iter();
    let (provider, field) = match (arguments.next(), arguments.next()) {
        (Some(provider), Some(field)) if !provider.is_empty() && !field.is_empty() => {
            (provider, field)
        }
        _ => return error(format!("`{argument}`: provider and field expected")),
    };
    let field = match &*field {
        f if f.eq_ignore_ascii_case("value") => PresenceField::Value,
        f if f.eq_ignore_ascii_case("subtype") => PresenceField::Subtype,
        f if f.eq_ignore_ascii_case("message") => PresenceField::Message,
        _ => PresenceField::Other,
    };
    let encode = arguments.next().is_some_and(|options| options.contains('e'));
    Ok(PresenceRead { provider, field, encode })
}

/// Parses the value of a `DEVICE_STATE` write.
///
/// # Errors
///
/// Anything that is not a state, and `UNKNOWN`, as in Asterisk.
pub fn parse_device_write(value: &str) -> Result<DeviceState, FunctionError> {
    match DeviceState::from_token(value) {
        DeviceState::Unknown => error(format!("`{value}` is not a settable device state")),
        state => Ok(state),
    }
}

fn error<T>(text: String) -> Result<T, FunctionError> {
    Err(FunctionError(text))
}

/// Splits at commas; `\,` is a comma that does not split.
fn split_texts(value: &str) -> impl Iterator<Item = String> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        let text = rest.take()?;
        let mut field = String::new();
        let mut from = 0;
        while let Some(comma) = text[from..].find(',').map(|at| from + at) {
            match text[from..comma].strip_suffix('\\') {
                Some(before) => field.push_str(before),
                None => {
                    field.push_str(&text[from..comma]);
                    rest = Some(&text[comma + 1..]);
                    return Some(field);
                }
            }
            field.push(',');
            from = comma + 1;
        }
        field.push_str(&text[from..]);
        Some(field)
    })
}

fn decode_text(name: &str, text: String, encoded: bool) -> Result<String, FunctionError> {
    let text = if encoded {
        let Ok(bytes) = BASE64.decode(&text) else {
            return error(format!("the {name} `{text}` is not base64, but option e says so"));
        };
        let Ok(decoded) = String::from_utf8(bytes) else {
            return error(format!("the {name} `{text}` is base64, but not of UTF-8 text"));
        };
        decoded
    } else {
        text
    };
    if text.len() > TEXT_BYTES_MAX {
        return error(format!("the {name} has {} bytes, {TEXT_BYTES_MAX} are allowed", text.len()));
    }
    Ok(text)
}

/// Splits dialplan arguments at commas outside quotes and brackets, and removes the quoting.
fn split_arguments(text: &str) -> Vec<Cow<'_, str>> {
    let mut arguments = Vec::new();
    let (mut start, mut depth, mut in_quotes, mut escaped) = (0, 0usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_quotes = !in_quotes,
            _ if in_quotes => {}
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                arguments.push(unquote(&text[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    arguments.push(unquote(&text[start..]));
    arguments
}

fn unquote(text: &str) -> Cow<'_, str> {
    if !text.contains(['"', '\\']) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => {}
            '\\' => plain.extend(chars.next()),
            c => plain.push(c),
        }
    }
    Cow::Owned(plain)
}

#[cfg(test)]
#[expect(clippy::type_complexity, reason = "rows of a table")]
mod tests {
    use super::*;

    #[test]
    fn writes_of_the_trace_are_taken_as_asterisk_takes_them() {
        // Every `set` of traces/20-ami-presence.txt in its order: state, subtype, message; None
        // where Asterisk answers "Variable not set".
        let rows: [(&str, Option<(&str, &str, &str)>); 16] = [
            ("available", Some(("available", "", ""))),
            (
                "away,at home,Sick with flu. Out until the 18th",
                Some(("away", "at home", "Sick with flu. Out until the 18th")),
            ),
            ("AWAY,UP,low", Some(("away", "UP", "low"))),
            ("dnd,,Trying to work", Some(("dnd", "", "Trying to work"))),
            ("xa,T24gdmFjYXRpb24=,,e", Some(("xa", "On vacation", ""))),
            ("xa,c3Vi,bWVzc2FnZSwgd2l0aCBjb21tYQ==,e", Some(("xa", "sub", "message, with comma"))),
            ("chat,s,", Some(("chat", "s", ""))),
            ("unavailable", Some(("unavailable", "", ""))),
            ("not_set", Some(("not_set", "", ""))),
            ("not_set,,", Some(("not_set", "", ""))),
            ("away,a,b,c", None),
            ("away,a,b,", Some(("away", "a", "b"))),
            ("away,a,b,c,d", None),
            ("bogus", None),
            ("", None),
            ("available,sub,msg,E", None),
        ];
        for (value, want) in rows {
            assert_eq!(write(value).as_ref().map(as_strs), want, "{value}");
        }
    }

    #[test]
    fn a_comma_is_written_with_a_backslash_and_never_turns_text_into_options() {
        for (value, want) in [
            // The seed's own examples: the blank after the comma is part of the text.
            (
                "away,In the batcave, Making a new batch of batarangs",
                Some(("away", "In the batcave", " Making a new batch of batarangs")),
            ),
            ("xa,,Making a new batch", Some(("xa", "", "Making a new batch"))),
            ("avaliable", None),
            // Commas inside texts.
            (
                r"away,at home,sick\, back on the 18th",
                Some(("away", "at home", "sick, back on the 18th")),
            ),
            (r"away,a\,b\,c,\,", Some(("away", "a,b,c", ","))),
            (r"away,a\b,c\", Some(("away", r"a\b", r"c\"))),
            (r"away,a\\,b", Some(("away", r"a\,b", ""))),
            // What Asterisk would decode to garbage, because the rest contains an e.
            ("away,home,back later, maybe eight", None),
            ("away,home,text,e", None),
            ("away,a,b,,rest", None),
            ("away,YQ==,Yg==,e,more", None),
            ("away,YQ==,Yg==,ex", None),
            // Option e: padding is optional, and repeating the letter means nothing.
            ("away,YQ,Yg,ee", Some(("away", "a", "b"))),
            ("available,,x,ee", None),
            ("away,w6Q=,YQpi,e", Some(("away", "ä", "a\nb"))),
            ("away,gA==,,e", None),
            ("away, YQ==,,e", None),
            // Blanks around the state make it unknown.
            (" away", None),
            ("away ,a", None),
        ] {
            assert_eq!(write(value).as_ref().map(as_strs), want, "{value}");
        }
    }

    #[test]
    fn a_text_is_bounded_after_decoding() {
        let longest = "x".repeat(TEXT_BYTES_MAX);
        let encoded = BASE64.encode(&longest);
        assert!(write(&format!("away,{longest},{longest}")).is_some());
        assert!(write(&format!("away,{encoded},,e")).is_some());
        assert!(write(&format!("away,{longest}x")).is_none());
        assert!(write(&format!("away,,{},e", BASE64.encode(format!("{longest}x")))).is_none());
    }

    #[test]
    fn a_written_value_is_listed_undecoded() {
        let written = split_presence_write("Away,dXA=,ZWF0aW5n,e").unwrap();
        let want = PresenceWritten {
            state: PresenceState::Away,
            subtype: "dXA=".into(),
            message: "ZWF0aW5n".into(),
            encoded: true,
        };
        assert_eq!(written, want);
    }

    #[test]
    fn reads_name_provider_field_and_options() {
        use PresenceField::*;
        for (argument, want) in [
            ("CustomPresence:bob,value", Some(("CustomPresence:bob", Value, false))),
            ("CustomPresence:bob,SUBTYPE,e", Some(("CustomPresence:bob", Subtype, true))),
            ("CustomPresence:bob,message,xe", Some(("CustomPresence:bob", Message, true))),
            ("CustomPresence:bob,value,x", Some(("CustomPresence:bob", Value, false))),
            ("CustomPresence:bob,foo", Some(("CustomPresence:bob", Other, false))),
            ("custompresence:bob,value", Some(("custompresence:bob", Value, false))),
            ("bob,value", Some(("bob", Value, false))),
            ("\"CustomPresence:a,b\",value", Some(("CustomPresence:a,b", Value, false))),
            ("CustomPresence:a\\,b,value", Some(("CustomPresence:a,b", Value, false))),
            ("CustomPresence:f(a,b),value", Some(("CustomPresence:f(a,b)", Value, false))),
            ("CustomPresence:bob", None),
            ("CustomPresence:bob,", None),
            (",value", None),
            ("", None),
        ] {
            let read = parse_presence_read(argument).ok();
            assert_eq!(
                read.as_ref().map(|r| (&*r.provider, r.field, r.encode)),
                want,
                "{argument}"
            );
        }
    }

    #[test]
    fn a_read_returns_the_value_plain_and_the_texts_on_demand_in_base64() {
        let presence = parse_presence_write("away,at home,").unwrap().presence;
        for (argument, want) in [
            ("p:x,value", "away"),
            ("p:x,value,e", "away"),
            ("p:x,subtype", "at home"),
            ("p:x,subtype,e", "YXQgaG9tZQ=="),
            ("p:x,message,e", ""),
            ("p:x,other", ""),
        ] {
            assert_eq!(parse_presence_read(argument).unwrap().value(&presence), want, "{argument}");
        }
    }

    #[test]
    fn device_writes_take_every_state_but_unknown() {
        for state in DeviceState::ALL {
            let want = (state != DeviceState::Unknown).then_some(state);
            assert_eq!(parse_device_write(state.token()).ok(), want);
        }
        assert_eq!(parse_device_write("ringing"), Ok(DeviceState::Ringing));
        for value in ["", "bogus", "In use", " INUSE"] {
            assert!(parse_device_write(value).is_err(), "{value}");
        }
    }

    fn write(value: &str) -> Option<Presence> {
        parse_presence_write(value).ok().map(|write| write.presence)
    }

    fn as_strs(presence: &Presence) -> (&'static str, &str, &str) {
        (presence.state.token(), &presence.subtype, &presence.message)
    }
}
