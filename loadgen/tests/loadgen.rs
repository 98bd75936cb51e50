//! Command-line stories against `lampload null-target` on loopback.

#[path = "loadgen/faults.rs"]
mod faults;
#[path = "loadgen/lists.rs"]
mod lists;
#[path = "loadgen/named.rs"]
mod named;
#[path = "loadgen/report.rs"]
mod report;
#[path = "loadgen/scenario.rs"]
mod scenario;
#[path = "loadgen/schema.rs"]
mod schema;
#[path = "loadgen/stage.rs"]
mod stage;
#[path = "loadgen/ways.rs"]
mod ways;
