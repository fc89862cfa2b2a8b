//! Streams joined with WebSockets, over the simulation: what one side sends reaches the other, whole and in order, however
//! the kernel cuts it and however slow the reader is; memory is bounded; nothing is left.

mod deflated;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::script::{self, Script};
use super::streams::{breaking, check_queues, handed, links, place, turns, wind_up};
use super::wire::{Item, Wire};
use super::world::{MODES, TURNS_MAX, seeds};
use crate::io::sim::{Options, PeerEnd, PeerId, Random, Sim};
use crate::io::{Io as _, ReceiveMode};
use crate::proto::{Kind, Message, Opcode, base64_stream};
use crate::protocol::Deflate;
use crate::stats::Counters;
use crate::worker::{App, Carried, Closed, Config, Context, Listener, Scope, Target, Way, Worker};

/// Joins every WebSocket with the target.
#[derive(Debug)]
struct Gate {
    target: Arc<Target>,
    /// Its sessions have a stream that is connected already.
    is_handed: bool,
    kind: Kind,
    opened: u64,
    closed: u64,
    /// Bytes that were told of, on their way to the target.
    carried: u64,
}

impl App for Gate {
    type Session = ();

    fn open(&mut self, context: &mut Context<'_>, (): &mut ()) {
        self.opened += 1;
        match self.is_handed {
            true => context.join_handed(&handed(), self.kind.into()),
            false => context.join(&self.target, self.kind, b""),
        }
    }

    fn message(&mut self, _: &mut Context<'_>, (): &mut (), _: Message<'_>) {
        unreachable!("messages are the stream's");
    }

    fn carried(&mut self, (): &mut (), carried: Carried<'_>) {
        if carried.way == Way::ToTarget {
            self.carried += carried.bytes.len() as u64;
        }
    }

    fn close(&mut self, _: &mut Scope<'_>, (): (), _: Closed<'_>) {
        self.closed += 1;
    }
}

/// How a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The target sends everything, then FIN. The client answers the Close behind all that it sends.
    TargetFin,
    /// The client sends everything, then a Close.
    ClientClose,
    /// The client sends everything, then FIN.
    ClientFin,
    /// The target resets after so many bytes.
    TargetReset(usize),
    /// The client resets after so many bytes.
    ClientReset(usize),
}

/// A client, and the peer at the other end of its stream.
#[derive(Debug)]
struct Session {
    client: PeerId,
    target: Option<PeerId>,
    end: End,
    /// What the client sends: its request and frames.
    out: Vec<u8>,
    out_sent: usize,
    /// The first byte says which session it is.
    up: Vec<u8>,
    got_up: Vec<u8>,
    down: Vec<u8>,
    down_sent: usize,
    got_down: Vec<u8>,
    wire: Wire,
    code: Option<u16>,
    ended: bool,
    pace: u16,
}

struct World {
    worker: Worker<Sim, Gate>,
    sessions: Vec<Session>,
    /// Targets whose session is not known yet.
    fresh: Vec<PeerId>,
    random: Random,
    queue_max: usize,
    kind: Kind,
    deflate: Option<Deflate>,
    turns: usize,
}

impl World {
    fn new(options: Options, config: Config, kind: Kind, half_close: bool) -> Self {
        let mut sim = Sim::new(options);
        let (queue_max, deflate) = (config.send_queue_bytes_max, config.deflate);
        let listener = Listener::new(sim.listen(), None);
        let gate = Gate {
            target: Arc::new(Target {
                addresses: vec![place(), place()],
                connect_timeout: Duration::from_secs(3),
                tls: None,
                half_close,
            }),
            is_handed: false,
            kind,
            opened: 0,
            closed: 0,
            carried: 0,
        };
        Self {
            worker: Worker::new(sim, gate, config, listener),
            sessions: Vec::new(),
            fresh: Vec::new(),
            random: Random::new(options.seed ^ 0x6A7E),
            queue_max,
            kind,
            deflate,
            turns: 0,
        }
    }

