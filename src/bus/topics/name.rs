//! Names of topics, and patterns of names.

use std::fmt;

/// Bytes of a name or a pattern. So a topic's memory is bounded, and its length fits into a byte of the binary protocol.
pub const TOPIC_BYTES_MAX: usize = 255;
/// Segments of a name or a pattern: the depth of the tree of patterns, and of the recursion through it.
pub const SEGMENTS_MAX: usize = 16;

/// A name without wildcards: what messages are published under.
///
/// ```
/// use ringway_bus::topics::Topic;
///
/// assert!(Topic::parse("prices/eur/spot").is_ok());
/// assert!(Topic::parse("prices/+/spot").is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Topic<'a>(&'a str);

impl<'a> Topic<'a> {
    /// Checks a name.
    ///
    /// # Errors
    /// It is empty, too long, has too many segments, control characters, or wildcards.
    pub fn parse(name: &'a str) -> Result<Self, BadTopic> {
        check(name)?;
        if name.contains(['+', '#']) {
            return Err(BadTopic::Wildcard);
        }
        Ok(Self(name))
    }

    /// The name.
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// Its segments, at least one.
    pub fn segments(self) -> impl Iterator<Item = &'a str> + Clone {
        self.0.split('/')
    }

    /// Topics whose name begins with `$` are the server's own; no wildcard in the first segment matches them.
    pub fn is_system(self) -> bool {
        self.0.starts_with('$')
    }
}

/// A name that may have wildcards: what is subscribed to, and what rights are given for.
///
/// ```
/// use ringway_bus::topics::{Pattern, Topic};
///
/// let topic = Topic::parse("prices/eur/spot").unwrap();
/// let matches = |pattern| Pattern::parse(pattern).unwrap().matches(topic);
/// assert!(matches("prices/+/spot"));
/// assert!(matches("prices/#"));
/// assert!(matches("prices/eur/spot/#"));
/// assert!(!matches("prices/+"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pattern<'a>(&'a str);

impl<'a> Pattern<'a> {
    /// Checks a pattern.
    ///
    /// # Errors
    /// As for [`Topic::parse`], or a wildcard is only a part of its segment, or `#` is not the last one.
    pub fn parse(pattern: &'a str) -> Result<Self, BadTopic> {
        check(pattern)?;
        let mut segments = pattern.split('/').peekable();
        while let Some(segment) = segments.next() {
            let is_last = segments.peek().is_none();
            let is_wildcard = segment == "+" || (segment == "#" && is_last);
            if !is_wildcard && segment.contains(['+', '#']) {
                return Err(BadTopic::WildcardMisplaced);
            }
        }
        Ok(Self(pattern))
    }

    /// The pattern.
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// Its segments, at least one.
    pub fn segments(self) -> impl Iterator<Item = &'a str> + Clone {
        self.0.split('/')
    }

    /// The name that this pattern is if it has no wildcard.
    pub fn as_topic(self) -> Option<Topic<'a>> {
        (!self.0.contains(['+', '#'])).then_some(Topic(self.0))
    }

    /// Whether a topic is one of those that are meant.
    pub fn matches(self, topic: Topic<'_>) -> bool {
        self.covers(Pattern(topic.0))
    }

    /// Whether this pattern matches every topic that the other one matches: a right for the one is a right for the other.
    pub fn covers(self, other: Pattern<'_>) -> bool {
        if other.0.starts_with('$') && self.0.starts_with(['+', '#']) {
            return false;
        }
        let mut theirs = other.segments();
        for ours in self.segments() {
            match (ours, theirs.next()) {
                ("#", _) => return true,
                ("+", Some(segment)) if segment != "#" => {}
                (ours, Some(segment)) if ours == segment && segment != "#" => {}
                _ => return false,
            }
        }
        theirs.next().is_none()
    }
}

fn check(name: &str) -> Result<(), BadTopic> {
    if name.is_empty() {
        return Err(BadTopic::Empty);
    }
    if name.len() > TOPIC_BYTES_MAX {
        return Err(BadTopic::TooLong);
    }
    if name.split('/').count() > SEGMENTS_MAX {
        return Err(BadTopic::TooManySegments);
    }
    if name.chars().any(char::is_control) {
        return Err(BadTopic::ControlCharacter);
    }
    Ok(())
}

/// Why something is no topic or no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BadTopic {
    /// A control character.
    ControlCharacter,
    /// No name at all.
    Empty,
    /// Above [`TOPIC_BYTES_MAX`].
    TooLong,
    /// Above [`SEGMENTS_MAX`].
    TooManySegments,
    /// A wildcard where a name is wanted.
    Wildcard,
    /// A wildcard beside other characters in its segment, or `#` before the last segment.
    WildcardMisplaced,
}

impl fmt::Display for BadTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ControlCharacter => write!(f, "a topic has no control characters"),
            Self::Empty => write!(f, "a topic has at least one character"),
            Self::TooLong => write!(f, "a topic has at most {TOPIC_BYTES_MAX} bytes"),
            Self::TooManySegments => write!(f, "a topic has at most {SEGMENTS_MAX} segments"),
            Self::Wildcard => write!(f, "a wildcard is no name to publish under"),
            Self::WildcardMisplaced => {
                write!(f, "'+' and '#' are whole segments, and '#' is the last one")
            }
        }
    }
}

impl std::error::Error for BadTopic {}
