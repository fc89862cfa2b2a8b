//! Streams through WebSocket servers, over simulations that are wired to each other: a raw client, a worker that begins a
//! WebSocket for it, perhaps one that joins two WebSockets, one that joins the last with its target, and the target.
//!
//! ```text
//!  client ── raw ──▶ worker ── WebSocket ──▶ [ worker ── WebSocket ──▶ ] worker ── raw ──▶ target
//! ```

use std::sync::Arc;
use std::time::Duration;

use super::script;
use super::streams::{End, Joined, breaking, check_queues, links, place, turns, wind_up};
use super::world::{MODES, seeds};
use crate::io::ReceiveMode;
use crate::io::sim::{Options, PeerEnd, PeerId, Random, Sim};
use crate::proto::{Kind, Message};
use crate::worker::{
    App, Config, Context, Listener, Onward, Opening, OpeningRequest, Target, Uplink, Verdict,
    Worker,
};

/// Turns of a run at most: what has not ended then never will.
const TURNS_MAX: usize = 400_000;

/// What one worker does with what it accepts.
#[derive(Debug)]
enum Hop {
    /// It is a stream, which leads to a WebSocket server.
    Begins(Arc<Uplink>),
    /// It is a WebSocket, which is joined with another one.
    Joins(Arc<Uplink>),
    /// It is a WebSocket, which is joined with a target.
    Ends(Arc<Target>),
}

impl App for Hop {
    type Session = Option<Kind>;

    fn streams_to(&self) -> Option<Onward> {
        match self {
            Self::Begins(uplink) => Some(Onward::WebSocket(uplink.clone())),
            Self::Joins(_) | Self::Ends(_) => None,
        }
    }

    fn connect(&mut self, opening: &mut Opening<'_>, kind: &mut Option<Kind>) -> Verdict {
        match opening.request().subprotocols().next() {
            None => Verdict::accept(),
            Some(name) => {
                *kind = (name == "base64").then_some(Kind::Text);
                Verdict::accept().subprotocol(name)
            }
        }
    }

    fn open(&mut self, context: &mut Context<'_>, kind: &mut Option<Kind>) {
        let kind = kind.unwrap_or(Kind::Binary);
        match self {
            Self::Begins(_) => {}
            Self::Joins(uplink) => context.join_uplink(uplink, kind),
            Self::Ends(target) => context.join(target, kind, b""),
        }
    }

    fn message(&mut self, _: &mut Context<'_>, _: &mut Option<Kind>, _: Message<'_>) {
        unreachable!("messages are the stream's");
    }
}

/// One connection between two workers: a peer in the simulation of each.
#[derive(Debug)]
struct Wire {
    ends: [Option<PeerId>; 2],
}

impl Wire {
    /// Moves bytes and ends in both directions.
    fn step(&mut self, sims: [&mut Sim; 2], random: &mut Random) {
        let [near, far] = sims;
        let [Some(one), Some(other)] = self.ends else {
            return;
        };
        let mut one_way = |from: &mut Sim, peer, to: &mut Sim, other| {
            let max = random.magnitude(100_000);
            let bytes = from.peer_take_some(peer, max);
            to.peer_send(other, &bytes);
            let end = from.peer_end(peer);
            if end == PeerEnd::Fin {
                to.peer_half_close(other);
            }
            end
        };
        let ends = [
            one_way(near, one, far, other),
            one_way(far, other, near, one),
        ];
        match ends {
            [PeerEnd::Reset, _] => far.peer_reset(other),
            [_, PeerEnd::Reset] => near.peer_reset(one),
            [PeerEnd::Fin, PeerEnd::Fin] => {}
            _ => return,
        }
        near.peer_close(one);
        far.peer_close(other);
        self.ends = [None, None];
    }
}

struct World {
    workers: Vec<Worker<Sim, Hop>>,
    /// Between each worker and the next.
    wires: Vec<Vec<Wire>>,
    sessions: Vec<Joined>,
    /// Targets whose session is not known yet.
    fresh: Vec<PeerId>,
    random: Random,
    queue_max: usize,
    turns: usize,
}

/// What the workers of a world have in common.
#[derive(Clone, Debug)]
struct Plan {
    hops: usize,
    subprotocols: Vec<String>,
    half_close: bool,
}

