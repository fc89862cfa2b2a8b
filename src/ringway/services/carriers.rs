//! Subprotocols that carry a stream: which one a client gets.
//!
//! The first one that the client offers and that is known is chosen.

/// Binary messages, as websockify has them.
const BINARY: &str = "binary";

/// Text messages, each of which is base64.
pub(super) const BASE64: &str = "base64";

/// What comes of what a client offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice<'a> {
    /// It offers nothing.
    NoneOffered,
    /// It gets this one.
    Known(&'a str),
    /// It offers none that is known.
    Unknown,
}

/// Chooses among `binary`, `base64` if clients may have it, and `more`, whose messages are binary.
pub(super) fn choose<'a>(
    offered: impl Iterator<Item = &'a str>,
    base64: bool,
    more: &[String],
) -> Choice<'a> {
    let mut offered = offered.peekable();
    if offered.peek().is_none() {
        return Choice::NoneOffered;
    }
    let is_known = |name: &&str| match *name {
        BINARY => true,
        BASE64 => base64,
        other => more.iter().any(|known| known == other),
    };
    offered
        .find(is_known)
        .map_or(Choice::Unknown, Choice::Known)
}

/// Chooses among `known` alone. A client that offers others gets none of them, and may leave.
pub(super) fn choose_of<'a>(
    mut offered: impl Iterator<Item = &'a str>,
    known: &[String],
) -> Option<&'a str> {
    offered.find(|name| known.iter().any(|known| known == name))
}

/// The names that are known, for a sentence.
pub(super) fn names(base64: bool, more: &[String]) -> String {
    let base64 = base64.then_some(BASE64);
    let more = more.iter().map(String::as_str);
    let names = std::iter::once(BINARY).chain(base64).chain(more);
    names.collect::<Vec<_>>().join(", ")
}
