//! What the command lines of Ringway's programs share.
//!
//! - [`options`]: an option defined once, for the command line, TOML, `--help` and `--print-config`. [`kinds`]: what its value may be.
//! - [`Text`]: a value as it was typed, on the command line or in TOML. [`values`]: durations and sizes with units.
//! - [`judge`]: ranges of values, and the sentences for those out of them. [`endpoint`]: places to listen.
//! - [`mod@file`]: the configuration file under the command line. [`output`]: results on stdout, talk on stderr.
#![forbid(unsafe_code)]

pub mod endpoint;
pub mod file;
pub mod judge;
pub mod kinds;
pub mod options;
pub mod output;
mod text;
pub mod values;

pub use text::Text;
