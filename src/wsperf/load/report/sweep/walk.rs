//! The search. Owns: which point is next, and when a point holds.

use std::fmt;

use super::{End, Growth, Over, Plan, Point, SWEEP_SCHEMA, Step, Sweep};
use crate::load::outcome::{Latency, Outcome};
use crate::load::report::units::{grouped, percent, rate, time};

/// Searches for the knee. `run` does one run. When a run fails, the result keeps all points up to then.
///
/// The plan must pass [`Plan::check`].
pub fn sweep<E: fmt::Display>(
    plan: &Plan,
    run: &mut dyn FnMut(Point) -> Result<Outcome, E>,
) -> Sweep {
    let mut walk = Walk {
        plan,
        run,
        steps: Vec::new(),
        sustained: None,
    };
    let end = match walk.search() {
        Ok(end) | Err(end) => end,
    };
    let mut steps = walk.steps;
    steps.sort_by(|one, other| one.value.total_cmp(&other.value));
    Sweep {
        schema: SWEEP_SCHEMA,
        plan: *plan,
        sustained: walk.sustained,
        end,
        steps,
    }
}

struct Walk<'a, E> {
    plan: &'a Plan,
    run: &'a mut dyn FnMut(Point) -> Result<Outcome, E>,
    steps: Vec<Step>,
    sustained: Option<f64>,
}

impl<E: fmt::Display> Walk<'_, E> {
    /// `Err` is also an end of the search, but one before it was complete.
    fn search(&mut self) -> Result<End, End> {
        let mut broken = None;
        for value in values(self.plan) {
            if !self.holds(value)? {
                broken = Some(value);
                break;
            }
        }
        let Some(mut breaks) = broken else {
            return Ok(End::NeverBroke);
        };
        let Some(mut holds) = self.sustained else {
            return Ok(End::BrokenAtStart);
        };
        while breaks / holds > 1.0 + self.plan.tolerance {
            let middle = rounded(self.plan.over, (breaks * holds).sqrt());
            // There is no whole number between the two ends.
            if middle <= holds || middle >= breaks {
                break;
            }
            if self.holds(middle)? {
                holds = middle;
            } else {
                breaks = middle;
            }
        }
        Ok(End::Knee { holds, breaks })
    }

    /// Measures a point and returns whether it holds. The error is the end of the search, when the point cannot decide
    /// that.
    fn holds(&mut self, value: f64) -> Result<bool, End> {
        let mut runs = Vec::new();
        for repeat in 0..self.plan.repeats {
            let over = self.plan.over;
            let point = Point {
                over,
                value,
                repeat,
            };
            let outcome = (self.run)(point).map_err(|error| End::Failed {
                at: value,
                error: error.to_string(),
            })?;
            runs.push(outcome);
        }
        let step = judged(self.plan, value, runs);
        let (holds, saturated) = (step.holds, step.driver_saturated);
        self.steps.push(step);
        if holds {
            self.sustained = Some(value);
        }
        if saturated {
            return Err(End::DriverSaturated { at: value });
        }
        Ok(holds)
    }
}

/// The points of the first step.
fn values(plan: &Plan) -> Vec<f64> {
    let factor = match plan.growth {
        Growth::Factor(factor) => factor,
        Growth::Steps(steps) => (plan.to / plan.from).powf(1.0 / f64::from(steps.max(2) - 1)),
    };
    let mut values = Vec::new();
    let mut value = plan.from;
    // Stops short of `to`: otherwise a rounding error could give two almost equal last points.
    while value < plan.to * 0.999 && values.len() < Plan::STEPS_MAX as usize {
        values.push(rounded(plan.over, value));
        value *= factor;
    }
    values.push(rounded(plan.over, plan.to));
    values.dedup();
    values
}

/// A value that can be offered and read: whole connections, rates with four digits.
fn rounded(over: Over, value: f64) -> f64 {
    match over {
        Over::Connections => value.round().max(1.0),
        Over::Rate => format!("{value:.3e}").parse().unwrap_or(value),
    }
}

