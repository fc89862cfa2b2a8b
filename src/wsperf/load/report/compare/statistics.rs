//! Compares two samples by their ranks: how far one is shifted against the other, and whether chance could do as much.
//!
//! - The shift is that of Hodges and Lehmann: the median of all differences between a value of B and one of A.
//! - The test is that of Mann, Whitney and Wilcoxon. Its distribution is counted over all ways to divide the values into
//!   A and B, or over 20,000 ways drawn with a seed if there are too many.
//! - The interval holds all shifts that this test would not reject.
//!
//! No shape of the noise is assumed, and an outlier has one rank like every other value.

use crate::io::sim::Random;

/// Confidence of intervals and tests: a change with a probability of at most 0.05 by chance is more than noise.
pub(super) const CONFIDENCE: f64 = 0.95;

/// Most values of both samples for which all ways are counted: 2^16 masks, of which 12,870 divide the values eight and
/// eight.
const EXACT_MAX: usize = 16;

/// Ways drawn for larger samples. Chosen: a probability of 5 % is then known to within 0.3 %.
const DRAWN: usize = 20_000;

/// Seed of the draws: the same files always give the same result.
const SEED: u64 = 0x5eed;

/// The shift between two samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shift {
    /// Its estimate, from A to B.
    pub(super) estimate: f64,
    /// Ends of the interval. None when the samples are too small for one.
    pub(super) interval: Option<(f64, f64)>,
    /// Whether B's value is greater in more than half of all pairs. The estimate can still be zero, where most values are
    /// equal, as for rare errors.
    pub(super) upwards: bool,
    /// Probability that chance alone would do as much, in either direction.
    pub(super) p: f64,
}

/// Whether samples of these sizes can show anything: whether the most extreme way to divide them is rare enough.
pub(super) fn enough(a: usize, b: usize) -> bool {
    let ways = (0..a.min(b)).fold(1.0, |ways, at| ways * (a + b - at) as f64 / (at + 1) as f64);
    2.0 / ways <= 1.0 - CONFIDENCE
}

/// Compares two samples that are not empty.
pub(super) fn shift(a: &[f64], b: &[f64]) -> Shift {
    let mut differences: Vec<f64> = a
        .iter()
        .flat_map(|a| b.iter().map(move |b| b - a))
        .collect();
    differences.sort_by(f64::total_cmp);
    let pairs = differences.len() as f64;
    let above = |difference: &f64| {
        if *difference > 0.0 {
            1.0
        } else if *difference == 0.0 {
            0.5
        } else {
            0.0
        }
    };
    let wins: f64 = differences.iter().map(above).sum();
    let chances = Chances::of(a, b);
    Shift {
        estimate: super::super::sweep::median(differences.clone()),
        interval: chances.left_out().and_then(|out| {
            let low = differences.get(out)?;
            let high = differences.get(differences.len().checked_sub(out + 1)?)?;
            Some((*low, *high))
        }),
        upwards: wins > pairs / 2.0,
        p: chances.at_least((wins - pairs / 2.0).abs()),
    }
}

/// For every way to divide the values: in how many pairs B's value is greater, as the distance from the middle.
struct Chances {
    distances: Vec<f64>,
    middle: f64,
    drawn: bool,
}

impl Chances {
    fn of(a: &[f64], b: &[f64]) -> Self {
        let ranks = ranks(a.iter().chain(b).copied().collect());
        let count = b.len();
        let middle = (a.len() * b.len()) as f64 / 2.0;
        // B's wins are the sum of its ranks, less the sum it would have if all of B were below A.
        let least = (count * (count + 1)) as f64 / 2.0;
        let drawn = ranks.len() > EXACT_MAX;
        let mut sums = Vec::new();
        if drawn {
            let mut random = Random::new(SEED);
            let mut dealt = ranks;
            for _ in 0..DRAWN {
                random.shuffle(&mut dealt);
                sums.push(dealt.iter().take(count).sum());
            }
        } else {
            for mask in 0_u32..1 << ranks.len() {
                if mask.count_ones() as usize == count {
                    let chosen = ranks
                        .iter()
                        .enumerate()
                        .filter(|(at, _)| mask >> at & 1 == 1);
                    sums.push(chosen.map(|(_, rank)| rank).sum::<f64>());
                }
            }
        }
        Self {
            distances: sums
                .into_iter()
                .map(|sum| (sum - least - middle).abs())
                .collect(),
            middle,
            drawn,
        }
    }

    /// The share of ways that are at least `distance` from the middle. With drawn ways, the observed one is counted with
    /// them.
    fn at_least(&self, distance: f64) -> f64 {
        let far = self
            .distances
            .iter()
            .filter(|other| **other >= distance - 1e-9)
            .count();
        let more = usize::from(self.drawn);
        (far + more) as f64 / (self.distances.len() + more) as f64
    }

