//! The captured conversations of `captures/sip-*.txt` with a real Asterisk, held again with a
//! running node of the same configuration and compared fact by fact; and what every notifier
//! must do, whatever an Asterisk does.

mod acceptance;
mod capture;
#[path = "../shared/console.rs"]
mod console_client;
mod deviations;
mod driver;
mod facts;
#[path = "../shared/lab.rs"]
mod lab;
mod phone;
mod restart;
mod steered;
mod traces;