    /// One more session, that sends up to so many bytes each way.
    fn add(&mut self, bytes: usize, end: End) -> usize {
        let random = &mut self.random;
        let number = u8::try_from(self.sessions.len()).expect("few sessions");
        let deflate = self.deflate.filter(|_| random.chance(800));
        let mut script = Script::open_with(random, deflate);
        let len = random.magnitude(bytes);
        let mut up = script::stream(random, len);
        up[0] = number;
        add_stream(&mut script, random, &up, self.kind);
        if end == End::ClientClose {
            script.add_close(random);
        }
        let len = random.magnitude(bytes);
        let down = script::stream(random, len);
        let wire = match deflate {
            None => Wire::default(),
            Some(deflate) => Wire::compressed(deflate.sends.takeover),
        };
        let pace = random.pick(&[5, 100, 1000]);
        let client = self.worker.io_mut().connect();
        self.sessions.push(Session {
            client,
            target: None,
            end,
            out: script.bytes,
            out_sent: 0,
            up,
            got_up: Vec::new(),
            down,
            down_sent: 0,
            got_down: Vec::new(),
            wire,
            code: None,
            ended: false,
            pace,
        });
        self.sessions.len() - 1
    }

    fn step(&mut self) {
        self.turns += 1;
        if self.turns == TURNS_MAX {
            let links = links(&mut self.worker);
            panic!("it ends: {:#?} {links:#?}", self.describe());
        }
        let sim = self.worker.io_mut();
        while let Some(peer) = sim.dialled() {
            sim.take_up(peer);
            self.fresh.push(peer);
        }
        let sessions = &mut self.sessions;
        self.fresh.retain(|peer| {
            let first = sim.peer_take_some(*peer, 1);
            if let Some(number) = first.first() {
                let session = &mut sessions[usize::from(*number)];
                session.got_up = first;
                session.target = Some(*peer);
                return false;
            }
            let is_over = sim.peer_end(*peer) != PeerEnd::Open;
            if is_over {
                sim.peer_close(*peer);
            }
            !is_over
        });
        for session in &mut self.sessions {
            session.step_client(sim, &mut self.random);
            session.step_target(sim, &mut self.random);
        }
        self.worker
            .turn(Some(Duration::from_micros(50)))
            .expect("a simulation");
        check_queues(&mut self.worker, self.queue_max, 2);
    }

    fn is_over(&self) -> bool {
        let sim = self.worker.io();
        let mut sessions = self.sessions.iter();
        sessions
            .all(|session| session.ended && session.target.is_none() && sim.is_over(session.client))
    }

    fn run(&mut self) -> Counters {
        while !self.is_over() || self.worker.connections() > 0 {
            self.step();
        }
        let counters = wind_up(&mut self.worker);
        let app = self.worker.app();
        assert_eq!((app.opened, counters.handshakes), (app.closed, app.closed));
        counters
    }

    fn describe(&self) -> Vec<String> {
        let of = |session: &Session| {
            format!(
                "{:?} sent {}/{} got up {}/{} sent down {}/{} got {} code {:?} target {:?}",
                session.end,
                session.out_sent,
                session.out.len(),
                session.got_up.len(),
                session.up.len(),
                session.down_sent,
                session.down.len(),
                session.got_down.len(),
                session.code,
                session.target,
            )
        };
        self.sessions.iter().map(of).collect()
    }
}

/// The stream as messages of every size, some in fragments, some with Pings between.
fn add_stream(script: &mut Script, random: &mut Random, stream: &[u8], kind: Kind) {
    let size_max = random.pick(&[3, 100, 2_000, 5_000, 70_000, 300_000]);
    let mut rest = stream;
    while !rest.is_empty() {
        let len = random.magnitude(size_max).min(rest.len());
        let (now, later) = rest.split_at(len);
        rest = later;
        let mut text = String::new();
        let payload = match kind {
            Kind::Binary => now,
            Kind::Text => {
                base64_stream::encode(now, &mut text);
                text.as_bytes()
            }
        };
        let compressed = script.compressed(random, payload);
        let is_compressed = compressed.is_some();
        let payload = compressed.as_deref().unwrap_or(payload);
        let cut = random.below(payload.len() + 1);
        if random.chance(300) {
            let (head, tail) = payload.split_at(cut);
            script.add_frame_with(random, false, is_compressed, kind.opcode(), head);
            if random.chance(300) {
                script.add_control(random, Opcode::Ping, b"between");
            }
            script.add_frame(random, true, Opcode::Continuation, tail);
        } else {
            script.add_frame_with(random, true, is_compressed, kind.opcode(), payload);
        }
    }
}

