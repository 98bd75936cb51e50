//! How watchers behave: they answer NOTIFYs at once, late, wrongly or not at all.

use std::time::Duration;

use crate::limits::WAIT_MAX;

/// A share of the watchers, and how they behave.
#[derive(Clone, Debug, PartialEq)]
pub struct Behaviour {
    /// Its name in reports.
    pub name: String,
    /// Share of all watchers.
    pub share: f64,
    /// What they do.
    pub profile: AnswerProfile,
}

/// The answering behaviour of a watcher.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AnswerProfile {
    /// Share of NOTIFYs that get no answer; each retransmission is drawn anew.
    pub lose: f64,
    /// Share of datagrams from the target that never arrive.
    pub receive_loss: f64,
    /// Share of answers that are sent twice.
    pub duplicate: f64,
    /// Every answer waits this long.
    pub delay: Duration,
    /// Status code and share of NOTIFYs refused with it.
    pub reject: Option<(u16, f64)>,
    /// It is switched off: nothing arrives and nothing is sent.
    pub dead: bool,
}

/// What happens to one NOTIFY.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// Taken with this status.
    Status(u16),
    /// Taken, but the target never hears of it.
    Lost,
}

impl Behaviour {
    /// The behaviour of those that simply answer.
    pub fn well(share: f64) -> Behaviour {
        Behaviour { name: "well".into(), share, profile: AnswerProfile::default() }
    }

    /// The behaviour of watcher `index`: shares are kept for every run of indexes, because
    /// multiples of the golden ratio fill the unit interval evenly.
    pub fn of(behaviours: &[Behaviour], index: usize) -> u8 {
        let point = (index as f64 * 0.618_033_988_749_895).fract();
        let mut upto = 0.0;
        for (number, behaviour) in behaviours.iter().enumerate() {
            upto += behaviour.share;
            if point < upto {
                return number as u8;
            }
        }
        (behaviours.len() - 1) as u8
    }
}

impl AnswerProfile {
    /// Reads `ok`, `lose:0.01`, `delay:200ms`, `reject:503:0.1`, several joined by commas.
    ///
    /// # Errors
    ///
    /// Names the part that is not understood.
    pub fn parse(text: &str) -> Result<AnswerProfile, String> {
        let mut profile = AnswerProfile::default();
        for part in text.split(',').map(str::trim) {
            match part.split_once(':') {
                None if part == "ok" => {}
                Some(("lose", share)) => profile.lose = parse_share(share)?,
                Some(("delay", delay)) => profile.delay = crate::units::parse_duration(delay)?,
                Some(("reject", rest)) => {
                    let (code, share) = rest.split_once(':').unwrap_or((rest, "1"));
                    let code = code.parse().ok().filter(|code| (300..700).contains(code));
                    let code = code.ok_or_else(|| format!("{part:?}: no code from 300 to 699"))?;
                    profile.reject = Some((code, parse_share(share)?));
                }
                _ => {
                    return Err(format!(
                        "{part:?}: expected ok, lose:SHARE, delay:TIME or reject:CODE:SHARE"
                    ));
                }
            }
        }
        if profile.delay > WAIT_MAX {
            return Err(format!("a delay over {} s", WAIT_MAX.as_secs()));
        }
        Ok(profile)
    }

    /// Draws what happens to the next NOTIFY.
    pub fn draw(&self, random: &mut fastrand::Rng) -> Answer {
        if self.lose > 0.0 && random.f64() < self.lose {
            return Answer::Lost;
        }
        match self.reject {
            Some((code, share)) if random.f64() < share => Answer::Status(code),
            _ => Answer::Status(200),
        }
    }
}

fn parse_share(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| format!("{text:?} is not a share from 0 to 1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_read_or_refused() {
        let profile = AnswerProfile::parse("lose:0.5, delay:20ms,reject:503:0.25");
        assert_eq!(
            profile,
            Ok(AnswerProfile {
                lose: 0.5,
                delay: Duration::from_millis(20),
                reject: Some((503, 0.25)),
                ..AnswerProfile::default()
            })
        );
        assert_eq!(AnswerProfile::parse("ok"), Ok(AnswerProfile::default()));
        for bad in ["", "lose", "lose:2", "lose:nan", "reject:200", "delay:2h", "maybe:1"] {
            assert!(AnswerProfile::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn behaviours_get_their_share_of_any_run_of_watchers() {
        let behaviour = |share| Behaviour { share, ..Behaviour::well(1.0) };
        let behaviours = [behaviour(0.7), behaviour(0.1), behaviour(0.2)];
        for start in [0, 777, 100_000] {
            let mut counts = [0; 3];
            (start..start + 1000)
                .for_each(|index| counts[usize::from(Behaviour::of(&behaviours, index))] += 1);
            for (count, want) in counts.into_iter().zip([700, 100, 200]) {
                assert!((want - 3..=want + 3).contains(&count), "{counts:?}");
            }
        }
    }

    #[test]
    fn shares_are_kept() {
        let profile = AnswerProfile::parse("lose:0.2,reject:503:0.5").expect("a profile");
        let mut random = fastrand::Rng::with_seed(1);
        let answers: Vec<Answer> = (0..10_000).map(|_| profile.draw(&mut random)).collect();
        let share = |want| answers.iter().filter(|answer| **answer == want).count();
        assert!((1_800..2_200).contains(&share(Answer::Lost)));
        assert!((3_800..4_200).contains(&share(Answer::Status(503))));
        assert!((3_800..4_200).contains(&share(Answer::Status(200))));
    }
}
