//! A node that mirrors a PBX: lamps of phones that subscribe over SIP follow a manager interface
//! that is scripted here, and fails in every way a network and a PBX can fail.

#[path = "../shared/ami.rs"]
mod ami_client;
#[path = "../shared/console.rs"]
mod console_client;
#[path = "../shared/facts.rs"]
mod facts;
mod harness;
mod pbx;
#[path = "../shared/phone.rs"]
mod phone;
mod stories;
mod trouble;
