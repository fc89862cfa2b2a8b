//! Opening connections. A limited number is in progress at a time; the others wait in order.
//!
//! Owns: which address a connect uses, and the pauses between attempts while the server is away.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::meter::Meter;
use super::options::LoadOptions;
use super::route::Route;
use crate::io::{Address, ConnectOptions, Errno};
use crate::random::Random;
use crate::time::Instant;
use crate::worker::{Failure, Handle, OpeningRequest, Scope};

/// Consecutive failed attempts, without an open connection between them, after which the server counts as away. A server
/// that only refuses some of many connections does not produce as many in a row.
const AWAY_FROM: u32 = 3;

/// The first pause. Each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(10);

/// The longest pause: at most this long after a server is back, the driver connects again.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Pauses after which a server that never took a connection counts as not there at all.
const HOPELESS_FROM: u32 = 5;

/// Time until a connect that found the accept queue of a Unix socket full is tried again.
const QUEUE_PAUSE: Duration = Duration::from_millis(1);

/// Value of an address index that is not chosen yet.
const UNDECIDED: u8 = u8::MAX;

/// The connects of one driver thread.
#[derive(Debug)]
pub(super) struct Ramp {
    /// Options of a connect, by the server's address and then by local address.
    destinations: Vec<Vec<ConnectOptions>>,
    route: Route,
    request: Arc<OpeningRequest>,
    waiting: VecDeque<u32>,
    /// Connections to be begun again, with the earliest instant for it.
    later: BinaryHeap<Reverse<(Instant, u32)>>,
    in_progress: usize,
    in_progress_max: usize,
    /// When each connection was begun, when it was connected, and the index of its address; each by tag.
    began: Vec<Instant>,
    connected: Vec<Option<Instant>>,
    places: Vec<u8>,
    pauses: Pauses,
}

/// The pauses while the server is away: one attempt at a time, and a growing pause after each.
#[derive(Debug)]
struct Pauses {
    /// Pauses are made. Scenarios that begin a failed connection again need them: otherwise they would try without end.
    are_on: bool,
    random: Random,
    /// Attempts that failed since a connection last opened.
    failures: u32,
    /// Pauses since a connection last opened.
    count: u32,
    /// No connection is begun before this.
    until: Instant,
    /// At least one connection has opened.
    has_opened: bool,
}

impl Pauses {
    fn fail(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        // Attempts that were in progress together fail together, and cause one pause.
        if self.is_away() && now >= self.until {
            self.until = now + pause(self.count, &mut self.random);
            self.count = self.count.saturating_add(1);
        }
    }

    const fn open(&mut self) {
        self.has_opened = true;
        (self.failures, self.count) = (0, 0);
        self.until = Instant::ZERO;
    }

    const fn is_away(&self) -> bool {
        self.are_on && self.failures >= AWAY_FROM
    }
}

/// The pause that follows `before` others. It doubles each time. A random factor between 0.5 and 1 keeps connections that
/// were lost together from coming back together.
fn pause(before: u32, random: &mut Random) -> Duration {
    let longest = PAUSE_MIN.saturating_mul(1 << before.min(16)).min(PAUSE_MAX);
    let per_mille = u32::try_from(random.between(500, 1000)).unwrap_or(1000);
    longest * per_mille / 1000
}

/// What happens next with a connection that did not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The server's next address is tried. The caller has nothing to do.
    MovedOn,
    /// The connection failed, and is counted as such.
    Failed,
}

impl Ramp {
    /// For `count` tags, with at most `in_progress_max` connects and opening handshakes at a time. `first` is the number
    /// of the first connection among those of all threads; it decides which local address is used.
    pub(super) fn new(
        options: &LoadOptions,
        request: &Arc<OpeningRequest>,
        first: usize,
        count: usize,
        in_progress_max: usize,
    ) -> Self {
        let addresses = options.target.destinations();
        let to = |to: &Address| {
            let destination = |from| ConnectOptions {
                to: to.clone(),
                from,
                congestion: options.congestion.clone(),
            };
            let from = options.sources.iter();
            let mut destinations: Vec<_> = from.map(|from| destination(Some(*from))).collect();
            if destinations.is_empty() {
                destinations.push(destination(None));
            }
            let places = destinations.len();
            destinations.rotate_left(first % places);
            destinations
        };
        Self {
            destinations: addresses.iter().map(to).collect(),
            route: Route::new(addresses),
            request: request.clone(),
            waiting: VecDeque::new(),
            later: BinaryHeap::new(),
            in_progress: 0,
            in_progress_max,
            began: vec![Instant::ZERO; count],
            connected: vec![None; count],
            places: vec![UNDECIDED; count],
            pauses: Pauses {
                are_on: false,
                random: Random::new(options.seed ^ 0xA3A3 ^ first as u64),
                failures: 0,
                count: 0,
                until: Instant::ZERO,
                has_opened: false,
            },
        }
    }

