//! Asynchronous services over the simulated kernel and network: order, limits, cancellation, late verdicts, time.

use std::cell::{Cell, RefCell};
use std::future::{Future, pending};
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::time::Duration;

use super::client::{Client, Ending, Pace};
use super::script::{Expected, Script};
use super::world::{TURNS_MAX, seeds};
use crate::io::Io as _;
use crate::io::sim::{Faults, Options, Random, Sim};
use crate::proto::{CloseCode, Opcode};
use crate::protocol::{Closed, Verdict};
use crate::stats::Counters;
use crate::tasks::{
    Async, AsyncApp, Connection, Elapsed, OwnedMessage, OwnedOpening, sleep, spawn, timeout,
    with_worker,
};
use crate::worker::{Config, Listener, Worker};

/// What a test and its service share.
#[derive(Debug, Default)]
struct Seen {
    opened: Cell<u64>,
    closed: Cell<u64>,
    begun: Cell<u64>,
    dropped: Cell<u64>,
    running: Cell<usize>,
    running_max: Cell<usize>,
    accepted_bytes: Cell<usize>,
    gate: Cell<bool>,
    notes: RefCell<Vec<String>>,
}

/// A handler that runs, until it is dropped.
struct Running(Rc<Seen>);

impl Running {
    fn new(seen: &Rc<Seen>) -> Self {
        add(&seen.begun, 1);
        seen.running.set(seen.running.get() + 1);
        let most = seen.running_max.get().max(seen.running.get());
        seen.running_max.set(most);
        Self(Rc::clone(seen))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        add(&self.0.dropped, 1);
        self.0.running.set(self.0.running.get() - 1);
    }
}

fn add(count: &Cell<u64>, more: u64) {
    count.set(count.get() + more);
}

/// A service that is a closure with a connection, a message and what the test sees; it counts openings and ends.
struct Watched<F> {
    seen: Rc<Seen>,
    handle: F,
    connect_takes: Duration,
    refuses: bool,
}

impl<F, H> AsyncApp for Watched<F>
where
    F: Fn(Connection, OwnedMessage, Rc<Seen>) -> H + 'static,
    H: Future<Output = ()> + 'static,
{
    type Session = ();

    async fn connect(self: Rc<Self>, _: Connection, opening: OwnedOpening) -> Verdict {
        assert_eq!((opening.path(), opening.host()), ("/echo", "ringway"));
        if !self.connect_takes.is_zero() {
            let _running = Running::new(&self.seen);
            sleep(self.connect_takes).await;
        }
        match self.refuses {
            true => Verdict::refuse(403, "not you"),
            false => Verdict::accept().header("X-Took", "long"),
        }
    }

    async fn open(self: Rc<Self>, _: Connection) {
        add(&self.seen.opened, 1);
    }

    async fn message(self: Rc<Self>, connection: Connection, message: OwnedMessage) {
        (self.handle)(connection, message, Rc::clone(&self.seen)).await;
    }

    fn close(&self, connection: &Connection, _: Closed<'_>) {
        assert_eq!(connection.id().slot, connection.clone().id().slot);
        add(&self.seen.closed, 1);
    }
}

/// A worker with an asynchronous service, and its clients.
struct Net<A: AsyncApp> {
    worker: Worker<Sim, Async<A>>,
    clients: Vec<Client>,
    random: Random,
    turns: usize,
    /// How long a turn may wait while nothing happens; without it that is a deadlock.
    patience: Option<Duration>,
}

fn net<F, H>(seed: u64, config: Config, seen: &Rc<Seen>, handle: F) -> Net<Watched<F>>
where
    F: Fn(Connection, OwnedMessage, Rc<Seen>) -> H + 'static,
    H: Future<Output = ()> + 'static,
{
    let app = Watched {
        seen: Rc::clone(seen),
        handle,
        connect_takes: Duration::ZERO,
        refuses: false,
    };
    Net::new(seed, config, Async::new(app))
}

impl<A: AsyncApp> Net<A> {
    fn new(seed: u64, config: Config, app: Async<A>) -> Self {
        let mut sim = Sim::new(Options::draw(seed));
        let listener = Listener::new(sim.listen(), None);
        Self {
            worker: Worker::new(sim, app, config, listener),
            clients: Vec::new(),
            random: Random::new(seed ^ 0xA5C),
            turns: 0,
            patience: None,
        }
    }

    fn add(&mut self, script: Script, ending: Ending) -> &mut Client {
        let random = &mut self.random;
        let pace = Pace::draw(random, script.bytes.len());
        let next = self.worker.io().now() + Duration::from_micros(random.below(2_000) as u64);
        let client = Client::new(random.bits(), script, ending, pace, next);
        self.clients.push(client);
        self.clients.last_mut().expect("just added")
    }

