//! The condition that a profile sets for a value, and whether a value meets it.
//!
//! Owns: the operators and their arithmetic. Never: reads a file. Values are text as the kernel prints it, normalised by
//! [`normal`].

use serde::{Deserialize, Deserializer};

/// The condition for a value. Several numbers in one file (`tcp_rmem`) are compared column by column.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Want {
    /// Every column at least this; `-` leaves a column free.
    AtLeast(Columns),
    /// Every column at most this; `-` leaves a column free.
    AtMost(Columns),
    /// This text.
    Exactly(Word),
    /// One of these texts; the first is what `apply` writes.
    OneOf(Vec<Word>),
    /// A range of two numbers that includes this one.
    Covers([u64; 2]),
}

impl Want {
    /// Whether `value` meets the condition. A value that this operator cannot parse does not.
    pub fn holds(&self, value: &str) -> bool {
        match self {
            Self::AtLeast(least) => {
                columns(value).is_some_and(|now| least.all(&now, |now, least| now >= least))
            }
            Self::AtMost(most) => {
                columns(value).is_some_and(|now| most.all(&now, |now, most| now <= most))
            }
            Self::Exactly(word) => word.0 == value,
            Self::OneOf(words) => words.iter().any(|word| word.0 == value),
            Self::Covers([low, high]) => {
                range(value).is_some_and(|[from, to]| from <= *low && to >= *high)
            }
        }
    }

    /// The value to write so that the condition holds. Columns and ends of ranges that meet it already, or that it leaves
    /// free, keep their values. `None` if this operator cannot parse `value`.
    pub fn target(&self, value: &str) -> Option<String> {
        match self {
            Self::AtLeast(least) => least.merge(&columns(value)?, u64::max),
            Self::AtMost(most) => most.merge(&columns(value)?, u64::min),
            Self::Exactly(word) => Some(word.0.clone()),
            Self::OneOf(words) => words.first().map(|word| word.0.clone()),
            Self::Covers([low, high]) => {
                let [from, to] = range(value)?;
                Some(format!("{} {}", from.min(*low), to.max(*high)))
            }
        }
    }
}

impl std::fmt::Display for Want {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, "at least {least}"),
            Self::AtMost(most) => write!(f, "at most {most}"),
            Self::Exactly(word) => write!(f, "{}", word.0),
            Self::OneOf(words) => {
                let words: Vec<_> = words.iter().map(|word| word.0.as_str()).collect();
                write!(f, "{}", words.join(" or "))
            }
            Self::Covers([low, high]) => write!(f, "a range over {low} to {high}"),
        }
    }
}

/// The number for each column. `None`: the column is free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns(Vec<Option<u64>>);

impl Columns {
    fn all(&self, now: &[u64], holds: impl Fn(u64, u64) -> bool) -> bool {
        let fits = |(now, wanted): (&u64, &Option<u64>)| wanted.is_none_or(|w| holds(*now, w));
        self.0.len() == now.len() && now.iter().zip(&self.0).all(fits)
    }

    fn merge(&self, now: &[u64], choose: impl Fn(u64, u64) -> u64) -> Option<String> {
        if self.0.len() != now.len() {
            return None;
        }
        let column = |(now, wanted): (&u64, &Option<u64>)| wanted.map_or(*now, |w| choose(*now, w));
        let merged = now.iter().zip(&self.0).map(column);
        let merged: Vec<_> = merged.map(|number| number.to_string()).collect();
        Some(merged.join(" "))
    }
}

impl std::fmt::Display for Columns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let show = |column: &Option<u64>| column.map_or_else(|| "-".to_owned(), |n| n.to_string());
        f.write_str(&self.0.iter().map(show).collect::<Vec<_>>().join(" "))
    }
}

impl<'de> Deserialize<'de> for Columns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Word(text) = Word::deserialize(deserializer)?;
        let column = |word: &str| match word {
            "-" => Ok(None),
            digits => digits.parse().map(Some),
        };
        let columns: Result<Vec<_>, _> = text.split_whitespace().map(column).collect();
        match columns {
            Ok(columns) if columns.iter().any(Option::is_some) => Ok(Self(columns)),
            _ => Err(serde::de::Error::custom(format!(
                "'{text}' is no number, and no numbers and '-' with blanks between them"
            ))),
        }
    }
}

