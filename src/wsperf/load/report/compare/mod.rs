//! What changed between two sets of results, and whether it is more than noise.
//!
//! 1. Differences in versions, targets and options come first: they may be the reason for the others.
//! 2. Each figure becomes two samples. With several runs a value is the figure of a run; with one run on each side a
//!    value is the figure of a part of its intervals.
//! 3. The samples are compared by their ranks (`statistics`): the shift from A to B, an interval for it, and the
//!    probability that chance alone would do as much.
//!
//! Owns: which figures are compared, which direction is worse, and the significance. Never: runs anything.

mod figures;
mod files;
mod forms;
mod statistics;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

pub use files::{CompareOptions, Compared, Threshold, run};
pub use forms::table;

use self::figures::Figure;
use super::units::grouped;
use crate::load::outcome::Outcome;

/// Version of the schema of a comparison's JSON, raised when a field changes its meaning or is removed.
pub const COMPARISON_SCHEMA: u32 = 1;

/// Options that say where a result goes. They do not change what is measured.
const BESIDE: [&str; 7] = [
    "format",
    "hdr",
    "html",
    "json",
    "quiet",
    "server-pid",
    "server-stats",
];

/// The differences between A and B.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// [`COMPARISON_SCHEMA`].
    pub schema: u32,
    /// The scenario of all runs.
    pub scenario: String,
    /// Runs of A.
    pub runs_a: usize,
    /// Runs of B.
    pub runs_b: usize,
    /// What one value of a sample is.
    pub samples: Samples,
    /// Confidence of the intervals and of the significance: 0.95.
    pub confidence: f64,
    /// Differences in versions, targets and options.
    pub differences: Vec<Difference>,
    /// Sentences that a reader has to know before relying on the figures.
    pub cautions: Vec<String>,
    /// One entry for each figure.
    pub changes: Vec<Change>,
}

/// What one value of a sample is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Samples {
    /// The figure of one run.
    Runs,
    /// The figure of one interval of a single run, or of several neighbouring ones.
    Intervals,
}

/// A difference in a version, a target or an option.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// `(version)`, `(server)`, `(kernel)`, `(cpu)`, `(target)`, or an option.
    pub name: String,
    /// The value in A; several values if A's runs differ.
    pub a: String,
    /// The value in B.
    pub b: String,
}

/// One figure in A and in B.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// For example `p99`.
    pub name: String,
    /// The unit of `a` and `b`.
    pub unit: Unit,
    /// Median of A's runs.
    pub a: f64,
    /// Median of B's runs.
    pub b: f64,
    /// The unit of `change` and of `interval`.
    pub scale: Scale,
    /// The change from A to B: 0.05 is 5 % more, or it is in the figure's own unit. Absent when it is undefined (a
    /// quotient by zero).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<f64>,
    /// Ends of the interval that holds the change with the confidence. Absent when the samples are too small for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<(f64, f64)>,
    /// Probability that chance alone would change as much. Absent when it was not tested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p: Option<f64>,
    /// Whether the change is more than noise.
    pub verdict: Significance,
    /// Whether it can fail a comparison with `--fail-on-regression`.
    pub gates: bool,
}

/// The unit of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Microseconds.
    Us,
    /// Per second.
    PerSecond,
    /// Bytes.
    Bytes,
    /// A number without a unit.
    Count,
}

/// How a change is expressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// As a share of A.
    Relative,
    /// In the figure's own unit, for figures that can be zero in A.
    Absolute,
}

/// Whether a change is more than noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Significance {
    /// More than noise, in the good direction.
    Better,
    /// More than noise, in the bad direction.
    Worse,
    /// More than noise, for a figure without a good direction.
    Changed,
    /// Not more than noise.
    Noise,
    /// Too few samples: even the clearest difference could be chance.
    TooFew,
    /// Not tested: only one value on each side.
    Untested,
}

impl Comparison {
    /// The figures that got worse significantly and by at least `threshold` (0.05 is 5 %). Errors that occur in B and
    /// never in A always count.
    pub fn regressions(&self, threshold: f64) -> Vec<&Change> {
        let enough = |change: &&Change| match (change.scale, change.change) {
            (Scale::Relative, Some(share)) => share.abs() >= threshold,
            _ => true,
        };
        let gating = self.changes.iter().filter(|change| change.gates);
        let worse = gating.filter(|change| change.verdict == Significance::Worse);
        worse.filter(enough).collect()
    }
}

