//! permessage-deflate of one connection: a history per direction, and engines that all connections of a thread share.
//!
//! Owns: whether a message is compressed, and both histories. Never: knows frames.
//!
//! An engine takes up to 140 KiB, so no connection has one of its own. It goes on from the history of whichever connection
//! needs it next, which holds the last bytes of plain text and nothing while no message was compressed.

use std::cell::RefCell;

use bytes::Bytes;
use ringway_proto::deflate::{
    Agreed, Deflate, Deflater, Direction, History, Inflater, Place, Setup,
};
use ringway_proto::{Role, Violation};

/// Compressors of a thread: one for each way of working that was used last.
const DEFLATERS_MAX: usize = 4;

/// Compressed bytes by which the first memory of an inflated message is chosen at most. A peer that sends more than that
/// has it grown as it inflates.
const GUESS_BYTES_MAX: usize = 16 << 10;

#[derive(Default)]
struct Engines {
    inflater: Option<Inflater>,
    deflaters: Vec<Deflater>,
}

thread_local! {
    static ENGINES: RefCell<Engines> = RefCell::default();
}

/// What a connection has agreed on, and keeps.
#[derive(Debug)]
pub(crate) struct Codec {
    sends: Direction,
    sent: History,
    receives: Direction,
    received: History,
    setup: Setup,
    /// `None`: no message is compressed, because the peer wants a window that is too small for our compressor.
    bytes_min: Option<usize>,
}

impl Codec {
    pub(crate) fn new(role: Role, deflate: &Deflate, agreed: Agreed) -> Self {
        let (sends, receives) = match role {
            Role::Client => (agreed.client, agreed.server),
            Role::Server => (agreed.server, agreed.client),
        };
        let setup = deflate.setup(sends.window_bits);
        Self {
            sends,
            sent: History::default(),
            receives,
            received: History::default(),
            setup,
            // An empty message has no compressed form that every peer reads.
            bytes_min: setup.is_possible().then_some(deflate.bytes_min.max(1)),
        }
    }

    /// The compressed form of a message, if it is to be sent so.
    pub(crate) fn compress(&mut self, message: &[u8]) -> Option<Bytes> {
        if message.len() < self.bytes_min? {
            return None;
        }
        let mut out = Vec::new();
        let end = ENGINES.with_borrow_mut(|engines| {
            let deflater = engines.deflater(self.setup);
            deflater.restart(&self.sent);
            deflater.compress(message, &mut out, 0)
        });
        // Without takeover nothing refers to this message later, so it may leave as it is.
        if !self.sends.takeover && end >= message.len() {
            return None;
        }
        self.sent.push(message, self.sends);
        out.truncate(end);
        // It was as long as the message may become at worst.
        out.shrink_to_fit();
        Some(Bytes::from(out))
    }

    /// The plain form of a compressed message of at most `bytes_max`. Whether it is text is for the caller to check.
    pub(crate) fn inflate(
        &mut self,
        compressed: &[u8],
        bytes_max: u64,
    ) -> Result<Bytes, Violation> {
        // JSON becomes three to four times as long.
        let mut out = vec![0; 64 + 4 * compressed.len().min(GUESS_BYTES_MAX)];
        let place = Place {
            out: &mut out,
            at: 0,
            bytes_max,
        };
        let grow = |out: &mut Vec<u8>, filled: usize| out.resize(2 * filled, 0);
        let end = ENGINES.with_borrow_mut(|engines| {
            let inflater = engines.inflater.get_or_insert_with(Inflater::new);
            inflater.restart(&self.received);
            inflater.inflate(compressed, &self.received, place, grow, |_| Ok(()))
        })?;
        out.truncate(end);
        self.received.push(&out, self.receives);
        if out.capacity() > 2 * end {
            out.shrink_to_fit();
        }
        Ok(Bytes::from(out))
    }
}

impl Engines {
    /// The compressor that works so. The one that was used last stands first.
    fn deflater(&mut self, setup: Setup) -> &mut Deflater {
        let found = self.deflaters.iter().position(|one| one.setup() == setup);
        match found {
            Some(at) => self.deflaters[..=at].rotate_right(1),
            None => {
                self.deflaters.truncate(DEFLATERS_MAX - 1);
                self.deflaters.insert(0, Deflater::new(setup));
            }
        }
        &mut self.deflaters[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAR: Direction = Direction::FARTHEST;

    fn pair(level: u8, client: Direction, server: Direction) -> (Codec, Codec) {
        let deflate = Deflate {
            level,
            bytes_min: 0,
            ..Deflate::default()
        };
        let agreed = Agreed { client, server };
        let codec = |role| Codec::new(role, &deflate, agreed);
        (codec(Role::Client), codec(Role::Server))
    }

    #[test]
    fn messages_of_many_connections_take_turns_with_the_same_engines() {
        let alone = Direction {
            takeover: false,
            ..FAR
        };
        let mut pairs: Vec<_> = (1..=9)
            .flat_map(|level| [pair(level, FAR, alone), pair(level, alone, FAR)])
            .collect();
        for n in 0..40 {
            for (at, (client, server)) in pairs.iter_mut().enumerate() {
                let text = format!("message {n} of connection {at}, {}", "and on ".repeat(n));
                for _ in 0..2 {
                    // Without takeover, what is not shorter is sent as it is.
                    if let Some(sent) = client.compress(text.as_bytes()) {
                        let seen = server.inflate(&sent, 1 << 20);
                        assert_eq!(seen.expect("well-formed"), text);
                    }
                    std::mem::swap(client, server);
                }
            }
        }
        assert_eq!(
            ENGINES.with_borrow(|engines| engines.deflaters.len()),
            DEFLATERS_MAX
        );
    }

    #[test]
    fn a_message_that_grows_beyond_its_limit_is_too_big() {
        let (mut client, mut server) = pair(6, FAR, FAR);
        let sent = client.compress(&[0; 100_000]).expect("compressed");
        assert!(sent.len() < 1000);
        let result = server.inflate(&sent, 99_999);
        assert_eq!(result, Err(Violation::MessageTooBig(100_000)));
    }
}
