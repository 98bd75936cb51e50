//! Lamp truth: what each watcher must be shown, and what a NOTIFY says about it.
//!
//! The generator knows every change it made. Per extension a [`Timeline`] keeps the states set,
//! as sets of lamps that may show them; per watcher a [`View`] keeps what it was last shown. A
//! NOTIFY is judged against both ([`Timeline::judge`]).
//!
//! Two states can look alike in a format, and a state can return, so attribution is a choice. It
//! is made against the target only where it must be: a NOTIFY counts for the *oldest* change it
//! can stand for, because that gives the longest latency; but not for one that a newer state
//! replaced more than [`ATTRIBUTION_WINDOW_NS`] ago, else one skipped change would make every
//! later NOTIFY look a whole cycle late.

use std::collections::VecDeque;

use crate::clock::{Nanos, SECOND};
use crate::lamp::{Lamp, LampSet};
use crate::limits::TIMELINE_VERSION_MAX;

/// How long after it was replaced a state may still be on its way: T1 doubled, so one lost NOTIFY
/// that is sent again after 500 ms is still attributed rightly (RFC 3261 section 17.1.2.2).
pub const ATTRIBUTION_WINDOW_NS: Nanos = SECOND;

/// One state of an extension, as set by the generator.
#[derive(Clone, Copy, Debug)]
pub struct Version {
    /// Lamps that show this state rightly.
    pub lamps: LampSet,
    /// When the change was due.
    pub intended_ns: Nanos,
    /// When it was handed to the target.
    pub sent_ns: Nanos,
    /// Changes up to and including this one that every watcher must be told of.
    needed_count: u64,
    needed: bool,
}

/// The states of one extension, oldest first; version 0 is what the target had before the run.
#[derive(Debug, Default)]
pub struct Timeline {
    versions: VecDeque<Version>,
    dropped_count: u64,
    /// Watchers of this extension on this thread, by the lamp they were last shown.
    shown_counts: [u32; Lamp::COUNT],
    active_count: u32,
    unsure: bool,
}

/// What one watcher was last shown. There is one per member of each list subscription, so it is
/// small; a run has fewer changes than a `u32` can count.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct View {
    version: u32,
    lamp: Option<Lamp>,
    /// The member is gone from its list: the lamp is dark until it comes back.
    hidden: bool,
}

/// What a NOTIFY's lamp means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Judgement {
    /// The first lamp of this watcher.
    First,
    /// The news of one change.
    News {
        /// When the change was due.
        intended_ns: Nanos,
        /// When it was sent.
        sent_ns: Nanos,
        /// Needed changes skipped on the way to this one that a newer state soon replaced.
        superseded_count: u64,
        /// Needed changes skipped although they lasted, the watcher showing something else.
        lost_count: u64,
        /// This change was one that every watcher must be told of.
        needed: bool,
        /// A newer change has the same lamps: the latency may be overstated.
        ambiguous: bool,
    },
    /// What the watcher already showed, without a change.
    Repeat,
    /// A state older than the one shown before.
    Regressed,
    /// A lamp the generator never set.
    Untrue,
}

/// The lamp of one watcher at the end of the run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Shows the last state set.
    Right,
    /// Shows an older state.
    Stale,
    /// Shows something that was never set.
    Wrong,
    /// Shows nothing: no state ever came, or the subscription ended.
    Missing,
    /// The generator does not know the truth: never set, or setting it failed.
    Unjudged,
}

impl Timeline {
    /// Appends a change and returns how many watchers must be told of it.
    pub fn push(&mut self, lamps: LampSet, intended_ns: Nanos, sent_ns: Nanos) -> u32 {
        let before = self.versions.back();
        let needed = before.is_some_and(|version| !version.lamps.overlaps(lamps));
        let needed_count = before.map_or(0, |version| version.needed_count) + u64::from(needed);
        self.versions.push_back(Version { lamps, intended_ns, sent_ns, needed_count, needed });
        if self.versions.len() > TIMELINE_VERSION_MAX {
            self.versions.pop_front();
            self.dropped_count += 1;
        }
        if needed { self.active_count } else { 0 }
    }

