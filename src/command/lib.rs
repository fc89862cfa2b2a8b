//! What the command lines of Ringway's programs share.
//!
//! - [`options`]: an option defined once, for the command line, TOML, `--help` and `--print-config`. [`kinds`]: what its value may be.
//! - [`Text`]: a value as it was typed. [`values`]: durations and sizes with units.
//! - [`judge`]: ranges of values, and the sentences for those out of them. [`endpoint`]: places to listen.
//! - `file`: TOML with the keys that there are. [`output`]: results on stdout, talk on stderr.
#![forbid(unsafe_code)]

pub mod endpoint;
mod file;
pub mod judge;
pub mod kinds;
pub mod options;
pub mod output;
mod text;
pub mod values;

pub use text::Text;
