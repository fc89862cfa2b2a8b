//! A simulated kernel and network for tests: one seed decides what arrives when, in which pieces, and what fails.
//!
//! Owns: sockets, buffers, armed operations and time, all in memory; the peers are played by the test ([`Sim::connect`]
//! and the `peer_*` calls).
//! Never: allows what a real implementation may not, or forbids what it may. What breaks the contract of [`Io`] panics.
//!
//! What is checked, besides what the worker sends:
//! - A buffer belongs to the worker from its completion until it is replenished, and is full of poison after that.
//! - A send is read when the turn runs, so whatever it points to must still be there. One per connection and turn.
//! - Nothing is armed twice, cancelled a turn after it ended, or left armed on a descriptor that is closed.
//! - Nothing is read past an armed receive, which may have taken octets that are not delivered yet.
//! - A turn that waits for ever while nothing can happen is a deadlock.
//!
//! Time stands still but for a few microseconds per turn, and jumps when a turn waits: to the end of its wait, or to the
//! [alarm](Sim::set_alarm) of the test if that comes first. A turn that sends something does not wait: the peers' turn.
#![forbid(unsafe_code)]

mod buffers;
mod faults;
mod operation;
mod options;
mod peers;
mod progress;
mod random;
mod socket;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::net::Shutdown;
use std::time::Duration;

use super::areas::slice_of;
use super::{
    BufferId, Completion, ConnId, Counts, Errno, Error, Fd, Io, Op, ReceiveMode, SEGMENTS_MAX,
    Segment, Token, Wait,
};
use crate::time::Instant;
use buffers::Buffers;
pub use faults::Faults;
use operation::{Kind, Operation, Submission};
pub use options::Options;
pub use random::Random;
pub use socket::PeerEnd;
use socket::Socket;

/// A peer, by the order of connecting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub usize);

/// Octets that went through the worker's sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Out of the sockets, to the worker.
    pub received: u64,
    /// From the worker, into the sockets.
    pub sent: u64,
}

/// What a descriptor of the worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum File {
    Listener,
    /// No socket: becomes readable when the test says so.
    Watch {
        raised: bool,
    },
    Socket(usize),
}

/// The simulation. See the [module](self).
#[derive(Debug)]
pub struct Sim {
    options: Options,
    random: Random,
    now: Instant,
    alarm: Option<Instant>,
    /// Something was done since the last turn that a peer sees.
    news: bool,
    files: BTreeMap<i32, File>,
    sockets: Vec<Socket>,
    backlog: VecDeque<usize>,
    buffers: Buffers,
    submissions: Vec<Submission>,
    operations: Vec<Operation>,
    /// Completions of sends and cancellations.
    decided: Vec<Completion>,
    /// Operations whose last completion came with the last turn: the worker may cancel them before it has seen that.
    ended: Vec<Token>,
    /// Connections whose descriptors were closed, by what was last armed on them.
    retired: Vec<ConnId>,
    moved: Moved,
    counts: Counts,
}

impl Sim {
    /// A simulation without listeners and peers.
    pub fn new(options: Options) -> Self {
        Self {
            random: Random::new(options.seed),
            now: Instant::from_nanos(1_000_000_000),
            alarm: None,
            news: false,
            files: BTreeMap::new(),
            sockets: Vec::new(),
            backlog: VecDeque::new(),
            buffers: Buffers::new(options.buffers, options.buffers_max),
            submissions: Vec::new(),
            operations: Vec::new(),
            decided: Vec::new(),
            ended: Vec::new(),
            retired: Vec::new(),
            moved: Moved::default(),
            counts: Counts::default(),
            options,
        }
    }

    /// What this simulation is like.
    pub const fn options(&self) -> &Options {
        &self.options
    }

    /// What goes wrong from now on.
    pub const fn faults_mut(&mut self) -> &mut Faults {
        &mut self.options.faults
    }

    /// When the test wants to do something: no turn waits longer. `None`: it waits for the worker.
    pub const fn set_alarm(&mut self, at: Option<Instant>) {
        self.alarm = at;
    }

    /// Octets that went through the worker's sockets so far.
    pub const fn moved(&self) -> Moved {
        self.moved
    }

    /// Asserts that the worker gave everything back: no connection is open, every buffer is in the pool, nothing is
    /// armed but what is for listeners and watches, no completion is undelivered but theirs.
    ///
    /// # Panics
    /// When something is left.
    pub fn assert_clean(&self) {
        for (fd, file) in &self.files {
            assert!(!matches!(file, File::Socket(_)), "fd {fd} is open");
        }
        assert_eq!(self.buffers.missing(), 0, "receive buffers are missing");
        let of_connections = |fd: Fd| matches!(self.files.get(&fd.0), Some(File::Socket(_)) | None);
        for operation in &self.operations {
            assert!(!of_connections(operation.fd), "{operation:?} is armed");
        }
        for submission in &self.submissions {
            match submission {
                Submission::Arm(operation) => {
                    assert!(!of_connections(operation.fd), "{operation:?} is submitted");
                }
                Submission::Cancel(_) => {}
                Submission::Send { fd, .. } => panic!("a send to {fd:?} is submitted"),
            }
        }
    }