    /// An opening handshake, and `count` messages of up to `bytes` bytes.
    fn script(&mut self, count: usize, bytes: usize) -> Script {
        let mut script = Script::open(&mut self.random);
        for _ in 0..count {
            let len = self.random.magnitude(bytes);
            script.add_message(&mut self.random, len, 200, 0);
        }
        script
    }

    fn is_over(&self) -> bool {
        let sim = self.worker.io();
        self.clients.iter().all(|client| client.is_over(sim))
    }

    fn step(&mut self) {
        self.turns += 1;
        assert!(self.turns < TURNS_MAX, "it ends: {:?}", self.describe());
        let sim = self.worker.io_mut();
        for client in &mut self.clients {
            client.step(sim, sim.now());
        }
        if self.is_over() && self.worker.connections() == 0 {
            return;
        }
        let sim = self.worker.io_mut();
        let alarms = self.clients.iter().filter_map(|client| client.alarm(sim));
        let alarm = alarms.min();
        sim.set_alarm(alarm);
        self.turn(self.patience);
    }

    fn turn(&mut self, patience: Option<Duration>) {
        self.worker
            .turn(patience)
            .expect("a simulation never fails");
    }

    fn describe(&self) -> Vec<String> {
        self.clients.iter().map(Client::describe).collect()
    }

    fn run_for(&mut self, time: Duration) {
        self.patience = Some(Duration::from_millis(5));
        let until = self.worker.io().now() + time;
        while self.worker.io().now() < until {
            self.step();
        }
        self.patience = None;
    }

    /// Until every client is over and nothing is left.
    fn run(&mut self) -> Counters {
        while !self.is_over() || self.worker.connections() > 0 {
            self.step();
        }
        self.worker.drain();
        self.worker.io_mut().faults_mut().stale = 0;
        for _ in 0..3 {
            self.turn(Some(Duration::ZERO));
        }
        self.worker.io().assert_clean();
        *self.worker.counters()
    }
}

/// Sends `message` back after a time that depends on it.
async fn echo_slowly(connection: Connection, message: OwnedMessage, seen: Rc<Seen>) {
    let _running = Running::new(&seen);
    let micros = message
        .payload()
        .iter()
        .map(|byte| u64::from(*byte))
        .sum::<u64>()
        % 3_000;
    if micros > 500 {
        sleep(Duration::from_micros(micros)).await;
    }
    connection.send(message).await.expect("it is open");
}

#[test]
fn every_answer_comes_once_and_in_order() {
    seeds(100, |seed| {
        let seen = Rc::<Seen>::default();
        let mut random = Random::new(seed);
        let config = Config {
            send_queue_bytes_max: random.pick(&[0, 1_000, 20_000, 1 << 20]),
            ..Config::default()
        };
        let mut net = net(seed, config, &seen, echo_slowly);
        for _ in 0..net.random.between(1, 4) {
            let (count, size) = (net.random.between(1, 60), net.random.pick(&[100, 20_000]));
            let script = net.script(count, size);
            net.add(script, Ending::Polite);
        }
        let counters = net.run();
        let messages = net.clients.iter().map(|client| client.script.messages);
        let messages = messages.sum::<u64>();
        assert_eq!(
            (counters.messages_in, counters.messages_out),
            (messages, messages)
        );
        assert_eq!((counters.drops, counters.unhandled), (0, 0));
        assert_eq!((seen.begun.get(), seen.dropped.get()), (messages, messages));
        assert!(seen.running_max.get() <= net.clients.len());
        let clients = net.clients.len() as u64;
        assert_eq!((seen.opened.get(), seen.closed.get()), (clients, clients));
    });
}

/// A handler that does not wait is done before its connection's Close is, although both came at once.
#[test]
fn what_comes_right_before_a_close_is_handled() {
    seeds(40, |seed| {
        let seen = Rc::<Seen>::default();
        let mut net = net(
            seed,
            Config::default(),
            &seen,
            |connection, message, _| async move {
                connection.send(message).await.expect("it is open");
            },
        );
        let mut script = net.script(10, 1_000);
        script.add_close(&mut net.random);
        net.add(script, Ending::Eager);
        let counters = net.run();
        assert_eq!((counters.messages_out, counters.unhandled), (10, 0));
        assert_eq!(counters.closed_unclean, 0);
    });
}

