//! Commands: `name:key=value;key=value;`, each parameter ended by `;`, the last one too.
//!
//! Owns: parsing commands, and the limits of each parameter. Never: resolves a name, or starts anything.
//!
//! A value cannot hold a `;` (in a URI write `%3B`), and begins after the first `=`; an empty value counts as not given.
//!
//! `message_test` sends messages on one connection and compares the answers. All parameters are required:
//!
//! | parameter | what | limit |
//! |---|---|---|
//! | `uri` | the server, `ws://…` | 2048 bytes |
//! | `token` | comes back in every reply | 256 bytes |
//! | `size` | bytes of a message | 64 MiB |
//! | `count` | messages | 1 to 1,000,000; with `rtts=true` 100,000 |
//! | `timeout` | ms for the whole test; 0: the longest there is | 1 h |
//! | `binary` | `true` or `false` (text) | |
//! | `sync` | `true`: one message at a time; `false`: as fast as the connection takes them | |
//! | `correctness` | `exact` or `length` | |
//! | `quantile_count` | quantiles in the result | 1000 |
//! | `rtts` | every sample in the result | |
//!
//! `stress_test` opens connections, one after another, and exchanges messages on each, one in flight:
//!
//! | parameter | what | not given | limit |
//! |---|---|---|---|
//! | `uri`, `token` | as above | required | |
//! | `connection_count` | connections | 1 | 1 to 20,000 |
//! | `handshake_delay` | ms from one open to the next | 10 | 60,000 |
//! | `msg_mode` | `none`, `fixed` (`msg_count` messages) or `infinite` (until the connection's time is up) | `fixed` | |
//! | `msg_count` | messages of each connection | 0 | 1,000,000 over all connections |
//! | `msg_size` | bytes of a message | 0 | 256 MiB over all connections, 64 MiB each |
//! | `con_lifetime` | `infinite` (until its messages are done), `fixed` (`con_duration`) or `random` (up to `con_duration`) | `infinite` | |
//! | `con_duration` | ms | 5000 | 1 h |

use std::fmt;
use std::time::Duration;

use super::uri::Uri;
use crate::load::options::Verify;

/// Most bytes of a command. URIs and tokens of the longest kind fit. Chosen, untested.
pub const COMMAND_BYTES_MAX: usize = 8192;

/// Longest time of a test. It ends then, whatever its parameters say.
pub const TEST_MAX: Duration = Duration::from_secs(3600);

/// Most messages of one test. Their times are kept until its end: 8 bytes each, and 16 in a `stress_test`.
pub const MESSAGES_MAX: u64 = 1_000_000;

/// Most messages of a test that returns every time: 1 MB of JSON.
pub const RTTS_MAX: u64 = 100_000;

/// Most bytes of one message: 64 MiB.
pub const SIZE_MAX: u64 = 64 << 20;

/// Most bytes of messages under way in a `stress_test`, over all connections: 256 MiB.
pub const STRESS_BYTES_MAX: u64 = 256 << 20;

/// Most connections of one `stress_test`: as many as one source address and a usual limit of descriptors allow.
pub const CONNECTIONS_MAX: u64 = 20_000;

/// Most quantiles of a result.
pub const QUANTILES_MAX: u64 = 1000;

/// Most bytes of a token.
const TOKEN_BYTES_MAX: usize = 256;

/// Longest time between two opens, in ms.
const DELAY_MS_MAX: u64 = 60_000;

/// The test that a command asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// One connection, whose answers are compared and timed.
    Message(MessageTest),
    /// Many connections, of which every step is timed.
    Stress(StressTest),
}

/// `message_test`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageTest {
    /// The server under test.
    pub uri: Uri,
    /// Text that comes back in every reply.
    pub token: String,
    /// Payload bytes of each message.
    pub size: usize,
    /// Number of messages.
    pub count: u64,
    /// Limit of the whole test.
    pub timeout: Duration,
    /// Binary messages instead of text.
    pub binary: bool,
    /// Sends the next message only after the answer.
    pub sync: bool,
    /// How answers are compared.
    pub correctness: Verify,
    /// Quantiles in the result.
    pub quantile_count: usize,
    /// Returns every sample in the result.
    pub rtts: bool,
}

/// `stress_test`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StressTest {
    /// The server under test.
    pub uri: Uri,
    /// Text that comes back in every reply.
    pub token: String,
    /// Number of connections.
    pub connection_count: usize,
    /// Time from one open to the next.
    pub handshake_delay: Duration,
    /// Messages of each connection.
    pub messages: Messages,
    /// Payload bytes of each message.
    pub msg_size: usize,
    /// How long each connection stays open.
    pub lifetime: Lifetime,
}

/// Messages of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Messages {
    /// This many.
    Fixed(u64),
    /// As many as fit into the connection's time.
    Infinite,
}

/// The life of one connection, from its opening handshake to our Close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Until its messages are done.
    Infinite,
    /// For this long, whether or not its messages are done.
    Fixed(Duration),
    /// A random time up to this one.
    Random(Duration),
}

