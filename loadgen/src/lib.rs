//! `lampload`: open-loop SIP load for presence and busy-lamp servers.
//!
//! A run subscribes watchers, changes states at times fixed in advance, counts every NOTIFY's
//! latency from the *intended* time of its change, and at the end compares each lamp with what
//! was last set. It knows no server in particular: SIP, RFC 6665 and the body formats are all it
//! expects. It also watches itself, and claims nothing when it was the bottleneck.
//!
//! The way of a run: [`cli`] → [`scenario`] → [`fanout`] leads [`generator`] threads and the
//! [`change`] thread along a [`plan`]; [`truth`] judges; [`measure`], [`honesty`] and [`summary`]
//! make the [`report`]. How to use it and what each number means: docs/LOADGEN.md.
#![forbid(unsafe_code)]

pub mod answer;
pub mod change;
pub mod cli;
pub mod clock;
pub mod document;
pub mod fanout;
pub mod generator;
pub mod honesty;
pub mod lamp;
pub mod limits;
pub mod measure;
pub mod null_target;
pub mod outcome;
pub mod plan;
pub mod progress;
pub mod report;
pub mod request;
pub mod scenario;
pub mod second_reader;
pub mod summary;
pub mod template;
pub mod truth;
pub mod units;
pub mod watcher;
