//! The control channel between a supervisor and a worker: orders down, answers up. The channel keeps the bounds of
//! messages and can carry descriptors (`io::fds`).
//!
//! Owns: the messages, and an end of the channel. Never: waits, and never ends a process. If the channel is full or
//! closed, `send` fails, and the caller may use a signal. Figures go through the stats pipe.
//!
//! ```text
//!  supervisor ── Drain, Stop, Renew (memfd) ───▶ worker
//!             ◀── Ready, Draining, Drained ──────
//!
//!  a message:  version (1 byte) · kind (1 byte) · body (of a length that its kind says)
//! ```
//!
//! Messages that are not read wait in the kernel: at most `net.core.wmem_default` (208 KiB) in each direction, and about
//! eight messages in normal operation.
//!
//! A message with another version, kind or length is counted and skipped. Descriptors that come with it are closed.
#![forbid(unsafe_code)]

use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::io::fds;

/// Version of the messages. It is raised with every change that an older end would misread.
const VERSION: u8 = 1;

/// Bytes of the longest message.
pub const MESSAGE_BYTES_MAX: usize = 6;

/// Messages received at once at most, so that an end that never stops sending delays no other work. Chosen, untested.
const BATCH_MAX: usize = 64;

/// An order to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Accept no more, close every WebSocket with 1001, and exit when all have ended or the drain time is over.
    Drain,
    /// End every connection and exit now.
    Stop,
    /// Serve new connections with the secrets of TLS in the memfd that comes with it.
    Renew,
}

/// An answer of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The worker accepts.
    Ready,
    /// The worker drains, because of an order or a signal.
    Draining,
    /// The worker exits.
    Drained {
        /// Connections that had not ended by themselves.
        cut: u32,
    },
}

/// The messages of one direction.
pub trait Message: Sized {
    /// Writes the message into the beginning of `into`; returns its length.
    fn encode(self, into: &mut [u8; MESSAGE_BYTES_MAX]) -> usize;

    /// Reads a whole message; `None` if it is unknown.
    fn decode(bytes: &[u8]) -> Option<Self>;

    /// Descriptors that come with it.
    fn descriptors(&self) -> usize {
        0
    }
}

impl Message for Order {
    fn encode(self, into: &mut [u8; MESSAGE_BYTES_MAX]) -> usize {
        let kind = match self {
            Self::Drain => 1,
            Self::Stop => 2,
            Self::Renew => 3,
        };
        into[..2].copy_from_slice(&[VERSION, kind]);
        2
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [VERSION, 1] => Some(Self::Drain),
            [VERSION, 2] => Some(Self::Stop),
            [VERSION, 3] => Some(Self::Renew),
            _ => None,
        }
    }

    fn descriptors(&self) -> usize {
        usize::from(*self == Self::Renew)
    }
}

impl Message for Answer {
    fn encode(self, into: &mut [u8; MESSAGE_BYTES_MAX]) -> usize {
        let (kind, body) = match self {
            Self::Ready => (1, None),
            Self::Draining => (2, None),
            Self::Drained { cut } => (3, Some(cut.to_le_bytes())),
        };
        into[..2].copy_from_slice(&[VERSION, kind]);
        let Some(body) = body else { return 2 };
        into[2..].copy_from_slice(&body);
        MESSAGE_BYTES_MAX
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [VERSION, 1] => Some(Self::Ready),
            [VERSION, 2] => Some(Self::Draining),
            [VERSION, 3, body @ ..] => {
                let cut = u32::from_le_bytes(body.try_into().ok()?);
                Some(Self::Drained { cut })
            }
            _ => None,
        }
    }
}

/// Why a message could not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undelivered {
    /// The other end does not read.
    Full,
    /// The other end is gone, or the channel was shut.
    Closed,
}

impl std::fmt::Display for Undelivered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::Closed => "closed",
        })
    }
}

/// One end of the channel.
#[derive(Debug)]
pub struct Channel {
    /// `None` when the channel is closed.
    socket: Option<OwnedFd>,
    /// Messages that could not be read.
    strange: u64,
}

