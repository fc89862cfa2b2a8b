//! Messages to the user on stderr. Owns: their form.

use std::fmt::Display;

use crate::lines;

/// Reports an error on stderr.
pub fn error(sentence: impl Display) {
    talk("error", &sentence);
}

/// Warns about something that works, but not as well as it could.
pub fn warning(sentence: impl Display) {
    talk("warning", &sentence);
}

/// Reports an ordinary event.
pub fn note(sentence: impl Display) {
    talk("note", &sentence);
}

fn talk(kind: &str, sentence: &dyn Display) {
    lines::say(format_args!("ringway: {kind}: {sentence}\n"));
}
