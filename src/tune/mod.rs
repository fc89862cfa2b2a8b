//! What the kernel is told for Ringway's sake: knobs as data, a look at this machine, and changes with a way back.
//!
//! Owns: the files of `tuning/` as data, the journal of changes. Never: changes a value that it has not saved before;
//! serves a client.
//!
//! 1. [`knob`] reads `tuning/*.toml`: path, reason, effect, risk, undo, and what each profile wants.
//! 2. `root` reads and writes the files behind the paths, below any root.
//! 3. [`check`] compares; [`apply`] changes and undoes, with the `journal` between them.
#![forbid(unsafe_code)]

pub mod apply;
pub mod check;
mod journal;
pub mod knob;
mod root;
mod value;

pub use knob::{Knob, Profile, Scope, Subject, subjects};
pub use root::Root;
pub use value::Want;
