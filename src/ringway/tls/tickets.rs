//! Session tickets (RFC 5077, RFC 8446 §4.6.1) that every worker of a server accepts, and that outlive a worker.
//!
//! ```text
//!   secret 0 ──HMAC──▶ secret 1 ──HMAC──▶ secret 2 …      one step every six hours, never back
//!      │                  │
//!      └─HMAC─▶ key 0     └─HMAC─▶ key 1                   seals tickets, AES-256-GCM
//! ```
//!
//! All workers start from the same secret and step by the clock, so they need not tell each other. Who steals a secret
//! reads no ticket of the periods before the last one.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::server::ProducesTickets;

/// Time between two keys, and the least time for which a ticket is good.
const PERIOD: Duration = Duration::from_secs(6 * 3600);

/// Bytes in front of what is sealed: the period's number, and the nonce.
const NUMBER_BYTES: usize = 8;

/// The secret of a period.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct TicketSecret {
    /// When period 0 began, in seconds since 1970.
    pub(super) began_unix_s: u64,
    /// The period.
    pub(super) number: u64,
    pub(super) secret: [u8; 32],
}

impl TicketSecret {
    /// A new secret, whose first period begins now.
    pub(super) fn random() -> Option<Self> {
        let mut secret = [0; 32];
        SystemRandom::new().fill(&mut secret).ok()?;
        Some(Self {
            began_unix_s: unix_s(),
            number: 0,
            secret,
        })
    }

    /// The period of the instant `now_unix_s`; a clock that was set back stays in the present one.
    fn number_at(&self, now_unix_s: u64) -> u64 {
        let number = now_unix_s.saturating_sub(self.began_unix_s) / PERIOD.as_secs();
        number.max(self.number)
    }

    /// Steps to the period of `now_unix_s`. Returns whether it had to.
    pub(super) fn advance(&mut self, now_unix_s: u64) -> bool {
        let number = self.number_at(now_unix_s);
        let is_later = number > self.number;
        while self.number < number {
            self.secret = derive(&self.secret, b"next secret");
            self.number += 1;
        }
        is_later
    }

    fn key(&self) -> Option<LessSafeKey> {
        let key = derive(&self.secret, b"ticket key");
        let key = UnboundKey::new(&AES_256_GCM, &key).ok()?;
        Some(LessSafeKey::new(key))
    }
}

pub(super) fn unix_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |time| time.as_secs())
}

fn derive(secret: &[u8; 32], what: &[u8]) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let tag = hmac::sign(&key, what);
    let mut derived = [0; 32];
    derived.copy_from_slice(tag.as_ref());
    derived
}

/// The keys of the present period and the one before.
struct Keys {
    secret: TicketSecret,
    present: Option<LessSafeKey>,
    former: Option<LessSafeKey>,
}

impl Keys {
    fn advance(&mut self, now_unix_s: u64) {
        let number = self.secret.number_at(now_unix_s);
        if number == self.secret.number {
            return;
        }
        // Of a long sleep only the last period matters.
        self.former = None;
        while self.secret.number < number {
            self.former = self.secret.key();
            let next = self.secret.began_unix_s + (self.secret.number + 1) * PERIOD.as_secs();
            self.secret.advance(next);
        }
        self.present = self.secret.key();
    }
}

/// Seals and opens tickets. One for each process.
pub(super) struct Tickets {
    keys: Mutex<Keys>,
    random: SystemRandom,
}

impl std::fmt::Debug for Tickets {
    /// Shows no key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tickets").finish_non_exhaustive()
    }
}

impl Tickets {
    pub(super) fn new(secret: &TicketSecret) -> Self {
        let keys = Keys {
            present: secret.key(),
            former: None,
            secret: secret.clone(),
        };
        Self {
            keys: Mutex::new(keys),
            random: SystemRandom::new(),
        }
    }

    fn seal(&self, plain: &[u8], now_unix_s: u64) -> Option<Vec<u8>> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.advance(now_unix_s);
        let number = keys.secret.number.to_be_bytes();
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).ok()?;
        let mut sealed = plain.to_vec();
        let unique = Nonce::assume_unique_for_key(nonce);
        let key = keys.present.as_ref()?;
        key.seal_in_place_append_tag(unique, Aad::from(number), &mut sealed)
            .ok()?;
        Some([&number[..], &nonce, &sealed].concat())
    }

    fn open(&self, ticket: &[u8], now_unix_s: u64) -> Option<Vec<u8>> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.advance(now_unix_s);
        let (number, rest) = ticket.split_at_checked(NUMBER_BYTES)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        let number = u64::from_be_bytes(number.try_into().ok()?);
        let key = match keys.secret.number.checked_sub(number)? {
            0 => keys.present.as_ref()?,
            1 => keys.former.as_ref()?,
            _ => return None,
        };
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = sealed.to_vec();
        let plain = key
            .open_in_place(nonce, Aad::from(number.to_be_bytes()), &mut sealed)
            .ok()?;
        let len = plain.len();
        sealed.truncate(len);
        Some(sealed)
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(PERIOD.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain, unix_s())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.open(cipher, unix_s())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;

    fn secret() -> TicketSecret {
        TicketSecret {
            began_unix_s: 1000,
            number: 0,
            secret: [7; 32],
        }
    }

    #[test]
    fn a_ticket_of_one_worker_is_good_at_another() {
        let [one, other] = [(); 2].map(|()| Tickets::new(&secret()));
        let ticket = one.seal(b"a session", 1000).unwrap();
        assert_eq!(other.open(&ticket, 1000).unwrap(), b"a session");
        assert_ne!(ticket, one.seal(b"a session", 1000).unwrap());
    }

    #[test]
    fn a_ticket_lives_for_one_period_and_at_most_two() {
        let tickets = Tickets::new(&secret());
        let ticket = tickets.seal(b"a session", 1000 + 6 * HOUR - 1).unwrap();
        assert!(tickets.open(&ticket, 1000 + 12 * HOUR - 1).is_some());
        assert!(tickets.open(&ticket, 1000 + 12 * HOUR).is_none());
        assert!(
            tickets.open(&ticket, 1000).is_none(),
            "the clock never goes back"
        );
    }

    /// A worker that starts late gets the secret of its time, and one that slept for days steps to it.
    #[test]
    fn workers_of_different_age_have_the_same_keys() {
        let now = 1000 + 100 * HOUR;
        let mut later = secret();
        assert!(later.advance(now));
        let (young, old) = (Tickets::new(&later), Tickets::new(&secret()));
        let ticket = young.seal(b"a session", now).unwrap();
        assert!(old.open(&ticket, now + 6 * HOUR).is_some());
        assert!(Tickets::new(&secret()).open(&ticket, now).is_some());
        assert!(!later.advance(now + 1));
    }

    #[test]
    fn what_was_changed_or_cut_is_no_ticket() {
        let tickets = Tickets::new(&secret());
        let ticket = tickets.seal(b"a session", 1000).unwrap();
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert!(tickets.open(&changed, 1000).is_none(), "{at}");
            assert!(tickets.open(&ticket[..at], 1000).is_none(), "{at}");
        }
    }
}
