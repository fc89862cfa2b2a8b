//! What is made of an [`Outcome`](super::outcome::Outcome): text for people, files for programs, pages, comparisons.
//!
//! Owns: every form of a result. Never: measures, or reads a clock.

pub mod hdr;
