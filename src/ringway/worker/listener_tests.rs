//! The listener of one worker. The test plays the others: their seats on the board, and a queue in the simulation.

use super::*;
use crate::io::board::tests::boards;
use crate::io::sim::{Options, Sim};
use crate::io::{Completion, ReceiveMode, Wait};

/// A worker that does nothing but accept, and the board as another worker sees it.
struct Acceptor {
    sim: Sim,
    listener: Listener,
    held: usize,
    counters: Counters,
}

impl Acceptor {
    fn new(board: Board) -> Self {
        let mut sim = Sim::new(Options::faultless(ReceiveMode::Buffers));
        let listener = Listener::new(sim.listen(), Some(board));
        Self {
            sim,
            listener,
            held: 0,
            counters: Counters::default(),
        }
    }

    /// Runs turns for `time`.
    fn run(&mut self, time: Duration) {
        let end = self.sim.now() + time;
        while self.sim.now() < end {
            self.turn(end.since(self.sim.now()));
        }
    }

    fn turn(&mut self, patience: Duration) {
        let now = self.sim.now();
        self.listener.arm(&mut self.sim, self.held, now);
        let until = self.listener.due().min(now + patience);
        let mut done: Vec<Completion> = Vec::new();
        self.sim
            .turn(Wait::Until(until), &mut done)
            .expect("a simulation never fails");
        let now = self.sim.now();
        for completion in done {
            let Completion { token, result, .. } = completion;
            if token.op() == Op::Accept {
                self.listener
                    .handle_ready(&mut self.sim, token, result, now)
                    .expect("the listener is good");
            }
        }
        for _ in 0..self.listener.allowance(&mut self.sim, self.held, now) {
            let result = self.sim.accept(self.listener.fd());
            match self
                .listener
                .handle_accept(result, now, &mut self.counters)
                .expect("the listener is good")
            {
                Accepted::Connection(_) => self.held += 1,
                Accepted::Gone => {}
                Accepted::Enough => break,
            }
            self.listener.publish(self.held);
        }
    }

    fn connect(&mut self, count: usize) {
        for _ in 0..count {
            self.sim.connect();
        }
    }
}

/// Lets `acceptor` run for `time` while the workers of `others` run as well.
fn run_beside(acceptor: &mut Acceptor, others: &[Board], time: Duration) {
    let end = acceptor.sim.now() + time;
    while acceptor.sim.now() < end {
        others.iter().for_each(Board::beat);
        acceptor.run(Duration::from_millis(10));
    }
}

/// Regression: accepts that were armed in a burst completed in the next one. The worker, which had armed nothing since,
/// took itself for the only one that runs, and took every connection for a second.
#[test]
fn a_second_burst_after_a_pause_leaves_the_share_of_a_worker_that_is_not_on_its_cpu() {
    let mut boards = boards(2);
    let other = boards.pop().expect("two");
    let mut acceptor = Acceptor::new(boards.remove(0));
    other.publish(50);
    acceptor.connect(50);
    run_beside(
        &mut acceptor,
        std::slice::from_ref(&other),
        Duration::from_secs(1),
    );
    assert_eq!(acceptor.held, 50);
    // All of them end, and a second later as many come.
    acceptor.held = 0;
    acceptor.listener.publish(0);
    other.publish(0);
    run_beside(
        &mut acceptor,
        std::slice::from_ref(&other),
        Duration::from_secs(1),
    );
    acceptor.connect(100);
    acceptor.run(Duration::from_millis(200));
    assert_eq!(acceptor.held, 1, "the slack above nothing");
    other.publish(50);
    other.beat();
    acceptor.run(Duration::from_millis(10));
    assert_eq!(acceptor.held, 57, "50, one, and an eighth");
}

#[test]
fn a_worker_that_does_not_run_is_left_out_of_account_after_two_seconds() {
    let mut boards = boards(2);
    let stopped = boards.pop().expect("two");
    let mut acceptor = Acceptor::new(boards.remove(0));
    run_beside(
        &mut acceptor,
        std::slice::from_ref(&stopped),
        Duration::from_secs(1),
    );
    acceptor.connect(1000);
    acceptor.run(Duration::from_millis(400));
    assert_eq!(acceptor.held, 1);
    acceptor.run(Duration::from_millis(1_800));
    assert_eq!(acceptor.held, 1000);
    acceptor.connect(10);
    acceptor.run(Duration::from_millis(5));
    assert_eq!(acceptor.held, 1010, "at once");
    // It runs again: no worker takes more than it until it has caught up.
    stopped.beat();
    acceptor.run(Duration::from_millis(150));
    stopped.beat();
    acceptor.connect(10);
    acceptor.run(Duration::from_millis(150));
    assert_eq!(acceptor.held, 1011, "the one that it was called for before");
}

