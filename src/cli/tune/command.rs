//! The command line of `ringway tune …`.
//!
//! Owns: its options and the checks of their values. Never: writes a knob; the modules beside this one do.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};

use super::bench::{self, BenchOptions};
use super::{Profile, Root, apply, check};
use ringway::exit::Exit;
use ringway::exit::Fatal;
use ringway::supervise;
use ringway_command::{Text, judge, output};

pub(crate) const EXAMPLE: &str = "\
Example:
  ringway tune check --profile=million-idle
  sudo ringway tune apply --profile=bench --dry-run
  sudo ringway tune undo
  sudo ringway tune bench --knobs=somaxconn,mtu --out=results/DIR";

pub(crate) const CODES: &str = "\
Exit codes:
  0  done; check: everything that the profile wants holds
  1  check: something should change; undo: something was left alone;
     bench: no verdict was possible, or the host's values have changed
  2  bad option or value
  3  the system refused: permission, or a program that is missing
  5  bench: a signal ended it early";

/// Options of `ringway tune`.
#[derive(Args, Debug)]
pub(crate) struct TuneArgs {
    #[command(subcommand)]
    command: TuneCommand,
}

#[derive(Debug, Subcommand)]
enum TuneCommand {
    /// Compare this machine with a profile; says what to change, and why
    #[command(max_term_width = 80, before_help = CHECK, after_help = CODES)]
    Check(CheckArgs),
    /// Change what the profile wants changed; the previous values are saved
    #[command(max_term_width = 80, before_help = APPLY, after_help = CODES)]
    Apply(ApplyArgs),
    /// Put the saved values back
    #[command(max_term_width = 80, before_help = UNDO, after_help = CODES)]
    Undo(UndoArgs),
    /// Measure one setting at a time, in network namespaces of its own
    #[command(max_term_width = 80, before_help = BENCH, after_help = CODES)]
    Bench(BenchArgs),
    /// List every knob: reason, effect, risk, undo, and what profiles want
    #[command(max_term_width = 80, before_help = LIST, after_help = CODES)]
    List(ListArgs),
}

const CHECK: &str = "\
Example:
  ringway tune check --profile=bench
  ringway tune check --profile=low-latency --format=json | jq .holds";

const APPLY: &str = "\
Example:
  sudo ringway tune apply --profile=bench --dry-run
  sudo ringway tune apply --profile=bench

Nothing of it survives a reboot: tuning/README.md says how to keep it.";

const UNDO: &str = "\
Example:
  sudo ringway tune undo";

const BENCH: &str = "\
Example:
  sudo ringway tune bench --knobs=control,somaxconn,mtu
  sudo ringway tune bench --rounds=12 --out=results/DATE-HOST-tune

A is a new network namespace as the kernel makes it, B the same with one
setting. The host is not touched. tuning/bench.toml says what is measured.";

const LIST: &str = "\
Example:
  ringway tune list | less
  ringway tune list --format=json | jq '.knobs[] | .name'";

#[derive(Args, Debug)]
#[rustfmt::skip] // one option per block, help first
struct CheckArgs {
    #[command(flatten)]
    profile: ProfileArgs,
    #[command(flatten)]
    show: ShowArgs,
    #[command(flatten)]
    root: RootArgs,
}

#[derive(Args, Debug)]
#[rustfmt::skip] // one option per block, help first
struct ApplyArgs {
    #[command(flatten)]
    profile: ProfileArgs,
    #[command(flatten)]
    state: StateArgs,
    #[command(flatten)]
    show: ShowArgs,
    #[command(flatten)]
    root: RootArgs,
}

#[derive(Args, Debug)]
#[rustfmt::skip] // one option per block, help first
struct UndoArgs {
    /// Also put back what somebody else has changed since
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    state: StateArgs,
    #[command(flatten)]
    show: ShowArgs,
    #[command(flatten)]
    root: RootArgs,
}

