//! A sweep as a table and as a page with its curve.

use std::fmt::Write as _;

use super::{End, Measure, Over, Step, Sweep, noise};
use crate::load::outcome::{Latency, Outcome};
use crate::load::report::charts::{axis, share};
use crate::load::report::html;
use crate::load::report::page::{self, Tile, escape};
use crate::load::report::plot::{Axis, Kind, Plot, Rule, Series};
use crate::load::report::scale::Scale;
use crate::load::report::table::{WIDTH, boxed, machine, row, shape, versions, wrap};
use crate::load::report::units::{count, date, grouped, percent, rate, time};

/// The table for people, at most 80 columns wide.
pub fn table(sweep: &Sweep) -> String {
    let mut out = String::new();
    for line in [title(sweep), asked(sweep)]
        .iter()
        .flat_map(|text| wrap(text, WIDTH))
    {
        let _ = writeln!(out, "{line}");
    }
    if let End::DriverSaturated { .. } = sweep.end {
        out.push('\n');
        boxed(&mut out, &verdict(sweep));
    }
    let head = ["achieved", "p50", "p99", "p99.9", "server", "driver"];
    let line = |name: &str, cells: [&str; 6], verdict: &str| {
        let [achieved, p50, p99, p999, server, driver] = cells;
        let cells = format!("{achieved:>10}{p50:>9}{p99:>9}{p999:>9}{server:>8}{driver:>8}");
        format!("{name:>11}{cells}  {verdict}")
            .trim_end()
            .to_owned()
    };
    let _ = writeln!(out, "\n{}", line(&sweep.plan.over.to_string(), head, ""));
    for step in &sweep.steps {
        let latency = &step.latency_us;
        let cells = [
            &*rate(step.messages_per_second),
            &time(latency.p50),
            &time(latency.p99),
            &time(latency.p999),
            &step
                .server_utilisation
                .map_or_else(|| "-".to_owned(), percent),
            &percent(step.driver_utilisation),
        ];
        // One word per row: details of what broke are in the figures or in the lines below.
        let _ = writeln!(out, "{}", line(&rate(step.value), cells, word(step)));
    }
    out.push('\n');
    row(&mut out, "result", &verdict(sweep));
    for step in sweep.steps.iter().filter(|step| !step.breaches.is_empty()) {
        let at = at(sweep.plan.over, step.value);
        row(&mut out, "", &format!("{at}: {}", step.breaches.join("; ")));
    }
    for (place, note) in noise::notes(sweep).iter().enumerate() {
        row(&mut out, if place == 0 { "noise" } else { "" }, note);
    }
    if let Some(machine) = first(sweep).and_then(machine) {
        row(&mut out, "machine", &machine);
    }
    if let Some(run) = first(sweep).filter(|run| machine(run).is_some()) {
        row(&mut out, "versions", &versions(run));
    }
    out
}

fn word(step: &Step) -> &'static str {
    match (step.driver_saturated, step.holds) {
        (true, _) => "DRIVER!",
        (_, true) => "holds",
        (_, false) => "breaks",
    }
}

fn title(sweep: &Sweep) -> String {
    let first = first(sweep);
    let of = first.map_or("", |run| &run.scenario);
    let target = first.map_or("", |run| &run.target);
    format!("sweep over {} of {of} {target}", sweep.plan.over)
}

fn first(sweep: &Sweep) -> Option<&Outcome> {
    sweep.steps.first().and_then(|step| step.runs.first())
}

/// The bound in words.
fn asked(sweep: &Sweep) -> String {
    let plan = &sweep.plan;
    let errors = match plan.errors_max {
        0 => "no error".to_owned(),
        most => format!("at most {most} errors a run"),
    };
    let achieved = match plan.over {
        Over::Rate => format!(
            ", at least {} of the offered rate achieved",
            percent(plan.achieved_least)
        ),
        Over::Connections => String::new(),
    };
    let runs = match plan.repeats {
        1 => String::new(),
        runs => format!(", medians of {runs} runs a point"),
    };
    format!("must hold: {}, {errors}{achieved}{runs}", plan.bound)
}

