//! How `ringway client` ends: exit codes, and the words for close codes.
//!
//! Owns: which end has which code. Never: prints.

use std::process::ExitCode;

use ringway::exit::Fatal;
use ringway_client::{CloseCode, CloseFrame, ConnectError, Error};

/// The exit codes. Up to 5 they are those of Ringway's other programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Code {
    Clean = 0,
    Usage = 2,
    Environment = 3,
    Interrupted = 5,
    Refused = 8,
    ClosedWith = 9,
    Abnormal = 10,
    Violation = 11,
    Timeout = 12,
    Unexpected = 13,
}

/// The exit codes at the end of `--help`.
pub(crate) const CODES: &str = "\
Exit codes:
  0  closed cleanly: with 1000, 1001 or no code, or by us
  1  unexpected failure (a bug)
  2  bad option, value, file or line of a script
  3  no connection: no such host or port, TLS, the proxy, the system
  5  a signal (Ctrl-C) ended it
  8  the opening handshake was refused, or the answer to it was wrong
  9  the peer closed with another code, as 1011
 10  the connection ended without a Close (1006)
 11  the peer broke the protocol or exceeded a limit
 12  out of time: opening, Pong, Close, /wait, /expect
 13  a script or --check found something else than it expected";

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// An end that somebody must be told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failed {
    pub(super) code: Code,
    /// One sentence, and what helps where something does.
    pub(super) sentence: String,
}

impl Failed {
    pub(super) fn new(code: Code, sentence: impl Into<String>) -> Self {
        Self {
            code,
            sentence: sentence.into(),
        }
    }

    /// Why no WebSocket was opened.
    pub(super) fn opening(error: &ConnectError) -> Self {
        let code = match error {
            ConnectError::Url(_) | ConnectError::Request(_) => Code::Usage,
            ConnectError::Refused(_)
            | ConnectError::Fault(_)
            | ConnectError::Redirect(_)
            | ConnectError::TooManyRedirects => Code::Refused,
            ConnectError::Timeout => Code::Timeout,
            _ => Code::Environment,
        };
        Self::new(code, format!("{error}{}", hint(error)))
    }

    /// Why an open connection has failed.
    pub(super) fn connection(error: &Error) -> Self {
        let code = match error {
            Error::Violation(_) => Code::Violation,
            Error::CloseTimeout | Error::PongTimeout => Code::Timeout,
            Error::Misuse(_) => Code::Usage,
            _ => Code::Abnormal,
        };
        let sentence = match error {
            Error::Violation(violation) => {
                format!("{error} (closed with {})", in_words(violation.close_code()))
            }
            Error::Ended => format!("{error} (1006)"),
            _ => error.to_string(),
        };
        Self::new(code, sentence)
    }
}

impl From<Fatal> for Failed {
    fn from(fatal: Fatal) -> Self {
        let code = match fatal.exit {
            ringway::Exit::Usage => Code::Usage,
            _ => Code::Environment,
        };
        Self::new(code, fatal.sentence)
    }
}

/// What the user can do about a failure, or what else the server said.
fn hint(error: &ConnectError) -> String {
    let fixed = match error {
        ConnectError::Refused(refused) => {
            let body = String::from_utf8_lossy(&refused.body);
            let first = body
                .lines()
                .find(|line| !line.trim().is_empty())
                .unwrap_or_default();
            let said: String = super::show::harmless(first.trim())
                .chars()
                .take(200)
                .collect();
            let said = if said.is_empty() {
                said
            } else {
                format!(": {said}")
            };
            let remedy = match refused.response.status() {
                401 => "; give --basic-auth or --header='Authorization: …'",
                403 => "; the server may want an --origin or credentials",
                300..=399 => "; give --redirects to follow it",
                400 | 404 | 405 | 426 => "; is the path that of a WebSocket?",
                _ => "",
            };
            return format!("{said}{remedy}");
        }
        ConnectError::Tls { error, .. } if error.kind() == std::io::ErrorKind::InvalidData => {
            "; give --cacert with the certificate of its signer, or --insecure to take any; is it TLS at all?"
        }
        ConnectError::Connect { error, .. }
            if error.kind() == std::io::ErrorKind::ConnectionRefused =>
        {
            "; nothing listens there: is the port right?"
        }
        ConnectError::Lookup { .. } => "; is the name right?",
        ConnectError::Timeout => "; --connect-timeout gives it longer",
        ConnectError::Fault(_) => "; --show-handshake shows what it sent",
        ConnectError::Io(_) => "; a server that wants TLS does so: is it wss://?",
        _ => "",
    };
    fixed.to_owned()
}

/// A close code with its meaning.
pub(super) fn in_words(code: CloseCode) -> String {
    let number = code.number();
    let words = match number {
        1000 => "normal closure",
        1001 => "going away",
        1002 => "protocol error",
        1003 => "unsupported data",
        1005 => return "no code".to_owned(),
        1006 => "abnormal closure",
        1007 => "invalid payload",
        1008 => "policy violation",
        1009 => "message too big",
        1010 => "extension missing",
        1011 => "internal error",
        1012 => "service restart",
        1013 => "try again later",
        1014 => "bad gateway",
        3000 => "unauthorized",
        3003 => "forbidden",
        3008 => "timeout",
        3001..=3999 => "registered, of an application's kind",
        4000..=4999 => "the application's own",
        _ => "unassigned",
    };
    format!("{number} {words}")
}

/// What a Close says.
pub(super) fn frame_in_words(frame: &CloseFrame) -> String {
    match frame.reason.as_str() {
        "" => in_words(frame.code),
        reason => format!(
            "{}: {}",
            in_words(frame.code),
            super::show::harmless(reason)
        ),
    }
}

/// The exit code for a Close that the peer has begun.
pub(super) fn of_peers_close(code: CloseCode) -> Code {
    match code {
        CloseCode::NormalClosure | CloseCode::GoingAway | CloseCode::NoStatusRcvd => Code::Clean,
        _ => Code::ClosedWith,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_words_and_ends_have_codes() {
        assert_eq!(in_words(CloseCode::GoingAway), "1001 going away");
        assert_eq!(in_words(CloseCode::NoStatusRcvd), "no code");
        let own = CloseCode::sendable(4007).expect("an application's");
        assert_eq!(of_peers_close(own), Code::ClosedWith);
        assert_eq!(Failed::connection(&Error::Ended).code, Code::Abnormal);
        assert_eq!(Failed::connection(&Error::PongTimeout).code, Code::Timeout);
        assert!(CODES.lines().all(|line| line.chars().count() <= 80));
    }
}
