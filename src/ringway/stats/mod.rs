//! The counters of a worker, and how it reports them to the supervisor.
//!
//! Owns: the counters, the turn-time histogram, the record in the pipe, and the worker's end of that pipe. Never: opens
//! a descriptor (its caller passes a `File`), reads a clock, prints.
//!
//! ```text
//!  worker                                                    supervisor
//!  Counters ─┐                                            ┌─ Counters of that moment
//!  TurnTimes ┴─ Reporter ── record ══ pipe ══ Decoder ────┴─ Histogram of the interval
//! ```
#![forbid(unsafe_code)]

pub mod block;
pub mod bridge;
pub mod counters;
pub mod record;
pub mod reporter;
pub mod sidecar;
pub mod turns;
pub mod web;

pub use counters::{CounterKind, Counters, Rates};
pub use record::{Decoder, Record, RecordError};
pub use reporter::{ReportError, Reported, Reporter};
pub use turns::TurnTimes;
