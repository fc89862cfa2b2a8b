//! What the command lines of Ringway's programs share.
//!
//! - [`options`]: an option, defined once for the command line, TOML, `--help` and `--print-config`. [`kinds`]: the
//!   values that it may have.
//! - [`Text`]: a value as the user typed it. [`values`]: durations and sizes with units.
//! - [`judge`]: ranges of values, and the sentences for values outside them. [`endpoint`]: places to listen.
//! - `file`: TOML with known keys. [`output`]: results on stdout, messages on stderr.
//! - [`recording`]: sessions that were recorded, read to be played back.
#![forbid(unsafe_code)]

pub mod endpoint;
mod file;
pub mod judge;
pub mod kinds;
pub mod options;
pub mod output;
pub mod recording;
mod text;
pub mod values;

pub use text::Text;