#[test]
fn no_more_handlers_run_at_once_than_asked_for() {
    seeds(30, |seed| {
        let handlers = usize::try_from(1 + seed % 4).expect("few");
        let seen = Rc::<Seen>::default();
        let app = Watched {
            seen: Rc::clone(&seen),
            handle: |connection: Connection, message, seen: Rc<Seen>| async move {
                let _running = Running::new(&seen);
                sleep(Duration::from_millis(20)).await;
                connection.send(message).await.expect("it is open");
            },
            connect_takes: Duration::ZERO,
            refuses: false,
        };
        let limit = NonZeroUsize::new(handlers).expect("one or more");
        let app = Async::new(app).concurrent(limit);
        let mut net = Net::new(seed, Config::default(), app);
        let mut script = Script::open(&mut net.random);
        for _ in 0..12 {
            // All the same, as their answers have no order.
            let payload = b"the same";
            script.add_frame(&mut net.random, true, Opcode::Text, payload);
            script.expected.push_back(Expected {
                opcode: Opcode::Text as u8,
                payload: payload.to_vec(),
            });
        }
        net.add(script, Ending::Polite).pace = Pace::fast();
        let began = net.worker.io().now();
        net.run();
        assert_eq!(seen.running_max.get(), handlers);
        assert_eq!(seen.dropped.get(), 12);
        let took = net.worker.io().now().since(began);
        let rounds = u32::try_from(12 / handlers).expect("few");
        assert!(took >= Duration::from_millis(20) * rounds, "{took:?}");
    });
}

/// While handlers wait, their connection is read no further than the limit, what is in the pool, and one message.
#[test]
fn a_peer_is_not_read_while_its_handlers_wait() {
    const MESSAGE_MAX: usize = 20_000;
    seeds(30, |seed| {
        let seen = Rc::<Seen>::default();
        let mut net = net(
            seed,
            Config::default(),
            &seen,
            |connection, message, seen| async move {
                while !seen.gate.get() {
                    sleep(Duration::from_millis(10)).await;
                }
                connection.send(message).await.expect("it is open");
            },
        );
        let script = net.script(600, MESSAGE_MAX);
        let all = script.bytes.len() as u64;
        net.add(script, Ending::Polite).pace = Pace {
            send_max: 1 << 20,
            ..Pace::fast()
        };
        net.run_for(Duration::from_secs(2));
        let received = net.worker.io().moved().received;
        let most = (64 << 10) + (1 << 20) + MESSAGE_MAX as u64;
        assert!(received <= most, "{received} of {all} bytes were read");
        seen.gate.set(true);
        let counters = net.run();
        assert_eq!((counters.messages_out, counters.unhandled), (600, 0));
    });
}

/// A handler that sends without end waits for its peer, and then goes on.
#[test]
fn a_sender_waits_while_its_peer_does_not_read() {
    const BYTES: usize = 1_000;
    const MESSAGES: usize = 5_000;
    seeds(20, |seed| {
        let seen = Rc::<Seen>::default();
        let config = Config {
            send_queue_bytes_max: 20_000,
            ..Config::default()
        };
        let mut net = net(
            seed,
            config,
            &seen,
            |connection, _, seen: Rc<Seen>| async move {
                for _ in 0..MESSAGES {
                    let message = vec![b'x'; BYTES];
                    connection.send(message).await.expect("it is open");
                    let accepted = seen.accepted_bytes.get() + BYTES;
                    seen.accepted_bytes.set(accepted);
                }
            },
        );
        let mut script = Script::open(&mut net.random);
        script.add_plain(&mut net.random, b"go");
        for _ in 0..MESSAGES {
            script.expected.push_back(Expected {
                opcode: Opcode::Binary as u8,
                payload: vec![b'x'; BYTES],
            });
        }
        net.add(script, Ending::Polite).pace = Pace {
            read_max: 20_000,
            ..Pace::fast()
        };
        let mut most = 0;
        while !net.is_over() {
            net.step();
            let sent = usize::try_from(net.worker.io().moved().sent).expect("few");
            most = most.max(seen.accepted_bytes.get().saturating_sub(sent));
        }
        // What waits for the worker; what it takes in a callback and in its turn, of this turn and, in the send queue, of the last.
        let limit = 5 * (64 << 10) + 20_000 + 5 * BYTES;
        assert!(most <= limit, "{most} bytes wait, at most {limit}");
        assert_eq!(net.run().drops, 0);
    });
}

