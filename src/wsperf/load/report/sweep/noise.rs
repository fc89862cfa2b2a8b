//! How far the runs of one point differ by themselves: a knee is no sharper than that.
//!
//! Owns: the sentences about it. Never: judges a point.

use super::forms::at;
use super::{Measure, Step, Sweep};
use crate::load::report::units::{grouped, percent, time};

/// Runs that differ by less than this part of their median are as equal as they will be on any machine.
const QUIET: f64 = 0.10;

/// A percentile that rests on fewer messages than this is a matter of chance.
const TAIL_MIN: f64 = 30.0;

/// What the runs say about each other, in sentences.
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

/// A percentile of few messages.
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
