//! Kernel settings for Ringway: knobs as data, a check of this machine, changes that can be undone, and measurements of
//! one knob at a time.
//!
//! Owns: the files of `tuning/` as data, the journal of changes, the namespaces of a measurement.
//! Never: changes a value before it has saved the previous one; changes the host's network for a measurement; serves a
//! client.
//!
//! 1. [`knob`] reads `tuning/*.toml`: path, reason, effect, risk, undo, and what each profile wants.
//! 2. `root` reads and writes the files behind the paths, below a given root.
//! 3. [`check`] compares; [`apply`] changes and undoes, with the `journal` between them.
//! 4. [`mod@bench`] measures knobs in network namespaces made for it.
//! 5. `command` is the command line.
#![forbid(unsafe_code)]

pub mod apply;
pub mod bench;
pub mod check;
mod command;
mod journal;
pub mod knob;
mod root;
mod value;

pub(crate) use command::{CODES, EXAMPLE, TuneArgs, run};
pub use knob::{Knob, Profile, Scope, Subject, subjects};
pub use root::Root;
pub use value::Want;
