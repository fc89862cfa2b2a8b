//! The worker over a simulated kernel and network, with clients of every kind, and in the client's role with servers of
//! every kind ([`clients`]). See [`crate::io::sim`].

mod client;
mod clients;
mod drivers;
mod handlers;
mod hixie;
mod hub;
mod lines;
mod lives;
mod pairs;
mod parts;
mod prepared;
mod regressions;
mod relays;
mod requests;
mod script;
mod servers;
mod session;
mod streams;
mod topics;
mod uplinks;
mod wire;
mod world;

use std::time::Duration;

use super::Config;
use crate::io::HOT_BYTES;
use crate::io::sim::{Faults, Options, PeerEnd, Random};
use crate::proto::deflate::Direction;
use crate::protocol::{Deflate, TURN_INFLATED_BYTES_MAX};
use client::{Client, Ending, Pace};
use script::Script;
use session::Session;
use world::{CLOSE_ME, World, seeds};

/// A world as `seed` decides, in which nothing breaks on its own.
fn world(seed: u64) -> World {
    let options = Options::draw(seed);
    let mut random = Random::new(seed ^ 0xC0F1);
    let config = Config {
        send_queue_bytes_max: random.pick(&[1_000, 20_000, 1 << 20]),
        deflate: random.chance(500).then(|| deflate(&mut random)),
        tls: random.chance(500).then(session::server),
        ..Config::default()
    };
    World::new(options, config)
}

/// Any terms for permessage-deflate. The clients' compressor knows only the largest window.
fn deflate(random: &mut Random) -> Deflate {
    let sends = Direction {
        takeover: random.chance(500),
        window_bits: random.pick(&[9, 12, 15]),
    };
    let receives = Direction {
        takeover: random.chance(500),
        window_bits: 15,
    };
    Deflate {
        level: random.pick(&[1, 6]),
        mem_level: random.pick(&[1, 5, 9]),
        sends,
        receives,
        bytes_min: random.pick(&[0, 100, 256]),
    }
}

impl World {
    /// One more client, that connects within the first moments.
    fn add(&mut self, script: Script, ending: Ending) -> &mut Client {
        let random = &mut self.random;
        let seed = random.bits();
        let pace = Pace::draw(random, script.bytes.len());
        let delay = Duration::from_micros(random.below(2_000) as u64);
        let next = self.now() + delay;
        let mut client = Client::new(seed, script, ending, pace, next);
        let speaks = self.config.tls.is_some() && self.random.chance(500);
        // Without reading, no handshake is complete.
        if speaks && !matches!(ending, Ending::NeverReads(_)) {
            client.tls = Some(Session::new());
        }
        self.clients.push(client);
        self.clients.last_mut().expect("just added")
    }

    /// A script with an opening handshake and messages.
    fn script(&mut self, bytes: usize) -> Script {
        let offers = self.random.chance(700);
        let deflate = self.config.deflate.filter(|_| offers);
        let mut script = Script::open_with(&mut self.random, deflate);
        script.add_messages(&mut self.random, bytes);
        script
    }
}

#[test]
fn every_message_comes_back_once_and_in_order() {
    seeds(150, |seed| {
        let mut world = world(seed);
        for _ in 0..world.random.between(1, 5) {
            let script = world.script(600_000);
            world.add(script, Ending::Polite);
        }
        let counters = world.run();
        world.check_echoes(&counters);
    });
}

/// Every way to end, in every state: the opening handshake, between frames, inside one, with answers under way.
#[test]
fn however_clients_end_nothing_is_left() {
    seeds(150, |seed| {
        let mut world = world(seed);
        let breaks = seed % 2 == 1;
        if breaks {
            *world.worker.io_mut().faults_mut() = Faults::draw_breaking(&mut world.random);
        }
        for _ in 0..world.random.between(1, 6) {
            let mut script = world.script(200_000);
            let len = script.bytes.len();
            let random = &mut world.random;
            // As often inside the opening handshake as behind it.
            let at = if random.chance(300) {
                random.below(script.head_bytes)
            } else {
                random.below(len + 1)
            };
            let ending = match random.below(7) {
                0 => Ending::Eager,
                6 => Ending::EagerFin,
                1 => Ending::Violation,
                2 => Ending::HalfClose(at),
                3 => Ending::Disappear(at),
                4 => Ending::Reset(at),
                _ => Ending::Polite,
            };
            match ending {
                Ending::Eager | Ending::EagerFin => script.add_close(random),
                Ending::Violation => script.add_violation(random),
                _ => {}
            }
            world.add(script, ending).may_break = breaks;
        }
        world.run();
    });
}

