//! The decisions of the supervisor: events in, actions out. The instant is an argument.
//!
//! Owns: the phases of the server, the life of each seat, every time limit. Never: sees a process, a descriptor or a clock
//! (that is `run`), so that a seeded world can drive it (`supervisor_tests`).
//!
//! To drive a [`Supervisor`]:
//! 1. `handle_*` with each event.
//! 2. `poll_action()` until `None`; carry out each action. Report the outcome of an [`Action::Start`] at once: step 1.
//! 3. Wait for the next event, or until `next_due()`; then `handle_timeout(now)`; go to 2, unless `is_over()`.
//!
//! ```text
//!  Starting ── every seat serves ──► Running ── stop signal, or giving up ──► Stopping ── every seat is empty ──► over
//!                                                                             ├ second signal ─ Stop ─ 1 s ─ SIGKILL ──►
//!                                                                             └ drain time + grace ───────── SIGKILL ──►
//!
//!  a seat:   Vacant ── due: Start ──► Starting ── first record ──► Serving
//!              ▲   ◄── no process ───────┤ ended, or START_TIME_MAX: SIGKILL │ ended: a death
//!              └───────── back-off ──────┴───────────────────────────────────┘
//! ```
//!
//! Orders go through the control channel. If it is full or closed, or the worker does not answer within
//! `ANSWER_TIME_MAX`, a signal follows.

use std::collections::VecDeque;
use std::process::ExitStatus;
use std::time::Duration;

use super::fleet::State;
use super::options::RespawnPolicy;
use super::policy::Deaths;
use crate::exit::Exit;
use crate::signals;
use crate::time::Instant;

/// Time that a worker has beyond its drain time before it is killed: one that lives needs it only where the
/// machine is so busy that the worker comes late to its own deadline.
const DRAIN_GRACE: Duration = Duration::from_secs(5);

/// Time that a worker has to answer that it drains, before it gets a signal.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(1);

/// Time that a worker has to leave after [`Order::Stop`], before it is killed.
const STOP_TIME_MAX: Duration = Duration::from_secs(1);

/// Time that a killed process has to end. One that hangs in the kernel (a dead network file system) never does; after
/// this time the supervisor leaves it behind.
const KILL_TIME_MAX: Duration = Duration::from_secs(5);

/// Time without a first record after which a start is reported as slow.
const START_TIME_LONG: Duration = Duration::from_secs(10);

/// Time without a first record after which a worker counts as hanging: it is killed and replaced.
const START_TIME_MAX: Duration = Duration::from_secs(30);

/// Failed starts in a row of a seat that never had a process, before the server gives up. With the back-off this takes
/// about 1.5 s. A longer shortage at start-up is reported rather than waited for.
const FIRST_STARTS_MAX: u32 = 5;

/// What `run` must do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Start a worker on the seat, and report the outcome at once.
    Start { seat: usize },
    /// Give the worker on the seat an order. Report at once if the channel did not take it.
    Order { seat: usize, order: Order },
    /// The seat has no process any more: update its figures.
    Vacate { seat: usize, next: State },
    /// All seats serve for the first time: print the start-up line.
    Announce,
    /// Read the files of TLS again, and give workers what is in them.
    Reread,
    /// Close the listeners: the kernel then refuses connects.
    CloseListeners,
    /// Print a message to the user.
    Say(Severity, String),
}

/// An order to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Through the channel: drain, then exit.
    Drain,
    /// Through the channel: exit now.
    Stop,
    /// SIGTERM, which means `Drain`.
    Terminate,
    /// SIGKILL: the kernel ends the worker.
    Kill,
}

/// How serious a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    Error,
    Note,
    Warning,
}

/// Rules that do not change while the server runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) workers: usize,
    pub(super) respawn: RespawnPolicy,
    pub(super) drain_timeout: Duration,
}

