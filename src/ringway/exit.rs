//! How a Ringway process ends. Its exit code is one enum, so that scripts, the supervisor and its workers agree on each
//! number. A failure also has a sentence. Depends on no other module.
#![forbid(unsafe_code)]

use std::process::ExitCode;

/// Why a process ended. The discriminant is the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u8)]
pub enum Exit {
    /// Success, or a stop by SIGINT or SIGTERM with a drain.
    Ok = 0,
    /// A bug: a panic, or an error that has no better name. Of `tune check` and `tune undo`: a setting is wrong.
    Failure = 1,
    /// The command line or the configuration file is wrong. Another try does not help.
    Usage = 2,
    /// The system refuses something: address in use, no permission, io_uring demanded but forbidden.
    Environment = 3,
    /// Workers kept dying, and the supervisor gave up.
    WorkersDied = 4,
    /// A second SIGINT or SIGTERM ended the process before its connections were drained. Of `wsperf`: the first one
    /// ended a run early.
    Interrupted = 5,
    /// `ringway wsperf compare --fail-on-regression` found that B is worse than A.
    Regression = 6,
    /// `wsperf broadcast` or `wsperf pubsub` found messages twice, out of order, or missing without a word. Of `wsperf replay`:
    /// sessions were unlike the recording.
    Disorder = 7,
}

impl Exit {
    /// Every code with the line that `--help` prints for it.
    pub const ALL: [(Self, &'static str); 8] = [
        (
            Self::Ok,
            "stopped by SIGINT or SIGTERM, connections drained",
        ),
        (Self::Failure, "unexpected failure (a bug)"),
        (Self::Usage, "bad option, value or configuration file"),
        (
            Self::Environment,
            "the system refused: address in use, permission, no io_uring",
        ),
        (Self::WorkersDied, "workers kept dying"),
        (Self::Interrupted, "a second signal cut the drain short"),
        (Self::Regression, "a comparison found a regression"),
        (Self::Disorder, "messages came in disorder"),
    ];

    /// The number that the process exits with.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The reason for an exit code, if it is one of ours.
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL
            .iter()
            .map(|(exit, _)| *exit)
            .find(|exit| i32::from(exit.code()) == code)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

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
    pub fn environment(sentence: impl Into<String>) -> Self {
        Self {
            exit: Exit::Environment,
            sentence: sentence.into(),
        }
    }

    /// An option has an impossible value.
    pub fn usage(sentence: impl Into<String>) -> Self {
        Self {
            exit: Exit::Usage,
            sentence: sentence.into(),
        }
    }
}

impl std::fmt::Display for Fatal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Fatal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_their_own_index_and_come_back() {
        for (index, (exit, _)) in Exit::ALL.iter().enumerate() {
            assert_eq!(usize::from(exit.code()), index);
            assert_eq!(Exit::from_code(i32::from(exit.code())), Some(*exit));
        }
    }

    #[test]
    fn a_foreign_code_is_not_ours() {
        assert_eq!(Exit::from_code(101), None);
        assert_eq!(Exit::from_code(-1), None);
    }
}
