//! A stream that is connected already: one end of a socket pair, which the application hands over.
//!
//! Owns: the descriptor until the worker takes it. Never: opens one.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use crate::proto::Kind;

/// One end of a connected stream socket for [`Context::join_handed`](crate::Context::join_handed). Until a worker takes it, it is closed when
/// the last clone is dropped.
#[derive(Clone)]
pub struct Handed(Whence);

#[derive(Clone)]
enum Whence {
    /// For one session.
    Once(Arc<Mutex<Option<OwnedFd>>>),
    /// For each session another one.
    Each(Arc<dyn Fn() -> Option<OwnedFd> + Send + Sync>),
}

impl std::fmt::Debug for Handed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handed").finish_non_exhaustive()
    }
}

impl Handed {
    /// Takes a connected stream socket for one session. It may block or not.
    pub fn new(stream: OwnedFd) -> Self {
        Self(Whence::Once(Arc::new(Mutex::new(Some(stream)))))
    }

    /// Has `make` give one for each session, on the worker's thread: it must not wait. `None`: there is none now, and the session ends as
    /// one whose target is not reached.
    pub fn each(make: impl Fn() -> Option<OwnedFd> + Send + Sync + 'static) -> Self {
        Self(Whence::Each(Arc::new(make)))
    }

    /// The descriptor. `None`: it was taken, or there is none.
    pub(crate) fn take(&self) -> Option<OwnedFd> {
        match &self.0 {
            Whence::Once(stream) => stream.lock().unwrap_or_else(PoisonError::into_inner).take(),
            Whence::Each(make) => make(),
        }
    }
}

impl From<Kind> for Carriage {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Binary => Self::Binary,
            Kind::Text => Self::Base64,
        }
    }
}

/// How a stream travels in the messages of a WebSocket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Carriage {
    /// As binary messages, whose bounds mean nothing.
    #[default]
    Binary,
    /// As text messages of base64, whose bounds mean nothing.
    Base64,
    /// As text messages, each of which is a line. A binary message from the client is bytes without a line break.
    Lines,
    /// As binary messages to the client; what it sends is bytes in messages of either kind.
    Either,
    /// As binary messages. A text message is for the application ([`App::control`](crate::App::control)).
    Controlled,
}
