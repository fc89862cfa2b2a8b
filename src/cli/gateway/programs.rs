//! Programs as targets: one process for each session.
//!
//! Owns: the options, and what a request leads to. Never: carries a byte of a stream.
//!
//! ```text
//!  request ──▶ lead ──▶ Program: path, arguments, environment ──▶ Programs::start, beside the worker ──▶ a session's stream
//! ```

mod options;
mod run;

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringway::Opening;
use ringway::exit::Fatal;
use ringway::options::ServerOptions;
use ringway::services::gateway::{Refusal, Why};
use ringway_web::environment::{self, Asked};
use ringway_web::scripts::{Miss, Place, Scripts};

pub(super) use options::{check, definitions, join};
pub(crate) use options::{check_processes, of_processes};
pub(super) use run::Programs;

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
                let path = locate(name).ok_or_else(|| {
                    Fatal::usage(format!(
                        "--exec: {name} is no program here: give its path, or look into PATH"
                    ))
                })?;
                Runs::One(path, arguments.to_vec())
            }
            (Some(directory), _) => {
                let opened = Scripts::open(directory).map_err(|error| {
                    Fatal::usage(format!("--exec-dir {}: {error}", directory.display()))
                });
                Runs::ByPath(opened?)
            }
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
                let found = scripts.find(request.path()).map_err(refusal)?;
                (found.file, Vec::new(), found.place)
            }
            Runs::One(path, arguments) => {
                let place = Place::of_command(request.path());
                (path.clone(), arguments.clone(), place)
            }
        };
        let mut environment = self.passed.clone();
        let asked = Asked {
            method: "GET",
            target: request.target(),
            query: request.query().unwrap_or(""),
            protocol: "HTTP/1.1",
            host: request.host(),
            client: opening.peer(),
            is_tls: opening.is_tls(),
            body: ("", ""),
        };
        environment.extend(environment::of(&asked, request.headers(), &place));
        Ok(Program {
            label: format!("exec:{}", path.display()),
            path,
            arguments,
            environment,
        })
    }
}

fn refusal(miss: Miss) -> Refusal {
    match miss {
        Miss::Absent => Refusal::new(Why::NoTarget, 404, "there is no program at this path"),
        Miss::Forbidden => {
            Refusal::new(Why::NotAllowed, 403, "what is at this path may not be run")
        }
    }
}

/// Where a command is: in `PATH`, unless it is a path itself. A path is started faster than a name, which is looked for in the child.
fn locate(name: &str) -> Option<PathBuf> {
    let is_program = |path: &Path| {
        let metadata = path.metadata();
        metadata
            .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    if name.contains('/') {
        return is_program(Path::new(name)).then(|| name.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).map(|directory| directory.join(name));
    places.find(|place| is_program(place))
}
