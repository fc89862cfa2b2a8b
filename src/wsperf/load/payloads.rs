//! The messages of a run: drawn and encoded before it begins, sent and compared in a fixed order.
//!
//! All connections share one short sequence of messages. Each connection goes through it again and again, and begins at
//! another place than its neighbours. Encoded messages lie one behind the other in memory: several of them are one send.

use super::options::{Content, Payload, Verify};
use crate::proto::{Kind, Message};
use crate::random::Random;
use crate::worker::Prepared;

/// Payload bytes of a sequence of one size, about (64 KiB): it stays in the L2 cache beside the bytes that are received.
const PAYLOADS_BYTES: usize = 64 << 10;

/// Fewest messages of a sequence: a repeated or swapped answer is recognised because its neighbours have other contents.
const MESSAGES_MIN: usize = 4;
const MESSAGES_MAX: usize = 256;

/// Most messages of a sequence of JSON: a message of 16 bytes or more does not come again within the 32 KiB that the largest
/// window of permessage-deflate holds.
const JSON_MESSAGES_MAX: usize = 4096;

/// Messages of a sequence with several sizes: enough to give each size its weight within 0.4 %.
const MIXED_MESSAGES: usize = 256;

/// Most payload bytes of a sequence with several sizes (512 MiB): large sizes get fewer messages.
const PAYLOADS_BYTES_MAX: usize = 512 << 20;

/// The sequence of messages, as drawn and, once the loop has a ring, as encoded.
#[derive(Debug)]
pub(super) struct Payloads {
    kind: Kind,
    sequence: Vec<Vec<u8>>,
    prepared: Option<Prepared>,
    verify: Verify,
}

impl Payloads {
    pub(super) fn new(payload: &Payload, verify: Verify, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let sizes = sizes(payload, &mut random);
        let draw = |size: &usize| {
            if payload.content == Content::Json {
                return json(*size, &mut random);
            }
            let mut bytes = vec![0; *size];
            random.fill(&mut bytes);
            if !payload.binary {
                // Printable ASCII, as text of one byte per character.
                bytes.iter_mut().for_each(|byte| *byte = b' ' + *byte % 95);
            }
            bytes
        };
        Self {
            kind: if payload.binary {
                Kind::Binary
            } else {
                Kind::Text
            },
            sequence: sizes.iter().map(draw).collect(),
            prepared: None,
            verify,
        }
    }

    /// The messages to be encoded, in order.
    pub(super) fn messages(&self) -> Vec<(Kind, &[u8])> {
        self.sequence
            .iter()
            .map(|payload| (self.kind, payload.as_slice()))
            .collect()
    }

    pub(super) fn set_prepared(&mut self, prepared: Prepared) {
        self.prepared = Some(prepared);
    }

    /// The encoded messages.
    pub(super) fn prepared(&self) -> Option<&Prepared> {
        self.prepared.as_ref()
    }

    /// The place in the sequence of the `number`-th message of connection `tag`. The length is a power of two: a division
    /// here would cost more CPU time than the rest of the work for a small message.
    #[inline]
    pub(super) fn index(&self, tag: u32, number: u64) -> usize {
        let place = (u64::from(tag) * 7 + number) & (self.sequence.len() as u64 - 1);
        usize::try_from(place).unwrap_or(0)
    }

    /// The messages that `tag` sends from its `number`-th on: at most `max`, and only neighbours in memory.
    pub(super) fn run(&self, tag: u32, number: u64, max: usize) -> std::ops::Range<usize> {
        let first = self.index(tag, number);
        first..self.sequence.len().min(first.saturating_add(max))
    }

    /// Whether `message` equals message `index` of the sequence.
    #[inline]
    pub(super) fn is(&self, index: usize, message: &Message<'_>) -> bool {
        let payload = &self.sequence[index];
        message.kind() == self.kind
            && message.len() == payload.len()
            && (self.verify == Verify::Length || message.payload() == payload.as_slice())
    }
}

/// `size` bytes of JSON, as a service would send it that tells its clients of orders: the names repeat, the values do not.
/// The last value is cut where the size ends.
fn json(size: usize, random: &mut Random) -> Vec<u8> {
    const SYMBOLS: [&str; 8] = ["BTC", "ETH", "EUR", "GBP", "CHF", "JPY", "XAU", "XAG"];
    const STATES: [&str; 4] = ["new", "partially_filled", "filled", "cancelled"];
    let mut text = String::with_capacity(size + 200);
    while text.len() < size {
        let mut below = |limit: u64| random.bits() % limit;
        let symbol = |at: u64| SYMBOLS[usize::try_from(at).unwrap_or(0)];
        text += &format!(
            r#"{{"order_id":{},"symbol":"{}-USD","side":"{}","price":{}.{:02},"quantity":{},"state":"{}","time":1764{:06}}},"#,
            below(1 << 40),
            symbol(below(8)),
            if below(2) == 0 { "buy" } else { "sell" },
            below(100_000),
            below(100),
            below(10_000),
            STATES[usize::try_from(below(4)).unwrap_or(0)],
            below(1_000_000),
        );
    }
    text.truncate(size);
    text.into_bytes()
}

