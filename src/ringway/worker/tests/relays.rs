//! Two raw connections joined with each other, over the simulation: an accepted stream and its target, or a request that
//! opens no WebSocket and the server that answers it. What one side sends reaches the other, whole and in order, and so does
//! its end; the other direction goes on.

use std::sync::Arc;
use std::time::Duration;

use super::script;
use super::session::{self, Session};
use super::streams::{End, Joined, breaking, check_queues, links, place, turns, wind_up};
use super::world::{MODES, TURNS_MAX, seeds};
use crate::io::sim::{Options, PeerEnd, PeerId, Random, Sim};
use crate::io::{Io as _, ReceiveMode};
use crate::proto::Message;
use crate::stats::Counters;
use crate::worker::{App, Config, Context, Listener, Onward, Relay, Target, Worker};

/// What a client asks for when it is to be relayed.
const REQUEST: &[u8] = b"POST /form HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A PROXY header of a client without an address: a simulated one has none.
const PROXY_UNKNOWN: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// The same of a client that speaks TLS.
const PROXY_UNKNOWN_TLS: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\x08\x20\0\x05\x01\0\0\0\x01";

/// What becomes of accepted connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum As {
    Streams,
    Requests { proxy_header: bool },
}

impl As {
    /// What a client sends before the bytes that are checked.
    const fn request(self) -> &'static [u8] {
        match self {
            Self::Streams => b"",
            Self::Requests { .. } => REQUEST,
        }
    }

    /// What a target gets before them.
    fn preface(self, is_tls: bool) -> Vec<u8> {
        let header = match self {
            Self::Requests { proxy_header: true } if is_tls => PROXY_UNKNOWN_TLS,
            Self::Requests { proxy_header: true } => PROXY_UNKNOWN,
            _ => b"",
        };
        [header, self.request()].concat()
    }
}

/// Leads accepted streams to a target, if there is one.
#[derive(Debug)]
struct Leads(Option<Onward>);

impl App for Leads {
    type Session = ();

    fn streams_to(&self) -> Option<Onward> {
        self.0.clone()
    }

    fn message(&mut self, _: &mut Context<'_>, (): &mut (), _: Message<'_>) {}
}

struct World {
    worker: Worker<Sim, Leads>,
    accepts: As,
    sessions: Vec<Joined>,
    /// Targets whose session is not known yet.
    fresh: Vec<End>,
    /// Whether they speak TLS.
    target_tls: bool,
    random: Random,
    queue_max: usize,
    turns: usize,
}

impl World {
    fn new(options: Options, config: Config, accepts: As, target_tls: bool) -> Self {
        let mut sim = Sim::new(options);
        let queue_max = config.send_queue_bytes_max;
        let listener = Listener::new(sim.listen(), None);
        let target = Arc::new(Target {
            addresses: vec![place(), place()],
            connect_timeout: Duration::from_secs(3),
            tls: target_tls.then(|| session::client("localhost")),
            half_close: matches!(accepts, As::Requests { .. }),
        });
        let (relay, streams_to) = match accepts {
            As::Streams => (None, Some(Onward::Stream(target))),
            As::Requests { proxy_header } => {
                let relay = Relay {
                    target,
                    proxy_header,
                };
                (Some(relay), None)
            }
        };
        let config = Config { relay, ..config };
        Self {
            worker: Worker::new(sim, Leads(streams_to), config, listener),
            accepts,
            sessions: Vec::new(),
            fresh: Vec::new(),
            target_tls,
            random: Random::new(options.seed ^ 0x6A7E),
            queue_max,
            turns: 0,
        }
    }

    /// One more session, that sends up to so many bytes each way.
    fn add(&mut self, bytes: usize) -> &mut Joined {
        let random = &mut self.random;
        let number = u8::try_from(self.sessions.len()).expect("few sessions");
        let len = random.magnitude(bytes);
        let up = script::bytes(random, len);
        let out = [self.accepts.request(), &[number], &up].concat();
        let mut client = End::new(random, out);
        let len = random.magnitude(bytes);
        let down = script::bytes(random, len);
        let target = End::new(random, down);
        let client_id = self.worker.io_mut().connect();
        client.peer = Some(client_id);
        client.tls = match self.worker.core.shared.protocol.config.tls {
            // Beside plain requests on the same port, but never beside plain streams.
            Some(_) if self.accepts == As::Streams || self.random.chance(700) => {
                Some(Session::new())
            }
            _ => None,
        };
        self.sessions.push(Joined {
            client,
            client_id,
            target,
        });
        self.sessions.last_mut().expect("it was added")
    }