/// `12,000 /s`, or `12,000 connections`.
pub(super) fn at(over: Over, value: f64) -> String {
    match over {
        Over::Rate => format!("{} /s", rate(value)),
        Over::Connections => format!("{} connections", grouped(value)),
    }
}

/// The result in a sentence or two.
fn verdict(sweep: &Sweep) -> String {
    let at = |value| at(sweep.plan.over, value);
    let until = sweep.sustained.map_or_else(
        || "It held at no point.".to_owned(),
        |value| format!("It held up to {}.", at(value)),
    );
    match &sweep.end {
        End::Knee { holds, breaks } => format!(
            "It holds up to {} and breaks at {}.",
            at(*holds),
            at(*breaks)
        ),
        End::NeverBroke => format!("{until} That was the last point: the knee is above it."),
        End::BrokenAtStart => "It is broken at the first point already: begin lower.".to_owned(),
        End::DriverSaturated { at: value } => format!(
            "THE DRIVER WAS SATURATED at {}: what lies beyond is not known, and not the server's. {until} Give the \
             driver more threads or CPUs of its own.",
            at(*value)
        ),
        End::Failed { at: value, error } => {
            format!("The run at {} failed: {error}. {until}", at(*value))
        }
    }
}

/// The page, in one file that needs no other.
pub fn page(sweep: &Sweep) -> String {
    let (title, asked, verdict) = (title(sweep), asked(sweep), verdict(sweep));
    let first = first(sweep);
    let shape = first.map(shape).unwrap_or_default();
    let began = first.map(|run| date(run.began_unix_ms)).unwrap_or_default();
    let mut body = format!(
        "<header>\n<h1>{}</h1>\n<p>{}</p>\n<p>first point: {}</p>\n<p>{began}</p>\n</header>\n",
        escape(&title),
        escape(&asked),
        escape(&shape),
    );
    let class = match sweep.end {
        End::DriverSaturated { .. } => " class=alarm role=alert",
        _ => "",
    };
    let _ = writeln!(body, "<p{class}>{}</p>", escape(&verdict));
    body.push_str(&html::notes(&noise::notes(sweep)));
    body.push_str(&page::tiles(&tiles(sweep)));
    if !sweep.steps.is_empty() {
        body.push_str("<h2>Plots</h2>\n");
        for plot in [latencies(sweep), throughput(sweep), cpu(sweep)] {
            body.push_str(&plot.render());
        }
    }
    body.push_str("<h2>Figures</h2>\n");
    body.push_str(&steps(sweep));
    if let Some(first) = first {
        body.push_str(&html::measured_on(first));
        body.push_str(&html::options(first));
        let _ = writeln!(
            body,
            "<footer>ringway wsperf {}</footer>",
            escape(&first.version)
        );
    }
    page::render(&title, &body)
}

fn tiles(sweep: &Sweep) -> Vec<Tile> {
    let knee = sweep
        .steps
        .iter()
        .find(|step| Some(step.value) == sweep.sustained);
    let unknown = || "–".to_owned();
    let (name, held) = match sweep.plan.over {
        Over::Rate => ("Rate held", knee.map(|step| at(Over::Rate, step.value))),
        Over::Connections => ("Connections held", knee.map(|step| grouped(step.value))),
    };
    let measure = sweep.plan.bound.measure;
    let saturated = matches!(sweep.end, End::DriverSaturated { .. });
    vec![
        Tile {
            name,
            value: held.unwrap_or_else(unknown),
            about: match sweep.end {
                End::Knee { breaks, .. } => format!("broke at {}", at(sweep.plan.over, breaks)),
                End::DriverSaturated { .. } => "then the driver was saturated".to_owned(),
                End::NeverBroke => "the last point".to_owned(),
                End::BrokenAtStart => "broken at the first point".to_owned(),
                End::Failed { .. } => "then a run failed".to_owned(),
            },
            bad: saturated || knee.is_none(),
        },
        Tile {
            name: "Latency there",
            value: knee.map_or_else(unknown, |step| time(measure.of(&step.latency_us))),
            about: format!(
                "{measure}; the bound is {}",
                time(sweep.plan.bound.limit_us)
            ),
            bad: false,
        },
        Tile {
            name: "Achieved there",
            value: knee.map_or_else(unknown, |step| {
                format!("{} /s", rate(step.messages_per_second))
            }),
            about: "messages".to_owned(),
            bad: false,
        },
        Tile {
            name: "CPU there",
            value: knee
                .and_then(|step| step.server_utilisation)
                .map_or_else(unknown, percent),
            about: knee.map_or_else(String::new, |step| {
                format!("server; driver {}", percent(step.driver_utilisation))
            }),
            bad: false,
        },
    ]
}

