//! Carries requests to the bus and outcomes back: the only one here that touches the bus.
//!
//! While nothing is open it does not read, so the traffic of the workers costs the supervisor nothing.

use std::time::{Duration, SystemTime};

use ringway_bus::log::Refusal;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use super::super::error::error;
use super::super::fleet::{Shared, locked};
use super::desk::{self, Outcome, Request, Say};
use crate::bus::{Bus, Error, Kind, Plan, Said, Segments};
use crate::time;

/// Requests that are taken before the workers are rung for.
const BATCH_MAX: usize = 16;

pub(super) type Requests = mpsc::Receiver<(Request, oneshot::Sender<Outcome>)>;

/// The supervisor's seat on the bus, and what is open there.
#[derive(Debug)]
pub(in crate::supervise) struct Teller {
    bus: Bus,
    desk: desk::Desk<oneshot::Sender<Outcome>>,
    /// Bytes of messages after which the workers have their turn: an eighth of a log.
    batch_bytes_max: usize,
}

impl Say for Bus {
    fn say(&mut self, kind: Kind, topic: &str, body: &[u8]) -> Result<(), Refusal> {
        self.publish(kind, u64::MAX, topic.as_bytes(), body)
    }
}

impl Teller {
    /// Takes the supervisor's seat.
    ///
    /// # Errors
    /// The bus cannot be joined.
    pub(in crate::supervise) fn new(segments: &Segments, plan: &Plan) -> Result<Self, Error> {
        let failed = |source| Error {
            operation: "join the workers' bus",
            source,
        };
        let seat = plan.api_seat();
        let bus = Bus::join(segments.try_clone().map_err(failed)?, plan, seat)?;
        // Later than those of an earlier process.
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let last_ticket = since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(0));
        Ok(Self {
            bus,
            desk: desk::Desk::new(plan.workers(), seat, last_ticket),
            batch_bytes_max: plan.record_bytes_max(),
        })
    }

    /// Serves until nobody can ask any more.
    pub(super) async fn serve(self, mut requests: Requests, fleet: Shared) {
        let Self {
            mut bus,
            mut desk,
            batch_bytes_max,
        } = self;
        let bell = match bus.watch_bell() {
            Ok(bell) => bell,
            Err(failure) => return error(format!("the HTTP API does not work: {failure}")),
        };
        let tell = |told: Option<Told>| tell(&fleet, told);
        loop {
            if desk.is_waiting() {
                bus.read(|seat, said| match said {
                    Said::Record { topic, body, .. } => tell(desk.handle(seat, topic, body)),
                    // Answers may be among them.
                    Said::Missed(records) => locked(&fleet).api.missed += records.get(),
                    Said::Replaced => {}
                });
                while let Some(told) = desk.handle_timeout(time::now()) {
                    tell(Some(told));
                }
            }
            let is_waiting = desk.is_waiting();
            if is_waiting && !bus.fall_asleep() {
                // The bus may have news all the time: requests are not to wait for its end.
                if let Ok((request, reply)) = requests.try_recv() {
                    tell(desk.take(time::now(), &request, reply, &mut bus));
                    bus.ring();
                }
                tokio::task::yield_now().await;
                continue;
            }
            let due = desk.poll_timeout().map(|due| due.since(time::now()));
            tokio::select! {
                request = requests.recv() => {
                    let Some(first) = request else { return };
                    if !is_waiting {
                        bus.skip();
                    }
                    let more = std::iter::from_fn(|| requests.try_recv().ok());
                    let mut bytes = 0;
                    for (request, reply) in std::iter::once(first).chain(more).take(BATCH_MAX) {
                        bytes += request.bytes();
                        tell(desk.take(time::now(), &request, reply, &mut bus));
                        // Rung for before they could be overtaken.
                        bus.ring();
                        if bytes >= batch_bytes_max {
                            break;
                        }
                    }
                    tokio::task::yield_now().await;
                }
                ready = bell.readable(), if is_waiting => {
                    if let Ok(mut ready) = ready {
                        bus.hush();
                        ready.clear_ready();
                    }
                }
                () = sleep(due.unwrap_or(Duration::MAX)), if due.is_some() => {}
            }
            bus.wake();
        }
    }
}

/// An outcome, and who is told.
type Told = (oneshot::Sender<Outcome>, Outcome);

/// Counts and tells. Whoever asked may have left.
fn tell(fleet: &Shared, told: Option<Told>) {
    if let Some((reply, outcome)) = told {
        let is_published = matches!(outcome, Outcome::Published(_) | Outcome::Sent);
        locked(fleet).api.published += u64::from(is_published);
        let _ = reply.send(outcome);
    }
}
