//! Measures the server from outside, in whatever language it is written: CPU time, waiting and memory of its processes. A
//! Ringway server also has its own statistics.
//!
//! Owns: finding the server's processes, sampling them, and the part of the result about them.
//! Never: sends a message of the run, signals a process, or makes the run fail. An unknown figure is absent, and a note
//! says why.
//!
//! 1. [`Observer::new`] finds the processes, [`Observer::before`] reads their memory: no connection is open yet.
//! 2. [`Observer::begin`] and [`Observer::end`] take the full figures at both ends of the measured window.
//! 3. [`Observer::sample`] reads the CPU clocks alone, once per second: a system call per process.
//! 4. [`Observer::finish`] puts the differences into the [`Outcome`].
//!
//! The observer runs on a thread without connections: `begin` and `end` read `/proc` and ask the statistics page, which
//! takes milliseconds.

mod find;
mod procfs;
mod ringway;
mod sample;
mod window;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use self::find::{Found, Process};
use self::ringway::Page;
use self::sample::{Clock, Reading};
use self::window::Edge;
use super::options::{LoadOptions, Scenario};
use super::outcome::{Outcome, Server};
use crate::io::Address;
use crate::time::{self, Instant};

/// CPU time of the server's processes at one instant.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    at: Instant,
    /// None: the server's processes are not known.
    cpu_ns: Option<u64>,
}

impl Sample {
    /// CPU time since an earlier sample divided by wall time, all processes together: 2 is two cores.
    pub fn utilisation_since(&self, earlier: &Self) -> Option<f64> {
        let ran = self.cpu_ns?.saturating_sub(earlier.cpu_ns?);
        let wall = self.at.since(earlier.at);
        (!wall.is_zero()).then(|| Duration::from_nanos(ran).div_duration_f64(wall))
    }
}

/// Watches the processes of one server during one run.
#[derive(Debug)]
pub struct Observer {
    found: Option<Found>,
    /// The CPU clock of every process seen so far. Ended processes stay, so that sums of CPU time never decrease.
    clocks: BTreeMap<Process, Clock>,
    page: Option<Page>,
    scenario: Scenario,
    warmup: Duration,
    memory_before: u64,
    began: Option<(Instant, Edge)>,
    ended: Option<(Instant, Edge)>,
    notes: Vec<String>,
}

impl Observer {
    /// Finds the server that `options` names. Finding none is no error: the notes of the result say why.
    pub fn new(options: &LoadOptions) -> Self {
        let mut notes = Vec::new();
        let found = find_any(&options.target.addresses, options.server_pid);
        let found = found.map_err(|why| notes.push(why)).ok();
        notes.extend(found.iter().flat_map(|found| found.notes.clone()));
        let page = find_page(found.as_ref(), options.server_stats);
        let page = page.map_err(|why| notes.push(why)).ok().flatten();
        let mut observer = Self {
            found,
            clocks: BTreeMap::new(),
            page,
            scenario: options.scenario.clone(),
            warmup: options.warmup,
            memory_before: 0,
            began: None,
            ended: None,
            notes,
        };
        observer.watch();
        observer
    }

    /// Reads the server's memory. To be called before connections are opened.
    pub fn before(&mut self) {
        self.memory_before = self.resident_bytes().values().sum();
    }

    /// Reads all figures at the beginning of the window.
    pub fn begin(&mut self) -> Sample {
        let (sample, edge) = self.edge();
        self.began = Some((sample.at, edge));
        self.ask_page();
        sample
    }

    /// Reads the CPU clocks.
    pub fn sample(&mut self) -> Sample {
        let sample = self.read_clocks();
        if self.clocks.values().any(Clock::has_just_ended) {
            // A process that replaces an ended one is counted from its start.
            self.find_again();
        }
        self.ask_page();
        sample
    }

    /// Reads all figures at the end of the window.
    pub fn end(&mut self) -> Sample {
        let (sample, mut edge) = self.edge();
        if let Some(page) = &mut self.page {
            page.handle_end();
        }
        edge.resident_bytes = self.resident_bytes();
        self.ended = Some((sample.at, edge));
        sample
    }

