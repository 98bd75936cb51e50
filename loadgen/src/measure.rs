//! What a thread counts and times; merged when the run is over.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::clock::{MILLISECOND, Nanos, SECOND};
use crate::generator::StepNumber;
use crate::series::Series;
use crate::truth::Verdict;

/// Times longer than this are recorded as this.
pub const RECORDED_MAX_NS: Nanos = 600 * SECOND;

/// A histogram of times, three significant digits.
#[derive(Clone, Debug)]
pub struct Times(Histogram<u64>);

/// The points of a distribution that reports show, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Quantiles {
    /// Values recorded.
    pub count: u64,
    /// Arithmetic mean.
    pub mean_ms: f64,
    /// Half are at or below it.
    pub p50_ms: f64,
    /// 90 %.
    pub p90_ms: f64,
    /// 99 %.
    pub p99_ms: f64,
    /// 99.9 %.
    pub p999_ms: f64,
    /// The largest.
    pub max_ms: f64,
}

impl Default for Times {
    fn default() -> Times {
        let histogram = Histogram::new_with_bounds(1_000, RECORDED_MAX_NS, 3);
        Times(histogram.expect("the bounds are constants in range"))
    }
}

impl Times {
    /// Records one time; below a microsecond counts as one.
    pub fn record(&mut self, time_ns: Nanos) {
        self.0.saturating_record(time_ns.max(1_000));
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Times) {
        self.0 += &other.0;
    }

    /// Values recorded.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The value at or below which the given share lies.
    pub fn at_quantile_ns(&self, share: f64) -> Nanos {
        self.0.value_at_quantile(share)
    }

    /// The points shown in reports; `None` when nothing was recorded.
    pub fn quantiles(&self) -> Option<Quantiles> {
        let ms = |ns: Nanos| ns as f64 / MILLISECOND as f64;
        (self.count() > 0).then(|| Quantiles {
            count: self.count(),
            mean_ms: self.0.mean() / MILLISECOND as f64,
            p50_ms: ms(self.at_quantile_ns(0.5)),
            p90_ms: ms(self.at_quantile_ns(0.9)),
            p99_ms: ms(self.at_quantile_ns(0.99)),
            p999_ms: ms(self.at_quantile_ns(0.999)),
            max_ms: ms(self.0.max()),
        })
    }

    /// The distribution as points (1/(1-p), milliseconds), for a plot that gives every nine the
    /// same width.
    pub fn percentile_points(&self) -> Vec<(f64, f64)> {
        let steps = self.0.iter_quantiles(5).take_while(|step| step.quantile_iterated_to() < 1.0);
        let point = |step: hdrhistogram::iterators::IterationValue<u64>| {
            let rest = 1.0 - step.quantile_iterated_to();
            (1.0 / rest, step.value_iterated_to() as f64 / MILLISECOND as f64)
        };
        steps.map(point).collect()
    }

