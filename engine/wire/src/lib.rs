//! SIP, XML and AMI as bytes: no state, no clock, no I/O.
//!
//! [`Message::scan`] is the only whole-message parser; [`response_key`] is its short cut for
//! answers and [`next_frame`] finds message borders on a stream with the same code. The typed
//! values of [`header`] and [`uri`] borrow from the scanned slices. Nothing here panics,
//! recurses or allocates without bound on bytes from outside; the bounds are in [`limits`].
#![forbid(unsafe_code)]

pub mod admit;
pub mod ami;
pub mod canonical;
mod chars;
pub mod dialog_info;
mod facts;
pub mod frame;
pub mod header;
pub mod limits;
pub mod list;
pub mod multipart;
pub mod name;
pub mod pidf;
pub mod response;
pub mod rlmi;
pub mod scan;
pub mod uri;
pub mod write;
pub mod xml;
pub mod xpidf;

pub use admit::{AdmitError, Essentials};
pub use ami::{AmiError, AmiMessage, AmiReader, AmiWriter};
pub use canonical::canonical_uri;
pub use dialog_info::{DialogFacts, DialogInfoFacts, Party};
pub use facts::FactsError;
pub use frame::{Frame, next_frame};
pub use header::{
    CSeq, Event, HeaderError, MediaType, NameAddr, SubscriptionState, Via, parse_expires,
};
pub use list::{find_param, split_list, split_params, unquote};
pub use multipart::{Multipart, MultipartError, Part, Parts};
pub use name::HeaderName;
pub use pidf::{Basic, DigiumPresence, PidfFacts};
pub use response::{ResponseKey, response_key};
pub use rlmi::{InstanceState, RlmiFacts, RlmiInstance, RlmiName, RlmiResource};
pub use scan::{Framing, Message, ScanError};
pub use uri::{UriParts, UserBuffer, decode_user, host_address, split_uri};
pub use write::{Slot, SlotTooNarrow, escape_log, push_header, push_u32, push_xml};
pub use xml::{XmlAttribute, XmlElement, XmlError, XmlEvent, XmlProblem, XmlReader};
pub use xpidf::XpidfFacts;
