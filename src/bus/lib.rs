//! Publish and subscribe across the workers of a server: the parts that do no I/O.
//!
//! Owns: the log in shared memory and its doorbell, topics, history, queues of slow consumers, the messages of clients, rights.
//! Never: maps memory, makes a system call, reads a clock, starts a thread, or sends. Memory, instants and wake-ups come in from the
//! engine; bytes, events and counts go out to it.
//!
//! ```text
//!  a client's message                                                            to each subscriber
//!     │                                                                                  ▲
//!  pubsub (bytes → Request) ─▶ rights ─▶ log::Writer ═══ shared memory ═══▶ log::Reader  │ pubsub (Event → bytes)
//!                                          │      one log per worker            │        │
//!                                          ▼                                    ▼        │
//!                                   doorbell::Bells ──── rings ────▶ doorbell::Sleeper   │
//!                                                                               │        │
//!                                         history (replay, retained) ◀── topics ─▶ queue ┘
//!
//!  station: the rules that hold these together; the engine brings the log, the doorbell and the connections.
//! ```
//!
//! # Map
//!
//! - [`log`]: one writer, any number of readers. A reader that is too slow counts what it missed; a process that is killed leaves
//!   nothing that is misread.
//! - [`doorbell`]: wakes readers that sleep, and nobody else.
//! - [`wakes`]: the same for other threads of a worker's own process.
//! - [`topics`]: names, wildcards, who has subscribed.
//! - [`history`]: the last messages of each topic with offsets, and retained ones.
//! - [`queue`]: what waits for one subscriber, and what is dropped when it does not read.
//! - [`pubsub`]: requests and events, as JSON and in a binary layout.
//! - [`station`]: the service of one worker, made of all that: requests and records in, events and records out.
//! - [`api`]: what the HTTP API of a server asks its services, and under which names they are found.
//! - [`rights`]: who may publish and subscribe. `token` (a feature): the same from signed tokens.
//!
//! # The shared memory
//!
//! ```text
//!  log of worker 0, mapped for writing by worker 0 and for reading by all:
//!  ┌────────┬───────┬─────────────────────┬───────┬──────────────────────────────────────────────┐
//!  │ layout │ epoch │ claimed · published │ marks │ data: records, one behind the other, in laps │
//!  └────────┴───────┴─────────────────────┴───────┴──────────────────────────────────────────────┘
//!   64 bytes  64      64                    64      capacity_bytes
//!
//!  record:
//!  ┌───────────────────────────────────────┬──────────┬────────┬─────────┬────────┬─────────┐
//!  │ kind: 1 │ topic: 2 │ 0: 1 │ body: 4   │ sequence │ origin │ topic … │ body … │ filling │
//!  └───────────────────────────────────────┴──────────┴────────┴─────────┴────────┴─────────┘
//!   8 bytes, stored last                     8          8        to 8      to 8     to 16
//!
//!  bells, mapped for writing by all:
//!  ┌────────┬──────────┬──────────┬───┐
//!  │ layout │ reader 0 │ reader 1 │ … │    64 bytes each
//!  └────────┴──────────┴──────────┴───┘
//! ```
//!
//! # What it costs
//!
//! | what | memory | default |
//! |---|---|---|
//! | a log ([`log::Layout`]) | 256 bytes and `capacity_bytes`, shared | 4 MiB for each worker |
//! | a reader's buffer ([`log::RecordBuffer`]) | `record_bytes_max` of the largest log | 512 KiB for each worker |
//! | a doorbell ([`doorbell::memory_bytes`]) | 64 bytes, and 64 for all | |
//! | a topic or pattern with subscribers ([`topics::Limits`]) | about 160 bytes and its name twice | at most 100,000 |
//! | a subscription | about 115 bytes | at most 1,000,000, and 1,000 of one subscriber |
//! | the history ([`history::Limits`]) | `bytes_max` | 64 MiB |
//! | a queue ([`queue::Limits`]) | 16 bytes and the reference for each message that waits | at most 1,000 messages and 1 MiB |
//! | what waits for other workers ([`station::Limits`]) | about 100 bytes each | at most 100,000 publishes and 1,000 questions |
//! | a client of a station | about 120 bytes; 500 more while it is slow | |
//! | a reader of JSON ([`pubsub::Limits`]) | up to 40 times the largest request | at most 10 MiB for each worker |
//! | rights ([`rights::PATTERNS_MAX`]) | at most 33 KB; a few hundred bytes in practice | |
//!
//! After the start, log and doorbell allocate nothing. Both that and the figures above are held by tests (`tests/allocations.rs`,
//! `tests/memory.rs`).
//!
//! # How it is judged
//!
//! - loom tries every interleaving of small scenes, with every older value that a relaxed load may see; shuttle runs larger ones at random:
//!   `RUSTFLAGS="--cfg loom" cargo test -p ringway-bus --lib`, and the same with `shuttle`.
//! - Real processes are killed while they write and read (`tests/processes.rs`); in unit tests the writer is killed before each store.
//! - Topics, history and queues run against naive models, and stations with a bus between them that loses records and workers; requests,
//!   events and records run under the fuzz targets of `fuzz/bus.rs`.
#![forbid(unsafe_code)]
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

// Positions in shared memory are used as `usize`.
const _: () = assert!(usize::BITS == 64, "Ringway is for 64-bit Linux");

pub mod api;
mod atomic;
pub mod doorbell;
pub mod history;
pub mod log;
pub mod pubsub;
pub mod queue;
#[cfg(all(test, not(any(loom, shuttle))))]
mod random;
pub mod rights;
pub mod station;
#[cfg(feature = "token")]
pub mod token;
pub mod topics;
pub mod wakes;

pub use atomic::{AtomicU64, Words};
