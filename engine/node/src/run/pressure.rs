//! Too much waits for others: when a shard refuses new work, and when it stops reading.
//!
//! What was accepted is never dropped, so the queues towards other shards and the store have no
//! end of their own. Their bound is that nothing new comes in: beyond the limit the core refuses
//! new subscriptions and changes; beyond twice the limit the sockets are not read, so that all
//! that is added is what other shards send, and they do the same.

/// How full the fullest queue is, against its limit.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Pressure {
    /// Below the limit.
    #[default]
    Low,
    /// New work is refused.
    Refusing,
    /// And the sockets are not read.
    Stopped,
}

impl Pressure {
    /// The pressure after a look at a queue in which `waiting_count` wait. It falls at half of
    /// what made it rise, so that it does not change with every turn.
    pub(super) fn after(self, waiting_count: usize, waiting_max: usize) -> Self {
        let level = |count: usize| match count {
            count if count > waiting_max.saturating_mul(2) => Self::Stopped,
            count if count > waiting_max => Self::Refusing,
            _ => Self::Low,
        };
        level(waiting_count).max(self.min(level(waiting_count.saturating_mul(2))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_at_once_and_falls_at_half() {
        let mut pressure = Pressure::default();
        for (waiting_count, want) in [
            (0, Pressure::Low),
            (10, Pressure::Low),
            (11, Pressure::Refusing),
            (6, Pressure::Refusing),
            (5, Pressure::Low),
            (21, Pressure::Stopped),
            (11, Pressure::Stopped),
            (10, Pressure::Refusing),
            (21, Pressure::Stopped),
            (0, Pressure::Low),
            (usize::MAX, Pressure::Stopped),
        ] {
            pressure = pressure.after(waiting_count, 10);
            assert_eq!(pressure, want, "{waiting_count} wait");
        }
    }
}