#[test]
fn handlers_end_with_their_connection_and_tasks_of_the_worker_do_not() {
    seeds(60, |seed| {
        let seen = Rc::<Seen>::default();
        let mut net = net(
            seed,
            Config::default(),
            &seen,
            |connection: Connection, _, seen: Rc<Seen>| async move {
                let later = Rc::clone(&seen);
                let running = Running::new(&seen);
                connection.spawn(async move {
                    let _running = running;
                    pending().await
                });
                let watched = connection.clone();
                spawn(async move {
                    watched.closed().await;
                    later.notes.borrow_mut().push("closed".to_owned());
                });
                let _running = Running::new(&seen);
                pending().await
            },
        );
        if seed % 2 == 0 {
            *net.worker.io_mut().faults_mut() = Faults::draw_breaking(&mut net.random);
        }
        for _ in 0..3 {
            let script = net.script(5, 1_000);
            let end = script.bytes.len();
            let ending = net
                .random
                .pick(&[Ending::Disappear(end), Ending::Reset(end)]);
            net.add(script, ending).may_break = true;
        }
        let counters = net.run();
        let begun = seen.begun.get();
        assert_eq!(seen.dropped.get(), begun, "every future is dropped");
        assert!(begun <= 6);
        assert_eq!(seen.notes.borrow().len() as u64, begun / 2);
        // One handler runs for each connection; the messages behind it never got one.
        assert_eq!(counters.unhandled, counters.messages_in);
        assert_eq!(seen.opened.get(), seen.closed.get());
    });
}

#[test]
fn a_worker_that_ends_drops_every_future() {
    let seen = Rc::<Seen>::default();
    let mut net = net(
        3,
        Config::default(),
        &seen,
        |connection: Connection, _, seen: Rc<Seen>| async move {
            let beside = Rc::clone(&seen);
            spawn(async move {
                let _running = Running::new(&beside);
                pending().await
            });
            let _running = Running::new(&seen);
            let _ = timeout(Duration::from_secs(1_000), connection.closed()).await;
        },
    );
    let script = net.script(1, 100);
    net.add(script, Ending::Silent).pace = Pace::fast();
    net.run_for(Duration::from_millis(100));
    assert_eq!((seen.begun.get(), seen.dropped.get()), (2, 0));
    drop(net);
    assert_eq!(seen.dropped.get(), 2);
    assert_eq!(Rc::strong_count(&seen), 1, "nothing keeps anything");
}

/// The handshake's own deadline ends a handler that takes too long.
#[test]
fn a_verdict_may_take_its_time_and_no_longer() {
    seeds(60, |seed| {
        let seen = Rc::<Seen>::default();
        let mut random = Random::new(seed);
        let connect_takes = random.pick(&[
            Duration::ZERO,
            Duration::from_millis(30),
            Duration::from_secs(60),
        ]);
        let refuses = random.chance(300);
        let app = Watched {
            seen: Rc::clone(&seen),
            handle: echo_slowly,
            connect_takes,
            refuses,
        };
        let config = Config {
            handshake_timeout: Duration::from_secs(2),
            ..Config::default()
        };
        let mut net = Net::new(seed, config, Async::new(app));
        let script = net.script(5, 1_000);
        net.add(script, Ending::Polite).pace = Pace::fast();
        net.run();
        let expected = match (connect_takes.as_secs(), refuses) {
            (60, _) => 408,
            (_, true) => 403,
            (_, false) => 101,
        };
        assert_eq!(net.clients[0].status, Some(expected));
        assert_eq!(seen.opened.get(), u64::from(expected == 101));
        assert_eq!(seen.begun.get(), seen.dropped.get());
    });
}

#[test]
fn a_client_that_leaves_before_its_verdict_ends_the_handler() {
    let asked = Cell::new(0);
    seeds(20, |seed| {
        let seen = Rc::<Seen>::default();
        let app = Watched {
            seen: Rc::clone(&seen),
            handle: echo_slowly,
            connect_takes: Duration::from_secs(1_000),
            refuses: false,
        };
        let mut net = Net::new(seed, Config::default(), Async::new(app));
        let script = net.script(0, 0);
        let end = script.bytes.len();
        net.add(script, Ending::Disappear(end));
        net.run();
        assert_eq!(seen.begun.get(), seen.dropped.get());
        add(&asked, seen.begun.get());
    });
    assert!(asked.get() > 0, "some of them were asked about");
}

