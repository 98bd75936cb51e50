//! SIP, XML and AMI as bytes: no state, no clock, no I/O.
//!
//! [`Message::scan`] is the only whole-message parser; [`response_key`] is its short cut for
//! answers and [`next_frame`] finds message borders on a stream with the same code. The typed
//! values of [`header`] and [`uri`] borrow from the scanned slices. Nothing here panics,
//! recurses or allocates without bound on bytes from outside; the bounds are in [`limits`].
#![forbid(unsafe_code)]

pub mod admit;
pub mod ami;
pub mod body;
pub mod canonical;
mod chars;
pub mod conditional;
pub mod dialog_info;
pub mod encoding;
mod facts;
pub mod frame;
pub mod header;
pub mod limits;
pub mod list;
pub mod message_summary;
pub mod multipart;
pub mod name;
pub mod pidf;
pub mod presence_document;
pub mod resource_lists;
pub mod response;
pub mod rlmi;
pub mod rls_services;
pub mod scan;
pub mod server_event;
pub mod uri;
pub mod write;
pub mod xml;
pub mod xpidf;

pub use admit::{AdmitError, Essentials};
pub use ami::{AmiError, AmiMessage, AmiReader, AmiWriter};
pub use body::Body;
pub use canonical::canonical_uri;
pub use conditional::{Rate, Rates, SuppressIfMatch, parse_entity_tag};
pub use dialog_info::{DialogFacts, DialogInfoFacts, Party};
pub use encoding::{ACCEPTED_ENCODINGS, EncodingError, decode_content};
pub use facts::FactsError;
pub use frame::{Frame, next_frame};
pub use header::{
    CSeq, ContentDisposition, Event, HeaderError, MediaType, NameAddr, SubscriptionState, Via,
    Warning, parse_expires,
};
pub use list::{find_param, split_list, split_params, unquote};
pub use message_summary::{MessageCounts, MessageSummary};
pub use multipart::{Multipart, MultipartError, Part, Parts};
pub use name::HeaderName;
pub use pidf::{Basic, DigiumPresence, PidfFacts};
pub use presence_document::{PersonFacts, PresenceDocument, TupleFacts};
pub use resource_lists::{ListEntry, ListItem, ResourceList, ResourceLists};
pub use response::{ResponseKey, response_key};
pub use rlmi::{InstanceState, RlmiFacts, RlmiInstance, RlmiName, RlmiResource};
pub use rls_services::{RlsService, RlsServices, ServiceMembers};
pub use scan::{Framing, Message, ScanError};
pub use server_event::{EntityId, ServerEvent, ServerEventError, ServerNews};
pub use uri::{UriParts, UserBuffer, decode_user, host_address, split_uri};
pub use write::{Slot, SlotTooNarrow, escape_log, push_header, push_u32, push_xml};
pub use xml::{XmlAttribute, XmlElement, XmlError, XmlEvent, XmlProblem, XmlReader};
pub use xpidf::XpidfFacts;
