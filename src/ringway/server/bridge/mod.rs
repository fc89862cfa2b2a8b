//! The bridge to a broker: a process beside the workers, with a seat of its own on their bus.
//!
//! Owns: its loop, the figures that it reports. Never: serves a client, knows a protocol of a broker (`ringway_backplane` does).
//!
//! It ends when its standard input does: the supervisor closes it when all workers are gone, and the kernel when the supervisor is. Signals
//! mean nothing to it, because an init system sends them to all processes of a server at once, and workers still publish while they drain.
#![forbid(unsafe_code)]

mod desk;

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::os::fd::AsFd as _;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ringway_backplane::{Counts, FromBus, Options, ToBus};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::beside;
use super::process::{adopt, environment, inherited_segments};
use crate::bus::Bus;
use crate::exit::Fatal;
use crate::io::{sys, words};
use crate::options::{ServerOptions, WorkerSeat};
use crate::stats::bridge::Counters;
use crate::stats::sidecar::Totals as _;
use crate::supervise;
use desk::Desk;

/// Messages that wait between the bus and the backplane, in each direction.
const WAITING_MAX: usize = 1024;

/// Time after a record in which the bridge looks again without being rung for: a worker that publishes all the time need not wake it for each
/// message, which would cost that worker a system call each time. It is what a runtime's clock can do.
const LINGER: Duration = Duration::from_millis(1);

/// Time for what waits for the broker when the server ends.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(1);

/// Runs the bridge until the server ends.
pub fn run(options: &ServerOptions, seat: &WorkerSeat) -> ExitCode {
    beside::run("bridge", "ringway-bridge", || try_run(options, seat))
}

fn try_run(options: &ServerOptions, seat: &WorkerSeat) -> Result<(), Fatal> {
    let bad = || Fatal::usage("a bridge is started by its supervisor only");
    let (plan, segments) = options
        .bus_plan()
        .zip(inherited_segments(seat)?)
        .ok_or_else(bad)?;
    let own = plan.bridge_seat();
    let failed = |what: &'static str| move |error: std::io::Error| environment(what, &error);
    let stats = adopt(seat.stats_fd.ok_or_else(bad)?)?;
    let bus = Bus::join(segments, &plan, own).map_err(|error| environment("the bus", &error))?;
    let backplane = Options {
        url: options.backplane.url.clone().ok_or_else(bad)?,
        prefix: options.backplane.prefix.clone(),
        origin: origin().map_err(failed("random bytes"))?,
        is_successor: seat.index > 0,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed("the runtime"))?;
    runtime.block_on(async {
        let end = std::io::stdin().as_fd().try_clone_to_owned();
        let end = end.and_then(|end| words::waited(end.into()));
        let desk = Floor {
            bell: bus.watch_bell().map_err(failed("the bell"))?,
            bus,
            desk: Desk::new(plan.workers(), own),
            end: end.map_err(failed("the standard input"))?,
            stats,
            interval: options.record_interval(),
            shown: options.backplane.shown().unwrap_or_default(),
            is_down: false,
        };
        desk.carry(&backplane).await
    })
}

/// 128 random bits of the kernel.
fn origin() -> std::io::Result<ringway_backplane::Origin> {
    use std::io::Read as _;
    let mut origin = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut origin)?;
    Ok(origin)
}

/// The bridge's place on the bus.
struct Floor {
    bus: Bus,
    desk: Desk,
    bell: AsyncFd<File>,
    end: AsyncFd<File>,
    stats: File,
    interval: Duration,
    /// The broker, for people.
    shown: String,
    is_down: bool,
}

impl Floor {
    async fn carry(mut self, backplane: &Options) -> Result<(), Fatal> {
        let (say, from_bus) = channel(WAITING_MAX);
        let (to_bus, mut told) = channel(WAITING_MAX);
        let counts = Counts::default();
        let running = ringway_backplane::run(backplane, from_bus, to_bus, &counts);
        tokio::pin!(running);
        tokio::select! {
            result = &mut running => return result.map_err(Fatal::usage),
            () = self.work(&say, &mut told, &counts) => {}
        }
        drop(say);
        // What is not written by then is lost with the server.
        let _ = timeout(DRAIN_TIME_MAX, running).await;
        self.report(&counts);
        Ok(())
    }

    /// Carries until the server ends.
    async fn work(&mut self, say: &Sender<FromBus>, told: &mut Receiver<ToBus>, counts: &Counts) {
        let mut due = Instant::now();
        loop {
            self.bus.wake();
            let has_heard = self.hear(say).await;
            for _ in 0..WAITING_MAX {
                match told.try_recv() {
                    Ok(what) => self.take(&what),
                    Err(_) => break,
                }
            }
            if self.desk.is_curious {
                self.desk.ask(&mut self.bus);
            }
            if Instant::now() >= due {
                due = Instant::now() + self.interval;
                self.desk.ask(&mut self.bus);
                if !self.report(counts) {
                    return;
                }
            }
            self.bus.ring();
            if has_heard {
                tokio::select! {
                    Some(what) = told.recv() => self.take(&what),
                    () = sleep(LINGER) => {}
                }
                continue;
            }
            if !self.bus.fall_asleep() {
                tokio::task::yield_now().await;
                continue;
            }
            tokio::select! {
                ready = self.bell.readable() => {
                    self.bus.hush();
                    if let Ok(mut ready) = ready {
                        ready.clear_ready();
                    }
                }
                Some(what) = told.recv() => self.take(&what),
                () = sleep_until(due) => {}
                _ = self.end.readable() => {
                    // The workers are gone: this is the rest of what they have said.
                    while self.bus.has_news() {
                        self.hear(say).await;
                    }
                    return;
                }
            }
        }
    }

    /// Reads the bus, passes it on, and says whether there was anything.
    async fn hear(&mut self, say: &Sender<FromBus>) -> bool {
        let Self { bus, desk, .. } = self;
        let mut has_heard = false;
        bus.read(|seat, said| {
            has_heard = true;
            desk.handle(seat, said);
        });
        for said in self.desk.out.drain(..) {
            // Fails only when the backplane has ended, which `carry` sees.
            let _ = say.send(said).await;
        }
        has_heard
    }

    fn take(&mut self, told: &ToBus) {
        match told {
            ToBus::Down(why) => {
                self.is_down = true;
                supervise::warning(format!(
                    "the backplane {} is away: {why}; topics stay on this server until it is back",
                    self.shown
                ));
            }
            ToBus::Up if std::mem::take(&mut self.is_down) => {
                supervise::note(format!("the backplane {} is back", self.shown));
            }
            _ => {}
        }
        self.desk.take(told, &mut self.bus);
    }

    /// Sends the figures to the supervisor. `false`: it is gone.
    fn report(&mut self, counts: &Counts) -> bool {
        let get = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        let of_desk = &self.desk.counters;
        let counters = Counters {
            connected: get(&counts.connected),
            published: get(&counts.published),
            dropped_away: get(&counts.dropped_away),
            dropped_full: get(&counts.dropped_full),
            dropped_too_big: get(&counts.dropped_too_big),
            overflowed: get(&counts.overflowed),
            repeated: get(&counts.repeated),
            invalid: get(&counts.invalid) + of_desk.invalid,
            reconnects: get(&counts.reconnects),
            gaps: get(&counts.gaps),
            cpu_ns: sys::thread_cpu_ns(),
            ..*of_desk
        };
        // A pipe takes so few bytes as a whole or not at all.
        match self.stats.write_all(&counters.encode()) {
            Ok(()) => true,
            // The next record has these counts as well.
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    }
}
