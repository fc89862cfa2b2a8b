//! How long a peer may take its time, how much of a turn it may take, and what is counted when it is gone.

use std::time::Duration;

use super::world::{MODES, World};
use crate::io::ReceiveMode;
use crate::io::board::tests::boards;
use crate::io::sim::{Options, PeerEnd, PeerId};
use crate::worker::Config;

const CLOSE: &[u8] = b"\x88\x80\0\0\0\0";

/// A masked binary message of as many sevens.
fn sevens(count: u16) -> Vec<u8> {
    let mut frame = vec![0x82, 0xFE];
    frame.extend(count.to_be_bytes());
    frame.extend([0; 4]);
    frame.resize(8 + usize::from(count), 7);
    frame
}

/// Its echo.
fn echo(count: u16) -> Vec<u8> {
    let mut frame = vec![0x82, 0x7E];
    frame.extend(count.to_be_bytes());
    frame.resize(4 + usize::from(count), 7);
    frame
}

/// A world whose sockets hold 3000 bytes for a peer, so that there is room again when it took 1000.
fn narrow(mode: ReceiveMode, config: Config) -> World {
    let options = Options {
        outbox_max: 3_000,
        ..Options::faultless(mode)
    };
    World::new(options, config)
}

impl World {
    /// Takes `count` bytes every `interval` until `total` were taken or the connection ends.
    fn trickle(&mut self, peer: PeerId, count: usize, interval: Duration, total: usize) -> Vec<u8> {
        let mut taken = Vec::new();
        while taken.len() < total && self.worker.io().peer_end(peer) == PeerEnd::Open {
            self.pass(interval);
            let max = count.min(total - taken.len());
            taken.extend(self.worker.io_mut().peer_take_some(peer, max));
        }
        taken
    }

    fn is_open(&self, peer: PeerId) -> bool {
        !self.worker.io().is_over(peer)
    }
}

/// Once, a peer that was not read from counted as heard, and stayed for ever.
#[test]
fn a_peer_that_takes_nothing_is_dropped_after_the_write_timeout_and_counted() {
    for mode in MODES {
        // Paused or not.
        for send_queue_bytes_max in [100, 1 << 20] {
            let mut world = narrow(
                mode,
                Config {
                    send_queue_bytes_max,
                    idle_timeout: Some(Duration::from_secs(3600)),
                    write_timeout: Some(Duration::from_secs(4)),
                    ..Config::default()
                },
            );
            let peer = world.open();
            world.pass(Duration::from_secs(20));
            assert!(world.is_open(peer), "nothing was queued for it");
            world.send(peer, &sevens(10_000));
            world.pass(Duration::from_millis(3_900));
            assert!(world.is_open(peer));
            world.pass(Duration::from_millis(1_600));
            assert_eq!(world.worker.io().peer_end(peer), PeerEnd::Reset);
            let counters = *world.worker.counters();
            assert_eq!((counters.drops, counters.sockets), (1, 0));
            world.finish();
        }
    }
}

/// The socket has room for more only when a third of it is free: what the peer takes shows before that.
#[test]
fn a_peer_that_takes_a_few_bytes_at_a_time_stays() {
    for mode in MODES {
        let mut world = narrow(
            mode,
            Config {
                send_queue_bytes_max: 100,
                write_timeout: Some(Duration::from_secs(4)),
                ..Config::default()
            },
        );
        let peer = world.open();
        world.send(peer, &sevens(10_000));
        let mut taken = world.trickle(peer, 5, Duration::from_secs(3), 1_000);
        assert_eq!(taken.len(), 1_000, "after {:?}", world.now());
        taken.extend(world.trickle(peer, 10_000, Duration::from_millis(10), 9_004));
        assert!(taken == echo(10_000));
        world.worker.io_mut().peer_close(peer);
        (0..3).for_each(|_| world.turn());
        assert_eq!(world.worker.counters().drops, 0);
        world.finish();
    }
}