/// The state of the server, from which it decides.
#[derive(Debug)]
pub(super) struct Supervisor {
    rules: Rules,
    phase: Phase,
    seats: Vec<Seat>,
    actions: VecDeque<Action>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// Not every seat has served yet.
    Starting,
    Running,
    Stopping(Stop),
}

/// How the server ends.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stop {
    exit: Exit,
    /// The reason, for the last line of the log.
    why: String,
    began: Instant,
    kill: Kill,
    /// When workers that have not answered get a signal; `None` after that.
    answer_due: Option<Instant>,
    /// Connections that workers cut off at the end of their drain, as far as they reported.
    cut: u64,
}

/// How a stop goes on if workers do not end by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kill {
    /// A second signal has come, and all workers were told to exit at once. At this instant the others are killed.
    Pressed(Instant),
    /// At this instant, the remaining workers are killed.
    Due(Instant),
    /// All were killed. At this instant, the supervisor leaves the remaining ones behind.
    Done(Instant),
}

#[derive(Debug)]
struct Seat {
    life: Life,
    deaths: Deaths,
    /// Whether a worker of this seat ever served. Before that, a refusal ends the server, because the user must act.
    has_served: bool,
    /// Whether its worker has answered that it drains.
    drains: bool,
    /// Failed starts since a worker last served, and the last kind of failure that was reported.
    failed_starts: u32,
    trouble: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// No process. One is started at `due`.
    Vacant { due: Instant },
    /// An [`Action::Start`] was polled. Its outcome was not reported yet.
    Launching,
    /// A process without a record.
    Starting { pid: u32, born: Instant, slow: Slow },
    /// A process whose first record has come.
    Serving { pid: u32, born: Instant },
    /// No process, and none will be started.
    Gone,
}

/// What was done about a worker that is slow to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slow {
    No,
    /// The user was told, after [`START_TIME_LONG`].
    Told,
    /// It was killed after [`START_TIME_MAX`].
    Killed,
}

impl Life {
    const fn pid(self) -> Option<u32> {
        match self {
            Self::Starting { pid, .. } | Self::Serving { pid, .. } => Some(pid),
            Self::Vacant { .. } | Self::Launching | Self::Gone => None,
        }
    }
}

impl Supervisor {
    /// A server that starts at `now`.
    pub(super) fn new(rules: Rules, now: Instant) -> Self {
        let seat = |_| Seat {
            life: Life::Vacant { due: now },
            deaths: Deaths::default(),
            has_served: false,
            drains: false,
            failed_starts: 0,
            trouble: None,
        };
        let mut supervisor = Self {
            rules,
            phase: Phase::Starting,
            seats: (0..rules.workers).map(seat).collect(),
            actions: VecDeque::new(),
        };
        supervisor.handle_timeout(now);
        supervisor
    }

    /// The next action to carry out.
    pub(super) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The instant at which `handle_timeout` must be called; `None` if only an event can change anything.
    pub(super) fn next_due(&self) -> Option<Instant> {
        if let Phase::Stopping(stop) = &self.phase {
            let (Kill::Due(at) | Kill::Pressed(at) | Kill::Done(at)) = stop.kill;
            return Some(stop.answer_due.map_or(at, |due| due.min(at)));
        }
        let of_seat = |seat: &Seat| match seat.life {
            Life::Vacant { due } => Some(due),
            Life::Starting { born, slow, .. } => match slow {
                Slow::No => Some(born + START_TIME_LONG),
                Slow::Told => Some(born + START_TIME_MAX),
                Slow::Killed => None,
            },
            Life::Launching | Life::Serving { .. } | Life::Gone => None,
        };
        self.seats.iter().filter_map(of_seat).min()
    }

