//! What a value may be: a time, a size, a count, a switch, one of a few words; with its range, its text in both directions, and
//! the sentence for a text that is none.
//!
//! Owns: that sentence. Never: knows which option it serves.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::values;

/// No timer runs longer: a day is further than any peer's patience.
pub const DAY: Duration = Duration::from_secs(24 * 3600);

/// Why a text is no value. What it says goes on where `--name` and the text itself stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// ` is not {expected}: {remedy}`.
    Not {
        /// What it would have to be.
        expected: String,
        /// What to do about it.
        remedy: String,
    },
    /// Anything else: what follows the text, with the blank or colon before it.
    Because(String),
}

impl Wrong {
    /// It is not what was expected.
    pub fn not(expected: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Not {
            expected: expected.into(),
            remedy: remedy.into(),
        }
    }
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Not { expected, remedy } => write!(f, " is not {expected}: {remedy}"),
            Self::Because(why) => f.write_str(why),
        }
    }
}

/// How an option is written that has no value behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bare {
    /// Not at all: it needs a value.
    Refused,
    /// It means this; a value may follow as the next word.
    Means(&'static str),
    /// It means `true`; a value follows an equals sign, because the next word may be something else.
    Switch,
}

/// A kind of values of type `V`.
pub trait Kind<V> {
    /// What stands for the value in `--help`.
    fn value_name(&self) -> &'static str;

    /// Reads a value.
    ///
    /// # Errors
    /// The text is none, or out of range.
    fn parse(&self, text: &str) -> Result<V, Wrong>;

    /// The text that [`Self::parse`] reads; `None` where nothing can be written that means it.
    fn show(&self, value: &V) -> Option<String>;

    /// What the option means without a value.
    fn bare(&self) -> Bare {
        Bare::Refused
    }
}

/// A time within a range.
#[derive(Clone, Debug)]
pub struct Time(pub RangeInclusive<Duration>);

impl Time {
    /// At least so long, and at most a day.
    pub const fn from(min: Duration) -> Self {
        Self(min..=DAY)
    }
}

impl Kind<Duration> for Time {
    fn value_name(&self) -> &'static str {
        "TIME"
    }

    fn parse(&self, text: &str) -> Result<Duration, Wrong> {
        let time = values::duration(text).filter(|time| self.0.contains(time));
        time.ok_or_else(|| {
            let [low, high] = [self.0.start(), self.0.end()].map(|end| values::show_duration(*end));
            Wrong::not(
                format!("a time from {low} to {high}"),
                "write it as 250ms, 10s or 1m",
            )
        })
    }

    fn show(&self, time: &Duration) -> Option<String> {
        Some(values::show_duration(*time))
    }
}

/// A whole number that a field can hold.
pub trait Number: Copy {
    /// None when it does not fit.
    fn of(number: u64) -> Option<Self>;
    /// As it is shown.
    fn to_u64(self) -> u64;
}

macro_rules! numbers {
    ($($number:ty)*) => {$(
        impl Number for $number {
            fn of(number: u64) -> Option<Self> {
                number.try_into().ok()
            }
            fn to_u64(self) -> u64 {
                u64::try_from(self).unwrap_or(u64::MAX)
            }
        }
    )*};
}

numbers!(i32 u32 u64 usize);

fn number<N: Number>(text: &str, range: &RangeInclusive<u64>) -> Option<N> {
    let number = values::size(text).filter(|number| range.contains(number));
    number.and_then(N::of)
}

/// Bytes within a range.
#[derive(Clone, Debug)]
pub struct Size(pub RangeInclusive<u64>);

impl<N: Number> Kind<N> for Size {
    fn value_name(&self) -> &'static str {
        "SIZE"
    }

    fn parse(&self, text: &str) -> Result<N, Wrong> {
        number(text, &self.0).ok_or_else(|| {
            let [low, high] = [self.0.start(), self.0.end()].map(|end| values::show_size(*end));
            Wrong::not(
                format!("a size from {low} to {high}"),
                "write it as 1000, 64KiB or 16MiB",
            )
        })
    }

    fn show(&self, size: &N) -> Option<String> {
        Some(values::show_size(size.to_u64()))
    }
}

