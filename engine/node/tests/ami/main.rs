//! AMI and console of a running node: logins, limits, slow clients, a private socket, and bytes
//! nobody would send. What an Asterisk says to the same requests is in `replay`.

#[path = "../shared/ami.rs"]
mod ami_client;
mod console;
#[path = "../shared/console.rs"]
mod console_client;
mod dead;
#[path = "../shared/facts.rs"]
mod facts;
mod harness;
#[path = "../shared/lab.rs"]
mod lab;
mod limits;
mod lists;
mod login;
mod mailboxes;
mod mutation;
#[path = "../shared/phone.rs"]
mod phone;
