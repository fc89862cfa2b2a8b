//! From the options of a scenario to its result.
//!
//! Owns: every request to the system: names, CPUs, descriptors, files. Never: checks an option's value, or measures.

use std::net::{SocketAddr, ToSocketAddrs as _};

use super::args::{Kind, RunArgs};
use super::interrupt::Interrupt;
use super::options::Run;
use super::progress::Progress;
use super::resolve;
use crate::exit::Exit;
use crate::exit::Fatal;
use crate::load::descriptors;
use crate::load::options::{CLOSING_MAX, LoadOptions, Scenario};
use crate::load::report::{files, json, table};
use crate::load::run::{self, Report};
use crate::options::Format;
use ringway_command::output::{log_to_stderr, print};

/// Runs `wsperf echo …` and the other scenarios.
pub(super) fn scenario(kind: Kind, args: RunArgs) -> Result<Exit, Fatal> {
    let RunArgs { load, process } = args;
    let given = match &process.config {
        Some(path) => load.over_file(path)?,
        None => load,
    };
    let run = resolve::run(kind, &given, &cpus()).map_err(usage)?;
    if process.print_config {
        return Ok(print(&run.to_toml(kind)));
    }
    measure(&prepared(run)?)
}

/// The CPUs that this process may use, in ascending order.
pub(super) fn cpus() -> Vec<usize> {
    let cpus = core_affinity::get_core_ids().unwrap_or_default();
    let mut cpus: Vec<_> = cpus.into_iter().map(|cpu| cpu.id).collect();
    cpus.sort_unstable();
    cpus
}

/// Gets everything that a run needs from the system: addresses, CPUs, descriptors.
pub(super) fn prepared(mut run: Run) -> Result<Run, Fatal> {
    log_to_stderr(false);
    run.options.target.addresses = look_up(&run.server.uri.host, run.server.uri.port)?;
    make_room(&run.options)?;
    let files = run.options.outputs.files();
    files
        .into_iter()
        .try_for_each(|path| files::check(path).map_err(environment))?;
    Ok(run)
}

/// Does the run, and prints its result.
fn measure(run: &Run) -> Result<Exit, Fatal> {
    let interrupt = interrupt()?;
    let progress = Progress::new(run.silence, String::new());
    let report = observed(&run.options, &progress, &interrupt)?;
    let written = files::write(&run.options.outputs, &report.outcome, &report.intervals);
    // Prints the result even if a file could not be written: the run may have taken hours.
    let printed = match run.format {
        _ if run.silence || run.options.outputs.use_stdout() => Exit::Ok,
        Format::Json => print(&(json::render(&report.outcome) + "\n")),
        Format::Table => print(&table::render(&report.outcome)),
    };
    written.map_err(environment)?;
    Ok(if interrupt.has_come() {
        Exit::Interrupted
    } else {
        printed
    })
}

/// From now on Ctrl-C ends the run instead of the process.
pub(super) fn interrupt() -> Result<Interrupt, Fatal> {
    Interrupt::watch().map_err(|error| environment(format!("cannot watch signals: {error}")))
}

/// Does one run, with a progress line on the terminal.
pub(super) fn observed(
    options: &LoadOptions,
    progress: &Progress,
    interrupt: &Interrupt,
) -> Result<Report, Fatal> {
    let measured = run::run(options, &mut |live| {
        progress.show(live);
        interrupt.flow()
    });
    progress.clear();
    measured.map_err(|error| {
        if error.is_usage {
            usage(error)
        } else {
            environment(error)
        }
    })
}

/// The addresses of a host, in the order in which the system names them.
fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, Fatal> {
    let found = (host, port).to_socket_addrs().map(Vec::from_iter);
    let why = match found {
        Ok(found) if !found.is_empty() => return Ok(found),
        Ok(_) => "it has none".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(environment(format!(
        "cannot find the address of '{host}': {why}; give an address, as ws://127.0.0.1:{port}/"
    )))
}

/// Raises the limit of descriptors for the connections of each driver thread.
fn make_room(options: &LoadOptions) -> Result<(), Fatal> {
    match options.scenario {
        Scenario::Handshake { high, .. } => make_room_for_handshakes(high, options.threads),
        _ => raise(options.connections, 0, options.threads),
    }
}

/// The same for `high` opening handshakes. Connections that are closing while others open need descriptors too.
pub(super) fn make_room_for_handshakes(high: usize, threads: usize) -> Result<(), Fatal> {
    raise(high, CLOSING_MAX, threads)
}

fn raise(total: usize, more: usize, threads: usize) -> Result<(), Fatal> {
    let threads = threads.max(1);
    let each = (total.div_ceil(threads) + more) as u64;
    descriptors::raise(each, threads as u64).map_err(environment)
}

pub(super) fn usage(sentence: impl ToString) -> Fatal {
    Fatal {
        exit: Exit::Usage,
        sentence: sentence.to_string(),
    }
}

pub(super) fn environment(sentence: impl ToString) -> Fatal {
    Fatal {
        exit: Exit::Environment,
        sentence: sentence.to_string(),
    }
}
