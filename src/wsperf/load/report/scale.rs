//! The axes of plots: the position of a value, and the values of the ticks.
//!
//! Owns: linear, logarithmic and percentile scales. Never: knows about pixels.

/// A mapping from values to positions from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    /// Equal distances are equal differences.
    Linear {
        /// The value at 0.
        low: f64,
        /// The value at 1.
        high: f64,
    },
    /// Equal distances are equal factors.
    Log {
        /// The value at 0.
        low: f64,
        /// The value at 1.
        high: f64,
    },
    /// HdrHistogram's percentile scale for quantiles: equal distances are equal factors of 1/(1-q), so that 90 %, 99 %
    /// and 99.9 % are equally far apart. The value is the number of nines at position 1: 3 ends at 99.9 %.
    Tail(f64),
}

/// Quotient of the ends of an axis from which it is logarithmic. Below it an axis from zero reads better. Chosen.
const LOG_FROM: f64 = 30.0;

impl Scale {
    /// A linear scale from zero to the next round number from `most` on.
    pub(super) fn from_zero(most: f64) -> Self {
        let most = if most > 0.0 && most.is_finite() {
            most
        } else {
            1.0
        };
        let step = step_for(most, 5.0);
        let high = (most / step - 1e-9).ceil() * step;
        Self::Linear { low: 0.0, high }
    }

    /// A scale for positive values: logarithmic where they span decades, otherwise linear from zero.
    pub(super) fn fit(values: impl Iterator<Item = f64> + Clone) -> Self {
        let positive = values
            .clone()
            .filter(|value| *value > 0.0 && value.is_finite());
        let low = positive.clone().fold(f64::INFINITY, f64::min);
        let high = positive.fold(0.0, f64::max);
        if high / low < LOG_FROM || high == 0.0 {
            return Self::from_zero(high);
        }
        // Extends the ends to the next 1, 2 or 5 times a power of ten.
        let round_down = |value: f64| {
            let decade = 10_f64.powf(value.log10().floor());
            let leads = [5.0, 2.0, 1.0].map(|lead| lead * decade);
            leads
                .into_iter()
                .find(|round| *round <= value * 1.000_001)
                .unwrap_or(decade)
        };
        let round_up = |value: f64| {
            let decade = 10_f64.powf(value.log10().floor());
            let leads = [1.0, 2.0, 5.0, 10.0].map(|lead| lead * decade);
            leads
                .into_iter()
                .find(|round| *round >= value * 0.999_999)
                .unwrap_or(value)
        };
        Self::Log {
            low: round_down(low),
            high: round_up(high),
        }
    }

    /// The position of `value`. A value outside the scale gets the position of the nearer end.
    pub(super) fn place(self, value: f64) -> f64 {
        let part = match self {
            Self::Linear { low, high } => (value - low) / (high - low),
            Self::Log { low, high } => (value.max(low) / low).ln() / (high / low).ln(),
            Self::Tail(decades) => -(1.0 - value).max(1e-300).log10() / decades,
        };
        if part.is_nan() {
            0.0
        } else {
            part.clamp(0.0, 1.0)
        }
    }

    /// Round values on the axis, about `wanted` of them.
    pub(super) fn ticks(self, wanted: f64) -> Vec<f64> {
        match self {
            Self::Linear { low, high } => multiples(low, high, step_for(high - low, wanted)),
            Self::Log { low, high } => log_ticks(low, high, wanted),
            Self::Tail(decades) => {
                let nines = multiples(1.0, decades, 1.0).into_iter();
                let quantiles = nines.map(|nines| 1.0 - 10_f64.powf(-nines));
                [0.0, 0.5].into_iter().chain(quantiles).collect()
            }
        }
    }
}

/// Round steps of time: people do not count seconds in hundreds.
pub(super) fn time_ticks(seconds: f64, wanted: f64) -> Vec<f64> {
    const STEPS: [f64; 15] = [
        1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0,
        14_400.0, 43_200.0,
    ];
    let fits = |step: &f64| seconds / step <= wanted;
    let step = match STEPS.into_iter().find(fits) {
        Some(1.0) => step_for(seconds, wanted).min(1.0),
        Some(step) => step,
        None => (seconds / wanted / 86_400.0).ceil() * 86_400.0,
    };
    multiples(0.0, seconds, step)
}

/// 1, 2, 2.5 or 5 times a power of ten, so that about `wanted` steps make `range`.
fn step_for(range: f64, wanted: f64) -> f64 {
    let raw = range / wanted;
    if raw <= 0.0 || !raw.is_finite() {
        return 1.0;
    }
    let decade = 10_f64.powf(raw.log10().floor());
    let leads = [1.0, 2.0, 2.5, 5.0].map(|lead| lead * decade);
    leads
        .into_iter()
        .find(|step| *step >= raw * 0.999_999)
        .unwrap_or(10.0 * decade)
}

