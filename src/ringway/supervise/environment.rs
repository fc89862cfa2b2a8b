//! The limits of the machine: descriptors, CPUs and processes.
//!
//! Owns: raising RLIMIT_NOFILE, checking that it is enough, and the choice of a CPU for each worker. Warns once about
//! what the machine does not grant.

use std::fs;
use std::io;

use super::error::warning;
use super::options::{Address, Options};
use super::{reserve, sys};
use crate::bus::Plan;
use crate::exit::Fatal;

/// Descriptors of a worker that are not connections: three streams, listener, stats pipe, control channel,
/// configuration, signals, its ring or epoll, and its timer. `tests/it/supervision.rs` counts them in a full worker.
const WORKER_DESCRIPTORS: u64 = 10;

/// Limit of descriptors below which the user gets a warning, because most machines allow far more. Chosen, untested.
const DESCRIPTORS_COMFORTABLE: u64 = 65_536;

/// Descriptors of the pages' event loop: listener, epoll and a copy of it, eventfd, and tokio's three for signals.
const WEB_DESCRIPTORS: u64 = 7;

/// Most connections of the pages at once: some browsers and collectors. Each needs a descriptor and about 10 KiB.
const WEB_CONNECTIONS_MAX: u64 = 64;

/// Connections without which the pages are not worth serving.
const WEB_CONNECTIONS_MIN: u64 = 4;

/// What the limit of open descriptors leaves room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Descriptors {
    /// Connections that the pages may hold, so that descriptors remain for the start of a worker.
    pub(super) web_connections: usize,
}

/// Raises the limit of open descriptors to its hard limit; workers inherit it. Warns if it is too low for the options.
/// Fails if the supervisor itself needs more.
pub(super) fn raise_descriptor_limit(options: &Options) -> Result<Descriptors, Fatal> {
    let web_most = Descriptors {
        web_connections: usize::try_from(WEB_CONNECTIONS_MAX).unwrap_or(usize::MAX),
    };
    let (soft, hard) = match sys::nofile_limit() {
        Ok(limits) => limits,
        Err(error) => {
            warning(format!("cannot read the limit of open files: {error}"));
            return Ok(web_most);
        }
    };
    let granted = match sys::set_nofile_limit(hard, hard) {
        Ok(()) => hard,
        Err(error) => {
            warning(format!(
                "the limit of open files stays at {soft}, {hard} was refused: {error}"
            ));
            soft
        }
    };
    let descriptors = divide(granted, needed(options, open_descriptors()), options)?;
    if let Some(sentence) = shortage(granted, options.worker_connections) {
        warning(sentence);
    }
    Ok(descriptors)
}

/// Number of descriptors that are open now.
fn open_descriptors() -> u64 {
    // The walk itself has one open. Without /proc: three streams and the signals' descriptor.
    fs::read_dir("/proc/self/fd").map_or(4, |entries| (entries.count() as u64).saturating_sub(1))
}

/// Descriptors that the supervisor needs without the pages' connections: the open ones, listeners, board,
/// configuration, secrets of TLS, the reserve and its pattern, and a pipe and a channel per worker.
fn needed(options: &Options, open: u64) -> u64 {
    let workers = options.workers as u64;
    let of_place = |address: &Address| match address {
        Address::Tcp(_) if options.reuseport => workers,
        _ => 1,
    };
    let listeners: u64 = options.addresses.iter().map(of_place).sum();
    let web = options.web.map_or(0, |_| WEB_DESCRIPTORS);
    let tls = u64::from(options.tls.is_some());
    // Its pipe of figures, and its standard input.
    let has_bridge = options.bus.as_ref().is_some_and(Plan::has_bridge);
    let bridge = 2 * u64::from(has_bridge);
    // The same of the web process, its socket, and what leads to it.
    let web_process = 4 * u64::from(options.web_process.is_some());
    // The memory of the bus, and a bell for each seat; the HTTP API has the same once more, and a bell to wait for.
    let bus = options
        .bus
        .as_ref()
        .map_or(0, |plan| 1 + plan.seats() as u64);
    let api = options.api.as_ref().map_or(0, |_| bus + 1);
    // What holds the port of a wrapped program.
    let guards = 2 * u64::from(options.wrapped.is_some());
    open + listeners
        + guards
        + 3
        + tls
        + bus
        + api
        + bridge
        + web_process
        + reserve::DESCRIPTORS as u64
        + 2 * workers
        + web
}

fn divide(granted: u64, needed: u64, options: &Options) -> Result<Descriptors, Fatal> {
    let web_least = options.web.map_or(0, |_| WEB_CONNECTIONS_MIN);
    let least = needed + web_least;
    if granted < least {
        let workers = options.workers;
        let plural = if workers == 1 { "" } else { "s" };
        return Err(Fatal::environment(format!(
            "only {granted} open files are allowed, and a supervisor of {workers} worker{plural} needs {least}; raise the limit \
             with: ulimit -Hn {}, or LimitNOFILE={} in a systemd unit",
            DESCRIPTORS_COMFORTABLE, DESCRIPTORS_COMFORTABLE
        )));
    }
    let left = (granted - needed).min(WEB_CONNECTIONS_MAX);
    Ok(Descriptors {
        web_connections: usize::try_from(left).unwrap_or(usize::MAX),
    })
}

