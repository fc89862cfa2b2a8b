//! The simulation keeps the contract of [`Io`], and notices a caller that breaks it.

use std::io::IoSlice;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::super::{BufferId, Errno, Follows, Io, ReceiveMode, Segment, Wait, Wake};
use super::*;

const LISTENER: Token = Token::fixed(Op::Accept, 0);
const CONN: ConnId = ConnId {
    slot: 4,
    generation: 9,
};
const RECV: Token = Token::new(Op::Recv, CONN);
const POLL_IN: Token = Token::new(Op::PollIn, CONN);
const POLL_OUT: Token = Token::new(Op::PollOut, CONN);
const SEND: Token = Token::new(Op::Send, CONN);

fn turn(sim: &mut Sim, wait: Wait) -> Vec<Completion> {
    let mut done = Vec::new();
    sim.turn(wait, &mut done).expect("a simulation never fails");
    done
}

/// A simulation with one accepted connection.
fn connected(options: Options) -> (Sim, PeerId, Fd) {
    let mut sim = Sim::new(options);
    let listener = sim.listen();
    sim.submit_listen(LISTENER, listener, Wake::One);
    assert_eq!(sim.accept(listener), Err(Errno(libc::EAGAIN)));
    let peer = sim.connect();
    let done = turn(&mut sim, Wait::Forever);
    let [
        Completion {
            token: LISTENER,
            result: Ok(_),
            more: false,
            ..
        },
    ] = done[..]
    else {
        panic!("{done:?}");
    };
    assert!(sim.has_waiting(listener));
    let fd = sim.accept(listener).expect("it waits");
    assert!(!sim.has_waiting(listener));
    assert_eq!(sim.fd(peer), Some(Fd(4)));
    (sim, peer, fd)
}

fn buffers() -> (Sim, PeerId, Fd) {
    connected(Options::faultless(ReceiveMode::Buffers))
}

fn readiness() -> (Sim, PeerId, Fd) {
    connected(Options::faultless(ReceiveMode::Readiness))
}

/// Puts `bytes` into scratch and submits them.
fn submit_send(sim: &mut Sim, fd: Fd, bytes: &[u8]) {
    sim.buffer_and_scratch(BufferId::SCRATCH).1[..bytes.len()].copy_from_slice(bytes);
    let len = u32::try_from(bytes.len()).expect("short");
    let buffer = BufferId::SCRATCH;
    sim.submit_send(
        SEND,
        fd,
        &[Segment {
            buffer,
            start: 0,
            len,
        }],
    );
}

fn panics(what: &str, breach: impl FnOnce()) {
    let error = catch_unwind(AssertUnwindSafe(breach)).expect_err("a breach of the contract");
    let message = error
        .downcast_ref::<String>()
        .map_or_else(|| error.downcast_ref::<&str>().copied(), |s| Some(s))
        .unwrap_or_default();
    assert!(message.contains(what), "{message}");
}

#[test]
fn what_a_peer_sends_comes_in_buffers_and_its_end_as_nothing() {
    let (mut sim, peer, fd) = buffers();
    sim.submit_recv(RECV, fd);
    sim.peer_send(peer, &[7; 5000]);
    sim.peer_half_close(peer);
    let done = turn(&mut sim, Wait::Forever);
    let results: Vec<_> = done.iter().map(|c| (c.result, c.more)).collect();
    assert_eq!(results, [(Ok(4096), true), (Ok(904), true), (Ok(0), false)]);
    let second = done[1].buffer.expect("bytes lie in a buffer");
    assert_eq!(sim.buffer(second)[..905], {
        let mut expected = [7; 905];
        expected[904] = buffers::POISON;
        expected
    });
    sim.replenish(&mut done.iter().filter_map(|c| c.buffer).collect(), false);
    sim.close(fd, false);
    assert_eq!(sim.peer_end(peer), PeerEnd::Fin);
    assert_eq!(sim.moved().received, 5000);
    sim.assert_clean();
}

#[test]
fn a_dry_pool_ends_a_receive_and_loses_nothing() {
    let options = Options {
        buffers: 2,
        buffers_max: 4,
        ..Options::faultless(ReceiveMode::Buffers)
    };
    let (mut sim, peer, fd) = connected(options);
    sim.submit_recv(RECV, fd);
    sim.peer_send(peer, &[7; 10_000]);
    let done = turn(&mut sim, Wait::Forever);
    assert_eq!(
        (done.len(), done[2].result, done[2].more),
        (3, Err(Errno(libc::ENOBUFS)), false)
    );
    let mut held = done.iter().filter_map(|c| c.buffer).collect();
    sim.replenish(&mut held, true);
    sim.submit_recv(RECV, fd);
    let done = turn(&mut sim, Wait::Forever);
    assert_eq!((done.len(), done[0].result), (1, Ok(10_000 - 2 * 4096)));
}

