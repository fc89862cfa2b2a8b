//! Commands that callbacks gave, carried out once per turn.

use crate::conn::link::{Next, Pauses, Phase};
use crate::io::{BufferId, HOT_BYTES, Io};
use crate::protocol::{App, Closed, Command, Connection, Context, Core, Host, Table, Verdict};

impl<I: Io> Core<I> {
    /// Carries out the commands that callbacks gave. Commands that these lead to wait for the next turn.
    pub(crate) fn run_commands<A: App>(&mut self, host: &mut Host<A>, table: &mut Table) {
        if self.shared.protocol.commands.list.is_empty() {
            return;
        }
        let wake_at = self.shared.protocol.commands.wake_at;
        let mut commands = std::mem::take(&mut self.shared.protocol.commands);
        for (id, command) in commands.list.drain(..) {
            match table.get_mut(id) {
                Some(conn) => {
                    let next = self.run_command(host, conn, command, &commands.bytes);
                    self.settle(host, conn, next);
                }
                None => self.drop_command(&command),
            }
        }
        if !self.shared.protocol.commands.is_pending() {
            // The usual case: no new commands, so the memory serves the next turn.
            commands.recycle();
            commands.wake_at = self.shared.protocol.commands.wake_at;
            self.shared.protocol.commands = commands;
        }
        self.shared.protocol.commands.wake_at(wake_at);
    }

    fn run_command<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        command: Command,
        bytes: &[u8],
    ) -> Next {
        let is_open = conn.link.phase == Phase::Open && conn.speaks.websocket().is_some();
        match command {
            Command::Send { .. } | Command::SendPrepared { .. } if !is_open => {
                self.drop_command(&command);
            }
            // The callback that gave the command has returned, so a full queue cannot be reported to it. The message
            // counts as a drop.
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
            Command::HangUp => {
                if conn.speaks.websocket().is_some() {
                    self.shared.finish(host, conn, Closed::ABNORMAL);
                }
            }
            Command::Reset => return Next::Reset,
            Command::Pause if is_open => self.pause(&mut conn.link, Pauses::APPLICATION),
            Command::Pause => {}
            Command::Resume => self.resume(&mut conn.link, Pauses::APPLICATION),
            Command::SendLate => self.send_late(host, conn),
            Command::Decide(verdict) => return self.decide(host, conn, &verdict),
        }
        Next::Continue
    }

    /// Drops a command for a connection that is not open any more. A message counts as a drop.
    fn drop_command(&mut self, command: &Command) {
        if let Command::Send { .. } | Command::SendPrepared { .. } = command {
            self.shared.counters.drops += 1;
        }
    }

    /// Carries out a verdict that the application had left for later.
    fn decide<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        verdict: &Verdict,
    ) -> Next {
        let (_, scratch) = self.io.buffer_and_scratch(BufferId::SCRATCH);
        let Some(rest) = self.shared.decide_late(host, conn, verdict, scratch) else {
            return Next::Continue;
        };
        for piece in rest.chunks(HOT_BYTES) {
            self.io.refill_hot(piece);
            self.feed_opened(host, conn, BufferId::HOT, 0..piece.len());
            if self.flush_hot(&mut conn.link) == Next::Reset {
                return Next::Reset;
            }
        }
        self.resume(&mut conn.link, Pauses::VERDICT);
        Next::Continue
    }

    fn callback<'a>(&'a mut self, conn: &'a mut Connection) -> Context<'a> {
        let (_, scratch) = self.io.buffer_and_scratch(BufferId::SCRATCH);
        self.shared.context(conn, scratch, BufferId::HOT)
    }
}