/// Once, the time to close was a second, whatever was still queued.
#[test]
fn answers_wait_for_a_peer_that_pauses_after_its_close() {
    for mode in MODES {
        let mut world = narrow(mode, Config::default());
        let peer = world.open();
        world.send(peer, &[&sevens(10_000)[..], CLOSE].concat());
        world.pass(Duration::from_secs(9));
        let taken = world.trickle(peer, 3_000, Duration::from_millis(10), usize::MAX);
        assert!(taken == [&echo(10_000)[..], b"\x88\0"].concat());
        assert_eq!(world.worker.io().peer_end(peer), PeerEnd::Fin);
        world.worker.io_mut().peer_close(peer);
        (0..3).for_each(|_| world.turn());
        assert_eq!(world.worker.counters().drops, 0);
        world.finish();
    }
}

#[test]
fn a_peer_that_takes_a_few_bytes_at_a_time_after_its_close_gets_all_of_them() {
    for mode in MODES {
        let config = Config {
            close_timeout: Duration::from_secs(1),
            ..Config::default()
        };
        let mut world = narrow(mode, config);
        let peer = world.open();
        world.send(peer, &[&sevens(10_000)[..], CLOSE].concat());
        let taken = world.trickle(peer, 20, Duration::from_millis(700), usize::MAX);
        assert!(taken == [&echo(10_000)[..], b"\x88\0"].concat());
        assert_eq!(world.worker.io().peer_end(peer), PeerEnd::Fin);
        world.worker.io_mut().peer_close(peer);
        (0..3).for_each(|_| world.turn());
        world.finish();
    }
}

#[test]
fn a_peer_that_takes_nothing_after_its_close_is_reset() {
    for mode in MODES {
        let mut world = narrow(mode, Config::default());
        let peer = world.open();
        world.send(peer, &[&sevens(10_000)[..], CLOSE].concat());
        world.pass(Duration::from_secs(21));
        assert_eq!(world.worker.io().peer_end(peer), PeerEnd::Reset);
        let counters = *world.worker.counters();
        assert_eq!((counters.drops, counters.sockets), (1, 0));
        world.finish();
    }
}

/// A server that drains waits for its connections anyway: whoever reads before the end of the drain gets everything.
#[test]
fn a_drain_delivers_what_is_queued_as_long_as_it_lasts() {
    for mode in MODES {
        let config = Config {
            close_timeout: Duration::from_millis(300),
            ..Config::default()
        };
        let mut world = narrow(mode, config);
        let peer = world.open();
        world.send(peer, &sevens(10_000));
        world.turn();
        world.worker.drain();
        world.pass(Duration::from_secs(8));
        let taken = world.trickle(peer, 3_000, Duration::from_millis(10), 10_004);
        assert!(taken == echo(10_000));
        world.turn();
        assert!(world.take(peer).starts_with(b"\x88\x18\x03\xe9"), "1001");
        world.send(peer, CLOSE);
        (0..3).for_each(|_| world.turn());
        assert_eq!(world.worker.io().peer_end(peer), PeerEnd::Fin);
        world.worker.io_mut().peer_close(peer);
        (0..3).for_each(|_| world.turn());
        assert_eq!(world.worker.counters().drops, 0);
        world.finish();
    }
}

/// Bytes in one receive bound no turn: a frame has six of them, or thousands. Once, one connection's fragments took 14 ms
/// before anybody else's message was answered.
#[test]
fn however_small_the_frames_of_one_connection_are_another_one_is_answered_in_between() {
    let fragments = [
        &b"\x02\x80\0\0\0\0"[..],
        &b"\0\x80\0\0\0\0".repeat(40_000),
        b"\x80\x80\0\0\0\0",
    ];
    let floods = [
        (fragments.concat(), b"\x82\0".to_vec()),
        (b"\x82\x80\0\0\0\0".repeat(40_000), b"\x82\0".repeat(40_000)),
        (b"\x89\x80\0\0\0\0".repeat(40_000), b"\x8a\0".repeat(40_000)),
    ];
    for mode in MODES {
        for (flood, answers) in &floods {
            let mut world = World::new(Options::faultless(mode), Config::default());
            let (loud, quiet) = (world.open(), world.open());
            world.send(loud, flood);
            world.send(quiet, b"\x82\x81\0\0\0\0x");
            let (mut turns, mut waited) = (0, None);
            let mut taken = Vec::new();
            while taken.len() < answers.len() {
                turns += 1;
                assert!(turns < 1_000, "it ends");
                world.turn();
                taken.extend(world.take(loud));
                if world.take(quiet) == b"\x82\x01x" {
                    waited = Some(turns);
                }
            }
            assert!(taken == *answers, "{mode:?}");
            assert!(
                waited <= Some(4) && waited.is_some(),
                "{mode:?}: {waited:?}"
            );
            assert!(turns >= 40_000 / 4_096, "{mode:?}: {turns} turns");
            for peer in [loud, quiet] {
                world.worker.io_mut().peer_close(peer);
            }
            (0..4).for_each(|_| world.turn());
            assert_eq!(world.worker.connections(), 0);
            world.finish();
        }
    }
}