    fn step(&mut self) {
        self.turns += 1;
        assert!(self.turns < TURNS_MAX, "it ends: {:#?}", self.describe());
        let request = self.accepts.request();
        let sim = self.worker.io_mut();
        while let Some(peer) = sim.dialled() {
            sim.take_up(peer);
            let mut target = End::new(&mut self.random, Vec::new());
            target.peer = Some(peer);
            target.tls = self.target_tls.then(Session::accept);
            self.fresh.push(target);
        }
        let sessions = &mut self.sessions;
        self.fresh.retain_mut(|fresh| {
            let Some(peer) = fresh.peer else { return false };
            fresh.take(sim, peer, 100);
            let found = (0..fresh.got.len()).find(|at| fresh.got[..*at].ends_with(request));
            if let Some(at) = found {
                let target = &mut sessions[usize::from(fresh.got[at])].target;
                (target.peer, target.tls) = (Some(peer), fresh.tls.take());
                target.got = std::mem::take(&mut fresh.got);
                return false;
            }
            let is_over = sim.peer_end(peer) != PeerEnd::Open;
            if is_over {
                sim.peer_close(peer);
            }
            !is_over
        });
        for session in &mut self.sessions {
            session.client.step(sim, &mut self.random);
            session.target.step(sim, &mut self.random);
        }
        self.worker
            .turn(Some(Duration::from_micros(50)))
            .expect("a simulation");
        check_queues(&mut self.worker, self.queue_max, 2);
    }

    fn run(&mut self) -> Counters {
        let is_over = |world: &Self| {
            let mut sessions = world.sessions.iter();
            sessions.all(|session| session.is_over(world.worker.io()))
        };
        while self.worker.connections() > 0 || !is_over(self) {
            self.step();
        }
        let counters = wind_up(&mut self.worker);
        assert_eq!(counters.handshakes, 0);
        counters
    }

    /// What the client and the target must have got at most.
    fn check(&self, whole: bool) {
        for session in &self.sessions {
            let Joined { client, target, .. } = session;
            let preface = self.accepts.preface(client.tls.is_some());
            let up = &client.out[self.accepts.request().len()..];
            let up = [&preface, up].concat();
            assert!(up.starts_with(&target.got), "up, in order");
            assert!(target.out.starts_with(&client.got), "down, in order");
            if whole && !session.breaks() {
                assert_eq!(target.got.len(), up.len(), "all of it");
                assert_eq!(client.got.len(), target.out.len(), "all of it");
                assert_eq!((client.saw, target.saw), (PeerEnd::Fin, PeerEnd::Fin));
            }
        }
    }

    fn describe(&mut self) -> Vec<String> {
        let sessions = self.sessions.iter().map(Joined::describe);
        let mut all: Vec<_> = sessions.collect();
        all.extend(links(&mut self.worker));
        all
    }

    fn turns(&mut self, count: usize) {
        turns(&mut self.worker, count);
    }
}

const ALL: [As; 3] = [
    As::Streams,
    As::Requests {
        proxy_header: false,
    },
    As::Requests { proxy_header: true },
];

fn drawn(seed: u64) -> World {
    let options = Options::draw(seed);
    let mut random = Random::new(seed ^ 0x9A12);
    let config = Config {
        send_queue_bytes_max: random.pick(&[1_000, 20_000, 1 << 20]),
        tls: random.chance(500).then(session::server),
        ..Config::default()
    };
    let target_tls = random.chance(300);
    World::new(options, config, random.pick(&ALL), target_tls)
}

#[test]
fn every_byte_and_both_ends_of_two_raw_connections_arrive_in_order_and_nothing_is_left() {
    seeds(200, |seed| {
        let mut world = drawn(seed);
        for _ in 0..world.random.between(1, 4) {
            world.add(600_000);
        }
        let counters = world.run();
        world.check(true);
        let sessions = world.sessions.len() as u64;
        match world.accepts {
            As::Streams => {
                let up = world
                    .sessions
                    .iter()
                    .map(|session| session.client.out.len() as u64);
                assert_eq!(counters.stream_bytes_out, up.sum::<u64>());
                assert_eq!((counters.streams_opened, counters.relayed), (sessions, 0));
            }
            As::Requests { .. } => {
                assert_eq!((counters.streams_opened, counters.relayed), (0, sessions));
                assert_eq!(counters.stream_bytes_out, 0);
            }
        }
        assert_eq!((counters.streams_failed, counters.relays_failed), (0, 0));
    });
}