#[test]
fn a_full_send_is_silent_and_a_short_one_tells_its_count_and_then_eagain() {
    let options = Options {
        outbox_max: 8,
        ..Options::faultless(ReceiveMode::Buffers)
    };
    let (mut sim, peer, fd) = connected(options);
    submit_send(&mut sim, fd, b"hello");
    assert!(turn(&mut sim, Wait::No).is_empty());
    submit_send(&mut sim, fd, b"world");
    assert_eq!(turn(&mut sim, Wait::No)[0].result, Ok(3));
    submit_send(&mut sim, fd, b"ld");
    assert_eq!(turn(&mut sim, Wait::No)[0].result, Err(Errno(libc::EAGAIN)));
    sim.submit_poll_out(POLL_OUT, fd);
    assert!(turn(&mut sim, Wait::No).is_empty());
    assert_eq!(sim.peer_take_some(peer, 6), b"hellow");
    let done = turn(&mut sim, Wait::Forever);
    assert_eq!((done[0].token, done[0].more), (POLL_OUT, false));
    assert_eq!(sim.peer_take(peer), b"or");
    assert_eq!(sim.moved().sent, 8);
}

#[test]
fn a_send_is_read_when_the_turn_runs() {
    let (mut sim, peer, fd) = buffers();
    submit_send(&mut sim, fd, b"early");
    sim.buffer_and_scratch(BufferId::SCRATCH).1[..5].copy_from_slice(b"later");
    turn(&mut sim, Wait::No);
    assert_eq!(sim.peer_take(peer), b"later");
}

/// Bytes and a FIN that arrive together are one edge, as in the kernel: a reader that stops at the short receive and
/// overlooks `POLLRDHUP` never learns of the end.
#[test]
fn readiness_is_told_once_for_bytes_and_end_together() {
    let (mut sim, peer, fd) = readiness();
    sim.submit_poll_in(POLL_IN, fd);
    sim.peer_send(peer, b"last words");
    sim.peer_half_close(peer);
    let done = turn(&mut sim, Wait::Forever);
    let events = u32::from((libc::POLLIN | libc::POLLRDHUP).cast_unsigned());
    assert_eq!((done[0].result, done[0].more), (Ok(events), true));
    let mut into = [0; 64];
    assert_eq!(sim.recv(fd, &mut into), Ok(10));
    assert!(turn(&mut sim, Wait::No).is_empty());
    assert_eq!(sim.recv(fd, &mut into), Ok(0));
}

#[test]
fn a_reset_is_told_once_after_what_arrived() {
    let (mut sim, peer, fd) = readiness();
    sim.submit_poll_in(POLL_IN, fd);
    sim.peer_send(peer, b"half a mes");
    turn(&mut sim, Wait::Forever);
    sim.peer_reset(peer);
    turn(&mut sim, Wait::Forever);
    let mut into = [0; 64];
    assert_eq!(sim.recv(fd, &mut into), Ok(10));
    assert_eq!(sim.recv(fd, &mut into), Err(Errno(libc::ECONNRESET)));
    assert_eq!(sim.recv(fd, &mut into), Ok(0));
    assert_eq!(
        sim.send(fd, &[], &[IoSlice::new(b"anyone?")], Follows::Nothing),
        Err(Errno(libc::EPIPE))
    );
}

#[test]
fn a_cancelled_operation_ends_with_ecanceled() {
    let (mut sim, _, fd) = buffers();
    sim.submit_recv(RECV, fd);
    turn(&mut sim, Wait::No);
    sim.submit_cancel(RECV, fd);
    let done = turn(&mut sim, Wait::Forever);
    assert_eq!(
        (done[0].result, done[0].more),
        (Err(Errno(libc::ECANCELED)), false)
    );
    sim.close(fd, true);
    sim.assert_clean();
}

#[test]
fn unread_bytes_make_a_close_a_reset() {
    let (mut sim, peer, fd) = buffers();
    sim.peer_send(peer, b"unheard");
    turn(&mut sim, Wait::No);
    sim.close(fd, false);
    assert_eq!(sim.peer_end(peer), PeerEnd::Reset);
}

#[test]
fn the_hot_buffer_forgets_what_the_receive_before_left() {
    let (mut sim, peer, fd) = readiness();
    for (bytes, left) in [
        (b"long ago".as_slice(), b"long ago"),
        (b"now", b"now\xDB\xDB\xDB\xDB\xDB"),
    ] {
        sim.peer_send(peer, bytes);
        turn(&mut sim, Wait::No);
        assert_eq!(sim.recv_hot(fd, 100), Ok(bytes.len()));
        assert_eq!(&sim.buffer(BufferId::HOT)[..8], left);
    }
}

#[test]
fn a_turn_waits_until_its_time_or_the_alarm_of_the_test() {
    let (mut sim, _, _) = buffers();
    let start = sim.now();
    turn(&mut sim, Wait::Until(start + Duration::from_secs(5)));
    assert_eq!(sim.now().since(start).as_secs(), 5);
    let alarm = sim.now() + Duration::from_millis(10);
    sim.set_alarm(Some(alarm));
    turn(&mut sim, Wait::Forever);
    assert_eq!(sim.now(), alarm);
    sim.set_alarm(None);
    panics("deadlock", || drop(turn(&mut sim, Wait::Forever)));
}

