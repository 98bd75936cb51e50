//! The deterministic engine of one Lampfield shard.
//!
//! A [`Shard`] owns extensions, the sources of their states and the subscriptions that watch
//! them. It cannot do I/O, read a clock or draw randomness: everything it knows arrives as an
//! [`Input`] with the time, and everything it does is appended to [`Outputs`]. Equal seeds,
//! inputs and times give equal bytes.
#![forbid(unsafe_code)]

mod admission;
mod auth;
pub mod body;
mod combine;
pub mod command;
pub mod config;
pub mod dialplan;
pub mod digest;
mod drain;
mod ended;
mod extension;
mod fanout;
pub mod feed;
mod fifo;
pub mod flow;
mod hop;
mod index;
pub mod input;
mod keep;
mod lamp;
mod layout;
mod leave;
pub mod limits;
pub mod list;
mod listeners;
pub mod mailbox;
pub mod mesh;
mod notifier;
mod notify;
pub mod output;
mod pace;
pub mod package;
pub mod placement;
pub mod provider;
mod publication;
mod query;
pub mod record;
mod refresh;
pub mod registrar;
mod reload;
mod replay;
mod respond;
mod rls;
mod salvage;
mod shard;
mod slab;
mod source;
pub mod state;
pub mod stats;
mod stream;
mod subscribe;
mod subscription;
mod tag;
mod target;
mod texts;
pub mod time;
mod timer;
mod transaction;

pub use input::Input;
pub use output::Outputs;
pub use shard::{Shard, ShardSetup};
pub use source::canonical_name;
pub use time::Time;
