//! The contract of [`Io`] as the worker sees it. A call that breaks it panics.

use std::io::IoSlice;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use super::super::areas::slice_of;
use super::super::{
    BufferId, Completion, ConnectOptions, Counts, Errno, Error, Fd, Follows, Io, Op, ReceiveMode,
    SEGMENTS_MAX, Segment, Token, Wait, Wake, sys,
};
use super::operation::{Kind, Operation, Submission};
use super::socket::Link;
use super::{File, Sim};
use crate::time::Instant;

/// What the worker watches its own bell with ([`Handle::waker`](crate::Handle::waker)).
const BELL: Token = Token::fixed(Op::Watch, 30);

impl Sim {
    /// The bell is rung by threads of this process, so the kernel itself says whether it was.
    fn hear_bell(&self, done: &mut Vec<Completion>) {
        if let Some((token, _)) = self.bell.filter(|(_, bell)| sys::is_readable(*bell)) {
            done.push(Completion {
                token,
                result: Ok(libc::POLLIN.cast_unsigned().into()),
                buffer: None,
                more: true,
            });
        }
    }
}

impl Io for Sim {
    fn receive_mode(&self) -> ReceiveMode {
        self.options.receive_mode
    }

    fn submit_listen(&mut self, token: Token, listener: Fd, _wake: Wake) {
        self.arm(token, listener, Kind::Listen);
    }

    fn accept(&mut self, listener: Fd) -> Result<Fd, Errno> {
        assert_eq!(self.file(listener), File::Listener, "an accept");
        let Some(&peer) = self.backlog.front() else {
            return Err(Errno(libc::EAGAIN));
        };
        if self.random.chance(self.options.faults.accept_emfile) {
            return Err(Errno(libc::EMFILE));
        }
        self.backlog.pop_front();
        if self.random.chance(self.options.faults.accept_aborted) {
            self.sockets[peer].close(true, &mut self.random);
            return Err(Errno(libc::ECONNABORTED));
        }
        let fd = self.open(File::Socket(peer));
        self.sockets[peer].fd = Some(fd);
        Ok(fd)
    }

    fn has_waiting(&mut self, listener: Fd) -> bool {
        assert_eq!(self.file(listener), File::Listener, "a look");
        !self.backlog.is_empty()
    }

    fn connect(&mut self, _options: &ConnectOptions) -> Result<Fd, Errno> {
        if self.random.chance(self.options.faults.connect_fails) {
            return Err(Errno(libc::EADDRNOTAVAIL));
        }
        Ok(self.dial(Link::Pending))
    }

    /// Puts a simulated socket, whose connect has succeeded, in the place of the one that is given.
    fn adopt(&mut self, _stream: OwnedFd) -> Fd {
        self.dial(Link::Up)
    }

    fn connect_result(&mut self, fd: Fd) -> Result<(), Errno> {
        match self.socket(fd).link {
            Link::Up => Ok(()),
            Link::Pending => Err(Errno(libc::EINPROGRESS)),
            Link::Refused => Err(Errno(libc::ECONNREFUSED)),
        }
    }

    fn submit_recv(&mut self, token: Token, fd: Fd) {
        assert_eq!(self.receive_mode(), ReceiveMode::Buffers, "submit_recv");
        self.arm(token, fd, Kind::Recv);
    }

