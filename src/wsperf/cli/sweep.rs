//! `wsperf sweep`: the highest rate, or number of connections, at which a bound still holds.
//!
//! Owns: its options, and doing each run. Never: chooses the next point; `load::report::sweep` does.

use clap::Args;

use super::args::Kind;
use super::launch::{self, environment, usage};
use super::options::{CONNECTIONS_MAX, LoadArgs, RATE_MAX, Run};
use super::progress::Progress;
use super::resolve;
use crate::exit::Exit;
use crate::exit::Fatal;
use crate::load::options::{LoadOptions, Scenario};
use crate::load::report::files;
use crate::load::report::json;
use crate::load::report::sweep::{self, End, Growth, Over, Plan, Point};
use crate::options::Format;
use ringway_command::Text;
use ringway_command::judge::{BadOption, Resolved, choice, whole};
use ringway_command::options::Given;
use ringway_command::output::print;

pub(super) const EXAMPLE: &str = "\
Example:
  wsperf sweep --from 10k --to 1M --bound p99=1ms --duration 3s
  wsperf sweep --over connections --rate 10k --from 10 --to 10k --html s.html";

/// Options of a sweep, and those of its scenario.
#[derive(Args, Debug)]
pub(super) struct SweepArgs {
    #[command(flatten)]
    plan: PlanArgs,
    #[command(flatten)]
    load: Given<LoadArgs>,
}

#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[rustfmt::skip] // one option per block, help first
struct PlanArgs {
    /// What is done at each point: echo, mixed, broadcast or stress
    /// [default: echo]
    #[arg(long, value_name = "NAME", help_heading = SWEEP)]
    scenario: Option<Text>,
    /// What grows: rate or connections [default: rate]
    #[arg(long, value_name = "WHAT", help_heading = SWEEP)]
    over: Option<Text>,
    /// The first point [default: 1000; connections: 10]
    #[arg(long, value_name = "N", help_heading = SWEEP)]
    from: Option<Text>,
    /// The last point [default: 1M; connections: 10k]
    #[arg(long, value_name = "N", help_heading = SWEEP)]
    to: Option<Text>,
    /// Points in equal factors, both ends among them [default: 10]
    #[arg(long, value_name = "N", help_heading = SWEEP)]
    steps: Option<Text>,
    /// Each point so many times the one before, in place of --steps
    #[arg(long, value_name = "N", help_heading = SWEEP)]
    factor: Option<Text>,
    /// The latency that must hold: mean, p50, p90, p99, p99.9, p99.99 or max
    /// [default: p99=1ms]
    #[arg(long, value_name = "BOUND", help_heading = SWEEP)]
    bound: Option<Text>,
    /// Errors that a run may have [default: 0]
    #[arg(long, value_name = "N", help_heading = SWEEP)]
    errors: Option<Text>,
    /// Runs of each point: it breaks when at least half of them do, and its
    /// figures are their medians [default: 3]
    #[arg(long, value_name = "N", help_heading = SWEEP)]
    repeats: Option<Text>,
}

const SWEEP: &str = "Sweep";

/// Does a sweep, and prints what it found.
pub(super) fn run(args: SweepArgs) -> Result<Exit, Fatal> {
    let (plan, base) = resolve(args, &launch::cpus()).map_err(usage)?;
    let Run {
        mut options,
        format,
        silence,
        ..
    } = launch::prepared(base)?;
    // The output files belong to the whole sweep, not to each run.
    let outputs = std::mem::take(&mut options.outputs);
    let interrupt = launch::interrupt()?;
    let sweep = sweep::sweep(&plan, &mut |point| {
        let progress = Progress::new(silence, format!("{} {}: ", point.over, point.value));
        let report = launch::observed(&options_at(&options, point), &progress, &interrupt)?;
        if interrupt.has_come() {
            // An interrupted point has no figures that could be compared.
            return Err(environment("the sweep was interrupted"));
        }
        Ok(report.outcome)
    });
    let taken = outputs.use_stdout();
    let object = json::render(&sweep) + "\n";
    let files = [
        (outputs.json, object.clone()),
        (outputs.html, sweep::page(&sweep)),
    ];
    let mut files = files
        .iter()
        .filter_map(|(path, text)| Some((path.as_ref()?, text)));
    let written = files.try_for_each(|(path, text)| files::write_text(path, text));
    let printed = match format {
        _ if silence || taken => Exit::Ok,
        Format::Json => print(&object),
        Format::Table => print(&sweep::table(&sweep)),
    };
    written.map_err(environment)?;
    match sweep.end {
        _ if interrupt.has_come() => Ok(Exit::Interrupted),
        End::Failed { error, .. } => Err(environment(error)),
        _ => Ok(printed),
    }
}