/// A peer that reads nothing is not read from either: what waits for it in the worker stays below the mark, one
/// receive and one message.
#[test]
fn a_peer_that_never_reads_costs_bounded_memory() {
    const MESSAGE_MAX: usize = 300_000;
    seeds(60, |seed| {
        let mut world = world(seed);
        let until = world.now() + Duration::from_secs(2);
        let mut script = Script::open(&mut world.random);
        while script.bytes.len() < 6 << 20 {
            script.add_messages(&mut world.random, MESSAGE_MAX * 4);
        }
        let pace = Pace {
            send_max: 1 << 20,
            read_max: 1,
            interval_max: Duration::from_micros(50),
        };
        world.add(script, Ending::NeverReads(until)).pace = pace;
        let max = world.config.send_queue_bytes_max + MESSAGE_MAX + HOT_BYTES;
        let mut most = 0;
        while !world.is_over() {
            world.step();
            let moved = world.worker.io().moved();
            let held = moved.received - moved.sent.min(moved.received);
            most = most.max(held);
        }
        assert!(
            most <= max as u64,
            "{most} bytes for one peer, at most {max}"
        );
        world.worker.drain();
        world.finish();
    });
}

#[test]
fn a_graceful_stop_closes_every_websocket_with_1001() {
    seeds(150, |seed| {
        let mut world = world(seed);
        for _ in 0..world.random.between(1, 5) {
            let script = world.script(300_000);
            let client = world.add(script, Ending::Polite);
            client.may_close = &[1001];
            // Fast enough for the time that a closing handshake may take.
            client.pace = Pace::fast();
        }
        world.patience = Some(Duration::from_millis(1));
        let turns = world.random.magnitude(3_000);
        for _ in 0..turns {
            if world.is_over() {
                break;
            }
            world.step();
        }
        world.stop();
        world.finish();
        for client in &world.clients {
            let refused = matches!(client.status, None | Some(503));
            let closed = client.closed_by_server == Some(1001) && client.end == Some(PeerEnd::Fin);
            assert!(
                refused || closed || client.script.expected.is_empty(),
                "{}",
                client.describe()
            );
        }
    });
}

#[test]
fn an_abort_leaves_nothing_behind() {
    seeds(200, |seed| {
        let mut world = world(seed);
        for _ in 0..world.random.between(1, 5) {
            let script = world.script(400_000);
            let client = world.add(script, Ending::Silent);
            client.may_close = &[1001];
            // Always sending, so that bytes meet the end of their connection.
            client.pace = Pace {
                send_max: 1000,
                ..Pace::fast()
            };
        }
        world.patience = Some(Duration::from_millis(1));
        world.worker.io_mut().faults_mut().cancel_races = world.random.pick(&[0, 300, 1000]);
        let turns = world.random.between(1, 300);
        (0..turns).for_each(|_| world.step());
        if world.random.chance(500) {
            world.stop();
        }
        if world.random.chance(500) {
            world.step();
        }
        world.stop();
        world.worker.abort();
        world.finish();
    });
}

/// Bytes that are no opening handshake get an HTTP answer and the end, or just the end.
#[test]
fn garbage_in_place_of_a_handshake_is_refused() {
    seeds(80, |seed| {
        let mut world = world(seed);
        for _ in 0..world.random.between(1, 5) {
            let mut script = Script::open(&mut world.random);
            let random = &mut world.random;
            match random.below(3) {
                0 => random.fill(&mut script.bytes),
                1 => {
                    script.bytes = b"GET / HTTP/1.1\r\nHost: ringway\r\n\r\n".to_vec();
                    world.pages += 1;
                }
                _ => {
                    // Behind the method: another one asks for something else than a WebSocket.
                    let at = 4 + random.below(script.bytes.len() - 4);
                    script.bytes[at] = random.pick(b"\0\r\n x");
                }
            }
            // The end is said, as what is left may be a good handshake after all.
            world.add(script, Ending::HalfClose(usize::MAX));
        }
        world.run();
    });
}

#[test]
fn an_opening_handshake_that_takes_too_long_is_answered_408() {
    seeds(20, |seed| {
        let mut world = world(seed);
        let script = Script::open(&mut world.random);
        let client = world.add(script, Ending::Silent);
        client.pace = Pace {
            send_max: 1,
            read_max: 1 << 20,
            interval_max: Duration::from_millis(100),
        };
        world.run();
        let client = &world.clients[0];
        assert!(
            matches!(client.status, Some(101 | 408)),
            "{}",
            client.describe()
        );
    });
}

