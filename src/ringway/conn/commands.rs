//! What is to be done to connections other than the one that a callback is about: one list, carried out once per turn.
//!
//! ```text
//!  any callback ──▶ Commands ──▶ drained by the worker ──▶ outbox, queues, closing ──▶ the sends of this turn
//! ```
//!
//! The list is the one door to the connections of a worker. It is drained after the events of a turn, so no callback ever
//! runs inside another one, and what it asks for leaves with this turn. What a command itself leads to (a `close` callback
//! that gives a command) waits for the next turn, which then does not wait for the kernel.
//!
//! A payload is copied once, into memory that is used again turn after turn; a prepared message is not copied.

use std::ops::Range;

use super::app::{App, Host};
use super::connection::{Connection, Pauses, Phase};
use super::context::Context;
use super::opening::Verdict;
use super::prepared::Prepared;
use super::table::Table;
use super::worker::Core;
use crate::io::{BufferId, ConnId, Io};
use crate::proto::{CloseCode, Kind};

/// What is to happen to one connection. One that has ended in the meantime is passed over; a message for it counts as a
/// drop.
#[derive(Debug)]
pub(super) enum Command {
    /// `bytes` of [`Commands::bytes`].
    Send {
        kind: Kind,
        bytes: Range<usize>,
    },
    SendPrepared {
        prepared: Prepared,
        run: Range<usize>,
    },
    Close {
        code: CloseCode,
        reason: String,
    },
    Reset,
    Pause,
    Resume,
    Decide(Box<Verdict>),
}

/// Payload bytes, and commands, for which memory is kept from turn to turn: together about 1.4 MiB.
const KEPT_BYTES: usize = 1 << 20;
const KEPT_COMMANDS: usize = 4096;

/// Commands of a turn, in the order in which they were given.
#[derive(Debug, Default)]
pub struct Commands {
    pub(super) list: Vec<(ConnId, Command)>,
    /// Payloads of [`Command::Send`].
    pub(super) bytes: Vec<u8>,
    /// The next turn is not to wait.
    pub(super) wake: bool,
}

impl Commands {
    /// Sends a message. A full queue drops it and counts the drop; [`App::writable`](super::App::writable) follows when the
    /// queue is empty again.
    pub fn send(&mut self, to: ConnId, kind: Kind, payload: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(payload);
        let bytes = start..self.bytes.len();
        self.list.push((to, Command::Send { kind, bytes }));
    }

    /// Sends message `index` of `prepared`, encoded before; the same for any number of connections. Nothing is copied.
    pub fn send_prepared(&mut self, to: ConnId, prepared: &Prepared, index: usize) {
        let (prepared, run) = (prepared.clone(), index..index + 1);
        self.list
            .push((to, Command::SendPrepared { prepared, run }));
    }

    /// Begins the closing handshake; `reason` is at most 123 bytes.
    pub fn close(&mut self, connection: ConnId, code: CloseCode, reason: &str) {
        let reason = reason.to_owned();
        self.list
            .push((connection, Command::Close { code, reason }));
    }

    /// Ends a connection in any phase with RST. What is queued for its peer is dropped.
    pub fn reset(&mut self, connection: ConnId) {
        self.list.push((connection, Command::Reset));
    }

    /// Stops reading from a connection: what its peer sends fills the socket, then the peer waits. What has arrived already
    /// is still delivered.
    pub fn pause(&mut self, connection: ConnId) {
        self.list.push((connection, Command::Pause));
    }

    /// Goes on reading after [`Self::pause`].
    pub fn resume(&mut self, connection: ConnId) {
        self.list.push((connection, Command::Resume));
    }

    /// Gives the verdict that [`App::connect`](super::App::connect) left for later. Without effect when the client has left
    /// or its time for the handshake is over; [`App::failed`](super::App::failed) has told then.
    pub fn decide(&mut self, connection: ConnId, verdict: Verdict) {
        self.list
            .push((connection, Command::Decide(Box::new(verdict))));
    }

    /// Asks for another turn at once, with its call of [`App::turn`](super::App::turn).
    pub const fn wake(&mut self) {
        self.wake = true;
    }

    /// Whether the next turn has something to do before it waits.
    pub(super) const fn is_pending(&self) -> bool {
        self.wake || !self.list.is_empty()
    }
}

impl<I: Io> Core<I> {
    /// Carries out what the callbacks asked for. What that leads to waits for the next turn.
    pub(super) fn run_commands<A: App>(&mut self, host: &mut Host<A>, table: &mut Table) {
        if self.shared.commands.list.is_empty() {
            return;
        }
        let wake = self.shared.commands.wake;
        let mut commands = std::mem::take(&mut self.shared.commands);
        for (id, command) in commands.list.drain(..) {
            match table.get_mut(id) {
                Some(conn) => self.run_command(host, conn, command, &commands.bytes),
                None => self.drop_command(&command),
            }
        }
        if !self.shared.commands.is_pending() {
            // The usual case: the memory is used again, but for what a burst needed.
            commands.bytes.clear();
            commands.bytes.shrink_to(KEPT_BYTES);
            commands.list.shrink_to(KEPT_COMMANDS);
            self.shared.commands = commands;
        }
        self.shared.commands.wake |= wake;
    }

    fn run_command<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        command: Command,
        bytes: &[u8],
    ) {
        let is_open = conn.phase == Phase::Open;
        match command {
            Command::Send { .. } | Command::SendPrepared { .. } if !is_open => {
                self.drop_command(&command);
            }
            // Nobody hears of a refusal any more, so a full queue is a drop.
            Command::Send { kind, bytes: range } => {
                let sent = self.callback(conn).send(kind, &bytes[range]);
                self.shared.counters.drops += u64::from(sent.is_err());
            }
            Command::SendPrepared { prepared, run } => {
                let sent = self.callback(conn).send_prepared_run(&prepared, run);
                self.shared.counters.drops += u64::from(sent.is_err());
            }
            Command::Close { code, reason } if is_open => self.close(conn, code, &reason),
            Command::Close { .. } => {}
            Command::Reset => self.reset(host, conn),
            Command::Pause if is_open => self.pause(conn, Pauses::APPLICATION),
            Command::Pause => {}
            Command::Resume => self.resume(conn, Pauses::APPLICATION),
            Command::Decide(verdict) => self.decide(host, conn, &verdict),
        }
    }

    /// A message for a connection that is not open any more.
    fn drop_command(&mut self, command: &Command) {
        if let Command::Send { .. } | Command::SendPrepared { .. } = command {
            self.shared.counters.drops += 1;
        }
    }

    fn callback<'a>(&'a mut self, conn: &'a mut Connection) -> Context<'a> {
        let (_, scratch) = self.io.buffer_and_scratch(BufferId::SCRATCH);
        self.shared.context(conn, scratch, BufferId::HOT)
    }
}