    /// Whether no process is left, and none will be started.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Stopping(_))
            && self.seats.iter().all(|seat| seat.life == Life::Gone)
    }

    pub(super) const fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running)
    }

    pub(super) const fn is_stopping(&self) -> bool {
        matches!(self.phase, Phase::Stopping(_))
    }

    /// The exit code of the server.
    pub(super) const fn exit(&self) -> Exit {
        match &self.phase {
            Phase::Stopping(stop) => stop.exit,
            Phase::Starting | Phase::Running => Exit::Failure,
        }
    }

    /// A worker was started on the seat.
    pub(super) fn handle_started(&mut self, now: Instant, seat: usize, pid: u32) {
        debug_assert_eq!(self.seats[seat].life, Life::Launching);
        self.seats[seat].drains = false;
        self.seats[seat].life = Life::Starting {
            pid,
            born: now,
            slow: Slow::No,
        };
    }

    /// No worker could be started on the seat, because of a shortage that may pass.
    pub(super) fn handle_start_failed(&mut self, now: Instant, seat: usize, why: &str) {
        debug_assert_eq!(self.seats[seat].life, Life::Launching);
        self.fail_start(now, seat, format!("cannot be started: {why}"));
    }

    /// The worker on the seat has answered that it drains, perhaps after a signal from elsewhere.
    pub(super) fn handle_draining(&mut self, seat: usize) {
        self.seats[seat].drains = true;
    }

    /// A worker exits. It cut off `cut` connections that did not end by themselves.
    pub(super) fn handle_drained(&mut self, cut: u32) {
        if let Phase::Stopping(stop) = &mut self.phase {
            stop.cut += u64::from(cut);
        }
    }

    /// The control channel did not take an order for the worker on the seat: a signal follows. That is no news of a
    /// worker that drains: it closes the channel when it leaves.
    pub(super) fn handle_undelivered(&mut self, seat: usize, order: Order, why: &str) {
        let (order, how) = match order {
            Order::Drain => (Order::Terminate, "SIGTERM"),
            Order::Stop => (Order::Kill, "SIGKILL"),
            Order::Terminate | Order::Kill => return,
        };
        if !self.seats[seat].drains {
            self.say(
                Severity::Warning,
                format!("worker {seat} is told by {how}, because its control channel is {why}"),
            );
        }
        self.actions.push_back(Action::Order { seat, order });
    }

    /// The worker on the seat has reported for the first time: it accepts.
    pub(super) fn handle_ready(&mut self, seat: usize) {
        let post = &mut self.seats[seat];
        let Life::Starting { pid, born, .. } = post.life else {
            return;
        };
        post.life = Life::Serving { pid, born };
        post.has_served = true;
        post.trouble = None;
        let failed = std::mem::take(&mut post.failed_starts);
        if failed > 0 {
            self.say(
                Severity::Note,
                format!("worker {seat} (pid {pid}) serves, after {failed} failed starts"),
            );
        }
        let serves = |seat: &Seat| matches!(seat.life, Life::Serving { .. });
        if matches!(self.phase, Phase::Starting) && self.seats.iter().all(serves) {
            self.phase = Phase::Running;
            self.actions.push_back(Action::Announce);
        }
    }

    /// The process on the seat has ended and was reaped. `status` is `None` if waiting for it failed.
    pub(super) fn handle_exit(&mut self, now: Instant, seat: usize, status: Option<ExitStatus>) {
        let life = self.seats[seat].life;
        let how = status.map_or_else(|| "is gone".to_owned(), |status| format!("ended: {status}"));
        match (&self.phase, life) {
            (Phase::Stopping(_), _) => self.leave(now, seat),
            (_, Life::Serving { pid, born }) => self.handle_death(now, seat, pid, born, &how),
            (
                _,
                Life::Starting {
                    slow: Slow::Killed, ..
                },
            ) => {
                let seconds = START_TIME_MAX.as_secs();
                self.fail_start(now, seat, format!("did not serve within {seconds} s"));
            }
            // A replacement failed to start. The other workers serve, and its shortage may pass.
            (_, Life::Starting { .. }) if self.seats[seat].has_served => {
                self.fail_start(now, seat, format!("{how} before it served"));
            }
            (_, Life::Starting { pid, born, .. }) => match refusal(status) {
                Some(exit) => {
                    let why = "it refused to start, so no new one would do better (its reason is above); stopping";
                    self.give_up(
                        now,
                        seat,
                        exit,
                        format!("worker {seat} (pid {pid}) {how}; {why}"),
                    );
                }
                None => self.handle_death(now, seat, pid, born, &how),
            },
            (_, Life::Vacant { .. } | Life::Launching | Life::Gone) => {
                debug_assert!(false, "nobody sat on seat {seat}");
            }
        }
    }

    /// The supervisor itself received a signal.
    pub(super) fn handle_signal(&mut self, now: Instant, signal: i32) {
        let name = signals::name(signal);
        if signal == libc::SIGHUP {
            return self.actions.push_back(Action::Reread);
        }
        if !signals::is_stop(signal) {
            return self.say(
                Severity::Note,
                format!("{name} is ignored: it has no meaning here; SIGTERM stops the server"),
            );
        }
        match &mut self.phase {
            Phase::Starting | Phase::Running => self.stop(now, Exit::Ok, name),
            Phase::Stopping(stop) => {
                if stop.exit == Exit::Ok {
                    stop.exit = Exit::Interrupted;
                }
                match stop.kill {
                    Kill::Due(at) => {
                        stop.kill = Kill::Pressed(at.min(now + STOP_TIME_MAX));
                        self.order_all(Order::Stop);
                    }
                    Kill::Pressed(_) | Kill::Done(_) => self.kill(now),
                }
            }
        }
    }

    /// The program that this server wraps has ended, and the server is to end with it. Returns whether it began to.
    pub(super) fn handle_program_end(&mut self, now: Instant, why: String) -> bool {
        let begins = !self.is_stopping();
        if begins {
            self.stop(now, Exit::Ok, why);
        }
        begins
    }

    /// The program that this server wraps could not be started: it would lead clients nowhere.
    pub(super) fn handle_program_missing(&mut self, now: Instant, why: String) {
        if !self.is_stopping() {
            self.say(Severity::Error, why.clone());
            self.stop(now, Exit::Usage, why);
        }
    }

    /// Handles everything that is due at `now`.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if let Phase::Stopping(stop) = &mut self.phase {
            let kill = stop.kill;
            if stop.answer_due.take_if(|due| *due <= now).is_some() {
                self.signal_the_deaf();
            }
            return self.press_on(now, kill);
        }
        let mut late = Vec::new();
        for seat in 0..self.seats.len() {
            match &mut self.seats[seat].life {
                life @ Life::Vacant { .. } if life_is_due(*life, now) => {
                    *life = Life::Launching;
                    self.actions.push_back(Action::Start { seat });
                }
                Life::Starting { born, slow, .. } if *slow != Slow::Killed => {
                    if *born + START_TIME_MAX <= now {
                        *slow = Slow::Killed;
                        let order = Order::Kill;
                        self.actions.push_back(Action::Order { seat, order });
                    } else if *slow == Slow::No && *born + START_TIME_LONG <= now {
                        *slow = Slow::Told;
                        late.push(seat.to_string());
                    }
                }
                _ => {}
            }
        }
        if !late.is_empty() {
            let (seconds, late) = (START_TIME_LONG.as_secs(), late.join(", "));
            self.say(
                Severity::Warning,
                format!("not ready after {seconds} s: worker {late}; --debug shows what they do"),
            );
        }
    }

    /// A worker died that had served, or that was the first of its seat.
    fn handle_death(&mut self, now: Instant, seat: usize, pid: u32, born: Instant, how: &str) {
        let policy = self.rules.respawn;
        self.seats[seat].deaths.count(policy, born, now);
        let deaths = self.seats[seat].deaths.recent(policy, now);
        let who = format!("worker {seat} (pid {pid})");
        let too_many = self.seats[seat].deaths.are_too_many(policy, now);
        // Once every seat has served, one failing seat does not end the connections of the others.
        let last = policy == RespawnPolicy::Never
            || matches!(self.phase, Phase::Starting)
            || (self.seats.iter_mut()).all(|seat| seat.deaths.are_too_many(policy, now));
        let window = match policy {
            RespawnPolicy::Never => now.since(born),
            RespawnPolicy::Limited { window, .. } => window,
        };
        let count = format!("death {deaths} of this seat within {} s", window.as_secs());
        if too_many && last {
            let why = format!(
                "{who} {how}; that is {count}; giving up: look for what kills it in the messages above, or run with \
                 --debug"
            );
            return self.give_up(now, seat, Exit::WorkersDied, why);
        }
        let delay = self.seats[seat].deaths.next_delay(policy);
        let beside = if too_many {
            format!(" (that is {count}; the other workers serve on)")
        } else {
            String::new()
        };
        self.say(
            Severity::Warning,
            format!(
                "{who} {how}; a new one starts in {} ms{beside}",
                delay.as_millis()
            ),
        );
        self.vacate(seat, now + delay);
    }

    /// A start failed. It is tried again, without end once a worker of the seat has served: the shortage may pass, and
    /// the other workers serve meanwhile.
    fn fail_start(&mut self, now: Instant, seat: usize, why: String) {
        if self.is_stopping() {
            return self.leave(now, seat);
        }
        let policy = self.rules.respawn;
        let post = &mut self.seats[seat];
        post.failed_starts += 1;
        if !post.has_served && post.failed_starts >= FIRST_STARTS_MAX {
            let tries = post.failed_starts;
            let sentence = format!("worker {seat} {why}; tried {tries} times; stopping");
            return self.give_up(now, seat, Exit::Environment, sentence);
        }
        let due = now + post.deaths.next_delay(policy);
        if post.trouble.as_ref() != Some(&why) {
            // Reported once per kind of failure, not for each try.
            let sentence = format!("worker {seat} {why}; it is tried again until it serves");
            post.trouble = Some(why);
            self.say(Severity::Warning, sentence);
        }
        self.vacate(seat, due);
    }

    fn vacate(&mut self, seat: usize, due: Instant) {
        self.seats[seat].life = Life::Vacant { due };
        let next = State::Waiting;
        self.actions.push_back(Action::Vacate { seat, next });
    }

    fn give_up(&mut self, now: Instant, seat: usize, exit: Exit, why: String) {
        self.say(Severity::Error, why.clone());
        self.seats[seat].life = Life::Gone;
        let next = State::Gone;
        self.actions.push_back(Action::Vacate { seat, next });
        self.stop(now, exit, why);
    }

    /// Tells the workers to drain. The kernel refuses connects from now on.
    fn stop(&mut self, now: Instant, exit: Exit, why: String) {
        let kill = Kill::Due(now + self.rules.drain_timeout + DRAIN_GRACE);
        let began = now;
        self.phase = Phase::Stopping(Stop {
            exit,
            why,
            began,
            kill,
            answer_due: Some(now + ANSWER_TIME_MAX),
            cut: 0,
        });
        self.actions
            .retain(|action| !matches!(action, Action::Start { .. }));
        self.actions.push_back(Action::CloseListeners);
        for seat in 0..self.seats.len() {
            match self.seats[seat].life {
                Life::Starting { .. } | Life::Serving { .. } => {
                    let order = Order::Drain;
                    self.actions.push_back(Action::Order { seat, order });
                }
                Life::Vacant { .. } | Life::Launching => self.leave(now, seat),
                Life::Gone => {}
            }
        }
    }

    /// Marks the seat as empty for good.
    fn leave(&mut self, now: Instant, seat: usize) {
        self.seats[seat].life = Life::Gone;
        let next = State::Gone;
        self.actions.push_back(Action::Vacate { seat, next });
        if !self.is_over() {
            return;
        }
        if let Phase::Stopping(stop) = &self.phase {
            let took = now.since(stop.began).as_secs_f64();
            let cut = match stop.cut {
                0 => String::new(),
                1 => "; 1 connection had not ended, and was cut".to_owned(),
                cut => format!("; {cut} connections had not ended, and were cut"),
            };
            let sentence = match stop.exit {
                Exit::Ok => format!("stopped by {} after a drain of {took:.3} s{cut}", stop.why),
                Exit::Interrupted => {
                    format!("stopped hard by a second signal after {took:.3} s{cut}")
                }
                // The error that ended the server was reported already.
                _ => return,
            };
            self.say(Severity::Note, sentence);
        }
    }

    /// Handles the end of the drain time, or of the time that killed workers have.
    fn press_on(&mut self, now: Instant, kill: Kill) {
        match kill {
            Kill::Due(at) | Kill::Pressed(at) if at <= now => {
                let why = match kill {
                    Kill::Pressed(_) => "they do not leave",
                    _ => "the drain time is over",
                };
                let left = self.pids_left();
                if !left.is_empty() {
                    self.say(
                        Severity::Warning,
                        format!("{why}, killing workers that are left: pid {left}"),
                    );
                }
                self.kill(now);
            }
            Kill::Done(at) if at <= now => {
                let left = self.pids_left();
                self.say(
                    Severity::Error,
                    format!(
                        "left behind, because they do not end although they were killed: pid {left}"
                    ),
                );
                for seat in 0..self.seats.len() {
                    if self.seats[seat].life.pid().is_some() {
                        self.leave(now, seat);
                    }
                }
            }
            Kill::Due(_) | Kill::Pressed(_) | Kill::Done(_) => {}
        }
    }

    /// Sends a signal to workers that have not answered that they drain. Warns about those that serve and do not
    /// answer.
    fn signal_the_deaf(&mut self) {
        for seat in 0..self.seats.len() {
            let post = &self.seats[seat];
            let (drains, life) = (post.drains, post.life);
            if drains || life.pid().is_none() {
                continue;
            }
            if matches!(life, Life::Serving { .. }) {
                let seconds = ANSWER_TIME_MAX.as_secs();
                self.say(
                    Severity::Warning,
                    format!("worker {seat} is told by SIGTERM, because it has not answered for {seconds} s"),
                );
            }
            let order = Order::Terminate;
            self.actions.push_back(Action::Order { seat, order });
        }
    }

    fn kill(&mut self, now: Instant) {
        if let Phase::Stopping(stop) = &mut self.phase
            && !matches!(stop.kill, Kill::Done(_))
        {
            stop.kill = Kill::Done(now + KILL_TIME_MAX);
            stop.answer_due = None;
        }
        self.order_all(Order::Kill);
    }

    /// Gives every worker an order.
    fn order_all(&mut self, order: Order) {
        for seat in 0..self.seats.len() {
            if self.seats[seat].life.pid().is_some() {
                self.actions.push_back(Action::Order { seat, order });
            }
        }
    }

    fn pids_left(&self) -> String {
        let pids = self.seats.iter().filter_map(|seat| seat.life.pid());
        pids.map(|pid| pid.to_string())
            .collect::<Vec<_>>()
            .join(", ")
    }

    fn say(&mut self, severity: Severity, sentence: String) {
        self.actions.push_back(Action::Say(severity, sentence));
    }
}

fn life_is_due(life: Life, now: Instant) -> bool {
    matches!(life, Life::Vacant { due } if due <= now)
}

/// The exit code of a worker that reports that it cannot serve here.
fn refusal(status: Option<ExitStatus>) -> Option<Exit> {
    let exit = status
        .and_then(|status| status.code())
        .and_then(Exit::from_code);
    exit.filter(|exit| matches!(exit, Exit::Usage | Exit::Environment))
}

#[cfg(test)]
#[path = "supervisor_tests.rs"]
mod tests;