    /// Turns the pauses on, for scenarios that begin failed connections again.
    pub(super) const fn pause_between_attempts(&mut self) {
        self.pauses.are_on = true;
    }

    /// Asks for a connection.
    pub(super) fn add(&mut self, tag: u32) {
        self.waiting.push_back(tag);
    }

    /// Asks for a connection that is begun at `at` or later.
    pub(super) fn add_later(&mut self, tag: u32, at: Instant) {
        self.later.push(Reverse((at, tag)));
    }

    /// Asks for a connection that replaces a lost one. `losses`: how often it was lost in a row without an answer in
    /// between.
    pub(super) fn add_again(&mut self, tag: u32, losses: u32, now: Instant) {
        let pause = pause(losses.saturating_sub(1), &mut self.pauses.random);
        self.add_later(tag, now + pause);
    }

    /// Begins no further connection. Returns the tags that were still waiting.
    pub(super) fn stop(&mut self) -> Vec<u32> {
        let later = std::mem::take(&mut self.later).into_iter();
        let mut tags: Vec<u32> = later.map(|Reverse((_, tag))| tag).collect();
        tags.extend(self.waiting.drain(..));
        tags
    }

    /// Connects and opening handshakes that are in progress or wait for their turn.
    pub(super) fn unsettled(&self) -> usize {
        self.in_progress + self.waiting.len()
    }

    /// Whether every connection that was asked for has opened or failed.
    pub(super) fn is_settled(&self) -> bool {
        self.in_progress == 0 && self.waiting.is_empty() && self.later.is_empty()
    }

    /// Whether no connection ever opened, after several pauses.
    pub(super) const fn is_hopeless(&self) -> bool {
        !self.pauses.has_opened && self.pauses.count >= HOPELESS_FROM
    }

    /// The next instant at which a connection is to be begun.
    pub(super) fn due(&self) -> Option<Instant> {
        let later = self.later.peek().map(|Reverse((at, _))| *at);
        let waits = self.pauses.is_away() && self.in_progress == 0 && !self.waiting.is_empty();
        later
            .into_iter()
            .chain(waits.then_some(self.pauses.until))
            .min()
    }

    /// Begins as many connections as the limit allows. Returns those that the kernel refused at once.
    pub(super) fn step(&mut self, reach: &mut Handle<'_>) -> Vec<(u32, Errno)> {
        let now = reach.now();
        while let Some(Reverse((at, tag))) = self.later.peek().copied()
            && at <= now
        {
            self.later.pop();
            self.waiting.push_back(tag);
        }
        let mut refused = Vec::new();
        while self.may_begin(now) {
            let Some(tag) = self.waiting.pop_front() else {
                break;
            };
            let at = tag as usize;
            let place = match self.places[at] {
                UNDECIDED => self.route.first(),
                place => place.into(),
            };
            self.places[at] = u8::try_from(place).unwrap_or(0);
            self.began[at] = reach.clock();
            self.connected[at] = None;
            let destinations = &self.destinations[place];
            match reach.connect(&destinations[at % destinations.len()], &self.request, tag) {
                Ok(_) => self.in_progress += 1,
                // The accept queue of a Unix socket is full: unlike TCP, nothing waits on its way there.
                Err(Errno(libc::EAGAIN)) if self.is_unix() => {
                    self.add_later(tag, now + QUEUE_PAUSE);
                    break;
                }
                Err(errno) if self.moves_on(tag, errno) => {}
                Err(errno) => {
                    self.pauses.fail(now);
                    refused.push((tag, errno));
                }
            }
        }
        refused
    }

    fn may_begin(&self, now: Instant) -> bool {
        if self.pauses.is_away() {
            return self.in_progress == 0 && now >= self.pauses.until;
        }
        self.in_progress < self.in_progress_max
    }

    /// [`App::connected`](crate::worker::App::connected) was called.
    pub(super) fn note_connected(&mut self, tag: u32, now: Instant) {
        self.connected[tag as usize] = Some(now);
        self.route.connected(self.places[tag as usize].into());
    }

    /// A connection was opened.
    pub(super) fn note_open(&mut self, tag: u32) {
        self.in_progress -= 1;
        self.places[tag as usize] = UNDECIDED;
        self.pauses.open();
    }

