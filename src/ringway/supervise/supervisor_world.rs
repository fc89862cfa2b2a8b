//! A seeded world around the [`Supervisor`]. Processes die, hang, refuse to serve, are stopped, or survive even
//! SIGKILL. Tables of descriptors and processes are full for a while. Nobody reads the log for a while. The loop is
//! late, because its machine was suspended or its process stopped. Signals of every kind come at any time. No process
//! is made, and minutes pass in microseconds.
//!
//! What must hold, whatever the seed:
//! 1. A worker that serves is not disturbed until the server stops.
//! 2. The server ends without a signal only when it may: a worker refused before a seat ever served, or all seats kept
//!    dying.
//! 3. An empty seat is tried again within its back-off, and not more often.
//! 4. A stop signal closes the listeners at once, and ends the server within its time, whether workers obey their
//!    channel, a signal, or neither; a second signal ends it sooner. A worker that obeys either one exits in order.
//! 5. The supervisor prints so little that a log which nobody reads for minutes loses no line.
//! 6. The loop ends. Every process that can die is gone and reaped, and none of its descriptors is open.
//!
//! `RINGWAY_SIM_COUNT=100 cargo test supervisor` runs a hundred times as many seeds; a failure prints the one that repeats it.

use std::collections::BTreeMap;

use super::*;
use crate::lines;
use crate::random::Random;

/// Longest time for which the machine keeps the supervisor's loop from running, milliseconds.
const LATE_MS_MAX: u32 = 8_000;

/// Faults of one run, per mille, drawn by its seed.
#[derive(Debug)]
struct Faults {
    start_fails: u16,
    /// Of those that start: exits before it serves, with one of our codes or another one.
    refuses: u16,
    hangs: u16,
    /// Of those that serve: dies soon.
    frail: u16,
    /// Reacts to SIGKILL only.
    stopped: u16,
    /// Does not read its channel.
    deaf: u16,
    /// Of those: the channel even refuses orders.
    shut: u16,
    /// Reacts to nothing, not even SIGKILL.
    immortal: u16,
    late: u16,
    /// Whether seat 0 has none of these faults once it serves.
    spare_first: bool,
    /// Whether the first start of each seat succeeds.
    good_start: bool,
}

impl Faults {
    fn draw(random: &mut Random) -> Self {
        let mut rarely = |choices: &[u16]| random.pick(choices);
        Self {
            start_fails: rarely(&[0, 0, 100, 500, 950]),
            refuses: rarely(&[0, 0, 100, 900]),
            hangs: rarely(&[0, 0, 100, 500]),
            frail: rarely(&[0, 100, 500, 1000]),
            stopped: rarely(&[0, 0, 300]),
            deaf: rarely(&[0, 0, 300]),
            shut: rarely(&[0, 500, 1000]),
            immortal: rarely(&[0, 0, 0, 200]),
            late: rarely(&[0, 50, 500]),
            spare_first: rarely(&[0, 1]) == 1,
            good_start: rarely(&[0, 1, 1, 1]) == 1,
        }
    }
}

