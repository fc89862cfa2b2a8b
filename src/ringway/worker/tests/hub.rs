//! What reaches beyond a callback's own connection, over the simulation: commands, prepared messages that come and go,
//! sessions, and verdicts that come later.

use super::script::Script;
use super::wire::{Item, Wire};
use super::world::{TURNS_MAX, seeds};
use crate::io::sim::{Options, PeerId, Random, Sim};
use crate::io::{ConnId, ReceiveMode};
use crate::proto::{CloseCode, Kind, Message};
use crate::worker::{
    App, Closed, Config, Context, Failure, Handle, Listener, Opening, Scope, Verdict, Worker,
};

/// Hands every message on to every other member, by command. Some members are let in a few turns after they asked.
#[derive(Debug, Default)]
struct Hub {
    members: Vec<ConnId>,
    /// Verdicts to be given, and in how many turns.
    undecided: Vec<(ConnId, u32)>,
    failed: u64,
    closed: u64,
}

/// What is kept for a member.
#[derive(Debug, Default, PartialEq, Eq)]
struct Member {
    /// Set by `connect`, so that a session of an earlier connection in the slot would show.
    asked: bool,
    sent: u32,
}

impl App for Hub {
    type Session = Member;

    fn connect(&mut self, opening: &mut Opening<'_>, member: &mut Member) -> Verdict {
        assert_eq!(*member, Member::default(), "a session begins anew");
        member.asked = true;
        if opening.id().slot.is_multiple_of(2) {
            return Verdict::accept();
        }
        self.undecided.push((opening.id(), 3));
        Verdict::later()
    }

    fn open(&mut self, context: &mut Context<'_>, member: &mut Member) {
        assert!(member.asked && member.sent == 0);
        self.members.push(context.id());
    }

    fn message(&mut self, context: &mut Context<'_>, member: &mut Member, message: Message<'_>) {
        member.sent += 1;
        let own = context.id();
        let prepared = context
            .prepare(&[(Kind::Binary, message.payload())])
            .expect("few at a time");
        for (number, &id) in self.members.iter().enumerate() {
            if id == own {
                continue;
            }
            // Both ways of sending to others.
            match number % 2 {
                0 => context.commands().send_prepared(id, &prepared, 0),
                _ => {
                    let commands = context.commands();
                    commands.send(id, Kind::Binary, message.payload());
                }
            }
        }
    }

    fn failed(&mut self, scope: &mut Scope<'_>, member: Member, failure: Failure) {
        assert!(matches!(failure, Failure::Closed | Failure::Timeout));
        assert!(member.asked);
        self.undecided.retain(|(id, _)| *id != scope.id());
        self.failed += 1;
    }

    fn close(&mut self, scope: &mut Scope<'_>, member: Member, _: Closed<'_>) {
        assert!(member.asked);
        self.members.retain(|id| *id != scope.id());
        self.closed += 1;
    }

    fn turn(&mut self, worker: &mut Handle<'_>) {
        for (id, turns) in &mut self.undecided {
            *turns -= 1;
            if *turns == 0 {
                worker.commands().decide(*id, Verdict::accept());
            }
        }
        self.undecided.retain(|(_, turns)| *turns > 0);
        if !self.undecided.is_empty() {
            worker.commands().wake();
        }
    }
}

/// A member from outside.
struct Peer {
    id: PeerId,
    wire: Wire,
    open: bool,
    heard: Vec<Vec<u8>>,
    closed: bool,
}

struct Room {
    worker: Worker<Sim, Hub>,
    peers: Vec<Peer>,
    turns: usize,
}

impl Room {
    fn new(options: Options) -> Self {
        let mut sim = Sim::new(options);
        let listener = Listener::new(sim.listen(), None);
        let config = Config {
            send_queue_bytes_max: 1 << 30,
            ..Config::default()
        };
        Self {
            worker: Worker::new(sim, Hub::default(), config, listener),
            peers: Vec::new(),
            turns: 0,
        }
    }

    fn add(&mut self, random: &mut Random) -> usize {
        let bytes = Script::open(random).bytes;
        let sim = self.worker.io_mut();
        let id = sim.connect();
        sim.peer_send(id, &bytes);
        self.peers.push(Peer {
            id,
            wire: Wire::default(),
            open: false,
            heard: Vec::new(),
            closed: false,
        });
        self.peers.len() - 1
    }

    fn step(&mut self) {
        self.turns += 1;
        assert!(self.turns < TURNS_MAX, "it ends");
        let soon = std::time::Duration::from_millis(1);
        self.worker.turn(Some(soon)).expect("a simulation");
        let sim = self.worker.io_mut();
        for peer in &mut self.peers {
            peer.wire.extend(&sim.peer_take(peer.id));
            while let Some(item) = peer.wire.next() {
                match item {
                    Item::Head(status) => {
                        assert_eq!(status, 101);
                        peer.open = true;
                    }
                    Item::Frame { opcode: 2, payload } => peer.heard.push(payload),
                    Item::Frame { opcode, .. } => {
                        assert_eq!(opcode, 8);
                        peer.closed = true;
                    }
                }
            }
        }
    }

    fn until(&mut self, done: impl Fn(&[Peer]) -> bool) {
        while !done(&self.peers) {
            self.step();
        }
    }
}

/// A binary message of a client, masked with zeros.
fn frame(payload: &[u8]) -> Vec<u8> {
    let len = u8::try_from(payload.len()).expect("a short one");
    let mut frame = vec![0x82, 0x80 | len, 0, 0, 0, 0];
    frame.extend_from_slice(payload);
    frame
}