impl Session {
    fn step_client(&mut self, sim: &mut Sim, random: &mut Random) {
        if self.ended {
            return;
        }
        if random.chance(self.pace.max(50)) {
            let len = random
                .magnitude(100_000)
                .min(self.out.len() - self.out_sent);
            sim.peer_send(self.client, &self.out[self.out_sent..][..len]);
            self.out_sent += len;
        }
        if let End::ClientReset(at) = self.end
            && self.out_sent >= at
        {
            sim.peer_reset(self.client);
            self.ended = true;
            return;
        }
        let all_sent = self.out_sent == self.out.len();
        if all_sent && self.end == End::ClientFin {
            sim.peer_half_close(self.client);
        }
        if random.chance(self.pace) {
            let max = random.magnitude(100_000);
            let taken = sim.peer_take_some(self.client, max);
            self.wire.extend(&taken);
            self.decode();
        }
        if self.code.is_some() && all_sent && self.end != End::ClientClose {
            // A Close of zeros' masking key.
            sim.peer_send(self.client, b"\x88\x82\0\0\0\0\x03\xE8");
        }
        if sim.peer_end(self.client) != PeerEnd::Open {
            let taken = sim.peer_take(self.client);
            self.wire.extend(&taken);
            self.decode();
            sim.peer_close(self.client);
            self.ended = true;
        }
    }

    fn decode(&mut self) {
        while let Some(item) = self.wire.next() {
            match item {
                Item::Head(status) => assert_eq!(status, 101),
                Item::Frame { opcode: 2, payload } => self.got_down.extend(payload),
                Item::Frame { opcode: 1, payload } => {
                    let mut payload = payload;
                    let mut decoder = base64_stream::Decoder::default();
                    let len = decoder.decode(&mut payload).expect("base64");
                    decoder.end().expect("whole");
                    self.got_down.extend(&payload[..len]);
                }
                Item::Frame {
                    opcode: 10,
                    payload,
                } => assert_eq!(payload, b"between"),
                Item::Frame { opcode, payload } => {
                    assert_eq!((opcode, self.code), (8, None));
                    let code = payload.first_chunk().copied().map(u16::from_be_bytes);
                    self.code = Some(code.unwrap_or(1005));
                }
            }
        }
    }

    fn step_target(&mut self, sim: &mut Sim, random: &mut Random) {
        let Some(target) = self.target else { return };
        if random.chance(self.pace.max(50)) {
            let len = random.magnitude(100_000);
            let len = len.min(self.down.len() - self.down_sent);
            sim.peer_send(target, &self.down[self.down_sent..][..len]);
            self.down_sent += len;
        }
        if let End::TargetReset(at) = self.end
            && self.down_sent >= at
        {
            sim.peer_reset(target);
            self.target = None;
            return;
        }
        if self.end == End::TargetFin && self.down_sent == self.down.len() {
            sim.peer_half_close(target);
        }
        if random.chance(self.pace) {
            let max = random.magnitude(100_000);
            self.got_up.extend(sim.peer_take_some(target, max));
        }
        if sim.peer_end(target) != PeerEnd::Open {
            self.got_up.extend(sim.peer_take(target));
            sim.peer_close(target);
            self.target = None;
        }
    }