/// One process, and how it will behave.
#[derive(Debug)]
struct Process {
    pid: u32,
    serves_at: Option<Instant>,
    serves: bool,
    ends_at: Option<(Instant, Option<ExitStatus>)>,
    /// Its channel.
    channel: Channel,
    drains: bool,
    obeys_term: bool,
    obeys_kill: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Channel {
    Heard,
    Unheard,
    Shut,
}

#[derive(Debug)]
struct World {
    random: Random,
    faults: Faults,
    now: Instant,
    supervisor: Supervisor,
    processes: BTreeMap<usize, Process>,
    /// Seats without a process, and since when.
    empty: BTreeMap<usize, Instant>,
    tried: Vec<Option<Instant>>,
    has_served: Vec<bool>,
    deaths: Vec<Vec<Instant>>,
    announced: bool,
    listeners_open: bool,
    signals: Vec<(Instant, i32)>,
    stops: Vec<Instant>,
    pids: u32,
    /// Times without a free process or descriptor: every start fails.
    shortages: Vec<std::ops::Range<Instant>>,
    /// Bytes of messages since the log was last read.
    unread_bytes: usize,
    /// When the log is read next.
    read_at: Instant,
    /// Total delay of the loop since a deadline could have been missed.
    lateness: Duration,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let faults = Faults::draw(&mut random);
        let workers = random.pick(&[1, 2, 3, 8]);
        let mut signals: Vec<_> = (0..random.below(6))
            .map(|_| {
                let signal = random.pick(&[libc::SIGHUP, libc::SIGUSR1, libc::SIGALRM, 64]);
                (at(random.below(300_000) as u64), signal)
            })
            .collect();
        let stop = random.between(0, 300_000) as u64;
        let kind = random.pick(&[libc::SIGTERM, libc::SIGINT, libc::SIGQUIT]);
        signals.push((at(stop), kind));
        if random.chance(300) {
            signals.push((at(stop + random.below(12_000) as u64), libc::SIGTERM));
        }
        signals.sort();
        let shortages = (0..random.pick(&[0, 0, 1, 3])).map(|_| {
            let from = at(random.below(300_000) as u64);
            from..from + Duration::from_millis(random.magnitude(120_000) as u64)
        });
        let shortages = shortages.collect();
        let rules = rules(workers);
        Self {
            random,
            faults,
            now: at(0),
            supervisor: Supervisor::new(rules, at(0)),
            processes: BTreeMap::new(),
            empty: (0..workers).map(|seat| (seat, at(0))).collect(),
            tried: vec![None; workers],
            has_served: vec![false; workers],
            deaths: vec![Vec::new(); workers],
            announced: false,
            listeners_open: true,
            signals,
            stops: Vec::new(),
            pids: 1000,
            shortages,
            unread_bytes: 0,
            read_at: at(0),
            lateness: Duration::ZERO,
        }
    }

    fn run(&mut self) {
        self.act();
        for turn in 0.. {
            assert!(turn < 100_000, "the loop does not end: {self:?}");
            self.check();
            if self.supervisor.is_over() {
                break;
            }
            self.advance();
            self.report();
            self.deliver_signals();
            self.bury();
            self.supervisor.handle_timeout(self.now);
            self.act();
        }
        let can_die = |process: &&Process| process.obeys_kill;
        assert_eq!(
            self.processes.values().filter(can_die).count(),
            0,
            "left behind"
        );
        assert!(!self.listeners_open);
        self.check_exit();
    }

    /// Lets time pass until something happens, and sometimes longer.
    fn advance(&mut self) {
        let of_process = |process: &Process| {
            let ends = process.ends_at.map(|(at, _)| at);
            [process.serves_at, ends].into_iter().flatten().min()
        };
        let world = self.processes.values().filter_map(of_process);
        let signal = self.signals.first().map(|(at, _)| *at);
        let next = world.chain(signal).chain(self.supervisor.next_due()).min();
        let mut next = next.expect("a signal or a deadline is left").max(self.now);
        if self.random.chance(self.faults.late) {
            let late = Duration::from_millis(self.random.below(LATE_MS_MAX as usize) as u64);
            next = next + late;
        }
        self.lateness = next
            .since(self.now)
            .min(Duration::from_millis(LATE_MS_MAX.into()));
        self.now = next;
    }

    /// Reports the workers that serve for the first time.
    fn report(&mut self) {
        for (seat, process) in &mut self.processes {
            if std::mem::take(&mut process.drains) {
                self.supervisor.handle_draining(*seat);
            }
            if process.serves_at.is_some_and(|at| at <= self.now) {
                process.serves_at = None;
                process.serves = true;
                self.has_served[*seat] = true;
                self.supervisor.handle_ready(*seat);
            }
        }
    }

    fn deliver_signals(&mut self) {
        while self.signals.first().is_some_and(|(at, _)| *at <= self.now) {
            let (_, signal) = self.signals.remove(0);
            self.supervisor.handle_signal(self.now, signal);
            if signals::is_stop(signal) && self.stops.len() < 2 {
                self.stops.push(self.now);
            }
        }
    }

    /// Reports the processes that have ended.
    fn bury(&mut self) {
        let gone = |process: &Process, now| process.ends_at.filter(|(at, _)| *at <= now);
        for seat in 0..self.tried.len() {
            let Some(process) = self.processes.get(&seat) else {
                continue;
            };
            let Some((_, status)) = gone(process, self.now) else {
                continue;
            };
            if process.serves || !self.has_served[seat] {
                self.deaths[seat].push(self.now);
            }
            self.processes.remove(&seat);
            self.empty.insert(seat, self.now);
            self.supervisor.handle_exit(self.now, seat, status);
        }
    }

