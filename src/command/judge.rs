//! Values of options, judged: the range of each, and the sentence for what is out of it.
//!
//! Owns: the sentences, which name the option, the value and the remedy. Never: knows which program asks.

use std::time::Duration;

use crate::Text;
use crate::values;

/// A value that cannot be used: one sentence with the cause and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadOption(pub String);

impl std::fmt::Display for BadOption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A value in order, or the sentence for the user.
pub type Resolved<T> = Result<T, BadOption>;

/// No timer runs longer: a day is further than any peer's patience.
const TIME_MAX: Duration = Duration::from_secs(24 * 3600);

/// Takes a value that was given.
pub fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

/// A switch.
///
/// # Errors
/// It is neither true nor false.
pub fn switch(name: &str, text: &Option<Text>) -> Resolved<Option<bool>> {
    let Some(Text(value)) = text else {
        return Ok(None);
    };
    values::switch(value)
        .map(Some)
        .ok_or_else(|| bad(name, text, "true or false", "or leave the value off"))
}

/// One of a few words.
///
/// # Errors
/// It is none of them.
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

/// A whole number, with decimal or binary suffix.
///
/// # Errors
/// It is none, or out of `range`.
pub fn whole(
    name: &str,
    text: &Option<Text>,
    range: std::ops::RangeInclusive<u64>,
    why: &str,
) -> Resolved<Option<u64>> {
    let Some(Text(value)) = text else {
        return Ok(None);
    };
    match values::size(value).filter(|number| range.contains(number)) {
        Some(number) => Ok(Some(number)),
        None => Err(bad(
            name,
            text,
            &format!("a number from {} to {}", range.start(), range.end()),
            why,
        )),
    }
}

/// A size in bytes.
///
/// # Errors
/// It is none, or out of `range`.
pub fn bytes(
    name: &str,
    text: &Option<Text>,
    range: std::ops::RangeInclusive<u64>,
) -> Resolved<Option<u64>> {
    let Some(Text(value)) = text else {
        return Ok(None);
    };
    match values::size(value).filter(|number| range.contains(number)) {
        Some(number) => Ok(Some(number)),
        None => {
            let (low, high) = (
                values::show_size(*range.start()),
                values::show_size(*range.end()),
            );
            Err(bad(
                name,
                text,
                &format!("a size from {low} to {high}"),
                "write it as 1000, 64KiB or 16MiB",
            ))
        }
    }
}

/// A time of at least `min` and at most a day.
///
/// # Errors
/// It is none, or out of that range.
pub fn time(name: &str, text: &Option<Text>, min: Duration) -> Resolved<Option<Duration>> {
    time_within(name, text, min..=TIME_MAX)
}

/// A time.
///
/// # Errors
/// It is none, or out of `range`.
pub fn time_within(
    name: &str,
    text: &Option<Text>,
    range: std::ops::RangeInclusive<Duration>,
) -> Resolved<Option<Duration>> {
    let Some(Text(value)) = text else {
        return Ok(None);
    };
    match values::duration(value).filter(|time| range.contains(time)) {
        Some(time) => Ok(Some(time)),
        None => {
            let (low, high) = (
                values::show_duration(*range.start()),
                values::show_duration(*range.end()),
            );
            Err(bad(
                name,
                text,
                &format!("a time from {low} to {high}"),
                "write it as 250ms, 10s or 1m",
            ))
        }
    }
}

/// The sentence for a value that cannot be used.
pub fn bad(name: &str, text: &Option<Text>, expected: &str, remedy: &str) -> BadOption {
    let value = text.as_ref().map_or("", |Text(value)| value);
    BadOption(format!("--{name} {value} is not {expected}: {remedy}"))
}

/// A number that was checked to fit; the largest there is if it was not.
pub fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