/// Both sides break off at any moment, sends and connects fail: what arrived is a beginning, and nothing is left.
#[test]
fn however_one_of_two_raw_connections_breaks_nothing_is_duplicated_and_nothing_is_left() {
    seeds(200, |seed| {
        let mut world = drawn(seed);
        // A request whose connect fails gets an answer that this world does not expect.
        let fails = seed % 2 == 1 && world.accepts == As::Streams;
        if fails {
            *world.worker.io_mut().faults_mut() = breaking(&mut world.random);
        }
        for _ in 0..world.random.between(1, 5) {
            let at = world.random.magnitude(200_000);
            let who = world.random.below(3);
            world.add(200_000).break_off(who, at);
        }
        world.run();
        world.check(!fails);
    });
}

/// A faultless world with one client that has sent its first bytes.
fn opened(mode: ReceiveMode, accepts: As, bytes: &[u8]) -> (World, PeerId) {
    let mut world = World::new(Options::faultless(mode), Config::default(), accepts, false);
    let sim = world.worker.io_mut();
    let client = sim.connect();
    sim.peer_send(client, bytes);
    world.turns(3);
    (world, client)
}

#[test]
fn a_request_is_relayed_unchanged_with_all_that_follows_also_at_the_second_address() {
    for mode in MODES {
        let accepts = As::Requests { proxy_header: true };
        let (mut world, client) = opened(mode, accepts, &REQUEST[..20]);
        world.worker.io_mut().peer_send(client, &REQUEST[20..]);
        world.worker.io_mut().peer_send(client, b"early");
        world.turns(3);
        let first = world.worker.io_mut().dialled().expect("a connect");
        world.worker.io_mut().peer_send(client, b" later");
        world.worker.io_mut().peer_half_close(client);
        world.turns(3);
        world.worker.io_mut().refuse(first);
        world.turns(3);
        let second = world.worker.io_mut().dialled().expect("the next address");
        world.worker.io_mut().take_up(second);
        world.turns(6);
        let sim = world.worker.io_mut();
        let expected = [PROXY_UNKNOWN, REQUEST, b"early later"].concat();
        assert_eq!(sim.peer_take(second), expected, "{mode:?}");
        assert_eq!(sim.peer_end(second), PeerEnd::Fin);
        sim.peer_send(second, b"answer");
        world.turns(4);
        assert_eq!(world.worker.io_mut().peer_take(client), b"answer");
        assert_eq!(world.worker.io().peer_end(client), PeerEnd::Open);
        world.worker.io_mut().peer_close(second);
        world.turns(4);
        assert_eq!(world.worker.io().peer_end(client), PeerEnd::Fin);
        assert_eq!(world.worker.connections(), 0);
    }
}

#[test]
fn a_relay_that_cannot_be_reached_answers_502_and_a_stream_is_reset() {
    for mode in MODES {
        for (accepts, line) in [
            (As::Streams, "stream"),
            (
                As::Requests {
                    proxy_header: false,
                },
                "GET / HTTP/1.1",
            ),
            (
                As::Requests {
                    proxy_header: false,
                },
                "HEAD / HTTP/1.1",
            ),
        ] {
            let request = format!("{line}\r\nHost: a\r\n\r\n");
            let (mut world, client) = opened(mode, accepts, request.as_bytes());
            for _ in 0..2 {
                let peer = world.worker.io_mut().dialled().expect("a connect");
                world.worker.io_mut().refuse(peer);
                world.turns(3);
            }
            let answer = world.worker.io_mut().peer_take(client);
            let answer = String::from_utf8(answer).expect("text");
            let end = world.worker.io().peer_end(client);
            world.worker.io_mut().peer_close(client);
            world.turns(4);
            assert_eq!(world.worker.connections(), 0, "{mode:?}");
            let counters = world.worker.counters();
            let failed = (counters.streams_failed, counters.relays_failed);
            if accepts == As::Streams {
                assert_eq!((answer.as_str(), end, failed), ("", PeerEnd::Reset, (1, 0)));
                continue;
            }
            assert!(
                answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"),
                "{answer}"
            );
            assert_eq!(
                answer.ends_with("\r\n\r\n"),
                line.starts_with("HEAD"),
                "{answer}"
            );
            assert_eq!((end, failed), (PeerEnd::Fin, (0, 1)));
        }
    }
}

