//! Recordings of messages: written while a session goes on, and read to play it back.
//!
//! ```text
//!  ringway-record 2⏎ {"began":…,"url":…,"subprotocol":…}⏎ (mark, microseconds since the one before, length, payload)… .
//! ```
//!
//! The same form as a gateway's (`docs/gateway.md`), whose pieces are bytes of streams: there `>` and `<` are all marks. Messages
//! have kinds, so the marks are letters: capital for what was sent. A gateway's recording can be read, too: its pieces are binary
//! messages.
//!
//! Owns: this form. Never: sends.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use ringway_client::{CloseCode, Message, Text};

use super::session::read_file;
use crate::gateway::record::{MAGIC as MAGIC_OF_STREAMS, timestamp, varint};

const MAGIC: &[u8] = b"ringway-record 2\n";

/// Bytes of a recording that is read: it is held in memory.
const RECORDING_BYTES_MAX: u64 = 1 << 30;

/// Who sent a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Sent,
    Received,
}

/// What a recording has of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Message(Message),
    Close(CloseCode, String),
}

/// A moment of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Since the beginning.
    pub(super) at: Duration,
    pub(super) way: Way,
    pub(super) what: What,
}

/// A recording that is being written.
#[derive(Debug)]
pub(super) struct Recorder {
    file: File,
    last: Instant,
    /// Why it lacks something: the first write that failed.
    broken: Option<String>,
}

impl Recorder {
    /// Begins a recording, for its owner alone to read. The error is a sentence.
    pub(super) fn begin(path: &Path, url: &str, subprotocol: Option<&str>) -> Result<Self, String> {
        let file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(path);
        let file = file.map_err(|error| format!("--record {}: {error}", path.display()))?;
        let began = timestamp(SystemTime::now());
        let about = serde_json::json!({ "began": began, "url": url, "subprotocol": subprotocol });
        let mut recorder = Self {
            file,
            last: Instant::now(),
            broken: None,
        };
        recorder.write(&[MAGIC, about.to_string().as_bytes(), b"\n"].concat());
        Ok(recorder)
    }

    pub(super) fn message(&mut self, way: Way, message: &Message) {
        let mark = match message {
            Message::Text(_) => b't',
            Message::Binary(_) => b'b',
            Message::Ping(_) => b'p',
            Message::Pong(_) => b'o',
        };
        self.entry(way, mark, message.payload());
    }

    pub(super) fn close(&mut self, way: Way, code: CloseCode, reason: &str) {
        self.entry(
            way,
            b'c',
            &[&code.number().to_be_bytes(), reason.as_bytes()].concat(),
        );
    }

    fn entry(&mut self, way: Way, mark: u8, payload: &[u8]) {
        let since = self.last.elapsed();
        self.last += since;
        let mark = match way {
            Way::Sent => mark.to_ascii_uppercase(),
            Way::Received => mark,
        };
        let mut out = vec![mark];
        varint(
            u64::try_from(since.as_micros()).unwrap_or(u64::MAX),
            &mut out,
        );
        varint(payload.len() as u64, &mut out);
        out.extend_from_slice(payload);
        self.write(&out);
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.broken.is_none() {
            self.broken = self
                .file
                .write_all(bytes)
                .err()
                .map(|error| error.to_string());
        }
    }

    /// Ends the recording. The error is a sentence: it lacks something.
    pub(super) fn end(&mut self) -> Result<(), String> {
        self.write(b".");
        match &self.broken {
            None => Ok(()),
            Some(why) => Err(format!("the recording is incomplete: {why}")),
        }
    }
}

/// Reads a recording from a file. The error is a sentence.
pub(super) fn read(path: &Path) -> Result<Vec<Entry>, String> {
    let bytes = read_file(path, RECORDING_BYTES_MAX).map_err(|why| format!("--replay {why}"))?;
    parse(&bytes).map_err(|why| format!("--replay {}: {why}", path.display()))
}