#[derive(Args, Debug)]
#[rustfmt::skip] // one option per block, help first
struct BenchArgs {
    /// Which settings, with commas between them [default: all]
    #[arg(long, value_name = "NAMES")]
    knobs: Option<Text>,
    /// Pairs of runs of each setting; one setting needs 6, all of them 10
    /// [default: 10]
    #[arg(long, value_name = "N")]
    rounds: Option<Text>,
    /// Measured time of a run [default: 1500ms]
    #[arg(long, value_name = "TIME")]
    duration: Option<Text>,
    /// Time that a run goes on before it is measured [default: 300ms]
    #[arg(long, value_name = "TIME")]
    warmup: Option<Text>,
    /// Decides the order of the runs [default: the time]
    #[arg(long, value_name = "N")]
    seed: Option<Text>,
    /// CPU of the server [default: the first that may be used]
    #[arg(long, value_name = "N")]
    server_cpu: Option<Text>,
    /// CPU of the load driver [default: the second]
    #[arg(long, value_name = "N")]
    driver_cpu: Option<Text>,
    /// Write raw data and summaries to this folder, which must be new
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    // For tests: a program that prints what `ringway wsperf` would print.
    #[arg(long, hide = true, value_name = "FILE")]
    driver: Option<PathBuf>,
    #[command(flatten)]
    show: ShowArgs,
}

#[derive(Args, Debug)]
struct ListArgs {
    #[command(flatten)]
    show: ShowArgs,
}

#[derive(Args, Debug)]
#[rustfmt::skip] // one option per block, help first
struct ProfileArgs {
    /// What the machine is for: bench, million-idle or low-latency
    /// [default: bench]
    #[arg(long, value_name = "NAME")]
    profile: Option<Text>,
}

#[derive(Args, Debug)]
#[rustfmt::skip] // one option per block, help first
struct StateArgs {
    /// Where previous values are kept
    /// [default: /var/lib/ringway/tune.json]
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args, Debug)]
#[rustfmt::skip] // one option per block, help first
struct ShowArgs {
    /// How the result is printed: table or json [default: table]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Text>,
}

#[derive(Args, Debug)]
struct RootArgs {
    // For tests: a folder with a `proc` and a `sys` of plain files.
    #[arg(long, hide = true, value_name = "DIR")]
    root: Option<PathBuf>,
}

/// Where previous values are kept unless `--state` says otherwise.
const STATE: &str = "/var/lib/ringway/tune.json";

impl ProfileArgs {
    fn resolve(&self) -> judge::Resolved<Profile> {
        let chosen = judge::choice("profile", &self.profile, &Profile::ALL)?;
        Ok(chosen.unwrap_or(Profile::Bench))
    }
}

impl StateArgs {
    fn path(self) -> PathBuf {
        self.state.unwrap_or_else(|| STATE.into())
    }
}

impl RootArgs {
    fn resolve(self) -> Root {
        self.root.map_or_else(Root::default, Root::new)
    }
}

#[derive(Clone, Copy, Debug)]
enum Show {
    Json,
    Table,
}

impl ShowArgs {
    fn resolve(&self) -> judge::Resolved<Show> {
        let formats = [("table", Show::Table), ("json", Show::Json)];
        let chosen = judge::choice("format", &self.format, &formats)?;
        Ok(chosen.unwrap_or(Show::Table))
    }
}

impl Show {
    /// Prints the table or the JSON, and ends with `exit` unless printing failed.
    fn print(
        self,
        exit: Exit,
        table: impl FnOnce() -> String,
        json: impl FnOnce() -> serde_json::Value,
    ) -> Exit {
        let text = match self {
            Self::Json => format!("{:#}\n", json()),
            Self::Table => table(),
        };
        match output::print(&text) {
            Exit::Ok => exit,
            failed => failed,
        }
    }
}

/// `ringway tune`.
pub(crate) fn run(args: TuneArgs) -> Exit {
    let done = match args.command {
        TuneCommand::Check(args) => check(args),
        TuneCommand::Apply(args) => apply(args),
        TuneCommand::Undo(args) => undo(args),
        TuneCommand::Bench(args) => bench(args),
        TuneCommand::List(args) => list(&args),
    };
    done.unwrap_or_else(|fatal| {
        supervise::error(&fatal);
        fatal.exit
    })
}

fn check(args: CheckArgs) -> Result<Exit, Fatal> {
    let profile = args.profile.resolve().map_err(usage)?;
    let show = args.show.resolve().map_err(usage)?;
    let report = check::check(&args.root.resolve(), profile);
    let exit = if report.holds() {
        Exit::Ok
    } else {
        Exit::Failure
    };
    Ok(show.print(exit, || report.table(), || report.json()))
}

