//! `stress_test`: many connections, of which every step is timed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::super::command::{Lifetime, MESSAGES_MAX, Messages, StressTest, TEST_MAX};
use super::super::reply::{Status, StressConnection, StressOutcome};
use super::{CLOSE_TIMEOUT, Destination, HANDSHAKE_TIMEOUT, PATIENCE, Way, abandon, index, seed};
use crate::io::{ConnId, Error, Io};
use crate::load::options::IoTier;
use crate::load::tier::{Task, on};
use crate::proto::{CloseCode, Kind, Limits, Message, Role, http};
use crate::random::Random;
use crate::time::{self, Instant};
use crate::worker::{
    App, Closed, Config, Context, Failure, Handle, Masking, Prepared, Scope, Worker,
};

/// Longest wait for an answer. A connection that waits longer has failed.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Most connects in one turn when there is no delay between them. A backlog takes a few hundred at a time.
const CONNECTS_PER_TURN: usize = 128;

/// Runs a `stress_test`. None: it was cancelled.
///
/// # Errors
/// The event loop failed, in a sentence.
pub fn stress(
    test: &StressTest,
    destination: &Destination,
    tier: IoTier,
    cancelled: &AtomicBool,
) -> Result<Option<StressOutcome>, String> {
    on(
        tier,
        StressTask {
            test,
            destination,
            cancelled,
        },
    )
}

struct StressTask<'a> {
    test: &'a StressTest,
    destination: &'a Destination,
    cancelled: &'a AtomicBool,
}

impl Task for StressTask<'_> {
    type Output = Option<StressOutcome>;

    fn run<I: Io>(self, io: I) -> Result<Self::Output, Error> {
        let bytes_max = self.test.msg_size.max(1) as u64;
        let mut random = Random::new(seed());
        let config = Config {
            message_limits: Limits {
                frame_bytes_max: bytes_max,
                message_bytes_max: bytes_max,
            },
            head_limits: http::Limits::RESPONSE,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            close_timeout: CLOSE_TIMEOUT,
            write_timeout: None,
            masking: Masking::Seeded(random.bits()),
            ..Config::default()
        };
        let payload = vec![b'*'; self.test.msg_size];
        let crowd = Crowd::new(self.test, self.destination, random);
        let mut worker = Worker::client(io, crowd, config);
        let prepared = worker.prepare(Role::Client, &[(Kind::Text, &payload)], None);
        worker.app_mut().prepared = Some(prepared.expect("64 MiB are less than 1 GiB"));
        let ends = worker.app().began + TEST_MAX;
        while !(worker.app().is_begun() && worker.connections() == 0) {
            let patience = worker.app().patience();
            worker.turn(Some(patience))?;
            if self.cancelled.load(Ordering::Relaxed) {
                worker.app_mut().stopped = true;
                return abandon(&mut worker).map(|()| None);
            }
            if time::now() >= ends {
                worker.app_mut().stopped = true;
                worker.abort();
            }
        }
        Ok(Some(std::mem::take(&mut worker.app_mut().outcome)))
    }
}

/// The application of all connections; a connection's tag is its index.
struct Crowd<'a> {
    test: &'a StressTest,
    way: Way,
    /// Connections that try the server's next address: their number, and the index of the address.
    moved_on: Vec<(u32, usize)>,
    random: Random,
    prepared: Option<Prepared>,
    began: Instant,
    /// When the next connect is due.
    connect_at: Instant,
    /// When to look for late answers.
    look_at: Instant,
    /// The test's time is over: nothing more is begun.
    stopped: bool,
    messages: u64,
    peers: Vec<Peer>,
    /// When connections are to be closed, and which.
    ends: BinaryHeap<Reverse<(u64, u32)>>,
    outcome: StressOutcome,
}

/// The state of one connection.
struct Peer {
    /// None: the connect could not even begin.
    id: Option<ConnId>,
    /// The index of its address.
    place: usize,
    /// When the unanswered message was sent.
    due: Option<Instant>,
}