    /// What arrived is what was sent, as far as the end allows.
    fn check(&self, breaks: bool) {
        assert!(self.up.starts_with(&self.got_up), "up, in order");
        assert!(self.down.starts_with(&self.got_down), "down, in order");
        if breaks {
            return;
        }
        match self.end {
            End::TargetFin => {
                assert_eq!(self.got_down.len(), self.down.len(), "all of it");
                assert_eq!(self.got_up.len(), self.up.len(), "all of it");
                assert_eq!(self.code, Some(1000));
            }
            End::ClientClose => {
                assert_eq!(self.got_up.len(), self.up.len(), "all of it");
                assert_eq!(self.code, Some(1000));
            }
            End::ClientFin => assert_eq!(self.got_up.len(), self.up.len(), "all of it"),
            End::TargetReset(_) | End::ClientReset(_) => {}
        }
    }
}

fn drawn(seed: u64) -> World {
    let options = Options::draw(seed);
    let mut random = Random::new(seed ^ 0x9A12);
    let config = Config {
        send_queue_bytes_max: random.pick(&[1_000, 20_000, 1 << 20]),
        deflate: random.chance(500).then(|| super::deflate(&mut random)),
        ..Config::default()
    };
    let kind = random.pick(&[Kind::Binary, Kind::Binary, Kind::Text]);
    let mut world = World::new(options, config, kind, false);
    world.worker.app_mut().is_handed = random.chance(300);
    world
}

#[test]
fn every_byte_of_a_stream_arrives_once_and_in_order_and_nothing_is_left() {
    let codes = seeds_with(200, |seed| {
        let mut world = drawn(seed);
        for _ in 0..world.random.between(1, 4) {
            let end = world
                .random
                .pick(&[End::TargetFin, End::ClientClose, End::ClientFin]);
            world.add(600_000, end);
        }
        let counters = world.run();
        world
            .sessions
            .iter()
            .for_each(|session| session.check(false));
        let sessions = world.sessions.len() as u64;
        assert_eq!(
            (counters.streams_opened, counters.streams_failed),
            (sessions, 0)
        );
        let up = world.sessions.iter().map(|session| session.up.len() as u64);
        let carried = world.worker.app().carried;
        assert_eq!(
            [counters.stream_bytes_out, carried],
            [up.sum::<u64>(); 2],
            "each byte is told of once"
        );
        world.sessions.iter().filter_map(|s| s.code).collect()
    });
    assert_eq!(codes, BTreeSet::from([1000]));
}

/// Both sides break off at any moment, sends and connects fail: what arrived is a beginning, and nothing is left.
#[test]
fn however_a_stream_breaks_nothing_is_duplicated_and_nothing_is_left() {
    let codes = seeds_with(200, |seed| {
        let mut world = drawn(seed);
        let breaks = seed % 2 == 1;
        if breaks {
            *world.worker.io_mut().faults_mut() = breaking(&mut world.random);
        }
        for _ in 0..world.random.between(1, 5) {
            let at = world.random.magnitude(200_000);
            let end = world.random.pick(&[
                End::TargetReset(at),
                End::ClientReset(at),
                End::TargetFin,
                End::ClientClose,
            ]);
            let number = world.add(200_000, end);
            let session = &mut world.sessions[number];
            session.end = match end {
                End::TargetReset(at) => End::TargetReset(at.min(session.down.len())),
                End::ClientReset(at) => End::ClientReset(at.min(session.out.len())),
                end => end,
            };
        }
        world.run();
        world
            .sessions
            .iter()
            .for_each(|session| session.check(breaks));
        world.sessions.iter().filter_map(|s| s.code).collect()
    });
    assert!(codes.contains(&1000) && codes.contains(&1011), "{codes:?}");
}

/// Runs `run` for seeds, and returns the codes with which sessions were closed.
fn seeds_with(count: u64, run: impl Fn(u64) -> Vec<u16>) -> BTreeSet<u16> {
    let codes = std::cell::RefCell::new(BTreeSet::new());
    seeds(count, |seed| codes.borrow_mut().extend(run(seed)));
    codes.into_inner()
}

