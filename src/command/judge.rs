//! Checks of option values: the range of each, and the sentence for a value outside it.
//!
//! Owns: the sentences, which name the option, the value and the remedy. Never: knows which program calls.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::Text;
use crate::kinds::{Count, Kind, Size, Switch, Time};

/// A value that cannot be used: one sentence with the reason and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadOption(pub String);

impl std::fmt::Display for BadOption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A checked value, or the sentence for the user.
pub type Resolved<T> = Result<T, BadOption>;

/// Replaces the value in `place` if there is a new one.
pub fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

/// Parses a value of `kind`. `None` if no text was given.
///
/// # Errors
/// The text is no such value.
pub fn value<V>(name: &str, text: &Option<Text>, kind: &impl Kind<V>) -> Resolved<Option<V>> {
    let Some(Text(text)) = text else {
        return Ok(None);
    };
    let value = kind.parse(text).map(Some);
    value.map_err(|wrong| BadOption(format!("--{name} {text}{wrong}")))
}

/// Parses a switch.
///
/// # Errors
/// The text is neither true nor false.
pub fn switch(name: &str, text: &Option<Text>) -> Resolved<Option<bool>> {
    value(name, text, &Switch)
}

/// Parses one of a few words.
///
/// # Errors
/// The text is none of them.
pub fn choice<T: Copy>(
    name: &str,
    text: &Option<Text>,
    choices: &[(&str, T)],
) -> Resolved<Option<T>> {
    let Some(Text(value)) = text else {
        return Ok(None);
    };
    let names = choices
        .iter()
        .map(|(name, _)| *name)
        .collect::<Vec<_>>()
        .join(", ");
    match choices.iter().find(|(name, _)| name == value) {
        Some((_, chosen)) => Ok(Some(*chosen)),
        None => Err(bad(
            name,
            text,
            &format!("one of {names}"),
            "choose one of them",
        )),
    }
}

/// Parses a whole number, with decimal or binary suffix.
///
/// # Errors
/// The text is no number, or out of `range`.
pub fn whole(
    name: &str,
    text: &Option<Text>,
    range: RangeInclusive<u64>,
    why: &'static str,
) -> Resolved<Option<u64>> {
    value(name, text, &Count(range, why))
}

/// Parses a size in bytes.
///
/// # Errors
/// The text is no size, or out of `range`.
pub fn bytes(name: &str, text: &Option<Text>, range: RangeInclusive<u64>) -> Resolved<Option<u64>> {
    value(name, text, &Size(range))
}

/// Parses a time of at least `min` and at most a day.
///
/// # Errors
/// The text is no time, or out of that range.
pub fn time(name: &str, text: &Option<Text>, min: Duration) -> Resolved<Option<Duration>> {
    value(name, text, &Time::from(min))
}

/// Parses a time.
///
/// # Errors
/// The text is no time, or out of `range`.
pub fn time_within(
    name: &str,
    text: &Option<Text>,
    range: RangeInclusive<Duration>,
) -> Resolved<Option<Duration>> {
    value(name, text, &Time(range))
}

/// The sentence for a value that cannot be used.
pub fn bad(name: &str, text: &Option<Text>, expected: &str, remedy: &str) -> BadOption {
    let value = text.as_ref().map_or("", |Text(value)| value);
    BadOption(format!("--{name} {value} is not {expected}: {remedy}"))
}

/// Converts a number that was checked to fit. One that does not fit becomes the largest `usize`.
pub fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
