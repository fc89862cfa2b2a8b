//! `message_test`: one connection, whose answers are compared and timed.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::command::MessageTest;
use super::super::reply::{Ending, MessageOutcome};
use super::{CLOSE_TIMEOUT, Destination, HANDSHAKE_TIMEOUT, PATIENCE, Way, abandon, seed};
use crate::io::{ConnId, Error, Io};
use crate::load::options::{IoTier, Verify};
use crate::load::tier::{Task, on};
use crate::proto::{CloseCode, Kind, Limits, Message, Role, http};
use crate::random::Random;
use crate::time::{self, Instant};
use crate::worker::{
    App, Closed, Config, Context, Failure, Handle, Masking, Prepared, Scope, SendError, Worker,
};

/// With `sync=false`: most messages that wait for their answers.
const IN_FLIGHT_MAX: usize = 1024;

/// With `sync=false`: most bytes of these messages. Two messages are always allowed.
const IN_FLIGHT_BYTES_MAX: usize = 4 << 20;

/// Bytes by which a wrong answer may be longer than a right one without ending the connection.
const LONGER_BYTES: u64 = 1024;

/// Runs a `message_test`. None: it was cancelled. The inner error says why there was no connection.
///
/// # Errors
/// The event loop failed, in a sentence.
pub fn message(
    test: &MessageTest,
    destination: &Destination,
    tier: IoTier,
    cancelled: &AtomicBool,
) -> Result<Option<Result<MessageOutcome, String>>, String> {
    on(
        tier,
        MessageTask {
            test,
            destination,
            cancelled,
        },
    )
}

struct MessageTask<'a> {
    test: &'a MessageTest,
    destination: &'a Destination,
    cancelled: &'a AtomicBool,
}

impl Task for MessageTask<'_> {
    type Output = Option<Result<MessageOutcome, String>>;

    fn run<I: Io>(self, io: I) -> Result<Self::Output, Error> {
        let bytes_max = self.test.size as u64 + LONGER_BYTES;
        let mut random = Random::new(seed());
        let config = Config {
            message_limits: Limits {
                frame_bytes_max: bytes_max,
                message_bytes_max: bytes_max,
            },
            head_limits: http::Limits::RESPONSE,
            handshake_timeout: handshake_timeout(self.test),
            close_timeout: CLOSE_TIMEOUT,
            write_timeout: None,
            send_queue_bytes_max: IN_FLIGHT_BYTES_MAX,
            masking: Masking::Seeded(random.bits()),
            ..Config::default()
        };
        let exchange = Exchange::new(self.test, self.destination, payload(self.test, random));
        let mut worker = Worker::client(io, exchange, config);
        let message = [(worker.app().kind(), worker.app().payload.clone())];
        let message = message
            .each_ref()
            .map(|(kind, payload)| (*kind, payload.as_slice()));
        let prepared = worker.prepare(Role::Client, &message, None);
        worker.app_mut().prepared = Some(prepared.expect("64 MiB are less than 1 GiB"));
        let mut patience = std::time::Duration::ZERO;
        loop {
            worker.turn(Some(patience))?;
            if worker.app().is_over() && worker.connections() == 0 {
                return Ok(Some(worker.app_mut().take_outcome()));
            }
            if self.cancelled.load(Ordering::Relaxed) {
                return abandon(&mut worker).map(|()| None);
            }
            patience = match worker.app().deadline {
                Some(deadline) => deadline.since(time::now()).min(PATIENCE),
                None => PATIENCE,
            };
        }
    }
}

/// The limit of the opening handshake: the test's timeout if that is shorter.
fn handshake_timeout(test: &MessageTest) -> std::time::Duration {
    HANDSHAKE_TIMEOUT.min(test.timeout)
}

/// Random bytes, or random printable ASCII.
fn payload(test: &MessageTest, mut random: Random) -> Vec<u8> {
    let mut payload = vec![0; test.size];
    random.fill(&mut payload);
    if !test.binary {
        for byte in &mut payload {
            *byte = b' ' + *byte % 95;
        }
    }
    payload
}

/// The application of the one connection.
struct Exchange<'a> {
    test: &'a MessageTest,
    way: Way,
    payload: Vec<u8>,
    prepared: Option<Prepared>,
    conn: Option<ConnId>,
    /// The index of the address, and whether the connect was begun.
    place: usize,
    begun: bool,
    sent: u64,
    /// When each unanswered message was sent.
    due: VecDeque<Instant>,
    round_trips_ns: Vec<u64>,
    /// When the first message was sent, and when the test ended.
    first: Option<Instant>,
    end: Option<Instant>,
    deadline: Option<Instant>,
    ending: Option<Ending>,
    /// Why there was no connection.
    failure: Option<String>,
    closed: bool,
}

