//! What the simulated kernel and network do in a turn.

use super::super::{Completion, ConnId, Errno, Fd, Op, ReceiveMode, Token};
use super::operation::{Kind, Operation, Submission};
use super::{File, Sim};

/// Most receives of one operation in one turn, as in the kernel (MULTISHOT_MAX_RETRY).
const ROUNDS: usize = 32;

impl Sim {
    /// Carries out the prepared operations in order.
    pub(super) fn submit(&mut self) {
        for submission in std::mem::take(&mut self.submissions) {
            match submission {
                Submission::Arm(operation) => self.start(operation),
                Submission::Cancel(target) => self.cancel(target),
                Submission::Send {
                    token,
                    fd,
                    segments,
                } => {
                    let bytes = self.gather(&segments);
                    let result = self.send_bytes(fd, &bytes).map(count);
                    let whole = result == Ok(count(bytes.len()));
                    if !whole || self.random.chance(self.options.faults.send_aloud) {
                        self.decide(token, result);
                    }
                }
            }
        }
    }

    fn start(&mut self, operation: Operation) {
        if let (Kind::PollIn, File::Socket(at)) = (operation.kind, self.file(operation.fd)) {
            self.sockets[at].edge = self.sockets[at].readable() != 0;
        }
        self.operations.push(operation);
    }

    fn cancel(&mut self, target: Token) {
        let named = |operation: &&mut Operation| operation.token == target;
        match self.operations.iter_mut().find(named) {
            Some(operation) if !operation.ended => operation.cancelled = true,
            None if target.op() == Op::PollOut
                && self.options.receive_mode == ReceiveMode::Readiness =>
            {
                // As in epoll, where a cancellation always succeeds.
                self.decide(target, Err(Errno(libc::ECANCELED)));
            }
            _ => self.decide(
                Token::new(Op::Cancel, target.id()),
                Err(Errno(libc::ENOENT)),
            ),
        }
    }

    fn decide(&mut self, token: Token, result: Result<u32, Errno>) {
        self.decided.push(Completion {
            token,
            result,
            buffer: None,
            more: false,
        });
    }

    pub(super) fn send_bytes(&mut self, fd: Fd, bytes: &[u8]) -> Result<usize, Errno> {
        let faults = self.options.faults;
        let mut max = bytes.len();
        if self.random.chance(faults.send_short) {
            max = self.random.below(bytes.len()).max(1);
        }
        if self.random.chance(faults.send_eagain) {
            max = 0;
        }
        let breaks = self.random.chance(faults.send_reset);
        let socket = self.socket(fd);
        if breaks {
            socket.break_off();
        }
        let sent = socket.send(bytes, max)?;
        self.moved.sent += sent as u64;
        self.news = true;
        Ok(sent)
    }

    /// Lets everything happen that can: `all` of it, or what the faults allow.
    pub(super) fn progress(&mut self, all: bool) {
        let in_parts = if all {
            0
        } else {
            self.options.faults.arrive_in_parts
        };
        for socket in &mut self.sockets {
            socket.arrive(&mut self.random, in_parts);
        }
        let mut operations = std::mem::take(&mut self.operations);
        self.random.shuffle(&mut operations);
        for operation in &mut operations {
            // A multishot operation waits while completions of it are undelivered, so that it cannot run far ahead.
            if !operation.ended && (operation.completions.is_empty() || operation.cancelled) {
                self.advance(operation);
            }
        }
        self.operations = operations;
    }

    fn advance(&mut self, operation: &mut Operation) {
        if operation.cancelled && !self.random.chance(self.options.faults.cancel_races) {
            return operation.end(Err(Errno(libc::ECANCELED)));
        }
        match operation.kind {
            Kind::Listen => self.tell_listener(operation),
            Kind::Recv => self.recv_rounds(operation),
            Kind::PollIn => self.poll_in(operation),
            Kind::PollOut => self.poll_out(operation),
        }
        if operation.cancelled && !operation.ended {
            operation.end(Err(Errno(libc::ECANCELED)));
        }
    }

    fn tell_listener(&mut self, operation: &mut Operation) {
        let spurious = self.random.chance(self.options.faults.spurious);
        if spurious || !self.backlog.is_empty() {
            operation.end(Ok(bits(libc::POLLIN)));
        }
    }

    fn recv_rounds(&mut self, operation: &mut Operation) {
        for _ in 0..ROUNDS {
            let more = self.recv_round(operation);
            if operation.ended || !more {
                break;
            }
        }
    }