    fn open(&mut self, file: File) -> Fd {
        // The lowest free number, as the kernel does: a late use of a closed one meets its successor.
        let fd = (3..)
            .find(|fd| !self.files.contains_key(fd))
            .expect("some number is free");
        self.files.insert(fd, file);
        Fd(fd)
    }

    fn file(&self, fd: Fd) -> File {
        *self
            .files
            .get(&fd.0)
            .unwrap_or_else(|| panic!("{fd:?} is not open"))
    }

    fn socket(&mut self, fd: Fd) -> &mut Socket {
        match self.file(fd) {
            File::Socket(at) => &mut self.sockets[at],
            file => panic!("{fd:?} is no connection but {file:?}"),
        }
    }

    fn is_armed(&self, token: Token) -> bool {
        let submitted = self
            .submissions
            .iter()
            .any(|submission| matches!(submission, Submission::Arm(operation) if operation.token == token));
        submitted || self.operations.iter().any(|armed| armed.token == token)
    }

    fn arm(&mut self, token: Token, fd: Fd, kind: Kind) {
        let file = self.file(fd);
        let fits = match token.op() {
            Op::Accept => kind == Kind::Accept && file == File::Listener,
            Op::Recv => kind == Kind::Recv && matches!(file, File::Socket(_)),
            Op::PollIn => kind == Kind::PollIn && matches!(file, File::Socket(_)),
            Op::PollOut => kind == Kind::PollOut && matches!(file, File::Socket(_)),
            Op::Watch => kind == Kind::PollIn && matches!(file, File::Watch { .. }),
            Op::Send | Op::Cancel => false,
        };
        assert!(
            fits,
            "{kind:?} on {file:?} with a token of {:?}",
            token.op()
        );
        assert!(!self.is_armed(token), "{token:?} is armed twice");
        if let File::Socket(at) = file {
            self.sockets[at].owner = Some(token.id());
        }
        self.submissions
            .push(Submission::Arm(Operation::new(token, fd, kind)));
    }

    fn assert_no_send_of(&self, fd: Fd, what: &str) {
        let sends = self.submissions.iter().any(
            |submission| matches!(submission, Submission::Send { fd: sent, .. } if *sent == fd),
        );
        assert!(!sends, "{what} on {fd:?} before its send was decided");
    }

    /// The socket of `fd`, which is about to be read directly.
    fn socket_to_read(&mut self, fd: Fd) -> usize {
        let receives = |operation: &Operation| operation.fd == fd && operation.kind == Kind::Recv;
        let submitted = self
            .submissions
            .iter()
            .any(|submission| matches!(submission, Submission::Arm(armed) if receives(armed)));
        assert!(
            !submitted && !self.operations.iter().any(receives),
            "{fd:?} is read past its armed receive"
        );
        let File::Socket(at) = self.file(fd) else {
            panic!("{fd:?} is no connection")
        };
        let in_parts = self.options.faults.arrive_in_parts;
        if self.random.chance(in_parts) {
            // More comes while the worker reads; readiness is told of it as well.
            self.sockets[at].arrive(&mut self.random, in_parts);
        }
        at
    }

    /// The octets of `segments`.
    fn gather(&self, segments: &[Segment]) -> Vec<u8> {
        let mut octets = Vec::new();
        for segment in segments {
            octets.extend_from_slice(slice_of(self.buffers.of_worker(segment.buffer), segment));
        }
        octets
    }
}

impl Io for Sim {
    fn receive_mode(&self) -> ReceiveMode {
        self.options.receive_mode
    }

    fn submit_accept(&mut self, token: Token, listener: Fd) {
        self.arm(token, listener, Kind::Accept);
    }

    fn submit_recv(&mut self, token: Token, fd: Fd) {
        assert_eq!(self.receive_mode(), ReceiveMode::Buffers, "submit_recv");
        self.arm(token, fd, Kind::Recv);
    }

    fn submit_poll_in(&mut self, token: Token, fd: Fd) {
        self.arm(token, fd, Kind::PollIn);
    }

    fn submit_poll_out(&mut self, token: Token, fd: Fd) {
        self.arm(token, fd, Kind::PollOut);
    }

    fn submit_cancel(&mut self, target: Token, fd: Fd) {
        self.file(fd);
        let known = self.is_armed(target) || self.ended.contains(&target);
        assert!(known, "{target:?} is cancelled, not armed");
        self.submissions.push(Submission::Cancel(target));
    }

