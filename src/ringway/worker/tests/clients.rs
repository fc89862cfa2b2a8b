//! A worker in the client's role, in a simulation with servers of every kind.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::client::Pace;
use super::drivers::{Driver, Drivers, Outcome};
use super::servers::{Answer, Ending, Ledger, Server};
use super::world::{TURNS_MAX, seeds};
use crate::io::sim::{Faults, Options, Random, Sim};
use crate::io::{Errno, Io as _, ReceiveMode};
use crate::proto::handshake::{Fault, StatusCode};
use crate::proto::{CloseCode, Role};
use crate::stats::Counters;
use crate::time::Instant;
use crate::worker::{Config, Failure, Masking, Worker};

/// Longer than any pace needs for the rest of a connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// One run: a driver and a server for each tag.
#[derive(Debug)]
struct Net {
    worker: Worker<Sim, Drivers>,
    servers: Vec<Server>,
    random: Random,
    handshake_timeout: Duration,
    /// Connections break without anybody's doing.
    breaks: bool,
    turns: usize,
}

impl Net {
    fn new(options: Options, config: Config) -> Self {
        let mut random = Random::new(options.seed ^ 0xD1A1);
        let app = Drivers::new(&mut random, config.send_queue_bytes_max);
        let handshake_timeout = config.handshake_timeout;
        let mut worker = Worker::client(Sim::new(options), app, config);
        let stock = worker.app().stock.messages();
        let messages: Vec<_> = stock
            .iter()
            .map(|(kind, payload)| (*kind, payload.to_vec()))
            .collect();
        let messages: Vec<_> = messages
            .iter()
            .map(|(kind, payload)| (*kind, payload.as_slice()))
            .collect();
        let prepared = worker
            .prepare(Role::Client, &messages, None)
            .expect("little");
        worker.app_mut().stock.prepared = Some(prepared);
        Self {
            worker,
            servers: Vec::new(),
            random,
            handshake_timeout,
            breaks: false,
            turns: 0,
        }
    }

    /// A net as `seed` decides, in which nothing breaks on its own.
    fn draw(seed: u64) -> Self {
        let options = Options::draw(seed);
        let mut random = Random::new(seed ^ 0xC0F1);
        let config = Config {
            send_queue_bytes_max: random.pick(&[0, 1_000, 20_000, 1 << 20]),
            close_timeout: CLOSE_TIMEOUT,
            masking: Masking::Seeded(random.bits()),
            ..Config::default()
        };
        Self::new(options, config)
    }

    fn now(&self) -> Instant {
        self.worker.io().now()
    }

    /// One more connection: its driver and its server, which echoes and answers the driver's Close.
    fn add(&mut self) -> (&mut Driver, &mut Server) {
        let now = self.now();
        let random = &mut self.random;
        let ledger = Rc::new(RefCell::new(Ledger::default()));
        let mut driver = Driver::new(random.bits(), Rc::clone(&ledger));
        driver.dial_at = now + Duration::from_micros(random.below(3_000) as u64);
        driver.messages = random.magnitude(40);
        driver.in_flight_max = random.pick(&[1, 2, 10, 100]);
        driver.prepared = random.pick(&[0, 500, 1000]);
        driver.small = random.pick(&[700, 950, 1000]);
        driver.holds = random.pick(&[0, 0, 5, 100]);
        let mut server = Server::new(random.bits(), ledger);
        server.pace = Pace::draw(random, 1_000_000);
        server.delay = Duration::from_micros(random.below(3_000) as u64);
        server.own = random.pick(&[0, 1, 5]);
        self.worker.app_mut().drivers.push(driver);
        self.servers.push(server);
        let driver = self.worker.app_mut().drivers.last_mut();
        let server = self.servers.last_mut();
        (driver.expect("just added"), server.expect("just added"))
    }

    fn is_over(&self) -> bool {
        let sim = self.worker.io();
        self.worker.app().is_done() && self.servers.iter().all(|server| server.is_over(sim))
    }

    /// Every server acts, then the worker.
    fn step(&mut self) {
        self.turns += 1;
        assert!(self.turns < TURNS_MAX, "it ends");
        let now = self.now();
        while let Some(tag) = self.worker.app_mut().dialled.pop_front() {
            let peer = self.worker.io_mut().dialled().expect("one for each dial");
            self.servers[tag as usize].meet(peer, now);
        }
        let sim = self.worker.io_mut();
        for server in &mut self.servers {
            server.step(sim, now);
        }
        if self.is_over() && self.worker.connections() == 0 {
            return;
        }
        let sim = self.worker.io_mut();
        let alarms = self.servers.iter().filter_map(|server| server.alarm(sim));
        let alarm = alarms.min();
        sim.set_alarm(alarm);
        let patience = self.worker.app().alarm().map(|at| at.since(now));
        self.worker
            .turn(patience)
            .expect("a simulation never fails");
    }

    /// The worker closes everything.
    fn stop(&mut self) {
        let app = self.worker.app_mut();
        app.stock.stopping = true;
        for driver in &mut app.drivers {
            // Nobody releases what is held now but the worker.
            (driver.held_until, driver.holds) = (None, 0);
        }
        self.worker.drain();
    }

