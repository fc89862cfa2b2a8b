//! Users with hashed passwords, and whether a client is one of them.
//!
//! Owns: reading `user:hash` lines, and the comparison, which takes as long for a user that is not there. Never: runs where others wait
//! (a hash takes some ten milliseconds on purpose).

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha_crypt::{PasswordVerifier as _, ShaCrypt};

/// What asks a browser for a user and a password: `WWW-Authenticate` of a 401 (RFC 7617 §2).
pub const CHALLENGE: &str = "Basic realm=\"Ringway\", charset=\"UTF-8\"";

/// Users and the hashes of their passwords.
#[derive(Clone, PartialEq, Eq)]
pub struct Passwords {
    hashes: HashMap<String, String>,
    /// What the password of an unknown user is compared with.
    some: String,
}

impl std::fmt::Debug for Passwords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Passwords").finish_non_exhaustive()
    }
}

/// What a client sends as `Authorization: Basic`. It is never shown.
#[expect(missing_debug_implementations, reason = "it holds a password")]
pub struct Login {
    user: String,
    password: String,
}

impl Login {
    /// Reads the value of the header (RFC 7617 §2). `None`: it is no such login.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let value = std::str::from_utf8(value).ok()?;
        let (scheme, credentials) = value.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = STANDARD.decode(credentials.trim()).ok()?;
        let decoded = String::from_utf8(decoded).ok()?;
        let (user, password) = decoded.split_once(':')?;
        Some(Self {
            user: user.to_owned(),
            password: password.to_owned(),
        })
    }
}

impl Passwords {
    /// Reads a file, or one `user:hash`.
    ///
    /// # Errors
    /// Why there are no users, as a sentence that begins with what was given; a text stays unsaid.
    pub fn load(given: &str) -> Result<Self, String> {
        if given.contains(":$") {
            return Self::parse(given).map_err(|why| format!("its text: {why}"));
        }
        let text = std::fs::read_to_string(given)
            .map_err(|error| format!("{given}: {error}; give a file that this user can read"))?;
        Self::parse(&text).map_err(|why| format!("{given}: {why}"))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut hashes = HashMap::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let known = ["$2a$", "$2b$", "$2x$", "$2y$", "$5$", "$6$"];
            match line.split_once(':') {
                Some((user, hash)) if known.iter().any(|id| hash.starts_with(id)) => {
                    hashes.insert(user.to_owned(), hash.to_owned());
                }
                _ => {
                    return Err(format!(
                        "line {} is no user with a bcrypt or SHA-crypt hash: make it with `htpasswd -B` or `openssl passwd -6`",
                        at + 1
                    ));
                }
            }
        }
        let some = hashes.values().next().cloned();
        match some {
            Some(some) => Ok(Self { hashes, some }),
            None => Err("there is no user in it".to_owned()),
        }
    }

    /// The user, if the password is right. It takes its time.
    pub fn check(&self, login: &Login) -> Option<Box<str>> {
        let hash = self.hashes.get(&login.user);
        let is_right = is_right(&login.password, hash.unwrap_or(&self.some));
        (is_right && hash.is_some()).then(|| login.user.as_str().into())
    }
}

fn is_right(password: &str, hash: &str) -> bool {
    match hash.starts_with("$2") {
        true => bcrypt::verify(password, hash).unwrap_or(false),
        false => ShaCrypt::default()
            .verify_password(password.as_bytes(), hash)
            .is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by crypt(3), and by `openssl passwd -6 -salt saltsalt 'pa:ss'`.
    const FILE: &str = "# users\nada:$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n\n\
                        bob:$6$saltsalt$viur7/i1tNWmrRgvPDAJMXRuH3l5KO9LzaobxEDvqIoHVlW29jgn2ia1GRynmgm5ui.LHZYJrj3pT4TsV/nkZ1\n";

    fn login(user: &str, password: &str) -> Login {
        let value = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        Login::parse(value.as_bytes()).expect("a login")
    }

    #[test]
    fn users_of_both_hashes_come_in_with_their_passwords() {
        let passwords = Passwords::parse(FILE).expect("users");
        for (user, password, is_good) in [
            ("ada", "secret", true),
            ("ada", "Secret", false),
            ("bob", "pa:ss", true),
            ("bob", "secret", false),
            ("eve", "secret", false),
            ("eve", "pa:ss", false),
        ] {
            let found = passwords.check(&login(user, password));
            assert_eq!(
                found.as_deref(),
                is_good.then_some(user),
                "{user}:{password}"
            );
        }
    }

    #[test]
    fn what_is_no_login_or_no_user_is_refused() {
        for value in ["Basic", "Basic !", "Bearer YTpi", "Basic YWI="] {
            assert!(Login::parse(value.as_bytes()).is_none(), "{value}");
        }
        for text in ["", "ada:secret", "ada", "ada:$1$a$b"] {
            assert!(Passwords::parse(text).is_err(), "{text}");
        }
    }
}
