//! Opening connections: so many at once, the rest in the order in which they were asked for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::meter::Meter;
use super::options::LoadOptions;
use crate::conn::{Failed, Failure, OpeningRequest, Reach};
use crate::io::{Dial, Errno, Io};
use crate::time::Instant;

/// The connects of one driver thread.
#[derive(Debug)]
pub(super) struct Ramp {
    dials: Vec<Dial>,
    request: Arc<OpeningRequest>,
    waiting: VecDeque<u32>,
    /// To be begun again, not before an instant; in the order of these.
    later: VecDeque<(Instant, u32)>,
    in_progress: usize,
    in_progress_max: usize,
    /// When each connection was begun and connected, by tag.
    began: Vec<Instant>,
    connected: Vec<Instant>,
}

impl Ramp {
    /// For `count` tags, with `in_progress_max` connects and opening handshakes at once. `first` is the number of the
    /// first connection among those of all threads: source addresses go by it.
    pub(super) fn new(
        options: &LoadOptions,
        request: &Arc<OpeningRequest>,
        first: usize,
        count: usize,
        in_progress_max: usize,
    ) -> Self {
        let dial = |from| Dial {
            to: options.target.address,
            from,
            congestion: options.congestion.clone(),
        };
        let mut dials: Vec<_> = options
            .sources
            .iter()
            .map(|from| dial(Some(*from)))
            .collect();
        if dials.is_empty() {
            dials.push(dial(None));
        }
        let places = dials.len();
        dials.rotate_left(first % places);
        Self {
            dials,
            request: request.clone(),
            waiting: VecDeque::new(),
            later: VecDeque::new(),
            in_progress: 0,
            in_progress_max,
            began: vec![Instant::ZERO; count],
            connected: vec![Instant::ZERO; count],
        }
    }

    /// Asks for a connection.
    pub(super) fn add(&mut self, tag: u32) {
        self.waiting.push_back(tag);
    }

    /// Asks for a connection that is not to be begun before `at`. Calls come in the order of their instants.
    pub(super) fn add_later(&mut self, tag: u32, at: Instant) {
        self.later.push_back((at, tag));
    }

    /// Nothing more is begun.
    pub(super) fn stop(&mut self) {
        self.waiting.clear();
        self.later.clear();
    }

    /// Connects and opening handshakes in progress.
    pub(super) const fn in_progress(&self) -> usize {
        self.in_progress
    }

    /// Whether everything that was asked for is decided.
    pub(super) fn is_settled(&self) -> bool {
        self.in_progress == 0 && self.waiting.is_empty() && self.later.is_empty()
    }

    /// When a connection is to be begun next by the clock.
    pub(super) fn due(&self) -> Option<Instant> {
        self.later.front().map(|(at, _)| *at)
    }

    /// Begins what there is room for. Returns those which the system refused at once.
    pub(super) fn step<I: Io>(&mut self, reach: &mut Reach<'_, I>) -> Vec<(u32, Errno)> {
        let now = reach.now();
        while let Some((_, tag)) = self.later.pop_front_if(|(at, _)| *at <= now) {
            self.waiting.push_back(tag);
        }
        let mut refused = Vec::new();
        while self.in_progress < self.in_progress_max {
            let Some(tag) = self.waiting.pop_front() else {
                break;
            };
            let at = tag as usize;
            self.began[at] = reach.clock();
            match reach.connect(&self.dials[at % self.dials.len()], &self.request, tag) {
                Ok(_) => self.in_progress += 1,
                Err(errno) => refused.push((tag, errno)),
            }
        }
        refused
    }

    /// [`App::connected`](crate::conn::App::connected) was called.
    pub(super) fn note_connected(&mut self, tag: u32, now: Instant) {
        self.connected[tag as usize] = now;
    }

    /// A connection was opened or has failed.
    pub(super) const fn settle(&mut self) {
        self.in_progress -= 1;
    }

    /// When the connect of `tag` was begun.
    pub(super) fn began(&self, tag: u32) -> Instant {
        self.began[tag as usize]
    }

    /// How long the TCP connect of `tag` took.
    pub(super) fn connect_time(&self, tag: u32) -> Duration {
        self.connected[tag as usize].since(self.began[tag as usize])
    }
}

/// Counts a connection that did not open.
pub(super) fn count_failure(meter: &mut Meter, failed: &Failed) {
    match &failed.failure {
        Failure::Connect(errno) => count_refusal(meter, *errno),
        failure => meter.fault(|errors| errors.handshake += 1, || describe(failure)),
    }
}

/// Counts a connect that failed.
pub(super) fn count_refusal(meter: &mut Meter, errno: Errno) {
    meter.fault(
        |errors| errors.connect += 1,
        || format!("connect: {}", explain(errno)),
    );
}

fn describe(failure: &Failure) -> String {
    match failure {
        Failure::Refused(refused) => format!("opening handshake: the server answered {refused}"),
        Failure::Response(fault) => format!("opening handshake: {fault}"),
        Failure::Timeout => "opening handshake: no answer in time (see --timeout)".to_owned(),
        Failure::Connect(errno) => format!("connect: {}", explain(*errno)),
        _ => "opening handshake: the server closed the connection".to_owned(),
    }
}

/// An errno of connecting, with its remedy.
fn explain(errno: Errno) -> String {
    let remedy = match errno {
        Errno(libc::ECONNREFUSED) => ": is a server listening there?",
        Errno(libc::EADDRNOTAVAIL) => {
            ": no port is left for this pair of addresses; give more local addresses with --source, or widen \
             net.ipv4.ip_local_port_range"
        }
        Errno(libc::EMFILE) => {
            ": too few descriptors for this thread; raise the limit with ulimit -n, or use more --threads"
        }
        Errno(libc::ENOENT) => {
            ": this kernel has no such --congestion; net.ipv4.tcp_available_congestion_control lists them"
        }
        _ => "",
    };
    format!("{errno}{remedy}")
}
