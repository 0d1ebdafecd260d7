//! A log-linear histogram: constant size, constant cost, at most about 3 % wide of the truth.

/// Each power of two is divided into 2^5 = 32 equal parts, so a bucket is at most 1/32 of its value wide.
const SUB_BITS: u32 = 5;
const SUB_BUCKETS: u64 = 1 << SUB_BITS;
/// Values below 32 have a bucket each; each of the 59 further powers of two that a `u64` can hold has 32.
const BUCKETS: usize = (64 - SUB_BITS as usize + 1) * SUB_BUCKETS as usize;

/// Counts durations in microseconds.
#[derive(Debug, Clone)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], count: 0, max: 0 }
    }
}

impl Histogram {
    /// Counts one value in microseconds.
    pub fn record(&mut self, micros: u64) {
        self.buckets[bucket_of(micros)] += 1;
        self.count += 1;
        self.max = self.max.max(micros);
    }

    /// How many values were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The largest value in microseconds, exact; 0 if there is none.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The value in microseconds that the share `quantile` (0 to 1) of all values does not exceed, rounded up
    /// to its bucket's end; 0 if there is none.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]
    pub fn quantile(&self, quantile: f64) -> u64 {
        let rank = ((self.count as f64 * quantile.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, in_bucket) in self.buckets.iter().enumerate() {
            seen += in_bucket;
            if seen >= rank {
                return last_value_of(index).min(self.max);
            }
        }
        self.max
    }
}

fn bucket_of(value: u64) -> usize {
    let index = if value < SUB_BUCKETS {
        value
    } else {
        let shift = value.ilog2() - SUB_BITS;
        u64::from(shift + 1) * SUB_BUCKETS + (value >> shift) - SUB_BUCKETS
    };
    usize::try_from(index).unwrap_or(BUCKETS - 1)
}

fn last_value_of(bucket: usize) -> u64 {
    let index = bucket as u64;
    if index < SUB_BUCKETS {
        return index;
    }
    let shift = index / SUB_BUCKETS - 1;
    let first = (SUB_BUCKETS + index % SUB_BUCKETS) << shift;
    first + ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_within_a_thirty_second_of_its_bucket() {
        let powers = (0..64).map(|power| 1u64 << power);
        for value in powers.flat_map(|power| [power - 1, power, power + power / 3]).chain([u64::MAX]) {
            let reported = last_value_of(bucket_of(value));
            assert!(reported >= value, "{reported} is below {value}");
            assert!(reported - value <= value / 32, "{reported} is too far above {value}");
        }
    }

    #[test]
    fn quantiles_of_a_thousand_even_values() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|value| histogram.record(value));
        let near = |quantile: f64, value: u64| {
            let got = histogram.quantile(quantile);
            assert!(got >= value && got <= value + value / 32 + 1, "{quantile}: {got}, not {value}");
        };
        near(0.5, 500);
        near(0.95, 950);
        near(0.99, 990);
        assert_eq!((histogram.quantile(1.0), histogram.max(), histogram.count()), (1000, 1000, 1000));
    }

    #[test]
    fn an_empty_histogram_says_zero() {
        assert_eq!(Histogram::default().quantile(0.5), 0);
    }
}