    /// A change was refused: from now on the truth is not known.
    pub fn doubt(&mut self) {
        self.unsure = true;
    }

    /// A watcher joined; it shows nothing yet.
    pub fn join(&mut self) {
        self.active_count += 1;
    }

    /// A watcher left for good.
    pub fn leave(&mut self, view: &mut View) {
        self.active_count -= 1;
        if let Some(lamp) = view.lamp() {
            self.shown_counts[lamp as usize] -= 1;
        }
        *view = View::default();
    }

    /// The target says that this member is not there any more; whether it had been.
    pub fn hide(&mut self, view: &mut View) -> bool {
        let Some(lamp) = view.lamp() else {
            return false;
        };
        self.shown_counts[lamp as usize] -= 1;
        view.hidden = true;
        true
    }

    /// Watchers that do not yet show the newest state.
    pub fn outstanding_count(&self) -> u32 {
        let Some(newest) = self.versions.back() else {
            return 0;
        };
        let shown: u32 = Lamp::ALL
            .into_iter()
            .filter(|lamp| newest.lamps.contains(*lamp))
            .map(|lamp| self.shown_counts[lamp as usize])
            .sum();
        self.active_count - shown
    }

    /// Judges the lamp of a NOTIFY for one watcher and remembers that it was shown.
    pub fn judge(&mut self, view: &mut View, lamp: Lamp, now_ns: Nanos) -> Judgement {
        let mut judgement = self.classify(view, lamp, now_ns);
        if let Some(before) = view.lamp() {
            self.shown_counts[before as usize] -= 1;
        } else if view.hidden && judgement == Judgement::Repeat {
            judgement = Judgement::First;
        }
        (view.lamp, view.hidden) = (Some(lamp), false);
        self.shown_counts[lamp as usize] += 1;
        judgement
    }

    /// The verdict over one watcher's lamp, and the needed changes it was never told of:
    /// (superseded, lost).
    pub fn conclude(&self, view: &View, active: bool) -> (Verdict, u64, u64) {
        let Some(newest) = self.versions.back() else {
            return (Verdict::Unjudged, 0, 0);
        };
        let Some(lamp) = view.lamp().filter(|_| active) else {
            return (Verdict::Missing, 0, 0);
        };
        let right = newest.lamps.contains(lamp);
        let (superseded_count, mut lost_count) = self.skipped(view.seen(), self.newest(), lamp);
        // The newest change is superseded by nothing; if it looks like what is shown already, an
        // earlier one was skipped and there is nothing to tell.
        let newest_untold = newest.needed && view.seen() < self.newest();
        let superseded_count = superseded_count + u64::from(newest_untold && right);
        if self.unsure {
            return (Verdict::Unjudged, superseded_count, lost_count);
        }
        lost_count += u64::from(newest_untold && !right);
        let known = self.versions.iter().any(|version| version.lamps.contains(lamp));
        let verdict = match (right, known) {
            (true, _) => Verdict::Right,
            (false, true) => Verdict::Stale,
            (false, false) => Verdict::Wrong,
        };
        (verdict, superseded_count, lost_count)
    }

    fn classify(&self, view: &mut View, lamp: Lamp, now_ns: Nanos) -> Judgement {
        if view.lamp.is_none() {
            view.version = self.newest_with(lamp).unwrap_or(0) as u32;
            return Judgement::First;
        }
        if let Some((number, ambiguous)) = self.attribute(view.seen(), lamp, now_ns) {
            let version = self.versions[self.slot(number)];
            let shown = view.lamp.unwrap_or(lamp);
            let (superseded_count, lost_count) = self.skipped(view.seen(), number, shown);
            view.version = number as u32;
            return Judgement::News {
                intended_ns: version.intended_ns,
                sent_ns: version.sent_ns,
                superseded_count,
                lost_count,
                needed: version.needed,
                ambiguous,
            };
        }
        if view.lamp == Some(lamp) {
            Judgement::Repeat
        } else if self.newest_with(lamp).is_some() {
            Judgement::Regressed
        } else {
            Judgement::Untrue
        }
    }

