//! Topics and patterns as names at the broker: subjects of NATS, channels of Redis.
//!
//! ```text
//!  prefix . space . segment . segment … . ~          a/b in the space "" of "ringway":  ringway.=.a.b.~
//!  prefix . ~                                          notices of servers
//! ```
//!
//! Letters, digits, `_` and `-` stand for themselves, every other byte is `=` and two hexadecimal digits, and an empty segment is `=`.
//! So no byte of a topic means anything to a broker, and different topics have different names. The `~` at the end makes one name of
//! `a/#`, which matches `a` as well: NATS' `>` needs at least one token. Redis' `*` does not stop at a dot, so its `a/+` fetches more
//! than it should; what comes is filtered by the topic that is in the message.

use ringway_bus::topics::{Pattern, Topic};

/// Bytes of a prefix.
pub const PREFIX_BYTES_MAX: usize = 64;

/// The last token of a topic.
const END: &str = "~";

/// How a broker writes "everything from here on".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wildcards {
    Nats,
    Redis,
}

/// Whether a text can be the prefix of a deployment: 1 to 64 letters, digits, `_` and `-`.
pub fn is_prefix(text: &str) -> bool {
    (1..=PREFIX_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_plain)
}

/// The name of a topic.
pub(crate) fn of_topic(prefix: &str, space: &str, topic: Topic<'_>) -> String {
    let mut name = open(prefix, space);
    for segment in topic.segments() {
        name.push('.');
        encode(segment, &mut name);
    }
    name.push('.');
    name.push_str(END);
    name
}

/// The name of a pattern, which matches the names of all topics that the pattern matches.
pub(crate) fn of_pattern(
    wildcards: Wildcards,
    prefix: &str,
    space: &str,
    pattern: Pattern<'_>,
) -> String {
    let mut name = open(prefix, space);
    for segment in pattern.segments() {
        name.push('.');
        match (segment, wildcards) {
            ("+", _) => name.push('*'),
            ("#", Wildcards::Nats) => name.push('>'),
            ("#", Wildcards::Redis) => name.push('*'),
            _ => encode(segment, &mut name),
        }
    }
    if !pattern.as_str().ends_with('#') {
        name.push('.');
        name.push_str(END);
    }
    name
}

/// The name under which servers tell each other that they have dropped messages.
pub(crate) fn of_notices(prefix: &str) -> String {
    format!("{prefix}.{END}")
}

/// Whether Redis takes this name for a pattern.
#[cfg(feature = "redis")]
pub(crate) fn has_wildcard(name: &str) -> bool {
    name.contains('*')
}

fn open(prefix: &str, space: &str) -> String {
    let mut name = String::with_capacity(prefix.len() + space.len() + 64);
    name.push_str(prefix);
    name.push('.');
    encode(space, &mut name);
    name
}

const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

