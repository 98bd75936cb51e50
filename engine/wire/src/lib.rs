//! SIP, XML and AMI as bytes: no state, no clock, no I/O.
//!
//! [`Message::scan`] is the only whole-message parser; [`response_key`] is its short cut for
//! answers and [`next_frame`] finds message borders on a stream with the same code. The typed
//! values of [`header`] and [`uri`] borrow from the scanned slices. Nothing here panics,
//! recurses or allocates without bound on bytes from outside; the bounds are in [`limits`].
#![forbid(unsafe_code)]

pub mod ami;
mod chars;
pub mod frame;
pub mod header;
pub mod limits;
pub mod list;
pub mod name;
pub mod response;
pub mod scan;
pub mod uri;
pub mod write;

pub use ami::{AmiError, AmiMessage, AmiReader, AmiWriter};
pub use frame::{Frame, next_frame};
pub use header::{
    CSeq, Event, HeaderError, MediaType, NameAddr, SubscriptionState, Via, parse_expires,
};
pub use list::{find_param, split_list, split_params, unquote};
pub use name::HeaderName;
pub use response::{ResponseKey, response_key};
pub use scan::{Framing, Message, ScanError};
pub use uri::{UriParts, UserBuffer, decode_user, split_uri};
pub use write::{Slot, SlotTooNarrow, escape_log, push_header, push_u32, push_xml};