    /// Until everything is over; nothing may be left then.
    fn run(&mut self) -> Counters {
        while self.worker.connections() > 0 || !self.is_over() {
            self.step();
        }
        self.worker.io_mut().faults_mut().stale = 0;
        for _ in 0..2 {
            // Buffers of the last turn go back in the next one.
            self.worker
                .turn(Some(Duration::ZERO))
                .expect("a simulation never fails");
        }
        self.check()
    }

    fn check(&mut self) -> Counters {
        let counters = *self.worker.counters();
        let sim = self.worker.io();
        sim.assert_clean();
        let moved = sim.moved();
        let app = self.worker.app();
        assert_eq!(
            (counters.wire_bytes_in, counters.wire_bytes_out),
            (moved.received, moved.sent),
            "every byte is counted"
        );
        assert_eq!(
            (counters.clients, counters.sockets),
            (0, 0),
            "gauges end at zero"
        );
        assert_eq!(
            (counters.handshakes, counters.handshakes_failed),
            (app.opened, app.failed),
            "every outcome is told"
        );
        assert_eq!(app.begun, app.opened + app.failed, "of every dial");
        assert_eq!(app.closed, app.opened, "every end is told");
        assert_eq!(counters.closed_unclean, app.closed - app.clean);
        assert_eq!(
            counters.pauses, 0,
            "no client waits for room before it reads"
        );
        for (driver, server) in app.drivers.iter().zip(&self.servers) {
            self.check_one(driver, server);
        }
        counters
    }

    /// What a plan says about its end, where it says anything.
    fn check_one(&self, driver: &Driver, server: &Server) {
        let outcome = driver.outcome.clone().expect("every dial has an outcome");
        let stopping = self.worker.app().stock.stopping;
        if self.breaks || stopping || driver.was_reset {
            return;
        }
        if server.ending != Ending::Answers && server.answer != Answer::Opens {
            return;
        }
        let failure = match server.answer {
            Answer::Never | Answer::Silent => Failure::Timeout,
            Answer::RefusesConnect => Failure::Connect(Errno(libc::ECONNREFUSED)),
            Answer::Garbage => {
                assert!(matches!(outcome, Outcome::Failed(Failure::Response(_))));
                return;
            }
            Answer::Status(status) => {
                let Outcome::Failed(Failure::Refused(refused)) = &outcome else {
                    panic!("{outcome:?}: {}", server.describe())
                };
                assert_eq!(refused.status, status);
                assert_eq!(refused.body, b"not today\n");
                return;
            }
            Answer::WrongAccept => Failure::Response(Fault::AcceptWrong),
            Answer::Opens => return self.check_end(driver, server, outcome),
        };
        let timed_out = failure == Failure::Timeout;
        assert_eq!(outcome, Outcome::Failed(failure), "{}", server.describe());
        if timed_out {
            let told = driver.told.expect("a turn follows");
            let took = told.since(driver.dial_at);
            // A timer is up to 100 ms late, and a dial waits for its turn.
            let late = took.saturating_sub(self.handshake_timeout);
            assert!(took >= self.handshake_timeout && late < Duration::from_millis(120));
        }
    }

    fn check_end(&self, driver: &Driver, server: &Server, outcome: Outcome) {
        let describe = server.describe();
        // Each of these servers says something in time, if only that it leaves.
        assert_ne!(outcome, Outcome::Failed(Failure::Timeout), "{describe}");
        if !matches!(
            server.ending,
            Ending::Answers | Ending::Closes(_) | Ending::Violates(_)
        ) {
            return;
        }
        assert_eq!(outcome, Outcome::Opened, "{describe}");
        let closed = driver.closed.expect("it is over");
        assert_eq!(closed.clean, server.violated.is_none(), "{describe}");
        assert!(server.close_heard.is_some(), "{describe}");
        if closed.clean {
            let ledger = server.ledger.borrow();
            assert!(ledger.to_client.is_empty() && ledger.to_server.is_empty());
            let codes = [CloseCode::NormalClosure, CloseCode::NoStatusRcvd];
            assert!(codes.contains(&closed.code), "{describe}");
        } else {
            assert_eq!(closed.code, CloseCode::AbnormalClosure);
        }
    }
}

impl Drop for Net {
    /// Says what a run was that panics.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let drivers = &self.worker.app().drivers;
            for (driver, server) in drivers.iter().zip(&self.servers) {
                eprintln!("{}\n{}", driver.describe(), server.describe());
            }
        }
    }
}

#[test]
fn every_message_goes_out_and_back_once_and_in_order() {
    seeds(120, |seed| {
        let mut net = Net::draw(seed);
        let count = net.random.between(1, 5);
        for _ in 0..count {
            net.add();
        }
        let counters = net.run();
        assert_eq!(counters.handshakes, count as u64);
        assert_eq!(counters.closed_unclean, 0);
    });
}

