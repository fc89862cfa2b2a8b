//! Who may publish to which topics, and subscribe to which.
//!
//! Owns: lists of patterns and the question whether they cover what a client asks for.
//! Never: knows where a client's rights come from; `token` reads them from a signed token.
//!
//! | limit | default | memory |
//! |---|---|---|
//! | patterns of one list | 64 | at most 255 bytes each; rights are shared by all clients that have the same, or kept per connection |

use std::fmt;

use crate::topics::{BadTopic, Pattern, Topic};

/// Patterns of one list: each subscription is compared with all of them.
pub const PATTERNS_MAX: usize = 64;

/// Stands for the subject of the client's token in a pattern of the configuration: `users/{sub}/#`.
pub const SUBJECT: &str = "{sub}";

/// What a client may do. The default is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    publish: List,
    subscribe: List,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct List(Box<[Box<str>]>);

impl Rights {
    /// Rights to publish and to subscribe to what these patterns match.
    ///
    /// # Errors
    /// One is no pattern, or there are too many.
    pub fn new<S: AsRef<str>>(publish: &[S], subscribe: &[S]) -> Result<Self, BadRights> {
        Ok(Self {
            publish: List::new(publish)?,
            subscribe: List::new(subscribe)?,
        })
    }

    /// Whether a client may publish to a topic.
    pub fn may_publish(&self, topic: Topic<'_>) -> bool {
        self.publish.patterns().any(|own| own.matches(topic))
    }

    /// Whether a client may subscribe to a pattern, and ask for the presence of its topics: one right has to cover all that it matches.
    pub fn may_subscribe(&self, pattern: Pattern<'_>) -> bool {
        self.subscribe.patterns().any(|own| own.covers(pattern))
    }

    /// These rights with other lists where there are any.
    ///
    /// # Errors
    /// As for [`Self::new`].
    pub fn with_lists(
        &self,
        publish: Option<&[String]>,
        subscribe: Option<&[String]>,
    ) -> Result<Self, BadRights> {
        let list =
            |own: &List, other: Option<&[String]>| other.map_or_else(|| Ok(own.clone()), List::new);
        Ok(Self {
            publish: list(&self.publish, publish)?,
            subscribe: list(&self.subscribe, subscribe)?,
        })
    }

    /// These rights for one client: [`SUBJECT`] becomes the client's name. Patterns with it grant nothing to a client without a name.
    ///
    /// # Errors
    /// The name is not one segment of a topic, so it could widen the right; or the pattern becomes too long with it.
    pub fn for_subject(&self, subject: Option<&str>) -> Result<Self, BadRights> {
        if let Some(subject) = subject {
            let is_segment =
                !subject.contains(['/', '+', '#', '{', '}']) && !subject.starts_with('$');
            if !is_segment || Topic::parse(subject).is_err() {
                return Err(BadRights::SubjectInvalid);
            }
        }
        Ok(Self {
            publish: self.publish.for_subject(subject)?,
            subscribe: self.subscribe.for_subject(subject)?,
        })
    }
}

impl List {
    fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self, BadRights> {
        if patterns.len() > PATTERNS_MAX {
            return Err(BadRights::TooMany);
        }
        let check = |pattern: &S| {
            let pattern = pattern.as_ref();
            Pattern::parse(pattern).map_err(|fault| BadRights::Pattern {
                pattern: pattern.chars().take(64).collect(),
                fault,
            })?;
            Ok(pattern.into())
        };
        patterns
            .iter()
            .map(check)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Checked when they were made; what does not parse grants nothing. A pattern whose [`SUBJECT`] was not replaced grants nothing either.
    fn patterns(&self) -> impl Iterator<Item = Pattern<'_>> {
        let named = self.0.iter().filter(|pattern| !pattern.contains(SUBJECT));
        named.filter_map(|pattern| Pattern::parse(pattern).ok())
    }

