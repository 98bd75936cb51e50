//! The dialplan functions `PRESENCE_STATE` and `DEVICE_STATE` as AMI and console use them.
//!
//! Source: `reference/states.md` sections 1.4, 4.1 and 4.2.

use super::{DeviceState, Presence};

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
    pub provider: &'a str,
    /// Which part of it.
    pub field: PresenceField,
    /// Whether texts are to be returned in base64.
    pub encode: bool,
}

/// Parses the value of a `PRESENCE_STATE` write.
///
/// # Errors
///
/// What is wrong with it; nothing is to be changed then.
pub fn parse_presence_write(value: &str) -> Result<PresenceWrite, FunctionError> {
    Err(FunctionError(format!("not a presence state: {value}")))
}

/// Parses the argument of a `PRESENCE_STATE` read.
///
/// # Errors
///
/// What is wrong with it.
pub fn parse_presence_read(argument: &str) -> Result<PresenceRead<'_>, FunctionError> {
    Err(FunctionError(format!("provider and field expected: {argument}")))
}

/// Parses the value of a `DEVICE_STATE` write.
///
/// # Errors
///
/// Anything that is not a state, and `UNKNOWN`, as in Asterisk.
pub fn parse_device_write(value: &str) -> Result<DeviceState, FunctionError> {
    match DeviceState::from_token(value) {
        DeviceState::Unknown => Err(FunctionError(format!("not a settable device state: {value}"))),
        state => Ok(state),
    }
}
