//! permessage-bzip2 and permessage-snappy: extensions that keep no window between messages, so a connection keeps next to
//! nothing for them. Builds without their features have nothing of it: the types below are empty then.
#![cfg_attr(
    not(all(feature = "bzip2", feature = "snappy")),
    allow(
        unused,
        irrefutable_let_patterns,
        clippy::ptr_arg,
        reason = "an extension that is not built leaves its arms out"
    )
)]

use crate::proto::bzip2::Bzip2;
use crate::proto::compression::{Agreed, Hooks, Progress, Terms};
use crate::proto::deflate::Deflate;
use crate::proto::snappy::Snappy;
use crate::proto::{Role, Violation, bzip2, snappy};

/// Inflating bzip2 takes about so many times as long as deflate: a turn inflates fewer bytes.
#[cfg(feature = "bzip2")]
const BZIP2_COST: usize = 16;

/// What beginning a stream of bzip2 costs, in bytes that deflate inflates in that time: the memory of a block.
#[cfg(feature = "bzip2")]
const BZIP2_STREAM_COST_BYTES: usize = 64 << 10;

/// How an endpoint compresses, by extension. `None`: it does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Compressions {
    pub(crate) deflate: Option<Deflate>,
    pub(crate) snappy: Option<Snappy>,
    pub(crate) bzip2: Option<Bzip2>,
}

impl Compressions {
    /// Those whose messages can be handled while they arrive.
    pub(super) fn in_pieces(&self) -> Self {
        Self {
            deflate: self.deflate,
            ..Self::default()
        }
    }

    /// What is offered, or accepted: nothing that this build has no engine for.
    pub(crate) fn terms(&self) -> Terms {
        let snappy = self.snappy.filter(|_| cfg!(feature = "snappy"));
        let bzip2 = self.bzip2.filter(|_| cfg!(feature = "bzip2"));
        Terms {
            deflate: self.deflate.as_ref().map(Deflate::terms),
            snappy: snappy.map(|_| snappy::Terms::ANY),
            bzip2: bzip2.as_ref().map(Bzip2::terms),
        }
    }
}

/// What we send and what we receive, of what the server and the client send.
pub(super) fn by_role<T>(role: Role, server: T, client: T) -> (T, T) {
    match role {
        Role::Server => (server, client),
        Role::Client => (client, server),
    }
}

/// What a connection keeps of an extension without window.
#[derive(Debug)]
pub(crate) enum Windowless {
    #[cfg(feature = "bzip2")]
    Bzip2 { sends_level: u8, receives_level: u8 },
    #[cfg(feature = "snappy")]
    Snappy { sends: Stream, receives: Stream },
}

/// One direction of snappy's framing format.
#[cfg(feature = "snappy")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    takeover: bool,
    /// The identifier stood before a message, and stands before no other one.
    has_begun: bool,
}

#[cfg(feature = "snappy")]
impl Stream {
    const fn new(takeover: bool) -> Self {
        Self {
            takeover,
            has_begun: false,
        }
    }

    const fn note_message(&mut self) {
        self.has_begun = self.takeover;
    }
}

/// What all connections of a worker share for them.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    #[cfg(feature = "snappy")]
    snappy: Option<Box<snappy::Compressor>>,
}

impl Windowless {
    /// The state of a new connection. `None`: deflate it is, or the build has no engine.
    pub(super) fn new(agreed: &Agreed, role: Role) -> Option<Self> {
        match *agreed {
            #[cfg(feature = "bzip2")]
            Agreed::Bzip2(agreed) => {
                let (sends_level, receives_level) =
                    by_role(role, agreed.server_level, agreed.client_level);
                Some(Self::Bzip2 {
                    sends_level,
                    receives_level,
                })
            }
            #[cfg(feature = "snappy")]
            Agreed::Snappy(agreed) => {
                let (sends, receives) =
                    by_role(role, agreed.server_takeover, agreed.client_takeover);
                Some(Self::Snappy {
                    sends: Stream::new(sends),
                    receives: Stream::new(receives),
                })
            }
            _ => None,
        }
    }

