//! Whatever happens to the bus, each subscriber sees one order, nothing twice, and is told of all that is missing.

use std::collections::{BTreeMap, BTreeSet};

use super::world::{Item, World};
use crate::history::Position;
use crate::pubsub::{Event, EventReader, Payload};
use crate::queue::{Limits, Policy};
use crate::random::Random;
use crate::station::Options;
use crate::station::record::Record;
use crate::topics::{Pattern, Topic};
use std::time::Duration;

const TOPICS: [&str; 5] = ["a", "b", "c", "p/0", "p/1"];
/// Two of them never match the same topic.
const PATTERNS: [&str; 4] = ["a", "b", "c", "p/+"];

/// What a client should see.
#[derive(Debug, Default)]
struct Watcher {
    worker: usize,
    patterns: BTreeSet<&'static str>,
    /// Messages that came to its station, or should have, while it wanted them.
    expected: u64,
    has_left: bool,
    /// Where a topic was when it was unsubscribed from.
    left_at: BTreeMap<&'static str, Position>,
    /// Publishes that have an id, and the number of their message.
    asked: BTreeMap<u32, u64>,
    requests: u32,
}

/// The naive model: it sees what owners write and what reaches whom.
struct Model {
    world: World,
    random: Random,
    watchers: BTreeMap<u64, Watcher>,
    /// By number of the message: its topic and place.
    places: BTreeMap<u64, (String, Position)>,
    /// By worker and topic: the last place that came there.
    copies: Vec<BTreeMap<String, Position>>,
    published: u64,
    /// Publishes that never came to their owner.
    publishes_lost: u64,
    /// Those that their stations have closed, and how many events they had got by then.
    closed: BTreeMap<u64, (Watcher, usize)>,
    next_client: u64,
    has_losses: bool,
}

impl Model {
    fn new(seed: u64, workers: usize, policy: Policy, has_losses: bool) -> Self {
        let mut options = Options::new(0, workers);
        options.policy = policy;
        options.queue = Limits {
            messages_max: 5,
            bytes_max: 1000,
        };
        // A replay tells of what is no longer kept, but nobody is told who was closed before.
        options.history.messages_max = if policy == Policy::Close { 10_000 } else { 8 };
        let mut model = Self {
            world: World::new(options),
            random: Random(seed),
            watchers: BTreeMap::new(),
            places: BTreeMap::new(),
            copies: vec![BTreeMap::new(); workers],
            published: 0,
            publishes_lost: 0,
            closed: BTreeMap::new(),
            next_client: 1,
            has_losses,
        };
        for worker in 0..workers {
            (0..3).for_each(|_| model.open(worker));
        }
        model
    }

    fn open(&mut self, worker: usize) {
        let client = self.next_client;
        self.next_client += 1;
        self.world.open(worker, client);
        let watcher = Watcher {
            worker,
            ..Watcher::default()
        };
        self.watchers.insert(client, watcher);
    }

    /// Notes a message where it came: at its owner when that writes it, elsewhere when it is read.
    fn came(&mut self, worker: usize, body: &[u8]) {
        let Some(Record::Message {
            position, content, ..
        }) = Record::decode(body)
        else {
            return;
        };
        let topic = content.topic;
        let last = self.copies[worker].insert(topic.as_str().to_owned(), position);
        let missing_and_this = match last {
            None => 1,
            Some(last) if last.epoch == position.epoch => position.offset - last.offset,
            Some(_) => position.offset,
        };
        for watcher in self.watchers.values_mut() {
            let wants = |pattern: &&str| Pattern::parse(pattern).unwrap().matches(topic);
            if watcher.worker == worker && watcher.patterns.iter().any(wants) {
                watcher.expected += missing_and_this;
            }
        }
    }

    fn wrote(&mut self, worker: usize, written: &[std::sync::Arc<[u8]>]) {
        for body in written {
            if let Some(Record::Message {
                position, content, ..
            }) = Record::decode(body)
            {
                let Payload::Json(number) = content.payload else {
                    panic!("all are JSON");
                };
                let place = (content.topic.as_str().to_owned(), position);
                let twice = self.places.insert(number.parse().unwrap(), place);
                assert_eq!(twice, None, "a message has one place");
                self.came(worker, body);
            }
        }
    }