/// The axis of the rate or the connections.
fn x_axis(sweep: &Sweep) -> Axis {
    let label = match sweep.plan.over {
        Over::Rate => "messages offered per second",
        Over::Connections => "connections",
    };
    axis(
        Scale::fit(sweep.steps.iter().map(|step| step.value)),
        9.0,
        label,
        count,
    )
}

/// A plot over the rate or the connections, with the knee marked.
fn over(sweep: &Sweep, title: &str, y: Axis) -> Plot {
    let hint = |step: &Step| {
        let (at, latency) = (at(sweep.plan.over, step.value), &step.latency_us);
        let [p50, p99, p999] = [latency.p50, latency.p99, latency.p999].map(time);
        let mut text = format!("{at}: {}\np50 {p50}\np99 {p99}\np99.9 {p999}", word(step));
        step.breaches.iter().for_each(|breach| {
            let _ = write!(text, "\n{breach}");
        });
        (step.value, text)
    };
    let knee = sweep.sustained.map(|value| {
        let text = format!("held up to {}", at(sweep.plan.over, value));
        Rule::Vertical(value, text)
    });
    Plot {
        title: title.to_owned(),
        x: x_axis(sweep),
        y,
        series: Vec::new(),
        rules: knee.into_iter().collect(),
        named: Vec::new(),
        hints: sweep.steps.iter().map(hint).collect(),
    }
}

fn series(
    sweep: &Sweep,
    name: &str,
    colour: &'static str,
    value: impl Fn(&Step) -> Option<f64>,
) -> Series {
    let steps = sweep.steps.iter();
    Series {
        name: name.to_owned(),
        colour,
        kind: Kind::Line,
        points: steps
            .filter_map(|step| Some((step.value, value(step)?)))
            .collect(),
    }
}

/// Points at which the driver was saturated: they say nothing about the server.
fn rings(sweep: &Sweep, value: impl Fn(&Step) -> f64) -> Option<Series> {
    let mark = |step: &Step| step.driver_saturated.then(|| value(step));
    let rings = Series {
        kind: Kind::Rings,
        ..series(sweep, "driver saturated: not the server's", "red", mark)
    };
    (!rings.points.is_empty()).then_some(rings)
}

fn latencies(sweep: &Sweep) -> Plot {
    let bound = sweep.plan.bound;
    let mut measures = vec![
        (Measure::P999, "red"),
        (Measure::P99, "orange"),
        (Measure::P50, "blue"),
    ];
    if !measures
        .iter()
        .any(|(measure, _)| *measure == bound.measure)
    {
        measures.insert(0, (bound.measure, "violet"));
    }
    let of =
        |latency: &Latency, measure: Measure| (latency.samples > 0).then(|| measure.of(latency));
    let all: Vec<_> = measures
        .iter()
        .flat_map(|(measure, _)| {
            sweep
                .steps
                .iter()
                .filter_map(|step| of(&step.latency_us, *measure))
        })
        .chain([bound.limit_us])
        .collect();
    let y = axis(Scale::fit(all.into_iter()), 5.0, "latency", time);
    let mut plot = over(sweep, "Latency", y);
    plot.series = measures
        .into_iter()
        .map(|(measure, colour)| {
            series(sweep, &measure.to_string(), colour, |step| {
                of(&step.latency_us, measure)
            })
        })
        .collect();
    plot.series
        .extend(rings(sweep, |step| bound.measure.of(&step.latency_us)));
    plot.rules
        .push(Rule::Horizontal(bound.limit_us, format!("bound: {bound}")));
    plot
}

