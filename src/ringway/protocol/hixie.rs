//! What the protocols before RFC 6455 need of a connection: the frames that leave, and what these protocols cannot say.
//!
//! Owns: text in their frames, also text that was encoded for others; how Hixie-75, which has no closing handshake, ends.
//! Never: reads a frame (the receiver of such a connection brings the same events as any other), or is asked by a connection of
//! RFC 6455 for more than whether its sender is an old one.
//!
//! Binary messages and Pings are refused where the application sends them ([`Misuse::NotInHixie`](crate::proto::Misuse)). What waits for
//! a subscriber, or was given as a command, counts as a drop.

use std::ops::Range;

use super::commands::Command;
use super::context::{Context, SendError};
use super::prepared::Form;
use crate::conn::outbox::Carries;
use crate::proto::frame::Header;
use crate::proto::hixie::{self, Draft};

impl Context<'_> {
    /// Sends a frame of text that was checked and counted. Text with a byte that UTF-8 does not have would end the frame early: it is
    /// dropped.
    #[cold]
    pub(super) fn send_hixie(&mut self, header: &Header, payload: &[u8]) {
        let (before, behind) = hixie::encode(header);
        let can_leave = hixie::can_carry(payload);
        self.output.shared.counters.drops += u64::from(!can_leave);
        if !can_leave && !before.is_empty() && !behind.is_empty() {
            return;
        }
        // Of a message in parts, the frame goes on without this part.
        let payload = if can_leave { payload } else { &[] };
        if let Some(traffic) = self.tally() {
            let bytes = before.len() + payload.len() + behind.len();
            traffic.outgoing.count_frame(bytes as u64);
        }
        self.output.copy(Carries::Messages, before, payload);
        self.output.copy(Carries::Messages, behind, &[]);
    }

    /// Sends messages that were encoded for connections of RFC 6455.
    #[cold]
    pub(super) fn send_prepared_hixie(
        &mut self,
        form: &Form,
        messages: Range<usize>,
    ) -> Result<(), SendError> {
        for index in messages.clone() {
            self.sender.check(&form.frame(index).0)?;
        }
        self.count_out(messages.len() as u64, form.payload_bytes(&messages));
        for index in messages {
            self.send_hixie(&form.frame(index).0, form.payload(index));
        }
        Ok(())
    }

    /// Ends a connection whose protocol has no closing handshake, behind what waits for its peer.
    pub(super) fn hang_up_if_hixie_75(&mut self) {
        if self.sender.draft() == Some(Draft::Hixie75) {
            let id = self.id();
            self.commands().list.push((id, Command::HangUp));
        }
    }
}