/// A number within a range, and what to think of when choosing one.
#[derive(Clone, Debug)]
pub struct Count(pub RangeInclusive<u64>, pub &'static str);

impl<N: Number> Kind<N> for Count {
    fn value_name(&self) -> &'static str {
        "N"
    }

    fn parse(&self, text: &str) -> Result<N, Wrong> {
        number(text, &self.0).ok_or_else(|| {
            let (low, high) = (self.0.start(), self.0.end());
            Wrong::not(format!("a number from {low} to {high}"), self.1)
        })
    }

    fn show(&self, count: &N) -> Option<String> {
        Some(count.to_u64().to_string())
    }
}

/// A number that may have a fraction, or a suffix such as `50k`.
#[derive(Clone, Debug)]
pub struct Decimal(pub RangeInclusive<f64>);

impl Kind<f64> for Decimal {
    fn value_name(&self) -> &'static str {
        "RATE"
    }

    fn parse(&self, text: &str) -> Result<f64, Wrong> {
        #[expect(clippy::cast_precision_loss, reason = "nobody writes more digits")]
        let number = text
            .parse()
            .ok()
            .or_else(|| values::size(text).map(|number| number as f64));
        number
            .filter(|number| self.0.contains(number))
            .ok_or_else(|| {
                let (low, high) = (self.0.start(), self.0.end());
                let expected = format!("a number from {low} to {high}");
                Wrong::not(expected, "write it as 0.5, 1000 or 50k")
            })
    }

    fn show(&self, number: &f64) -> Option<String> {
        Some(number.to_string())
    }
}

/// A share of something.
#[derive(Clone, Copy, Debug)]
pub struct Share;

impl Kind<f64> for Share {
    fn value_name(&self) -> &'static str {
        "SHARE"
    }

    fn parse(&self, text: &str) -> Result<f64, Wrong> {
        let share = text.parse().ok();
        share
            .filter(|share| (0.0..=1.0).contains(share))
            .ok_or_else(|| Wrong::not("a share from 0 to 1", "write one per cent as 0.01"))
    }

    fn show(&self, share: &f64) -> Option<String> {
        Some(share.to_string())
    }
}

/// True or false; the option alone is true.
#[derive(Clone, Copy, Debug)]
pub struct Switch;

impl Kind<bool> for Switch {
    fn value_name(&self) -> &'static str {
        "BOOL"
    }

    fn parse(&self, text: &str) -> Result<bool, Wrong> {
        values::switch(text).ok_or_else(|| Wrong::not("true or false", "or leave the value off"))
    }

    fn show(&self, on: &bool) -> Option<String> {
        Some(on.to_string())
    }

    fn bare(&self) -> Bare {
        Bare::Switch
    }
}

/// A switch whose option turns something off.
#[derive(Clone, Copy, Debug)]
pub struct Without;

impl Kind<bool> for Without {
    fn value_name(&self) -> &'static str {
        Switch.value_name()
    }

    fn parse(&self, text: &str) -> Result<bool, Wrong> {
        Switch.parse(text).map(|off| !off)
    }

    fn show(&self, on: &bool) -> Option<String> {
        Switch.show(&!on)
    }

    fn bare(&self) -> Bare {
        Bare::Switch
    }
}

/// One of a few words, each with its meaning.
#[derive(Clone, Debug)]
pub struct Choice<V: 'static>(pub &'static str, pub &'static [(&'static str, V)]);

impl<V: Copy + PartialEq> Kind<V> for Choice<V> {
    fn value_name(&self) -> &'static str {
        self.0
    }

    fn parse(&self, text: &str) -> Result<V, Wrong> {
        let chosen = self.1.iter().find(|(name, _)| *name == text);
        chosen.map(|(_, value)| *value).ok_or_else(|| {
            let names: Vec<&str> = self.1.iter().map(|(name, _)| *name).collect();
            Wrong::not(format!("one of {}", names.join(", ")), "choose one of them")
        })
    }

    fn show(&self, value: &V) -> Option<String> {
        let chosen = self.1.iter().find(|(_, chosen)| chosen == value);
        chosen.map(|(name, _)| (*name).to_owned())
    }
}