impl World {
    fn new(options: Options, config: &Config, plan: &Plan) -> Self {
        let request = OpeningRequest::new("ringway", "/stream", &plan.subprotocols);
        let mut request = request.expect("a good request");
        if let Some(deflate) = config.deflate {
            request = request.deflate(deflate);
        }
        let uplink = Arc::new(Uplink {
            addresses: vec![place(), place()],
            request: Arc::new(request),
            connect_timeout: Duration::from_secs(3),
            half_close: plan.half_close,
        });
        let target = Arc::new(Target {
            addresses: vec![place()],
            connect_timeout: Duration::from_secs(3),
            tls: None,
            half_close: plan.half_close,
        });
        let worker = |number| {
            let hop = match number {
                0 => Hop::Begins(uplink.clone()),
                _ if number == plan.hops - 1 => Hop::Ends(target.clone()),
                _ => Hop::Joins(uplink.clone()),
            };
            let mut sim = Sim::new(options);
            let listener = Listener::new(sim.listen(), None);
            Worker::new(sim, hop, config.clone(), listener)
        };
        Self {
            workers: (0..plan.hops).map(worker).collect(),
            wires: (1..plan.hops).map(|_| Vec::new()).collect(),
            sessions: Vec::new(),
            fresh: Vec::new(),
            random: Random::new(options.seed ^ 0x6A7E),
            queue_max: config.send_queue_bytes_max,
            turns: 0,
        }
    }

    /// One more session, that sends up to so many bytes each way.
    fn add(&mut self, bytes: usize) -> &mut Joined {
        let random = &mut self.random;
        let number = u8::try_from(self.sessions.len()).expect("few sessions");
        let len = random.magnitude(bytes);
        let up = [&[number], &script::stream(random, len)[..]].concat();
        let mut client = End::new(random, up);
        let len = random.magnitude(bytes);
        let down = script::stream(random, len);
        let mut target = End::new(random, down);
        let client_id = self.workers[0].io_mut().connect();
        client.peer = Some(client_id);
        // A Close ends both directions: of what the other side still sends, the rest is not read.
        client.waits = random.chance(500);
        target.waits = !client.waits;
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
        for (number, wires) in self.wires.iter_mut().enumerate() {
            let [near, far] = &mut self.workers[number..number + 2] else {
                unreachable!("a wire lies between two")
            };
            let (near, far) = (near.io_mut(), far.io_mut());
            while let Some(peer) = near.dialled() {
                near.take_up(peer);
                let ends = [Some(peer), Some(far.connect())];
                wires.push(Wire { ends });
            }
            for wire in wires {
                wire.step([near, far], &mut self.random);
            }
        }
        let last = self.workers.len() - 1;
        let sim = self.workers[last].io_mut();
        while let Some(peer) = sim.dialled() {
            sim.take_up(peer);
            self.fresh.push(peer);
        }
        let sessions = &mut self.sessions;
        self.fresh.retain(|peer| {
            let first = sim.peer_take_some(*peer, 1);
            if let Some(number) = first.first() {
                let target = &mut sessions[usize::from(*number)].target;
                (target.got, target.peer) = (first, Some(*peer));
                return false;
            }
            let is_over = sim.peer_end(*peer) != PeerEnd::Open;
            if is_over {
                sim.peer_close(*peer);
            }
            !is_over
        });
        for session in &mut self.sessions {
            let client = self.workers[0].io_mut();
            session.client.step(client, &mut self.random);
            let target = self.workers[last].io_mut();
            session.target.step(target, &mut self.random);
        }
        for worker in &mut self.workers {
            worker
                .turn(Some(Duration::from_micros(50)))
                .expect("a simulation");
        }
        for worker in &mut self.workers {
            // Headers and base64 are longer than what they carry.
            check_queues(worker, self.queue_max, 4);
        }
    }

    fn run(&mut self) {
        let is_over = |world: &Self| {
            let mut sessions = world.sessions.iter();
            sessions.all(|session| session.is_over(world.workers[0].io()))
                && world.workers.iter().all(|worker| worker.connections() == 0)
        };
        while !is_over(self) {
            self.step();
        }
        for worker in &mut self.workers {
            wind_up(worker);
        }
    }

    fn check(&self, whole: bool) {
        for session in &self.sessions {
            let Joined { client, target, .. } = session;
            assert!(client.out.starts_with(&target.got), "up, in order");
            assert!(target.out.starts_with(&client.got), "down, in order");
            if !whole || session.breaks() {
                continue;
            }
            assert_eq!((client.saw, target.saw), (PeerEnd::Fin, PeerEnd::Fin));
            match client.waits {
                true => assert_eq!(client.got.len(), target.out.len(), "all of it"),
                false => assert_eq!(target.got.len(), client.out.len(), "all of it"),
            }
        }
    }

    fn describe(&mut self) -> Vec<String> {
        let sessions = self.sessions.iter().map(Joined::describe);
        let mut all: Vec<_> = sessions.collect();
        for worker in &mut self.workers {
            all.push("worker".to_owned());
            all.extend(links(worker));
        }
        all
    }

    fn turns(&mut self, count: usize) {
        for worker in &mut self.workers {
            turns(worker, count);
        }
    }
}

