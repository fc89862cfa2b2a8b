//! A value of an option before anybody has judged it.
//!
//! Owns: its place in clap. Never: knows what a value means.

use std::str::FromStr;

/// A value as it was typed, judged later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(pub String);

impl FromStr for Text {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}