    fn submit_send(&mut self, token: Token, fd: Fd, segments: &[Segment]) {
        assert!(
            !segments.is_empty() && segments.len() <= SEGMENTS_MAX,
            "one to SEGMENTS_MAX segments"
        );
        assert_eq!(token.op(), Op::Send);
        self.socket(fd);
        self.assert_no_send_of(fd, "a second send");
        for segment in segments {
            assert_ne!(
                segment.buffer,
                BufferId::HOT,
                "the hot buffer may be filled again before the turn"
            );
            let end = (segment.start + segment.len) as usize;
            let octets = self.buffers.of_worker(segment.buffer);
            assert!(end <= octets.len(), "a segment lies in its buffer");
            assert!(segment.len > 0, "a segment is not empty");
        }
        self.submissions.push(Submission::Send {
            token,
            fd,
            segments: segments.to_vec(),
        });
    }

    fn turn(&mut self, wait: Wait, done: &mut Vec<Completion>) -> Result<(), Error> {
        let before = done.len();
        self.ended.clear();
        self.counts.enters += 1;
        self.now = self.now + Duration::from_micros(self.random.between(1, 40) as u64);
        self.submit();
        let empty = self.decided.is_empty() && self.random.chance(self.options.faults.empty_turn);
        if empty {
            return Ok(());
        }
        self.progress(false);
        self.deliver(false, done);
        if done.len() > before || wait == Wait::No {
            return Ok(());
        }
        // The turn waits, so whatever is on its way comes.
        self.progress(true);
        self.deliver(true, done);
        if done.len() > before {
            return Ok(());
        }
        if std::mem::take(&mut self.news) {
            // A peer may answer what was just sent, long before the wait is over: the test first.
            return Ok(());
        }
        let end = match wait {
            Wait::No => Some(self.now),
            Wait::For(time) => Some(self.now + time),
            Wait::Forever => None,
        };
        let wakes = match (end, self.alarm) {
            (Some(end), Some(alarm)) => end.min(alarm),
            (Some(at), None) | (None, Some(at)) => at,
            (None, None) => panic!("deadlock: the worker waits for ever and nothing can happen"),
        };
        self.now = self.now.max(wakes);
        Ok(())
    }

    fn buffer_and_scratch(&mut self, buffer: BufferId) -> (&mut [u8], &mut [u8]) {
        self.buffers.of_worker_and_scratch(buffer)
    }

    fn buffer(&self, buffer: BufferId) -> &[u8] {
        self.buffers.of_worker(buffer)
    }

    fn replenish(&mut self, buffers: &mut Vec<BufferId>, ran_dry: bool) {
        for buffer in buffers.drain(..) {
            for submission in &self.submissions {
                if let Submission::Send { segments, .. } = submission {
                    let sent = segments.iter().any(|segment| segment.buffer == buffer);
                    assert!(
                        !sent,
                        "{buffer:?} is replenished before its send was decided"
                    );
                }
            }
            self.buffers.replenish(buffer);
        }
        if ran_dry {
            self.buffers.grow();
        }
    }

    fn recv(&mut self, fd: Fd, into: &mut [u8]) -> Result<usize, Errno> {
        assert!(
            !into.is_empty(),
            "a receive into nothing looks like the end"
        );
        let at = self.socket_to_read(fd);
        let received = self.sockets[at].recv(into)?;
        self.moved.received += received as u64;
        Ok(received)
    }

    fn recv_hot(&mut self, fd: Fd, limit: usize) -> Result<usize, Errno> {
        let at = self.socket_to_read(fd);
        let received = self.sockets[at].recv(&mut self.buffers.hot_mut()[..limit]);
        let len = received.unwrap_or(0);
        self.buffers.set_hot_len(len);
        self.moved.received += len as u64;
        received
    }

    fn send(&mut self, fd: Fd, segments: &[Segment], then: &[IoSlice<'_>]) -> Result<usize, Errno> {
        self.socket(fd);
        self.assert_no_send_of(fd, "a direct send");
        let mut octets = self.gather(segments);
        then.iter()
            .for_each(|slice| octets.extend_from_slice(slice));
        if octets.is_empty() {
            return Ok(0);
        }
        self.send_octets(fd, &octets)
    }

    fn shutdown(&mut self, fd: Fd, how: Shutdown) {
        self.socket(fd).shutdown(how);
        self.news = true;
    }

    fn close(&mut self, fd: Fd, reset: bool) {
        self.assert_no_send_of(fd, "close");
        for submission in &self.submissions {
            if let Submission::Arm(operation) = submission {
                assert_ne!(operation.fd, fd, "closed while {operation:?} is submitted");
            }
        }
        for operation in &self.operations {
            assert_ne!(operation.fd, fd, "closed while {operation:?} is armed");
        }
        if let File::Socket(at) = self.file(fd) {
            self.sockets[at].close(reset, &mut self.random);
            self.retired.extend(self.sockets[at].owner);
            self.news = true;
        }
        self.files.remove(&fd.0);
    }

    fn now(&self) -> Instant {
        self.now
    }

    fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }
}