impl<'a> Crowd<'a> {
    fn new(test: &'a StressTest, destination: &Destination, random: Random) -> Self {
        let began = time::now();
        Self {
            test,
            way: Way::new(destination),
            moved_on: Vec::new(),
            random,
            prepared: None,
            began,
            connect_at: began,
            look_at: began + ANSWER_MAX,
            stopped: false,
            messages: match test.messages {
                Messages::Fixed(count) => count,
                Messages::Infinite => MESSAGES_MAX / test.connection_count.max(1) as u64,
            },
            peers: Vec::with_capacity(test.connection_count),
            ends: BinaryHeap::new(),
            outcome: StressOutcome::default(),
        }
    }

    const fn is_begun(&self) -> bool {
        self.stopped || self.peers.len() == self.test.connection_count
    }

    /// The time until something is due.
    fn patience(&self) -> Duration {
        let end = self
            .ends
            .peek()
            .map(|Reverse((at, _))| Instant::from_nanos(*at));
        let connect = (!self.is_begun()).then_some(self.connect_at);
        let due = end.into_iter().chain(connect).min();
        due.map_or(PATIENCE, |due| due.since(time::now()).min(PATIENCE))
    }

    fn ns(&self, at: Instant) -> u64 {
        u64::try_from(at.since(self.began).as_nanos()).unwrap_or(u64::MAX)
    }

    fn record(&mut self, tag: u32) -> &mut StressConnection {
        &mut self.outcome.connections[index(tag)]
    }

    fn connect(&mut self, reach: &mut Handle<'_>) {
        let now = time::now();
        let tag = u32::try_from(self.peers.len()).expect("there are at most 20,000");
        self.peers.push(Peer {
            id: None,
            place: self.way.first(),
            due: None,
        });
        self.outcome.connections.push(StressConnection {
            start_ns: Some(self.ns(now)),
            ..StressConnection::default()
        });
        self.connect_at = self.connect_at + self.test.handshake_delay;
        self.begin(reach, tag, self.way.first());
    }

    /// Begins to connect to the address at `place`.
    fn begin(&mut self, reach: &mut Handle<'_>, tag: u32, place: usize) {
        match self.way.connect(reach, place, tag) {
            Ok((id, place)) => {
                let peer = &mut self.peers[index(tag)];
                (peer.id, peer.place) = (Some(id), place);
            }
            Err(_) => self.fail(tag),
        }
    }

    /// Gives a connection up: it did not open, or an answer was wrong or late.
    fn fail(&mut self, tag: u32) {
        let now = self.ns(time::now());
        let record = self.record(tag);
        record.status = Status::Failed;
        record.fail_ns = Some(now);
        self.outcome.failed += 1;
    }

    /// Sends the next message, or closes, or waits until the connection's time is over.
    fn go_on(&mut self, context: &mut Context<'_>) {
        let tag = context.tag();
        if self.record(tag).messages_ns.len() as u64 == self.messages {
            if self.test.lifetime == Lifetime::Infinite {
                self.close(context);
            }
            return;
        }
        let Some(prepared) = &self.prepared else {
            unreachable!("it is prepared before the first turn")
        };
        let now = time::now();
        // One message always fits the queue. After a Close the send fails, which is right.
        if context.send_prepared(prepared, 0).is_ok() {
            self.peers[index(tag)].due = Some(now);
        }
    }

    fn close(&mut self, context: &mut Context<'_>) {
        if context.close(CloseCode::NormalClosure, "").is_ok() {
            let now = self.ns(time::now());
            let record = self.record(context.tag());
            record.close_sent_ns = Some(now);
            record.status = Status::Closing;
        }
    }

