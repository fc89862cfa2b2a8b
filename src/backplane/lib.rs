//! The backplane: several servers share their topics through a broker, NATS or Redis.
//!
//! Owns: the names of topics at the broker, the form of a message there, the connection to the broker and its recovery, and the counts
//! of what was carried and dropped. Never: maps memory, knows a connection of a client, or what the body of a message means.
//!
//! ```text
//!  FromBus ──▶ outbox (wanted subjects; a bounded queue) ──▶ Outward ──▶ broker
//!  ToBus  ◀── envelope · origin · seen ◀──────────────────── Inward ◀── broker
//! ```
//!
//! One [`run`] is one server. Its caller tells what to fetch and what to publish, and gets what the other servers have published:
//! each message once, in the order of its publisher, and none of its own. What is lost is counted ([`Counts`]) and told
//! ([`ToBus::Gap`]), at the server that lost it and, by a notice, at the others.
//!
//! - [`Interests`]: which workers want what, made into the least that is fetched.
//! - `subject`: topics and patterns as names at the broker. `envelope`: a message there. `seen`: the messages that came before.
//! - `outbox`: what waits for the broker. `bridge`: connects, recovers, hands on. `broker`: what a broker is.
//! - `nats`, `redis`: two of them, each a feature.
//!
//! | limit | default | memory |
//! |---|---|---|
//! | topics and patterns that are fetched ([`SUBJECTS_MAX`]) | 100,000 | 0.6 KB each; with NATS 6.5 KB, for a channel of the client |
//! | messages that wait for the broker ([`QUEUE_MESSAGES_MAX`], [`QUEUE_BYTES_MAX`]) | 16,384 and 16 MiB | as much |
//! | messages of the broker that wait for the bus | 4,096, and with NATS 4,096 more of each subject | as much |
//! | other servers whose messages are told apart ([`ORIGINS_MAX`]) | 256 | 8 KiB each |
#![forbid(unsafe_code)]
#![cfg_attr(
    not(all(feature = "nats", feature = "redis")),
    allow(dead_code, reason = "some parts are for one broker alone")
)]

mod bridge;
mod broker;
mod counts;
mod envelope;
mod interests;
#[cfg(test)]
mod memory;
#[cfg(feature = "nats")]
mod nats;
mod outbox;
#[cfg(feature = "redis")]
mod redis;
mod seen;
mod subject;
#[cfg(test)]
mod tests;

pub use bridge::{FromBus, Options, ToBus, check, run};
pub use counts::Counts;
pub use envelope::{Message, SPACE_BYTES_MAX};
pub use interests::{Change, Interests, SUBJECTS_MAX};
pub use outbox::{QUEUE_BYTES_MAX, QUEUE_MESSAGES_MAX};
pub use seen::ORIGINS_MAX;
pub use subject::{PREFIX_BYTES_MAX, is_prefix};

/// A start of a server: its messages carry it, so that it never takes its own ones.
pub type Origin = [u8; 16];
