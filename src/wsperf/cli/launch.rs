//! From the options of a scenario to its result.
//!
//! Owns: every request to the system: names, CPUs, descriptors, files. Never: checks an option's value, or measures.

use std::io::Read as _;

use super::args::{Kind, RunArgs};
use super::asking::HEADER_FILE_MAX;
use super::interrupt::Interrupt;
use super::options::{Run, Server};
use super::progress::Progress;
use super::replay;
use super::resolve;
use crate::exit::Exit;
use crate::exit::Fatal;
use crate::load::addresses;
use crate::load::compat::uri::Uri;
use crate::load::descriptors;
use crate::load::options::{CLOSING_MAX, LoadOptions, Scenario, redirect};
use crate::load::preliminary;
use crate::load::report::{files, json, table};
use crate::load::run::{self, Report};
use crate::options::Format;
use ringway_command::options::Defined;
use ringway_command::output::{Log, log_to_stderr, print};

/// Runs `wsperf echo …` and the other scenarios.
pub(super) fn scenario<D: Defined<Options = Run>>(
    kind: Kind,
    args: RunArgs<D>,
) -> Result<Exit, Fatal> {
    let RunArgs { load, process } = args;
    let given = match &process.config {
        Some(path) => load.over_file(path)?,
        None => load,
    };
    let run = resolve::run(kind, &given, &cpus()).map_err(usage)?;
    if process.print_config {
        return Ok(print(&run.to_toml::<D>(kind)));
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
    log_to_stderr(Log::Warnings);
    read_headers(&mut run)?;
    replay::read(&mut run).map_err(usage)?;
    find(&mut run)?;
    follow(&mut run)?;
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
    } else if report.outcome.disorder().is_some() {
        Exit::Disorder
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

/// Adds the headers of `--header-file`.
fn read_headers(run: &mut Run) -> Result<(), Fatal> {
    let Some(path) = &run.asking.header_file else {
        return Ok(());
    };
    let name = path.display().to_string();
    let wrong = |why: &dyn std::fmt::Display| usage(format!("--header-file {name}{why}"));
    let read = std::fs::File::open(path).and_then(|file| {
        let mut text = String::new();
        file.take(HEADER_FILE_MAX + 1).read_to_string(&mut text)?;
        Ok(text)
    });
    let text = read.map_err(|error| wrong(&format!(": {error}")))?;
    if text.len() as u64 > HEADER_FILE_MAX {
        return Err(wrong(
            &" has more than 64 KiB: no server takes as many headers",
        ));
    }
    run.asking.add_file(&text).map_err(|why| wrong(&why))?;
    run.asking.check(&run.server.uri).map_err(usage)?;
    run.options.target.asking = run.asking.asking(&run.server.uri);
    Ok(())
}

/// Looks the server up, or the proxy. Behind a proxy, the server's own addresses serve only to find its processes.
fn find(run: &mut Run) -> Result<(), Fatal> {
    let uri = &run.server.uri;
    let target = &mut run.options.target;
    let found = addresses::of(uri);
    if let (Some(proxy), Some(given)) = (&mut target.asking.proxy, &run.asking.proxy) {
        let at = addresses::of(&given.uri);
        proxy.addresses = at.map_err(|why| unknown(&given.uri, &why, "http"))?;
        target.addresses = found.unwrap_or_default();
        return Ok(());
    }
    target.addresses = found.map_err(|why| unknown(uri, &why, "ws"))?;
    Ok(())
}

fn unknown(uri: &Uri, why: &str, scheme: &str) -> Fatal {
    environment(format!(
        "cannot find the address of '{}': {why}; give an address, as {scheme}://127.0.0.1:{}/",
        uri.host, uri.port
    ))
}

/// Follows redirects at a first connection, as many as the options allow.
fn follow(run: &mut Run) -> Result<(), Fatal> {
    let Some(most) = run.asking.redirects_max else {
        return Ok(());
    };
    for left in (0..=most).rev() {
        let asked = &run.options.target.uri;
        let answer = preliminary::ask(&run.options).map_err(environment)?;
        let Some(refused) = answer else {
            return Ok(());
        };
        let because = |why: &dyn std::fmt::Display| {
            environment(format!(
                "no connection to {asked} could be opened: {why}: the server answered {refused}"
            ))
        };
        if left == 0 {
            return Err(because(&format!("these are more than {most} redirects")));
        }
        let from = run.server.uri.to_string();
        let to = redirect(&from, refused.location.as_deref()).map_err(|bad| because(&bad))?;
        let uri = Uri::parse(&to).map_err(|why| because(&format!("{to}: {why}")))?;
        move_to(run, to, uri);
        find(run)?;
    }
    Ok(())
}

/// The server is at `uri`, as another one said.
fn move_to(run: &mut Run, text: String, uri: Uri) {
    let asked = &run.server.uri;
    if (&asked.host, asked.port) != (&uri.host, uri.port) {
        run.asking.forget_secrets();
    }
    run.server = Server { text, uri };
    let subprotocols = std::mem::take(&mut run.options.target.subprotocols);
    run.options.target = run.server.target(subprotocols);
    run.options.target.asking = run.asking.asking(&run.server.uri);
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
