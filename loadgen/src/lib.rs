//! `lampload`: open-loop SIP load for presence and busy-lamp servers.
//!
//! A run subscribes watchers, changes states at times fixed in advance, counts every NOTIFY's
//! latency from the *intended* time of its change, and at the end compares each lamp with what
//! was last set. It knows no server in particular: SIP, RFC 6665 and the body formats are all it
//! expects. It also watches itself, and claims nothing when it was the bottleneck.
//!
//! The way of a run: [`cli`] → [`scenario`] → [`lead`] leads [`generator`] threads and the
//! [`change`] thread through its steps, along a [`plan`]; [`population`] says who watches what;
//! [`truth`] judges; [`measure`], [`honesty`] and [`summary`] make the [`report`]. How to use it
//! and what each number means: docs/LOADGEN.md.
#![forbid(unsafe_code)]

pub mod answer;
mod calls;
pub mod change;
pub mod cli;
pub mod clock;
pub mod document;
pub mod generator;
pub mod honesty;
pub mod lamp;
pub mod lead;
pub mod limits;
pub mod list_body;
pub mod measure;
pub mod null_target;
pub mod outcome;
mod plain_rlmi;
pub mod plan;
pub mod population;
pub mod progress;
pub mod report;
pub mod request;
mod restart;
pub mod scenario;
pub mod second_reader;
pub mod series;
pub mod server_config;
pub mod summary;
pub mod template;
pub mod truth;
pub mod units;
pub mod watcher;
