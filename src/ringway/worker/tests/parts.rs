//! Messages in pieces, messages that leave in parts, and connections that are measured.

use std::cell::Cell;

use super::client::{Client, Ending, Pace};
use super::script::{Expected, Script};
use super::world::{Echo, STREAM_BYTES, STREAM_ME, World, seeds, streamed};
use super::{Config, deflate, session};
use crate::io::HOT_BYTES;
use crate::io::sim::{Faults, Options, Random};
use crate::proto::Opcode;
use crate::protocol::{Receiving, TrafficStats};

const HOW: [Receiving; 3] = [Receiving::Messages, Receiving::Frames, Receiving::Chunks];

/// A world as `seed` decides, whose application takes pieces, or measures, or both.
fn world(seed: u64) -> World {
    let options = Options::draw(seed);
    let mut random = Random::new(seed ^ 0x9A27);
    let receiving = random.pick(&HOW);
    let app = Echo {
        receiving,
        is_measured: receiving == Receiving::Messages || random.chance(500),
        ..Echo::default()
    };
    let may_deflate = random.chance(500);
    let config = Config {
        // Parts are refused when the queue is full, and what was asked for in between is answered before them.
        send_queue_bytes_max: 64 << 20,
        deflate: may_deflate.then(|| deflate(&mut random)),
        tls: random.chance(500).then(session::server),
        ..Config::default()
    };
    World::with(app, options, config)
}

/// How many frames these are, of a client.
fn frames(mut bytes: &[u8]) -> u64 {
    let mut frames = 0;
    while let Some(second) = bytes.get(1) {
        let (len, head) = match second & 0x7F {
            126 => (usize::from(u16::from_be_bytes([bytes[2], bytes[3]])), 4),
            127 => {
                let len = bytes[2..].first_chunk().expect("a length");
                (
                    usize::try_from(u64::from_be_bytes(*len)).expect("short"),
                    10,
                )
            }
            len => (usize::from(len), 2),
        };
        bytes = &bytes[head + 4 + len..];
        frames += 1;
    }
    frames
}

#[test]
fn what_comes_in_pieces_goes_back_in_parts_and_is_counted() {
    let inflated = Cell::new(0);
    seeds(200, |seed| {
        let mut world = world(seed);
        let is_measured = world.worker.app().is_measured;
        for _ in 0..world.random.between(1, 5) {
            let script = world.script(400_000);
            world.add(script, Ending::Polite).takes_parts();
        }
        let counters = world.run();
        let scripts = || world.clients.iter().map(|client| &client.script);
        let (messages, bytes) = world.check_echoes(&counters);
        if world.worker.app().receiving != Receiving::Messages {
            inflated.set(inflated.get() + counters.inflated);
        }
        let traffic = &world.worker.app().traffic;
        assert_eq!(traffic.is_empty(), !is_measured);
        if is_measured {
            let of = |figure: fn(&TrafficStats) -> u64| traffic.iter().map(figure).sum::<u64>();
            assert_eq!(of(|stats| stats.incoming.messages), messages);
            assert_eq!(of(|stats| stats.outgoing.messages), messages);
            assert_eq!(of(|stats| stats.incoming.payload_bytes), bytes);
            assert_eq!(of(|stats| stats.outgoing.payload_bytes), bytes);
            let sent = scripts().map(|script| script.bytes.len() - script.head_bytes);
            assert_eq!(
                of(|stats| stats.incoming.frame_bytes),
                sent.sum::<usize>() as u64
            );
            let frames = scripts().map(|script| frames(&script.bytes[script.head_bytes..]));
            assert_eq!(of(|stats| stats.incoming.frames), frames.sum::<u64>());
            if world.config.tls.is_none() {
                let heads = world.clients.iter().map(Client::response_bytes);
                let out = counters.wire_bytes_out - heads.sum::<usize>() as u64;
                assert_eq!(of(|stats| stats.outgoing.frame_bytes), out);
            }
        }
    });
    if std::env::var_os("RINGWAY_SIM_SEED").is_none() {
        assert!(inflated.get() > 1000, "{} compressed", inflated.get());
    }
}