    /// Puts the differences between [`Observer::begin`] and [`Observer::end`] into the result, which must have its
    /// messages already.
    pub fn finish(mut self, outcome: &mut Outcome) {
        outcome.notes.append(&mut self.notes);
        let (Some((began, first)), Some((ended, last))) = (self.began, self.ended) else {
            return;
        };
        let wall = ended.since(began);
        if wall.is_zero() || (self.clocks.is_empty() && self.page.is_none()) {
            return;
        }
        let mut server = Server {
            memory_before_bytes: self.memory_before,
            kernel_tcp_bytes: sample::kernel_tcp_bytes(),
            ..Server::default()
        };
        if !self.clocks.is_empty() {
            let window = window::compare(&first, &last, wall);
            outcome.notes.extend(window.notes);
            outcome.server_saturated = Some(window.is_saturated);
            let rows = &window.processes;
            let cpu_us = rows.iter().map(|row| row.cpu_s).sum::<f64>() * 1e6;
            outcome.server_cpu_us_per_message = per_message(cpu_us, outcome.messages);
            server.memory_bytes = rows.iter().map(|row| row.resident_bytes).sum();
            server.processes = window.processes;
        }
        if let Some(page) = self.page {
            let said = page.finish(&self.scenario, wall, &mut server);
            outcome.notes.extend(said.err());
            if !server.workers.is_empty() {
                // The server is saturated only if all of its workers are.
                let all = server.workers.iter().all(|worker| worker.saturated);
                outcome.server_saturated = Some(all);
            }
        }
        outcome.server = Some(server);
    }

    /// Reads everything but memory. The CPU clocks come first, because the rest takes milliseconds. Then the processes
    /// are searched for again: one may have been replaced.
    fn edge(&mut self) -> (Sample, Edge) {
        let sample = self.read_clocks();
        let mut processes = self.readings();
        self.find_again();
        for (process, reading) in self.readings() {
            processes.entry(process).or_insert(reading);
        }
        let clocks = self.clocks.iter();
        let cpu_ns = clocks.map(|(process, clock)| (*process, clock.last_ns()));
        let edge = Edge {
            processes,
            cpu_ns: cpu_ns.collect(),
            resident_bytes: BTreeMap::new(),
        };
        (sample, edge)
    }

    fn readings(&self) -> BTreeMap<Process, Reading> {
        let living = self.living();
        living
            .filter_map(|process| Some((process, Reading::of(process)?)))
            .collect()
    }

    fn find_again(&mut self) {
        if let Some(found) = &mut self.found {
            found.refresh();
            self.watch();
        }
    }

    /// Adds a clock for every process that has none.
    fn watch(&mut self) {
        for process in self.found.iter().flat_map(|found| &found.processes) {
            if !self.clocks.contains_key(process)
                && let Some(clock) = Clock::new(*process)
            {
                self.clocks.insert(*process, clock);
            }
        }
    }

    fn read_clocks(&mut self) -> Sample {
        let at = time::now();
        let sum = self.clocks.values_mut().map(Clock::read).sum();
        let cpu_ns = (!self.clocks.is_empty()).then_some(sum);
        Sample { at, cpu_ns }
    }

    fn living(&self) -> impl Iterator<Item = Process> {
        let living = self.clocks.iter().filter(|(_, clock)| clock.is_alive());
        living.map(|(process, _)| *process)
    }

    fn resident_bytes(&self) -> BTreeMap<Process, u64> {
        let living = self.living();
        living
            .filter_map(|process| Some((process, sample::resident_bytes(process.pid)?)))
            .collect()
    }

    /// Asks the statistics page for the first figures of the window, until it has them.
    fn ask_page(&mut self) {
        if let (Some(page), Some((began, _))) = (&mut self.page, &self.began) {
            page.handle_begin(*began, self.warmup);
        }
    }
}

/// The server of the first address at which a server is found. The error is that of the first address.
fn find_any(addresses: &[Address], pid: Option<i32>) -> Result<Found, String> {
    let mut why = Err("the server has no address here, only behind the proxy: its CPU time and memory are not known".to_owned());
    for address in addresses.iter().rev() {
        let found = find::find(address, pid);
        if found.is_ok() || why.is_err() {
            why = found;
        }
    }
    why
}

/// The server's statistics page: at the address given, or among its other listeners. Only a Ringway server has one, so a
/// page that is not found needs no note.
fn find_page(found: Option<&Found>, given: Option<SocketAddr>) -> Result<Option<Page>, String> {
    match (given, found) {
        (Some(address), _) => {
            let page = Page::open(address);
            page.map(Some)
                .map_err(|why| format!("no statistics of the server (--server-stats): {why}"))
        }
        (None, Some(found)) => Ok(Page::look_for(&find::other_listeners(found))),
        (None, None) => Ok(None),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a quotient is shown rounded")]
fn per_message(amount: f64, messages: u64) -> Option<f64> {
    (messages > 0).then(|| amount / messages as f64)
}
