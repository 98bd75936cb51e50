//! Every bound of this crate in one place, each with its reason.
//!
//! A message over a bound is refused with an error that names the bound; nothing is cut short
//! silently. The engine maps the errors to answers (400, 413, 513) or drops.

/// Whole SIP message. A UDP datagram cannot carry more, and offsets then fit in 16 bits.
pub const MESSAGE_BYTES_MAX: usize = 65_535;

/// Start line and headers with the blank line. RFC 4475's longest valid head is under 4 KiB; a
/// deep proxy chain with long Via, Record-Route and credentials stays below 8 KiB. What is larger
/// on a stream is garbage without an end.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Header lines of one message. Ordinary requests have 12 to 40; a chain of 70 hops (the
/// Max-Forwards default) adds at most 70 Via and 70 Record-Route lines.
pub const HEADER_COUNT_MAX: usize = 256;

/// Header lines kept without touching the heap.
pub(crate) const HEADER_COUNT_INLINE: usize = 32;

/// Name of one header. The longest registered name has 32 bytes.
pub const HEADER_NAME_BYTES_MAX: usize = 128;

/// Method name. The longest registered one has 9 bytes, RFC 4475's `intmeth` has 42.
pub const METHOD_BYTES_MAX: usize = 64;

/// Highest sequence number: below 2^31 (RFC 3261 section 8.1.1.5).
pub const CSEQ_MAX: u32 = 0x7FFF_FFFF;

/// Header lines the response fast path looks at for the top Via before it gives up.
pub(crate) const RESPONSE_VIA_LINE_MAX: usize = 4;

/// Bytes of foreign text shown in one log line. Enough to recognise a display name or a URI.
pub const LOG_TEXT_BYTES_MAX: usize = 512;

/// XML document. The same as the largest body that fits a datagram.
pub const XML_BYTES_MAX: usize = 64 * 1024;

/// Nested XML elements. PIDF with RPID needs 6, dialog-info 6.
pub const XML_DEPTH_MAX: usize = 64;

/// Elements, texts and other events of one XML document. A full dialog-info of 1,000 dialogs has
/// about 9,000; the bound limits time, since tiny elements cost more than their bytes.
pub const XML_EVENT_COUNT_MAX: usize = 16_384;

/// Attributes of one XML element, namespace declarations included.
pub const XML_ATTRIBUTE_COUNT_MAX: usize = 64;

/// Boundary of a multipart body (RFC 2046 section 5.1.1).
pub const BOUNDARY_BYTES_MAX: usize = 70;

/// Parts of one multipart body. The largest message holds about 130 list members with the
/// shortest PIDF; the bound is for bodies made of nothing but delimiters.
pub const PART_COUNT_MAX: usize = 1024;

/// Header lines of one part. Asterisk writes 3, Kamailio 4.
pub const PART_HEADER_COUNT_MAX: usize = 16;

/// Bytes of one part's header lines.
pub const PART_HEAD_BYTES_MAX: usize = 2048;

/// Multipart bodies inside multipart bodies: one for every level of nested resource lists.
pub const MULTIPART_DEPTH_MAX: usize = 8;

/// Lists inside lists of one document: as many levels as a NOTIFY can show.
pub const LIST_DEPTH_MAX: usize = MULTIPART_DEPTH_MAX;

/// Entries, references and lists of one document. Address books of phones have hundreds.
pub const LIST_ITEM_COUNT_MAX: usize = 2048;

/// Tuples of one published presence document. A phone writes one, a proxy one for every contact.
pub const PRESENCE_TUPLE_COUNT_MAX: usize = 64;

/// Persons of one published presence document; there is one, and a lenient publisher's second.
pub const PRESENCE_PERSON_COUNT_MAX: usize = 16;

/// Activities of one person. RFC 4480 has 27.
pub const PRESENCE_ACTIVITY_COUNT_MAX: usize = 32;

/// Dialogs of one published dialog-info document: the calls of one extension.
pub const DIALOG_COUNT_MAX: usize = 256;

/// Line of an AMI request with its line end (reference: Asterisk's manager).
pub const AMI_LINE_BYTES_MAX: usize = 1024;

/// Lines of an AMI request (reference: Asterisk's manager).
pub const AMI_LINE_COUNT_MAX: usize = 128;

/// Line of an AMI answer a client reads. Console output is the longest.
pub const AMI_ANSWER_LINE_BYTES_MAX: usize = 64 * 1024;

/// Lines of an AMI answer a client reads: `Command` output has one line per subscription.
pub const AMI_ANSWER_LINE_COUNT_MAX: usize = 1 << 20;

/// Bytes of an AMI answer a client keeps.
pub const AMI_ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Line of an event a follower reads. Channel variables may be longer; they are of no concern.
pub const AMI_NEWS_LINE_BYTES_MAX: usize = 8 * 1024;

/// Lines of an event a follower reads. The longest of Asterisk's have about fifty.
pub const AMI_NEWS_LINE_COUNT_MAX: usize = 256;

/// Bytes of an event a follower keeps.
pub const AMI_NEWS_BYTES_MAX: usize = 64 * 1024;

const _: () = assert!(HEAD_BYTES_MAX < MESSAGE_BYTES_MAX);
const _: () = assert!(MESSAGE_BYTES_MAX <= u16::MAX as usize, "offsets are stored as u16");
const _: () = assert!(LIST_DEPTH_MAX < XML_DEPTH_MAX);
const _: () = assert!(HEADER_NAME_BYTES_MAX <= u8::MAX as usize, "name lengths are stored as u8");
const _: () = assert!(HEADER_COUNT_INLINE < HEADER_COUNT_MAX);