fn drawn(seed: u64) -> World {
    let mut random = Random::new(seed ^ 0x9A12);
    let config = Config {
        send_queue_bytes_max: random.pick(&[1_000, 20_000, 1 << 20]),
        deflate: random.chance(500).then(|| super::deflate(&mut random)),
        ..Config::default()
    };
    let names: &[&str] = random.pick(&[&[][..], &["base64"], &["binary", "base64"]]);
    let plan = Plan {
        hops: random.pick(&[2, 3]),
        subprotocols: names.iter().map(|&name| name.to_owned()).collect(),
        half_close: false,
    };
    World::new(Options::draw(seed), &config, &plan)
}

#[test]
fn every_byte_of_a_stream_crosses_a_websocket_in_order_and_so_does_its_end() {
    seeds(100, |seed| {
        let mut world = drawn(seed);
        for _ in 0..world.random.between(1, 3) {
            world.add(400_000);
        }
        world.run();
        world.check(true);
        let sessions = world.sessions.len() as u64;
        let counters = *world.workers[0].counters();
        let opened = (counters.streams_opened, counters.streams_failed);
        assert_eq!(opened, (sessions, 0));
        let got = world.sessions.iter();
        let up = got.map(|session| session.target.got.len() as u64);
        assert!(counters.stream_bytes_in >= up.sum::<u64>());
    });
}

#[test]
fn however_a_stream_or_its_websocket_breaks_nothing_is_duplicated_and_nothing_is_left() {
    seeds(100, |seed| {
        let mut world = drawn(seed);
        let breaks = seed % 2 == 1;
        for worker in &mut world.workers {
            if breaks {
                *worker.io_mut().faults_mut() = breaking(&mut world.random);
            }
        }
        for _ in 0..world.random.between(1, 4) {
            let at = world.random.magnitude(200_000);
            let who = world.random.below(3);
            world.add(200_000).break_off(who, at);
        }
        world.run();
        world.check(!breaks);
    });
}

/// A faultless world of one worker that begins WebSockets, and a client that has sent its first bytes.
fn opened(mode: ReceiveMode, half_close: bool, bytes: &[u8]) -> (World, PeerId) {
    let plan = Plan {
        hops: 2,
        subprotocols: vec!["binary".to_owned()],
        half_close,
    };
    let mut world = World::new(Options::faultless(mode), &Config::default(), &plan);
    world.workers.pop();
    let sim = world.workers[0].io_mut();
    let client = sim.connect();
    sim.peer_send(client, bytes);
    world.turns(3);
    (world, client)
}

impl World {
    /// Refuses the next connect, or answers the request on it with these bytes.
    fn answer(&mut self, answer: Option<&[u8]>) -> PeerId {
        let sim = self.workers[0].io_mut();
        let server = sim.dialled().expect("a connect");
        match answer {
            None => sim.refuse(server),
            Some(bytes) => {
                sim.take_up(server);
                sim.peer_send(server, bytes);
            }
        }
        self.turns(6);
        server
    }
}

#[test]
fn a_server_that_refuses_resets_the_stream_and_the_next_address_is_for_those_that_fail() {
    for mode in MODES {
        for (first, second) in [
            (
                Some(&b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"[..]),
                None,
            ),
            (Some(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), None),
            (Some(b"SSH-2.0-OpenSSH\r\n"), None),
            (
                None,
                Some(&b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"[..]),
            ),
        ] {
            let (mut world, client) = opened(mode, false, b"early");
            world.answer(first);
            if let Some(second) = second {
                world.answer(Some(second));
            }
            let sim = world.workers[0].io_mut();
            assert!(sim.dialled().is_none());
            assert_eq!(sim.peer_end(client), PeerEnd::Reset, "{mode:?}");
            let counters = *world.workers[0].counters();
            assert_eq!((counters.streams_failed, counters.streams_opened), (1, 0));
        }
        let (mut world, client) = opened(mode, false, b"early");
        world.answer(None);
        world.answer(None);
        assert_eq!(world.workers[0].io().peer_end(client), PeerEnd::Reset);
        assert_eq!(world.workers[0].connections(), 0);
    }
}

#[test]
fn a_client_that_leaves_before_the_websocket_is_open_ends_it() {
    for mode in MODES {
        let (mut world, client) = opened(mode, false, b"");
        let sim = world.workers[0].io_mut();
        let server = sim.dialled().expect("a connect");
        sim.take_up(server);
        world.turns(3);
        world.workers[0].io_mut().peer_reset(client);
        world.turns(6);
        world.workers[0].abort();
        world.turns(3);
        assert_eq!(world.workers[0].connections(), 0, "{mode:?}");
        let sim = world.workers[0].io_mut();
        assert!(sim.peer_take(server).starts_with(b"GET /stream "));
        assert_ne!(sim.peer_end(server), PeerEnd::Open);
    }
}
