//! A run over time: rates and latencies by the second, for the plots of a report.
//!
//! However long the run is, the number of points is bounded: when there are too many, two become
//! one and the width doubles.

use hdrhistogram::Histogram;

use crate::clock::{Nanos, SECOND};
use crate::measure::RECORDED_MAX_NS;

/// Points kept; 20 minutes by the second.
const POINT_COUNT_MAX: usize = 1200;

/// Points of equal width from the start of the run on.
#[derive(Clone, Debug)]
pub struct Series {
    width_ns: Nanos,
    points: Vec<Point>,
}

/// One stretch of time.
#[derive(Clone, Debug, Default)]
pub struct Point {
    /// NOTIFYs received.
    pub notify_count: u64,
    /// Changes sent.
    pub change_count: u64,
    /// Longest wait of a NOTIFY for our answer.
    pub wait_max_ns: Nanos,
    /// Greatest lateness of a change.
    pub late_max_ns: Nanos,
    /// Latencies from intended changes; coarse, because there are many of these.
    latency: Option<Box<Histogram<u32>>>,
}

impl Default for Series {
    fn default() -> Series {
        Series { width_ns: SECOND, points: Vec::new() }
    }
}

impl Series {
    /// The point of a time.
    pub fn at(&mut self, now_ns: Nanos) -> &mut Point {
        while now_ns / self.width_ns >= POINT_COUNT_MAX as Nanos {
            self.widen();
        }
        let index = (now_ns / self.width_ns) as usize;
        if index >= self.points.len() {
            self.points.resize_with(index + 1, Point::default);
        }
        &mut self.points[index]
    }

    /// The point of a time, if anything happened then or later.
    pub fn get(&self, at_ns: Nanos) -> Option<&Point> {
        self.points.get((at_ns / self.width_ns) as usize)
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Series) {
        let mut other = other.clone();
        while self.width_ns < other.width_ns {
            self.widen();
        }
        while other.width_ns < self.width_ns {
            other.widen();
        }
        if self.points.len() < other.points.len() {
            self.points.resize_with(other.points.len(), Point::default);
        }
        for (mine, theirs) in self.points.iter_mut().zip(&other.points) {
            mine.merge(theirs);
        }
    }

    /// Width of a point.
    pub fn width_s(&self) -> f64 {
        self.width_ns as f64 / SECOND as f64
    }

    /// All points.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    fn widen(&mut self) {
        self.width_ns *= 2;
        let pairs = std::mem::take(&mut self.points);
        self.points = pairs
            .chunks(2)
            .map(|pair| {
                let mut point = pair[0].clone();
                pair[1..].iter().for_each(|other| point.merge(other));
                point
            })
            .collect();
    }
}

impl Point {
    /// A NOTIFY was answered that had waited so long.
    pub fn take_notify(&mut self, wait_ns: Nanos) {
        self.notify_count += 1;
        self.wait_max_ns = self.wait_max_ns.max(wait_ns);
    }

    /// A change has left, so late.
    pub fn take_change(&mut self, late_ns: Nanos) {
        self.change_count += 1;
        self.late_max_ns = self.late_max_ns.max(late_ns);
    }

    /// A latency was measured.
    pub fn take_latency(&mut self, latency_ns: Nanos) {
        let histogram = self.latency.get_or_insert_with(|| {
            let histogram = Histogram::new_with_bounds(1_000, RECORDED_MAX_NS, 1);
            Box::new(histogram.expect("the bounds are constants in range"))
        });
        histogram.saturating_record(latency_ns.max(1_000));
    }

    /// Half of the latencies, 99 % of them, and all are at or below these.
    pub fn latency_ms(&self) -> Option<[f64; 3]> {
        let histogram = self.latency.as_ref()?;
        let at = |share| histogram.value_at_quantile(share) as f64 / 1e6;
        Some([at(0.5), at(0.99), histogram.max() as f64 / 1e6])
    }

    fn merge(&mut self, other: &Point) {
        self.notify_count += other.notify_count;
        self.change_count += other.change_count;
        self.wait_max_ns = self.wait_max_ns.max(other.wait_max_ns);
        self.late_max_ns = self.late_max_ns.max(other.late_max_ns);
        match (&mut self.latency, &other.latency) {
            (Some(mine), Some(theirs)) => **mine += &**theirs,
            (mine @ None, Some(theirs)) => *mine = Some(theirs.clone()),
            (_, None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::MILLISECOND;

    #[test]
    fn a_long_run_keeps_its_sums_in_wider_points() {
        let (mut whole, mut early, mut late) =
            (Series::default(), Series::default(), Series::default());
        for second in 0..3000 {
            for series in [&mut whole, if second < 500 { &mut early } else { &mut late }] {
                let point = series.at(second * SECOND + 1);
                point.take_notify(second);
                point.take_change(7);
                point.take_latency(second.max(1) * MILLISECOND);
            }
        }
        early.merge(&late);
        for series in [&whole, &early] {
            assert_eq!((series.width_s(), series.points().len()), (4.0, 750));
            let last = &series.points()[749];
            assert_eq!((last.notify_count, last.change_count), (4, 4));
            assert_eq!((last.wait_max_ns, last.late_max_ns), (2999, 7));
            let [p50, p99, max] = last.latency_ms().expect("measured");
            assert!(p50 <= p99 && p99 <= max, "{p50} {p99} {max}");
            assert!((2900.0..3300.0).contains(&max), "{max}");
        }
        assert_eq!(Series::default().at(0).latency_ms(), None);
    }
}