const CLOSE: &[u8] = b"\x88\x82\0\0\0\0\x03\xE8";

/// Every member hears every other one's messages, each sender's in order, whatever the kernel does; afterwards no block,
/// slot, buffer or session is left.
#[test]
fn every_member_hears_the_others_in_order_and_nothing_is_left() {
    seeds(60, |seed| {
        let mut random = Random::new(seed ^ 0x4B);
        let mut room = Room::new(Options::draw(seed));
        let members = random.between(2, 6);
        for _ in 0..members {
            room.add(&mut random);
        }
        room.until(|peers| peers.iter().all(|peer| peer.open));
        let messages = random.between(1, 40);
        for number in 0..messages {
            for member in 0..members {
                let id = room.peers[member].id;
                let text = format!("{member}:{number}");
                room.worker.io_mut().peer_send(id, &frame(text.as_bytes()));
            }
            if random.chance(300) {
                room.step();
            }
        }
        let expected = messages * (members - 1);
        room.until(|peers| peers.iter().all(|peer| peer.heard.len() >= expected));
        for (own, peer) in room.peers.iter().enumerate() {
            assert_eq!(peer.heard.len(), expected);
            for member in (0..members).filter(|member| *member != own) {
                let prefix = format!("{member}:");
                let of = |text: &&Vec<u8>| text.starts_with(prefix.as_bytes());
                let heard: Vec<_> = peer.heard.iter().filter(of).cloned().collect();
                let sent = (0..messages).map(|number| format!("{prefix}{number}").into_bytes());
                assert_eq!(heard, sent.collect::<Vec<_>>());
            }
        }
        for member in 0..members {
            let id = room.peers[member].id;
            room.worker.io_mut().peer_send(id, CLOSE);
        }
        room.until(|peers| peers.iter().all(|peer| peer.closed));
        for member in 0..members {
            let id = room.peers[member].id;
            room.worker.io_mut().peer_close(id);
        }
        while room.worker.connections() > 0 {
            room.step();
        }
        room.step();
        assert_eq!(
            room.worker.blocks(),
            0,
            "every prepared message is given back"
        );
        assert_eq!(room.worker.app().closed, members as u64);
        let counters = room.worker.counters();
        assert_eq!(counters.drops, 0);
        let came = (members * messages) as u64;
        let to_each = members as u64 - 1;
        assert_eq!(
            (counters.messages_in, counters.messages_out),
            (came, came * to_each)
        );
        let (bytes_in, bytes_out) = (counters.message_bytes_in, counters.message_bytes_out);
        assert_eq!((bytes_in > came, bytes_out), (true, bytes_in * to_each));
        room.worker.io().assert_clean();
    });
}

/// A client that leaves before the verdict: the application is told, and a verdict that comes all the same does nothing.
#[test]
fn a_client_that_leaves_before_the_verdict_is_told_as_failed() {
    for mode in [ReceiveMode::Buffers, ReceiveMode::Readiness] {
        let mut random = Random::new(1);
        let mut room = Room::new(Options::faultless(mode));
        room.add(&mut random); // slot 0 is let in at once
        let late = room.add(&mut random);
        while room.worker.app().undecided.is_empty() {
            room.step();
        }
        let id = room.worker.app().undecided[0].0;
        room.worker.app_mut().undecided[0].1 = u32::MAX;
        let peer = room.peers[late].id;
        room.worker.io_mut().peer_reset(peer);
        while room.worker.app().failed == 0 {
            room.step();
        }
        room.worker.app_mut().undecided.push((id, 1));
        (0..3).for_each(|_| room.step());
        assert!(!room.peers[late].open);
        assert_eq!(room.worker.app().members.len(), 1);
        assert_eq!(room.worker.counters().handshakes, 1);
    }
}

/// What a client sends before it has its answer is against RFC 6455 §4.1, but common; it is read after the verdict.
#[test]
fn frames_behind_a_request_wait_for_the_verdict() {
    for mode in [ReceiveMode::Buffers, ReceiveMode::Readiness] {
        let mut random = Random::new(2);
        let mut room = Room::new(Options::faultless(mode));
        let first = room.add(&mut random);
        let late = room.add(&mut random);
        let peer = room.peers[late].id;
        room.worker.io_mut().peer_send(peer, &frame(b"early"));
        room.until(|peers| peers[first].heard.len() == 1);
        assert_eq!(room.peers[first].heard[0], b"early");
        assert!(room.peers[late].open);
    }
}

/// A command for a connection that has ended is passed over, and a message for it is counted as dropped.
#[test]
fn commands_for_a_connection_that_is_over_do_nothing_but_count() {
    let mut random = Random::new(3);
    let mut room = Room::new(Options::faultless(ReceiveMode::Buffers));
    room.add(&mut random);
    room.until(|peers| peers[0].open);
    let id = room.worker.app().members[0];
    let peer = room.peers[0].id;
    room.worker.io_mut().peer_reset(peer);
    while room.worker.connections() > 0 {
        room.step();
    }
    let gone = room.worker.commands();
    gone.send(id, Kind::Text, b"too late");
    gone.close(id, CloseCode::NormalClosure, "");
    gone.pause(id);
    gone.resume(id);
    gone.reset(id);
    gone.decide(id, Verdict::accept());
    room.step();
    assert_eq!(room.worker.counters().drops, 1);
}
