//! A whole Lampfield node in one thread under virtual time: shards, phones, an attacker, and a
//! network that loses, delays, duplicates and reorders, all from one seed.
//!
//! A world has four acts: trouble; 33 s of calm, after which every lamp must show the truth
//! (invariant 1 of `DESIGN.md`); one more change that must arrive within 2 s; and the end of all
//! subscriptions, after which nothing may be left. Everything the node sends is checked on the
//! way (`audit.rs`). The truth comes from a slow second model (`model.rs`).
//!
//! A failure names its seed. To see it again:
//!
//! ```text
//! cargo run --release -p lampfield-sim --bin soak -- --from SEED --seeds 1
//! ```
#![forbid(unsafe_code)]

mod attacker;
mod audit;
mod cluster;
mod digest;
mod facts;
mod judge;
mod lists;
mod manner;
mod model;
mod moves;
mod network;
mod phone;
mod plan;
mod queue;
mod roster;
mod sabotage;
mod sip;
mod world;

use std::fmt;

pub use plan::Plan;
pub use sabotage::Sabotage;

/// What a world that kept its promises was like.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Report {
    /// Over every byte sent, and when.
    pub digest: u64,
    /// SIP messages the node sent.
    pub packet_count: u64,
    /// The node's counters at the end, all shards together (since the last restart).
    pub counters: Vec<(&'static str, u64)>,
}

impl Report {
    /// A counter by its name; 0 if there is none.
    pub fn counter(&self, name: &str) -> u64 {
        self.counters.iter().find(|(n, _)| *n == name).map_or(0, |(_, count)| *count)
    }
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// Shows it again.
    pub seed: u64,
    /// When, in seconds of the simulation.
    pub at_s: f64,
    /// What was wrong.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, at_s, what } = self;
        writeln!(f, "seed {seed} failed at {at_s:.6} s: {what}")?;
        write!(
            f,
            "again: cargo run --release -p lampfield-sim --bin soak -- --from {seed} --seeds 1"
        )
    }
}

impl std::error::Error for Failure {}

/// Plays the world of a seed.
///
/// # Errors
///
/// The first promise the node broke.
pub fn run(seed: u64) -> Result<Report, Failure> {
    play(Plan::from_seed(seed))
}

/// Plays a planned world.
///
/// # Errors
///
/// The first promise the node broke.
pub fn play(plan: Plan) -> Result<Report, Failure> {
    let seed = plan.seed;
    let mut world = world::World::new(plan);
    let played = world.play();
    let failure = |what| Failure { seed, at_s: world.now.as_nanos() as f64 / 1e9, what };
    played.map_err(failure)?;
    let mut counters: Vec<(&'static str, u64)> = Vec::new();
    for stats in world.cluster.stats(world.now) {
        for (name, count) in stats.counters.rows() {
            match counters.iter_mut().find(|(n, _)| *n == name) {
                Some((_, sum)) => *sum += count,
                None => counters.push((name, count)),
            }
        }
    }
    Ok(Report { digest: world.digest.value(), packet_count: world.packet_count, counters })
}
