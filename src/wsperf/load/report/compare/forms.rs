//! A comparison as a table, at most 80 columns wide. Differences in options and versions come first.

use std::fmt::Write as _;

use super::{Change, Comparison, Samples, Scale, Significance, Unit};
use crate::load::report::table::{WIDTH, boxed, row, wrap};
use crate::load::report::units::{bytes, count, rate, time};

/// The table. `names` are A and B as they were typed.
pub fn table(comparison: &Comparison, names: [&str; 2], threshold: f64) -> String {
    let mut out = String::new();
    let runs = |runs: usize| {
        if runs == 1 {
            "1 run".to_owned()
        } else {
            format!("{runs} runs")
        }
    };
    row(
        &mut out,
        "A",
        &format!("{} ({})", names[0], runs(comparison.runs_a)),
    );
    row(
        &mut out,
        "B",
        &format!("{} ({})", names[1], runs(comparison.runs_b)),
    );
    row(&mut out, "scenario", &comparison.scenario);
    if !comparison.differences.is_empty() {
        out.push_str("\nNOT THE SAME IN A AND B\n");
        for difference in &comparison.differences {
            let text = format!(
                "{}: {} in A, {} in B",
                difference.name, difference.a, difference.b
            );
            row(&mut out, "", &text);
        }
    }
    let (loud, quiet): (Vec<_>, Vec<_>) = comparison
        .cautions
        .iter()
        .partition(|text| text.starts_with("THE DRIVER"));
    if !loud.is_empty() {
        out.push('\n');
        loud.iter().for_each(|text| boxed(&mut out, text));
    }
    let _ = writeln!(
        out,
        "\n{:<14}{:>11}{:>11}{:>10}{:>20}  verdict",
        "", "A", "B", "shift", "95 % interval"
    );
    comparison
        .changes
        .iter()
        .for_each(|change| line(&mut out, change));
    out.push('\n');
    quiet.iter().for_each(|text| row(&mut out, "caution", text));
    row(&mut out, "how", how(comparison.samples));
    row(&mut out, "result", &result(comparison, threshold));
    out
}

fn line(out: &mut String, change: &Change) {
    // A scenario's figure may have a name longer than its column: then the name has a line for itself.
    let mut name = &*change.name;
    if name.chars().count() > 14 {
        wrap(name, WIDTH).iter().for_each(|name| {
            let _ = writeln!(out, "{name}");
        });
        name = "";
    }
    let [a, b] = [change.a, change.b].map(|value| figure(change.unit, value));
    let moved = change
        .change
        .map_or_else(|| "-".to_owned(), |shift| amount(change, shift));
    let interval = change.interval.map_or_else(
        || "-".to_owned(),
        |(low, high)| format!("{} to {}", amount(change, low), amount(change, high)),
    );
    let verdict = word(change.verdict);
    let _ = writeln!(
        out,
        "{name:<14}{a:>11}{b:>11}{moved:>10}{interval:>20}  {verdict}"
    );
}

fn figure(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Us => time(value),
        Unit::PerSecond if value < 1e9 => rate(value),
        Unit::Bytes => bytes(value),
        Unit::PerSecond | Unit::Count => count(value),
    }
}

/// A change with its sign.
fn amount(change: &Change, shift: f64) -> String {
    let sign = if shift < 0.0 { "-" } else { "+" };
    let size = shift.abs();
    let text = match (change.scale, size * 100.0) {
        (Scale::Relative, percent @ ..99.95) => format!("{percent:.1} %"),
        (Scale::Relative, percent @ ..9_999.5) => format!("{percent:.0} %"),
        (Scale::Relative, percent) => format!("{} %", count(percent)),
        (Scale::Absolute, _) => figure(change.unit, size),
    };
    // A text that shows only zeros gets no sign.
    let zero = !text.contains(|digit: char| ('1'..='9').contains(&digit));
    if zero { text } else { format!("{sign}{text}") }
}

fn word(verdict: Significance) -> &'static str {
    match verdict {
        Significance::Better => "better",
        Significance::Worse => "WORSE",
        Significance::Changed => "changed",
        Significance::Noise => "noise",
        Significance::TooFew => "too few",
        Significance::Untested => "untested",
    }
}

const fn how(samples: Samples) -> &'static str {
    match samples {
        Samples::Runs => {
            "The samples are the runs, compared by rank (Mann-Whitney; shift of Hodges and Lehmann). Of twenty figures \
             that did not change one passes for changed."
        }
        Samples::Intervals => {
            "The samples are parts of the measured windows, compared by rank (Mann-Whitney; shift of Hodges and \
             Lehmann). What has no series is untested."
        }
    }
}

/// The last sentence: in which figures B is worse, better or different.
fn result(comparison: &Comparison, threshold: f64) -> String {
    let names = |verdict: Significance| {
        let changes = comparison
            .changes
            .iter()
            .filter(|change| change.verdict == verdict);
        changes
            .map(|change| &*change.name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let mut text = String::new();
    for (verdict, begin) in [
        (Significance::Worse, "B is worse in"),
        (Significance::Better, "B is better in"),
        (Significance::Changed, "B differs in"),
    ] {
        let names = names(verdict);
        if !names.is_empty() {
            let _ = write!(text, "{begin} {names}. ");
        }
    }
    if text.is_empty() {
        text.push_str("No change is more than noise. ");
    }
    let regressions = comparison.regressions(threshold);
    let regressions: Vec<&str> = regressions.iter().map(|change| &*change.name).collect();
    let percent = format!("{} %", threshold * 100.0);
    let _ = match regressions.join(", ") {
        none if none.is_empty() => write!(text, "No regression of {percent} or more."),
        names => write!(text, "REGRESSION of {percent} or more: {names}."),
    };
    text
}
