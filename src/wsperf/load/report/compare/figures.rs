//! The figures that are compared, their samples, and the direction that is worse.

use std::collections::BTreeSet;

use super::statistics::{CONFIDENCE, enough, shift};
use super::{Change, Samples, Scale, Significance, Unit};
use crate::load::outcome::{Interval, Latency, Outcome};
use crate::load::report::sweep::median;

/// Most parts into which the intervals of one run are merged. The test assumes independent values, but neighbouring
/// intervals are alike: after a slow second follows another. Merged ones are less so. Chosen.
const PARTS_MAX: usize = 20;

/// Which direction is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Better {
    Higher,
    Lower,
    Neither,
}

type OfRun = Box<dyn Fn(&Outcome) -> Option<f64>>;
type OfInterval = fn(&Interval) -> Option<f64>;

/// A figure that is compared.
pub(super) struct Figure {
    pub(super) name: String,
    unit: Unit,
    better: Better,
    /// Whether the figure can fail a comparison. Two cannot, although they are shown and tested: the largest latency of a
    /// run, which is a single value, and the CPU time of the driver, which is not the server's.
    gates: bool,
    of_run: OfRun,
    of_interval: Option<OfInterval>,
}

/// All figures that these runs have.
pub(super) fn all(a: &[Outcome], b: &[Outcome]) -> Vec<Figure> {
    let mut figures = vec![
        figure("rate", Unit::PerSecond, Better::Higher, true, |run| {
            Some(run.messages_per_second)
        })
        .by(|part| Some(part.messages as f64 / part.duration_s)),
        latency("p50", true, |latency| latency.p50).by(|part| measured(part, part.p50_us)),
        latency("p90", true, |latency| latency.p90),
        latency("p99", true, |latency| latency.p99).by(|part| measured(part, part.p99_us)),
        latency("p99.9", true, |latency| latency.p999),
        latency("max", false, |latency| latency.max).by(|part| measured(part, part.max_us)),
        figure("server cpu", Unit::Us, Better::Lower, true, |run| {
            run.server_cpu_us_per_message
        })
        .by(|part| cpu(part, part.server_utilisation?)),
        figure("driver cpu", Unit::Us, Better::Lower, false, |run| {
            Some(run.driver_cpu_us_per_message)
        })
        .by(|part| cpu(part, part.driver_utilisation)),
        figure("errors", Unit::Count, Better::Lower, true, |run| {
            Some(run.errors as f64)
        })
        .by(|part| Some(part.errors as f64)),
        figure("server memory", Unit::Bytes, Better::Lower, true, |run| {
            Some(run.server.as_ref()?.memory_bytes as f64)
        }),
    ];
    let own: BTreeSet<&String> = a
        .iter()
        .chain(b)
        .flat_map(|run| run.figures.keys())
        .collect();
    for name in own {
        let (unit, better) = match name.as_str() {
            name if name.ends_with("_us") => (Unit::Us, Better::Lower),
            name if name.ends_with("_bytes") => (Unit::Bytes, Better::Lower),
            name if name.ends_with("_per_second") => (Unit::PerSecond, Better::Higher),
            _ => (Unit::Count, Better::Neither),
        };
        let key = name.clone();
        figures.push(figure(name, unit, better, false, move |run| {
            run.figures.get(&key).copied()
        }));
    }
    figures
}

fn figure(
    name: &str,
    unit: Unit,
    better: Better,
    gates: bool,
    of_run: impl Fn(&Outcome) -> Option<f64> + 'static,
) -> Figure {
    Figure {
        name: name.to_owned(),
        unit,
        better,
        gates,
        of_run: Box::new(of_run),
        of_interval: None,
    }
}

fn latency(name: &str, gates: bool, of: fn(&Latency) -> f64) -> Figure {
    figure(name, Unit::Us, Better::Lower, gates, move |run| {
        (run.latency_us.samples > 0).then(|| of(&run.latency_us))
    })
}

/// A latency. None for an interval without messages.
fn measured(part: &Interval, us: f64) -> Option<f64> {
    (part.messages > 0).then_some(us)
}

fn cpu(part: &Interval, utilisation: f64) -> Option<f64> {
    (part.messages > 0).then(|| utilisation * part.duration_s * 1e6 / part.messages as f64)
}

impl Figure {
    fn by(self, of_interval: OfInterval) -> Self {
        Self {
            of_interval: Some(of_interval),
            ..self
        }
    }