/// The end that follows a flood is met behind it, whether it came with the flood or later.
#[test]
fn what_came_before_the_end_of_the_stream_is_answered_however_much_it_is() {
    for mode in MODES {
        for closes in [false, true] {
            let mut world = World::new(Options::faultless(mode), Config::default());
            let peer = world.open();
            world.send(peer, &b"\x82\x80\0\0\0\0".repeat(40_000));
            if closes {
                world.send(peer, CLOSE);
            }
            world.worker.io_mut().peer_half_close(peer);
            let mut taken = Vec::new();
            for _ in 0..200 {
                world.turn();
                taken.extend(world.take(peer));
            }
            let mut expected = b"\x82\0".repeat(40_000);
            if closes {
                expected.extend(b"\x88\0");
            }
            assert!(taken == expected, "{mode:?} {}", taken.len());
            assert_eq!(world.worker.connections(), 0);
            world.finish();
        }
    }
}

/// A Close or a Pong that a peer no longer takes is no message that was lost.
#[test]
fn only_messages_that_were_accepted_and_lost_are_counted_as_drops() {
    for mode in MODES {
        for (bytes, drops) in [
            (CLOSE, 0),
            (b"\x89\x80\0\0\0\0", 0),
            (b"\x82\x80\0\0\0\0", 1),
            (b"\x82\x80\0\0\0\0\x89\x80\0\0\0\0\x88\x80\0\0\0\0", 1),
        ] {
            let mut world = World::new(Options::faultless(mode), Config::default());
            let peer = world.open();
            world.worker.io_mut().faults_mut().send_reset = 1000;
            world.send(peer, bytes);
            (0..4).for_each(|_| world.turn());
            assert_eq!(world.worker.counters().drops, drops, "{mode:?} {bytes:?}");
            world.worker.abort();
            world.finish();
        }
    }
}

/// Once, each worker had its part of the limit, and refused although others had room.
#[test]
fn the_limit_of_connections_is_one_for_all_workers() {
    let config = Config {
        connections_max: 3,
        ..Config::default()
    };
    let mut boards = boards(2).into_iter();
    let [mut one, mut other] = [(); 2].map(|()| {
        let options = Options::faultless(ReceiveMode::Buffers);
        World::beside(boards.next(), options, config.clone())
    });
    // One after the other, because nobody takes more than its share.
    let mut peers = Vec::new();
    for world in [&mut one, &mut other] {
        peers.push(world.open());
    }
    one.pass(Duration::from_millis(5));
    peers.push(one.open());
    let refused = other.ask();
    assert!(other.take(refused).starts_with(b"HTTP/1.1 503 "));
    other.worker.io_mut().peer_close(refused);
    one.worker.io_mut().peer_close(peers[0]);
    for world in [&mut one, &mut other] {
        (0..3).for_each(|_| world.turn());
    }
    other.pass(Duration::from_millis(5));
    let last = other.open();
    for (world, peer) in [(&mut one, peers[2]), (&mut other, peers[1])] {
        world.worker.io_mut().peer_close(peer);
    }
    other.worker.io_mut().peer_close(last);
    for world in [&mut one, &mut other] {
        (0..3).for_each(|_| world.turn());
        assert_eq!(world.worker.connections(), 0);
    }
}