/// The multiples of `step` from `low` to `high`, both included. Never more than a thousand.
fn multiples(low: f64, high: f64, step: f64) -> Vec<f64> {
    let first = (low / step - 1e-9).ceil();
    let values = (0..1000).map(|at| (first + f64::from(at)) * step);
    values
        .take_while(|value| *value <= high + step * 1e-6)
        .collect()
}

/// Every decade, or every second or third one if there are many. With few decades also their 2 and 5.
fn log_ticks(low: f64, high: f64, wanted: f64) -> Vec<f64> {
    let decades = (high / low).log10();
    let leads: &[f64] = if decades * 3.0 <= wanted * 1.5 {
        &[1.0, 2.0, 5.0]
    } else {
        &[1.0]
    };
    let stride = (decades / wanted / 1.5).ceil().max(1.0);
    let powers = multiples(low.log10().floor(), high.log10(), stride);
    let all = powers
        .iter()
        .flat_map(|power| leads.iter().map(move |lead| lead * 10_f64.powf(*power)));
    all.filter(|value| *value >= low * 0.999_999 && *value <= high * 1.000_001)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: &[f64], expected: &[f64]) {
        let same = found.len() == expected.len()
            && found
                .iter()
                .zip(expected)
                .all(|(found, expected)| (found - expected).abs() <= expected.abs() * 1e-9);
        assert!(same, "{found:?} for {expected:?}");
    }

    #[test]
    fn an_axis_from_zero_ends_at_a_round_number() {
        let cases = [
            (7.3, 8.0),
            (98_000.0, 100_000.0),
            (0.97, 1.0),
            (1.21, 1.25),
            (0.0, 1.0),
            (f64::NAN, 1.0),
        ];
        for (most, expected) in cases {
            let Scale::Linear { low, high } = Scale::from_zero(most) else {
                panic!("linear")
            };
            near(&[low, high], &[0.0, expected]);
        }
        near(
            &Scale::from_zero(98_000.0).ticks(5.0),
            &[0.0, 20_000.0, 40_000.0, 60_000.0, 80_000.0, 100_000.0],
        );
    }

    #[test]
    fn values_over_decades_take_a_logarithmic_axis() {
        assert_eq!(
            Scale::fit([40.0, 467.0].into_iter()),
            Scale::Linear {
                low: 0.0,
                high: 500.0
            }
        );
        assert_eq!(
            Scale::fit([].into_iter()),
            Scale::Linear {
                low: 0.0,
                high: 1.0
            }
        );
        let wide = Scale::fit([0.0, 43.0, 90_000.0].into_iter());
        let Scale::Log { low, high } = wide else {
            panic!("{wide:?}")
        };
        near(&[low, high], &[20.0, 100_000.0]);
        near(&wide.ticks(5.0), &[100.0, 1e3, 1e4, 1e5]);
        near(
            &[
                wide.place(20.0),
                wide.place(100_000.0),
                wide.place(1.0),
                wide.place(1e9),
            ],
            &[0.0, 1.0, 0.0, 1.0],
        );
        near(&[wide.place((20.0 * 100_000_f64).sqrt())], &[0.5]);
    }

    #[test]
    fn two_decades_have_ticks_at_their_twos_and_fives() {
        let scale = Scale::Log {
            low: 20.0,
            high: 1000.0,
        };
        near(
            &scale.ticks(5.0),
            &[20.0, 50.0, 100.0, 200.0, 500.0, 1000.0],
        );
        let many = Scale::Log {
            low: 1.0,
            high: 1e9,
        };
        assert_eq!(many.ticks(3.0).len(), 5);
    }

    #[test]
    fn each_nine_has_the_same_room() {
        let scale = Scale::Tail(4.0);
        near(
            &[0.0, 0.9, 0.99, 0.999].map(|quantile| scale.place(quantile)),
            &[0.0, 0.25, 0.5, 0.75],
        );
        assert_eq!(scale.place(1.0), 1.0);
        near(&scale.ticks(9.0), &[0.0, 0.5, 0.9, 0.99, 0.999, 0.9999]);
    }

    #[test]
    fn time_goes_by_minutes_and_hours() {
        near(
            &time_ticks(10.0, 10.0),
            &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0],
        );
        near(
            &time_ticks(600.0, 10.0),
            &[
                0.0, 60.0, 120.0, 180.0, 240.0, 300.0, 360.0, 420.0, 480.0, 540.0, 600.0,
            ],
        );
        near(
            &time_ticks(1.0, 10.0),
            &[0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0],
        );
        assert_eq!(time_ticks(40.0 * 86_400.0, 10.0).len(), 11);
    }
}
