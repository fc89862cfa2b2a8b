//! Path patterns: which paths belong to a service.
//!
//! ```text
//!  /chat/{room}     matches   /chat/lobby            with room = lobby
//!                   but not   /chat, /chat/, /chat/a/b
//!  /files/*         matches   /files/ and everything below it
//! ```
//!
//! A path is compared segment by segment, as the client sent it: percent-encoding is not decoded.

use std::fmt;

/// A path with named places, each for one segment, and perhaps with everything below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    segments: Vec<Segment>,
    /// The pattern ends with `/*`.
    below: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Fixed(String),
    /// A named place for one segment, which must not be empty.
    Place(String),
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadPattern {
    text: String,
    why: &'static str,
}

impl fmt::Display for BadPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the path '{}' {}: write it as /echo, /chat/{{room}} or /files/*",
            self.text, self.why
        )
    }
}

impl std::error::Error for BadPattern {}

impl Pattern {
    /// Parses `/echo`, `/chat/{room}`, `/files/*`.
    ///
    /// # Errors
    /// [`BadPattern`], with the reason.
    pub fn new(text: &str) -> Result<Self, BadPattern> {
        let bad = |why| BadPattern {
            text: text.to_owned(),
            why,
        };
        let rest = text
            .strip_prefix('/')
            .ok_or_else(|| bad("does not begin with a slash"))?;
        let allowed = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#');
        if !rest.chars().all(allowed) {
            return Err(bad("has a character that no path can have"));
        }
        let (rest, below) = match rest.strip_suffix('*') {
            Some("") => ("", true),
            Some(rest) => match rest.strip_suffix('/') {
                Some(rest) => (rest, true),
                None => return Err(bad("has a star that does not follow a slash")),
            },
            None => (rest, false),
        };
        let mut segments = Vec::new();
        let mut names = Vec::new();
        if !(below && rest.is_empty()) {
            for segment in rest.split('/') {
                let place = segment
                    .strip_prefix('{')
                    .and_then(|name| name.strip_suffix('}'));
                segments.push(match place {
                    Some("") => return Err(bad("has a place without a name")),
                    Some(name) if names.contains(&name) => {
                        return Err(bad("has two places of one name"));
                    }
                    Some(name) => {
                        names.push(name);
                        Segment::Place(name.to_owned())
                    }
                    None if segment.contains(['{', '}', '*']) => {
                        return Err(bad("has a brace or a star inside a segment"));
                    }
                    None => Segment::Fixed(segment.to_owned()),
                });
            }
        }
        Ok(Self {
            text: text.to_owned(),
            segments,
            below,
        })
    }

    /// The texts at the named places, if `path` matches.
    pub fn matches<'p>(&self, path: &'p str) -> Option<Vec<(&str, &'p str)>> {
        let mut found = Vec::new();
        let mut rest = path.strip_prefix('/')?.split('/');
        for segment in &self.segments {
            let sent = rest.next()?;
            match segment {
                Segment::Fixed(fixed) if fixed == sent => {}
                Segment::Place(name) if !sent.is_empty() => found.push((name.as_str(), sent)),
                _ => return None,
            }
        }
        let more = rest.next().is_some();
        (more == self.below).then_some(found)
    }

    /// The exactness of the pattern: among several that match, the greatest value wins. A fixed segment is more exact
    /// than a place, and a place more than everything below.
    pub(super) fn exactness(&self) -> Vec<u8> {
        let of = |segment: &Segment| match segment {
            Segment::Fixed(_) => 2,
            Segment::Place(_) => 1,
        };
        let mut exactness: Vec<u8> = self.segments.iter().map(of).collect();
        // A pattern that ends here is more exact than one with everything below.
        exactness.push(if self.below { 0 } else { 3 });
        exactness
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> Option<Vec<(String, String)>> {
        let pattern = Pattern::new(pattern).expect("a pattern");
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Some(pattern.matches(path)?.into_iter().map(owned).collect())
    }

    #[test]
    fn fixed_paths_match_themselves_only() {
        assert_eq!(matches("/", "/"), Some(vec![]));
        assert_eq!(matches("/echo", "/echo"), Some(vec![]));
        for path in ["/", "/echo/", "/echo/x", "/Echo", "/ech"] {
            assert_eq!(matches("/echo", path), None, "{path}");
        }
        assert_eq!(matches("/a/b/", "/a/b/"), Some(vec![]));
        assert_eq!(matches("/a/b/", "/a/b"), None);
    }

    #[test]
    fn a_place_takes_one_segment_that_is_not_empty() {
        let lobby = vec![("room".to_owned(), "lobby".to_owned())];
        assert_eq!(matches("/chat/{room}", "/chat/lobby"), Some(lobby));
        for path in ["/chat", "/chat/", "/chat/a/b"] {
            assert_eq!(matches("/chat/{room}", path), None, "{path}");
        }
        let two = [("a", "1"), ("b", "%2F")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(matches("/{a}/x/{b}", "/1/x/%2F"), Some(two.to_vec()));
    }

    #[test]
    fn a_star_takes_everything_below() {
        for path in ["/files/", "/files/a", "/files/a/b"] {
            assert_eq!(matches("/files/*", path), Some(vec![]), "{path}");
        }
        assert_eq!(matches("/files/*", "/files"), None);
        for path in ["/", "/a", "/a/b"] {
            assert_eq!(matches("/*", path), Some(vec![]), "{path}");
        }
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        let why = |text| Pattern::new(text).expect_err("no pattern").to_string();
        assert_eq!(
            why("echo"),
            "the path 'echo' does not begin with a slash: write it as /echo, /chat/{room} or /files/*"
        );
        for (text, what) in [
            ("/a b", "a character"),
            ("/a?b", "a character"),
            ("/a*", "a star"),
            ("/*/b", "a brace or a star"),
            ("/a{b}", "a brace"),
            ("/{}", "without a name"),
            ("/{a}/{a}", "two places"),
        ] {
            assert!(why(text).contains(what), "{text}: {}", why(text));
        }
    }
}
