//! Two workers with a bus between them, over the simulation: what is published reaches every subscriber, in order and once, or it is
//! counted. Between two turns no worker sleeps, so no bell rings here; `tests/it` has those, and the models of the bus.

use std::num::NonZeroU64;
use std::time::Duration;

use super::script::Script;
use super::wire::{Item, Wire};
use super::world::{TURNS_MAX, seeds};
use crate::bus::{Bus, BusOptions, Plan, Policy, QueueLimits, Segments};
use crate::io::sim::{Options, PeerId, Random, Sim};
use crate::proto::{Kind, Message};
use crate::stats::Counters;
use crate::worker::{App, Audience, Config, Context, Listener, Worker};

const TOPIC: &str = "all";

/// Publishes what its members say.
#[derive(Debug, Default)]
struct Speaker {
    /// Messages that members were told that they missed.
    told: u64,
}

impl App for Speaker {
    type Session = ();

    fn open(&mut self, context: &mut Context<'_>, (): &mut ()) {
        context.subscribe(TOPIC).expect("room");
    }

    fn message(&mut self, context: &mut Context<'_>, (): &mut (), message: Message<'_>) {
        let published = context.publish(TOPIC, Kind::Binary, message.payload(), Audience::All);
        published.expect("a small one");
    }

    fn missed(&mut self, _context: &mut Context<'_>, (): &mut (), messages: NonZeroU64) {
        self.told += messages.get();
    }
}

/// A subscriber from outside.
struct Peer {
    worker: usize,
    id: PeerId,
    wire: Wire,
    open: bool,
    /// Bytes that it reads in a step; a slow one reads few, or none.
    pace: usize,
    /// The number that it expects next, or a later one, of each sender.
    next: Vec<u64>,
    heard: u64,
}

struct Hall {
    workers: Vec<Worker<Sim, Speaker>>,
    peers: Vec<Peer>,
    random: Random,
    turns: usize,
    published: u64,
}

impl Hall {
    fn new(seed: u64, options: BusOptions) -> Self {
        let plan = Plan::new(2, &options);
        let segments = Segments::new(&plan).expect("memory");
        let mut workers = Vec::new();
        for seat in 0..2 {
            let mut sim = Sim::new(Options::draw(seed * 2 + seat as u64));
            let (bell, listener) = (sim.watchable(), Listener::new(sim.listen(), None));
            let mut worker = Worker::new(sim, Speaker::default(), Config::default(), listener);
            let own = segments.try_clone().expect("descriptors");
            let bus = Bus::join(own, &plan, seat).expect("a seat");
            worker.join_bus_at(bell, bus, options);
            workers.push(worker);
        }
        Self {
            workers,
            peers: Vec::new(),
            random: Random::new(seed ^ 0x70B1C),
            turns: 0,
            published: 0,
        }
    }

    fn add(&mut self, worker: usize, pace: usize) {
        let bytes = Script::open(&mut self.random).bytes;
        let sim = self.workers[worker].io_mut();
        let id = sim.connect();
        sim.peer_send(id, &bytes);
        self.peers.push(Peer {
            worker,
            id,
            wire: Wire::default(),
            open: false,
            pace,
            next: Vec::new(),
            heard: 0,
        });
    }

    /// One worker turns, and its peers read.
    fn step(&mut self, worker: usize) {
        self.turns += 1;
        assert!(self.turns < TURNS_MAX, "it ends");
        let own = &mut self.workers[worker];
        own.turn(Some(Duration::from_millis(1)))
            .expect("a simulation");
        let sim = own.io_mut();
        for peer in self.peers.iter_mut().filter(|peer| peer.worker == worker) {
            peer.wire.extend(&sim.peer_take_some(peer.id, peer.pace));
            while let Some(item) = peer.wire.next() {
                peer.hear(item);
            }
        }
    }

    fn any(&mut self) {
        let worker = self.random.below(2);
        self.step(worker);
    }

    /// Every subscriber says something.
    fn speak(&mut self, sender: usize, number: u64, bytes: usize) {
        let mut payload = vec![u8::try_from(sender).expect("few")];
        payload.extend(number.to_be_bytes());
        payload.resize(bytes.max(9), 0);
        let len = u16::try_from(payload.len())
            .expect("a small one")
            .to_be_bytes();
        let mut frame = vec![0x82, 0x80 | 126, len[0], len[1], 0, 0, 0, 0];
        if payload.len() < 126 {
            frame = vec![0x82, 0x80 | len[1], 0, 0, 0, 0];
        }
        frame.extend(payload);
        let Peer { worker, id, .. } = self.peers[sender];
        self.workers[worker].io_mut().peer_send(id, &frame);
        self.published += 1;
    }

