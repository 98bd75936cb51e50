//! How a phone treats a NOTIFY when it does not treat it well.

use fastrand::Rng;

/// What a phone does with a NOTIFY. Times are milliseconds, `RetryAfter` seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Manner {
    Answer(u16),
    Late(u64),
    Silent,
    Twice,
    RetryAfter(u32),
}

impl Manner {
    pub(crate) fn random(rng: &mut Rng) -> Self {
        match rng.u8(..12) {
            0..=2 => Self::Late(rng.u64(400..6_000)),
            3 => Self::Late(rng.u64(31_000..36_000)),
            4..=5 => Self::Silent,
            6..=7 => Self::Twice,
            8 => Self::Answer(481),
            9 => Self::Answer(500),
            10 => Self::Answer(202),
            _ => Self::RetryAfter(rng.u32(1..15)),
        }
    }
}
