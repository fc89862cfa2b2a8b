//! Programs as targets: one process for each session.
//!
//! Owns: the options, and what a request leads to. Never: carries a byte of a stream.
//!
//! ```text
//!  request ──▶ lead ──▶ Program: path, arguments, environment ──▶ Programs::start, beside the worker ──▶ a session's stream
//! ```

mod login;
mod options;
mod run;
pub(super) mod terminal;

use std::ffi::OsString;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringway::exit::Fatal;
use ringway::options::{ClientAuth, Endpoint, ServerOptions};
use ringway::proto::handshake::Request;
use ringway::services::gateway::{Refusal, Why};
use ringway::{Opening, supervise};
use ringway_web::environment::{self, Asked};
use ringway_web::scripts::{Miss, Place, Scripts};

pub(super) use login::Login;
pub(super) use options::{check, definitions, join};
pub(crate) use options::{check_processes, of_processes};
pub(crate) use run::Programs;
use terminal::Size;

/// What runs for a client.
#[derive(Debug, Default)]
pub(crate) struct Program {
    path: PathBuf,
    /// What it is told as its own name. Default: its path.
    name: Option<OsString>,
    arguments: Vec<String>,
    /// Where it begins. Default: where the gateway does.
    directory: Option<PathBuf>,
    /// The size of its terminal. `None`: it has pipes.
    terminal: Option<Size>,
    environment: Vec<(OsString, OsString)>,
    /// As it is written in logs: sessions of one name are counted together.
    label: String,
}

impl Program {
    /// One that nobody asks for by WebSocket: it has our own environment.
    pub(crate) fn plain(path: PathBuf, arguments: Vec<String>) -> Self {
        Self {
            label: format!("process:{}", path.display()),
            path,
            arguments,
            environment: std::env::vars_os().collect(),
            ..Self::default()
        }
    }
}

/// What a gateway runs.
enum Runs {
    /// One program, with its arguments.
    One(PathBuf, Vec<String>),
    /// Those of a directory.
    ByPath(Scripts),
    /// A shell.
    Login(Login),
}

/// Which program a request leads to.
pub(super) struct Leads {
    runs: Runs,
    /// Variables of our own environment that programs get.
    passed: Vec<(OsString, OsString)>,
    /// The type of the terminals that they get.
    term: Option<String>,
    /// Whether pages of other origins get none: whoever has such a page open would give its author a terminal.
    same_origin: bool,
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
            (None, None) if own.login => Runs::Login(Login::own()?),
            (None, None) => return Ok(None),
        };
        let passed = own.pass_env.iter();
        let passed = passed.filter_map(|name| Some((name.into(), std::env::var_os(name)?)));
        Ok(Some(Self {
            runs,
            passed: passed.collect(),
            term: own.has_terminal().then(|| own.term.clone()),
            same_origin: options.opening.allowed_origins.is_empty(),
            programs: Arc::new(Programs::new(own)),
        }))
    }

    /// The program for a client, or why there is none. It reads a directory only if there is one.
    pub(super) fn find(&self, opening: &Opening<'_>) -> Result<Program, Refusal> {
        let request = opening.request();
        let mut program = Program::default();
        let place;
        match &self.runs {
            Runs::ByPath(scripts) => {
                let found = scripts.find(request.path()).map_err(refusal)?;
                (program.path, place) = (found.file, found.place);
            }
            Runs::One(path, arguments) => {
                place = Place::of_command(request.path());
                (program.path, program.arguments) = (path.clone(), arguments.clone());
            }
            Runs::Login(login) => {
                place = Place::of_command(request.path());
                program.path.clone_from(&login.shell);
                program.name = Some(login.name());
                program.directory = login.directory();
                let has_path = self.passed.iter().any(|(name, _)| name == "PATH");
                program.environment = login.environment(has_path);
            }
        }
        program.environment.extend(self.passed.iter().cloned());
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
        let own = environment::of(&asked, request.headers(), &place);
        program.environment.extend(own);
        if let Some(term) = &self.term {
            if self.same_origin && !is_of_our_pages(request) {
                let sentence =
                    "a page of another origin gets no terminal here: --allow-origin says which may";
                return Err(Refusal::new(Why::NotAllowed, 403, sentence));
            }
            let (size, kind) = terminal::of_query(request.query())?;
            program.terminal = Some(size);
            let kind = kind.unwrap_or_else(|| term.clone());
            program.environment.push(("TERM".into(), kind.into()));
        }
        program.label = format!("exec:{}", program.path.display());
        Ok(program)
    }
}

/// Whether a request comes from no browser, or from a page of the host and port that it is for.
fn is_of_our_pages(request: &Request<'_>) -> bool {
    let Some(origin) = request.header("origin") else {
        return true;
    };
    let origin = std::str::from_utf8(origin).ok();
    let host = origin.and_then(|origin| origin.split_once("://"));
    host.is_some_and(|(_, host)| host.eq_ignore_ascii_case(request.host()))
}

/// Says what terminals open to those who need not show who they are.
///
/// # Errors
/// The user who runs this is not known, and the shell is to be that user's.
pub(super) fn warn(options: &ServerOptions) -> Result<(), Fatal> {
    let own = &options.gateway;
    let asks = own.sessions.basic_auth.is_some()
        || !own.sessions.client_names.is_empty()
        || !options.token_keys.is_empty() && options.token_required
        || options.tls.client_ca.is_some() && options.tls.client_auth == ClientAuth::Required;
    if asks {
        return Ok(());
    }
    let whom = match own.programs.login {
        true => format!("a shell of the user {}", Login::own()?.user),
        false => "the terminal of a program".to_owned(),
    };
    let is_local = |endpoint: &Endpoint| match endpoint {
        Endpoint::Unix { .. } => true,
        Endpoint::Tcp { host, .. } => {
            host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
        }
    };
    let who = match options.endpoints.iter().all(is_local) {
        true => "every user of this machine",
        false => "everybody who reaches this port, from other machines as well,",
    };
    supervise::warning(format_args!(
        "{who} gets {whom}, without showing who it is; --basic-auth, --token-required or --client-ca with --client-auth=required asks"
    ));
    Ok(())
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
pub(crate) fn locate(name: &str) -> Option<PathBuf> {
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