    fn counters(&mut self) -> [Counters; 2] {
        [*self.workers[0].counters(), *self.workers[1].counters()]
    }

    /// Turns until all is published, and then until nothing waits for anybody.
    fn settle(&mut self) {
        while self.counters().iter().map(|of| of.published).sum::<u64>() < self.published {
            self.any();
        }
        for peer in &mut self.peers {
            peer.pace = usize::MAX;
        }
        let mut quiet = 0;
        let mut before = (0, 0);
        while quiet < 300 {
            (0..2).for_each(|worker| self.step(worker));
            let published = self.counters().iter().map(|of| of.published).sum::<u64>();
            let heard = self.peers.iter().map(|peer| peer.heard).sum::<u64>();
            let is_same = before == (published, heard) && published == self.published;
            quiet = if is_same { quiet + 1 } else { 0 };
            before = (published, heard);
        }
    }
}

impl Peer {
    fn hear(&mut self, item: Item) {
        match item {
            Item::Head(status) => {
                assert_eq!(status, 101);
                self.open = true;
            }
            Item::Frame { opcode, payload } => {
                assert_eq!(opcode, 2, "{payload:?}");
                let sender = usize::from(payload[0]);
                let number = u64::from_be_bytes(payload[1..9].try_into().expect("a number"));
                if self.next.len() <= sender {
                    self.next.resize(sender + 1, 0);
                }
                assert!(
                    number >= self.next[sender],
                    "{number} of {sender} comes late or twice"
                );
                self.next[sender] = number + 1;
                self.heard += 1;
            }
        }
    }
}

/// A hall whose subscribers have all been let in.
fn hall(seed: u64, options: BusOptions) -> Hall {
    let mut hall = Hall::new(seed, options);
    let peers = hall.random.between(2, 7);
    for _ in 0..peers {
        let worker = hall.random.below(2);
        hall.add(worker, usize::MAX);
    }
    while !hall.peers.iter().all(|peer| peer.open) {
        hall.any();
    }
    hall
}

fn options(random: &mut Random) -> BusOptions {
    BusOptions {
        log_bytes: 64 << 10,
        policy: random.pick(&[Policy::DropOldest, Policy::DropNewest, Policy::Conflate]),
        queue: QueueLimits {
            messages_max: random.pick(&[1, 10, 1000]),
            bytes_max: random.pick(&[1000, 1 << 20]),
        },
        ..BusOptions::default()
    }
}

#[test]
fn what_is_published_is_heard_once_and_in_order_or_counted() {
    // That the seeds reach what they are for.
    let reached = std::cell::Cell::new([0; 3]);
    seeds(80, |seed| {
        let options = options(&mut Random::new(seed));
        let mut hall = hall(seed, options);
        for peer in &mut hall.peers {
            peer.pace = hall.random.pick(&[0, 100, usize::MAX]);
        }
        let (rounds, bytes) = (
            hall.random.between(1, 60),
            hall.random.pick(&[9, 300, 2000]),
        );
        for number in 0..rounds {
            for sender in 0..hall.peers.len() {
                hall.speak(sender, number as u64, bytes);
            }
            // Seldom, so that a worker may fall behind by more than the log holds.
            if hall.random.chance(400) {
                hall.any();
            }
        }
        hall.settle();
        let counters = hall.counters();
        let sum = |read: fn(&Counters) -> u64| counters.iter().map(read).sum::<u64>();
        let heard = hall.peers.iter().map(|peer| peer.heard).sum::<u64>();
        assert_eq!(sum(|of| of.deliveries), heard);
        let dropped = sum(|of| {
            of.late_dropped_oldest
                + of.late_dropped_newest
                + of.late_dropped_conflated
                + of.late_dropped_too_big
        });
        let missed: u64 = (0..2)
            .map(|worker| {
                let own = hall
                    .peers
                    .iter()
                    .filter(|peer| peer.worker == worker)
                    .count();
                counters[worker].bus_missed * own as u64
            })
            .sum();
        let subscribers = hall.peers.len() as u64;
        assert_eq!(hall.published * subscribers, heard + dropped + missed);
        assert_eq!(hall.workers.iter().map(Worker::blocks).sum::<usize>(), 0);
        let told = hall.workers.iter().map(|worker| worker.app().told);
        let [late, lost, told_before] = reached.get();
        reached.set([
            late + dropped,
            lost + missed,
            told_before + told.sum::<u64>(),
        ]);
    });
    if std::env::var("RINGWAY_SIM_SEED").is_err() {
        assert!(reached.get().iter().all(|count| *count > 0), "{reached:?}");
    }
}
