//! AMI and console against a control plane whose shards are real or a model: captured conversations with
//! a real Asterisk, logins, limits, slow clients, and bytes nobody would send.

mod console;
#[path = "../shared/console.rs"]
mod console_client;
mod harness;
mod limits;
mod login;
mod model;
mod mutation;
mod real;
mod replay;