/// Whatever two functions read and write.
#[derive(Clone, Copy, Debug)]
pub struct Words<V> {
    /// What stands for it in `--help`.
    pub value_name: &'static str,
    /// The value of a text, or what is wrong with it.
    pub parse: fn(&str) -> Result<V, Wrong>,
    /// Its text; `None` where nothing can be written that means it.
    pub show: fn(&V) -> Option<String>,
    /// What the option means without a value.
    pub bare: Bare,
}

impl<V> Kind<V> for Words<V> {
    fn value_name(&self) -> &'static str {
        self.value_name
    }

    fn parse(&self, text: &str) -> Result<V, Wrong> {
        (self.parse)(text)
    }

    fn show(&self, value: &V) -> Option<String> {
        (self.show)(value)
    }

    fn bare(&self) -> Bare {
        self.bare
    }
}

/// A value, or 0 for off.
#[derive(Clone, Copy, Debug)]
pub struct OrOff<K>(pub K);

impl<V, K: Kind<V>> Kind<Option<V>> for OrOff<K> {
    fn value_name(&self) -> &'static str {
        self.0.value_name()
    }

    fn parse(&self, text: &str) -> Result<Option<V>, Wrong> {
        if values::size(text) == Some(0) || values::duration(text) == Some(Duration::ZERO) {
            return Ok(None);
        }
        self.0.parse(text).map(Some).map_err(|wrong| match wrong {
            Wrong::Not { expected, remedy } => {
                Wrong::not(format!("{expected}, or 0 for off"), remedy)
            }
            other => other,
        })
    }

    fn show(&self, value: &Option<V>) -> Option<String> {
        match value {
            Some(value) => self.0.show(value),
            None => Some("0".to_owned()),
        }
    }
}

/// A value, or nothing, where something else decides: the kernel, or another option.
#[derive(Clone, Copy, Debug)]
pub struct Unless<K>(pub K);

impl<V, K: Kind<V>> Kind<Option<V>> for Unless<K> {
    fn value_name(&self) -> &'static str {
        self.0.value_name()
    }

    fn parse(&self, text: &str) -> Result<Option<V>, Wrong> {
        self.0.parse(text).map(Some)
    }

    fn show(&self, value: &Option<V>) -> Option<String> {
        value.as_ref().and_then(|value| self.0.show(value))
    }

    fn bare(&self) -> Bare {
        self.0.bare()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why<V>(kind: &impl Kind<V>, text: &str) -> String {
        let wrong = kind.parse(text).err().expect("no value");
        format!("{text}{wrong}")
    }

    #[test]
    fn a_value_out_of_range_is_told_the_range_and_the_remedy() {
        let time = Time::from(Duration::from_secs(1));
        assert_eq!(
            why(&time, "5x"),
            "5x is not a time from 1s to 24h: write it as 250ms, 10s or 1m"
        );
        assert_eq!(
            why(&OrOff(time), "10ms"),
            "10ms is not a time from 1s to 24h, or 0 for off: write it as 250ms, 10s or 1m"
        );
        assert_eq!(
            why::<u32>(&Count(1..=9, "few are best"), "10"),
            "10 is not a number from 1 to 9: few are best"
        );
        // What the field cannot hold is no panic and no other number.
        assert!(Kind::<u32>::parse(&Size(0..=u64::MAX), "5GiB").is_err());
    }

    #[test]
    fn what_is_shown_means_the_same() {
        let off = OrOff(Time::from(Duration::ZERO));
        for value in [None, Some(Duration::from_millis(250))] {
            let text = off.show(&value).expect("it can be written");
            assert_eq!(off.parse(&text), Ok(value));
        }
        assert_eq!(Without.show(&true).as_deref(), Some("false"));
        assert_eq!(Without.parse("true"), Ok(false));
        let kernel = Unless(Size(1..=100));
        assert_eq!(kernel.show(&None::<u32>), None);
        assert_eq!(kernel.parse("64"), Ok(Some(64_u32)));
    }
}