/// Silence is closed with 1001 after `idle_timeout`, whether or not the peer answers that.
#[test]
fn an_idle_peer_is_closed_with_1001() {
    seeds(40, |seed| {
        let options = Options::draw(seed);
        let config = Config {
            idle_timeout: Some(Duration::from_secs(3)),
            close_timeout: Duration::from_secs(1),
            ..Config::default()
        };
        let mut world = World::new(options, config);
        for ending in [Ending::Silent, Ending::Answers] {
            let script = world.script(50_000);
            let client = world.add(script, ending);
            client.may_close = &[1001];
            client.pace = Pace::fast();
        }
        let start = world.now();
        world.run();
        let took = world.now().since(start);
        // 3 s of silence and 1 s for the answer, each up to 100 ms late.
        assert!((3..=5).contains(&took.as_secs()), "{took:?}");
        for client in &world.clients {
            assert_eq!(client.closed_by_server, Some(1001), "{}", client.describe());
            assert!(client.script.expected.is_empty(), "{}", client.describe());
        }
    });
}

/// Who answers Pings stays; who is silent for two intervals is dropped without a word.
#[test]
fn pings_keep_a_peer_that_answers_and_drop_one_that_does_not() {
    seeds(40, |seed| {
        let options = Options::draw(seed);
        let config = Config {
            ping_interval: Some(Duration::from_secs(2)),
            ..Config::default()
        };
        let mut world = World::new(options, config);
        world.patience = Some(Duration::from_millis(100));
        for pongs in [true, false] {
            let script = world.script(50_000);
            world.add(script, Ending::Answers).pongs = pongs;
        }
        let until = world.now() + Duration::from_secs(20);
        while world.now() < until {
            world.step();
        }
        let [answers, silent] = &world.clients[..] else {
            unreachable!("two were added")
        };
        assert_eq!(answers.end, None, "{}", answers.describe());
        assert!(answers.pings >= 5, "{} pings", answers.pings);
        assert_eq!(
            (silent.end, silent.pings),
            (Some(PeerEnd::Reset), 1),
            "{}",
            silent.describe()
        );
        world.clients[0].may_close = &[1001];
        world.stop();
        world.finish();
    });
}

#[test]
fn a_close_that_the_application_begins_ends_every_connection() {
    seeds(60, |seed| {
        let mut world = world(seed);
        for ending in [Ending::Silent, Ending::Answers] {
            let mut script = world.script(50_000);
            script.add_plain(&mut world.random, CLOSE_ME);
            // After its Close the server answers nothing.
            script.add_plain(&mut world.random, b"too late");
            world.add(script, ending).may_close = &[1000];
        }
        world.run();
        for client in &world.clients {
            assert_eq!(client.closed_by_server, Some(1000), "{}", client.describe());
            assert!(client.script.expected.is_empty(), "{}", client.describe());
        }
    });
}

/// Megabytes that are there at once: a connection gets its share of a turn and goes on in the next.
#[test]
fn bulk_takes_turns() {
    seeds(10, |seed| {
        let options = Options {
            inbox_max: 4 << 20,
            outbox_max: 4 << 20,
            ..Options::draw(seed)
        };
        let mut world = World::new(options, Config::default());
        for _ in 0..2 {
            let mut script = Script::open(&mut world.random);
            while script.bytes.len() < 5 << 20 {
                script.add_messages(&mut world.random, 1 << 20);
            }
            let client = world.add(script, Ending::Polite);
            (client.pace, client.unread_max) = (
                Pace {
                    send_max: 8 << 20,
                    ..Pace::fast()
                },
                8 << 20,
            );
        }
        world.run();
    });
}

/// A message that becomes megabytes is inflated in parts. Meanwhile others are answered; what its sender said behind it waits,
/// even its Close.
#[test]
fn a_message_that_inflates_to_megabytes_leaves_others_their_turns() {
    const BYTES: usize = 3 << 20;
    seeds(20, |seed| {
        let mut random = Random::new(seed);
        let config = Config {
            deflate: Some(deflate(&mut random)),
            send_queue_bytes_max: 1 << 20,
            ..Config::default()
        };
        let mut world = World::new(Options::draw(seed), config);
        let mut large = Script::open_with(&mut world.random, world.config.deflate);
        large.add_message(&mut world.random, 10, 0, 0);
        let mut compressed = false;
        while !compressed {
            let sent = large.bytes.len();
            large.add_message(&mut world.random, BYTES, 300, 0);
            compressed = large.bytes.len() - sent < BYTES * 9 / 10;
        }
        large.add_messages(&mut world.random, 100_000);
        let large_bytes = large.message_bytes;
        world.add(large, Ending::Polite).pace = Pace::fast();
        let mut small = Script::open(&mut world.random);
        for _ in 0..40 {
            small.add_message(&mut world.random, 100, 0, 0);
        }
        world.add(small, Ending::Polite).pace = Pace::fast();
        let counters = world.run();
        assert_eq!(counters.message_bytes_in, large_bytes + 40 * 100);
        let turns = (BYTES / TURN_INFLATED_BYTES_MAX) as u64;
        assert!(counters.turns > turns, "{} turns", counters.turns);
        assert!(counters.inflated_bytes >= BYTES as u64);
    });
}
