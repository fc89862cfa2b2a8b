//! The kinds of option values: a time, a size, a count, a switch, one of a few words. Each has its range, its text in
//! both directions, and the sentence for a text that is no such value.
//!
//! Owns: these sentences. Never: knows which option has the kind.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::values;

/// The longest time of an option: no peer waits longer than a day.
pub const DAY: Duration = Duration::from_secs(24 * 3600);

/// Why a text is no value. The sentence begins with `--name` and the text; this is the rest of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// ` is not {expected}: {remedy}`.
    Not {
        /// The values that would be right.
        expected: String,
        /// The remedy.
        remedy: String,
    },
    /// Any other reason: the rest of the sentence, with the blank or colon before it.
    Because(String),
}

impl Wrong {
    /// The text is not `expected`.
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

/// The meaning of an option without a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bare {
    /// None: the option needs a value.
    Refused,
    /// This value. Another one may follow as the next word.
    Means(&'static str),
    /// `true`. Another value follows an equals sign, because the next word may belong to something else.
    Switch,
}

/// A kind of values of type `V`.
pub trait Kind<V> {
    /// The placeholder for the value in `--help`.
    fn value_name(&self) -> &'static str;

    /// Parses a value.
    ///
    /// # Errors
    /// The text is no such value, or out of range.
    fn parse(&self, text: &str) -> Result<V, Wrong>;

    /// The text that [`Self::parse`] reads as `value`; `None` if there is no such text.
    fn show(&self, value: &V) -> Option<String>;

    /// The meaning of the option without a value.
    fn bare(&self) -> Bare {
        Bare::Refused
    }
}

/// A time within a range.
#[derive(Clone, Debug)]
pub struct Time(pub RangeInclusive<Duration>);

impl Time {
    /// A time of at least `min` and at most a day.
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
    /// Converts `number`; `None` if it does not fit.
    fn of(number: u64) -> Option<Self>;
    /// The number, to be shown.
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

numbers!(u8 i32 u32 u64 usize);

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

/// A number within a range, and a hint for choosing one.
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

/// A share, from 0 to 1.
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

/// True or false. The option without a value is true.
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

/// A switch whose option turns a feature off.
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

/// One of a few words, each of which stands for a value.
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

/// Any values, read and written by two functions.
#[derive(Clone, Copy, Debug)]
pub struct Words<V> {
    /// The placeholder for the value in `--help`.
    pub value_name: &'static str,
    /// Parses a text; the error is the reason.
    pub parse: fn(&str) -> Result<V, Wrong>,
    /// The text of a value; `None` if there is no such text.
    pub show: fn(&V) -> Option<String>,
    /// The meaning of the option without a value.
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

/// A value, or 0 for "off".
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

/// A value, or none: then the kernel or another option decides.
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

/// A file, by its path.
pub const FILE: Words<PathBuf> = Words {
    value_name: "FILE",
    parse: |name| Ok(PathBuf::from(name)),
    show: |path| Some(path.display().to_string()),
    bare: Bare::Refused,
};

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
        // A value that the field cannot hold leads to an error, not to a panic or another number.
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
