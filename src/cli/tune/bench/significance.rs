//! Which effects are real: a paired test that assumes no distribution.
//!
//! For each pair of neighbouring runs the logarithm of B ÷ A is taken. If the setting did nothing, A and B could be
//! swapped within any pair, so each sign would be random. The mean is therefore compared with the means under all choices
//! of signs: all 2ⁿ of them up to 16 pairs, otherwise 65,536 drawn with the seed. p is the share of choices whose mean is
//! at least as far from zero.
//!
//! An effect is *real* when p, corrected for the number of candidates (Holm 1979), is at most 5 % and the effect is at
//! least 1 %. Only one figure per candidate can be real, its workload's primary one. The other figures have no
//! correction, and are a *hint* at most.

use serde_json::Value;

use super::driver;
use ringway::random::Random;

/// A figure of the driver's report.
#[derive(Debug)]
pub(super) struct Figure {
    pub(super) name: &'static str,
    pointer: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Never zero. An effect is a factor.
    Ratio,
    /// Often zero. An effect is a difference.
    Count,
}

/// All figures, in the order of the table.
pub(super) const FIGURES: [Figure; 5] = [
    Figure {
        name: "messages_per_second",
        pointer: "/messages_per_second",
        kind: Kind::Ratio,
    },
    Figure {
        name: "server_cpu_us_per_message",
        pointer: "/server_cpu_us_per_message",
        kind: Kind::Ratio,
    },
    Figure {
        name: "latency_p50_us",
        pointer: "/latency_us/p50",
        kind: Kind::Ratio,
    },
    Figure {
        name: "latency_p99_us",
        pointer: "/latency_us/p99",
        kind: Kind::Ratio,
    },
    Figure {
        name: "errors",
        pointer: "/errors",
        kind: Kind::Count,
    },
];

/// Smallest effect that counts: 1 %, or one error more per run.
const EFFECT_MIN: f64 = 0.01;

/// Probability with which noise may be called real.
const P_MAX: f64 = 0.05;

/// Most pairs for which all choices of signs are tried.
const EXACT_PAIRS_MAX: usize = 16;

/// Choices of signs that are drawn for more pairs.
const DRAWS: u32 = 1 << 16;

/// One figure of one candidate.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Effect {
    pub(super) figure: &'static str,
    pub(super) pairs: usize,
    /// Medians of all A and of all B.
    pub(super) a: f64,
    pub(super) b: f64,
    /// Mean effect: B ÷ A - 1, or B - A for a count.
    pub(super) effect: f64,
    /// The smallest and the largest effect of a pair.
    pub(super) span: [f64; 2],
    pub(super) p: f64,
    pub(super) verdict: Significance,
    kind: Kind,
}

/// Whether an effect is more than noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Significance {
    /// No more than the machine varies by itself.
    Noise,
    /// Noticeable, in a figure that is not the primary one: with many figures, some are so by chance.
    Hint,
    /// Significant: another measurement would show it again.
    Real,
    /// Too few pairs to tell.
    Unknown,
}

impl Significance {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Noise => "noise",
            Self::Hint => "hint",
            Self::Real => "REAL",
            Self::Unknown => "unknown",
        }
    }
}

impl Effect {
    /// The effect on one figure, from the reports of pairs (A, B). `None` when no pair has the figure.
    pub(super) fn of(
        figure: &'static Figure,
        pairs: &[(&Value, &Value)],
        seed: u64,
    ) -> Option<Self> {
        let get = |report: &Value| driver::figure(report, figure.pointer);
        let both = |(a, b): &(&Value, &Value)| Some((get(a)?, get(b)?));
        let usable = |pair: &(f64, f64)| match figure.kind {
            Kind::Ratio => pair.0 > 0.0 && pair.1 > 0.0,
            Kind::Count => true,
        };
        let values: Vec<_> = pairs.iter().filter_map(both).filter(usable).collect();
        let steps: Vec<_> = values
            .iter()
            .map(|(a, b)| match figure.kind {
                Kind::Ratio => (b / a).ln(),
                Kind::Count => b - a,
            })
            .collect();
        let least = steps.iter().copied().reduce(f64::min)?;
        let greatest = steps.iter().copied().reduce(f64::max)?;
        let shown = |step: f64| match figure.kind {
            Kind::Ratio => step.exp_m1(),
            Kind::Count => step,
        };
        Some(Self {
            figure: figure.name,
            pairs: steps.len(),
            a: median(values.iter().map(|(a, _)| *a).collect()),
            b: median(values.iter().map(|(_, b)| *b).collect()),
            effect: shown(mean(&steps)),
            span: [shown(least), shown(greatest)],
            p: sign_flip(&steps, seed),
            verdict: Significance::Unknown,
            kind: figure.kind,
        })
    }

