//! The deterministic engine of one Lampfield shard.
//!
//! A [`Shard`] owns extensions, the sources of their states and the subscriptions that watch
//! them. It cannot do I/O, read a clock or draw randomness: everything it knows arrives as an
//! [`Input`] with the time, and everything it does is appended to [`Outputs`]. Equal seeds,
//! inputs and times give equal bytes.
#![forbid(unsafe_code)]

pub mod body;
pub mod command;
pub mod config;
pub mod dialplan;
pub mod flow;
pub mod input;
pub mod limits;
pub mod mesh;
pub mod output;
pub mod placement;
pub mod provider;
pub mod record;
mod shard;
pub mod state;
pub mod stats;
pub mod time;

pub use input::Input;
pub use output::Outputs;
pub use shard::{Shard, ShardSetup};
pub use time::Time;
