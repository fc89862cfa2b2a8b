//! Why an open connection does not go on, or does not do what it was asked: one sentence each.

use std::fmt;
use std::io;

use ringway_proto::{Misuse, Violation};

/// Why an open connection does not go on, or does not do what it was asked.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The connection is closed, or its closing handshake has begun: nothing more is sent.
    Closed,
    /// The peer's stream ended without a Close (1006).
    Ended,
    /// The stream failed.
    Io(io::Error),
    /// The calling program asked for something that RFC 6455 forbids. Nothing was sent, and the connection goes on.
    Misuse(Misuse),
    /// The peer did not answer our Close in [`Options::close_timeout`](crate::Options::close_timeout).
    CloseTimeout,
    /// The peer did not answer a Ping in [`Options::ping_timeout`](crate::Options::ping_timeout).
    PongTimeout,
    /// The peer broke the protocol or exceeded a limit. It was told so with [`Violation::close_code`].
    Violation(Violation),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the WebSocket is closed"),
            Self::Ended => f.write_str("the peer ended the connection without a close frame"),
            Self::Io(error) => write!(f, "the connection failed: {error}"),
            Self::Misuse(misuse) => write!(f, "not sent: {misuse}"),
            Self::CloseTimeout => f.write_str("the peer did not answer our Close in time"),
            Self::PongTimeout => f.write_str("the peer did not answer a Ping in time"),
            Self::Violation(violation) => write!(f, "the peer broke the protocol: {violation}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Misuse(misuse) => Some(misuse),
            Self::Violation(violation) => Some(violation),
            Self::Closed | Self::Ended | Self::CloseTimeout | Self::PongTimeout => None,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Misuse> for Error {
    fn from(misuse: Misuse) -> Self {
        match misuse {
            Misuse::AfterClose => Self::Closed,
            misuse => Self::Misuse(misuse),
        }
    }
}

impl From<Violation> for Error {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}
