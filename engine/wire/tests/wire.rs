//! The wire crate against captured traffic, the RFCs' torture messages and hostile bytes.

#[path = "wire/captures.rs"]
mod captures;
#[path = "wire/documents.rs"]
mod documents;
#[path = "wire/framing.rs"]
mod framing;
#[path = "wire/scan.rs"]
mod scan;
#[path = "wire/torture.rs"]
mod torture;