/// The greatest power of two that is not above `count`, which is not zero.
const fn power_of_two(count: usize) -> usize {
    1 << count.ilog2()
}

/// The sizes of the messages of a sequence, in order.
fn sizes(payload: &Payload, random: &mut Random) -> Vec<usize> {
    if let [(size, _)] = payload.sizes[..] {
        let max = match payload.content {
            Content::Random => MESSAGES_MAX,
            Content::Json => JSON_MESSAGES_MAX,
        };
        let count = (PAYLOADS_BYTES / size.max(1)).clamp(MESSAGES_MIN, max);
        return vec![size; power_of_two(count)];
    }
    let total: f64 = payload.sizes.iter().map(|(_, weight)| weight).sum();
    let mean = payload
        .sizes
        .iter()
        .map(|(size, weight)| *size as f64 * weight / total)
        .sum::<f64>();
    let fits = (PAYLOADS_BYTES_MAX as f64 / mean.max(1.0)).max(1.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1 and MIXED_MESSAGES"
    )]
    let count = power_of_two(fits.min(MIXED_MESSAGES as f64) as usize);
    // Gives each size its exact share of the messages, rounded, and then shuffles them: 256 independent draws would miss
    // the weights by several per cent.
    let mut sizes = Vec::with_capacity(count);
    let mut reached = 0.0;
    for (size, weight) in &payload.sizes {
        reached += weight / total * count as f64;
        while (sizes.len() as f64) + 0.5 < reached {
            sizes.push(*size);
        }
    }
    sizes.resize(
        count.max(1),
        payload.sizes.last().map_or(0, |(size, _)| *size),
    );
    random.shuffle(&mut sizes);
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(sizes: &[(usize, f64)], binary: bool) -> Payload {
        Payload {
            sizes: sizes.to_vec(),
            binary,
            content: Content::Random,
        }
    }

    #[test]
    fn payloads_of_one_size_fit_the_cache() {
        for (size, messages) in [(0, 256), (20, 256), (1024, 64), (16 << 10, 4), (1 << 20, 4)] {
            let payloads = Payloads::new(&payload(&[(size, 1.0)], false), Verify::Exact, 1);
            assert_eq!(payloads.sequence.len(), messages, "of {size}");
            assert!(
                payloads
                    .sequence
                    .iter()
                    .all(|payload| payload.len() == size)
            );
            assert!(
                payloads
                    .sequence
                    .iter()
                    .flatten()
                    .all(|byte| (b' '..=b'~').contains(byte))
            );
        }
    }

    #[test]
    fn no_message_of_json_comes_again_within_the_largest_window() {
        let of = |size| Payload {
            content: Content::Json,
            ..payload(&[(size, 1.0)], false)
        };
        for size in [16, 64, 1024, 64 << 10] {
            let payloads = Payloads::new(&of(size), Verify::Exact, 1);
            let bytes = payloads.sequence.len() * size;
            assert!(bytes > 32 << 10, "{bytes} bytes of messages of {size}");
        }
    }

    #[test]
    fn sizes_come_as_often_as_their_weights_say() {
        let payloads = Payloads::new(
            &payload(&[(20, 0.75), (1000, 0.25)], true),
            Verify::Exact,
            1,
        );
        let small = payloads
            .sequence
            .iter()
            .filter(|payload| payload.len() == 20)
            .count();
        assert_eq!((small, payloads.sequence.len()), (192, 256));
    }

    #[test]
    fn only_the_message_that_was_sent_is_taken_for_it() {
        let payloads = Payloads::new(&payload(&[(20, 1.0)], false), Verify::Exact, 1);
        let mut right = payloads.sequence[3].clone();
        assert!(payloads.is(3, &Message::new(Kind::Text, &mut right, 0, 0..20)));
        assert!(!payloads.is(4, &Message::new(Kind::Text, &mut right, 0, 0..20)));
        assert!(!payloads.is(3, &Message::new(Kind::Binary, &mut right, 0, 0..20)));
        assert!(!payloads.is(3, &Message::new(Kind::Text, &mut right, 0, 0..19)));
        right[19] ^= 1;
        assert!(!payloads.is(3, &Message::new(Kind::Text, &mut right, 0, 0..20)));
    }
}