    /// Handles a connection that did not open: its next address is tried, or it counts as failed.
    pub(super) fn note_failed(
        &mut self,
        meter: &mut Meter,
        scope: &Scope<'_>,
        failed: &Failure,
        now: Instant,
    ) -> Fate {
        self.in_progress -= 1;
        let tag = scope.tag();
        let errno = match failed {
            Failure::Connect(errno) => Some(*errno),
            // The timeout struck before even the TCP connect was complete.
            Failure::Timeout if self.connected[tag as usize].is_none() => {
                Some(Errno(libc::ETIMEDOUT))
            }
            _ => None,
        };
        if errno.is_some_and(|errno| self.moves_on(tag, errno)) {
            return Fate::MovedOn;
        }
        self.places[tag as usize] = UNDECIDED;
        self.pauses.fail(now);
        match errno {
            Some(errno) => self.count_refusal(meter, errno),
            None => meter.fault(|errors| errors.handshake += 1, || describe(failed)),
        }
        Fate::Failed
    }

    /// Takes a connection off the list because all are given up. It does not count as failed.
    pub(super) const fn settle(&mut self) {
        self.in_progress -= 1;
    }

    /// Whether the server has another address for a failed connect. If so, that connect is begun next.
    fn moves_on(&mut self, tag: u32, errno: Errno) -> bool {
        let place = &mut self.places[tag as usize];
        let next = self.route.failed((*place).into(), &errno);
        // A shortage on this machine affects every address alike. ENOENT: there is no such congestion control.
        let is_ours = matches!(
            errno,
            Errno(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::ENOENT)
        );
        match next.filter(|_| !is_ours) {
            Some(next) => {
                *place = u8::try_from(next).unwrap_or(0);
                self.waiting.push_front(tag);
                true
            }
            None => {
                *place = UNDECIDED;
                false
            }
        }
    }

    /// Counts a connect that failed.
    pub(super) fn count_refusal(&self, meter: &mut Meter, errno: Errno) {
        meter.fault(
            |errors| errors.connect += 1,
            || {
                format!(
                    "connect to {}{}",
                    self.route.tried(),
                    remedy(errno, self.is_unix())
                )
            },
        );
    }

    fn is_unix(&self) -> bool {
        let mut destinations = self.destinations.iter().flatten();
        destinations.any(|destination| destination.to.tcp().is_none())
    }

    /// When the connect of `tag` was begun.
    pub(super) fn began(&self, tag: u32) -> Instant {
        self.began[tag as usize]
    }

    /// How long the TCP connect of `tag` took.
    pub(super) fn connect_time(&self, tag: u32) -> Duration {
        let connected = self.connected[tag as usize].unwrap_or(Instant::ZERO);
        connected.since(self.began[tag as usize])
    }
}

fn describe(failure: &Failure) -> String {
    match failure {
        Failure::Refused(refused) => format!("opening handshake: the server answered {refused}"),
        Failure::Response(fault) => format!("opening handshake: {fault}"),
        Failure::Timeout => "opening handshake: no answer in time (see --timeout)".to_owned(),
        Failure::Tls(why) if why.contains("CaUsedAsEndEntity") => {
            "TLS: the server shows a certificate that is for signing others (CA:TRUE), as `openssl req -x509` makes it; make it \
             with -addext basicConstraints=critical,CA:FALSE, or see --insecure"
                .to_owned()
        }
        Failure::Tls(why) => format!("TLS: {why}; see --cacert and --insecure"),
        Failure::Connect(errno) => format!("connect: {errno}"),
        Failure::ProxyRefused(refused) => format!("the proxy answered {refused}"),
        Failure::ProxyResponse(fault) => format!("the proxy's answer is wrong: {fault}"),
        _ => "opening handshake: the server closed the connection".to_owned(),
    }
}

/// What the user can do about an errno of connect(2), to a Unix socket or to a port.
const fn remedy(errno: Errno, is_unix: bool) -> &'static str {
    match errno {
        Errno(libc::ENOENT) if is_unix => ": is a server listening there?",
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_two_seconds_and_are_never_the_same_for_long() {
        let mut random = Random::new(1);
        let mut last = Duration::ZERO;
        for before in 0..40 {
            let longest = Duration::from_millis(10 << before.min(8)).min(PAUSE_MAX);
            let pause = pause(before, &mut random);
            assert!(
                pause <= longest && pause * 2 >= longest,
                "{before}: {pause:?}"
            );
            assert_ne!(pause, last);
            last = pause;
        }
    }

    #[test]
    fn a_few_failures_among_many_are_no_reason_to_pause() {
        let at = |ms: u64| Instant::from_nanos(ms * 1_000_000);
        let mut pauses = Pauses {
            are_on: true,
            random: Random::new(1),
            failures: 0,
            count: 0,
            until: Instant::ZERO,
            has_opened: false,
        };
        for _ in 0..10 {
            pauses.fail(at(1));
            pauses.fail(at(1));
            pauses.open();
        }
        assert_eq!((pauses.is_away(), pauses.count), (false, 0));
        (0..500).for_each(|_| pauses.fail(at(2)));
        assert_eq!(
            (pauses.is_away(), pauses.count),
            (true, 1),
            "one pause for those that failed together"
        );
        assert!(pauses.until > at(6) && pauses.until <= at(12));
    }
}
