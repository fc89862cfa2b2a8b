//! The application of a worker in the client's role: dials, sends, checks what comes back, holds, resets and closes, each
//! connection by a plan of its own.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::client::difference;
use super::script::{self, Expected};
use super::servers::Ledger;
use crate::io::sim::Random;
use crate::io::{ConnId, ConnectOptions, Errno};
use crate::proto::{Chunk, CloseCode, Kind, Message, Misuse, Opcode};
use crate::protocol::Receiving;
use crate::time::Instant;
use crate::worker::{
    App, Closed, Context, Failure, Handle, OpeningRequest, Prepared, Scope, SendError, Tunnel,
};

/// Payload bytes of the prepared messages: small ones first.
const PREPARED_BYTES: [usize; 24] = [
    20, 20, 20, 20, 20, 20, 20, 20, 0, 1, 125, 126, 127, 500, 2_000, 4_000, 4_090, 5_000, 20_000,
    60_000, 65_535, 65_536, 100_000, 300_000,
];

/// How many of them are small.
const SMALL: usize = 16;

/// What became of a dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing was begun.
    NotBegun(Errno),
    Failed(Failure),
    Opened,
}

/// One connection, from before its dial on.
#[derive(Debug)]
pub(super) struct Driver {
    /// When it dials.
    pub(super) dial_at: Instant,
    /// It asks for a tunnel first.
    pub(super) tunnelled: bool,
    /// Messages that it sends before it closes.
    pub(super) messages: usize,
    /// Echoes that it waits for at most before it sends more.
    pub(super) in_flight_max: usize,
    /// In thousandths: messages that are prepared, that are small, and turns after which it holds.
    pub(super) prepared: u16,
    pub(super) small: u16,
    pub(super) holds: u16,
    /// When it resets, or closes without waiting for answers.
    pub(super) reset_at: Option<Instant>,
    pub(super) close_at: Option<Instant>,
    pub(super) was_reset: bool,
    pub(super) ledger: Rc<RefCell<Ledger>>,
    random: Random,
    pub(super) id: Option<ConnId>,
    connected: bool,
    pub(super) outcome: Option<Outcome>,
    pub(super) closed: Option<Closed<'static>>,
    /// When the outcome was there.
    pub(super) told: Option<Instant>,
    in_flight: usize,
    /// What came of a message in pieces.
    pieces: Vec<u8>,
    /// The prepared message before this one was sent last.
    next: usize,
    pub(super) held_until: Option<Instant>,
    /// It was refused, and waits to be told of room.
    waits: bool,
    closing: bool,
}

impl Driver {
    pub(super) fn new(seed: u64, ledger: Rc<RefCell<Ledger>>) -> Self {
        Self {
            dial_at: Instant::ZERO,
            tunnelled: false,
            messages: 10,
            in_flight_max: 1,
            prepared: 500,
            small: 900,
            holds: 0,
            reset_at: None,
            close_at: None,
            was_reset: false,
            ledger,
            random: Random::new(seed),
            id: None,
            connected: false,
            outcome: None,
            closed: None,
            told: None,
            in_flight: 0,
            next: 0,
            held_until: None,
            pieces: Vec::new(),
            waits: false,
            closing: false,
        }
    }

    /// Nothing more will happen.
    pub(super) const fn is_done(&self) -> bool {
        match self.outcome {
            None => false,
            Some(Outcome::Opened) => self.closed.is_some(),
            Some(_) => true,
        }
    }

    /// Where it is, for a run that fails.
    pub(super) fn describe(&self) -> String {
        format!(
            "{:?}: {:?}, {:?}, {} messages left, {} in flight, {} not heard, waits {}, closing {}, held until {:?}",
            self.id,
            self.outcome,
            self.closed,
            self.messages,
            self.in_flight,
            self.ledger.borrow().to_client.len(),
            self.waits,
            self.closing,
            self.held_until
        )
    }

