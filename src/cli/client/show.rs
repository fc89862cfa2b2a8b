//! How messages look: text that a terminal may see, bytes as a hex view, JSON indented, times and colours.
//!
//! Owns: the text of a message. Never: writes it, or reads a clock.

use std::fmt::Write as _;
use std::time::SystemTime;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ringway_client::Message;

/// Bytes of a binary message that a terminal shows; of the rest it shows the number.
const VIEW_BYTES_MAX: usize = 4096;

/// When colours are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Color {
    Auto,
    Always,
    Never,
}

/// How binary messages are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BinaryForm {
    Hex,
    Base64,
    Raw,
}

/// How messages are shown.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a choice of the user"
)]
pub(super) struct Style {
    /// For a person: directions, hex views, no character that a terminal obeys.
    pub(super) is_terminal: bool,
    pub(super) color: bool,
    pub(super) times: bool,
    pub(super) json: bool,
    /// A hex view of text messages, too.
    pub(super) text_as_hex: bool,
    pub(super) binary: BinaryForm,
    /// Payloads alone, one behind the other.
    pub(super) raw: bool,
}

impl Style {
    /// A message that has come, `at` that time.
    pub(super) fn received(&self, message: &Message, at: SystemTime) -> Vec<u8> {
        if self.raw {
            return message.payload().to_vec();
        }
        let mut out = self.time(at).into_bytes();
        if self.is_terminal {
            out.extend_from_slice(self.paint("36", "< ").as_bytes());
        }
        match message {
            Message::Text(text) if !self.text_as_hex => self.text(text, &mut out),
            other => self.binary(other.payload(), &mut out),
        }
        out.push(b'\n');
        out
    }

    /// A remark beside the messages, one line.
    pub(super) fn remark(&self, text: &str, at: SystemTime) -> String {
        format!(
            "{}{}\n",
            self.time(at),
            self.paint("2", &format!("* {text}"))
        )
    }

    fn time(&self, at: SystemTime) -> String {
        match self.times {
            true => format!(
                "{} ",
                self.paint("2", &crate::gateway::record::timestamp(at)[11..])
            ),
            false => String::new(),
        }
    }

    fn paint(&self, sgr: &str, text: &str) -> String {
        match self.color {
            true => format!("\x1b[{sgr}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }

    fn text(&self, text: &str, out: &mut Vec<u8>) {
        let parsed = self
            .json
            .then(|| serde_json::from_str::<Box<serde_json::value::RawValue>>(text));
        let indented = match parsed {
            // Through a value: a raw one keeps the order of keys only where the text stays as it is.
            Some(Ok(raw)) => indent_json(raw.get()),
            _ => text.to_owned(),
        };
        match self.is_terminal {
            true => out.extend_from_slice(harmless(&indented).as_bytes()),
            false => out.extend_from_slice(indented.as_bytes()),
        }
    }

    fn binary(&self, bytes: &[u8], out: &mut Vec<u8>) {
        let shown = match self.is_terminal {
            true => &bytes[..bytes.len().min(VIEW_BYTES_MAX)],
            false => bytes,
        };
        let text = match self.binary {
            BinaryForm::Raw if self.is_terminal => harmless(&String::from_utf8_lossy(shown)),
            BinaryForm::Raw => return out.extend_from_slice(bytes),
            BinaryForm::Base64 => BASE64_STANDARD.encode(shown),
            BinaryForm::Hex if self.is_terminal => hex_view(shown),
            BinaryForm::Hex => hex(shown),
        };
        if self.is_terminal {
            out.extend_from_slice(format!("{} bytes: ", bytes.len()).as_bytes());
        }
        out.extend_from_slice(text.as_bytes());
        if shown.len() < bytes.len() {
            out.extend_from_slice(
                format!("\n… and {} bytes more", bytes.len() - shown.len()).as_bytes(),
            );
        }
    }
}

/// Text without a character that a terminal obeys, or that turns or hides text; line breaks and tabs stay.
pub(super) fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' | '\t' => out.push(letter),
            '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{200e}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(letter));
            }
            letter => out.push(letter),
        }
    }
    out
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Lines of 16 bytes: place, hex, ASCII.
fn hex_view(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (at, line) in bytes.chunks(16).enumerate() {
        let _ = write!(text, "\n  {:04x}  ", at * 16);
        for place in 0..16 {
            let _ = match line.get(place) {
                Some(byte) => write!(text, "{byte:02x} "),
                None => write!(text, "   "),
            };
        }
        text.push(' ');
        text.extend(line.iter().map(|byte| match byte {
            0x20..0x7f => char::from(*byte),
            _ => '.',
        }));
    }
    text
}