impl<'a> Exchange<'a> {
    fn new(test: &'a MessageTest, destination: &Destination, payload: Vec<u8>) -> Self {
        Self {
            test,
            way: Way::new(destination),
            payload,
            prepared: None,
            conn: None,
            place: 0,
            begun: false,
            sent: 0,
            due: VecDeque::new(),
            round_trips_ns: Vec::new(),
            first: None,
            end: None,
            deadline: None,
            ending: None,
            failure: None,
            closed: false,
        }
    }

    const fn kind(&self) -> Kind {
        if self.test.binary {
            Kind::Binary
        } else {
            Kind::Text
        }
    }

    const fn is_over(&self) -> bool {
        self.closed || self.failure.is_some()
    }

    fn take_outcome(&mut self) -> Result<MessageOutcome, String> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let total = match (self.first, self.end) {
            (Some(first), Some(end)) => end.since(first),
            _ => std::time::Duration::ZERO,
        };
        Ok(MessageOutcome {
            ending: self.ending.unwrap_or(Ending::Fail),
            round_trips_ns: std::mem::take(&mut self.round_trips_ns),
            total,
        })
    }

    fn in_flight_max(&self) -> usize {
        if self.test.sync {
            return 1;
        }
        (IN_FLIGHT_BYTES_MAX / self.test.size.max(1)).clamp(2, IN_FLIGHT_MAX)
    }

    /// Sends as many messages as may be under way.
    fn send(&mut self, context: &mut Context<'_>) {
        let in_flight_max = self.in_flight_max();
        let Some(prepared) = &self.prepared else {
            unreachable!("it is prepared before the first turn")
        };
        while self.sent < self.test.count && self.due.len() < in_flight_max {
            let now = time::now();
            match context.send_prepared(prepared, 0) {
                Ok(()) => {}
                Err(SendError::QueueFull) => return,
                Err(_) => return self.finish(context, Ending::Fail),
            }
            self.first.get_or_insert(now);
            self.due.push_back(now);
            self.sent += 1;
        }
    }

    fn is_right(&self, message: &Message<'_>) -> bool {
        message.kind() == self.kind()
            && match self.test.correctness {
                Verify::Exact => message.payload() == self.payload,
                Verify::Length => message.len() == self.payload.len(),
            }
    }

    fn finish(&mut self, context: &mut Context<'_>, ending: Ending) {
        self.ending = Some(ending);
        self.end = Some(time::now());
        // Fails if the peer has closed already, which changes nothing.
        let _ = context.close(CloseCode::NormalClosure, "");
    }
}

impl App for Exchange<'_> {
    type Session = ();

    fn connected(&mut self, _scope: &mut Scope<'_>, (): &mut ()) {
        self.way.connected(self.place);
    }

    fn failed(&mut self, _scope: &mut Scope<'_>, (): (), failed: Failure) {
        let within = handshake_timeout(self.test);
        match self.way.failed(self.place, &failed, within) {
            Ok(next) => (self.place, self.begun) = (next, false),
            Err(why) => self.failure = Some(why),
        }
    }

    fn open(&mut self, context: &mut Context<'_>, (): &mut ()) {
        self.deadline = Some(context.now() + self.test.timeout);
        self.send(context);
    }

    fn message(&mut self, context: &mut Context<'_>, (): &mut (), message: Message<'_>) {
        let now = time::now();
        if self.ending.is_some() {
            return;
        }
        // An answer without a message counts as a wrong one.
        let Some(sent) = self.due.pop_front() else {
            return self.finish(context, Ending::Fail);
        };
        if !self.is_right(&message) {
            return self.finish(context, Ending::Fail);
        }
        let round_trip = now.since(sent).as_nanos();
        self.round_trips_ns
            .push(u64::try_from(round_trip).unwrap_or(u64::MAX));
        if self.round_trips_ns.len() as u64 == self.test.count {
            return self.finish(context, Ending::Pass);
        }
        self.send(context);
    }

    fn writable(&mut self, context: &mut Context<'_>, (): &mut ()) {
        if self.ending.is_none() {
            self.send(context);
        }
    }

    fn turn(&mut self, reach: &mut Handle<'_>) {
        if !std::mem::replace(&mut self.begun, true) {
            match self.way.connect(reach, self.place, 0) {
                Ok((id, place)) => (self.conn, self.place) = (Some(id), place),
                Err(why) => self.failure = Some(why),
            }
        }
        let late = self.deadline.is_some_and(|due| reach.now() >= due);
        if late
            && self.ending.is_none()
            && let Some(mut context) = self.conn.and_then(|id| reach.context(id))
        {
            self.finish(&mut context, Ending::TimeOut);
        }
    }

    fn close(&mut self, _scope: &mut Scope<'_>, (): (), _closed: Closed<'_>) {
        self.end.get_or_insert_with(time::now);
        self.closed = true;
    }
}
