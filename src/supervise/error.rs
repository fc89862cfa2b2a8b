//! Why the supervisor cannot start or go on: one sentence with cause and remedy, and an exit code.
//!
//! Owns: that pair, and how talk on stderr looks. Never: exits by itself.

use std::fmt::Display;

use crate::exit::Exit;
use crate::lines;

/// A failure that ends the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fatal {
    /// The exit code it ends with.
    pub exit: Exit,
    /// One sentence for the user: what failed, why, and what helps.
    pub sentence: String,
}

impl Fatal {
    /// The system refused something.
    pub(super) fn environment(sentence: impl Into<String>) -> Self {
        Self {
            exit: Exit::Environment,
            sentence: sentence.into(),
        }
    }

    /// An option asks for what cannot be.
    pub(super) fn usage(sentence: impl Into<String>) -> Self {
        Self {
            exit: Exit::Usage,
            sentence: sentence.into(),
        }
    }
}

impl Display for Fatal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Fatal {}

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