/// The point that these runs make.
fn judged(plan: &Plan, value: f64, runs: Vec<Outcome>) -> Step {
    let breaches: Vec<_> = runs.iter().map(|run| breaches(plan, run)).collect();
    let half = |times: usize| times * 2 >= runs.len().max(1);
    let broken = breaches.iter().filter(|found| !found.is_empty()).count();
    let bounded = runs
        .iter()
        .map(|run| plan.bound.measure.of(&run.latency_us));
    let saturated = runs.iter().filter(|run| run.driver_saturated).count();
    let known: Option<Vec<bool>> = runs.iter().map(|run| run.server_saturated).collect();
    let busy = |run: &Outcome| {
        let processes = &run.server.as_ref()?.processes;
        Some(processes.iter().map(|one| one.utilisation).sum())
    };
    let servers: Option<Vec<f64>> = runs.iter().map(busy).collect();
    let drivers = runs.iter().map(|run| {
        let threads = run.driver.iter();
        threads.map(|thread| thread.utilisation).sum()
    });
    Step {
        value,
        holds: !half(broken),
        driver_saturated: half(saturated),
        server_saturated: known.map(|known| half(known.iter().filter(|yes| **yes).count())),
        messages_per_second: median(runs.iter().map(|run| run.messages_per_second).collect()),
        latency_us: latency(&runs),
        bounded_us_min: bounded.clone().reduce(f64::min).unwrap_or(0.0),
        bounded_us_max: bounded.fold(0.0, f64::max),
        runs_broken: broken as u64,
        errors: runs.iter().map(|run| run.errors).sum(),
        driver_utilisation: median(drivers.collect()),
        server_utilisation: servers.map(median),
        breaches: breaches.into_iter().flatten().collect(),
        runs,
    }
}

/// Why a run breaks the bound. Empty when it holds.
fn breaches(plan: &Plan, run: &Outcome) -> Vec<String> {
    let mut found = Vec::new();
    let latency = &run.latency_us;
    let measured = plan.bound.measure.of(latency);
    if latency.samples == 0 {
        found.push("nothing was measured".to_owned());
    } else if measured > plan.bound.limit_us {
        found.push(format!("{} {}", plan.bound.measure, time(measured)));
    }
    if run.errors > plan.errors_max {
        found.push(format!("errors: {}", grouped(run.errors as f64)));
    }
    if let Some(offered) = run.offered_per_second.filter(|offered| *offered > 0.0) {
        let share = run.messages_per_second / offered;
        if share < plan.achieved_least {
            let achieved = rate(run.messages_per_second);
            found.push(format!("{achieved} /s, {} of offered", percent(share)));
        }
    }
    found
}

fn latency(runs: &[Outcome]) -> Latency {
    let of = |figure: fn(&Latency) -> f64| {
        let figures = runs.iter().map(|run| figure(&run.latency_us));
        median(figures.collect())
    };
    Latency {
        samples: runs.iter().map(|run| run.latency_us.samples).sum(),
        min: of(|latency| latency.min),
        mean: of(|latency| latency.mean),
        stddev: of(|latency| latency.stddev),
        p50: of(|latency| latency.p50),
        p90: of(|latency| latency.p90),
        p99: of(|latency| latency.p99),
        p999: of(|latency| latency.p999),
        p9999: of(|latency| latency.p9999),
        max: of(|latency| latency.max),
    }
}

/// The middle value, or the mean of the two middle ones; 0 for an empty list.
pub(in crate::load::report) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let low = values.len().checked_sub(1).map(|last| last / 2);
    let high = values.len() / 2;
    let at = |index: usize| values.get(index).copied();
    match (low.and_then(at), at(high)) {
        (Some(low), Some(high)) => f64::midpoint(low, high),
        _ => 0.0,
    }
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
