//! The wire crate against captured traffic, the RFCs' torture messages and hostile bytes.

#[path = "wire/ami.rs"]
mod ami;
#[path = "wire/captures.rs"]
mod captures;
#[path = "wire/documents.rs"]
mod documents;
#[path = "wire/framing.rs"]
mod framing;
#[path = "wire/list_requests.rs"]
mod list_requests;
#[path = "wire/lists.rs"]
mod lists;
#[path = "wire/mutation.rs"]
mod mutation;
#[path = "wire/oracle.rs"]
mod oracle;
#[path = "wire/publications.rs"]
mod publications;
#[path = "wire/regressions.rs"]
mod regressions;
#[path = "wire/scan.rs"]
mod scan;
#[path = "wire/torture.rs"]
mod torture;
#[path = "wire/uri.rs"]
mod uri;