/// The plan of the search, and the options of the run at its last point.
fn resolve(args: SweepArgs, cpus: &[usize]) -> Resolved<(Plan, Run)> {
    let SweepArgs {
        plan: typed,
        mut load,
    } = args;
    let kinds =
        [Kind::Echo, Kind::Mixed, Kind::Broadcast, Kind::Stress].map(|kind| (kind.name(), kind));
    let kind = choice("scenario", &typed.scenario, &kinds)?.unwrap_or(Kind::Echo);
    let overs = [("rate", Over::Rate), ("connections", Over::Connections)];
    let over = choice("over", &typed.over, &overs)?.unwrap_or(Over::Rate);
    let plan = plan(&typed, over)?;
    let grows = match over {
        Over::Rate => "rate",
        Over::Connections => "connections",
    };
    if load.replace(grows, plan.to.to_string()) {
        return Err(BadOption(format!(
            "--{over} is what grows: give --from and --to in its place"
        )));
    }
    if load.has("hdr") {
        return Err(BadOption(
            "--hdr means nothing to sweep: leave it off".to_owned(),
        ));
    }
    let run = resolve::run(kind, &load, cpus)?;
    if over == Over::Connections && plan.from < resolve::as_f64(run.options.threads as u64) {
        return Err(BadOption(format!(
            "--from {} gives some of {} threads no connection: raise it, or lower --threads",
            plan.from, run.options.threads
        )));
    }
    Ok((plan, run))
}

fn plan(typed: &PlanArgs, over: Over) -> Resolved<Plan> {
    let (from, to, range) = match over {
        Over::Rate => (1000.0, 1e6, 0.001..=RATE_MAX),
        Over::Connections => (10.0, 10_000.0, 1.0..=resolve::as_f64(CONNECTIONS_MAX)),
    };
    let steps = whole(
        "steps",
        &typed.steps,
        2..=Plan::STEPS_MAX.into(),
        "points of the walk",
    )?;
    let factor = resolve::number("factor", &typed.factor, 1.001..=1e6)?;
    let growth = match (steps, factor) {
        (Some(_), Some(_)) => {
            return Err(BadOption(
                "--steps and --factor say the same twice: leave one of them off".to_owned(),
            ));
        }
        (_, Some(factor)) => Growth::Factor(factor),
        (steps, None) => {
            Growth::Steps(u32::try_from(steps.unwrap_or(10)).unwrap_or(Plan::STEPS_MAX))
        }
    };
    let bound = typed.bound.as_ref().map_or("p99=1ms", |Text(bound)| bound);
    let repeats = whole("repeats", &typed.repeats, 1..=1000, "runs of each point")?;
    let plan = Plan {
        over,
        from: resolve::number("from", &typed.from, range.clone())?.unwrap_or(from),
        to: resolve::number("to", &typed.to, range)?.unwrap_or(to),
        growth,
        bound: bound
            .parse()
            .map_err(|why| BadOption(format!("--bound: {why}")))?,
        errors_max: whole("errors", &typed.errors, 0..=u64::MAX, "of one run")?
            .unwrap_or(Plan::ERRORS_MAX),
        achieved_least: Plan::ACHIEVED_LEAST,
        tolerance: Plan::TOLERANCE,
        repeats: u32::try_from(repeats.unwrap_or(3)).unwrap_or(3),
    };
    plan.check().map_err(BadOption)?;
    Ok(plan)
}