    /// The version after `seen` that a NOTIFY with `lamp` stands for, and whether a newer one
    /// would do as well.
    fn attribute(&self, seen: u64, lamp: Lamp, now_ns: Nanos) -> Option<(u64, bool)> {
        let mut oldest_plausible = None;
        let mut newest = None;
        for number in (seen + 1).max(self.dropped_count + 1)..=self.newest() {
            let slot = self.slot(number);
            if !self.versions[slot].lamps.contains(lamp) {
                continue;
            }
            newest = Some(number);
            let replaced_ns = self.versions.get(slot + 1).map(|next| next.sent_ns);
            // Bodies are judged some time after they came: what was not sent then is not meant.
            let plausible = self.versions[slot].sent_ns <= now_ns
                && replaced_ns.is_none_or(|at| now_ns.saturating_sub(at) <= ATTRIBUTION_WINDOW_NS);
            if plausible && oldest_plausible.is_none() {
                oldest_plausible = Some(number);
            }
        }
        let chosen = oldest_plausible.or(newest)?;
        Some((chosen, newest != Some(chosen)))
    }

    /// The needed versions after `seen` and before `until`, which a watcher that showed `shown`
    /// was not told of: (superseded, lost). Forgotten ones were superseded.
    fn skipped(&self, seen: u64, until: u64, shown: Lamp) -> (u64, u64) {
        let first = (seen + 1).max(self.dropped_count + 1);
        let lost = (first..until).filter(|number| {
            let slot = self.slot(*number);
            let version = &self.versions[slot];
            let replaced_ns = self.versions.get(slot + 1).map_or(Nanos::MAX, |next| next.sent_ns);
            let lasted_ns = replaced_ns.saturating_sub(version.sent_ns);
            version.needed && lasted_ns > ATTRIBUTION_WINDOW_NS && !version.lamps.contains(shown)
        });
        let lost_count = lost.count() as u64;
        if until <= first {
            return (0, 0);
        }
        let all_count = self.needed_count_at(until - 1) - self.needed_count_at(seen);
        (all_count - lost_count, lost_count)
    }

    /// Number of the newest version; versions count from 1.
    fn newest(&self) -> u64 {
        self.dropped_count + self.versions.len() as u64
    }

    fn newest_with(&self, lamp: Lamp) -> Option<u64> {
        let slot = self.versions.iter().rposition(|version| version.lamps.contains(lamp))?;
        Some(self.dropped_count + 1 + slot as u64)
    }

    fn slot(&self, number: u64) -> usize {
        (number - self.dropped_count - 1) as usize
    }

    fn needed_count_at(&self, number: u64) -> u64 {
        if number <= self.dropped_count {
            // Forgotten versions count as told: they were replaced long ago.
            return self.versions.front().map_or(0, |version| version.needed_count);
        }
        self.versions[self.slot(number)].needed_count
    }
}

impl View {
    /// The lamp shown now.
    pub fn lamp(&self) -> Option<Lamp> {
        self.lamp.filter(|_| !self.hidden)
    }

