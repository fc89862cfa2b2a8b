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
use ringway::services::gateway::{Refusal, Why};

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

/// Which program a request leads to.
pub(super) struct Leads {
    options: ringway::services::gateway::ProgramOptions,
    scripts: Option<Scripts>,
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
        if !own.runs() {
            return Ok(None);
        }
        if let Some(name) = own.command.first()
            && !scripts::is_there(name)
        {
            return Err(Fatal::usage(format!(
                "--exec: {name} is no program here: give its path, or look into PATH"
            )));
        }
        let passed = own.pass_env.iter();
        let passed = passed.filter_map(|name| Some((name.into(), std::env::var_os(name)?)));
        Ok(Some(Self {
            scripts: own.directory.as_deref().map(Scripts::open).transpose()?,
            passed: passed.collect(),
            programs: Arc::new(Programs::new(own)),
            options: own.clone(),
        }))
    }

    /// The program for a client, or why there is none. It reads a directory only if there is one.
    pub(super) fn find(&self, opening: &Opening<'_>) -> Result<Program, Refusal> {
        let request = opening.request();
        let (path, arguments, place) = match (&self.scripts, self.options.command.split_first()) {
            (Some(scripts), _) => {
                let found = scripts.find(request.path())?;
                (found.file, Vec::new(), found.place)
            }
            (None, Some((path, arguments))) => {
                let place = scripts::of_command(request.path());
                (path.into(), arguments.to_vec(), place)
            }
            (None, None) => {
                let sentence = "there is no program here";
                return Err(Refusal::new(Why::NoTarget, 404, sentence));
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
