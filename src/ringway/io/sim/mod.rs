//! A simulated kernel and network for tests. A seed decides what arrives when, in which pieces, and what fails.
//!
//! Owns: sockets, buffers, armed operations and time, all in memory. The test plays the peers ([`Sim::connect`] and the
//! `peer_*` calls).
//! Never: allows what a real implementation forbids, or forbids what it allows. A worker that breaks the contract of
//! [`Io`](super::Io) makes it panic.
//!
//! What is checked, besides what the worker sends:
//! - A buffer belongs to the worker from its completion until it is replenished. After that it is filled with poison.
//! - The bytes of a send are read when the turn runs, so they must still be unchanged then. One send per connection and
//!   turn.
//! - No operation is armed twice, cancelled more than a turn after it ended, or armed on a descriptor that is closed.
//! - The worker does not call `recv` while a receive is armed: that one may have taken bytes that are not delivered yet.
//! - A turn that waits without a limit while nothing can happen is a deadlock.
//!
//! Each turn takes a few simulated microseconds. When a turn waits, time jumps to the end of the wait, or to the test's
//! [alarm](Sim::set_alarm) if that is earlier. A turn that sends something does not wait: the test's peers may answer
//! first.
#![forbid(unsafe_code)]

mod buffers;
mod contract;
mod faults;
mod operation;
mod options;
mod peers;
mod progress;
mod socket;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use super::{Completion, ConnId, Counts, Fd, Op, Token};
pub use crate::random::Random;
use crate::time::Instant;
use buffers::Buffers;
pub use faults::Faults;
use operation::{Kind, Operation, Submission};
pub use options::Options;
pub use socket::PeerEnd;
use socket::{Link, Socket};

/// A peer, numbered in the order of connecting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub usize);

/// Bytes that passed through the worker's sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// From the sockets to the worker.
    pub received: u64,
    /// From the worker, into the sockets.
    pub sent: u64,
    /// Last bytes that left together with the end behind them.
    pub joined_ends: u64,
}

/// What a descriptor of the worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum File {
    Listener,
    /// A descriptor that is no socket. It becomes readable when the test calls [`Sim::raise`].
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
    /// Since the last turn the worker did something that a peer can see.
    news: bool,
    files: BTreeMap<i32, File>,
    sockets: Vec<Socket>,
    backlog: VecDeque<usize>,
    /// Peers to which the worker connects, in order, until the test accepts or refuses.
    dialled: VecDeque<PeerId>,
    buffers: Buffers,
    submissions: Vec<Submission>,
    operations: Vec<Operation>,
    /// Completions of sends and cancellations that the next turn delivers.
    decided: Vec<Completion>,
    /// The watch of the worker's own bell, a real eventfd.
    bell: Option<(Token, Fd)>,
    /// Operations whose last completion was delivered with the last turn. The worker may still cancel them.
    ended: Vec<Token>,
    /// Connections whose descriptors were closed, as named by the last operation on them.
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
            dialled: VecDeque::new(),
            buffers: Buffers::new(options.buffers, options.buffers_max),
            submissions: Vec::new(),
            operations: Vec::new(),
            decided: Vec::new(),
            bell: None,
            ended: Vec::new(),
            retired: Vec::new(),
            moved: Moved::default(),
            counts: Counts::default(),
            options,
        }
    }

    /// The options of this simulation.
    pub const fn options(&self) -> &Options {
        &self.options
    }

    /// The faults from now on.
    pub const fn faults_mut(&mut self) -> &mut Faults {
        &mut self.options.faults
    }

    /// The time at which the test wants to act: no turn waits beyond it. `None`: turns wait as long as the worker says.
    pub const fn set_alarm(&mut self, at: Option<Instant>) {
        self.alarm = at;
    }

    /// Bytes that have passed through the worker's sockets so far.
    pub const fn moved(&self) -> Moved {
        self.moved
    }

    /// Asserts that the worker gave everything back: no connection is open, every buffer is in the pool, and only
    /// listeners and watches have armed operations or undelivered completions.
    ///
    /// # Panics
    /// When the worker still holds something.
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

    /// A socket that leads to a new peer, which the test gets from [`Self::dialled`].
    fn dial(&mut self, link: Link) -> Fd {
        let at = self.sockets.len();
        let mut socket = Socket::new(self.options.inbox_max, self.options.outbox_max);
        socket.link = link;
        socket.edge = link == Link::Up;
        self.sockets.push(socket);
        let fd = self.open(File::Socket(at));
        self.sockets[at].fd = Some(fd);
        self.dialled.push_back(PeerId(at));
        self.news = true;
        fd
    }

    fn open(&mut self, file: File) -> Fd {
        // The lowest free number, as in the kernel: a worker that uses a closed descriptor meets the connection that has
        // its number now.
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
            Op::Accept => kind == Kind::Listen && file == File::Listener,
            Op::Recv => kind == Kind::Recv && matches!(file, File::Socket(_)),
            Op::PollIn => kind == Kind::PollIn && matches!(file, File::Socket(_)),
            Op::PollOut => kind == Kind::PollOut && matches!(file, File::Socket(_)),
            Op::Watch => kind == Kind::PollIn && matches!(file, File::Watch { .. }),
            Op::Send | Op::Cancel | Op::Alarm => false,
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
}
