//! Talk with the user on stderr. Owns: how it looks.

use std::fmt::Display;
use std::io::Write as _;

/// Tells the user about an error on stderr.
pub fn error(sentence: impl Display) {
    talk("error", &sentence);
}

/// Tells the user about something that works, but not as well as it could.
pub fn warning(sentence: impl Display) {
    talk("warning", &sentence);
}

/// Tells the user how far something is that takes its time.
pub fn note(sentence: &str) {
    talk("note", &sentence);
}

/// One write per line, so that lines of several processes do not mix. A stderr that is gone is no reason to stop.
fn talk(kind: &str, sentence: &dyn Display) {
    let _ = std::io::stderr().write_all(format!("ringway: {kind}: {sentence}\n").as_bytes());
}