fn parse(bytes: &[u8]) -> Result<Vec<Entry>, String> {
    let rest = bytes
        .strip_prefix(MAGIC)
        .or_else(|| bytes.strip_prefix(MAGIC_OF_STREAMS));
    let rest = rest.ok_or("this is no recording of Ringway's own form")?;
    let head = rest
        .iter()
        .position(|byte| *byte == b'\n')
        .ok_or("its head does not end")?;
    let mut rest = &rest[head + 1..];
    let mut at = Duration::ZERO;
    let mut entries = Vec::new();
    // One that was cut off has no end, and is good up to there.
    while let Some((mark, after)) = rest.split_first().filter(|(mark, _)| !b".!".contains(mark)) {
        rest = after;
        let cut = || format!("entry {} is cut off", entries.len() + 1);
        at = at.saturating_add(Duration::from_micros(number(&mut rest).ok_or_else(cut)?));
        let len = number(&mut rest)
            .and_then(|len| usize::try_from(len).ok())
            .ok_or_else(cut)?;
        let (payload, after) = rest.split_at_checked(len).ok_or_else(cut)?;
        rest = after;
        let (way, what) =
            what(*mark, payload).map_err(|why| format!("entry {} {why}", entries.len() + 1))?;
        entries.push(Entry { at, way, what });
    }
    Ok(entries)
}

fn what(mark: u8, payload: &[u8]) -> Result<(Way, What), &'static str> {
    let way = match mark {
        b'A'..=b'Z' | b'>' => Way::Sent,
        _ => Way::Received,
    };
    let bytes = || payload.to_vec().into();
    let is_control_size = payload.len() <= 125;
    Ok((
        way,
        What::Message(match mark.to_ascii_lowercase() {
            b't' => Message::Text(
                Text::try_from(ringway_client::bytes::Bytes::copy_from_slice(payload))
                    .map_err(|_| "is no UTF-8")?,
            ),
            b'b' | b'>' | b'<' => Message::Binary(bytes()),
            b'p' if is_control_size => Message::Ping(bytes()),
            b'o' if is_control_size => Message::Pong(bytes()),
            b'c' if is_control_size => return Ok((way, close(payload)?)),
            _ => return Err("has a mark that is unknown, or is too long"),
        }),
    ))
}

fn close(payload: &[u8]) -> Result<What, &'static str> {
    let (code, reason) = payload.split_first_chunk::<2>().ok_or("has no code")?;
    let reason = std::str::from_utf8(reason).map_err(|_| "has a reason that is no UTF-8")?;
    // 1005, a Close without a code, is answered as 1000.
    let code = CloseCode::sendable(u16::from_be_bytes(*code)).unwrap_or(CloseCode::NormalClosure);
    Ok(What::Close(code, reason.to_owned()))
}

/// LEB128 of at most 63 bits.
fn number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..63).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_cut_off_is_told() {
        let path =
            std::env::temp_dir().join(format!("ringway-client-record-{}", std::process::id()));
        let mut recorder = Recorder::begin(&path, "ws://h/", None).expect("a file");
        recorder.message(Way::Sent, &"hello".into());
        recorder.message(Way::Received, &vec![7; 300].into());
        recorder.close(Way::Received, CloseCode::GoingAway, "bye");
        recorder.end().expect("written");
        let entries = read(&path).expect("a recording");
        let whats: Vec<_> = entries
            .iter()
            .map(|entry| (entry.way, entry.what.clone()))
            .collect();
        assert_eq!(
            whats,
            [
                (Way::Sent, What::Message("hello".into())),
                (Way::Received, What::Message(vec![7; 300].into())),
                (
                    Way::Received,
                    What::Close(CloseCode::GoingAway, "bye".to_owned())
                ),
            ]
        );
        let bytes = std::fs::read(&path).expect("the file");
        std::fs::remove_file(&path).expect("the file");
        assert!(
            parse(&bytes[..bytes.len() - 3])
                .expect_err("cut")
                .contains("entry 3 is cut off")
        );
        assert!(parse(b"no").is_err());
    }

    #[test]
    fn a_gateways_recording_is_binary_messages() {
        let entries =
            parse(b"ringway-record 1\n{}\n>\x05\x02hi<\x80\x01\x01x!").expect("a recording");
        assert_eq!(
            entries[0],
            Entry {
                at: Duration::from_micros(5),
                way: Way::Sent,
                what: What::Message(b"hi".as_slice().into())
            }
        );
        assert_eq!(entries[1].at, Duration::from_micros(133));
        let endless = b"ringway-record 2\n{}\nT\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff";
        assert!(parse(endless).is_err());
        assert!(
            parse(b"ringway-record 2\n{}\nT\x00\x01\xff")
                .expect_err("bytes")
                .contains("UTF-8")
        );
    }
}