/// Compares two sets of runs of the same scenario. The error is a sentence.
pub fn compare(a: &[Outcome], b: &[Outcome]) -> Result<Comparison, String> {
    let scenarios: BTreeSet<&str> = a.iter().chain(b).map(|run| &*run.scenario).collect();
    if a.is_empty() || b.is_empty() {
        return Err("there is nothing to compare: one side has no result".to_owned());
    }
    let mut names = scenarios.into_iter();
    let (Some(scenario), None) = (names.next(), names.next()) else {
        return Err(
            "A and B hold results of different scenarios, whose figures do not mean the same: name files of one"
                .to_owned(),
        );
    };
    let samples = match (a.len(), b.len()) {
        (1, 1) => Samples::Intervals,
        _ => Samples::Runs,
    };
    let figures = figures::all(a, b);
    let changes: Vec<_> = figures
        .iter()
        .filter_map(|figure| figure.change(a, b, samples))
        .collect();
    Ok(Comparison {
        schema: COMPARISON_SCHEMA,
        scenario: scenario.to_owned(),
        runs_a: a.len(),
        runs_b: b.len(),
        samples,
        confidence: statistics::CONFIDENCE,
        differences: differences(a, b),
        cautions: cautions(a, b, samples, &figures, &changes),
        changes,
    })
}

fn differences(a: &[Outcome], b: &[Outcome]) -> Vec<Difference> {
    let mut names: BTreeMap<String, [BTreeSet<String>; 2]> = BTreeMap::new();
    let runs = a
        .iter()
        .map(|run| (0, run))
        .chain(b.iter().map(|run| (1, run)));
    let keys: BTreeSet<&String> = a
        .iter()
        .chain(b)
        .flat_map(|run| run.options.keys())
        .collect();
    for (side, run) in runs {
        let told = |text: Option<&str>| text.unwrap_or("(not told)").to_owned();
        let server = run
            .server
            .as_ref()
            .and_then(|server| server.version.as_deref());
        let kernel = Some(run.machine.kernel.as_str()).filter(|kernel| !kernel.is_empty());
        let own = [
            ("(version)", run.version.clone()),
            ("(server)", told(server)),
            ("(kernel)", told(kernel)),
            ("(cpu)", told(run.machine.cpu.as_deref())),
            ("(target)", run.target.clone()),
        ];
        let own = own.map(|(name, value)| (name.to_owned(), value));
        let options = keys.iter().filter(|name| !BESIDE.contains(&name.as_str()));
        let options = options.map(|name| {
            let value = run.options.get(*name).map_or("(not set)", String::as_str);
            ((*name).clone(), value.to_owned())
        });
        for (name, value) in own.into_iter().chain(options) {
            if let Some(values) = names.entry(name).or_default().get_mut(side) {
                values.insert(value);
            }
        }
    }
    let all = |values: BTreeSet<String>| values.into_iter().collect::<Vec<_>>().join(" | ");
    let differ = |[a, b]: &[BTreeSet<String>; 2]| a != b || a.len() > 1;
    let found = names.into_iter().filter(|(_, sides)| differ(sides));
    let found = found.map(|(name, [a, b])| Difference {
        name,
        a: all(a),
        b: all(b),
    });
    found.collect()
}

/// Sentences about reasons to doubt the figures.
fn cautions(
    a: &[Outcome],
    b: &[Outcome],
    samples: Samples,
    figures: &[Figure],
    changes: &[Change],
) -> Vec<String> {
    let mut found = Vec::new();
    for (side, runs) in [("A", a), ("B", b)] {
        let saturated = runs.iter().filter(|run| run.driver_saturated).count();
        if saturated > 0 {
            found.push(format!(
                "THE DRIVER WAS SATURATED in {saturated} of {} runs of {side}: their rate is the driver's, and their \
                 latency contains its queue.",
                runs.len()
            ));
        }
    }
    let errors = |runs: &[Outcome]| runs.iter().map(|run| run.errors).sum::<u64>();
    if errors(a) == 0 && errors(b) > 0 {
        let times = grouped(errors(b) as f64);
        found.push(format!("B has errors ({times}) and A has none."));
    }
    for figure in figures {
        match (figure.known(a), figure.known(b)) {
            (true, false) => found.push(format!("{} is known in A only.", figure.name)),
            (false, true) => found.push(format!("{} is known in B only.", figure.name)),
            _ => {}
        }
    }
    let too_few = changes
        .iter()
        .any(|change| change.verdict == Significance::TooFew);
    match samples {
        Samples::Intervals => found.push(
            "One run on each side: the samples are its intervals, so that what differs from run to run (placement, \
             memory, drift of the machine) is not in the noise and can pass for a change. Several runs of each, in turn, \
             would tell."
                .to_owned(),
        ),
        Samples::Runs if too_few => found.push(
            "Too few runs: with fewer than 4 on each side even the clearest difference could be chance.".to_owned(),
        ),
        Samples::Runs => {}
    }
    found
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
