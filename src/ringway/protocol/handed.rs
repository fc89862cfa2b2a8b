//! A stream that is connected already: one end of a socket pair, which the application hands over.
//!
//! Owns: the descriptor until the worker takes it. Never: opens one.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use crate::proto::Kind;

/// One end of a connected stream socket for [`Context::join_handed`](crate::Context::join_handed), for one session. Until a worker takes it,
/// it is closed when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Handed(Arc<Mutex<Option<OwnedFd>>>);

impl Handed {
    /// Takes a connected stream socket. It may block or not.
    pub fn new(stream: OwnedFd) -> Self {
        Self(Arc::new(Mutex::new(Some(stream))))
    }

    /// The descriptor. `None`: it was taken.
    pub(crate) fn take(&self) -> Option<OwnedFd> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
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
}