/// The FIN of a client comes while its target's handshake is under way: it follows that, and the answer still arrives.
#[test]
fn an_end_before_the_target_is_there_waits_for_it_also_under_tls() {
    for (mode, is_tls) in [
        (MODES[0], false),
        (MODES[1], false),
        (MODES[0], true),
        (MODES[1], true),
    ] {
        let config = Config::default();
        let mut world = World::new(Options::faultless(mode), config, As::Streams, is_tls);
        let client = world.worker.io_mut().connect();
        world.worker.io_mut().peer_half_close(client);
        world.turns(3);
        let sim = world.worker.io_mut();
        let peer = sim.dialled().expect("a connect");
        sim.take_up(peer);
        let mut target = End::new(&mut Random::new(1), b"answer".to_vec());
        target.tls = is_tls.then(Session::accept);
        for _ in 0..20 {
            target.take(world.worker.io_mut(), peer, usize::MAX);
            world.turns(1);
        }
        assert_eq!(
            world.worker.io().peer_end(peer),
            PeerEnd::Fin,
            "{mode:?} {is_tls}"
        );
        target.send(world.worker.io_mut(), peer, 6);
        world.turns(3);
        world.worker.io_mut().peer_half_close(peer);
        world.turns(3);
        let sim = world.worker.io_mut();
        assert_eq!(sim.peer_take(client), b"answer");
        assert_eq!(sim.peer_end(client), PeerEnd::Fin);
        assert_eq!((world.worker.connections(), target.got.len()), (0, 0));
    }
}

/// A server that has ended answers nothing more: then a client has the close timeout to end, too.
#[test]
fn a_client_that_stays_after_its_server_has_ended_is_let_go() {
    for mode in MODES {
        let accepts = As::Requests {
            proxy_header: false,
        };
        let (mut world, client) = opened(mode, accepts, b"GET / HTTP");
        let config = &mut world.worker.core.shared.protocol.config;
        let relay = config.relay.as_mut().expect("it relays");
        Arc::make_mut(&mut relay.target).half_close = false;
        world
            .worker
            .io_mut()
            .peer_send(client, b"/1.1\r\nHost: a\r\n\r\n");
        world.turns(3);
        let server = world.worker.io_mut().dialled().expect("a connect");
        let sim = world.worker.io_mut();
        sim.take_up(server);
        sim.peer_send(server, b"answer");
        sim.peer_half_close(server);
        world.turns(6);
        let sim = world.worker.io_mut();
        assert_eq!(sim.peer_take(server), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(sim.peer_take(client), b"answer");
        assert_eq!(
            (sim.peer_end(client), sim.peer_end(server)),
            (PeerEnd::Fin, PeerEnd::Fin),
            "{mode:?}"
        );
        world.pass(Config::default().close_timeout + Duration::from_secs(1));
        assert_eq!(world.worker.connections(), 0, "{mode:?}");
    }
}

/// WebSockets, broken requests and health checks are not relayed, nor is anything while the worker stops.
#[test]
fn only_requests_for_something_else_are_relayed() {
    for mode in MODES {
        let accepts = As::Requests {
            proxy_header: false,
        };
        let websocket = script::Script::open(&mut Random::new(1)).bytes;
        for (request, answer) in [
            (&websocket[..], "HTTP/1.1 101 "),
            (b"GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400 "),
        ] {
            let (mut world, client) = opened(mode, accepts, request);
            let got = world.worker.io_mut().peer_take(client);
            assert!(got.starts_with(answer.as_bytes()), "{}", got.escape_ascii());
            assert!(world.worker.io_mut().dialled().is_none());
        }
        let (mut world, client) = opened(mode, accepts, b"GET / HTTP");
        world.worker.drain();
        world.turns(3);
        let got = world.worker.io_mut().peer_take(client);
        assert!(got.starts_with(b"HTTP/1.1 503 "), "{}", got.escape_ascii());
    }
}

/// Only a pair that is silent on both sides is idle: both then end.
#[test]
fn two_raw_connections_that_are_silent_for_the_idle_timeout_end() {
    for mode in MODES {
        let config = Config {
            idle_timeout: Some(Duration::from_secs(2)),
            ..Config::default()
        };
        let mut world = World::new(Options::faultless(mode), config, As::Streams, false);
        let client = world.worker.io_mut().connect();
        world.turns(3);
        let target = world.worker.io_mut().dialled().expect("a connect");
        world.worker.io_mut().take_up(target);
        for _ in 0..5 {
            world.worker.io_mut().peer_send(target, b"x");
            world.pass(Duration::from_secs(1));
            assert_eq!(world.worker.io_mut().peer_take(client), b"x");
        }
        world.pass(Duration::from_secs(3));
        let sim = world.worker.io();
        assert_eq!(
            (sim.peer_end(client), sim.peer_end(target)),
            (PeerEnd::Fin, PeerEnd::Fin)
        );
        world.worker.io_mut().peer_close(target);
        world.turns(4);
        assert_eq!(world.worker.connections(), 0);
    }
}

impl World {
    fn pass(&mut self, time: Duration) {
        let until = self.worker.io().now() + time;
        self.worker.io_mut().set_alarm(Some(until));
        while self.worker.io().now() < until {
            self.worker.turn(None).expect("a worker");
        }
        self.worker.io_mut().set_alarm(None);
    }
}
