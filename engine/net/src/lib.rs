//! Batched UDP and SIP streams for Lampfield.
//!
//! [`sys`] is plain Linux: sockets read and written in batches, readiness, pinning, CPU time. It
//! runs on any thread and is what the load generator uses. The only crate of the workspace with
//! `unsafe`; every block says why it is sound.
//!
//! [`udp`] and [`tcp`] are a shard's UDP port and its SIP connections on top of it. [`rt`] hides
//! glommio, the shards' executors.
#![warn(clippy::undocumented_unsafe_blocks)]

pub mod rt;
pub mod sys;
pub mod tcp;
pub mod tls;
pub mod udp;