fn throughput(sweep: &Sweep) -> Plot {
    let offered = |step: &Step| (sweep.plan.over == Over::Rate).then_some(step.value);
    let all = sweep
        .steps
        .iter()
        .flat_map(|step| [Some(step.messages_per_second), offered(step)]);
    let all: Vec<_> = all.flatten().collect();
    let y = axis(
        Scale::fit(all.into_iter()),
        5.0,
        "messages per second",
        count,
    );
    let mut plot = over(sweep, "Throughput", y);
    if sweep.plan.over == Over::Rate {
        // The achieved rate lies on top of the offered one while both are equal.
        plot.series.push(Series {
            kind: Kind::Broad,
            ..series(sweep, "offered", "grey", offered)
        });
    }
    plot.series.push(series(sweep, "achieved", "blue", |step| {
        Some(step.messages_per_second)
    }));
    plot.series
        .extend(rings(sweep, |step| step.messages_per_second));
    plot
}

fn cpu(sweep: &Sweep) -> Plot {
    let both = sweep
        .steps
        .iter()
        .flat_map(|step| [Some(step.driver_utilisation), step.server_utilisation]);
    let most = both.flatten().fold(0.0, f64::max);
    let y = axis(
        Scale::from_zero(most),
        5.0,
        "CPU (100 % is one core)",
        share,
    );
    let mut plot = over(sweep, "CPU", y);
    let server = series(sweep, "server", "green", |step| step.server_utilisation);
    plot.series
        .extend((!server.points.is_empty()).then_some(server));
    plot.series.push(series(sweep, "driver", "violet", |step| {
        Some(step.driver_utilisation)
    }));
    plot.series
        .extend(rings(sweep, |step| step.driver_utilisation));
    plot
}

