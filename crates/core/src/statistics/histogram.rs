//! Latencies in buckets whose width grows with the value: at most one eighth off, from 1 µs to about 9 hours.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Each power of two is cut into this many equal buckets (2³).
const CUT_BITS: u32 = 3;
const CUTS: usize = 1 << CUT_BITS;
/// Values from 2³⁵ µs on share the last bucket.
const LARGEST_POWER: u32 = 35;
const BUCKETS: usize = (LARGEST_POWER - CUT_BITS + 1) as usize * CUTS;

fn bucket_of(microseconds: u64) -> usize {
    if microseconds < CUTS as u64 {
        return microseconds as usize;
    }
    let power = microseconds.ilog2();
    let cut = (microseconds >> (power - CUT_BITS)) as usize & (CUTS - 1);
    ((power - CUT_BITS + 1) as usize * CUTS + cut).min(BUCKETS - 1)
}

/// The smallest value beyond a bucket, in microseconds.
fn upper_bound(bucket: usize) -> u64 {
    if bucket < CUTS {
        return bucket as u64 + 1;
    }
    let power = (bucket / CUTS) as u32 + CUT_BITS - 1;
    let cut = (bucket % CUTS) as u64;
    (CUTS as u64 + cut + 1) << (power - CUT_BITS)
}

/// A histogram that many threads count into.
#[derive(Debug)]
pub struct AtomicHistogram(Box<[AtomicU64]>);

impl Default for AtomicHistogram {
    fn default() -> Self {
        Self((0..BUCKETS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl AtomicHistogram {
    /// Counts one latency.
    pub fn record(&self, latency: Duration) {
        let microseconds = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.0[bucket_of(microseconds)].fetch_add(1, Ordering::Relaxed);
    }

    /// The counts as they are now.
    #[must_use]
    pub fn snapshot(&self) -> Histogram {
        let counts =
            self.0.iter().enumerate().map(|(bucket, count)| (bucket as u16, count.load(Ordering::Relaxed)));
        Histogram(counts.filter(|(_, count)| *count > 0).collect())
    }
}

/// Counts of latencies: pairs of bucket and count, empty buckets left out, buckets ascending.
///
/// Bucket `b < 8` holds `b` µs; bucket `8·p + c` holds the `c`-th eighth of the values from 2^(p+2) µs to
/// 2^(p+3) µs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Histogram(Vec<(u16, u64)>);

impl Histogram {
    /// How many latencies were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    /// A bound below which the given share (0 to 1) of latencies lies, at most an eighth too high; `None` if
    /// nothing was counted.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let wanted = (self.count() as f64 * share.clamp(0.0, 1.0)).ceil().max(1.0) as u64;
        let mut seen = 0;
        let bucket = self.0.iter().find(|(_, count)| {
            seen += count;
            seen >= wanted
        })?;
        Some(Duration::from_micros(upper_bound(usize::from(bucket.0))))
    }

    /// What was counted, ascending: an upper bound, at most an eighth too high, and how many latencies lie below it and
    /// not below the one before.
    pub fn bounds(&self) -> impl Iterator<Item = (Duration, u64)> {
        self.0
            .iter()
            .map(|(bucket, count)| (Duration::from_micros(upper_bound(usize::from(*bucket))), *count))
    }

    /// What was counted since `earlier`, a snapshot of the same histogram.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before = |bucket| earlier.0.iter().find(|(b, _)| *b == bucket).map_or(0, |(_, count)| *count);
        let counts = self.0.iter().map(|(bucket, count)| (*bucket, count.saturating_sub(before(*bucket))));
        Self(counts.filter(|(_, count)| *count > 0).collect())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_value_lies_in_its_bucket_and_the_bound_is_at_most_an_eighth_too_high(value in 0u64..(1 << 35)) {
            let bound = upper_bound(bucket_of(value));
            prop_assert!(value < bound);
            prop_assert!(bound <= value + value / 8 + 1);
        }
    }

    #[test]
    fn quantiles_come_from_the_counts_and_nothing_gives_none() {
        let histogram = AtomicHistogram::default();
        assert_eq!(histogram.snapshot().quantile(0.5), None);
        for milliseconds in 1..=100 {
            histogram.record(Duration::from_millis(milliseconds));
        }
        let p95 = histogram.snapshot().quantile(0.95).unwrap();
        assert!((Duration::from_millis(95)..Duration::from_millis(108)).contains(&p95), "{p95:?}");
    }

    #[test]
    fn a_difference_holds_only_what_came_later() {
        let histogram = AtomicHistogram::default();
        histogram.record(Duration::from_secs(1));
        let earlier = histogram.snapshot();
        histogram.record(Duration::from_micros(3));
        assert_eq!(histogram.snapshot().since(&earlier).count(), 1);
        histogram.record(Duration::MAX);
        assert_eq!(histogram.snapshot().count(), 3);
    }
}