    fn act(&mut self) {
        while let Some(action) = self.supervisor.poll_action() {
            match action {
                Action::Start { seat } => self.start(seat),
                Action::Order { seat, order } => self.order(seat, order),
                Action::Announce => {
                    assert!(!std::mem::replace(&mut self.announced, true), "twice");
                    assert!(self.has_served.iter().all(|served| *served));
                }
                Action::Reread => {}
                Action::CloseListeners => {
                    assert!(std::mem::replace(&mut self.listeners_open, false), "twice");
                }
                Action::Vacate { seat, .. } => {
                    let immortal = |process: &Process| !process.obeys_kill;
                    let left = self.processes.get(&seat);
                    assert!(
                        left.is_none_or(immortal),
                        "a process is forgotten on seat {seat}"
                    );
                }
                Action::Say(_, sentence) => self.say(&sentence),
            }
        }
    }

    /// Prints a message to a log that nobody reads for some minutes, again and again.
    fn say(&mut self, sentence: &str) {
        if self.now >= self.read_at {
            self.unread_bytes = 0;
            self.read_at = self.now + Duration::from_millis(self.random.magnitude(300_000) as u64);
        }
        self.unread_bytes += sentence.len();
        assert!(self.unread_bytes <= lines::BYTES_MAX, "{sentence}");
    }

    fn start(&mut self, seat: usize) {
        assert!(!self.supervisor.is_stopping(), "no start while stopping");
        assert!(
            !self.processes.contains_key(&seat),
            "two processes on seat {seat}"
        );
        if let Some(before) = self.tried[seat].replace(self.now) {
            let gap = self.now.since(before);
            assert!(gap >= Duration::from_millis(100), "again after {gap:?}");
        }
        let spared = (self.faults.good_start && !self.has_served[seat])
            || (self.faults.spare_first && seat == 0);
        let is_short = |shortage: &std::ops::Range<Instant>| shortage.contains(&self.now);
        if self.has_served[seat] && self.shortages.iter().any(is_short) {
            return self
                .supervisor
                .handle_start_failed(self.now, seat, "EMFILE");
        }
        let random = &mut self.random;
        let mut unlucky = |per_mille| !spared && random.chance(per_mille);
        if unlucky(self.faults.start_fails) {
            let why = ["EMFILE", "EAGAIN", "ENOMEM"][usize::from(unlucky(500))];
            return self.supervisor.handle_start_failed(self.now, seat, why);
        }
        let (refuses, hangs) = (unlucky(self.faults.refuses), unlucky(self.faults.hangs));
        let (frail, stopped) = (unlucky(self.faults.frail), unlucky(self.faults.stopped));
        let immortal = unlucky(self.faults.immortal);
        let (deaf, shut) = (unlucky(self.faults.deaf), unlucky(self.faults.shut));
        let mut after = |ms: usize| Duration::from_millis(random.magnitude(ms) as u64);
        let serves_at = self.now + after(2_000);
        let status = [exited(2), exited(3), exited(1), killed(), None];
        let ends_at = match (refuses, frail) {
            (true, _) => Some((self.now + after(100), random.pick(&status))),
            (_, true) if !hangs => Some((serves_at + after(40_000), killed())),
            _ => None,
        };
        let process = Process {
            pid: self.pids,
            serves_at: (!refuses && !hangs).then_some(serves_at),
            serves: false,
            ends_at,
            channel: match (deaf || stopped || immortal || hangs, shut) {
                (true, true) => Channel::Shut,
                (true, false) => Channel::Unheard,
                (false, _) => Channel::Heard,
            },
            drains: false,
            obeys_term: !stopped && !immortal,
            obeys_kill: !immortal,
        };
        self.pids += 1;
        self.empty.remove(&seat);
        self.supervisor.handle_started(self.now, seat, process.pid);
        self.processes.insert(seat, process);
    }

