//! Everything made from an [`Outcome`](super::outcome::Outcome): tables for people, JSON for programs, pages,
//! comparisons.
//!
//! - [`table`]: for people, 80 columns wide; [`json`]: one line for programs, and back.
//! - [`hdr`]: latency distributions as HdrHistogram text and interval logs; [`html`]: a page with plots.
//! - [`compare`]: what changed between two sets of results, and whether it is more than noise.
//! - [`sweep`]: the highest rate at which a bound holds, as a search and as a curve.
//! - [`files`]: all files written besides the printed result.
//!
//! Owns: every form of a result. Never: measures, or reads a clock.

pub mod compare;
pub mod files;
pub mod hdr;
pub mod html;
pub mod json;
pub mod sweep;
pub mod table;

mod charts;
mod page;
mod plot;
#[cfg(test)]
mod samples;
mod scale;
mod units;
