//! How far it goes: the same scenario at growing rates or connections until a bound breaks, then closer and closer to
//! where it broke.
//!
//! 1. Walk up from `from` to `to` in equal factors and stop at the first point that breaks the bound.
//! 2. Halve (geometrically) the gap between the last point that held and the first that broke, until it is smaller
//!    than the tolerance. What held then is the knee.
//! 3. A point where the driver had no time left says nothing about the server: the sweep ends there, and says so.
//!
//! Owns: the search, what it found, and its forms. Never: runs anything; a closure does.

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

/// Raised when a field of a sweep's JSON changes its meaning or goes away.
pub const SWEEP_SCHEMA: u32 = 1;

/// What to walk, how far, and what must hold.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// What grows.
    pub over: Over,
    /// The first point.
    pub from: f64,
    /// The last point.
    pub to: f64,
    /// How it grows.
    pub growth: Growth,
    /// The latency that must hold.
    pub bound: Bound,
    /// Errors that a run may have.
    pub errors_max: u64,
    /// Share of the offered rate that must be achieved (open loop).
    pub achieved_least: f64,
    /// The search ends when what broke is at most this share above what held.
    pub tolerance: f64,
    /// Runs of each point. It breaks when at least half of them do; its figures are their medians.
    pub repeats: u32,
}

/// Steps of the walk.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Growth {
    /// So many points in equal factors, both ends among them.
    Steps(u32),
    /// Each point so many times the one before.
    Factor(f64),
}

impl Plan {
    /// Errors that a run may have by default.
    pub const ERRORS_MAX: u64 = 0;
    /// Default share of the offered rate. Below it the queue of what was not sent grows as long as the run does.
    pub const ACHIEVED_LEAST: f64 = 0.95;
    /// Default tolerance.
    pub const TOLERANCE: f64 = 0.05;
    /// The most points of a walk: a mistyped factor must not run for a week.
    pub const STEPS_MAX: u32 = 1000;

    /// What makes the plan impossible, as a sentence.
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

/// One run to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// What `value` is.
    pub over: Over,
    /// Messages per second, or connections (then a whole number).
    pub value: f64,
    /// Which run of this point, from 0.
    pub repeat: u32,
}

/// One point as measured: medians of its runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Step {
    /// Messages per second offered, or connections.
    pub value: f64,
    /// Whether the bound held.
    pub holds: bool,
    /// What broke in any of the runs, in words; empty when nothing did.
    pub breaches: Vec<String>,
    /// The driver had no time left: what broke is not the server's.
    pub driver_saturated: bool,
    /// The server had no time left; absent when it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_saturated: Option<bool>,
    /// Achieved.
    pub messages_per_second: f64,
    /// Each figure is the median of the runs'.
    pub latency_us: Latency,
    /// The least and the greatest of what the bound is about, over the runs: how far they differ by themselves.
    pub bounded_us_min: f64,
    /// The greatest.
    pub bounded_us_max: f64,
    /// Runs that broke.
    pub runs_broken: u64,
    /// Errors of all runs.
    pub errors: u64,
    /// CPU time of the driver's threads by wall time, summed.
    pub driver_utilisation: f64,
    /// CPU time of the server's processes by wall time, summed; absent when they are not known.
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
    /// The knee lies between what held and what broke.
    Knee {
        /// The highest value that held.
        holds: f64,
        /// The lowest that broke.
        breaks: f64,
    },
    /// Everything up to the last point held.
    NeverBroke,
    /// The first point broke already.
    BrokenAtStart,
    /// The driver had no time left.
    DriverSaturated {
        /// There.
        at: f64,
    },
    /// A run could not be done.
    Failed {
        /// There.
        at: f64,
        /// The reason.
        error: String,
    },
}

/// What a sweep found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sweep {
    /// [`SWEEP_SCHEMA`].
    pub schema: u32,
    /// What was asked for.
    pub plan: Plan,
    /// The highest value at which the bound held; absent when it never did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sustained: Option<f64>,
    /// Why the search ended.
    pub end: End,
    /// All points in the order of their values.
    pub steps: Vec<Step>,
}