    fn order(&mut self, seat: usize, order: Order) {
        let stopping = self.supervisor.is_stopping();
        let random = &mut self.random;
        let Some(process) = self.processes.get_mut(&seat) else {
            return; // it was gone before the order reached it
        };
        assert!(
            stopping || !process.serves,
            "a worker that serves is left alone"
        );
        let by_channel = matches!(order, Order::Drain | Order::Stop);
        if by_channel && process.channel == Channel::Shut {
            return self.supervisor.handle_undelivered(seat, order, "closed");
        }
        let hears = process.channel == Channel::Heard;
        let (obeys, within) = match order {
            Order::Kill => (process.obeys_kill, 50),
            Order::Terminate => (process.obeys_term, 9_000),
            Order::Drain => (hears, 9_000),
            Order::Stop => (hears, 900),
        };
        let is_late = self.faults.late > 0;
        assert!(
            order != Order::Kill
                || self.supervisor.exit() != Exit::Ok
                || !(hears || process.obeys_term && !is_late),
            "who hears its channel or a signal is not killed: {process:?}"
        );
        process.drains |= obeys && matches!(order, Order::Drain | Order::Terminate);
        if obeys {
            let at = self.now + Duration::from_millis(random.magnitude(within) as u64);
            let status = match order {
                Order::Kill => killed(),
                Order::Stop => exited(5),
                Order::Drain | Order::Terminate => exited(0),
            };
            let sooner = process.ends_at.is_none_or(|(ends, _)| at < ends);
            if sooner {
                process.ends_at = Some((at, status));
            }
        }
    }

    /// Checks what must hold after every turn.
    fn check(&self) {
        if self.supervisor.is_stopping() {
            assert!(!self.listeners_open, "the listener goes first");
        }
        let patience = Duration::from_secs(5) + self.lateness;
        for (seat, since) in &self.empty {
            let tried = self.tried[*seat].map_or(*since, |tried| tried.max(*since));
            let waits = self.now.since(tried);
            let filled = self.supervisor.is_stopping() || waits <= patience;
            assert!(filled, "seat {seat} waits since {waits:?}");
        }
        let Some(first) = self.stops.first() else {
            return;
        };
        // Drain, grace, and the time of killed workers. The loop may be late for each of them.
        let late = Duration::from_millis((3 * LATE_MS_MAX).into());
        let most = Duration::from_secs(10 + 1 + 5) + late;
        let over = self.supervisor.is_over();
        assert!(over || self.now.since(*first) <= most, "{self:?}");
        if let Some(second) = self.stops.get(1) {
            // The time that a worker has to exit, and then the time of killed workers.
            let most = Duration::from_secs(1 + 5) + late;
            assert!(over || self.now.since(*second) <= most, "{self:?}");
        }
    }

    /// Checks that the server ended for a permitted reason.
    fn check_exit(&self) {
        let signalled = !self.stops.is_empty();
        match self.supervisor.exit() {
            Exit::Ok => assert_eq!(self.stops.len(), 1, "one signal"),
            Exit::Interrupted => assert_eq!(self.stops.len(), 2, "two signals"),
            Exit::Usage | Exit::Environment => {
                assert!(!self.announced, "a refusal ends only what never ran");
            }
            Exit::WorkersDied => {
                let much = |deaths: &Vec<Instant>| deaths.len() >= 5;
                let all = self.deaths.iter().all(much);
                let some = self.deaths.iter().any(much);
                assert!(all || (some && !self.announced), "{:?}", self.deaths);
                assert!(
                    !(self.faults.spare_first && self.announced),
                    "seat 0 served on"
                );
            }
            exit => panic!("{exit:?} after a signal: {signalled}"),
        }
    }
}

/// Prints how to repeat a run that panics.
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("RINGWAY_SIM_SEED={} repeats it", self.0);
        }
    }
}

#[test]
fn whatever_happens_healthy_workers_live_on_seats_are_filled_and_signals_are_obeyed() {
    let variable = |name| {
        let value = std::env::var(name).ok();
        value.map(|value| value.parse::<u64>().expect("a number"))
    };
    let seeds = match variable("RINGWAY_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..2000 * variable("RINGWAY_SIM_COUNT").unwrap_or(1),
    };
    let (mut announced, mut gave_up) = (0, 0);
    let total = seeds.end - seeds.start;
    for seed in seeds {
        let _replay = Replay(seed);
        let mut world = World::new(seed);
        world.run();
        announced += u64::from(world.announced);
        gave_up += u64::from(world.supervisor.exit() == Exit::WorkersDied);
    }
    println!("{total} worlds: {announced} announced, {gave_up} gave up");
    if total >= 2000 {
        assert!(
            announced > total / 4 && gave_up > 0,
            "the worlds are too tame or too wild"
        );
    }
}
