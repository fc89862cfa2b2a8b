//! What a worker counts, and how it tells the supervisor.
//!
//! Owns: the counters, the turn-time histogram, the record that crosses the pipe, and the worker's end of that pipe.
//! Never: opens a descriptor (it writes to a `File` it is given), reads a clock, prints.
//!
//! ```text
//!  worker                                                    supervisor
//!  Counters ─┐                                            ┌─ Counters of that moment
//!  TurnTimes ┴─ Reporter ── record ══ pipe ══ Decoder ────┴─ Histogram of the interval
//! ```
#![forbid(unsafe_code)]

pub mod block;
pub mod counters;
pub mod record;
pub mod reporter;
pub mod turns;

pub use counters::{CounterKind, Counters, Rates};
pub use record::{Decoder, Record, RecordError};
pub use reporter::{ReportError, Reported, Reporter};
pub use turns::TurnTimes;