    /// Bytes that a message of `len` has at most when it is compressed.
    pub(super) const fn compressed_bytes_max(&self, len: usize) -> usize {
        match *self {
            #[cfg(feature = "bzip2")]
            Self::Bzip2 { .. } => bzip2::compressed_bytes_max(len),
            #[cfg(feature = "snappy")]
            Self::Snappy { .. } => snappy::compressed_bytes_max(len),
        }
    }

    /// Compresses a message into `out` and returns its length there, if that is smaller.
    #[cold]
    pub(super) fn compress(
        &mut self,
        shared: &mut Shared,
        message: &[u8],
        out: &mut Vec<u8>,
    ) -> Option<usize> {
        let len = match *self {
            #[cfg(feature = "bzip2")]
            Self::Bzip2 { sends_level, .. } => bzip2::compress(sends_level, message, out, 0),
            #[cfg(feature = "snappy")]
            Self::Snappy { ref sends, .. } => {
                let compressor = shared.snappy.get_or_insert_default();
                compressor.compress(!sends.has_begun, message, out, 0)
            }
        };
        if len >= message.len() {
            return None; // No later message refers to it.
        }
        #[cfg(feature = "snappy")]
        if let Self::Snappy { sends, .. } = self {
            sends.note_message();
        }
        Some(len)
    }

    /// The inflater of the next message.
    pub(super) fn inflater(&self) -> Inflater {
        match *self {
            #[cfg(feature = "bzip2")]
            Self::Bzip2 { receives_level, .. } => {
                Inflater::Bzip2(bzip2::Inflater::new(receives_level))
            }
            #[cfg(feature = "snappy")]
            Self::Snappy { ref receives, .. } => {
                Inflater::Snappy(snappy::Inflater::new(receives.has_begun))
            }
        }
    }

    /// Notes a message that was inflated from so many bytes. None at all begin no stream.
    pub(super) const fn received(&mut self, compressed_bytes: usize) {
        match *self {
            #[cfg(feature = "bzip2")]
            Self::Bzip2 { .. } => {}
            #[cfg(feature = "snappy")]
            Self::Snappy {
                ref mut receives, ..
            } if compressed_bytes > 0 => receives.note_message(),
            #[cfg(feature = "snappy")]
            Self::Snappy { .. } => {}
        }
    }

    /// How many bytes are inflated in a time in which deflate inflates so many.
    pub(super) const fn affordable(&self, bytes: usize) -> usize {
        match *self {
            #[cfg(feature = "bzip2")]
            Self::Bzip2 { .. } => bytes / BZIP2_COST,
            #[cfg(feature = "snappy")]
            Self::Snappy { .. } => bytes,
        }
    }

    /// How many bytes deflate inflates in the time that this took.
    pub(super) const fn cost_bytes(&self, bytes: usize) -> usize {
        match *self {
            #[cfg(feature = "bzip2")]
            Self::Bzip2 { .. } => bytes
                .saturating_mul(BZIP2_COST)
                .saturating_add(BZIP2_STREAM_COST_BYTES),
            #[cfg(feature = "snappy")]
            Self::Snappy { .. } => bytes,
        }
    }
}

/// The inflater of one message. It ends with the message: bzip2's memory is too large to keep.
#[derive(Debug)]
pub(crate) enum Inflater {
    #[cfg(feature = "bzip2")]
    Bzip2(bzip2::Inflater),
    #[cfg(feature = "snappy")]
    Snappy(snappy::Inflater),
}

impl Inflater {
    /// As [`deflate`](crate::proto::deflate::Inflater::go_on)'s.
    #[cold]
    pub(super) fn go_on(
        &mut self,
        progress: &mut Progress,
        compressed: &[u8],
        out: &mut Vec<u8>,
        bytes_max: usize,
        hooks: Hooks<'_>,
    ) -> Result<bool, Violation> {
        match *self {
            #[cfg(feature = "bzip2")]
            Self::Bzip2(ref mut inflater) => {
                inflater.go_on(progress, compressed, out, bytes_max, hooks)
            }
            #[cfg(feature = "snappy")]
            Self::Snappy(ref mut inflater) => {
                inflater.go_on(progress, compressed, out, bytes_max, hooks)
            }
        }
    }
}