fn encode(segment: &str, name: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    if segment.is_empty() {
        name.push('=');
    }
    for byte in segment.bytes() {
        if is_plain(byte) {
            name.push(char::from(byte));
        } else {
            let digit = |half: u8| char::from(DIGITS[usize::from(half)]);
            name.extend(['=', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

/// Whether NATS would find a name by a pattern: tokens between dots.
#[cfg(test)]
pub(crate) fn nats_matches(pattern: &str, name: &str) -> bool {
    let mut tokens = name.split('.');
    for wanted in pattern.split('.') {
        match (wanted, tokens.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (wanted, Some(token)) if wanted == token => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn topic(name: &str) -> String {
        of_topic("p", "", Topic::parse(name).expect("a topic"))
    }

    fn pattern(wildcards: Wildcards, text: &str) -> String {
        of_pattern(
            wildcards,
            "p",
            "s",
            Pattern::parse(text).expect("a pattern"),
        )
    }

    #[test]
    fn names_are_literal() {
        assert_eq!(topic("a/b"), "p.=.a.b.~");
        assert_eq!(topic("a//b/"), "p.=.a.=.b.=.~");
        assert_eq!(
            topic("$x/1.5 €/*>?[]~="),
            "p.=.=24x.1=2E5=20=E2=82=AC.=2A=3E=3F=5B=5D=7E=3D.~"
        );
        assert_eq!(
            of_topic("p", "$pubsub/a", Topic::parse("t").expect("a topic")),
            "p.=24pubsub=2Fa.t.~"
        );
        assert_eq!(of_notices("p"), "p.~");
        for (text, nats, redis) in [
            ("a/+/c", "p.s.a.*.c.~", "p.s.a.*.c.~"),
            ("a/#", "p.s.a.>", "p.s.a.*"),
            ("#", "p.s.>", "p.s.*"),
            ("+", "p.s.*.~", "p.s.*.~"),
            ("a", "p.s.a.~", "p.s.a.~"),
        ] {
            assert_eq!(pattern(Wildcards::Nats, text), nats);
            assert_eq!(pattern(Wildcards::Redis, text), redis);
        }
    }

    #[test]
    fn every_character_of_one_byte_and_some_of_more_have_names_of_their_own_that_mean_nothing_to_a_broker()
     {
        let mut names = HashSet::new();
        let characters = (0..=0x2ff).filter_map(char::from_u32);
        let topics = characters.filter_map(|c| {
            let text = c.to_string();
            Topic::parse(&text).is_ok().then_some(text)
        });
        let mut count = 0;
        for text in topics {
            let name = topic(&text);
            let is_harmless = |byte: u8| is_plain(byte) || matches!(byte, b'.' | b'=' | b'~');
            assert!(name.bytes().all(is_harmless), "{name}");
            assert!(name.split('.').all(|token| !token.is_empty()), "{name}");
            assert!(names.insert(name), "{text:?} is like another one");
            count += 1;
        }
        assert!(count > 600, "{count}");
    }

    /// What Redis does with a name that has no other wildcards.
    fn redis_matches(pattern: &str, name: &str) -> bool {
        match pattern.split_once('*') {
            None => pattern == name,
            Some((before, rest)) => name
                .strip_prefix(before)
                .is_some_and(|name| (0..=name.len()).any(|at| redis_matches(rest, &name[at..]))),
        }
    }

    #[test]
    fn a_broker_fetches_all_that_a_pattern_matches_and_nats_nothing_else() {
        let topics = [
            "a", "a/", "/a", "a/b", "a/b/c", "b", "b/c", "a//c", "$s", "$s/a", "a.b", "a/b.c", "~",
            "a/~",
        ];
        let patterns = [
            "#", "+", "+/+", "a/#", "a/+", "+/b/#", "a", "a/b", "+/b/c", "a/+/c", "$s/#", "$s/+",
            "/#", "+/~", "~",
        ];
        for text in patterns {
            let pattern = Pattern::parse(text).expect("a pattern");
            let [nats, redis] = [Wildcards::Nats, Wildcards::Redis]
                .map(|wildcards| of_pattern(wildcards, "p", "", pattern));
            for text in topics {
                let topic = Topic::parse(text).expect("a topic");
                let name = of_topic("p", "", topic);
                let matches = pattern.matches(topic);
                let why = format!("{} and {text}", pattern.as_str());
                assert!(!matches || redis_matches(&redis, &name), "{why}");
                // Ours do not match names that begin with `$` by a wildcard.
                let is_meant = matches || (topic.is_system() && !pattern.as_str().starts_with('$'));
                assert!(nats_matches(&nats, &name) == matches || is_meant, "{why}");
                assert!(!matches || nats_matches(&nats, &name), "{why}");
            }
        }
    }

    #[test]
    fn a_prefix_is_short_and_plain() {
        assert!(is_prefix("ringway") && is_prefix("eu-1_b") && is_prefix(&"x".repeat(64)));
        for bad in ["", "a.b", "a b", "ä", "*", "~"] {
            assert!(!is_prefix(bad), "{bad}");
        }
        assert!(!is_prefix(&"x".repeat(65)));
    }
}
