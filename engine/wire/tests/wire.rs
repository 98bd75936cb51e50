//! The wire crate against captured traffic, the RFCs' torture messages and hostile bytes.

#[path = "wire/scan.rs"]
mod scan;
