//! Programs as targets: one process for each session.
//!
//! Owns: the options, and what a request leads to. Never: carries a byte of a stream.
//!
//! ```text
//!  request ──▶ lead ──▶ Program: path, arguments, environment ──▶ Programs::start, beside the worker ──▶ a session's stream
//! ```

mod environment;
mod options;
mod run;
mod scripts;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use ringway::Opening;
use ringway::exit::Fatal;
use ringway::options::ServerOptions;
use ringway::services::gateway::Refusal;

pub(super) use options::{check, definitions, join};
pub(super) use run::Programs;
use scripts::Scripts;

/// What runs for a client.
#[derive(Debug)]
pub(super) struct Program {
    path: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(OsString, OsString)>,
    /// As it is written in logs: sessions of one name are counted together.
    label: String,
}

/// What a gateway runs.
enum Runs {
    /// One program, with its arguments.
    One(PathBuf, Vec<String>),
    /// Those of a directory.
    ByPath(Scripts),
}

/// Which program a request leads to.
pub(super) struct Leads {
    runs: Runs,
    /// Variables of our own environment that programs get.
    passed: Vec<(OsString, OsString)>,
    pub(super) programs: Arc<Programs>,
}

impl Leads {
    /// `None`: sessions lead to no program.
    ///
    /// # Errors
    /// The directory cannot be opened, or the program is not there.
    pub(super) fn new(options: &ServerOptions) -> Result<Option<Self>, Fatal> {
        let own = &options.gateway.programs;
        let runs = match (&own.directory, own.command.split_first()) {
            (None, Some((name, arguments))) => {
                let path = scripts::locate(name).ok_or_else(|| {
                    Fatal::usage(format!(
                        "--exec: {name} is no program here: give its path, or look into PATH"
                    ))
                })?;
                Runs::One(path, arguments.to_vec())
            }
            (Some(directory), _) => Runs::ByPath(Scripts::open(directory)?),
            (None, None) => return Ok(None),
        };
        let passed = own.pass_env.iter();
        let passed = passed.filter_map(|name| Some((name.into(), std::env::var_os(name)?)));
        Ok(Some(Self {
            runs,
            passed: passed.collect(),
            programs: Arc::new(Programs::new(own)),
        }))
    }

    /// The program for a client, or why there is none. It reads a directory only if there is one.
    pub(super) fn find(&self, opening: &Opening<'_>) -> Result<Program, Refusal> {
        let request = opening.request();
        let (path, arguments, place) = match &self.runs {
            Runs::ByPath(scripts) => {
                let found = scripts.find(request.path())?;
                (found.file, Vec::new(), found.place)
            }
            Runs::One(path, arguments) => {
                let place = scripts::of_command(request.path());
                (path.clone(), arguments.clone(), place)
            }
        };
        let mut environment = self.passed.clone();
        environment.extend(environment::of(opening, &place));
        Ok(Program {
            label: format!("exec:{}", path.display()),
            path,
            arguments,
            environment,
        })
    }
}