/// A faultless world with a client whose WebSocket is open and which sends `frames` with its request.
fn opened(mode: ReceiveMode, config: Config, half_close: bool, frames: &[u8]) -> (World, PeerId) {
    let mut world = World::new(Options::faultless(mode), config, Kind::Binary, half_close);
    let mut bytes = Script::open(&mut world.random).bytes;
    bytes.extend_from_slice(frames);
    let sim = world.worker.io_mut();
    let client = sim.connect();
    sim.peer_send(client, &bytes);
    world.turns(3);
    (world, client)
}

impl World {
    fn turns(&mut self, count: usize) {
        turns(&mut self.worker, count);
    }

    /// The frames that the client got since the last call.
    fn frames(&mut self, client: PeerId, wire: &mut Wire) -> Vec<(u8, Vec<u8>)> {
        let taken = self.worker.io_mut().peer_take(client);
        wire.extend(&taken);
        std::iter::from_fn(|| wire.next())
            .filter_map(|item| match item {
                Item::Head(status) => {
                    assert_eq!(status, 101);
                    None
                }
                Item::Frame { opcode, payload } => Some((opcode, payload)),
            })
            .collect()
    }

    fn pass(&mut self, time: Duration) {
        let until = self.worker.io().now() + time;
        self.worker.io_mut().set_alarm(Some(until));
        while self.worker.io().now() < until {
            self.worker.turn(None).expect("a worker");
        }
        self.worker.io_mut().set_alarm(None);
    }
}

/// A binary frame of a client, masked with zeros.
fn frame(payload: &[u8]) -> Vec<u8> {
    let len = u8::try_from(payload.len()).expect("a short one");
    let mut frame = vec![0x82, 0x80 | len, 0, 0, 0, 0];
    frame.extend_from_slice(payload);
    frame
}

#[test]
fn bytes_that_come_before_the_target_wait_for_it_also_at_its_second_address() {
    for mode in MODES {
        let (mut world, client) = opened(mode, Config::default(), false, &frame(b"early"));
        let first = world.worker.io_mut().dialled().expect("a connect");
        world.worker.io_mut().peer_send(client, &frame(b" later"));
        world.turns(3);
        world.worker.io_mut().refuse(first);
        world.turns(3);
        let second = world.worker.io_mut().dialled().expect("the next address");
        world.worker.io_mut().take_up(second);
        world.turns(4);
        let sim = world.worker.io_mut();
        assert_eq!(sim.peer_take(second), b"early later", "{mode:?}");
        sim.peer_close(second);
        sim.peer_close(client);
        world.turns(6);
        assert_eq!(world.worker.connections(), 0);
        assert_eq!(world.worker.counters().streams_opened, 1);
    }
}

#[test]
fn a_target_that_refuses_at_every_address_closes_with_1011_and_the_reason() {
    for mode in MODES {
        let (mut world, client) = opened(mode, Config::default(), false, &frame(b"early"));
        for _ in 0..2 {
            let peer = world.worker.io_mut().dialled().expect("a connect");
            world.worker.io_mut().refuse(peer);
            world.turns(3);
        }
        let frames = world.frames(client, &mut Wire::default());
        let [(8, payload)] = &frames[..] else {
            panic!("{frames:?}");
        };
        assert_eq!(payload[..2], 1011_u16.to_be_bytes());
        let reason = std::str::from_utf8(&payload[2..]).expect("text");
        assert!(reason.contains("Connection refused"), "{reason}");
        world.worker.io_mut().peer_send(client, b"\x88\x80\0\0\0\0");
        world.turns(4);
        world.worker.io_mut().peer_close(client);
        world.turns(4);
        assert_eq!(world.worker.connections(), 0, "{mode:?}");
        assert_eq!(world.worker.counters().streams_failed, 1);
    }
}

#[test]
fn a_target_that_does_not_answer_is_given_up_in_time_and_a_client_that_leaves_meanwhile_ends_it() {
    for mode in MODES {
        let (mut world, client) = opened(mode, Config::default(), false, b"");
        world.pass(Duration::from_secs(7));
        let frames = world.frames(client, &mut Wire::default());
        assert!(matches!(&frames[..], [(8, payload)] if payload[..2] == [3, 243]));
        let (mut world, client) = opened(mode, Config::default(), false, b"");
        assert_eq!(world.worker.connections(), 2);
        world.worker.abort();
        world.turns(4);
        assert_eq!(world.worker.connections(), 0, "{mode:?}");
        world.worker.io_mut().peer_take(client);
        assert_ne!(world.worker.io().peer_end(client), PeerEnd::Open);
    }
}