/// JSON with two blanks of indentation for each level. Only white space changes: numbers and the order of keys stay.
fn indent_json(text: &str) -> String {
    let mut out = String::with_capacity(2 * text.len());
    let mut depth = 0_usize;
    let (mut in_string, mut escaped, mut opened) = (false, false, false);
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        // Deeper than a screen is wide, more indentation shows nothing, and may cost memory.
        out.extend(std::iter::repeat_n("  ", depth.min(40)));
    };
    for letter in text.chars() {
        if in_string {
            in_string = escaped || letter != '"';
            escaped = !escaped && letter == '\\';
            out.push(letter);
            continue;
        }
        if letter.is_ascii_whitespace() {
            continue;
        }
        let closes = matches!(letter, '}' | ']');
        depth -= usize::from(closes);
        if opened != closes {
            line(&mut out, depth);
        }
        opened = matches!(letter, '{' | '[');
        depth += usize::from(opened);
        in_string = letter == '"';
        match letter {
            ':' => out.push_str(": "),
            ',' => {
                out.push(',');
                line(&mut out, depth);
            }
            letter => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Style = Style {
        is_terminal: false,
        color: false,
        times: false,
        json: false,
        text_as_hex: false,
        binary: BinaryForm::Hex,
        raw: false,
    };

    fn shown(style: Style, message: impl Into<Message>) -> String {
        let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_795_987_999_007);
        String::from_utf8(style.received(&message.into(), at)).expect("UTF-8")
    }

    #[test]
    fn a_pipe_gets_lines_and_a_terminal_nothing_that_it_obeys() {
        assert_eq!(shown(PLAIN, "a\x1b[2J"), "a\x1b[2J\n");
        assert_eq!(shown(PLAIN, vec![0, 255]), "00ff\n");
        let terminal = Style {
            is_terminal: true,
            times: true,
            color: true,
            ..PLAIN
        };
        assert_eq!(
            shown(terminal, "a\x1b[2J"),
            "\x1b[2m21:33:19.007Z\x1b[0m \x1b[36m< \x1b[0ma\\u{1b}[2J\n"
        );
        let terminal = Style {
            is_terminal: true,
            ..PLAIN
        };
        assert_eq!(
            shown(terminal, b"hello\x00".as_slice()),
            "< 6 bytes: \n  0000  68 65 6c 6c 6f 00                                hello.\n"
        );
        assert!(shown(terminal, vec![7; 5000]).ends_with("… and 904 bytes more\n"));
        assert_eq!(
            shown(
                Style {
                    binary: BinaryForm::Base64,
                    ..PLAIN
                },
                vec![1, 2]
            ),
            "AQI=\n"
        );
    }

    #[test]
    fn json_is_indented_and_nothing_else_is() {
        let json = Style {
            json: true,
            ..PLAIN
        };
        assert_eq!(
            shown(json, r#"{"b":[1.0,{}, []],"a":"x\"{,\\"}"#),
            "{\n  \"b\": [\n    1.0,\n    {},\n    []\n  ],\n  \"a\": \"x\\\"{,\\\\\"\n}\n"
        );
        assert_eq!(shown(json, "{no"), "{no\n");
    }
}
