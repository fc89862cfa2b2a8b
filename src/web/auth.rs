//! Who may have an answer: `Authorization: Basic` of every request.
//!
//! Owns: the comparison beside the thread that serves, and the memory of good logins, so that the fifty files of a page cost one hash.
//! Never: keeps a password. A login is remembered as its HMAC under a key of this process.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::body::{Body, text};
use crate::passwords::{CHALLENGE, Login, Passwords};

/// Hashes that are computed at a time, as in a worker: the rest of the threads is for files.
const HASHES_MAX: usize = 2;

/// How long a good login is remembered. Chosen: longer than a page takes to load.
const REMEMBERED: Duration = Duration::from_secs(60);

/// Logins that are remembered, about 100 bytes for each. While there are as many, further ones are hashed each time.
const REMEMBERED_MAX: usize = 1024;

/// Lets users in.
pub(crate) struct Guard {
    passwords: Arc<Passwords>,
    room: Arc<Semaphore>,
    memory: Memory,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").finish_non_exhaustive()
    }
}

impl Guard {
    /// # Errors
    /// The system has no random numbers.
    pub(crate) fn new(passwords: Passwords) -> io::Result<Self> {
        Ok(Self {
            passwords: Arc::new(passwords),
            room: Arc::new(Semaphore::new(HASHES_MAX)),
            memory: Memory::new()?,
        })
    }

    /// The user that a request is of. `None`: it is to be answered with [`Guard::challenge`].
    pub(crate) async fn admit(&self, headers: &HeaderMap) -> Option<Arc<str>> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        // Two of them would be one to us and another one to an application.
        let (Some(value), None) = (values.next(), values.next()) else {
            return None;
        };
        let login = Login::parse(value.as_bytes())?;
        let mark = self.memory.mark(value.as_bytes());
        if let Some(user) = self.memory.get(&mark) {
            return Some(user);
        }
        let room = Arc::clone(&self.room).acquire_owned().await.ok()?;
        // Another request of the same page may have been first.
        if let Some(user) = self.memory.get(&mark) {
            return Some(user);
        }
        let passwords = Arc::clone(&self.passwords);
        let checked = spawn_blocking(move || {
            let user = passwords.check(&login);
            // Held until here, whoever has stopped waiting.
            drop(room);
            user
        });
        let user: Arc<str> = checked.await.ok()??.into();
        self.memory.put(mark, Arc::clone(&user));
        Some(user)
    }

    /// The answer to everybody else.
    pub(crate) fn challenge() -> Response<Body> {
        let mut response = text(
            StatusCode::UNAUTHORIZED,
            "401: a user and a password are needed here\n",
        );
        let challenge = HeaderValue::from_static(CHALLENGE);
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        response
    }
}

/// What stands for a login: nobody without the key finds one for a password.
type Mark = [u8; 32];

/// Good logins of the last minute.
struct Memory {
    key: hmac::Key,
    known: Mutex<HashMap<Mark, (Arc<str>, Instant)>>,
}

impl Memory {
    fn new() -> io::Result<Self> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        Ok(Self {
            key: key.map_err(|_| io::Error::other("the system has no random numbers"))?,
            known: Mutex::default(),
        })
    }

    fn mark(&self, login: &[u8]) -> Mark {
        let tag = hmac::sign(&self.key, login);
        let mut mark = [0; 32];
        mark.copy_from_slice(tag.as_ref());
        mark
    }

    fn get(&self, mark: &Mark) -> Option<Arc<str>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (user, until) = known.get(mark)?;
        (Instant::now() < *until).then(|| Arc::clone(user))
    }

    fn put(&self, mark: Mark, user: Arc<str>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if known.len() >= REMEMBERED_MAX {
            known.retain(|_, (_, until)| now < *until);
        }
        if known.len() < REMEMBERED_MAX {
            known.insert(mark, (user, now + REMEMBERED));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `pa:ss`, by `openssl passwd -6 -salt saltsalt`.
    const BOB: &str = "bob:$6$saltsalt$viur7/i1tNWmrRgvPDAJMXRuH3l5KO9LzaobxEDvqIoHVlW29jgn2ia1GRynmgm5ui.LHZYJrj3pT4TsV/nkZ1";
    /// `bob:pa:ss` and `bob:pa:sS`.
    const GOOD: &str = "Basic Ym9iOnBhOnNz";
    const BAD: &str = "Basic Ym9iOnBhOnNT";

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().expect("a value"));
        }
        headers
    }

    #[tokio::test]
    async fn a_good_login_is_remembered_and_a_bad_one_is_not() {
        let guard = Guard::new(Passwords::load(BOB).expect("a user")).expect("a key");
        let known = || guard.memory.known.lock().expect("no panic").len();
        for values in [
            &[][..],
            &["Bearer x"],
            &[BAD],
            &[GOOD, GOOD],
            &[GOOD, "Bearer x"],
        ] {
            assert_eq!(guard.admit(&headers(values)).await, None, "{values:?}");
            assert_eq!(known(), 0);
        }
        assert_eq!(guard.admit(&headers(&[GOOD])).await.as_deref(), Some("bob"));
        assert_eq!(known(), 1);
        // No hash is needed now: there is no room for one.
        let _all = guard.room.acquire_many(2).await.expect("it is open");
        assert_eq!(guard.admit(&headers(&[GOOD])).await.as_deref(), Some("bob"));
    }

    #[test]
    fn the_memory_is_bounded_and_forgets() {
        let memory = Memory::new().expect("a key");
        let mark = |number: usize| memory.mark(&number.to_be_bytes());
        for number in 0..=REMEMBERED_MAX {
            memory.put(mark(number), "ada".into());
        }
        assert_eq!(memory.get(&mark(0)).as_deref(), Some("ada"));
        assert_eq!(memory.get(&mark(REMEMBERED_MAX)), None, "there was no room");
        for (_, until) in memory.known.lock().expect("no panic").values_mut() {
            *until = Instant::now();
        }
        assert_eq!(memory.get(&mark(0)), None);
        memory.put(mark(REMEMBERED_MAX), "ada".into());
        assert_eq!(memory.known.lock().expect("no panic").len(), 1);
    }
}
