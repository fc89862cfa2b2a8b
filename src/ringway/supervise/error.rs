//! Talk with the user on stderr. Owns: how it looks.

use std::fmt::Display;

use crate::lines;

/// Tells the user about an error on stderr.
pub fn error(sentence: impl Display) {
    talk("error", &sentence);
}

/// Tells the user about something that works, but not as well as it could.
pub fn warning(sentence: impl Display) {
    talk("warning", &sentence);
}

/// Tells the user what happens in good order.
pub fn note(sentence: impl Display) {
    talk("note", &sentence);
}

fn talk(kind: &str, sentence: &dyn Display) {
    lines::say(format_args!("ringway: {kind}: {sentence}\n"));
}