/// Why a command is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The command's token, if it had one.
    pub token: String,
    /// The text of the original program: "Invalid Command" or `Invalid <key> parameter.`
    pub data: String,
    /// The reason, in a sentence.
    pub detail: String,
}

/// Parses a command. White space around it is ignored.
///
/// # Errors
/// The refusal to send as the answer.
pub fn parse(text: &str) -> Result<Test, Refusal> {
    let invalid = |detail: &str| Refusal {
        token: String::new(),
        data: "Invalid Command".to_owned(),
        detail: detail.to_owned(),
    };
    if text.len() > COMMAND_BYTES_MAX {
        return Err(invalid("it is longer than 8192 bytes"));
    }
    let Some((name, rest)) = text.trim().split_once(':') else {
        return Err(invalid("it has no ':' after its name"));
    };
    let test: fn(&mut Parameters<'_>) -> Result<Test, Wrong> = match name {
        "message_test" => message_test,
        "stress_test" => stress_test,
        _ => {
            return Err(invalid(
                "there is no such command; see message_test and stress_test",
            ));
        }
    };
    let (mut parameters, cut) = Parameters::cut(rest);
    let token = parameters.find("token").unwrap_or_default().to_owned();
    let found = cut.and_then(|()| test(&mut parameters));
    found.map_err(|Wrong { key, detail }| Refusal {
        token,
        data: format!("Invalid {key} parameter."),
        detail,
    })
}

/// A parameter that is missing or not allowed.
#[derive(Debug)]
struct Wrong {
    key: String,
    detail: String,
}

impl Wrong {
    fn new(key: &str, detail: impl Into<String>) -> Self {
        let (key, detail) = (key.to_owned(), detail.into());
        Self { key, detail }
    }
}

fn message_test(parameters: &mut Parameters<'_>) -> Result<Test, Wrong> {
    let token = parameters.token()?;
    let uri = parameters.uri()?;
    let size = parameters.length("size", SIZE_MAX)?;
    let rtts = parameters.boolean("rtts")?;
    let most = if rtts { RTTS_MAX } else { MESSAGES_MAX };
    let count = parameters.number("count", 1, most)?;
    let timeout = parameters.millis("timeout", TEST_MAX)?;
    let test = MessageTest {
        uri,
        token,
        size,
        count,
        timeout: if timeout.is_zero() { TEST_MAX } else { timeout },
        binary: parameters.boolean("binary")?,
        sync: parameters.boolean("sync")?,
        correctness: parameters.choice(
            "correctness",
            &[("exact", Verify::Exact), ("length", Verify::Length)],
        )?,
        quantile_count: parameters.length("quantile_count", QUANTILES_MAX)?,
        rtts,
    };
    parameters.nothing_left("message_test")?;
    Ok(Test::Message(test))
}

fn stress_test(parameters: &mut Parameters<'_>) -> Result<Test, Wrong> {
    let token = parameters.token()?;
    let uri = parameters.uri()?;
    parameters.set_default("connection_count", "1");
    parameters.set_default("handshake_delay", "10");
    parameters.set_default("msg_mode", "fixed");
    parameters.set_default("msg_count", "0");
    parameters.set_default("msg_size", "0");
    parameters.set_default("con_lifetime", "infinite");
    parameters.set_default("con_duration", "5000");
    let connections = parameters.number("connection_count", 1, CONNECTIONS_MAX)?;
    let delay_max = Duration::from_millis(DELAY_MS_MAX);
    let handshake_delay = parameters.millis("handshake_delay", delay_max)?;
    let count = parameters.number("msg_count", 0, MESSAGES_MAX / connections)?;
    let msg_size = parameters.length("msg_size", SIZE_MAX.min(STRESS_BYTES_MAX / connections))?;
    let messages = [
        ("none", Messages::Fixed(0)),
        ("fixed", Messages::Fixed(count)),
        ("infinite", Messages::Infinite),
    ];
    let messages = parameters.choice("msg_mode", &messages)?;
    let duration = parameters.millis("con_duration", TEST_MAX)?;
    let lifetimes = [
        ("infinite", Lifetime::Infinite),
        ("fixed", Lifetime::Fixed(duration)),
        ("random", Lifetime::Random(duration)),
    ];
    let lifetime = parameters.choice("con_lifetime", &lifetimes)?;
    if (messages, lifetime) == (Messages::Infinite, Lifetime::Infinite) {
        let detail = "with msg_mode=infinite it must be fixed or random, or the test would not end";
        return Err(Wrong::new("con_lifetime", detail));
    }
    parameters.nothing_left("stress_test")?;
    Ok(Test::Stress(StressTest {
        uri,
        token,
        connection_count: usize::try_from(connections).unwrap_or(usize::MAX),
        handshake_delay,
        messages,
        msg_size,
        lifetime,
    }))
}

