//! The shard: one dispatcher from input to the module that reacts.

use std::sync::Arc;

use crate::config::Config;
use crate::placement::{Placement, ShardId};
use crate::{Input, Outputs, Time};

/// One shard of the engine.
#[derive(Debug)]
pub struct Shard {
    id: ShardId,
}

/// What a shard is made from.
#[derive(Clone, Debug)]
pub struct ShardSetup {
    /// Which shard this is.
    pub id: ShardId,
    /// Who owns what.
    pub placement: Placement,
    /// The configuration.
    pub config: Arc<Config>,
    /// Seed of tags, branches and jitter. Secret in production, fixed in tests.
    pub seed: u64,
    /// Unix time of [`Time::ZERO`], in milliseconds.
    pub unix_at_zero_ms: u64,
    /// Whether to emit [`crate::record::Record`]s.
    pub durable: bool,
}

impl Shard {
    /// Makes a shard; hints of the configuration that it owns exist from here on.
    pub fn new(setup: ShardSetup) -> Self {
        Self { id: setup.id }
    }

    /// Reacts to one input, completely. `now` never goes backwards.
    pub fn handle(&mut self, input: Input<'_>, now: Time, out: &mut Outputs) {
        let _ = (input, now, out, self.id);
    }

    /// When the next [`Input::Tick`] is due; `None` when nothing waits.
    pub fn next_deadline(&self) -> Option<Time> {
        None
    }
}