    /// When it wants a turn although nothing arrives.
    fn alarm(&self) -> Option<Instant> {
        if self.is_done() {
            return None;
        }
        let dial_at = self.id.is_none().then_some(self.dial_at);
        let (reset_at, close_at) = (self.reset_at, self.close_at);
        let close_at = close_at.filter(|_| self.outcome.is_some());
        [dial_at, self.held_until, reset_at, close_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Sends until enough is in flight; with everything answered, closes.
    fn fill(&mut self, context: &mut Context<'_>, stock: &Stock) {
        while !self.closing && self.messages > 0 && self.in_flight < self.in_flight_max {
            if self.random.chance(50) {
                self.ping(context);
            }
            let full = context.queued_bytes() > stock.queue_bytes_max;
            let (message, sent) = self.send(context, stock);
            match sent {
                Ok(()) => assert!(!full, "the bound of the queue is kept"),
                Err(SendError::QueueFull) => {
                    assert!(full, "refused for what is queued and nothing else");
                    self.waits = true;
                    return;
                }
                Err(SendError::Misuse(misuse)) => {
                    assert_eq!((misuse, stock.stopping), (Misuse::AfterClose, true));
                    return;
                }
            }
            self.ledger.borrow_mut().to_server.push_back(message);
            self.messages -= 1;
            self.in_flight += 1;
        }
        if self.messages == 0 && self.in_flight == 0 {
            self.close(context, stock);
        }
    }

    fn close(&mut self, context: &mut Context<'_>, stock: &Stock) {
        if !std::mem::replace(&mut self.closing, true) {
            let closed = context.close(CloseCode::NormalClosure, "done");
            assert!(closed.is_ok() || stock.stopping, "{closed:?}");
            let late = context.send(Kind::Binary, b"late");
            assert_eq!(late, Err(SendError::Misuse(Misuse::AfterClose)));
        }
    }

    fn ping(&mut self, context: &mut Context<'_>) {
        let len = self.random.below(126);
        let payload = script::bytes(&mut self.random, len);
        if context.ping(&payload).is_ok() {
            let opcode = Opcode::Ping as u8;
            let ping = Expected { opcode, payload };
            self.ledger.borrow_mut().to_server.push_back(ping);
        }
    }

    fn send(
        &mut self,
        context: &mut Context<'_>,
        stock: &Stock,
    ) -> (Expected, Result<(), SendError>) {
        let random = &mut self.random;
        let small = random.chance(self.small);
        if random.chance(self.prepared) {
            // Small ones in order, so that they leave in one piece.
            self.next = match small {
                true => (self.next + 1) % SMALL,
                false => random.below(PREPARED_BYTES.len()),
            };
            let prepared = stock.prepared.as_ref().expect("made before the first turn");
            let sent = context.send_prepared(prepared, self.next);
            return (stock.messages[self.next].clone(), sent);
        }
        let len = random.magnitude(if small { 200 } else { 200_000 });
        let kind = random.pick(&[Kind::Text, Kind::Binary]);
        let payload = match kind {
            Kind::Text => script::text(random, len),
            Kind::Binary => script::bytes(random, len),
        };
        let sent = context.send(kind, &payload);
        let opcode = kind.opcode() as u8;
        (Expected { opcode, payload }, sent)
    }

    /// Something came; whether it is an echo.
    fn hear(&self, opcode: Opcode, payload: &[u8]) -> bool {
        let got = Expected {
            opcode: opcode as u8,
            payload: payload.to_vec(),
        };
        let expected = self.ledger.borrow_mut().to_client.pop_front();
        let (expected, echo) = expected.expect("nothing is heard that was not said");
        assert!(got == expected, "{}", difference(&got, &expected));
        echo
    }
}

/// What all drivers share.
#[derive(Debug)]
pub(super) struct Stock {
    pub(super) prepared: Option<Prepared>,
    /// What the prepared messages are.
    messages: Vec<Expected>,
    pub(super) queue_bytes_max: usize,
    /// The worker closes of its own accord.
    pub(super) stopping: bool,
}

impl Stock {
    /// The messages to be prepared.
    pub(super) fn messages(&self) -> Vec<(Kind, &[u8])> {
        self.messages
            .iter()
            .map(|message| (Kind::Binary, message.payload.as_slice()))
            .collect()
    }
}

/// The application.
#[derive(Debug)]
pub(super) struct Drivers {
    pub(super) drivers: Vec<Driver>,
    pub(super) stock: Stock,
    /// Dials that were begun, in order.
    pub(super) dialled: VecDeque<u32>,
    pub(super) begun: u64,
    pub(super) opened: u64,
    pub(super) failed: u64,
    pub(super) closed: u64,
    pub(super) clean: u64,
    request: Arc<OpeningRequest>,
    tunnelled: Arc<OpeningRequest>,
}

impl Drivers {
    pub(super) fn new(random: &mut Random, queue_bytes_max: usize) -> Self {
        let receiving = random.pick(&[
            Receiving::Messages,
            Receiving::Messages,
            Receiving::Frames,
            Receiving::Chunks,
        ]);
        let message = |len: &usize| Expected {
            opcode: Opcode::Binary as u8,
            payload: script::bytes(random, *len),
        };
        let request = OpeningRequest::new("ringway", "/echo", &[])
            .expect("a good request")
            .receiving(receiving);
        let tunnelled = request.clone().tunnel(Tunnel {
            authority: "ringway:80".to_owned(),
            authorization: None,
        });
        Self {
            drivers: Vec::new(),
            stock: Stock {
                prepared: None,
                messages: PREPARED_BYTES.iter().map(message).collect(),
                queue_bytes_max,
                stopping: false,
            },
            dialled: VecDeque::new(),
            begun: 0,
            opened: 0,
            failed: 0,
            closed: 0,
            clean: 0,
            request: Arc::new(request),
            tunnelled: Arc::new(tunnelled.expect("a good tunnel")),
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.drivers.iter().all(Driver::is_done)
    }

    /// When the next driver wants a turn.
    pub(super) fn alarm(&self) -> Option<Instant> {
        self.drivers.iter().filter_map(Driver::alarm).min()
    }

    fn of(&mut self, tag: u32) -> (&mut Driver, &Stock) {
        (&mut self.drivers[tag as usize], &self.stock)
    }

    fn dial(&mut self, reach: &mut Handle<'_>, tag: u32) {
        let dial = ConnectOptions::new(std::net::SocketAddr::from(([127, 0, 0, 1], 9)));
        let driver = &mut self.drivers[tag as usize];
        let request = match driver.tunnelled {
            true => &self.tunnelled,
            false => &self.request,
        };
        match reach.connect(&dial, request, tag) {
            Ok(id) => {
                driver.id = Some(id);
                self.begun += 1;
                self.dialled.push_back(tag);
            }
            Err(errno) => driver.outcome = Some(Outcome::NotBegun(errno)),
        }
    }

    /// What a driver does of its own accord.
    fn act(&mut self, reach: &mut Handle<'_>, tag: u32, now: Instant) {
        let (driver, stock) = self.of(tag);
        let Some(id) = driver.id.filter(|_| !driver.is_done()) else {
            return;
        };
        let is_due = |at: &mut Instant| *at <= now;
        if driver.reset_at.take_if(|at| is_due(at)).is_some() {
            driver.was_reset = true;
            reach.reset(id);
            // Once more does no harm.
            reach.reset(id);
        }
        if driver.held_until.take_if(|at| is_due(at)).is_some() {
            reach.resume(id);
        } else if driver.held_until.is_none() && driver.random.chance(driver.holds) {
            reach.pause(id);
            let pause = Duration::from_micros(driver.random.below(3_000) as u64);
            driver.held_until = Some(now + pause);
        }
        let Some(mut context) = reach.context(id) else {
            return;
        };
        assert_eq!((context.id(), context.tag()), (id, tag));
        if driver.close_at.take_if(|at| is_due(at)).is_some() {
            driver.close(&mut context, stock);
        } else if !driver.waits && driver.random.chance(100) {
            driver.fill(&mut context, stock);
        }
        // In any state, with or without something to send.
        if driver.random.chance(driver.holds.max(100)) {
            reach.send_now(id);
        }
    }
}

impl App for Drivers {
    type Session = ();

    fn connected(&mut self, scope: &mut Scope<'_>, (): &mut ()) {
        let (driver, _) = self.of(scope.tag());
        assert!(driver.id.is_some() && driver.outcome.is_none());
        let again = std::mem::replace(&mut driver.connected, true);
        assert!(!again, "connected once");
    }

    fn failed(&mut self, scope: &mut Scope<'_>, (): (), failed: Failure) {
        let (driver, _) = self.of(scope.tag());
        assert_eq!((driver.id, &driver.outcome), (Some(scope.id()), &None));
        let before = matches!(failed, Failure::Connect(_));
        assert!(!before || !driver.connected);
        driver.outcome = Some(Outcome::Failed(failed));
        self.failed += 1;
    }

    fn open(&mut self, context: &mut Context<'_>, (): &mut ()) {
        let (driver, stock) = self.of(context.tag());
        assert_eq!((driver.id, &driver.outcome), (Some(context.id()), &None));
        assert!(driver.connected, "connected before it is open");
        driver.outcome = Some(Outcome::Opened);
        driver.fill(context, stock);
        self.opened += 1;
    }

    fn message(&mut self, context: &mut Context<'_>, (): &mut (), message: Message<'_>) {
        let (driver, stock) = self.of(context.tag());
        assert_eq!(driver.closed, None);
        if driver.hear(message.kind().opcode(), message.payload()) {
            driver.in_flight -= 1;
        }
        // A client masks, so it can send nothing back from where it lies.
        assert_eq!(context.reply(message), Err(Misuse::WrongMask));
        if !driver.waits {
            driver.fill(context, stock);
        }
    }

    fn chunk(&mut self, context: &mut Context<'_>, (): &mut (), chunk: Chunk<'_>) {
        let (driver, stock) = self.of(context.tag());
        assert_eq!(driver.closed, None);
        assert!(!chunk.message_begins || driver.pieces.is_empty());
        driver.pieces.extend_from_slice(chunk.payload);
        if chunk.message_ends {
            let message = std::mem::take(&mut driver.pieces);
            if driver.hear(chunk.kind.opcode(), &message) {
                driver.in_flight -= 1;
            }
            if !driver.waits {
                driver.fill(context, stock);
            }
        }
    }

    fn ping(&mut self, context: &mut Context<'_>, (): &mut (), payload: &[u8]) {
        self.of(context.tag()).0.hear(Opcode::Ping, payload);
    }

    fn pong(&mut self, context: &mut Context<'_>, (): &mut (), payload: &[u8]) {
        let (driver, _) = self.of(context.tag());
        let pong = |(next, _): &(Expected, bool)| {
            next.opcode == Opcode::Pong as u8 && next.payload == payload
        };
        let asked = driver.ledger.borrow().to_client.front().is_some_and(pong);
        if asked {
            driver.hear(Opcode::Pong, payload);
        }
    }

    fn writable(&mut self, context: &mut Context<'_>, (): &mut ()) {
        assert_eq!(context.queued_bytes(), 0);
        let (driver, stock) = self.of(context.tag());
        driver.waits = false;
        driver.fill(context, stock);
    }

    fn turn(&mut self, reach: &mut Handle<'_>) {
        let now = reach.now();
        for tag in 0..u32::try_from(self.drivers.len()).expect("a few") {
            let (driver, _) = self.of(tag);
            if driver.id.is_none() && driver.outcome.is_none() && driver.dial_at <= now {
                self.dial(reach, tag);
            }
            self.act(reach, tag, now);
            let (driver, _) = self.of(tag);
            if driver.told.is_none() && driver.outcome.is_some() {
                driver.told = Some(now);
            }
        }
    }

    fn close(&mut self, scope: &mut Scope<'_>, (): (), closed: Closed<'_>) {
        let (driver, _) = self.of(scope.tag());
        assert_eq!(driver.id, Some(scope.id()));
        assert_eq!(driver.outcome, Some(Outcome::Opened));
        let closed = Closed {
            reason: "",
            traffic: None,
            ..closed
        };
        assert_eq!(driver.closed.replace(closed), None, "closed once");
        self.closed += 1;
        self.clean += u64::from(closed.clean);
    }
}
