//! The `lampfield` process: configuration, executors, control plane, store.
#![forbid(unsafe_code)]

pub mod channel;
pub mod check;
pub mod cli;
pub mod config;
pub mod control;
mod mirror;
pub mod run;
pub mod store;
mod tenants;