impl Channel {
    /// Our end, and the other end for a worker to inherit.
    ///
    /// # Errors
    /// No descriptor is free.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = fds::pair()?;
        Ok((Self::new(ours), theirs))
    }

    /// Takes an inherited end.
    pub fn new(socket: OwnedFd) -> Self {
        Self {
            socket: Some(socket),
            strange: 0,
        }
    }

    /// The descriptor to wait for; `None` if the channel is closed.
    pub fn fd(&self) -> Option<RawFd> {
        self.socket.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// The socket to wait for; `None` if the channel is closed.
    pub const fn socket(&self) -> Option<&OwnedFd> {
        self.socket.as_ref()
    }

    /// How many messages could not be read.
    pub const fn strange(&self) -> u64 {
        self.strange
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The channel is full or closed.
    pub fn send(&self, message: impl Message) -> Result<(), Undelivered> {
        self.send_with(message, &[])
    }

    /// Sends a message with copies of the descriptors that it needs.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn send_with(&self, message: impl Message, with: &[RawFd]) -> Result<(), Undelivered> {
        let Some(socket) = &self.socket else {
            return Err(Undelivered::Closed);
        };
        let mut bytes = [0; MESSAGE_BYTES_MAX];
        let len = message.encode(&mut bytes);
        fds::send(socket, &bytes[..len], with).map_err(|error| match error.kind() {
            // With ENOBUFS and ENOMEM, the channel has no room either.
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::NotConnected => {
                Undelivered::Closed
            }
            _ => Undelivered::Full,
        })
    }

    /// Receives at most 64 messages. Returns whether there may be more. At the end of the stream, the channel closes,
    /// and there is nothing to wait for.
    pub fn receive<M: Message>(&mut self, mut tell: impl FnMut(M)) -> bool {
        self.receive_with(|message, _| tell(message))
    }

    /// The same, with the descriptors that came with each message.
    pub fn receive_with<M: Message>(&mut self, mut tell: impl FnMut(M, Vec<OwnedFd>)) -> bool {
        for _ in 0..BATCH_MAX {
            let Some(socket) = &self.socket else {
                return false;
            };
            // One byte longer than any message, so that a longer one is recognised.
            let mut bytes = [0; MESSAGE_BYTES_MAX + 1];
            match fds::receive(socket, &mut bytes) {
                Ok(received) if received.len == 0 => {
                    self.socket = None;
                    return false;
                }
                Ok(received) => match M::decode(&bytes[..received.len]) {
                    Some(message)
                        if received.fds.len() == message.descriptors() && !received.is_cut =>
                    {
                        tell(message, received.fds);
                    }
                    _ => self.strange += 1,
                },
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(_) => {
                    self.socket = None;
                    return false;
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::random::Random;

    const ORDERS: [Order; 2] = [Order::Drain, Order::Stop];
    const ANSWERS: [Answer; 4] = [
        Answer::Ready,
        Answer::Draining,
        Answer::Drained { cut: 0 },
        Answer::Drained { cut: u32::MAX },
    ];

    fn taken<M: Message>(channel: &mut Channel) -> Vec<M> {
        let mut all = Vec::new();
        while channel.receive(|message| all.push(message)) {}
        all
    }

    #[test]
    fn every_message_comes_back_from_its_bytes() {
        let mut bytes = [0; MESSAGE_BYTES_MAX];
        for order in ORDERS.into_iter().chain([Order::Renew]) {
            let len = order.encode(&mut bytes);
            assert_eq!(Order::decode(&bytes[..len]), Some(order));
        }
        for answer in ANSWERS {
            let len = answer.encode(&mut bytes);
            assert_eq!(Answer::decode(&bytes[..len]), Some(answer));
        }
        let len = Answer::Drained { cut: 258 }.encode(&mut bytes);
        assert_eq!(
            bytes[..len],
            [1, 3, 2, 1, 0, 0],
            "the layout is what the head of this file says"
        );
    }

    #[test]
    fn other_versions_kinds_and_lengths_are_none_of_ours() {
        let strange: [&[u8]; 9] = [
            &[],
            &[1],
            &[0, 1],
            &[2, 1],
            &[1, 0],
            &[1, 4],
            &[1, 1, 0],
            &[1, 3, 0, 0, 0],
            &[1, 3, 0, 0, 0, 0, 0],
        ];
        for bytes in strange {
            assert_eq!(Order::decode(bytes), None, "{bytes:?}");
            assert_eq!(Answer::decode(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn messages_go_both_ways_in_their_order() {
        let (mut ours, theirs) = Channel::pair().expect("a socketpair");
        let mut theirs = Channel::new(theirs);
        for order in ORDERS {
            ours.send(order).expect("room");
        }
        for answer in ANSWERS {
            theirs.send(answer).expect("room");
        }
        assert_eq!(taken::<Order>(&mut theirs), ORDERS);
        assert_eq!(taken::<Answer>(&mut ours), ANSWERS);
        assert_eq!((ours.strange(), theirs.strange()), (0, 0));
    }

    #[test]
    fn an_order_to_renew_comes_with_its_descriptor_or_not_at_all() {
        let (ours, theirs) = Channel::pair().expect("a socketpair");
        let mut theirs = Channel::new(theirs);
        let (mut end, written) = io::pipe().expect("a pipe");
        ours.send(Order::Renew).expect("room");
        ours.send_with(Order::Renew, &[written.as_raw_fd()])
            .expect("room");
        ours.send_with(Order::Drain, &[written.as_raw_fd()])
            .expect("room");
        drop(written);
        let mut came = Vec::new();
        theirs.receive_with(|order: Order, fds| came.push((order, fds)));
        assert_eq!(
            (came.len(), came[0].0, theirs.strange()),
            (1, Order::Renew, 2)
        );
        let fd = came.remove(0).1.remove(0);
        io::Write::write_all(&mut File::from(fd), b"renewed").expect("a pipe");
        let mut text = String::new();
        io::Read::read_to_string(&mut end, &mut text).expect("a pipe");
        assert_eq!(text, "renewed");
    }

    #[test]
    fn what_cannot_be_read_is_counted_and_passed_over_and_its_descriptors_are_closed() {
        let (ours, theirs) = fds::pair().expect("a socketpair");
        let mut theirs = Channel::new(theirs);
        let mut random = Random::new(7);
        for round in 0..200 {
            let len = 1 + random.below(40);
            let bytes: Vec<u8> = (0..len)
                .map(|_| random.below(256).to_le_bytes()[0] | 4)
                .collect();
            fds::send(&ours, &bytes, &[]).expect("room");
            let (mut end, watched) = io::pipe().expect("a pipe");
            fds::send(&ours, &[VERSION, 1], &[watched.as_raw_fd()]).expect("room");
            drop(watched);
            fds::send(&ours, &[VERSION, 2], &[]).expect("room");
            assert_eq!(taken::<Order>(&mut theirs), [Order::Stop], "{bytes:?}");
            assert_eq!(theirs.strange(), 2 * (round + 1));
            let mut rest = Vec::new();
            // The end comes because no process has the other end any more.
            io::Read::read_to_end(&mut end, &mut rest).expect("a pipe");
        }
    }

    #[test]
    fn a_full_channel_and_a_closed_one_are_told_and_never_waited_for() {
        let (ours, theirs) = Channel::pair().expect("a socketpair");
        let mut theirs = Channel::new(theirs);
        let mut sent = 0_usize;
        while ours.send(Order::Drain).is_ok() {
            sent += 1;
        }
        assert_eq!(ours.send(Order::Drain), Err(Undelivered::Full));
        // The reader reads in pieces.
        let mut first = 0;
        assert!(theirs.receive(|_: Order| first += 1));
        assert_eq!(first, BATCH_MAX);
        assert_eq!(first + taken::<Order>(&mut theirs).len(), sent);
        drop(ours);
        assert_eq!(taken::<Order>(&mut theirs), []);
        assert_eq!(theirs.fd(), None, "nothing is to be waited for");
        assert_eq!(theirs.send(Answer::Ready), Err(Undelivered::Closed));
    }
}
