//! One test per bug that was found, by hand and without faults but the one that matters.

use std::time::Duration;

use super::script::Script;
use super::world::World;
use crate::io::ReceiveMode;
use crate::io::sim::{Options, PeerEnd, PeerId};
use crate::worker::Config;

/// A world without clients.
fn world(mode: ReceiveMode) -> World {
    World::new(Options::faultless(mode), Config::default())
}

impl World {
    /// One turn that does not wait.
    pub(super) fn turn(&mut self) {
        self.worker
            .turn(Some(Duration::ZERO))
            .expect("a simulation never fails");
    }

    /// Turns until so much time has passed.
    pub(super) fn pass(&mut self, time: Duration) {
        let until = self.now() + time;
        self.worker.io_mut().set_alarm(Some(until));
        while self.now() < until {
            self.worker.turn(None).expect("a simulation never fails");
        }
        self.worker.io_mut().set_alarm(None);
    }

    /// A peer whose opening handshake is done.
    pub(super) fn open(&mut self) -> PeerId {
        let peer = self.ask();
        assert!(self.take(peer).starts_with(b"HTTP/1.1 101 "));
        peer
    }

    /// A peer whose opening handshake was answered.
    pub(super) fn ask(&mut self) -> PeerId {
        let bytes = Script::open(&mut self.random).bytes;
        let sim = self.worker.io_mut();
        let peer = sim.connect();
        sim.peer_send(peer, &bytes);
        (0..3).for_each(|_| self.turn());
        peer
    }

    pub(super) fn send(&mut self, peer: PeerId, bytes: &[u8]) {
        self.worker.io_mut().peer_send(peer, bytes);
    }

    pub(super) fn take(&mut self, peer: PeerId) -> Vec<u8> {
        self.worker.io_mut().peer_take(peer)
    }
}

/// The last completion of a cancelled receive can be `ENOBUFS`. It put the connection on the list of those that wait for
/// buffers and left it there: the slot and the descriptor were never freed.
#[test]
fn a_cancelled_receive_that_finds_no_buffer_still_frees_the_connection() {
    let mut world = world(ReceiveMode::Buffers);
    let peer = world.open();
    world.worker.abort();
    world.turn();
    let faults = world.worker.io_mut().faults_mut();
    (faults.cancel_races, faults.recv_enobufs) = (1000, 1000);
    world.send(peer, b"more");
    (0..3).for_each(|_| world.turn());
    assert_eq!(world.worker.connections(), 0);
    world.finish();
}

/// A stop that came between two turns added its Close to a send that the ring had already: the Close never left, and an
/// abort closed descriptors under such sends.
#[test]
fn a_stop_between_turns_follows_what_the_last_turn_sent() {
    let mut world = world(ReceiveMode::Buffers);
    let peers = [world.open(), world.open()];
    for peer in peers {
        world.send(peer, b"\x82\x81\0\0\0\0x");
    }
    world.turn();
    world.worker.drain();
    (0..2).for_each(|_| world.turn());
    for peer in peers {
        let bytes = world.take(peer);
        assert_eq!(bytes[..5], *b"\x82\x01x\x88\x18", "the echo, then a Close");
        assert_eq!(bytes[5..7], 1001_u16.to_be_bytes());
        world.send(peer, b"\x82\x81\0\0\0\0x\x88\x80\0\0\0\0");
    }
    world.worker.abort();
    (0..3).for_each(|_| world.turn());
    world.finish();
}

/// Readiness is told once for bytes and the end that come together. The receive of the bytes was short, so nobody looked
/// for the end: the connection stayed until it timed out, or for ever.
#[test]
fn an_end_right_behind_bytes_ends_a_connection_in_readiness_mode() {
    let mut world = world(ReceiveMode::Readiness);
    let peers = [world.open(), world.open()];
    for peer in peers {
        world.send(peer, b"\x82\x81\0\0\0\0x");
    }
    world.worker.io_mut().peer_half_close(peers[0]);
    world.worker.io_mut().peer_close(peers[1]);
    (0..3).for_each(|_| world.turn());
    assert_eq!(world.take(peers[0]), b"\x82\x01x");
    assert_eq!(world.worker.connections(), 0);
    world.finish();
}

/// A connection that was told readable while it was paused had gone back to the multishot receive by the time it was
/// read on: it was read past that receive, which may hold earlier bytes.
#[test]
fn a_pause_while_a_connection_leaves_bulk_does_not_read_past_the_multishot_receive() {
    let config = Config {
        send_queue_bytes_max: 100,
        ..Config::default()
    };
    let mut world = World::new(Options::faultless(ReceiveMode::Buffers), config);
    let peer = world.open();
    // Into bulk.
    world.send(peer, &frame(10_000, 0));
    (0..4).for_each(|_| world.turn());
    assert_eq!(world.take(peer).len(), 10_004);
    // Back, with the last of the small receives in a row; its answer is not taken, so that reading pauses.
    for _ in 1..32 {
        world.send(peer, b"\x82\x80\0\0\0\0");
        world.turn();
    }
    world.worker.io_mut().faults_mut().send_eagain = 1000;
    world.send(peer, &frame(200, 1));
    world.turn();
    // Readiness comes before the end of its cancellation.
    world.worker.io_mut().faults_mut().cancel_races = 1000;
    world.send(peer, &frame(200, 2));
    world.turn();
    world.worker.io_mut().faults_mut().send_eagain = 0;
    (0..4).for_each(|_| world.turn());
    let answers = world.take(peer);
    let of = |n: u8| [&b"\x82\x7E\0\xC8"[..], &[n; 200]].concat();
    assert_eq!(answers, [b"\x82\0".repeat(31), of(1), of(2)].concat());
    world.worker.io_mut().peer_close(peer);
    (0..4).for_each(|_| world.turn());
    world.finish();
}