    fn seen(&self) -> u64 {
        u64::from(self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::MILLISECOND;

    const IDLE: LampSet = LampSet::of(&[Lamp::Idle]);
    const BUSY: LampSet = LampSet::of(&[Lamp::Busy]);

    /// A timeline with one watcher, changed at whole milliseconds.
    struct Story {
        timeline: Timeline,
        view: View,
    }

    impl Story {
        fn start() -> Story {
            let mut timeline = Timeline::default();
            timeline.push(IDLE, 0, 0);
            timeline.join();
            let mut view = View::default();
            assert_eq!(timeline.judge(&mut view, Lamp::Idle, 0), Judgement::First);
            assert_eq!(timeline.outstanding_count(), 0);
            Story { timeline, view }
        }

        fn set(&mut self, lamps: LampSet, at_ms: u64) -> u32 {
            let at_ns = at_ms * MILLISECOND;
            self.timeline.push(lamps, at_ns, at_ns + 10)
        }

        fn shown(&mut self, lamp: Lamp, at_ms: u64) -> Judgement {
            self.timeline.judge(&mut self.view, lamp, at_ms * MILLISECOND)
        }

        fn end(&self) -> (Verdict, u64, u64) {
            self.timeline.conclude(&self.view, true)
        }
    }

    fn news(at_ms: u64, superseded_count: u64, ambiguous: bool) -> Judgement {
        let intended_ns = at_ms * MILLISECOND;
        let sent_ns = intended_ns + 10;
        Judgement::News {
            intended_ns,
            sent_ns,
            superseded_count,
            lost_count: 0,
            needed: true,
            ambiguous,
        }
    }

    #[test]
    fn a_change_that_is_shown_is_right_and_counts_from_its_own_time() {
        let mut story = Story::start();
        assert_eq!(story.set(BUSY, 100), 1);
        assert_eq!(story.timeline.outstanding_count(), 1);
        assert_eq!(story.shown(Lamp::Busy, 103), news(100, 0, false));
        assert_eq!(story.timeline.outstanding_count(), 0);
        assert_eq!(story.end(), (Verdict::Right, 0, 0));
    }

    #[test]
    fn a_change_that_is_not_shown_leaves_a_stale_lamp_and_one_lost_notify() {
        let mut story = Story::start();
        story.set(BUSY, 100);
        assert_eq!(story.end(), (Verdict::Stale, 0, 1));
        assert_eq!(story.timeline.outstanding_count(), 1);
    }

    #[test]
    fn a_lamp_that_was_never_set_is_untrue_and_wrong() {
        let mut story = Story::start();
        story.set(BUSY, 100);
        assert_eq!(story.shown(Lamp::Ringing, 101), Judgement::Untrue);
        assert_eq!(story.end(), (Verdict::Wrong, 0, 1));
    }

    #[test]
    fn the_same_lamp_without_a_change_is_a_repeat() {
        let mut story = Story::start();
        assert_eq!(story.shown(Lamp::Idle, 5), Judgement::Repeat);
        story.set(BUSY, 100);
        story.shown(Lamp::Busy, 101);
        assert_eq!(story.shown(Lamp::Busy, 102), Judgement::Repeat);
        assert_eq!(story.end(), (Verdict::Right, 0, 0));
    }

    #[test]
    fn an_older_state_after_a_newer_one_is_a_regression() {
        let mut story = Story::start();
        story.set(BUSY, 100);
        story.shown(Lamp::Busy, 101);
        assert_eq!(story.shown(Lamp::Idle, 102), Judgement::Regressed);
        assert_eq!(story.end(), (Verdict::Stale, 0, 0));
    }

    #[test]
    fn a_subscription_that_ended_or_never_spoke_is_missing() {
        let story = Story::start();
        assert_eq!(story.timeline.conclude(&story.view, false).0, Verdict::Missing);
        assert_eq!(story.timeline.conclude(&View::default(), true).0, Verdict::Missing);
        assert_eq!(Timeline::default().conclude(&story.view, true).0, Verdict::Unjudged);
    }

    #[test]
    fn a_member_that_is_gone_is_missing_and_back_again_it_is_judged_by_what_it_had_shown() {
        let mut story = Story::start();
        let Story { timeline, view } = &mut story;
        assert!(timeline.hide(view) && !timeline.hide(view), "gone once");
        assert_eq!(story.timeline.outstanding_count(), 1);
        assert_eq!(story.end().0, Verdict::Missing);
        assert_eq!(story.shown(Lamp::Idle, 50), Judgement::First, "no repetition");
        assert_eq!(story.end(), (Verdict::Right, 0, 0));
        let Story { timeline, view } = &mut story;
        timeline.hide(view);
        story.set(BUSY, 100);
        assert_eq!(story.shown(Lamp::Busy, 101), news(100, 0, false));
        let Story { timeline, view } = &mut story;
        timeline.hide(view);
        timeline.leave(view);
        assert_eq!(timeline.outstanding_count(), 0);
    }

    #[test]
    fn a_view_is_small() {
        assert!(size_of::<View>() <= 8, "{}", size_of::<View>());
    }

    #[test]
    fn a_refused_change_makes_the_extension_unjudged() {
        let mut story = Story::start();
        story.set(BUSY, 100);
        story.timeline.doubt();
        assert_eq!(story.end().0, Verdict::Unjudged);
    }

    #[test]
    fn conflated_changes_are_superseded_and_the_oldest_candidate_is_charged() {
        let mut story = Story::start();
        for (lamps, at_ms) in [(BUSY, 100), (IDLE, 110), (BUSY, 120)] {
            story.set(lamps, at_ms);
        }
        assert_eq!(story.shown(Lamp::Busy, 125), news(100, 0, true));
        assert_eq!(story.end(), (Verdict::Right, 2, 0), "the last two were never told apart");
    }

    #[test]
    fn one_skipped_cycle_does_not_make_later_notifies_look_late() {
        let mut story = Story::start();
        for (lamps, at_ms) in [(BUSY, 100), (IDLE, 110), (BUSY, 120)] {
            story.set(lamps, at_ms);
        }
        story.shown(Lamp::Busy, 125);
        story.set(IDLE, 2120);
        // The state of 110 ms was replaced two seconds ago, so this is the news of 2120 ms.
        assert_eq!(story.shown(Lamp::Idle, 2123), news(2120, 2, false));
        assert_eq!(story.end(), (Verdict::Right, 0, 0));
    }

    #[test]
    fn a_change_that_lasted_and_was_never_shown_is_lost_even_if_the_lamp_is_right_again() {
        let mut story = Story::start();
        story.set(BUSY, 100);
        story.set(IDLE, 2100);
        assert_eq!(
            story.end(),
            (Verdict::Right, 1, 1),
            "busy for two seconds, and nobody was told"
        );
        story.set(LampSet::of(&[Lamp::Ringing]), 2200);
        let judged = story.shown(Lamp::Ringing, 2201);
        let counts = |judged| match judged {
            Judgement::News { superseded_count, lost_count, .. } => (superseded_count, lost_count),
            _ => (0, 0),
        };
        assert_eq!(counts(judged), (1, 1));
        assert_eq!(story.end(), (Verdict::Right, 0, 0));
    }

    #[test]
    fn a_change_between_states_that_look_alike_needs_no_notify_but_may_have_one() {
        let mut story = Story::start();
        story.set(BUSY, 100);
        story.shown(Lamp::Busy, 101);
        assert_eq!(story.set(BUSY, 200), 0);
        assert_eq!(story.timeline.outstanding_count(), 0);
        let judged = story.shown(Lamp::Busy, 201);
        assert!(matches!(judged, Judgement::News { needed: false, .. }), "{judged:?}");
        assert_eq!(story.end(), (Verdict::Right, 0, 0));
    }

    #[test]
    fn needed_equals_delivered_plus_superseded_plus_lost_for_any_delivery() {
        let mut random = fastrand::Rng::with_seed(5);
        for case in 0..500 {
            let mut story = Story::start();
            let (mut needed, mut told) = (0, 0);
            let states = [IDLE, BUSY, LampSet::of(&[Lamp::Ringing]), BUSY];
            let mut at_ms = 0;
            for step in 1..random.usize(2..700) {
                at_ms += random.u64(1..2000);
                needed += u64::from(story.set(states[step % states.len()], at_ms));
                if random.u8(..3) > 0 {
                    let lamp = [Lamp::Idle, Lamp::Busy, Lamp::Ringing, Lamp::Busy][step % 4];
                    if let Judgement::News { superseded_count, lost_count, needed, .. } =
                        story.shown(lamp, at_ms + 1)
                    {
                        told += superseded_count + lost_count + u64::from(needed);
                    }
                }
            }
            let (verdict, superseded, lost) = story.end();
            assert_ne!(verdict, Verdict::Wrong);
            let sum = told + superseded + lost;
            assert!(sum <= needed && sum + TIMELINE_VERSION_MAX as u64 > needed, "case {case}");
            if needed < TIMELINE_VERSION_MAX as u64 {
                assert_eq!(sum, needed, "case {case}");
            }
        }
    }
}
