//! Statistics over samples that are all kept, by the definitions of the original wsperf.
//!
//! Owns: these definitions. Never: uses a histogram; every rank here is exact.
//!
//! - median: the lower of the two middle samples, `sorted[(n − 1) / 2]`.
//! - standard deviation: of a sample (divided by n − 1); 0 for a single one.
//! - quantile `i` of `q`: its upper bound is the sample of rank ⌈(i + 1)·n / q⌉, the nearest rank; its average is over the
//!   samples above the bound of quantile `i − 1`, or that one sample where there are fewer samples than quantiles. When
//!   `q` divides `n`, these are the original's buckets.

/// The statistics of a set of times in µs. All zero without samples.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// The lower of the two middle values.
    pub median: f64,
    /// The arithmetic mean.
    pub avg: f64,
    /// The standard deviation.
    pub stddev: f64,
    /// Average and upper bound of each quantile, the lowest first.
    pub quantiles: Vec<[f64; 2]>,
}

impl Summary {
    /// The statistics of sorted samples, with `quantile_count` quantiles.
    pub fn of_sorted(sorted: &[f64], quantile_count: usize) -> Self {
        debug_assert!(sorted.is_sorted(), "ranks are by order");
        let (Some(&min), Some(&max)) = (sorted.first(), sorted.last()) else {
            return Self {
                quantiles: vec![[0.0; 2]; quantile_count],
                ..Self::default()
            };
        };
        let n = sorted.len();
        Self {
            min,
            max,
            median: sorted[(n - 1) / 2],
            avg: mean(sorted),
            stddev: deviation(sorted),
            quantiles: (0..quantile_count)
                .map(|i| {
                    let end = ((i + 1) * n).div_ceil(quantile_count);
                    let start = (i * n).div_ceil(quantile_count).min(end - 1);
                    [mean(&sorted[start..end]), sorted[end - 1]]
                })
                .collect(),
        }
    }
}

/// The arithmetic mean; 0 without samples.
#[expect(clippy::cast_precision_loss, reason = "fewer than 2^53 samples")]
pub(super) fn mean(samples: &[f64]) -> f64 {
    samples.iter().sum::<f64>() / samples.len().max(1) as f64
}

/// The standard deviation of a sample (Bessel's correction); 0 for fewer than two.
#[expect(clippy::cast_precision_loss, reason = "fewer than 2^53 samples")]
pub(super) fn deviation(samples: &[f64]) -> f64 {
    if samples.len() < 2 {
        return 0.0;
    }
    let mean = mean(samples);
    let squares: f64 = samples.iter().map(|sample| (sample - mean).powi(2)).sum();
    (squares / (samples.len() - 1) as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_samples_in_five_quantiles_are_the_originals_buckets() {
        let sorted = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 20.0];
        let summary = Summary::of_sorted(&sorted, 5);
        assert_eq!((summary.min, summary.max), (1.0, 20.0));
        assert_eq!((summary.median, summary.avg), (5.0, 6.5));
        // Sum of squares 685 − 10·6.5² = 262.5; 262.5 / 9 = 29.1666…
        assert!((summary.stddev - 5.400_617_248_673_217).abs() < 1e-12);
        let expected = [[1.5, 2.0], [3.5, 4.0], [5.5, 6.0], [7.5, 8.0], [14.5, 20.0]];
        assert_eq!(summary.quantiles, expected);
    }

    #[test]
    fn a_count_that_does_not_divide_leaves_no_sample_out() {
        // Seven samples in three quantiles: up to the ranks ⌈7/3⌉ = 3, ⌈14/3⌉ = 5 and 7.
        let sorted = [1.0, 2.0, 3.0, 4.0, 6.0, 7.0, 9.0];
        let summary = Summary::of_sorted(&sorted, 3);
        assert_eq!(summary.quantiles, [[2.0, 3.0], [5.0, 6.0], [8.0, 9.0]]);
    }

    #[test]
    fn fewer_samples_than_quantiles_are_figures_all_the_same() {
        let summary = Summary::of_sorted(&[10.0, 30.0], 4);
        assert_eq!((summary.median, summary.avg), (10.0, 20.0));
        let expected = [[10.0, 10.0], [10.0, 10.0], [30.0, 30.0], [30.0, 30.0]];
        assert_eq!(summary.quantiles, expected);
        let one = Summary::of_sorted(&[7.0], 1);
        assert_eq!((one.stddev, one.quantiles), (0.0, vec![[7.0, 7.0]]));
    }

    #[test]
    fn nothing_is_all_zero() {
        let nothing = Summary::of_sorted(&[], 2);
        assert_eq!(
            (nothing.max, nothing.quantiles),
            (0.0, vec![[0.0, 0.0], [0.0, 0.0]])
        );
        assert!(Summary::of_sorted(&[], 0).quantiles.is_empty());
    }
}