/// The warning about a limit that is too low for the options, or lower than most machines allow.
fn shortage(granted: u64, connections: Option<usize>) -> Option<String> {
    let wanted = match connections {
        Some(connections) => (connections as u64).saturating_add(WORKER_DESCRIPTORS),
        None => DESCRIPTORS_COMFORTABLE,
    };
    let holds = granted.saturating_sub(WORKER_DESCRIPTORS);
    (granted < wanted).then(|| {
        format!(
            "each worker can hold {holds} connections, not more: the hard limit of open files is {granted}; raise it \
             with: ulimit -Hn {wanted}, or LimitNOFILE={wanted} in a systemd unit"
        )
    })
}

/// Why the kernel made no process, and the remedy.
pub(super) fn explain_spawn(error: &io::Error) -> String {
    let remedy = match error.raw_os_error() {
        Some(libc::EMFILE) => "no descriptor is left; raise the limit of open files (ulimit -n)",
        Some(libc::ENFILE) => {
            "the whole system has no descriptor left; see sysctl fs.file-nr and fs.file-max"
        }
        Some(libc::EAGAIN) => {
            "no process is left; see ulimit -u, and pids.max of the control group"
        }
        Some(libc::ENOMEM) => "no memory is left",
        Some(libc::ENOENT) => "is /proc mounted? the program is executed as /proc/self/exe",
        _ => return error.to_string(),
    };
    format!("{error}: {remedy}")
}

/// The CPU of each worker; `None` when workers are not pinned.
pub(super) fn assign_cpus(workers: usize, affinity: bool) -> Vec<Option<usize>> {
    if !affinity {
        return vec![None; workers];
    }
    match sys::allowed_cpus() {
        Ok(cpus) if !cpus.is_empty() => {
            if workers > cpus.len() {
                warning(format!(
                    "{workers} workers share {} CPUs, so some are pinned to the same one: --workers {} is likely faster",
                    cpus.len(),
                    cpus.len(),
                ));
            }
            round_robin(workers, &cpus)
        }
        Ok(_) => vec![None; workers],
        Err(error) => {
            warning(format!(
                "workers are not pinned, the CPUs of this process are unknown: {error}"
            ));
            vec![None; workers]
        }
    }
}

fn round_robin(workers: usize, cpus: &[usize]) -> Vec<Option<usize>> {
    cpus.iter()
        .copied()
        .cycle()
        .take(workers)
        .map(Some)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::options::tests::options;
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn workers_are_pinned_modulo_the_allowed_cpus() {
        assert_eq!(
            round_robin(5, &[2, 5]),
            [Some(2), Some(5), Some(2), Some(5), Some(2)]
        );
        assert_eq!(assign_cpus(3, false), [None, None, None]);
    }

    #[test]
    fn a_limit_is_mentioned_only_when_it_is_short() {
        assert_eq!(shortage(1 << 20, None), None);
        assert_eq!(shortage(1010, Some(1000)), None);
        let sentence = shortage(1024, Some(5000)).expect("too low");
        assert!(
            sentence.starts_with("each worker can hold 1014 connections"),
            "{sentence}"
        );
        assert!(sentence.contains("ulimit -Hn 5010"), "{sentence}");
        assert!(shortage(20_000, None).is_some());
    }

    #[test]
    fn the_pages_get_what_the_workers_do_not_need() {
        let mut options = options();
        options.workers = 2;
        assert_eq!(needed(&options, 4), 4 + 1 + 3 + 9 + 4);
        options.web = Some(([127, 0, 0, 1], 0).into());
        options.reuseport = true;
        assert_eq!(needed(&options, 4), 4 + 2 + 3 + 9 + 4 + 7);
        let web = |granted| divide(granted, 25, &options).map(|left| left.web_connections);
        assert_eq!(web(1 << 20), Ok(64));
        assert_eq!(web(29), Ok(4));
        let fatal = web(28).expect_err("too few");
        assert_eq!(fatal.exit, Exit::Environment);
        assert!(fatal.sentence.contains("ulimit -Hn"), "{}", fatal.sentence);
    }

    #[test]
    fn a_process_that_cannot_be_made_is_explained() {
        let explain = |errno| explain_spawn(&io::Error::from_raw_os_error(errno));
        assert!(explain(libc::EAGAIN).ends_with("pids.max of the control group"));
        assert!(explain(libc::EMFILE).contains("ulimit -n"));
        assert_eq!(explain(libc::EIO), "Input/output error (os error 5)");
    }
}
