//! From the options of a scenario to its result.
//!
//! Owns: everything of it that asks the system: names, CPUs, descriptors, files. Never: judges a value, measures.

use std::fs::OpenOptions;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::ops::ControlFlow;
use std::path::Path;

use super::args::{Kind, RunArgs};
use super::interrupt::Interrupt;
use super::progress::Progress;
use super::resolve::{self, Run};
use super::show;
use crate::cli::file;
use crate::cli::launch::{log_to_stderr, print, read};
use crate::exit::Exit;
use crate::load::options::{LoadOptions, Outputs, Scenario};
use crate::load::report::{files, json, table};
use crate::load::{descriptors, run};
use crate::options::Format;
use crate::supervise::Fatal;

/// `wsperf echo …` and its like.
pub(super) fn scenario(kind: Kind, args: RunArgs) -> Result<Exit, Fatal> {
    let RunArgs { load, process } = args;
    let load = match &process.config {
        Some(path) => file::overlay(&load, &read(path)?),
        None => load,
    };
    let mut cpus: Vec<_> = core_affinity::get_core_ids().unwrap_or_default();
    cpus.sort_by_key(|cpu| cpu.id);
    let cpus: Vec<_> = cpus.into_iter().map(|cpu| cpu.id).collect();
    let mut run = resolve::run(kind, &load, &cpus).map_err(usage)?;
    if process.print_config {
        return Ok(print(&show::toml(kind, &run)));
    }
    run.options.target.address = look_up(&run.host, run.port)?;
    let threads = run.options.threads as u64;
    descriptors::raise(connections_of_thread(&run.options), threads).map_err(environment)?;
    check_files(&run.options.outputs)?;
    log_to_stderr(false);
    measure(&run)
}

/// Runs it, and prints what came of it.
fn measure(run: &Run) -> Result<Exit, Fatal> {
    let interrupt = Interrupt::watch()
        .map_err(|error| environment(format!("cannot watch signals: {error}")))?;
    let progress = Progress::new(run.silence);
    let measured = run::run(&run.options, &mut |live| {
        progress.show(live);
        if interrupt.has_come() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    progress.clear();
    let report = measured.map_err(|error| Fatal {
        exit: if error.is_usage {
            Exit::Usage
        } else {
            Exit::Environment
        },
        sentence: error.sentence,
    })?;
    let written = files::write(&run.options.outputs, &report.outcome, &report.intervals);
    // Printed even if a file could not be written: the run may have taken hours.
    let printed = match run.format {
        _ if run.silence => Exit::Ok,
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

/// The first address of a host.
fn look_up(host: &str, port: u16) -> Result<SocketAddr, Fatal> {
    let found = (host, port).to_socket_addrs().map(|mut found| found.next());
    let why = match found {
        Ok(Some(address)) => return Ok(address),
        Ok(None) => "it has none".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(environment(format!(
        "cannot find the address of '{host}': {why}; give an address, as ws://127.0.0.1:{port}/"
    )))
}

/// Connections that one driver thread has at once.
fn connections_of_thread(options: &LoadOptions) -> u64 {
    let share = |total: usize| total.div_ceil(options.threads.max(1)) as u64;
    match options.scenario {
        // Those that are closing while others open come on top.
        Scenario::Handshake { high, .. } => share(high) + CLOSING_MAX,
        _ => share(options.connections),
    }
}

/// Closing handshakes of one thread (`load::handshake::CLOSING_MAX`).
const CLOSING_MAX: u64 = 4096;

/// A result that cannot be written is better known before the run than after it.
fn check_files(outputs: &Outputs) -> Result<(), Fatal> {
    let check = |path: &Path| {
        let opened = OpenOptions::new().append(true).create(true).open(path);
        opened.map(drop).map_err(|error| {
            environment(format!(
                "cannot write {}: {error}; name another file",
                path.display()
            ))
        })
    };
    let files = [&outputs.json, &outputs.hdr, &outputs.html];
    files.into_iter().flatten().try_for_each(|path| check(path))
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