    fn is_large(&self) -> bool {
        match self.kind {
            Kind::Ratio => self.effect.abs() >= EFFECT_MIN,
            Kind::Count => self.effect.abs() >= 1.0,
        }
    }

    /// The effect in a few characters.
    pub(super) fn shown(&self) -> String {
        match self.kind {
            Kind::Ratio => format!("{:+.1} %", tenths(self.effect * 100.0)),
            Kind::Count => format!("{:+.1}", tenths(self.effect)),
        }
    }

    /// The span in a few characters.
    pub(super) fn shown_span(&self) -> String {
        let [least, greatest] = self.span;
        match self.kind {
            Kind::Ratio => {
                let [least, greatest] = self.span.map(|end| tenths(end * 100.0));
                format!("{least:+.1} to {greatest:+.1} %")
            }
            Kind::Count => format!("{least:+} to {greatest:+}"),
        }
    }
}

/// Fewest pairs with which the first of `tests` candidates can be real, if all its signs are equal.
pub(super) fn pairs_min(tests: usize) -> usize {
    let tests = f64::from(u32::try_from(tests.max(1)).unwrap_or(u32::MAX));
    let rare = |pairs: &i32| 2.0 * 0.5_f64.powi(*pairs) <= P_MAX / tests;
    let pairs = (1..64).find(rare).unwrap_or(64);
    usize::try_from(pairs).unwrap_or(usize::MAX)
}

/// Sets the significance of all effects: those marked `primary` are corrected together, the others are tested one by one.
pub(super) fn decide(effects: &mut [(bool, &mut Effect)], pairs_min: usize) {
    let mut primary: Vec<_> = effects
        .iter()
        .enumerate()
        .filter(|(_, (primary, effect))| *primary && effect.pairs >= pairs_min)
        .map(|(at, (_, effect))| (at, effect.p))
        .collect();
    primary.sort_by(|one, other| one.1.total_cmp(&other.1));
    let mut real = vec![false; effects.len()];
    let tests = primary.len();
    for (rank, (at, p)) in primary.into_iter().enumerate() {
        // Holm: the smallest p is compared with 5 % ÷ tests, the next with 5 % ÷ (tests - 1), and so on until one fails.
        let limit = P_MAX / f64::from(u32::try_from(tests - rank).unwrap_or(u32::MAX));
        if p > limit {
            break;
        }
        real[at] = true;
    }
    for ((primary, effect), real) in effects.iter_mut().zip(real) {
        effect.verdict = if effect.pairs < pairs_min {
            Significance::Unknown
        } else if !effect.is_large() {
            Significance::Noise
        } else if *primary && real {
            Significance::Real
        } else if !*primary && effect.p <= P_MAX {
            Significance::Hint
        } else {
            Significance::Noise
        };
    }
}

/// The share of sign choices whose mean is at least as far from zero as that of `steps`.
fn sign_flip(steps: &[f64], seed: u64) -> f64 {
    let observed = steps.iter().sum::<f64>().abs();
    // Sums of the same numbers in another order differ in their last bits.
    let threshold = observed - observed * 1e-9;
    let extreme = |signs: &dyn Fn(usize) -> bool| {
        let signed = steps.iter().enumerate();
        let sum: f64 = signed
            .map(|(at, step)| if signs(at) { -step } else { *step })
            .sum();
        sum.abs() >= threshold
    };
    if steps.len() <= EXACT_PAIRS_MAX {
        let choices = 1_u32 << steps.len();
        let hits = (0..choices).filter(|choice| extreme(&|at| choice >> at & 1 == 1));
        let hits = u32::try_from(hits.count()).unwrap_or(choices);
        return f64::from(hits) / f64::from(choices);
    }
    let mut random = Random::new(seed);
    let hits = (0..DRAWS).filter(|_| {
        let signs: Vec<_> = steps.iter().map(|_| random.chance(500)).collect();
        extreme(&|at| signs[at])
    });
    let hits = u32::try_from(hits.count()).unwrap_or(DRAWS);
    // The observed signs count as one of the choices.
    f64::from(hits + 1) / f64::from(DRAWS + 1)
}

/// Rounded to one digit. -0.0 becomes 0.0.
fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0 + 0.0
}

fn mean(steps: &[f64]) -> f64 {
    steps.iter().sum::<f64>() / f64::from(u32::try_from(steps.len()).unwrap_or(u32::MAX))
}

pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.as_slice() {
        [] => f64::NAN,
        values if values.len() % 2 == 1 => values[middle],
        values => f64::midpoint(values[middle - 1], values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn effect(a: &[f64], b: &[f64]) -> Effect {
        let report = |value: &f64| json!({ "messages_per_second": value, "errors": value });
        let a: Vec<_> = a.iter().map(report).collect();
        let b: Vec<_> = b.iter().map(report).collect();
        let pairs: Vec<_> = a.iter().zip(&b).collect();
        Effect::of(&FIGURES[0], &pairs, 1).expect("there are pairs")
    }

    fn verdict(effects: &mut [(bool, &mut Effect)]) -> Vec<Significance> {
        decide(effects, 6);
        effects.iter().map(|(_, effect)| effect.verdict).collect()
    }

    #[test]
    fn equal_signs_in_six_pairs_are_one_in_thirty_two() {
        let found = effect(&[100.0; 6], &[110.0, 111.0, 112.0, 113.0, 114.0, 115.0]);
        assert!((found.p - 2.0 / 64.0).abs() < 1e-12, "{}", found.p);
        assert!((found.effect - 0.1249).abs() < 1e-3, "{}", found.effect);
        assert_eq!((found.a, found.b), (100.0, 112.5));
        assert_eq!(found.shown(), "+12.5 %");
        let mut found = found;
        assert_eq!(verdict(&mut [(true, &mut found)]), [Significance::Real]);
    }

    #[test]
    fn an_effect_that_changes_its_sign_is_noise() {
        let mut found = effect(
            &[100.0; 8],
            &[110.0, 90.0, 105.0, 95.0, 120.0, 80.0, 101.0, 99.0],
        );
        assert!(found.p > 0.5, "{}", found.p);
        assert_eq!(verdict(&mut [(true, &mut found)]), [Significance::Noise]);
    }

    #[test]
    fn a_steady_effect_below_one_per_cent_is_noise() {
        let mut found = effect(&[100.0; 10], &[100.5; 10]);
        assert!(found.p < 0.01, "{}", found.p);
        assert_eq!(verdict(&mut [(true, &mut found)]), [Significance::Noise]);
    }

    #[test]
    fn nothing_at_all_has_p_one() {
        let found = effect(&[100.0; 6], &[100.0; 6]);
        assert_eq!((found.p, found.effect), (1.0, 0.0));
    }

    #[test]
    fn many_candidates_need_a_smaller_p() {
        // 2/64 is below 5 % alone, and above 5 % ÷ 2.
        let steps = [110.0, 111.0, 112.0, 113.0, 114.0, 115.0];
        let (mut one, mut two) = (effect(&[100.0; 6], &steps), effect(&[100.0; 6], &steps));
        assert_eq!(
            verdict(&mut [(true, &mut one), (true, &mut two)]),
            [Significance::Noise, Significance::Noise]
        );
        assert_eq!(
            verdict(&mut [(true, &mut one), (false, &mut two)]),
            [Significance::Real, Significance::Hint]
        );
    }

    #[test]
    fn more_candidates_need_more_pairs() {
        // 2/64 is below 5 %, 2/128 below a half of it, 2/1024 below a seventeenth.
        assert_eq!([1, 2, 17].map(pairs_min), [6, 7, 10]);
    }

    #[test]
    fn five_pairs_are_unknown_whatever_they_say() {
        let mut found = effect(&[100.0; 5], &[200.0; 5]);
        assert_eq!(verdict(&mut [(true, &mut found)]), [Significance::Unknown]);
    }

    #[test]
    fn drawn_signs_come_near_to_all_signs() {
        let b: Vec<_> = (0..16).map(|at| 100.0 + f64::from(at % 5) - 1.2).collect();
        let exact = effect(&[100.0; 16], &b);
        // The same effect with one more pair that shows nothing: choices are now drawn.
        let more: Vec<_> = b.iter().copied().chain([100.0]).collect();
        let drawn = effect(&[100.0; 17], &more);
        assert!((exact.p - drawn.p).abs() < 0.01, "{} {}", exact.p, drawn.p);
    }

    #[test]
    fn errors_are_differences_and_may_be_zero() {
        let report = |errors: u32| json!({ "errors": errors });
        let (none, some) = (report(0), report(20));
        let found = Effect::of(&FIGURES[4], &[(&none, &some); 6], 1).expect("pairs");
        assert_eq!((found.effect, found.shown().as_str()), (20.0, "+20.0"));
        assert!(Effect::of(&FIGURES[0], &[(&none, &some); 6], 1).is_none());
    }
}