/// A value in a file of knobs: a text, or a number without quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word(String);

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a string or a whole number")]
        enum Plain {
            Number(u64),
            Text(String),
        }
        Ok(Self(match Plain::deserialize(deserializer)? {
            Plain::Number(number) => number.to_string(),
            Plain::Text(text) => text,
        }))
    }
}

/// Normalises a value: single blanks between words, and for a choice (`always [madvise] never`) the chosen word.
pub(super) fn normal(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    let chosen = words
        .iter()
        .find_map(|word| word.strip_prefix('[')?.strip_suffix(']'));
    chosen.map_or_else(|| words.join(" "), str::to_owned)
}

fn columns(value: &str) -> Option<Vec<u64>> {
    let column = |word: &str| match word {
        "unlimited" => Some(u64::MAX),
        digits => digits.parse().ok(),
    };
    let columns: Option<Vec<_>> = value.split_whitespace().map(column).collect();
    columns.filter(|columns| !columns.is_empty())
}

fn range(value: &str) -> Option<[u64; 2]> {
    columns(value)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn want(toml: &str) -> Want {
        toml::from_str::<std::collections::BTreeMap<String, Want>>(&format!("want = {toml}"))
            .expect("a want")
            .remove("want")
            .expect("it is there")
    }

    #[test]
    fn at_least_raises_what_is_below_and_lowers_nothing() {
        let least = want("{ at_least = 8192 }");
        assert!(!least.holds("4096"));
        assert!(least.holds("8192"));
        assert!(least.holds("unlimited"));
        assert_eq!(least.target("4096").as_deref(), Some("8192"));
        let columns = want("{ at_least = \"- 16384 4194304\" }");
        assert!(columns.holds("4096 16384 4194304"));
        assert!(!columns.holds("4096 87380 4194303"));
        assert_eq!(
            columns.target("4096 87380 1000").as_deref(),
            Some("4096 87380 4194304")
        );
    }

    #[test]
    fn at_most_lowers_what_is_above_and_raises_nothing() {
        let most = want("{ at_most = \"4096 131072 6291456\" }");
        assert!(most.holds("4096 87380 6291456"));
        assert!(!most.holds("4096 131072 33554432"));
        assert_eq!(
            most.target("2048 131072 33554432").as_deref(),
            Some("2048 131072 6291456")
        );
    }

    #[test]
    fn a_range_is_widened_to_both_sides_only_as_far_as_asked() {
        let covers = want("{ covers = [10240, 65535] }");
        assert!(covers.holds("1024 65535"));
        assert!(!covers.holds("32768 60999"));
        assert_eq!(covers.target("32768 60999").as_deref(), Some("10240 65535"));
        assert_eq!(covers.target("1024 60999").as_deref(), Some("1024 65535"));
    }

    #[test]
    fn one_of_writes_its_first_and_exactly_its_only_word() {
        let one = want("{ one_of = [\"madvise\", \"never\"] }");
        assert!(one.holds("never"));
        assert!(!one.holds("always"));
        assert_eq!(one.target("always").as_deref(), Some("madvise"));
        let exactly = want("{ exactly = 0 }");
        assert!(exactly.holds("0"));
        assert!(!exactly.holds("00"));
        assert_eq!(exactly.target("2").as_deref(), Some("0"));
    }

    #[test]
    fn a_value_of_another_form_neither_holds_nor_has_a_target() {
        for want in [
            want("{ at_least = 1 }"),
            want("{ at_most = 9 }"),
            want("{ covers = [1, 2] }"),
        ] {
            for value in ["", "many", "-1", "1 2 3", "1.5"] {
                assert!(!want.holds(value), "{want}: {value}");
                assert_eq!(want.target(value), None, "{want}: {value}");
            }
        }
    }

    #[test]
    fn what_is_no_want_is_refused() {
        for text in [
            "{ at_least = \"\" }",
            "{ at_least = \"-\" }",
            "{ at_least = \"5k\" }",
            "{ at_least = -1 }",
            "{ about = 5 }",
            "{ covers = [1] }",
        ] {
            let parsed = toml::from_str::<std::collections::BTreeMap<String, Want>>(&format!(
                "want = {text}"
            ));
            assert!(parsed.is_err(), "{text}");
        }
    }

    #[test]
    fn the_kernels_forms_become_one() {
        assert_eq!(normal("4096\t131072\t6291456\n"), "4096 131072 6291456");
        assert_eq!(normal("always [madvise] never\n"), "madvise");
        assert_eq!(normal("\n"), "");
    }
}
