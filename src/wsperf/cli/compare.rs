//! `wsperf compare A B`: what changed between two results, and whether it is more than noise.
//!
//! Owns: its options and its exit code. Never: decides whether a figure got worse; `load::report::compare` does.

use clap::Args;

use super::launch::usage;
use crate::exit::Exit;
use crate::exit::Fatal;
use crate::load::report::compare::{self, CompareOptions, Threshold};
use ringway_command::Text;
use ringway_command::judge::{BadOption, Resolved, choice};
use ringway_command::output::print;

pub(super) const EXAMPLE: &str = "\
Example:
  wsperf compare before.json after.json
  wsperf compare 'before-*.json' after/ --fail-on-regression --threshold 3%";

pub(super) const CODES: &str = "\
Exit codes:
  0  compared, whatever changed
  1  unexpected failure (a bug)
  2  bad option, or a file that is no result
  6  --fail-on-regression: B is worse than A by the threshold or more";

/// Options of `wsperf compare`.
#[derive(Args, Debug)]
#[rustfmt::skip] // one option per block, help first
pub(crate) struct CompareArgs {
    /// Results as --json wrote them: a file, a folder of them, or a pattern
    /// as 'before-*.json'
    #[arg(value_name = "A")]
    a: String,
    /// The same of the other side
    #[arg(value_name = "B")]
    b: String,
    /// How it is printed: table, or json for one object [default: table]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Text>,
    /// What got worse by less is no regression [default: 5%]
    #[arg(long, value_name = "SHARE")]
    threshold: Option<Text>,
    /// Exit with code 6 when something got worse
    #[arg(long)]
    fail_on_regression: bool,
}

/// Compares, and prints what changed.
pub(super) fn run(args: &CompareArgs) -> Result<Exit, Fatal> {
    let compared = compare::run(&resolve(args).map_err(usage)?).map_err(usage)?;
    Ok(match print(&compared.text) {
        Exit::Ok if compared.regressed && args.fail_on_regression => Exit::Regression,
        printed => printed,
    })
}

fn resolve(args: &CompareArgs) -> Resolved<CompareOptions> {
    let threshold = match &args.threshold {
        None => Threshold::default(),
        Some(Text(text)) => text
            .parse()
            .map_err(|why| BadOption(format!("--threshold: {why}")))?,
    };
    let formats = [("table", false), ("json", true)];
    Ok(CompareOptions {
        a: args.a.clone(),
        b: args.b.clone(),
        json: choice("format", &args.format, &formats)?.unwrap_or(false),
        threshold,
    })
}