    /// Closes connections whose time is over.
    fn expire(&mut self, reach: &mut Handle<'_>) {
        while let Some(Reverse((at, tag))) = self.ends.peek().copied()
            && Instant::from_nanos(at) <= reach.now()
        {
            self.ends.pop();
            let id = self.peers[index(tag)].id;
            if let Some(mut context) = id.and_then(|id| reach.context(id)) {
                self.close(&mut context);
            }
        }
    }

    /// Gives up connections whose answer is late.
    fn look(&mut self, reach: &mut Handle<'_>) {
        let now = reach.now();
        if now < self.look_at {
            return;
        }
        self.look_at = now + Duration::from_secs(1);
        for at in 0..self.peers.len() {
            let Peer { id, due, .. } = &mut self.peers[at];
            let late = due.is_some_and(|due| now.since(due) > ANSWER_MAX);
            if late && let Some(id) = *id {
                *due = None;
                reach.reset(id);
                self.fail(u32::try_from(at).expect("there are at most 20,000"));
            }
        }
    }
}

impl App for Crowd<'_> {
    type Session = ();

    fn connected(&mut self, scope: &mut Scope<'_>, (): &mut ()) {
        let (tag, now) = (scope.tag(), scope.now());
        self.way.connected(self.peers[index(tag)].place);
        let now = self.ns(now);
        self.record(tag).tcp_ns = Some(now);
    }

    fn failed(&mut self, scope: &mut Scope<'_>, (): (), failed: Failure) {
        let place = self.peers[index(scope.tag())].place;
        match self.way.failed(place, &failed, HANDSHAKE_TIMEOUT) {
            Ok(next) if !self.stopped => self.moved_on.push((scope.tag(), next)),
            _ => self.fail(scope.tag()),
        }
    }

    fn open(&mut self, context: &mut Context<'_>, (): &mut ()) {
        let (tag, now) = (context.tag(), time::now());
        let open_ns = self.ns(now);
        let record = self.record(tag);
        record.open_ns = Some(open_ns);
        record.status = Status::Open;
        self.outcome.total += 1;
        self.outcome.current += 1;
        self.outcome.max = self.outcome.max.max(self.outcome.current);
        let life = match self.test.lifetime {
            Lifetime::Infinite => None,
            Lifetime::Fixed(time) => Some(time),
            Lifetime::Random(most) => {
                let most = usize::try_from(most.as_nanos()).unwrap_or(usize::MAX - 1);
                let drawn = self.random.between(0, most) as u64;
                Some(Duration::from_nanos(drawn))
            }
        };
        if let Some(life) = life {
            self.ends.push(Reverse(((now + life).nanos(), tag)));
        }
        self.go_on(context);
    }

    fn message(&mut self, context: &mut Context<'_>, (): &mut (), message: Message<'_>) {
        let (tag, now) = (context.tag(), time::now());
        let Some(sent) = self.peers[index(tag)].due.take() else {
            return;
        };
        let right = message.kind() == Kind::Text
            && message.len() == self.test.msg_size
            && message.payload().iter().all(|byte| *byte == b'*');
        if !right {
            self.close(context);
            return self.fail(tag);
        }
        let times = [self.ns(sent), self.ns(now)];
        self.record(tag).messages_ns.push(times);
        self.go_on(context);
    }

    fn turn(&mut self, reach: &mut Handle<'_>) {
        for _ in 0..CONNECTS_PER_TURN {
            if self.is_begun() || reach.now() < self.connect_at {
                break;
            }
            self.connect(reach);
        }
        for (tag, place) in std::mem::take(&mut self.moved_on) {
            self.begin(reach, tag, place);
        }
        self.expire(reach);
        self.look(reach);
    }

    fn close(&mut self, scope: &mut Scope<'_>, (): (), _closed: Closed<'_>) {
        let now = self.ns(time::now());
        self.peers[index(scope.tag())].due = None;
        self.outcome.current -= 1;
        let record = self.record(scope.tag());
        record.close_ns = Some(now);
        if record.status != Status::Failed {
            record.status = Status::Closed;
        }
    }
}