/// A binary message of `len` times `byte`, with a masking key of zeros; `len` needs the 16-bit form.
fn frame(len: u16, byte: u8) -> Vec<u8> {
    let len = len.to_be_bytes();
    let mut frame = vec![0x82, 0xFE, len[0], len[1], 0, 0, 0, 0];
    frame.resize(8 + usize::from(u16::from_be_bytes(len)), byte);
    frame
}

/// Only the server's own Close had a deadline: a peer that did not answer the application's stayed for ever.
#[test]
fn a_close_by_the_application_is_not_waited_for_for_ever() {
    let mut world = world(ReceiveMode::Buffers);
    let peer = world.open();
    world.send(peer, b"\x82\x88\0\0\0\0close me");
    (0..3).for_each(|_| world.turn());
    assert!(world.take(peer).starts_with(b"\x88"));
    // The default of `close_timeout` is 10 s, and timers are up to 100 ms late.
    world.pass(Duration::from_secs(11));
    (0..3).for_each(|_| world.turn());
    assert_eq!(world.worker.connections(), 0);
    world.finish();
}

/// The time to end counted from the peer's Close, so that who read slowly was reset before its last answers left.
#[test]
fn a_slow_reader_gets_every_answer_after_its_close() {
    let options = Options {
        outbox_max: 500,
        ..Options::faultless(ReceiveMode::Buffers)
    };
    let mut world = World::new(options, Config::default());
    let peer = world.open();
    world.send(peer, &frame(5_000, 7));
    world.send(peer, b"\x88\x80\0\0\0\0");
    let mut answers = Vec::new();
    while world.worker.io().peer_end(peer) == PeerEnd::Open {
        world.pass(Duration::from_millis(300));
        answers.extend(world.take(peer));
    }
    assert_eq!(
        answers,
        [&b"\x82\x7E\x13\x88"[..], &[7; 5_000], b"\x88\0"].concat()
    );
    assert_eq!(world.worker.io().peer_end(peer), PeerEnd::Fin);
    world.worker.io_mut().peer_close(peer);
    (0..3).for_each(|_| world.turn());
    world.finish();
}

/// A peer that ended its direction while its answers were queued lost them: the connection ended with what the socket took
/// at once.
#[test]
fn answers_that_are_queued_when_the_peer_ends_its_direction_still_leave() {
    for mode in [ReceiveMode::Buffers, ReceiveMode::Readiness] {
        let options = Options {
            outbox_max: 500,
            ..Options::faultless(mode)
        };
        let mut world = World::new(options, Config::default());
        let peer = world.open();
        world.send(peer, &frame(5_000, 7));
        world.worker.io_mut().peer_half_close(peer);
        let mut answers = Vec::new();
        while world.worker.io().peer_end(peer) == PeerEnd::Open {
            world.pass(Duration::from_millis(300));
            answers.extend(world.take(peer));
        }
        assert_eq!(answers, [&b"\x82\x7E\x13\x88"[..], &[7; 5_000]].concat());
        assert_eq!(world.worker.io().peer_end(peer), PeerEnd::Fin);
        (0..3).for_each(|_| world.turn());
        assert_eq!(world.worker.connections(), 0);
        world.finish();
    }
}

/// A peer that is not read from cannot be heard: it was closed as idle, or dropped for a Pong that lay unread, while it
/// took its answers one after the other.
#[test]
fn a_paused_peer_that_takes_its_answers_is_not_silent() {
    for (idle_timeout, ping_interval) in [
        (Some(Duration::from_secs(1)), None),
        (None, Some(Duration::from_secs(1))),
    ] {
        let options = Options {
            outbox_max: 500,
            ..Options::faultless(ReceiveMode::Buffers)
        };
        let config = Config {
            send_queue_bytes_max: 100,
            idle_timeout,
            ping_interval,
            ..Config::default()
        };
        let mut world = World::new(options, config);
        let peer = world.open();
        world.send(peer, &frame(5_000, 7));
        let mut answers = Vec::new();
        for _ in 0..30 {
            world.pass(Duration::from_millis(300));
            answers.extend(world.take(peer));
            if answers.len() >= 5_004 {
                break;
            }
        }
        assert!(answers.starts_with(&[&b"\x82\x7E\x13\x88"[..], &[7; 5_000]].concat()));
        world.worker.io_mut().peer_close(peer);
        (0..3).for_each(|_| world.turn());
        world.finish();
    }
}

/// The answer to a Close left alone, and the FIN behind it: a second TCP segment, its handling at the peer, and a peer that had
/// closed at the first one answered the second with RST.
#[test]
fn the_last_bytes_leave_together_with_the_end() {
    for mode in [ReceiveMode::Buffers, ReceiveMode::Readiness] {
        for last in [&b"\x88\x80\0\0\0\0"[..], b"\x81\x00 unmasked"] {
            let mut world = world(mode);
            let peer = world.open();
            world.send(peer, last);
            (0..3).for_each(|_| world.turn());
            assert!(world.take(peer).starts_with(b"\x88"), "a Close");
            assert_eq!(world.worker.io().moved().joined_ends, 1);
            world.worker.io_mut().peer_close(peer);
            (0..3).for_each(|_| world.turn());
            world.finish();
        }
    }
}