    /// One receive into one buffer. Returns whether another may follow now.
    fn recv_round(&mut self, operation: &mut Operation) -> bool {
        let faults = self.options.faults;
        let File::Socket(at) = self.file(operation.fd) else {
            unreachable!("receives are armed on connections only");
        };
        let socket = &mut self.sockets[at];
        if !socket.has_bytes() {
            match socket.recv(&mut [0]) {
                Err(Errno(libc::EAGAIN)) => {}
                end => operation.end(end.map(count)),
            }
            return false;
        }
        if self.buffers.is_dry() || self.random.chance(faults.recv_enobufs) {
            operation.end(Err(Errno(libc::ENOBUFS)));
            return false;
        }
        let (id, buffer) = self.buffers.take().expect("the pool is not dry");
        let mut len = buffer.len();
        let short = self.random.chance(faults.recv_short);
        if short {
            len = self.random.magnitude(len);
        }
        let received = socket
            .recv(&mut buffer[..len])
            .expect("the socket has bytes");
        self.moved.received += received as u64;
        let more = !self.random.chance(faults.multishot_ends);
        operation.complete(Ok(count(received)), Some(id), more);
        !short || self.random.chance(700)
    }

    fn poll_in(&mut self, operation: &mut Operation) {
        let faults = self.options.faults;
        let (edge, mut events) = match self.file(operation.fd) {
            File::Socket(at) => {
                let socket = &mut self.sockets[at];
                (std::mem::take(&mut socket.edge), socket.readable())
            }
            File::Watch { raised } => {
                self.files
                    .insert(operation.fd.0, File::Watch { raised: false });
                (raised, libc::POLLIN)
            }
            File::Listener => unreachable!("readiness is armed on connections and watches only"),
        };
        let mut tell = edge && events != 0;
        if !tell && self.random.chance(faults.spurious) {
            tell = true;
            events |= libc::POLLIN;
        }
        if tell {
            let more = !self.random.chance(faults.multishot_ends);
            operation.complete(Ok(bits(events)), None, more);
        }
    }

    fn poll_out(&mut self, operation: &mut Operation) {
        let mut events = self.socket(operation.fd).writable();
        if self.random.chance(self.options.faults.spurious) {
            events |= libc::POLLOUT;
        }
        if events != 0 {
            operation.end(Ok(bits(events)));
        }
    }

    /// Appends completions to `done`: those of sends always, the others `all` at once or some a turn later. Completions
    /// of different operations come in random order.
    pub(super) fn deliver(&mut self, all: bool, done: &mut Vec<Completion>) {
        let faults = self.options.faults;
        let mut queues: Vec<_> = self
            .decided
            .drain(..)
            .map(|completion| vec![completion])
            .collect();
        for operation in &mut self.operations {
            let mut due = operation.completions.len();
            if !all && self.random.chance(faults.late) {
                due = self.random.below(due + 1);
            }
            if due > 0 {
                queues.push(operation.completions.drain(..due).rev().collect());
            }
        }
        self.operations
            .retain(|operation| !operation.ended || !operation.completions.is_empty());
        if !self.retired.is_empty() && self.random.chance(faults.stale) {
            let stale = self.stale();
            queues.push(vec![stale]);
        }
        while !queues.is_empty() {
            let at = self.random.below(queues.len());
            match queues[at].pop() {
                Some(completion) => {
                    if let Some(buffer) = completion.buffer {
                        self.buffers.hand_out(buffer);
                    }
                    if !completion.more {
                        self.ended.push(completion.token);
                    }
                    done.push(completion);
                }
                None => drop(queues.swap_remove(at)),
            }
        }
    }

    /// A completion of an earlier generation of a slot, which may be in use again.
    fn stale(&mut self) -> Completion {
        let retired: ConnId = self.random.pick(&self.retired);
        let ops: &[Op] = match self.options.receive_mode {
            ReceiveMode::Buffers => &[Op::PollIn, Op::PollOut, Op::Send, Op::Cancel, Op::Recv],
            ReceiveMode::Readiness => &[Op::PollIn, Op::PollOut],
        };
        let op = self.random.pick(ops);
        let mut buffer = None;
        let result = match op {
            Op::Recv if !self.buffers.is_dry() && self.random.chance(500) => {
                buffer = self.buffers.take().map(|(id, _)| id);
                Ok(1)
            }
            Op::PollIn => Ok(bits(libc::POLLIN)),
            Op::PollOut => Ok(bits(libc::POLLOUT)),
            Op::Send => Err(Errno(libc::EAGAIN)),
            Op::Cancel => Err(Errno(libc::ENOENT)),
            _ => Err(Errno(libc::ECANCELED)),
        };
        Completion {
            token: Token::new(op, retired),
            result,
            buffer,
            more: false,
        }
    }
}

/// A count of bytes as a completion carries it.
fn count(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("no buffer is that large")
}

/// Readiness as a completion carries it.
fn bits(events: i16) -> u32 {
    u32::from(events.cast_unsigned())
}
