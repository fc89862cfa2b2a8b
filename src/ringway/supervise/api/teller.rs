//! Carries requests to the bus and outcomes back: the only one here that touches the bus.
//!
//! While nothing is open it does not read, so the traffic of the workers costs the supervisor nothing.

use std::fs::File;
use std::time::{Duration, SystemTime};

use ringway_bus::log::Refusal;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use super::super::error::error;
use super::super::sys;
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
    bell: File,
    desk: desk::Desk<oneshot::Sender<Outcome>>,
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
        let bell = segments.rings[seat].try_clone().map_err(failed)?;
        let bus = Bus::join(segments.try_clone().map_err(failed)?, plan, seat)?;
        // Later than those of an earlier process.
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let last_ticket = since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(0));
        Ok(Self {
            bus,
            bell,
            desk: desk::Desk::new(plan.workers(), seat, last_ticket),
        })
    }

    /// Serves until nobody can ask any more.
    pub(super) async fn serve(self, mut requests: Requests) {
        let Self {
            mut bus,
            bell,
            mut desk,
        } = self;
        let bell = match sys::watch(bell) {
            Ok(bell) => bell,
            Err(failure) => return error(format!("the HTTP API does not work: {failure}")),
        };
        loop {
            if desk.is_waiting() {
                bus.read(|seat, said| {
                    if let Said::Record { topic, body, .. } = said {
                        tell(desk.handle(seat, topic, body));
                    }
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
                    for (request, reply) in std::iter::once(first).chain(more).take(BATCH_MAX) {
                        tell(desk.take(time::now(), &request, reply, &mut bus));
                    }
                    bus.ring();
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

/// Whoever asked may have left.
fn tell(told: Option<(oneshot::Sender<Outcome>, Outcome)>) {
    if let Some((reply, outcome)) = told {
        let _ = reply.send(outcome);
    }
}
