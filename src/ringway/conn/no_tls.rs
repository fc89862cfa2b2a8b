//! In place of TLS when this crate is built without the feature `tls`: no connection has a session.

use std::ops::Range;

use super::buffers::Buffers;
use super::queue::SendQueue;

pub(crate) const HANDSHAKE: u8 = 0x16;

pub(crate) const HELD_BYTES_MAX: usize = 0;

pub(crate) const PLAIN_BYTES_MAX: usize = 16 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(dead_code, reason = "what TLS would say")]
pub(crate) enum Opened {
    More,
    PeerClosed,
}

#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) plain: Range<usize>,
    pub(crate) used: usize,
    pub(crate) result: Result<Opened, NoTls>,
}

#[derive(Debug, Default)]
pub(crate) struct Room {
    pub(crate) inbox: Vec<u8>,
    pub(crate) plain: Vec<u8>,
}

/// No connection has one, because no worker has a configuration to begin it with.
#[derive(Debug, Default)]
pub(crate) struct Tls {
    pub(crate) plain: Option<Box<SendQueue>>,
    pub(crate) peer_closed: bool,
}

#[derive(Debug)]
pub(crate) struct NoTls;

impl std::fmt::Display for NoTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("this program was built without the feature `tls`")
    }
}

pub(crate) fn sentence(error: &NoTls) -> String {
    error.to_string()
}

impl Tls {
    pub(crate) const fn is_undecided(&self) -> bool {
        true
    }

    pub(crate) const fn is_ready(&self) -> bool {
        false
    }

    pub(crate) const fn is_incomplete(&self) -> bool {
        false
    }

    pub(crate) const fn is_resumed(&self) -> bool {
        false
    }

    pub(crate) const fn peer_certificate(&self) -> Option<&[u8]> {
        None
    }

    pub(crate) const fn begin<C>(&mut self, _: &C) -> Result<(), NoTls> {
        Err(NoTls)
    }

    pub(crate) const fn client<C, N>(_: &C, _: &N) -> Result<Self, NoTls> {
        Err(NoTls)
    }

    pub(crate) const fn has_output(&self) -> bool {
        false
    }

    pub(crate) const fn shake_hands(
        &mut self,
        _: &[u8],
        _: &mut Room,
        _: &mut Buffers,
    ) -> Result<usize, NoTls> {
        Err(NoTls)
    }

    pub(crate) const fn held(&self) -> &[u8] {
        &[]
    }

    pub(crate) const fn hold(&mut self, _: &[u8], _: &mut Buffers) {}

    pub(crate) const fn release(&mut self, _: &mut Buffers) {}

    pub(crate) const fn lacks(&self, _: usize) -> bool {
        false
    }

    pub(crate) const fn open(&mut self, _: &mut [u8]) -> Reading {
        Reading {
            plain: 0..0,
            used: 0,
            result: Err(NoTls),
        }
    }

    pub(crate) const fn note_sent(&mut self) {}

    pub(crate) const fn take_output(&mut self) -> Vec<u8> {
        Vec::new()
    }

    pub(crate) const fn prepare(&mut self, _: usize) -> Option<(usize, usize)> {
        None
    }

    pub(crate) const fn seal(&mut self, _: &mut [u8]) {}

    pub(crate) const fn is_closed(&self) -> bool {
        false
    }

    pub(crate) const fn close(&mut self) {}
}
