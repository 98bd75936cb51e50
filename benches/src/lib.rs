//! What all measurements of single parts share: a crowd of watchers around one shard, the
//! scenarios, and how their cost is read. No network, no executor.
#![forbid(unsafe_code)]

pub mod crowd;
pub mod meter;
pub mod publishers;
pub mod scenario;
