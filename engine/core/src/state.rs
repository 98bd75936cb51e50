//! Device states, presence states, extension states, waiting messages: values, names, and how they
//! combine.
//!
//! Source: `reference/states.md` sections 1 to 6.

mod call;
mod device;
mod extension;
mod function;
mod messages;
mod presence;

pub(crate) use call::sum_of;
pub use call::{Call, Calls, Direction};
pub use device::{DeviceAggregate, DeviceState};
pub use extension::ExtensionState;
pub use function::{
    FunctionError, PresenceField, PresenceRead, PresenceWrite, PresenceWritten, TEXT_BYTES_MAX,
    parse_device_write, parse_presence_read, parse_presence_write, split_presence_write,
};
pub use messages::Messages;
pub use presence::{Presence, PresenceState};
