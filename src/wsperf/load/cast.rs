//! Who plays what: the script of each driver thread, and its part of the connections.
//!
//! Owns: how a run is divided among its threads. Never: waits for one.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use super::broadcast::{self, Broadcast};
use super::churn::Churn;
use super::echo::{self, Echo};
use super::fanout::Fanout;
use super::handshake::{self, Handshake};
use super::massconnect::{self, Massconnect};
use super::meter::{Meter, Note};
use super::options::{self, LoadOptions, Scenario};
use super::payloads::Payloads;
use super::pubsub::{self, Pubsub, Topics};
use super::ramp::Ramp;
use super::replay::{self, Replay};
use super::schedule::Schedule;
use super::thread::{self, Seat};
use crate::proto::Kind;
use crate::random::Random;
use crate::worker::OpeningRequest;

/// What all threads of a run share.
#[derive(Debug)]
pub(super) struct Cast {
    request: Arc<OpeningRequest>,
    pub(super) fanout: Arc<Fanout>,
    /// Those of a pubsub.
    topics: Arc<Topics>,
    /// What every connection of a replay does.
    session: Option<Arc<replay::Session>>,
    /// Which connections send, by their number among those of all threads.
    active: Vec<bool>,
}

impl Cast {
    pub(super) fn new(request: Arc<OpeningRequest>, options: &LoadOptions) -> Self {
        let topics = match &options.scenario {
            Scenario::Pubsub(pubsub) => Topics::new(&pubsub.topic, pubsub.topics),
            _ => Topics::new("", 0),
        };
        let session = match &options.scenario {
            Scenario::Replay(replay) => Some(replay::Session::new(replay).into()),
            _ => None,
        };
        let threads = (0..options.threads).filter(|index| senders(options, *index) > 0);
        Self {
            request,
            fanout: Fanout::new(threads.count()).into(),
            topics: topics.into(),
            session,
            active: active(options),
        }
    }
}

/// How many connections of a thread send what others get, in a broadcast or pubsub: of all connections the first do.
fn senders(options: &LoadOptions, thread: usize) -> usize {
    let senders = match options.scenario {
        Scenario::Broadcast { senders, .. } => senders,
        Scenario::Pubsub(_) => 1,
        _ => 0,
    };
    let (first, count) = share(options.connections, thread, options.threads);
    senders.saturating_sub(first).min(count)
}

/// Chooses which connections send. In `mixed` the seed draws a part of them, over the whole range of numbers.
fn active(options: &LoadOptions) -> Vec<bool> {
    let count = options.connections;
    let Scenario::Mixed { idle } = options.scenario else {
        return vec![true; count];
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a count of connections"
    )]
    let senders = (count as f64 * (1.0 - idle)).ceil() as usize;
    let mut active: Vec<bool> = (0..count).map(|at| at < senders).collect();
    Random::new(options.seed ^ 0x1D1E).shuffle(&mut active);
    active
}

/// The part of `total` that thread `index` of `threads` drives: the first number, and how many.
fn share(total: usize, index: usize, threads: usize) -> (usize, usize) {
    let (each, rest) = (total / threads, total % threads);
    (
        index * each + index.min(rest),
        each + usize::from(index < rest),
    )
}

/// The body of a driver thread.
pub(super) fn play(
    seat: &Seat,
    cast: &Cast,
    notes: Sender<Note>,
) -> Result<thread::Result, String> {
    let options = &*seat.options;
    let (first, count) = share(options.connections, seat.index, options.threads);
    let of_thread = |total: usize| share(total, seat.index, options.threads).1.max(1);
    let meter = Meter::new(seat.index, notes);
    let ramp = |count, at_once| Ramp::new(options, &cast.request, first, count, at_once);
    let opening = of_thread(options.connecting_max);
    match &options.scenario {
        Scenario::Handshake { low, high, count } => {
            let plan = handshake::Plan {
                low: of_thread(*low),
                high: of_thread(*high),
                count: count.map(|count| {
                    let count = usize::try_from(count).unwrap_or(usize::MAX);
                    share(count, seat.index, options.threads).1 as u64
                }),
            };
            let ramp = ramp(Handshake::tags(&plan), plan.high);
            thread::run(seat, Handshake::new(meter, ramp, plan))
        }
        Scenario::Massconnect {
            batch,
            batch_delay,
            retry_delay,
            ping_interval,
        } => {
            let plan = massconnect::Plan {
                batch: of_thread(*batch),
                batch_delay: *batch_delay,
                retry_delay: *retry_delay,
                ping_interval: *ping_interval,
                timeout: options.timeout,
            };
            thread::run(
                seat,
                Massconnect::new(meter, ramp(count, opening), plan, count),
            )
        }
        Scenario::Broadcast {
            senders,
            others_only,
        } => {
            let ramp = ramp(count, opening);
            let senders = (*senders, *others_only);
            thread::run(
                seat,
                broadcast(seat, meter, ramp, &cast.fanout, (first, count), senders),
            )
        }
        Scenario::Pubsub(scenario) => {
            let ramp = ramp(count, opening);
            thread::run(
                seat,
                pubsub(seat, meter, ramp, cast, (first, count), scenario),
            )
        }
        Scenario::Replay(scenario) => {
            let session = cast.session.as_ref().ok_or("there is no session to play")?;
            let plan = replay::Plan::new(scenario, (first, count), options.timeout);
            let ramp = ramp(count, opening);
            thread::run(seat, Replay::new(meter, ramp, session, plan))
        }
        Scenario::Echo | Scenario::Mixed { .. } | Scenario::Stress(_) | Scenario::Soak(_) => {
            let ramp = ramp(count, opening);
            thread::run(seat, echo(seat, meter, ramp, cast, (first, count)))
        }
    }
}