    fn for_subject(&self, subject: Option<&str>) -> Result<Self, BadRights> {
        let kept = self.0.iter().filter_map(|pattern| match subject {
            Some(subject) => Some(pattern.replace(SUBJECT, subject)),
            None => (!pattern.contains(SUBJECT)).then(|| pattern.to_string()),
        });
        Self::new(&kept.collect::<Vec<_>>())
    }
}

/// Why lists of patterns are no rights.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadRights {
    /// One of them is no pattern.
    Pattern {
        /// Which; its first 64 characters.
        pattern: String,
        /// Why.
        fault: BadTopic,
    },
    /// A subject that is not one segment of a topic.
    SubjectInvalid,
    /// More than [`PATTERNS_MAX`].
    TooMany,
}

impl fmt::Display for BadRights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pattern { pattern, fault } => write!(f, "a right for {pattern:?}: {fault}"),
            Self::SubjectInvalid => write!(f, "the subject is no segment of a topic"),
            Self::TooMany => write!(f, "a list of rights has at most {PATTERNS_MAX} patterns"),
        }
    }
}

impl std::error::Error for BadRights {}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    fn publish(rights: &Rights, topic: &str) -> bool {
        rights.may_publish(Topic::parse(topic).expect("a topic"))
    }

    fn subscribe(rights: &Rights, pattern: &str) -> bool {
        rights.may_subscribe(Pattern::parse(pattern).expect("a pattern"))
    }

    #[test]
    fn a_right_is_for_what_its_pattern_matches_and_nothing_else() {
        let rights = Rights::new(&["chat/+", "log"], &["chat/#", "$sys/load"]).expect("rights");
        assert!(publish(&rights, "chat/a") && publish(&rights, "log"));
        assert!(!publish(&rights, "chat") && !publish(&rights, "chat/a/b"));
        assert!(subscribe(&rights, "chat/+/x") && subscribe(&rights, "$sys/load"));
        assert!(!subscribe(&rights, "log") && !subscribe(&rights, "#"));
        assert!(!subscribe(&rights, "+/x") && !subscribe(&rights, "$sys/+"));
        let everything = Rights::new(&["#"], &["#"]).expect("rights");
        assert!(subscribe(&everything, "#") && subscribe(&everything, "a/+"));
        assert!(!subscribe(&everything, "$sys/load") && !publish(&everything, "$sys/load"));
        let nothing = Rights::default();
        assert!(!subscribe(&nothing, "a") && !publish(&nothing, "a"));
    }

    #[test]
    fn a_subject_is_one_segment_and_widens_nothing() {
        let template =
            Rights::new(&["users/{sub}/out"], &["users/{sub}/#", "news"]).expect("rights");
        let ada = template.for_subject(Some("ada")).expect("a name");
        assert!(publish(&ada, "users/ada/out") && subscribe(&ada, "users/ada/in"));
        assert!(!publish(&ada, "users/bob/out") && !subscribe(&ada, "users/#"));
        for subject in ["#", "+", "a/b", "", "a\n", "{sub}", "$sys"] {
            assert_eq!(
                template.for_subject(Some(subject)),
                Err(BadRights::SubjectInvalid)
            );
        }
        let long = template.for_subject(Some(&"a".repeat(255)));
        assert!(matches!(
            long,
            Err(BadRights::Pattern {
                fault: BadTopic::TooLong,
                ..
            })
        ));
        let nobody = template.for_subject(None).expect("no name");
        assert!(subscribe(&nobody, "news"));
        for rights in [&nobody, &template] {
            assert!(!subscribe(rights, "users/{sub}/x") && !publish(rights, "users/{sub}/out"));
        }
    }

    #[test]
    fn lists_have_limits() {
        let many = vec!["a"; 65];
        assert_eq!(Rights::new(&many, &[]), Err(BadRights::TooMany));
        assert!(Rights::new(&many[1..], &many[1..]).is_ok());
        let bad = Rights::new(&["a"], &["a/#/b"]).expect_err("no pattern");
        assert_eq!(
            bad.to_string(),
            "a right for \"a/#/b\": '+' and '#' are whole segments, and '#' is the last one"
        );
    }
}