    /// The distribution in the `.hgrm` text form of HdrHistogram's plotters, in milliseconds.
    pub fn hgrm(&self) -> String {
        use std::fmt::Write as _;
        let mut text = String::from("       Value     Percentile TotalCount 1/(1-Percentile)\n\n");
        let mut seen = 0;
        for step in self.0.iter_quantiles(5) {
            seen += step.count_since_last_iteration();
            let (value, share) = (step.value_iterated_to() as f64, step.quantile_iterated_to());
            let rest =
                if share < 1.0 { format!("{:14.2}", 1.0 / (1.0 - share)) } else { "inf".into() };
            let value_ms = value / MILLISECOND as f64;
            let _ = writeln!(text, "{value_ms:12.3} {share:1.12} {seen:10} {rest:>14}");
        }
        let (mean, deviation) = (self.0.mean() / 1e6, self.0.stdev() / 1e6);
        let (max, count) = (self.0.max() as f64 / 1e6, self.count());
        let _ = writeln!(text, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]");
        let _ = writeln!(text, "#[Max     = {max:12.3}, Total count    = {count:12}]");
        text
    }
}

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Plain counters of a thread.
        #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
        pub struct Counts {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counts {
            /// Adds all of `other`.
            pub fn merge(&mut self, other: &Counts) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

counts! {
    /// SUBSCRIBEs that created a dialog.
    subscribe_sent_count,
    /// Subscriptions with 2xx and first NOTIFY.
    established_count,
    /// Subscriptions refused, unanswered or without first NOTIFY.
    subscribe_failed_count,
    /// SUBSCRIBEs sent again because no answer had come.
    subscribe_retransmitted_count,
    /// Refreshes answered with 2xx.
    refreshed_count,
    /// Subscriptions that had been active and ended without us asking.
    ended_by_target_count,
    /// Un-SUBSCRIBEs answered.
    unsubscribed_count,
    /// Un-SUBSCRIBEs that timed out.
    unsubscribe_failed_count,
    /// NOTIFYs `terminated` after our un-SUBSCRIBE.
    final_notify_count,
    /// NOTIFYs of our subscriptions, retransmissions not counted.
    notify_count,
    /// NOTIFYs the target sent again.
    notify_retransmitted_count,
    /// NOTIFYs answered (200 or as the profile says).
    answer_sent_count,
    /// Answers the profile swallowed.
    answer_lost_count,
    /// Answers with a refusal, as the profile says.
    answer_refused_count,
    /// Answers the profile sent twice.
    answer_duplicated_count,
    /// Datagrams the profile lost before they arrived.
    receive_lost_count,
    /// Watchers switched off, as their behaviour says.
    dead_count,
    /// NOTIFYs sent to them.
    dead_notify_count,
    /// Those that were still sent NOTIFYs at the end.
    dead_told_count,
    /// NOTIFYs of lists.
    list_notify_count,
    /// Those with the whole list.
    list_full_count,
    /// Bytes of their bodies.
    list_body_bytes,
    /// Members in them.
    list_member_count,
    /// Lists inside lists in them.
    list_inner_count,
    /// Versions of a list skipped by a NOTIFY of a part of it.
    version_gap_count,
    /// Versions skipped by a NOTIFY of the whole list.
    version_jump_count,
    /// Versions of a list that did not rise.
    version_back_count,
    /// Lists asked for again because a version was skipped.
    resubscribed_count,
    /// First NOTIFYs of a list without the whole of it.
    first_not_full_count,
    /// SUBSCRIBEs to a list that were not followed by the whole of it.
    full_state_missing_count,
    /// Content-IDs in a list that no part has.
    cid_unresolved_count,
    /// Parts of a list that nothing refers to.
    part_orphaned_count,
    /// Members that do not belong to the list.
    stranger_count,
    /// Members named twice in one NOTIFY.
    member_twice_count,
    /// Members told to be gone, or absent from a whole list.
    member_gone_count,
    /// Members whose instance has another id than before.
    instance_changed_count,
    /// Members without a state.
    member_without_state_count,
    /// First versions other than 0.
    first_version_not_zero_count,
    /// NOTIFYs of a list subscription that are no list.
    not_a_list_count,
    /// NOTIFYs that changes of state required.
    needed_count,
    /// Required NOTIFYs that came.
    delivered_count,
    /// Required NOTIFYs that a newer state made unnecessary.
    superseded_count,
    /// Required NOTIFYs that never came.
    lost_count,
    /// Latencies that might belong to a newer change and are then shorter.
    ambiguous_count,
    /// NOTIFYs for the answer of a refresh.
    refresh_notify_count,
    /// The state shown already, without change or refresh, or a CSeq used twice.
    duplicate_count,
    /// CSeq or document version not rising, or an older state after a newer one.
    out_of_order_count,
    /// NOTIFYs with a lamp that was never set.
    untrue_count,
    /// Messages or bodies that could not be read.
    unparsable_count,
    /// Requests for no subscription of this run (answered 481).
    foreign_count,
    /// Requests other than NOTIFY.
    other_request_count,
    /// Responses that match no open request.
    stray_response_count,
    /// Datagrams our own sockets did not take.
    send_dropped_count,
    /// Datagrams cut because they were longer than any we accept.
    truncated_count,
}

/// Lamps at the end of a run.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LampCounts {
    /// Right.
    pub right_count: u64,
    /// Showing an older state.
    pub stale_count: u64,
    /// Showing what was never set.
    pub wrong_count: u64,
    /// Showing nothing.
    pub missing_count: u64,
    /// Their truth is not known.
    pub unjudged_count: u64,
}

impl LampCounts {
    /// Counts one lamp.
    pub fn add(&mut self, verdict: Verdict) {
        *match verdict {
            Verdict::Right => &mut self.right_count,
            Verdict::Stale => &mut self.stale_count,
            Verdict::Wrong => &mut self.wrong_count,
            Verdict::Missing => &mut self.missing_count,
            Verdict::Unjudged => &mut self.unjudged_count,
        } += 1;
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &LampCounts) {
        self.right_count += other.right_count;
        self.stale_count += other.stale_count;
        self.wrong_count += other.wrong_count;
        self.missing_count += other.missing_count;
        self.unjudged_count += other.unjudged_count;
    }

    /// Lamps that do not show the truth.
    pub fn false_count(&self) -> u64 {
        self.stale_count + self.wrong_count + self.missing_count
    }
}

/// What the watchers of one behaviour saw.
#[derive(Clone, Debug, Default)]
pub struct BehaviourTally {
    /// Their lamps.
    pub lamps: LampCounts,
    /// NOTIFY latency from the intended time, by the step that changed states.
    pub steps: BTreeMap<StepNumber, Times>,
}

/// Everything a generator thread brings home.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Counters.
    pub counts: Counts,
    /// NOTIFY latency from the intended time of the change.
    pub from_intended: Times,
    /// NOTIFY latency from the time the change was sent.
    pub from_sent: Times,
    /// Answer to SUBSCRIBE, from its intended time.
    pub subscribe_answer: Times,
    /// First NOTIFY, from the intended time of its SUBSCRIBE.
    pub first_notify: Times,
    /// Lateness of our own SUBSCRIBEs.
    pub subscribe_lateness: Times,
    /// How long each NOTIFY of the change phase waited for our answer, from the kernel's stamp on;
    /// without one, since its socket was last seen empty or the thread last slept, at most.
    pub wait: Times,
    /// Why subscriptions failed.
    pub failures: BTreeMap<String, u64>,
    /// Why active subscriptions ended.
    pub endings: BTreeMap<String, u64>,
    /// The second reader's findings.
    pub second: crate::second_reader::Findings,
    /// What each behaviour led to.
    pub behaviours: Vec<BehaviourTally>,
    /// NOTIFYs and latencies over time.
    pub series: Series,
}