    fn submit_poll_in(&mut self, token: Token, fd: Fd) {
        if token == BELL {
            self.bell = Some((token, fd));
            return;
        }
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
        self.socket(fd).assert_up("a send");
        self.assert_no_send_of(fd, "a second send");
        for segment in segments {
            assert_ne!(
                segment.buffer,
                BufferId::HOT,
                "the hot buffer may be filled again before the turn"
            );
            let end = (segment.start + segment.len) as usize;
            let bytes = self.buffers.of_worker(segment.buffer);
            assert!(end <= bytes.len(), "a segment lies in its buffer");
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
        let mut sockets = self.sockets.iter();
        assert!(
            sockets.all(|socket| socket.closed || !socket.waits_for_end),
            "bytes are held back for an end that does not follow"
        );
        self.ended.clear();
        self.counts.enters += 1;
        self.now = self.now + Duration::from_micros(self.random.between(1, 40) as u64);
        self.submit();
        self.hear_bell(done);
        let empty = self.decided.is_empty() && self.random.chance(self.options.faults.empty_turn);
        if empty {
            return Ok(());
        }
        self.progress(false);
        self.deliver(false, done);
        if done.len() > before || wait == Wait::No {
            return Ok(());
        }
        // The turn waits, so all bytes on their way arrive meanwhile.
        self.progress(true);
        self.deliver(true, done);
        if done.len() > before {
            return Ok(());
        }
        if std::mem::take(&mut self.news) {
            // A peer may answer what the worker has just sent long before the wait would end, so the test gets its turn
            // first.
            return Ok(());
        }
        let end = match wait {
            Wait::No => Some(self.now),
            Wait::Until(until) => Some(until),
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

    fn share(&mut self, buffer: BufferId, bytes: Arc<[u8]>) {
        self.buffers.share(buffer, bytes);
    }

    fn unshare(&mut self, buffer: BufferId) {
        self.assert_decided(buffer);
        self.buffers.unshare(buffer);
    }

    fn replenish(&mut self, buffers: &mut Vec<BufferId>, ran_dry: bool) {
        for buffer in buffers.drain(..) {
            self.assert_decided(buffer);
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
        self.recv_hot_behind(fd, 0, limit)
    }

    fn recv_hot_behind(&mut self, fd: Fd, before: usize, limit: usize) -> Result<usize, Errno> {
        let at = self.socket_to_read(fd);
        let room = &mut self.buffers.hot_mut()[before..before + limit];
        let received = self.sockets[at].recv(room);
        let len = received.unwrap_or(0);
        self.buffers.set_hot_len(before + len);
        self.moved.received += len as u64;
        received
    }

    fn send(
        &mut self,
        fd: Fd,
        segments: &[Segment],
        then: &[IoSlice<'_>],
        follows: Follows,
    ) -> Result<usize, Errno> {
        self.socket(fd).assert_up("a send");
        self.assert_no_send_of(fd, "a direct send");
        let mut bytes = self.gather(segments);
        then.iter().for_each(|slice| bytes.extend_from_slice(slice));
        if bytes.is_empty() {
            return Ok(0);
        }
        let sent = self.send_bytes(fd, &bytes)?;
        self.socket(fd).waits_for_end = follows == Follows::End && sent == bytes.len();
        Ok(sent)
    }

    fn unsent(&mut self, fd: Fd) -> usize {
        self.socket(fd).waiting_for_peer()
    }

    fn refill_hot(&mut self, bytes: &[u8]) {
        self.buffers.hot_mut()[..bytes.len()].copy_from_slice(bytes);
        self.buffers.set_hot_len(bytes.len());
    }

    fn shutdown(&mut self, fd: Fd, how: Shutdown) {
        let socket = self.socket(fd);
        socket.shutdown(how);
        let joined = std::mem::take(&mut socket.waits_for_end);
        self.moved.joined_ends += u64::from(joined);
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

impl Sim {
    /// The socket of `fd`, on which the worker is about to call `recv`.
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
        self.sockets[at].assert_up("a receive");
        let in_parts = self.options.faults.arrive_in_parts;
        if self.random.chance(in_parts) {
            // More bytes may arrive while the worker reads. Readiness is reported for them too.
            self.sockets[at].arrive(&mut self.random, in_parts);
        }
        at
    }

    /// Asserts that no undecided send uses `buffer`.
    fn assert_decided(&self, buffer: BufferId) {
        for submission in &self.submissions {
            if let Submission::Send { segments, .. } = submission {
                let sent = segments.iter().any(|segment| segment.buffer == buffer);
                assert!(
                    !sent,
                    "{buffer:?} is given back before its send was decided"
                );
            }
        }
    }

    /// The bytes of `segments`.
    pub(super) fn gather(&self, segments: &[Segment]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for segment in segments {
            bytes.extend_from_slice(slice_of(self.buffers.of_worker(segment.buffer), segment));
        }
        bytes
    }
}
