//! `ringway tune …`: what was typed, what it means, and who does it.
//!
//! Owns: the options of its commands and their judgement. Never: touches a knob; that is `crate::tune`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::args::Text;
use super::{launch, resolve};
use crate::exit::Exit;
use crate::supervise::{self, Fatal};
use crate::tune::{self, Profile, Root};

pub(super) const EXAMPLE: &str = "\
Example:
  ringway tune check --profile=million-idle
  sudo ringway tune apply --profile=bench --dry-run
  sudo ringway tune undo";

pub(super) const CODES: &str = "\
Exit codes:
  0  done; check: everything that the profile wants holds
  1  check: something should change; undo: something was left alone
  2  bad option or value
  3  the system refused: permission";

/// Options of `ringway tune`.
#[derive(Args, Debug)]
pub(super) struct TuneArgs {
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
    fn resolve(&self) -> resolve::Resolved<Profile> {
        let chosen = resolve::choice("profile", &self.profile, &Profile::ALL)?;
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
    fn resolve(&self) -> resolve::Resolved<Show> {
        let formats = [("table", Show::Table), ("json", Show::Json)];
        let chosen = resolve::choice("format", &self.format, &formats)?;
        Ok(chosen.unwrap_or(Show::Table))
    }
}

impl Show {
    /// Prints one of two forms, and ends with `exit` unless printing failed.
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
        match launch::print(&text) {
            Exit::Ok => exit,
            failed => failed,
        }
    }
}

/// `ringway tune`.
pub(super) fn run(args: TuneArgs) -> Exit {
    let done = match args.command {
        TuneCommand::Check(args) => check(args),
        TuneCommand::Apply(args) => apply(args),
        TuneCommand::Undo(args) => undo(args),
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
    let report = tune::check::check(&args.root.resolve(), profile);
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
    let outcome = tune::apply::apply(&args.root.resolve(), profile, &args.state.path(), dry_run)?;
    Ok(show.print(outcome.exit(), || outcome.table(), || outcome.json()))
}

fn undo(args: UndoArgs) -> Result<Exit, Fatal> {
    let show = args.show.resolve().map_err(usage)?;
    let dry_run = args.state.dry_run;
    let outcome = tune::apply::undo(
        &args.root.resolve(),
        &args.state.path(),
        args.force,
        dry_run,
    )?;
    Ok(show.print(outcome.exit(), || outcome.table(), || outcome.json()))
}

fn list(args: &ListArgs) -> Result<Exit, Fatal> {
    let show = args.show.resolve().map_err(usage)?;
    Ok(show.print(
        Exit::Ok,
        tune::check::catalogue,
        tune::check::catalogue_json,
    ))
}

fn usage(bad: resolve::BadOption) -> Fatal {
    Fatal {
        exit: Exit::Usage,
        sentence: bad.to_string(),
    }
}