/// Parameters that were not taken yet.
#[derive(Debug, Default)]
struct Parameters<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Parameters<'a> {
    /// Splits at each `;`, and each part at its first `=`. After an error the parameters before it are returned as well.
    fn cut(mut rest: &'a str) -> (Self, Result<(), Wrong>) {
        let mut found = Self::default();
        while !rest.is_empty() {
            let Some((parameter, after)) = rest.split_once(';') else {
                let key = rest.split('=').next().unwrap_or(rest);
                let wrong = Wrong::new(key, "it does not end with ';'");
                return (found, Err(wrong));
            };
            let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            if found.0.iter().any(|(other, _)| *other == key) {
                return (found, Err(Wrong::new(key, "it is given twice")));
            }
            found.0.push((key, value));
            rest = after;
        }
        (found, Ok(()))
    }

    /// The value of a parameter that is present and not empty.
    fn find(&self, key: &str) -> Option<&'a str> {
        let found = self.0.iter().find(|(other, _)| *other == key);
        found.map(|(_, value)| *value).filter(|v| !v.is_empty())
    }

    /// Adds the default of a parameter that is not given.
    fn set_default(&mut self, key: &'a str, value: &'a str) {
        if self.find(key).is_none() {
            self.0.retain(|(other, _)| *other != key);
            self.0.push((key, value));
        }
    }

    /// Takes a parameter's value.
    fn text(&mut self, key: &str) -> Result<&'a str, Wrong> {
        let value = self.find(key);
        self.0.retain(|(other, _)| *other != key);
        value.ok_or_else(|| Wrong::new(key, "it is required"))
    }

    fn token(&mut self) -> Result<String, Wrong> {
        let token = self.text("token")?;
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Wrong::new("token", "it is longer than 256 bytes"));
        }
        Ok(token.to_owned())
    }

    fn uri(&mut self) -> Result<Uri, Wrong> {
        Uri::parse(self.text("uri")?).map_err(|why| Wrong::new("uri", why))
    }

    /// Takes a number: decimal digits only.
    fn number(&mut self, key: &str, min: u64, max: u64) -> Result<u64, Wrong> {
        let text = self.text(key)?;
        let number = text.bytes().all(|b| b.is_ascii_digit());
        let number = number.then(|| text.parse::<u64>().ok()).flatten();
        number
            .filter(|n| (min..=max).contains(n))
            .ok_or_else(|| Wrong::new(key, format!("it must be a number from {min} to {max}")))
    }

    fn length(&mut self, key: &str, max: u64) -> Result<usize, Wrong> {
        let length = self.number(key, 0, max)?;
        Ok(usize::try_from(length).unwrap_or(usize::MAX))
    }

    fn millis(&mut self, key: &str, max: Duration) -> Result<Duration, Wrong> {
        let max = u64::try_from(max.as_millis()).unwrap_or(u64::MAX);
        self.number(key, 0, max).map(Duration::from_millis)
    }

    fn boolean(&mut self, key: &str) -> Result<bool, Wrong> {
        self.choice(key, &[("true", true), ("false", false)])
    }

    fn choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> Result<T, Wrong> {
        let text = self.text(key)?;
        let chosen = choices.iter().find(|(name, _)| *name == text);
        chosen.map(|(_, value)| *value).ok_or_else(|| {
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            Wrong::new(key, format!("it must be one of: {}", names.join(", ")))
        })
    }

    fn nothing_left(&self, command: &str) -> Result<(), Wrong> {
        match self.0.first() {
            None => Ok(()),
            Some((key, _)) => Err(Wrong::new(key, format!("{command} has no such parameter"))),
        }
    }
}

impl Test {
    /// Text that comes back in every reply.
    pub fn token(&self) -> &str {
        match self {
            Self::Message(test) => &test.token,
            Self::Stress(test) => &test.token,
        }
    }

    /// The server under test.
    pub const fn uri(&self) -> &Uri {
        match self {
            Self::Message(test) => &test.uri,
            Self::Stress(test) => &test.uri,
        }
    }
}

/// The command with every parameter written out.
impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(test) => test.fmt(f),
            Self::Stress(test) => test.fmt(f),
        }
    }
}

impl fmt::Display for MessageTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let correctness = match self.correctness {
            Verify::Exact => "exact",
            Verify::Length => "length",
        };
        write!(
            f,
            "message_test:uri={};token={};size={};count={};timeout={};binary={};sync={};correctness={correctness};\
             quantile_count={};rtts={};",
            self.uri,
            self.token,
            self.size,
            self.count,
            self.timeout.as_millis(),
            self.binary,
            self.sync,
            self.quantile_count,
            self.rtts,
        )
    }
}

impl fmt::Display for StressTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "stress_test:uri={};token={};connection_count={};handshake_delay={};msg_size={};",
            self.uri,
            self.token,
            self.connection_count,
            self.handshake_delay.as_millis(),
            self.msg_size,
        )?;
        match self.messages {
            Messages::Fixed(count) => write!(f, "msg_mode=fixed;msg_count={count};")?,
            Messages::Infinite => f.write_str("msg_mode=infinite;")?,
        }
        match self.lifetime {
            Lifetime::Infinite => f.write_str("con_lifetime=infinite;"),
            Lifetime::Fixed(time) => {
                write!(f, "con_lifetime=fixed;con_duration={};", time.as_millis())
            }
            Lifetime::Random(time) => {
                write!(f, "con_lifetime=random;con_duration={};", time.as_millis())
            }
        }
    }
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
