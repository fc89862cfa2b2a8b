//! What a station does to its surroundings.

use crate::history::Weight;
use crate::log::Refusal;

/// The form of a message: its opcode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// JSON in a text message.
    Text,
    /// The binary layout in a binary message.
    Binary,
}

impl Form {
    pub(super) const fn mark(self) -> u8 {
        self as u8
    }

    pub(super) const fn of_mark(mark: u8) -> Self {
        match mark {
            0 => Self::Text,
            _ => Self::Binary,
        }
    }
}

/// What became of a message that was to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The connection has it.
    Taken,
    /// The connection does not take it now; [`super::Station::writable`] follows when it would.
    Full,
    /// There is no such connection, or it is closing.
    Gone,
}

/// Whether the clients of this worker want a topic or pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// The first one has subscribed.
    First,
    /// The last one has left.
    None,
}

/// What a station does to its surroundings. The engine implements it for a worker.
pub trait Outlet {
    /// A message encoded once (a frame, perhaps also compressed), for any number of clients. A clone is a reference.
    type Message: Weight;

    /// Makes a message of the bytes of an event.
    fn prepare(&mut self, form: Form, event: &[u8]) -> Self::Message;

    /// Sends a message to a client.
    fn send(&mut self, client: u64, message: &Self::Message) -> Sent;

    /// Writes a record to this worker's log. Every other worker's station gets it by [`super::Station::handle_record`]; this one does not.
    ///
    /// # Errors
    /// It is not written.
    fn publish(&mut self, body: &[u8]) -> Result<(), Refusal>;

    /// Closes a client's connection with this status code. The station has forgotten the client; [`super::Station::close`] may follow or not.
    fn close(&mut self, client: u64, code: u16, reason: &str);

    /// Somebody here, or nobody any more, wants this topic or pattern: for a bridge to other machines. Ignored unless implemented.
    fn interest(&mut self, _pattern: &str, _interest: Interest) {}
}
