//! Which messages came before: two subscriptions that overlap bring a message twice.
//!
//! Of each other server it knows the highest number and, of the 65,536 numbers below, which ones came (RFC 6479's way). A message that
//! is older than that counts as one that came.

use std::collections::HashMap;

use crate::Origin;
use crate::envelope::Sender;

/// Other servers that are known at once. The one that was silent longest makes room.
pub const ORIGINS_MAX: usize = 256;

const WORDS: u64 = 1024;
const NUMBERS: u64 = WORDS * 64;

#[derive(Debug, Default)]
pub(crate) struct Seen {
    origins: HashMap<Origin, Window>,
    messages: u64,
}

#[derive(Debug)]
struct Window {
    highest: u64,
    /// Of number n the bit n % NUMBERS.
    came: Box<[u64]>,
    /// The last message of this server, among all.
    last: u64,
}

impl Seen {
    /// Whether the message comes for the first time.
    pub(crate) fn is_new(&mut self, sender: Sender) -> bool {
        self.messages += 1;
        if !self.origins.contains_key(&sender.origin) && self.origins.len() >= ORIGINS_MAX {
            let silent = self.origins.iter().min_by_key(|(_, window)| window.last);
            if let Some(origin) = silent.map(|(origin, _)| *origin) {
                self.origins.remove(&origin);
            }
        }
        let window = self.origins.entry(sender.origin);
        let window = window.or_insert_with(|| Window {
            highest: sender.number,
            came: vec![0; 1024].into(),
            last: 0,
        });
        window.last = self.messages;
        window.take(sender.number)
    }
}

impl Window {
    fn take(&mut self, number: u64) -> bool {
        if number > self.highest {
            if number - self.highest >= NUMBERS {
                self.came.fill(0);
            } else {
                (self.highest + 1..=number).for_each(|number| self.set(number, false));
            }
            self.highest = number;
        } else if self.highest - number >= NUMBERS || self.came(number) {
            return false;
        }
        self.set(number, true);
        true
    }

    fn place(number: u64) -> (usize, u64) {
        let word = number / 64 % WORDS;
        let word = usize::try_from(word).expect("below 1024");
        (word, 1 << (number % 64))
    }

    fn came(&self, number: u64) -> bool {
        let (word, bit) = Self::place(number);
        self.came[word] & bit != 0
    }

    fn set(&mut self, number: u64, came: bool) {
        let (word, bit) = Self::place(number);
        match came {
            true => self.came[word] |= bit,
            false => self.came[word] &= !bit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(server: usize, number: u64) -> Sender {
        let mut origin = [0; 16];
        origin[..8].copy_from_slice(&server.to_be_bytes());
        Sender { origin, number }
    }

    #[test]
    fn each_number_of_each_server_is_new_once_in_any_order() {
        let mut seen = Seen::default();
        for number in [5, 3, 4, 5000, 6, 70_000, 69_999, 200_000, 199_990] {
            assert!(seen.is_new(of(1, number)), "{number}");
            assert!(!seen.is_new(of(1, number)), "{number}");
        }
        assert!(seen.is_new(of(2, 5)), "of another server");
        assert!(!seen.is_new(of(1, 134_464)), "it is too old to be known");
        assert!(seen.is_new(of(1, 134_465)));
    }

    #[test]
    fn numbers_that_share_a_bit_are_not_confused() {
        let mut seen = Seen::default();
        for number in 1..200_000 {
            assert!(seen.is_new(of(1, number)));
        }
        assert!(!seen.is_new(of(1, 199_999 - 65_535)));
    }

    #[test]
    fn the_server_that_was_silent_longest_makes_room() {
        let mut seen = Seen::default();
        for server in 0..=ORIGINS_MAX {
            assert!(seen.is_new(of(server, 1)));
        }
        assert_eq!(seen.origins.len(), ORIGINS_MAX);
        assert!(!seen.is_new(of(1, 1)), "it is known");
        assert!(seen.is_new(of(0, 1)), "it was forgotten");
    }
}
