//! A value of an option before it is checked.
//!
//! Owns: its type in clap. Never: knows what a value means.

use std::str::FromStr;

/// A value as the user typed it. It is checked later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(pub String);

impl FromStr for Text {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}
