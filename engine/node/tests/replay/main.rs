//! The captured conversations of `captures/` with a real Asterisk, held again with a running node
//! of the same configuration and compared fact by fact: SIP over UDP, the manager interface over
//! TCP, the console. And what every notifier must do, whatever an Asterisk does.

mod acceptance;
#[path = "../shared/ami.rs"]
mod ami_client;
mod capture;
mod console;
#[path = "../shared/console.rs"]
mod console_client;
mod counters;
mod deviations;
mod driver;
#[path = "../shared/facts.rs"]
mod facts;
#[path = "../shared/lab.rs"]
mod lab;
mod list_rows;
mod lists;
mod manager;
#[path = "../shared/phone.rs"]
mod phone;
mod restart;
mod states;
mod steered;
mod traces;
