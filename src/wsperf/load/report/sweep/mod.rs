//! The highest load at which a bound holds: the same scenario at growing rates or connections until the bound breaks, and
//! then closer to that point.
//!
//! 1. Increase the value from `from` to `to` by equal factors, and stop at the first point that breaks the bound.
//! 2. Halve (geometrically) the gap between the last point that held and the first that broke, until it is smaller than
//!    the tolerance. The highest point that held is the knee.
//! 3. A point at which the driver is saturated says nothing about the server: the sweep ends there, and its result says
//!    so.
//!
//! Owns: the search, its result, and the forms of it. Never: does a run; a closure does.

mod bound;
mod forms;
mod noise;
mod walk;

use serde::Serialize;

pub use bound::{Bound, Measure, Over};
pub use forms::{page, table};
pub(super) use walk::median;
pub use walk::sweep;

use crate::load::outcome::{Latency, Outcome};

/// Version of the schema of a sweep's JSON, raised when a field changes its meaning or is removed.
pub const SWEEP_SCHEMA: u32 = 1;

/// What to increase, how far, and which bound must hold.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// What grows.
    pub over: Over,
    /// The first point.
    pub from: f64,
    /// The last point.
    pub to: f64,
    /// The steps from the first to the last point.
    pub growth: Growth,
    /// The latency that must hold.
    pub bound: Bound,
    /// Most errors of a run that holds.
    pub errors_max: u64,
    /// Smallest share of the offered rate that a run must achieve (open loop).
    pub achieved_least: f64,
    /// The search ends when the lowest point that broke is at most this share above the highest that held.
    pub tolerance: f64,
    /// Runs of each point. A point breaks when at least half of its runs do, and its figures are their medians.
    pub repeats: u32,
}

/// Steps of the walk.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Growth {
    /// This many points by equal factors, including both ends.
    Steps(u32),
    /// Each point is this factor times the one before.
    Factor(f64),
}

impl Plan {
    /// Default of `errors_max`.
    pub const ERRORS_MAX: u64 = 0;
    /// Default of `achieved_least`. Below it, the queue of unsent messages grows during the whole run.
    pub const ACHIEVED_LEAST: f64 = 0.95;
    /// Default of `tolerance`.
    pub const TOLERANCE: f64 = 0.05;
    /// Most points: a mistyped factor must not run for a week.
    pub const STEPS_MAX: u32 = 1000;

    /// Refuses an impossible plan with a sentence.
    pub fn check(&self) -> Result<(), String> {
        let number = |value: f64| value.is_finite() && value > 0.0;
        let grows = match self.growth {
            Growth::Steps(steps) => (2..=Self::STEPS_MAX).contains(&steps),
            Growth::Factor(factor) => factor >= 1.001 && factor.is_finite(),
        };
        let wrong = if !number(self.from) || !number(self.to) || self.from >= self.to {
            "--from must be more than 0 and less than --to"
        } else if !grows {
            "--steps must be from 2 to 1000, --factor at least 1.001"
        } else if !number(self.bound.limit_us) {
            "--bound needs a time above 0"
        } else if !(0.0..=1.0).contains(&self.achieved_least) {
            "the share of the rate that must be achieved is from 0 to 1"
        } else if !(0.001..=1.0).contains(&self.tolerance) {
            "the tolerance is from 0.1% to 100%"
        } else if self.repeats == 0 {
            "each point needs at least one run"
        } else {
            return Ok(());
        };
        Err(wrong.to_owned())
    }
}

/// A run to be done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// What `value` is.
    pub over: Over,
    /// Messages per second, or connections (then a whole number).
    pub value: f64,
    /// Which run of this point, from 0.
    pub repeat: u32,
}

/// A measured point; its figures are medians of its runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Step {
    /// Messages per second offered, or connections.
    pub value: f64,
    /// Whether the bound held.
    pub holds: bool,
    /// Why each run that broke did so. Empty when none broke.
    pub breaches: Vec<String>,
    /// The driver had no time to spare, so the point says nothing about the server.
    pub driver_saturated: bool,
    /// The server had no time to spare. Absent when that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_saturated: Option<bool>,
    /// The achieved rate.
    pub messages_per_second: f64,
    /// Each percentile is the median of the runs' values.
    pub latency_us: Latency,
    /// Smallest value of the bounded figure over the runs: with the largest it shows how much runs differ by themselves.
    pub bounded_us_min: f64,
    /// Largest value of the bounded figure.
    pub bounded_us_max: f64,
    /// Runs that broke.
    pub runs_broken: u64,
    /// Errors of all runs.
    pub errors: u64,
    /// CPU time of all driver threads divided by wall time.
    pub driver_utilisation: f64,
    /// CPU time of all processes of the server divided by wall time. Absent when they are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_utilisation: Option<f64>,
    /// The runs themselves.
    pub runs: Vec<Outcome>,
}

/// Why the search ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
#[non_exhaustive]
pub enum End {
    /// The knee is between these two values.
    Knee {
        /// The highest value that held.
        holds: f64,
        /// The lowest value that broke.
        breaks: f64,
    },
    /// Every point held, up to the last.
    NeverBroke,
    /// The first point broke.
    BrokenAtStart,
    /// The driver had no time to spare.
    DriverSaturated {
        /// The value at which this happened.
        at: f64,
    },
    /// A run failed.
    Failed {
        /// The value at which this happened.
        at: f64,
        /// The reason.
        error: String,
    },
}

/// The result of a sweep.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sweep {
    /// [`SWEEP_SCHEMA`].
    pub schema: u32,
    /// The plan.
    pub plan: Plan,
    /// The highest value at which the bound held. Absent when it held nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sustained: Option<f64>,
    /// Why the search ended.
    pub end: End,
    /// All points, sorted by their values.
    pub steps: Vec<Step>,
}