/// Every way to answer, and every way to end in every state.
#[test]
fn however_servers_end_nothing_is_left() {
    seeds(200, |seed| {
        let mut net = Net::draw(seed);
        net.breaks = seed % 2 == 1;
        if net.breaks {
            *net.worker.io_mut().faults_mut() = Faults::draw_breaking(&mut net.random);
        }
        for _ in 0..net.random.between(1, 6) {
            let random = &mut net.random;
            // As often before the response as inside it and behind it.
            let end = random.pick(&[1, 150, 20_000]);
            let at = random.below(end);
            let after = random.magnitude(10) as u64;
            let ending = match random.below(7) {
                0 => Ending::Closes(after - 1),
                1 => Ending::Violates(after - 1),
                2 => Ending::HalfClose(at),
                3 => Ending::Disappear(at),
                4 => Ending::Reset(at),
                _ => Ending::Answers,
            };
            let answer = match random.below(20) {
                0 => Answer::Never,
                1 => Answer::RefusesConnect,
                2 => Answer::Silent,
                3 => Answer::Garbage,
                4 => Answer::Status(random.pick(&[StatusCode(400), StatusCode(503)])),
                5 => Answer::WrongAccept,
                _ => Answer::Opens,
            };
            let acts = Duration::from_micros(random.magnitude(20_000) as u64);
            let what = random.below(8);
            let (driver, server) = net.add();
            (server.ending, server.answer) = (ending, answer);
            match what {
                0 => driver.reset_at = Some(driver.dial_at + acts),
                1 => driver.close_at = Some(driver.dial_at + acts),
                2 | 3 => (driver.tunnelled, server.tunnels) = (true, true),
                _ => {}
            }
        }
        net.run();
    });
}

/// The server reads nothing while it has something to say, and the client has to say more than its queue may hold: were
/// both to wait, neither would go on.
#[test]
fn a_client_reads_on_however_much_waits_for_the_server() {
    seeds(40, |seed| {
        let mut net = Net::draw(seed);
        let (driver, server) = net.add();
        (driver.messages, driver.in_flight_max) = (30, 30);
        (driver.small, driver.holds) = (500, 0);
        (server.own, server.stubborn) = (10, true);
        let counters = net.run();
        assert_eq!(counters.closed_unclean, 0);
    });
}

/// What a client accepts for a server that reads nothing stays below the bound, one message and what one turn adds.
#[test]
fn a_server_that_never_reads_costs_bounded_memory() {
    /// What leaves without a queue before a large message begins one: scratch, and prepared messages beside it.
    const TURN_BYTES_MAX: usize = 2 << 20;
    seeds(30, |seed| {
        let mut net = Net::draw(seed);
        let until = net.now() + Duration::from_secs(2);
        let max = net.worker.app().stock.queue_bytes_max + 300_014 + TURN_BYTES_MAX;
        let (driver, server) = net.add();
        (driver.messages, driver.in_flight_max) = (1_000, 1_000);
        driver.small = 700;
        driver.close_at = Some(until);
        server.ending = Ending::NeverReads(until + Duration::from_secs(1));
        while !net.is_over() {
            net.step();
            let ledger = net.servers[0].ledger.borrow();
            let sent: usize = ledger.to_server.iter().map(|sent| sent.payload.len()).sum();
            let moved = usize::try_from(net.worker.io().moved().sent).expect("little");
            assert!(sent <= moved + max, "{sent} bytes accepted, {moved} sent");
        }
        net.run();
        assert_eq!(net.worker.app().clean, 0);
    });
}

#[test]
fn a_graceful_stop_closes_or_fails_every_connection() {
    seeds(100, |seed| {
        let mut net = Net::draw(seed);
        for _ in 0..net.random.between(1, 6) {
            let answer = net
                .random
                .pick(&[Answer::Opens, Answer::Opens, Answer::Never]);
            let (driver, server) = net.add();
            (driver.messages, server.answer) = (1_000, answer);
        }
        let turns = net.random.magnitude(1_000);
        (0..turns).for_each(|_| net.step());
        net.stop();
        if net.random.chance(300) {
            let turns = net.random.below(20);
            (0..turns).for_each(|_| net.step());
            net.worker.abort();
        } else {
            net.run();
            let app = net.worker.app();
            assert_eq!(app.clean, app.opened, "each server answers");
        }
        net.run();
        for driver in &net.worker.app().drivers {
            let begun = driver.id.is_some();
            let late = Some(Outcome::NotBegun(Errno(libc::ESHUTDOWN)));
            assert!(begun || driver.outcome == late);
        }
    });
}

/// Readiness is told once, and may come before the connect is known to be over.
#[test]
fn a_server_that_leaves_at_once_is_not_waited_for() {
    seeds(20, |seed| {
        let options = Options {
            seed,
            ..Options::faultless(ReceiveMode::Readiness)
        };
        let mut net = Net::new(options, Config::default());
        net.add().1.ending = Ending::HalfClose(0);
        net.run();
        let outcome = net.worker.app().drivers[0].outcome.clone();
        assert_eq!(outcome, Some(Outcome::Failed(Failure::Closed)));
    });
}
