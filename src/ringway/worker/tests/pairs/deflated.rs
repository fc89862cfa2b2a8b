//! Streams whose messages are compressed: however they are cut, and however large they become.

use super::*;

/// A world in which messages are compressed, and a client that sends these frames once its target is there.
fn deflating(mode: ReceiveMode, config: &Config, kind: Kind) -> (World, PeerId, PeerId) {
    let mut world = World::new(Options::faultless(mode), config.clone(), kind, false);
    let script = Script::open_with(&mut world.random, config.deflate);
    let client = world.worker.io_mut().connect();
    world.worker.io_mut().peer_send(client, &script.bytes);
    world.turns(3);
    let target = world.worker.io_mut().dialled().expect("a connect");
    world.worker.io_mut().take_up(target);
    world.turns(3);
    (world, client, target)
}

/// Compressed messages, each in two frames, cut at every offset.
#[test]
fn a_compressed_stream_arrives_wherever_it_is_cut() {
    let config = Config {
        deflate: Some(Deflate::default()),
        ..Config::default()
    };
    let stream = b"to and fro, to and fro, to and fro, to and back";
    let random = &mut Random::new(1);
    for mode in MODES {
        for kind in [Kind::Binary, Kind::Text] {
            let mut script = Script::open_with(random, config.deflate);
            let head_bytes = script.head_bytes;
            for part in stream.chunks(20) {
                let mut text = String::new();
                base64_stream::encode(part, &mut text);
                let payload = match kind {
                    Kind::Binary => part,
                    Kind::Text => text.as_bytes(),
                };
                let compressed = std::iter::from_fn(|| Some(script.compressed(random, payload)));
                let compressed = compressed.flatten().next().expect("at last");
                let (first, rest) = compressed.split_at(compressed.len() / 2);
                script.add_frame_with(random, false, true, kind.opcode(), first);
                script.add_frame(random, true, Opcode::Continuation, rest);
            }
            let frames = &script.bytes[head_bytes..];
            for cut in 0..frames.len() {
                let (mut world, client, target) = deflating(mode, &config, kind);
                for part in [&frames[..cut], &frames[cut..]] {
                    world.worker.io_mut().peer_send(client, part);
                    world.turns(4);
                }
                let got = world.worker.io_mut().peer_take(target);
                assert_eq!(got, stream, "{mode:?} {kind:?} {cut}");
            }
        }
    }
}

/// A few kilobytes that become 8 MiB: while the target does not read, what has arrived stays as it is.
#[test]
fn a_bomb_waits_compressed_for_a_target_that_does_not_read_and_its_limit_holds() {
    const BYTES: usize = 8 << 20;
    for (mode, message_bytes_max) in MODES.into_iter().flat_map(|m| [(m, BYTES), (m, BYTES - 1)]) {
        let mut config = Config {
            deflate: Some(Deflate::default()),
            send_queue_bytes_max: 20_000,
            ..Config::default()
        };
        config.message_limits.message_bytes_max = message_bytes_max as u64;
        let (mut world, client, target) = deflating(mode, &config, Kind::Binary);
        let random = &mut Random::new(2);
        let mut script = Script::open_with(random, config.deflate);
        let zeros = vec![0; BYTES];
        let compressed = std::iter::from_fn(|| Some(script.compressed(random, &zeros)));
        let compressed = compressed.flatten().next().expect("at last");
        script.add_frame_with(random, true, true, Opcode::Binary, &compressed);
        let frames = &script.bytes[script.head_bytes..];
        assert!(frames.len() < 50_000);
        world.worker.io_mut().peer_send(client, frames);
        world.turns(200);
        check_queues(&mut world.worker, 20_000, 1);
        let before = world.worker.counters().inflated_bytes;
        // The simulated socket takes 1 MiB.
        assert!(before < 2 << 20, "{before}");
        let mut got = 0;
        while world.worker.io().peer_end(target) == PeerEnd::Open && got < BYTES {
            got += world.worker.io_mut().peer_take(target).len();
            world.turns(1);
            check_queues(&mut world.worker, 20_000, 1);
        }
        let frames = world.frames(client, &mut Wire::default());
        match message_bytes_max {
            BYTES => assert_eq!((got, frames), (BYTES, Vec::new())),
            _ => assert!(matches!(&frames[..], [(8, payload)] if payload[..2] == [3, 241])),
        }
    }
}