fn apply(args: ApplyArgs) -> Result<Exit, Fatal> {
    let profile = args.profile.resolve().map_err(usage)?;
    let show = args.show.resolve().map_err(usage)?;
    let dry_run = args.state.dry_run;
    let outcome = apply::apply(&args.root.resolve(), profile, &args.state.path(), dry_run)?;
    Ok(show.print(outcome.exit(), || outcome.table(), || outcome.json()))
}

fn undo(args: UndoArgs) -> Result<Exit, Fatal> {
    let show = args.show.resolve().map_err(usage)?;
    let dry_run = args.state.dry_run;
    let outcome = apply::undo(
        &args.root.resolve(),
        &args.state.path(),
        args.force,
        dry_run,
    )?;
    Ok(show.print(outcome.exit(), || outcome.table(), || outcome.json()))
}

fn bench(args: BenchArgs) -> Result<Exit, Fatal> {
    let show = args.show.resolve().map_err(usage)?;
    let options = bench_options(args)?;
    let results = bench::bench(&options, |line| supervise::note(line))?;
    Ok(show.print(results.exit(), || results.table(), || results.json()))
}

fn bench_options(args: BenchArgs) -> Result<BenchOptions, Fatal> {
    let knobs = knobs(args.knobs.as_ref())?;
    let rounds_min = bench::rounds_min(match knobs.len() {
        0 => bench::names().len(),
        some => some,
    });
    let pairs = u64::try_from(rounds_min).unwrap_or(u64::MAX)..=10_000;
    let why = "fewer pairs cannot tell effects of so many knobs from noise, more take days";
    let rounds = judge::whole("rounds", &args.rounds, pairs, why).map_err(usage)?;
    let time = |name, text| judge::time(name, text, Duration::from_millis(1)).map_err(usage);
    let duration = time("duration", &args.duration)?;
    let warmup = time("warmup", &args.warmup)?;
    let any = 0..=u64::MAX;
    let seed = judge::whole("seed", &args.seed, any, "give any number").map_err(usage)?;
    let cpu = |name, text| {
        judge::whole(name, text, 0..=65_535, "give the number of a CPU").map_err(usage)
    };
    let server_cpu = cpu("server-cpu", &args.server_cpu)?;
    let driver_cpu = cpu("driver-cpu", &args.driver_cpu)?;
    let mut cpus = bench::cpus()?;
    for (place, typed) in cpus.iter_mut().zip([server_cpu, driver_cpu]) {
        *place = typed.and_then(|cpu| cpu.try_into().ok()).unwrap_or(*place);
    }
    if cpus[0] == cpus[1] {
        return Err(usage_sentence(format!(
            "server and driver cannot share CPU {}: give --server-cpu and --driver-cpu",
            cpus[0]
        )));
    }
    let program = std::env::current_exe().map_err(|error| Fatal {
        exit: Exit::Environment,
        sentence: format!("this program does not find itself: {error}"),
    })?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let words = crate::args::original().into_iter();
    let words = words.map(|word| word.to_string_lossy().into_owned());
    Ok(BenchOptions {
        knobs,
        rounds: rounds
            .and_then(|n| n.try_into().ok())
            .unwrap_or_else(|| rounds_min.max(10)),
        duration: duration.unwrap_or(Duration::from_millis(1500)),
        warmup: warmup.unwrap_or(Duration::from_millis(300)),
        seed: seed.unwrap_or_else(|| now.map(|time| time.as_secs()).unwrap_or_default()),
        out: args.out,
        cpus,
        program,
        driver: args.driver,
        command: format!("ringway {}", words.collect::<Vec<_>>().join(" ")),
    })
}

fn knobs(text: Option<&Text>) -> Result<Vec<String>, Fatal> {
    let Some(Text(text)) = text else {
        return Ok(Vec::new());
    };
    let known = bench::names();
    let names = text.split(',').map(str::trim).map(str::to_owned);
    let names: Vec<_> = names.collect();
    match names.iter().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(usage_sentence(format!(
            "--knobs: '{name}' is none of {}",
            known.join(", ")
        ))),
        None => Ok(names),
    }
}

fn list(args: &ListArgs) -> Result<Exit, Fatal> {
    let show = args.show.resolve().map_err(usage)?;
    Ok(show.print(Exit::Ok, check::catalogue, check::catalogue_json))
}

fn usage(bad: judge::BadOption) -> Fatal {
    usage_sentence(bad.to_string())
}

fn usage_sentence(sentence: String) -> Fatal {
    Fatal {
        exit: Exit::Usage,
        sentence,
    }
}
