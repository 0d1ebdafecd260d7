//! Medians and quantiles of a few values.

/// The middle, the least and the greatest of some values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Half of the values lie below, half above.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// Two cells of a table in Markdown, with the bar behind each: ` median | min to max |`, or empty ones.
    #[must_use]
    pub fn cells(spread: Option<Self>) -> String {
        spread.map_or_else(
            || " | |".to_owned(),
            |Self { median, min, max }| format!(" {median:.2} | {min:.2} to {max:.2} |"),
        )
    }

    /// The spread of `values`; `None` if there are none.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let median = (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2.0;
        Some(Self { median, min, max })
    }
}

/// The value that the share `quantile` (0 to 1) of all values does not exceed, by nearest rank; 0 if there
/// are none.
#[must_use]
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]
pub fn quantile(values: &[f64], quantile: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() as f64 * quantile.clamp(0.0, 1.0)).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        assert_eq!(Spread::of(&[4.0, 1.0, 2.0, 3.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn a_spread_is_two_cells_of_a_table_with_or_without_values() {
        assert_eq!(Spread::cells(Spread::of(&[1.0, 2.0, 4.0])), " 2.00 | 1.00 to 4.00 |");
        assert_eq!(Spread::cells(None), " | |");
    }

    #[test]
    fn quantiles_are_values_that_occurred() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(quantile(&values, 0.5), 50.0);
        assert_eq!(quantile(&values, 0.95), 95.0);
        assert_eq!(quantile(&values, 1.0), 100.0);
        assert_eq!(quantile(&[], 0.5), 0.0);
    }
}