#[test]
fn a_connection_that_nobody_takes_is_taken_after_some_ticks_however_many_this_worker_holds() {
    let mut boards = boards(2);
    let busy = boards.pop().expect("two");
    let busy = std::slice::from_ref(&busy);
    let mut acceptor = Acceptor::new(boards.remove(0));
    acceptor.held = 40;
    acceptor.listener.publish(40);
    run_beside(&mut acceptor, busy, Duration::from_secs(1));
    acceptor.connect(1);
    run_beside(&mut acceptor, busy, Duration::from_millis(350));
    assert_eq!(acceptor.held, 40, "it is the other's");
    run_beside(&mut acceptor, busy, Duration::from_millis(400));
    assert_eq!(acceptor.held, 41);
    // A storm that the other worker does not take is served as well: twice as many with each tick.
    acceptor.connect(500);
    run_beside(&mut acceptor, busy, Duration::from_millis(700));
    assert!(acceptor.held < 100, "{}", acceptor.held);
    run_beside(&mut acceptor, busy, Duration::from_secs(1));
    assert_eq!(acceptor.held, 541);
}

/// The kernel wakes one of the workers that wait. If that one is stopped, another one must look at the queue itself.
#[test]
fn a_connection_whose_wake_up_went_to_a_stopped_worker_is_taken_at_the_next_tick() {
    let mut boards = boards(2);
    let stopped = boards.pop().expect("two");
    let mut acceptor = Acceptor::new(boards.remove(0));
    run_beside(
        &mut acceptor,
        std::slice::from_ref(&stopped),
        Duration::from_secs(1),
    );
    let now = acceptor.sim.now();
    assert_eq!(acceptor.listener.claim, Armed::Yes);
    assert!(
        acceptor.listener.due() <= now + TICK,
        "it does not rely on being woken"
    );
    let next = acceptor
        .listener
        .allowance(&mut acceptor.sim, 0, now + TICK);
    assert_eq!(next, 1);
}

#[test]
fn workers_that_drain_or_have_no_descriptors_or_are_gone_hold_nobody_back() {
    let mut boards = boards(4);
    let others: Vec<_> = boards.drain(1..).collect();
    let mut acceptor = Acceptor::new(boards.remove(0));
    others[0].publish(u32::MAX); // as the supervisor marks a dead one
    others[1].set_resting(true);
    others[2].publish(100);
    acceptor.connect(200);
    run_beside(&mut acceptor, &others[2..], Duration::from_millis(200));
    assert_eq!(acceptor.held, 113, "100, one, and an eighth");
}

#[test]
fn a_worker_without_descriptors_says_so_and_accepts_again_when_there_are_some() {
    let mut boards = boards(2);
    let other = boards.pop().expect("two");
    let mut acceptor = Acceptor::new(boards.remove(0));
    let resting = || {
        other
            .others()
            .next()
            .and_then(|(_, seat)| seat)
            .map(|seat| seat.resting)
    };
    acceptor.sim.faults_mut().accept_emfile = 1000;
    acceptor.connect(1);
    acceptor.run(Duration::from_millis(50));
    assert_eq!((resting(), acceptor.held), (Some(true), 0));
    assert_eq!(acceptor.counters.accept_backoffs, 1);
    acceptor.sim.faults_mut().accept_emfile = 0;
    acceptor.run(Duration::from_millis(200));
    assert_eq!((resting(), acceptor.held), (Some(false), 1));
}

#[test]
fn a_worker_alone_takes_everything_and_needs_no_ticks() {
    let mut acceptor = Acceptor::new(boards(1).remove(0));
    acceptor.connect(100);
    acceptor.run(Duration::from_millis(1));
    assert_eq!(acceptor.held, 100);
    let now = acceptor.sim.now();
    acceptor.listener.arm(&mut acceptor.sim, 100, now);
    assert_eq!(acceptor.listener.due(), Instant::NEVER);
}

#[test]
fn a_listener_that_stops_is_closed_once_nothing_is_armed_on_it() {
    for held in [0, 10] {
        let mut acceptor = Acceptor::new(boards(2).remove(0));
        acceptor.held = held;
        acceptor.run(Duration::from_millis(250));
        let fd = acceptor.listener.fd();
        assert!(!acceptor.sim.has_waiting(fd));
        acceptor.listener.stop(&mut acceptor.sim);
        acceptor.turn(Duration::ZERO);
        assert!(!acceptor.sim.is_open(fd), "with {held} connections");
    }
}