    fn step(&mut self) {
        let clients: Vec<u64> = self.watchers.keys().copied().collect();
        let client = *self.random.pick(&clients);
        let worker = self.watchers[&client].worker;
        match self.random.below(100) {
            0..35 => self.publish(client),
            35..70 => self.pass(),
            70..76 => drop(self.world.desks[worker].full.insert(client)),
            // Room for a few, or again, of which the station has not heard.
            76..79 => {
                let room = self.random.below(4);
                self.world.desks[worker].room.insert(client, room);
            }
            79..81 => drop(self.world.desks[worker].full.remove(&client)),
            81..90 => self.world.writable(worker, client),
            90..95 => self.subscribe(client),
            95..97 => self.unsubscribe(client),
            97 if self.has_losses => self.lose(),
            98 if self.has_losses && self.random.below(8) == 0 => self.replace(),
            _ => self
                .world
                .wait(Duration::from_millis(self.random.next() % 100)),
        }
    }

    fn publish(&mut self, client: u64) {
        self.published += 1;
        let topic = *self.random.pick(&TOPICS);
        let (number, has_id) = (self.published, self.random.below(2) == 0);
        let watcher = self.watchers.get_mut(&client).unwrap();
        watcher.requests += 1;
        let id = match has_id {
            true => format!(r#""id":{},"#, watcher.requests),
            false => String::new(),
        };
        if has_id {
            watcher.asked.insert(watcher.requests, number);
        }
        let worker = watcher.worker;
        let text = format!(r#"{{"op":"publish",{id}"topic":"{topic}","data":{number}}}"#);
        let written = self.world.ask(worker, client, &text);
        assert_eq!(written.len(), 1);
        self.wrote(worker, &written);
    }

    fn pass(&mut self) {
        let workers = self.world.options.workers;
        let (writer, reader) = (self.random.below(workers), self.random.below(workers));
        for _ in 0..self.random.below(6) {
            self.pass_one(writer, reader);
        }
    }

    fn pass_one(&mut self, writer: usize, reader: usize) -> bool {
        let Some(item) = self.world.logs[writer][reader].front().cloned() else {
            return false;
        };
        if let Item::Record(body) = &item {
            self.came(reader, body);
        }
        let (_, written) = self.world.pass(writer, reader).expect("it is there");
        self.wrote(reader, &written);
        self.note_closed();
        true
    }

    fn subscribe(&mut self, client: u64) {
        let pattern = *self.random.pick(&PATTERNS);
        let watcher = self.watchers.get_mut(&client).unwrap();
        if !watcher.patterns.insert(pattern) {
            return;
        }
        let worker = watcher.worker;
        let mut since = String::new();
        let now = self.copies[worker].get(pattern);
        if let (Some(left), Some(now)) = (watcher.left_at.get(pattern), now)
            && left.epoch == now.epoch
        {
            watcher.expected += now.offset - left.offset;
            let Position { epoch, offset } = left;
            since = format!(r#","since":{{"epoch":"{epoch}","offset":{offset}}}"#);
        }
        let text = format!(r#"{{"op":"subscribe","topic":"{pattern}"{since}}}"#);
        self.world.ask(worker, client, &text);
    }

    fn unsubscribe(&mut self, client: u64) {
        let watcher = self.watchers.get_mut(&client).unwrap();
        let Some(pattern) = watcher.patterns.pop_last() else {
            return;
        };
        watcher.has_left = true;
        if let Some(position) = self.copies[watcher.worker].get(pattern) {
            watcher.left_at.insert(pattern, *position);
        }
        let text = format!(r#"{{"op":"unsubscribe","topic":"{pattern}"}}"#);
        self.world.ask(watcher.worker, client, &text);
    }

    fn count_lost_publishes(&mut self, writer: usize, reader: usize, items: usize) {
        let items: Vec<Item> = self.world.logs[writer][reader]
            .iter()
            .take(items)
            .cloned()
            .collect();
        for item in items {
            if let Item::Record(body) = item
                && let Some(Record::Publish { content, .. }) = Record::decode(&body)
                && self.world.stations[reader].owner(content.topic) == reader
            {
                self.publishes_lost += 1;
            }
        }
    }

    fn lose(&mut self) {
        let workers = self.world.options.workers;
        let (writer, reader) = (self.random.below(workers), self.random.below(workers));
        let log = &self.world.logs[writer][reader];
        // Not beyond a new writer: a reader hears of that in any case.
        let before = log
            .iter()
            .take_while(|item| matches!(item, Item::Record(_)));
        let items = before.count().min(1 + self.random.below(10));
        if items > 0 {
            self.count_lost_publishes(writer, reader, items);
            self.world.lose(writer, reader, items);
        }
    }

    fn replace(&mut self) {
        let worker = self.random.below(self.world.options.workers);
        for writer in 0..self.world.options.workers {
            self.count_lost_publishes(writer, worker, usize::MAX);
        }
        self.watchers.retain(|_, watcher| watcher.worker != worker);
        self.copies[worker].clear();
        self.world.replace(worker);
        (0..3).for_each(|_| self.open(worker));
    }

    /// Everything that is on its way comes.
    fn finish(&mut self) {
        let workers = self.world.options.workers;
        for round in 0..2 {
            while (0..workers * workers).any(|pair| self.pass_one(pair / workers, pair % workers)) {
            }
            let all: Vec<_> = self.watchers.iter().map(|(c, w)| (*c, w.worker)).collect();
            for (client, worker) in all {
                self.world.desks[worker].room.clear();
                self.world.writable(worker, client);
            }
            self.world.wait(Duration::from_secs(10 * (1 - round)));
        }
        assert_eq!(
            self.published,
            self.places.len() as u64 + self.publishes_lost
        );
    }

    fn note_closed(&mut self) {
        for desk in &mut self.world.desks {
            for (client, code) in std::mem::take(&mut desk.closed) {
                assert_eq!(code, 1013);
                let watcher = self.watchers.remove(&client).expect("it was open");
                let events = desk.sent.get(&client).map_or(0, Vec::len);
                self.closed.insert(client, (watcher, events));
            }
        }
    }

    /// What a client has got is right. Returns how many messages, and how many are missing by what it was told.
    fn check(&mut self, client: u64, policy: Policy) -> (u64, u64) {
        let watcher = &self.watchers[&client];
        let sent = self.world.desks[watcher.worker].sent.remove(&client);
        let mut last: BTreeMap<String, Position> = BTreeMap::new();
        let (mut seen, mut answered) = (BTreeSet::new(), BTreeSet::new());
        let mut told_since: BTreeSet<String> = BTreeSet::new();
        let mut told = 0;
        let mut reader = EventReader::new();
        for made in sent.iter().flatten() {
            let text = std::str::from_utf8(&made.bytes).unwrap();
            match reader.read(text).expect("an event of ours") {
                Event::Message {
                    topic,
                    offset,
                    payload: Payload::Json(number),
                } => {
                    let number = number.parse().unwrap();
                    assert!(seen.insert(number), "{client} got {number} twice");
                    let (name, place) = &self.places[&number];
                    assert_eq!(
                        (&**name, place.offset),
                        (topic.as_str(), offset.unwrap().get())
                    );
                    if let Some(before) = last.insert(name.clone(), *place) {
                        assert!((before.epoch, before.offset) < (place.epoch, place.offset));
                        let is_next =
                            before.epoch == place.epoch && place.offset == before.offset + 1;
                        let is_told = told_since.remove(name);
                        let may_jump = policy == Policy::Conflate || watcher.has_left;
                        assert!(is_next || is_told || may_jump, "{client}: silently less");
                    }
                }
                Event::Gap { topic, messages } => {
                    told += messages.map_or(0, u64::from);
                    match topic {
                        Some(topic) => drop(told_since.insert(topic.as_str().to_owned())),
                        None => told_since.extend(TOPICS.map(str::to_owned)),
                    }
                }
                Event::Ack { id, position } => {
                    let number = watcher.asked[&id.get()];
                    assert_eq!(position, self.places.get(&number).map(|place| place.1));
                    assert!(answered.insert(id.get()));
                }
                Event::Error { id, .. } => {
                    assert!(
                        self.has_losses && answered.insert(id.unwrap().get()),
                        "{text}"
                    );
                }
                event => panic!("{event:?}"),
            }
        }
        assert!(
            answered.iter().eq(watcher.asked.keys()),
            "each is answered once"
        );
        (seen.len() as u64, told)
    }
}

fn run(seed: u64, workers: usize, policy: Policy, has_losses: bool) -> (u64, u64) {
    let mut model = Model::new(seed, workers, policy, has_losses);
    for _ in 0..600 {
        model.step();
    }
    model.finish();
    let clients: Vec<u64> = model.watchers.keys().copied().collect();
    let mut sums = vec![(0, 0, 0); workers];
    let mut all = (0, 0);
    for client in clients {
        let (seen, told) = model.check(client, policy);
        let watcher = &model.watchers[&client];
        if policy != Policy::Conflate {
            assert_eq!(
                seen + told,
                watcher.expected,
                "seed {seed}, client {client}"
            );
        }
        let sum = &mut sums[watcher.worker];
        *sum = (sum.0 + seen, sum.1 + told, sum.2 + watcher.expected);
        all = (all.0 + seen, all.1 + told);
    }
    for (station, (seen, told, expected)) in model.world.stations.iter().zip(sums) {
        let counts = station.counts();
        assert_eq!((counts.deliveries, counts.gap_messages_told), (seen, told));
        assert_eq!(
            counts.drops.conflated + seen + told,
            expected,
            "seed {seed}"
        );
        let invalid = (counts.records_invalid, counts.records_stale);
        assert_eq!(invalid, (0, 0));
        let dropped = counts.drops.oldest + counts.drops.newest + counts.drops.too_big;
        assert!(dropped <= told);
    }
    all
}

fn runs(policy: Policy) {
    let (mut seen, mut told) = (0, 0);
    for seed in 0..60 {
        let workers = 1 + usize::try_from(seed % 3).unwrap();
        let sums = run(seed, workers, policy, seed % 2 == 1);
        (seen, told) = (seen + sums.0, told + sums.1);
    }
    assert!(seen > 10_000 && told > 300, "{seen} {told}");
}

#[test]
fn deliveries_and_gaps_add_up_when_the_oldest_are_dropped() {
    runs(Policy::DropOldest);
}

#[test]
fn deliveries_and_gaps_add_up_when_the_newest_are_dropped() {
    runs(Policy::DropNewest);
}

#[test]
fn deliveries_gaps_and_conflated_messages_add_up() {
    runs(Policy::Conflate);
}

/// Clients that are closed get nothing more, so that what they got and what waited for them is all that they should have had.
#[test]
fn deliveries_and_what_waited_at_the_close_add_up() {
    let mut closed = 0;
    for seed in 0..60 {
        let workers = 1 + usize::try_from(seed % 3).unwrap();
        let mut model = Model::new(seed, workers, Policy::Close, false);
        for _ in 0..600 {
            model.step();
            model.note_closed();
            if model.watchers.len() < workers {
                (0..workers).for_each(|worker| model.open(worker));
            }
        }
        model.finish();
        model.note_closed();
        let mut sums = vec![(0, 0); workers];
        for (client, (watcher, events)) in std::mem::take(&mut model.closed) {
            closed += 1;
            let sent = model.world.desks[watcher.worker].sent.get(&client);
            assert_eq!(sent.map_or(0, Vec::len), events, "nothing after the close");
            let is_message =
                |made: &&super::world::Made| made.bytes.starts_with(b"{\"op\":\"message\"");
            let seen = sent.map_or(0, |sent| sent.iter().filter(is_message).count() as u64);
            let sum = &mut sums[watcher.worker];
            *sum = (sum.0 + seen, sum.1 + watcher.expected);
        }
        let clients: Vec<u64> = model.watchers.keys().copied().collect();
        for client in clients {
            let (seen, told) = model.check(client, Policy::Close);
            assert_eq!((seen, told), (model.watchers[&client].expected, 0));
            let sum = &mut sums[model.watchers[&client].worker];
            *sum = (sum.0 + seen, sum.1 + seen);
        }
        for (station, (seen, expected)) in model.world.stations.iter().zip(sums) {
            let drops = station.counts().drops;
            let gone = station.counts().drops_gone;
            assert_eq!(seen + drops.closed + gone, expected, "seed {seed}");
            assert_eq!(drops.total(), drops.closed);
        }
    }
    assert!(closed > 50, "{closed}");
}

/// The names of the test are spread, so that every worker owns some.
#[test]
fn every_worker_owns_topics() {
    let world = World::new(Options::new(0, 3));
    let owner = |name: &str| world.stations[0].owner(Topic::parse(name).unwrap());
    let mut owned = [0; 3];
    (0..3000).for_each(|number| owned[owner(&format!("prices/{number}"))] += 1);
    assert!(
        owned.iter().all(|topics| (900..1100).contains(topics)),
        "{owned:?}"
    );
    let owners: BTreeSet<usize> = TOPICS.into_iter().map(owner).collect();
    assert!(owners.len() >= 2);
}