    /// How many of the sorted differences are outside the interval at each end: the most wins that are still rare.
    fn left_out(&self) -> Option<usize> {
        let rare = |wins: &usize| self.at_least(self.middle - *wins as f64) <= 1.0 - CONFIDENCE;
        let wins = (0..)
            .take_while(|wins| (*wins as f64) < self.middle)
            .take_while(rare);
        wins.last()
    }
}

/// The rank of each value; equal values share the mean of theirs.
fn ranks(values: Vec<f64>) -> Vec<f64> {
    let rank = |value: &f64| {
        let below = values.iter().filter(|other| *other < value).count() as f64;
        let equal = values.iter().filter(|other| *other == value).count() as f64;
        below + f64::midpoint(equal, 1.0)
    };
    values.iter().map(rank).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_against_four_is_the_least_that_tells() {
        let cases = [
            (4, 4, true),
            (3, 4, false),
            (3, 5, true),
            (3, 3, false),
            (1, 39, true),
            (1, 38, false),
            (2, 8, true),
        ];
        for (a, b, tells) in cases {
            assert_eq!(enough(a, b), tells, "{a} {b}");
        }
    }

    #[test]
    fn ranks_of_equal_values_are_shared() {
        assert_eq!(ranks(vec![10.0, 30.0, 20.0, 20.0]), [1.0, 4.0, 2.5, 2.5]);
    }

    #[test]
    fn chances_are_those_of_the_tables() {
        // Two-sided, from the published distribution of Mann and Whitney's U: of 70 ways of four and four, 1, 1, 2, 3, 5 have
        // 0, 1, 2, 3, 4 wins.
        let a = [1.0, 2.0, 3.0, 4.0];
        let cases = [
            ([5.0, 6.0, 7.0, 8.0], 2.0 / 70.0),
            ([3.5, 6.0, 7.0, 8.0], 4.0 / 70.0),
            ([2.5, 6.0, 7.0, 8.0], 8.0 / 70.0),
        ];
        for (b, p) in cases {
            assert!((shift(&a, &b).p - p).abs() < 1e-12, "{b:?}");
        }
        // Of ten and ten, 23 wins of 100 are the critical value at 5 %: p = 0.04326, and 0.05243 at 24. These are drawn.
        let a: Vec<f64> = (0..10).map(f64::from).collect();
        for (least, p) in [(1.5, 0.04326), (0.5, 0.05243)] {
            let mut b: Vec<f64> = a.iter().map(|value| value + 3.5).collect();
            b[0] = least;
            let found = shift(&a, &b).p;
            assert!((found - p).abs() < 0.005, "{found} for {p}");
        }
    }

    #[test]
    fn the_shift_is_the_median_difference_and_its_interval_leaves_out_what_is_rare() {
        let found = shift(&[1.0, 2.0, 3.0, 4.0], &[11.0, 12.0, 13.0, 14.0]);
        assert_eq!((found.estimate, found.interval), (10.0, Some((7.0, 13.0))));
        // With five and five, two differences at each end: U = 2 is rare (p = 0.032), U = 3 is not (0.056).
        let found = shift(&[1.0, 2.0, 3.0, 4.0, 5.0], &[11.0, 12.0, 13.0, 14.0, 15.0]);
        assert_eq!((found.estimate, found.interval), (10.0, Some((7.0, 13.0))));
        assert_eq!(shift(&[1.0, 2.0], &[3.0, 4.0]).interval, None);
    }

    #[test]
    fn rare_values_have_a_direction_and_no_shift() {
        let a = [0.0; 20];
        let mut b = [0.0; 20];
        b[3..11].fill(50.0);
        let found = shift(&a, &b);
        assert_eq!((found.estimate, found.upwards), (0.0, true));
        assert!(found.p < 0.01, "{}", found.p);
    }

    #[test]
    fn equal_samples_are_no_change() {
        let found = shift(&[5.0; 6], &[5.0; 6]);
        assert_eq!((found.estimate, found.p), (0.0, 1.0));
        let many: Vec<f64> = (0..20).map(f64::from).collect();
        let found = shift(&many, &many);
        assert_eq!(found.estimate, 0.0);
        assert!(found.p > 0.95, "{}", found.p);
        let (low, high) = found.interval.expect("enough");
        assert!(low < 0.0 && high > 0.0);
    }

    #[test]
    fn chance_alone_is_seldom_taken_for_a_change() {
        // 400 comparisons of samples from one distribution: about 5 % of them may find a difference by chance.
        let mut random = Random::new(7);
        let mut draw = |count: usize| -> Vec<f64> {
            (0..count).map(|_| random.below(1_000_000) as f64).collect()
        };
        let wrong = (0..400)
            .filter(|_| shift(&draw(6), &draw(6)).p <= 0.05)
            .count();
        assert!((6..=32).contains(&wrong), "{wrong}");
    }
}