#[test]
fn however_a_client_of_pieces_ends_nothing_is_left() {
    seeds(200, |seed| {
        let mut world = world(seed);
        let breaks = seed % 2 == 1;
        if breaks {
            *world.worker.io_mut().faults_mut() = Faults::draw_breaking(&mut world.random);
        }
        for _ in 0..world.random.between(1, 5) {
            let mut script = world.script(200_000);
            let random = &mut world.random;
            let at = random.below(script.bytes.len() + 1);
            let ending = match random.below(6) {
                0 => Ending::Eager,
                1 => Ending::Violation,
                2 => Ending::HalfClose(at),
                3 => Ending::Disappear(at),
                4 => Ending::Reset(at),
                _ => Ending::Polite,
            };
            match ending {
                Ending::Eager => script.add_close(random),
                Ending::Violation => script.add_violation(random),
                _ => {}
            }
            let client = world.add(script, ending);
            client.may_break = breaks;
            client.takes_parts();
        }
        world.run();
    });
}

/// Runs a world with one client. No more than so many bytes that the application has sent wait at any time.
fn run_with_at_most(max: u64, world: &mut World, script: Script, pace: Pace) {
    let client = world.add(script, Ending::Polite);
    client.pace = pace;
    client.takes_parts();
    let mut most = 0;
    while !world.is_over() {
        world.step();
        let sent = world.worker.io().moved().sent;
        let made = world.worker.counters().message_bytes_out;
        most = most.max(made.saturating_sub(sent));
    }
    assert!(most <= max, "{most} bytes wait, at most {max}");
}

/// A few kilobytes that become megabytes: they come out piece by piece, and wait for a client that does not read. An application
/// that answers a piece never meets a full queue.
#[test]
fn what_inflates_to_megabytes_comes_no_faster_than_its_answer_leaves() {
    const PIECE_BYTES_MAX: u64 = 64 << 10;
    seeds(60, |seed| {
        let options = Options::draw(seed);
        let mut random = Random::new(seed ^ 0xB0B);
        let app = Echo {
            receiving: random.pick(&[Receiving::Frames, Receiving::Chunks]),
            ..Echo::default()
        };
        let config = Config {
            deflate: Some(deflate(&mut random)),
            send_queue_bytes_max: random.pick(&[1_000, 20_000, 200_000]),
            tls: random.chance(300).then(session::server),
            ..Config::default()
        };
        let max = config.send_queue_bytes_max as u64 + PIECE_BYTES_MAX;
        let mut world = World::with(app, options, config);
        let random = &mut world.random;
        let mut script = Script::open_with(random, world.config.deflate);
        let payload: Vec<u8> = (0..STREAM_BYTES)
            .map(|at| (at >> 12).to_le_bytes()[0])
            .collect();
        let compressed = std::iter::from_fn(|| Some(script.compressed(random, &payload)));
        let compressed = compressed.flatten().next().expect("at last");
        assert!(compressed.len() < 50_000);
        script.add_frame_with(random, true, true, Opcode::Binary, &compressed);
        script.expected.push_back(Expected { opcode: 2, payload });
        let pace = Pace::draw(random, STREAM_BYTES);
        run_with_at_most(max, &mut world, script, pace);
        let counters = world.finish();
        assert_eq!(
            (counters.inflated, counters.inflated_bytes),
            (1, STREAM_BYTES as u64)
        );
    });
}

/// The application makes a message as fast as its peer takes it, and holds no more of it than the queue has room for.
#[test]
fn a_message_is_streamed_in_bounded_memory() {
    seeds(60, |seed| {
        let options = Options::draw(seed);
        let mut random = Random::new(seed ^ 0x57EA);
        let config = Config {
            send_queue_bytes_max: random.pick(&[1_000, 20_000, 200_000]),
            tls: random.chance(300).then(session::server),
            ..Config::default()
        };
        let max = (config.send_queue_bytes_max + HOT_BYTES) as u64;
        let mut world = World::new(options, config);
        let mut script = Script::open(&mut world.random);
        script.add_plain(&mut world.random, STREAM_ME);
        script.expected.push_back(Expected {
            opcode: 2,
            payload: streamed(0..STREAM_BYTES),
        });
        let pace = Pace::draw(&mut world.random, STREAM_BYTES);
        run_with_at_most(max, &mut world, script, pace);
        assert_eq!(world.finish().messages_out, 1);
    });
}