fn steps(sweep: &Sweep) -> String {
    let over = sweep.plan.over.to_string();
    let head = [
        &*over, "achieved", "p50", "p90", "p99", "p99.9", "max", "errors", "server", "driver",
        "bound",
    ];
    let rows = sweep.steps.iter().map(|step| {
        let latency = &step.latency_us;
        let figures = [
            latency.p50,
            latency.p90,
            latency.p99,
            latency.p999,
            latency.max,
        ]
        .map(time);
        let mut row = vec![rate(step.value), rate(step.messages_per_second)];
        row.extend(figures);
        row.extend([
            grouped(step.errors as f64),
            step.server_utilisation
                .map_or_else(|| "–".to_owned(), percent),
            percent(step.driver_utilisation),
            if step.driver_saturated {
                "driver saturated"
            } else {
                word(step)
            }
            .to_owned(),
        ]);
        row
    });
    page::table("Points", &head, &rows.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::super::{Bound, Growth, Plan, Point, sweep};
    use super::*;
    use crate::load::report::{json, samples};

    fn swept(driver_until: f64) -> Sweep {
        let plan = Plan {
            over: Over::Rate,
            from: 1000.0,
            to: 64_000.0,
            growth: Growth::Factor(4.0),
            bound: Bound {
                measure: Measure::P99,
                limit_us: 1000.0,
            },
            errors_max: 0,
            achieved_least: 0.95,
            tolerance: 0.3,
            repeats: 1,
        };
        sweep(&plan, &mut |point: Point| {
            let mut outcome = samples::run(1, 1, 2);
            outcome.offered_per_second = Some(point.value);
            outcome.messages_per_second = point.value;
            outcome.driver_saturated = point.value > driver_until;
            let scale = point.value / 20_000.0;
            outcome.latency_us.p50 = 80.0 * (1.0 + scale);
            outcome.latency_us.p99 = 500.0 * (1.0 + scale);
            outcome.latency_us.p999 = 900.0 * (1.0 + scale);
            Ok::<_, String>(outcome)
        })
    }

    #[test]
    fn a_table_shows_the_points_and_the_knee() {
        let expected = "\
sweep over rate of echo ws://127.0.0.1:9001/
must hold: p99 ≤ 1.00 ms, no error, at least 95 % of the offered rate achieved

       rate  achieved      p50      p99    p99.9  server  driver
      1,000     1,000  84.0 µs   525 µs   945 µs    97 %   120 %  holds
      4,000     4,000  96.0 µs   600 µs  1.08 ms    97 %   120 %  holds
     16,000    16,000   144 µs   900 µs  1.62 ms    97 %   120 %  holds
     19,030    19,030   156 µs   976 µs  1.76 ms    97 %   120 %  holds
     22,630    22,630   171 µs  1.07 ms  1.92 ms    97 %   120 %  breaks
     32,000    32,000   208 µs  1.30 ms  2.34 ms    97 %   120 %  breaks
     64,000    64,000   336 µs  2.10 ms  3.78 ms    97 %   120 %  breaks

result     It holds up to 19,030 /s and breaks at 22,630 /s.
           22,630 /s: p99 1.07 ms
           32,000 /s: p99 1.30 ms
           64,000 /s: p99 2.10 ms
noise      Each point was run once, so how much of this is noise is not known:
           see --repeats.
machine    Some CPU @ 2.00GHz, 4 CPUs, 7.45 GiB, Linux 6.12.0
versions   wsperf 0.1.0; server: Ringway 0.1.0
";
        assert_eq!(table(&swept(1e9)), expected);
    }

    #[test]
    fn a_saturated_driver_cannot_be_overlooked() {
        let found = swept(10_000.0);
        let table = table(&found);
        assert!(
            table.contains("!! THE DRIVER WAS SATURATED at 16,000 /s: "),
            "{table}"
        );
        assert!(table.contains("DRIVER!"), "{table}");
        assert!(
            table.lines().all(|line| line.chars().count() <= 80),
            "{table}"
        );
        let page = page(&found);
        assert!(page.contains("<p class=alarm role=alert>THE DRIVER WAS SATURATED at 16,000 /s"));
        assert_eq!(
            page.matches("<circle class=\"ring red\"").count(),
            6,
            "three plots, in two sizes"
        );
    }

    #[test]
    fn a_page_has_the_curve_the_bound_and_the_knee() {
        let page = page(&swept(1e9));
        assert_eq!(page.matches("<figure>").count(), 3);
        for text in [
            "bound: p99 ≤ 1.00 ms",
            "held up to 19,030 /s",
            "<path class=\"line grey broad\"",
            "<tr><td>64,000<td>64,000<td>336 µs<td>",
        ] {
            assert!(page.contains(text), "{text}");
        }
        assert!(!page.contains("NaN"));
    }

    #[test]
    fn a_sweep_is_one_line_of_json() {
        let line = json::render(&swept(10_000.0));
        let begin = "{\"schema\":1,\"plan\":{\"over\":\"rate\",\"from\":1000.0,\"to\":64000.0,\"growth\":{\"factor\":4.0},\
                     \"bound\":{\"measure\":\"p99\",\"limit_us\":1000.0},\"errors_max\":0,\"achieved_least\":0.95,\
                     \"tolerance\":0.3,\"repeats\":1},\"sustained\":16000.0,\
                     \"end\":{\"reason\":\"driver_saturated\",\"at\":16000.0},\"steps\":[{\"value\":1000.0,\"holds\":true,";
        assert!(line.starts_with(begin), "{line}");
    }
}