#[test]
fn time_passes_for_handlers_as_for_the_worker() {
    seeds(20, |seed| {
        let seen = Rc::<Seen>::default();
        let mut net = net(
            seed,
            Config::default(),
            &seen,
            |connection: Connection, _, seen: Rc<Seen>| async move {
                let now = || with_worker(|worker| worker.now());
                let began = now().await;
                sleep(Duration::from_millis(300)).await;
                let slept = now().await.since(began).as_millis();
                assert!((300..=310).contains(&slept), "{slept} ms");
                let in_time =
                    timeout(Duration::from_secs(1), sleep(Duration::from_millis(5))).await;
                assert_eq!(in_time, Ok(()));
                let late = timeout(Duration::from_millis(5), pending::<()>()).await;
                assert_eq!(late, Err(Elapsed));
                drop(sleep(Duration::from_secs(1_000)));
                seen.notes.borrow_mut().push("done".to_owned());
                connection.close(CloseCode::NormalClosure, "that is all");
                assert!(connection.try_send("too late").is_err());
            },
        );
        let mut script = Script::open(&mut net.random);
        script.add_plain(&mut net.random, b"go");
        net.add(script, Ending::Answers).may_close = &[1000];
        net.run();
        assert_eq!(*seen.notes.borrow(), ["done"]);
        assert_eq!(net.clients[0].closed_by_server, Some(1000));
    });
}

/// A worker that stops lets handlers finish, and takes no more messages of their connections.
#[test]
fn a_drain_waits_for_answers() {
    seeds(30, |seed| {
        let seen = Rc::<Seen>::default();
        let mut net = net(
            seed,
            Config::default(),
            &seen,
            |connection, message, seen: Rc<Seen>| async move {
                let _running = Running::new(&seen);
                sleep(Duration::from_millis(200)).await;
                connection.send(message).await.expect("it is open");
            },
        );
        let script = net.script(1, 1_000);
        let client = net.add(script, Ending::Answers);
        (client.pace, client.may_close) = (Pace::fast(), &[1001]);
        while seen.running.get() == 0 {
            net.step();
        }
        net.worker.drain();
        let counters = net.run();
        assert_eq!((counters.messages_out, counters.unhandled), (1, 0));
        assert!(net.clients[0].script.expected.is_empty());
        assert_eq!(net.clients[0].closed_by_server, Some(1001));
    });
}

/// Tasks that never wait leave the connections their turns.
#[test]
fn tasks_that_are_always_ready_starve_nobody() {
    seeds(10, |seed| {
        let seen = Rc::<Seen>::default();
        let mut net = net(
            seed,
            Config::default(),
            &seen,
            |connection, message, seen: Rc<Seen>| async move {
                if seen.begun.get() == 0 {
                    let _running = Running::new(&seen);
                    spawn(async move {
                        let mut polls = 0_u32;
                        std::future::poll_fn(move |context| {
                            polls += 1;
                            context.waker().wake_by_ref();
                            match polls {
                                0..20_000 => std::task::Poll::Pending,
                                _ => std::task::Poll::Ready(()),
                            }
                        })
                        .await;
                        seen.notes.borrow_mut().push("done".to_owned());
                    });
                }
                connection.send(message).await.expect("it is open");
            },
        );
        for _ in 0..2 {
            let script = net.script(30, 1_000);
            net.add(script, Ending::Polite);
        }
        net.add(Script::open(&mut Random::new(seed)), Ending::Silent)
            .may_close = &[1001];
        while seen.notes.borrow().is_empty() {
            net.step();
        }
        assert!(net.turns >= 20_000 / 256, "{} turns", net.turns);
        net.clients[2].ending = Ending::Polite;
        net.run();
    });
}

#[test]
fn a_handler_reaches_all_that_a_callback_does() {
    let seen = Rc::<Seen>::default();
    let mut net = net(
        1,
        Config::default(),
        &seen,
        |connection: Connection, _, _| async move {
            let messages = with_worker(|worker| {
                worker.prepare(
                    crate::proto::Role::Server,
                    &[(crate::proto::Kind::Text, b"prepared")],
                )
            });
            let prepared = messages.await.expect("little");
            connection.send("first").await.expect("it is open");
            connection
                .send_prepared(&prepared, 0)
                .await
                .expect("it is open");
            let queued = connection.with(|context| context.ping(b"?").map(|()| context.id()));
            let id = queued
                .await
                .expect("it is open")
                .expect("no Close was sent");
            assert_eq!(id, connection.id());
            connection.try_send(vec![1, 2, 3]).expect("there is room");
        },
    );
    let mut script = Script::open(&mut net.random);
    script.add_plain(&mut net.random, b"go");
    for (opcode, payload) in [
        (Opcode::Text, &b"first"[..]),
        (Opcode::Text, b"prepared"),
        (Opcode::Binary, &[1, 2, 3]),
    ] {
        let (opcode, payload) = (opcode as u8, payload.to_vec());
        let expected = Expected { opcode, payload };
        script.expected.push_back(expected);
    }
    net.add(script, Ending::Polite);
    net.run();
    assert_eq!(net.clients[0].pings, 1);
}