impl Tally {
    /// For so many behaviours.
    pub fn new(behaviour_count: usize) -> Tally {
        Tally { behaviours: vec![BehaviourTally::default(); behaviour_count], ..Tally::default() }
    }

    /// All lamps.
    pub fn lamps(&self) -> LampCounts {
        let mut all = LampCounts::default();
        self.behaviours.iter().for_each(|behaviour| all.merge(&behaviour.lamps));
        all
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Tally) {
        self.counts.merge(&other.counts);
        for (mine, theirs) in [
            (&mut self.from_intended, &other.from_intended),
            (&mut self.from_sent, &other.from_sent),
            (&mut self.subscribe_answer, &other.subscribe_answer),
            (&mut self.first_notify, &other.first_notify),
            (&mut self.subscribe_lateness, &other.subscribe_lateness),
            (&mut self.wait, &other.wait),
        ] {
            mine.merge(theirs);
        }
        for (mine, theirs) in
            [(&mut self.failures, &other.failures), (&mut self.endings, &other.endings)]
        {
            for (reason, count) in theirs {
                *mine.entry(reason.clone()).or_default() += count;
            }
        }
        self.second.merge(&other.second);
        self.series.merge(&other.series);
        let behaviour_count = self.behaviours.len().max(other.behaviours.len());
        self.behaviours.resize_with(behaviour_count, BehaviourTally::default);
        for (mine, theirs) in self.behaviours.iter_mut().zip(&other.behaviours) {
            mine.lamps.merge(&theirs.lamps);
            for (step, times) in &theirs.steps {
                mine.steps.entry(*step).or_default().merge(times);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_thousandth_and_merging_equals_recording() {
        let (mut all, mut odd, mut even) = (Times::default(), Times::default(), Times::default());
        assert_eq!(all.quantiles(), None);
        for ms in 1..=1000 {
            all.record(ms * MILLISECOND);
            let half = if ms % 2 == 0 { &mut even } else { &mut odd };
            half.record(ms * MILLISECOND);
        }
        odd.merge(&even);
        assert_eq!(all.quantiles(), odd.quantiles());
        let points = all.quantiles().expect("recorded");
        for (got, want) in [
            (points.p50_ms, 500.0),
            (points.p90_ms, 900.0),
            (points.p99_ms, 990.0),
            (points.p999_ms, 999.0),
            (points.max_ms, 1000.0),
            (points.mean_ms, 500.5),
        ] {
            assert!((got / want - 1.0_f64).abs() < 0.001, "{got} for {want}");
        }
    }

    #[test]
    fn extremes_are_kept_inside_the_range() {
        let mut times = Times::default();
        times.record(0);
        times.record(u64::MAX);
        let points = times.quantiles().expect("recorded");
        assert_eq!(points.count, 2);
        assert!(points.p50_ms <= 0.002 && points.max_ms >= 600_000.0, "{points:?}");
    }

    #[test]
    fn the_hgrm_ends_with_everything() {
        let mut times = Times::default();
        (1..=100).for_each(|ms| times.record(ms * MILLISECOND));
        let text = times.hgrm();
        assert!(text.starts_with("       Value     Percentile TotalCount 1/(1-Percentile)\n\n"));
        assert!(text.contains("1.000000000000        100            inf\n"), "{text}");
        assert!(text.ends_with("Total count    =          100]\n"), "{text}");
    }
}