#[test]
fn breaches_of_the_contract_panic() {
    panics("armed twice", || {
        let (mut sim, _, fd) = buffers();
        sim.submit_recv(RECV, fd);
        turn(&mut sim, Wait::No);
        sim.submit_recv(RECV, fd);
    });
    panics("closed while", || {
        let (mut sim, _, fd) = buffers();
        sim.submit_recv(RECV, fd);
        turn(&mut sim, Wait::No);
        sim.close(fd, false);
    });
    panics("is not open", || {
        let (mut sim, _, fd) = buffers();
        sim.close(fd, false);
        sim.submit_recv(RECV, fd);
    });
    panics("cancelled, not armed", || {
        let (mut sim, _, fd) = buffers();
        sim.submit_cancel(RECV, fd);
    });
    panics("a second send", || {
        let (mut sim, _, fd) = buffers();
        submit_send(&mut sim, fd, b"one");
        submit_send(&mut sim, fd, b"two");
    });
    panics("a direct send", || {
        let (mut sim, _, fd) = buffers();
        submit_send(&mut sim, fd, b"one");
        let _ = sim.send(fd, &[], &[IoSlice::new(b"two")], Follows::Nothing);
    });
    panics("past its armed receive", || {
        let (mut sim, _, fd) = buffers();
        sim.submit_recv(RECV, fd);
        let _ = sim.recv(fd, &mut [0; 8]);
    });
    panics("is open", || buffers().0.assert_clean());
}

#[test]
fn buffers_of_others_are_out_of_reach() {
    let with_buffer = || {
        let (mut sim, peer, fd) = buffers();
        sim.submit_recv(RECV, fd);
        sim.peer_send(peer, b"bytes");
        let done = turn(&mut sim, Wait::Forever);
        (sim, fd, done[0].buffer.expect("bytes lie in a buffer"))
    };
    panics("does not belong", || {
        let (sim, ..) = with_buffer();
        sim.buffer(BufferId(1));
    });
    panics("does not belong", || {
        let (mut sim, _, buffer) = with_buffer();
        sim.replenish(&mut vec![buffer, buffer], false);
    });
    panics("before its send was decided", || {
        let (mut sim, fd, buffer) = with_buffer();
        let (start, len) = (0, 6);
        sim.submit_send(SEND, fd, &[Segment { buffer, start, len }]);
        sim.replenish(&mut vec![buffer], false);
    });
}

/// A reader that knows only the contract gets everything that peers send, in order, whatever fails. The same seed does
/// the same twice.
#[test]
fn with_every_fault_bytes_keep_their_order() {
    for seed in 0..200 {
        let first = read_all(seed);
        let second = read_all(seed);
        assert_eq!(first, second, "seed {seed} does the same twice");
    }
}

/// Reads one peer to its end, and returns a log of what happened.
fn read_all(seed: u64) -> Vec<String> {
    let drawn = Options::draw(seed);
    let mut sim = Sim::new(drawn);
    let listener = sim.listen();
    let peer = sim.connect();
    let mut bytes = vec![0; 50_000];
    Random::new(seed).fill(&mut bytes);
    sim.peer_send(peer, &bytes);
    sim.peer_half_close(peer);
    let mut fd = None;
    let mut seen = Vec::new();
    let mut got = Vec::new();
    let mut accepting = false;
    for turns in 0.. {
        assert!(turns < 100_000, "seed {seed} ends");
        if fd.is_none() && !accepting {
            sim.submit_listen(LISTENER, listener, Wake::One);
            accepting = true;
        }
        let done = turn(&mut sim, Wait::Forever);
        let mut held: Vec<_> = done.iter().filter_map(|c| c.buffer).collect();
        for completion in &done {
            seen.push(format!("{completion:?}"));
            match (completion.token, completion.result) {
                (LISTENER, _) => {
                    accepting = false;
                    fd = sim.accept(listener).ok();
                    if let Some(fd) = fd {
                        arm(&mut sim, fd);
                    }
                }
                (RECV, Ok(len)) if len > 0 => {
                    let buffer = completion.buffer.expect("bytes lie in a buffer");
                    got.extend_from_slice(&sim.buffer(buffer)[..len as usize]);
                }
                (POLL_IN, Ok(_)) => {
                    let mut into = [0; 1000];
                    while let Ok(len @ 1..) = sim.recv(fd.expect("accepted"), &mut into) {
                        got.extend_from_slice(&into[..len]);
                    }
                }
                (token, result) => {
                    assert!(
                        token != RECV || result == Ok(0) || result == Err(Errno(libc::ENOBUFS)),
                        "{result:?}"
                    )
                }
            }
            if completion.token != LISTENER && !completion.more && got.len() < bytes.len() {
                arm(&mut sim, fd.expect("accepted"));
            }
        }
        sim.replenish(&mut held, true);
        if got.len() == bytes.len() {
            assert!(got == bytes, "seed {seed}");
            return seen;
        }
    }
    unreachable!("the loop has no other end")
}

fn arm(sim: &mut Sim, fd: Fd) {
    match sim.receive_mode() {
        ReceiveMode::Buffers => sim.submit_recv(RECV, fd),
        ReceiveMode::Readiness => sim.submit_poll_in(POLL_IN, fd),
    }
}