/// A Close of ours during the connect: the client's answer is read as soon as that has failed.
#[test]
fn a_websocket_that_closes_while_its_target_is_dialled_ends_with_the_clients_answer() {
    for mode in MODES {
        let (mut world, client) = opened(mode, Config::default(), false, b"");
        let target = world.worker.io_mut().dialled().expect("a connect");
        let id = world.worker.table.ids()[0];
        let commands = world.worker.commands();
        commands.close(id, crate::proto::CloseCode::GoingAway, "");
        world.turns(1);
        world.worker.io_mut().peer_send(client, b"\x88\x80\0\0\0\0");
        world.worker.io_mut().refuse(target);
        world.turns(6);
        let frames = world.frames(client, &mut Wire::default());
        assert!(matches!(&frames[..], [(8, payload)] if payload[..2] == [3, 233]));
        world.worker.io_mut().peer_close(client);
        world.turns(4);
        assert_eq!(world.worker.connections(), 0, "{mode:?}");
    }
}

/// With `half_close`, the client goes on sending after the target's end, and is told nothing of it.
#[test]
fn a_half_closed_target_still_gets_what_the_client_sends() {
    for mode in MODES {
        let (mut world, client) = opened(mode, Config::default(), true, b"");
        let target = world.worker.io_mut().dialled().expect("a connect");
        world.worker.io_mut().take_up(target);
        world.worker.io_mut().peer_send(target, b"last");
        world.worker.io_mut().peer_half_close(target);
        world.turns(4);
        let mut wire = Wire::default();
        let frames = world.frames(client, &mut wire);
        assert_eq!(frames, [(2, b"last".to_vec())]);
        world.worker.io_mut().peer_send(client, &frame(b"more"));
        world.turns(4);
        assert_eq!(world.worker.io_mut().peer_take(target), b"more");
        world.worker.io_mut().peer_send(client, b"\x88\x80\0\0\0\0");
        world.turns(4);
        assert_eq!(world.frames(client, &mut wire), [(8, Vec::new())]);
        assert_eq!(world.worker.io().peer_end(target), PeerEnd::Fin);
        world.worker.io_mut().peer_close(client);
        world.turns(4);
        assert_eq!(world.worker.connections(), 0, "{mode:?}");
    }
}

#[test]
fn messages_of_the_wrong_kind_close_with_1003() {
    for mode in MODES {
        let (mut world, client) = opened(mode, Config::default(), false, b"\x81\x81\0\0\0\0x");
        let target = world.worker.io_mut().dialled().expect("a connect");
        world.worker.io_mut().take_up(target);
        world.turns(4);
        let frames = world.frames(client, &mut Wire::default());
        assert!(matches!(&frames[..], [(8, payload)] if payload[..2] == [3, 235]));
        assert_eq!(world.worker.io().peer_end(target), PeerEnd::Fin);
    }
}

/// Only a pair that is silent on both sides is idle.
#[test]
fn bytes_in_either_direction_keep_a_pair_from_being_idle() {
    for mode in MODES {
        let config = Config {
            idle_timeout: Some(Duration::from_secs(2)),
            ..Config::default()
        };
        let (mut world, client) = opened(mode, config, false, b"");
        let target = world.worker.io_mut().dialled().expect("a connect");
        world.worker.io_mut().take_up(target);
        let mut wire = Wire::default();
        for _ in 0..5 {
            world.worker.io_mut().peer_send(target, b"x");
            world.pass(Duration::from_secs(1));
            assert_eq!(world.frames(client, &mut wire), [(2, b"x".to_vec())]);
        }
        world.pass(Duration::from_secs(3));
        let frames = world.frames(client, &mut wire);
        assert!(matches!(&frames[..], [(8, payload)] if payload[..2] == [3, 233]));
    }
}