    /// Whether all runs have this figure.
    pub(super) fn known(&self, runs: &[Outcome]) -> bool {
        self.of_runs(runs).is_some()
    }

    fn of_runs(&self, runs: &[Outcome]) -> Option<Vec<f64>> {
        let values = runs
            .iter()
            .map(|run| (self.of_run)(run).filter(|value| value.is_finite()));
        values.collect()
    }

    /// Values of one run: its intervals, with neighbours merged. Intervals without a value are left out.
    fn of_parts(&self, runs: &[Outcome]) -> Option<Vec<f64>> {
        let (of, run) = (self.of_interval?, runs.first()?);
        let together = run.intervals.len().div_ceil(PARTS_MAX).max(1);
        let parts = run.intervals.chunks(together);
        // A last part with less than half as many intervals as the others is dropped: it would be noisier.
        let whole = parts.filter(|part| part.len() * 2 >= together);
        let mean = |part: &[Interval]| {
            let values: Vec<f64> = part
                .iter()
                .filter_map(of)
                .filter(|value| value.is_finite())
                .collect();
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        Some(whole.filter_map(mean).collect())
    }

    /// The figure in A and B, if both have it.
    pub(super) fn change(&self, a: &[Outcome], b: &[Outcome], samples: Samples) -> Option<Change> {
        let (runs_a, runs_b) = (self.of_runs(a)?, self.of_runs(b)?);
        let sampled = match samples {
            Samples::Runs => Some((runs_a.clone(), runs_b.clone())),
            Samples::Intervals => self.of_parts(a).zip(self.of_parts(b)),
        };
        let sampled = sampled.filter(|(a, b)| !a.is_empty() && !b.is_empty());
        let (median_a, median_b) = (median(runs_a), median(runs_b));
        let positive = |(a, b): &(Vec<f64>, Vec<f64>)| a.iter().chain(b).all(|value| *value > 0.0);
        let relative =
            sampled.as_ref().map_or(median_a > 0.0, positive) && self.unit != Unit::Count;
        let scale = if relative {
            Scale::Relative
        } else {
            Scale::Absolute
        };
        let plain = match scale {
            Scale::Relative => median_b / median_a - 1.0,
            Scale::Absolute => median_b - median_a,
        };
        let mut change = Change {
            name: self.name.clone(),
            unit: self.unit,
            a: median_a,
            b: median_b,
            scale,
            change: Some(plain).filter(|change| change.is_finite()),
            interval: None,
            p: None,
            verdict: Significance::Untested,
            gates: self.gates,
        };
        if let Some((a, b)) = sampled {
            self.compare(&mut change, a, b);
        }
        // Errors that occur in B and never in A are no noise, however few runs there are.
        if self.name == "errors" && change.a == 0.0 && a.iter().all(|run| run.errors == 0) {
            let any = b.iter().any(|run| run.errors > 0);
            change.verdict = if any {
                Significance::Worse
            } else {
                Significance::Noise
            };
        }
        Some(change)
    }

    /// Adds the shift, its interval and its significance.
    fn compare(&self, change: &mut Change, a: Vec<f64>, b: Vec<f64>) {
        let logarithm = |values: Vec<f64>| match change.scale {
            Scale::Relative => values.into_iter().map(f64::ln).collect(),
            Scale::Absolute => values,
        };
        let back = |shift: f64| match change.scale {
            Scale::Relative => shift.exp_m1(),
            Scale::Absolute => shift,
        };
        let (a, b): (Vec<f64>, Vec<f64>) = (logarithm(a), logarithm(b));
        let found = shift(&a, &b);
        let estimate = back(found.estimate);
        let interval = found.interval.map(|(low, high)| (back(low), back(high)));
        let verdict = if !enough(a.len(), b.len()) {
            Significance::TooFew
        } else if found.p > 1.0 - CONFIDENCE {
            Significance::Noise
        } else {
            match (self.better, found.upwards) {
                (Better::Higher, true) | (Better::Lower, false) => Significance::Better,
                (Better::Higher, false) | (Better::Lower, true) => Significance::Worse,
                (Better::Neither, _) => Significance::Changed,
            }
        };
        change.change = Some(estimate);
        change.interval = interval;
        change.p = Some(found.p);
        change.verdict = verdict;
    }
}