/// The options of the run at one point.
fn options_at(base: &LoadOptions, point: Point) -> LoadOptions {
    let mut options = base.clone();
    match point.over {
        Over::Rate => options.rate = Some(point.value),
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole number from 1 to a million"
        )]
        Over::Connections => options.connections = point.value as usize,
    }
    if let Scenario::Broadcast { senders, .. } = &mut options.scenario {
        *senders = options.connections.min(*senders);
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(change: impl FnOnce(&mut SweepArgs)) -> Result<(Plan, Run), String> {
        let mut args = SweepArgs {
            plan: PlanArgs::default(),
            load: Given::default(),
        };
        change(&mut args);
        resolve(args, &[0, 1]).map_err(|bad| bad.to_string())
    }

    fn text(value: &str) -> Option<Text> {
        Some(Text(value.to_owned()))
    }

    #[test]
    fn by_default_the_rate_of_an_echo_grows() {
        let (plan, run) = resolved(|_| {}).expect("it is fine");
        assert_eq!((plan.over, plan.from, plan.to), (Over::Rate, 1000.0, 1e6));
        assert_eq!(
            (plan.growth, plan.repeats, plan.errors_max),
            (Growth::Steps(10), 3, 0)
        );
        assert_eq!(plan.bound.to_string(), "p99 ≤ 1.00 ms");
        let point = Point {
            over: Over::Rate,
            value: 2500.0,
            repeat: 0,
        };
        assert_eq!(options_at(&run.options, point).rate, Some(2500.0));
    }

    #[test]
    fn connections_grow_and_all_of_them_may_send() {
        let (plan, run) = resolved(|args| {
            args.plan.scenario = text("broadcast");
            args.plan.over = text("connections");
            args.plan.to = text("1k");
            args.plan.factor = text("2");
            args.load = Given::typed(&[("senders", "all")]);
        })
        .expect("it is fine");
        assert_eq!(
            (plan.from, plan.to, plan.growth),
            (10.0, 1000.0, Growth::Factor(2.0))
        );
        let point = Point {
            over: Over::Connections,
            value: 40.0,
            repeat: 0,
        };
        let options = options_at(&run.options, point);
        assert_eq!((options.connections, options.rate), (40, None));
        let scenario = Scenario::Broadcast {
            senders: 40,
            others_only: false,
        };
        assert_eq!(options.scenario, scenario);
    }

    #[test]
    fn what_contradicts_itself_is_one_sentence() {
        let refused = |change: fn(&mut SweepArgs)| resolved(change).expect_err("refused");
        assert_eq!(
            refused(|args| args.load = Given::typed(&[("rate", "5")])),
            "--rate is what grows: give --from and --to in its place"
        );
        assert_eq!(
            refused(|args| (args.plan.steps, args.plan.factor) = (text("5"), text("2"))),
            "--steps and --factor say the same twice: leave one of them off"
        );
        assert_eq!(
            refused(|args| args.load = Given::typed(&[("hdr", "a")])),
            "--hdr means nothing to sweep: leave it off"
        );
        assert!(
            refused(|args| args.plan.bound = text("p98=1ms"))
                .starts_with("--bound: 'p98=1ms' is no bound")
        );
        assert!(
            refused(|args| args.plan.from = text("2M")).starts_with("--from must be more than 0")
        );
        assert!(
            refused(|args| args.plan.scenario = text("soak")).contains("is not one of echo, mixed")
        );
        let few = |args: &mut SweepArgs| {
            args.plan.over = text("connections");
            args.load = Given::typed(&[("threads", "20")]);
        };
        assert!(refused(few).starts_with("--from 10 gives some of 20 threads no connection"));
    }
}
