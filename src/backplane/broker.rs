//! What a broker is to a bridge: a connection in two halves.

use crate::subject::Wildcards;

/// A broker that can be connected to, again and again.
pub(crate) trait Broker {
    /// How it writes patterns.
    const WILDCARDS: Wildcards;

    type Outward: Outward;
    type Inward: Inward;

    /// A new connection without subscriptions. An error is a sentence for the operator.
    async fn connect(&self) -> Result<(Self::Outward, Self::Inward), String>;
}

/// The half of a connection that is told what to do. An error ends the connection.
pub(crate) trait Outward {
    /// The largest payload that the broker takes.
    fn payload_bytes_max(&self) -> usize;

    /// Subscribes (`true`) to names and ends subscriptions.
    async fn change(&mut self, changes: &[(Box<str>, bool)]) -> Result<(), String>;

    /// Hands messages over, in this order.
    async fn publish(&mut self, batch: &[Outgoing]) -> Result<(), String>;

    /// Waits until the broker has done what it was told, and so finds out whether it is still there.
    async fn settle(&mut self) -> Result<(), String>;
}

/// The half from which messages come.
pub(crate) trait Inward {
    /// What comes next. Can be called again after a call that was given up.
    async fn next(&mut self) -> Incoming;
}

/// A message for the broker.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) name: String,
    pub(crate) payload: Vec<u8>,
    /// It is no message of a client, and does not count.
    pub(crate) is_notice: bool,
}

/// What comes from a broker.
#[derive(Debug)]
pub(crate) enum Incoming {
    Message(Payload),
    /// So many messages were dropped because this process did not take them.
    Overflow(usize),
    /// The connection has ended, for this reason.
    Lost(String),
}

/// The bytes of a message, as its client has them.
#[derive(Debug)]
pub(crate) enum Payload {
    #[cfg(feature = "nats")]
    Bytes(async_nats::Message),
    Vec(Vec<u8>),
}

impl Payload {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            #[cfg(feature = "nats")]
            Self::Bytes(message) => &message.payload,
            Self::Vec(bytes) => bytes,
        }
    }
}
