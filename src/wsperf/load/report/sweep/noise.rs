//! How much the runs of one point differ by themselves: the knee cannot be known more exactly.
//!
//! Owns: the sentences about that. Never: decides whether a point holds.

use super::forms::at;
use super::{Measure, Step, Sweep};
use crate::load::report::units::{grouped, percent, time};

/// Difference between runs, as a share of their median, below which there is no note. No machine is quieter.
const QUIET: f64 = 0.10;

/// Fewest messages above a percentile. With fewer, the percentile is a matter of chance.
const TAIL_MIN: f64 = 30.0;

/// Sentences about the differences between runs.
pub(super) fn notes(sweep: &Sweep) -> Vec<String> {
    let mut notes = Vec::new();
    if sweep.steps.is_empty() {
        return notes;
    }
    notes.extend(spread(sweep));
    notes.extend(disagreement(sweep));
    notes.extend(thin_tail(sweep));
    notes
}

fn spread(sweep: &Sweep) -> Option<String> {
    if sweep.plan.repeats < 2 {
        return Some(
            "Each point was run once, so how much of this is noise is not known: see --repeats."
                .to_owned(),
        );
    }
    let measure = sweep.plan.bound.measure;
    let part = |step: &Step| {
        let median = measure.of(&step.latency_us);
        let spread = step.bounded_us_max - step.bounded_us_min;
        if median > 0.0 { spread / median } else { 0.0 }
    };
    let widest = sweep.steps.iter();
    let widest = widest.max_by(|one, two| part(one).total_cmp(&part(two)))?;
    if part(widest) < QUIET {
        return Some(format!(
            "The runs of each point differ by less than {} in {measure}.",
            percent(QUIET)
        ));
    }
    Some(format!(
        "Runs of the same point differ by up to {} in {measure} ({}: {} to {}): a knee is no sharper than that.",
        percent(part(widest)),
        at(sweep.plan.over, widest.value),
        time(widest.bounded_us_min),
        time(widest.bounded_us_max),
    ))
}

/// Points at which some runs held and some broke.
fn disagreement(sweep: &Sweep) -> Option<String> {
    let runs = |step: &Step| step.runs.len() as u64;
    let steps = sweep.steps.iter();
    let mixed = steps.filter(|step| step.runs_broken > 0 && step.runs_broken < runs(step));
    let said: Vec<_> = mixed
        .map(|step| {
            let at = at(sweep.plan.over, step.value);
            format!("{} of {} runs broke at {at}", step.runs_broken, runs(step))
        })
        .collect();
    (!said.is_empty()).then(|| format!("Not every run agrees: {}.", said.join(", ")))
}

/// A percentile that rests on few messages.
fn thin_tail(sweep: &Sweep) -> Option<String> {
    let measure = sweep.plan.bound.measure;
    let beyond = match measure {
        Measure::P90 => 0.1,
        Measure::P99 => 0.01,
        Measure::P999 => 0.001,
        Measure::P9999 => 0.0001,
        Measure::Mean | Measure::P50 | Measure::Max => return None,
    };
    let runs = sweep.steps.iter().flat_map(|step| &step.runs);
    let fewest = runs.map(|run| run.latency_us.samples).min()?;
    let tail = fewest as f64 * beyond;
    (tail < TAIL_MIN).then(|| {
        format!(
            "The {measure} of the run with the fewest messages ({}) rests on {tail:.0} of them: make --duration longer.",
            grouped(fewest as f64)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Bound, Growth, Over, Plan, Point, sweep};
    use super::*;
    use crate::load::report::samples;

    /// A sweep with one point whose runs have these p99, in µs.
    fn swept(p99: &'static [f64], samples: u64) -> Sweep {
        let plan = Plan {
            over: Over::Rate,
            from: 1000.0,
            to: 4000.0,
            growth: Growth::Factor(2.0),
            bound: Bound {
                measure: Measure::P99,
                limit_us: 1000.0,
            },
            errors_max: 0,
            achieved_least: 0.95,
            tolerance: 0.9,
            repeats: u32::try_from(p99.len()).expect("few"),
        };
        sweep(&plan, &mut |point: Point| {
            let mut outcome = samples::run(1, 1, 2);
            outcome.offered_per_second = Some(point.value);
            outcome.messages_per_second = point.value;
            outcome.driver_saturated = false;
            outcome.latency_us.p99 = p99[point.repeat as usize];
            outcome.latency_us.samples = samples;
            Ok::<_, String>(outcome)
        })
    }

    #[test]
    fn runs_that_are_alike_are_called_so() {
        let found = notes(&swept(&[500.0, 510.0, 520.0], 100_000));
        assert_eq!(
            found,
            ["The runs of each point differ by less than 10 % in p99."]
        );
    }

    #[test]
    fn runs_that_differ_and_disagree_are_noise_and_a_point_goes_by_the_most_of_them() {
        let found = swept(&[500.0, 1400.0, 700.0], 2000);
        assert!(found.steps.iter().all(|step| step.holds));
        let notes = notes(&found);
        assert!(
            notes[0].starts_with("Runs of the same point differ by up to 129 % in p99 (")
                && notes[0].contains("500 µs to 1.40 ms"),
            "{notes:?}"
        );
        assert!(
            notes[1].starts_with("Not every run agrees: 1 of 3 runs broke at 1,000 /s"),
            "{notes:?}"
        );
        assert!(
            notes[2].contains("(2,000) rests on 20 of them"),
            "{notes:?}"
        );
    }
}