/// The part in a broadcast of `count` connections, from number `first` on.
fn broadcast(
    seat: &Seat,
    meter: Meter,
    ramp: Ramp,
    fanout: &Arc<Fanout>,
    (first, count): (usize, usize),
    (senders, others_only): (usize, bool),
) -> Broadcast {
    let options = &*seat.options;
    let own = self::senders(options, seat.index);
    let pace = match options.rate {
        // A thread without senders only receives.
        Some(rate) => {
            let rate = if own > 0 {
                rate * own as f64 / senders as f64
            } else {
                1.0
            };
            let phase = seat.index as f64 / options.threads as f64;
            broadcast::Pace::Open(Schedule::new(rate, phase))
        }
        None => broadcast::Pace::Closed {
            in_flight: options.in_flight,
        },
    };
    let size = message_size(options);
    let kind = if options.payload.binary {
        Kind::Binary
    } else {
        Kind::Text
    };
    let plan = broadcast::Plan {
        first,
        count,
        senders,
        others_only,
        unbatched: options.unbatched,
        size,
        kind,
    };
    Broadcast::new(meter, ramp, pace, fanout, plan)
}

/// The part in a pubsub of `count` connections, from number `first` on.
fn pubsub(
    seat: &Seat,
    meter: Meter,
    ramp: Ramp,
    cast: &Cast,
    (first, count): (usize, usize),
    scenario: &options::Pubsub,
) -> Pubsub {
    let options = &*seat.options;
    let plan = pubsub::Plan {
        first,
        count,
        connects_per_second: scenario.connects_per_second,
        batch: scenario.batch,
        size: message_size(options),
        timeout: options.timeout,
    };
    let batches = options.rate.unwrap_or(1.0) / scenario.batch as f64;
    let pace = Schedule::new(batches, 0.0);
    Pubsub::new(meter, ramp, pace, &cast.fanout, &cast.topics, plan)
}

/// Bytes of a message where all have the same size.
fn message_size(options: &LoadOptions) -> usize {
    options.payload.sizes.first().map_or(0, |(size, _)| *size)
}

/// The script of the scenarios that echo.
fn echo(
    seat: &Seat,
    meter: Meter,
    ramp: Ramp,
    cast: &Cast,
    (first, count): (usize, usize),
) -> Echo {
    let options = &*seat.options;
    let churn = match &options.scenario {
        Scenario::Stress(churn) | Scenario::Soak(churn) => Some(churn),
        _ => None,
    };
    let own = &cast.active[first..first + count];
    let of = |active: &[bool]| active.iter().filter(|active| **active).count();
    let (senders, all_senders) = (of(own), of(&cast.active));
    let seed = options
        .seed
        .wrapping_mul(1000)
        .wrapping_add(seat.index as u64);
    let payloads = Payloads::new(&options.payload, options.verify, seed);
    let part = count as f64 / options.connections as f64;
    let pace = match options.rate {
        Some(rate) if senders > 0 => {
            let phase = seat.index as f64 / options.threads as f64;
            let share = senders as f64 / all_senders as f64;
            echo::Pace::Open(Schedule::new(rate * share, phase))
        }
        // In a thread whose connections are all idle nothing is ever due, so any pace will do.
        _ => echo::Pace::Closed {
            in_flight: options.in_flight,
        },
    };
    let churn = churn.map(|churn| Churn::new(churn, part, count, seed ^ 0xC4));
    let plan = echo::Plan {
        active: own.to_vec(),
        unbatched: options.unbatched,
    };
    Echo::new(meter, payloads, ramp, pace, plan, churn)
}
