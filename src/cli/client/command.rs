//! A line as a person types it, or as it stands in a script.
//!
//! Owns: the meaning of lines. Never: reads a file, or sends.

use std::path::PathBuf;
use std::time::Duration;

use ringway_client::CloseCode;
use ringway_command::values;

/// Bytes of a Ping's or Pong's payload (RFC 6455 §5.5).
const CONTROL_BYTES_MAX: usize = 125;

/// What a line means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Text(String),
    Binary(Vec<u8>),
    SendFile(PathBuf),
    /// `None`: a payload of our own.
    Ping(Option<String>),
    Pong(String),
    Close(CloseCode, String),
    Hex(bool),
    Json(bool),
    Help,
    Quit,
    Wait(Option<Duration>),
    Expect(String),
    ExpectClose(Option<u16>),
    Sleep(Duration),
}

/// What `/help` says.
pub(super) const HELP: &str = "\
/ping [text]             measure a round trip
/pong [text]             send a Pong that nobody asked for
/close [code] [reason]   close the connection; 1000 unless a code is given
/send-file PATH          send a file as a binary message
/binary HEX              send bytes, as /binary 00ff 12
/hex on|off              show text as bytes, too
/json on|off             indent JSON
/help, /quit             this; close and end
//text                   send text that begins with /
In scripts also:
/wait [10s]              wait for the next message
/expect TEXT             pass messages over until one contains TEXT
/expect-close [code]     wait for the peer's Close
/sleep 100ms             wait";

impl Command {
    /// Reads a line. The error is a clause that says what is wrong.
    pub(super) fn parse(line: &str) -> Result<Self, String> {
        let Some(rest) = line.strip_prefix('/') else {
            return Ok(Self::Text(line.to_owned()));
        };
        if rest.starts_with('/') {
            return Ok(Self::Text(rest.to_owned()));
        }
        let (name, argument) = rest.split_once(' ').unwrap_or((rest, ""));
        let argument = argument.trim();
        let needs = |what: &str| match argument {
            "" => Err(format!("/{name} needs {what}")),
            argument => Ok(argument.to_owned()),
        };
        Ok(match name {
            "ping" => Self::Ping((!argument.is_empty()).then_some(control(argument)?)),
            "pong" => Self::Pong(control(argument)?),
            "close" => close(argument)?,
            "send-file" => Self::SendFile(needs("a path")?.into()),
            "binary" => Self::Binary(bytes(argument)?),
            "hex" => Self::Hex(switch(name, argument)?),
            "json" => Self::Json(switch(name, argument)?),
            "help" => Self::Help,
            "quit" => Self::Quit,
            "wait" if argument.is_empty() => Self::Wait(None),
            "wait" => Self::Wait(Some(time(argument)?)),
            "expect" => Self::Expect(needs("a text")?),
            "expect-close" if argument.is_empty() => Self::ExpectClose(None),
            "expect-close" => Self::ExpectClose(Some(
                argument
                    .parse()
                    .map_err(|_| format!("{argument} is no close code"))?,
            )),
            "sleep" => Self::Sleep(time(&needs("a time")?)?),
            _ => {
                return Err(format!(
                    "/{name} is no command: /help lists them, and //{name} sends the text"
                ));
            }
        })
    }
}

fn control(text: &str) -> Result<String, String> {
    match text.len() {
        0..=CONTROL_BYTES_MAX => Ok(text.to_owned()),
        more => Err(format!(
            "a Ping or Pong has at most {CONTROL_BYTES_MAX} bytes, and this has {more}"
        )),
    }
}

fn close(argument: &str) -> Result<Command, String> {
    let (first, rest) = argument.split_once(' ').unwrap_or((argument, ""));
    let (code, reason) = match first.parse::<u16>() {
        Ok(number) => {
            let code = CloseCode::sendable(number);
            let bad = || {
                format!(
                    "{number} is no code that may be sent: 1000 to 1014 but 1004 to 1006, or 3000 to 4999"
                )
            };
            (code.ok_or_else(bad)?, rest.trim())
        }
        Err(_) => (CloseCode::NormalClosure, argument),
    };
    match reason.len() {
        0..=123 => Ok(Command::Close(code, reason.to_owned())),
        more => Err(format!(
            "a reason has at most 123 bytes, and this has {more}"
        )),
    }
}

fn bytes(text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let (pairs, rest) = digits.as_chunks::<2>();
    let byte = |pair: &[u8; 2]| {
        let digits = std::str::from_utf8(pair)
            .ok()
            .filter(|text| !text.starts_with('+'));
        digits.and_then(|text| u8::from_str_radix(text, 16).ok())
    };
    let parsed: Option<Vec<u8>> = pairs.iter().map(byte).collect();
    parsed
        .filter(|_| rest.is_empty())
        .ok_or_else(|| "bytes are pairs of hexadecimal digits, as /binary 00ff 12".to_owned())
}

fn switch(name: &str, argument: &str) -> Result<bool, String> {
    values::switch(argument).ok_or_else(|| format!("/{name} is on or off"))
}

fn time(text: &str) -> Result<Duration, String> {
    values::duration(text).ok_or_else(|| format!("{text} is no time: write it as 250ms, 10s or 1m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_mean_what_help_says() {
        for (line, command) in [
            ("hello /ping", Command::Text("hello /ping".to_owned())),
            ("//etc", Command::Text("/etc".to_owned())),
            ("", Command::Text(String::new())),
            ("/ping", Command::Ping(None)),
            ("/ping a b", Command::Ping(Some("a b".to_owned()))),
            (
                "/close",
                Command::Close(CloseCode::NormalClosure, String::new()),
            ),
            (
                "/close 1001 bye now",
                Command::Close(CloseCode::GoingAway, "bye now".to_owned()),
            ),
            (
                "/close so long",
                Command::Close(CloseCode::NormalClosure, "so long".to_owned()),
            ),
            ("/binary 00ff 12", Command::Binary(vec![0, 255, 18])),
            ("/hex on", Command::Hex(true)),
            (
                "/wait 250ms",
                Command::Wait(Some(Duration::from_millis(250))),
            ),
            ("/expect-close 1011", Command::ExpectClose(Some(1011))),
        ] {
            assert_eq!(Command::parse(line), Ok(command), "{line}");
        }
    }

    #[test]
    fn what_is_no_command_says_why() {
        for (line, why) in [
            ("/nope", "//nope sends the text"),
            ("/close 1005", "may be sent"),
            ("/binary 0x", "pairs"),
            ("/binary 00f", "pairs"),
            ("/binary +1", "pairs"),
            ("/hex maybe", "on or off"),
            ("/expect", "needs a text"),
            ("/sleep soon", "250ms"),
        ] {
            let error = Command::parse(line).expect_err("no command");
            assert!(error.contains(why), "{line}: {error}");
        }
        assert!(Command::parse(&format!("/ping {}", "x".repeat(126))).is_err());
        assert!(Command::parse(&format!("/close 1000 {}", "x".repeat(124))).is_err());
    }
}
