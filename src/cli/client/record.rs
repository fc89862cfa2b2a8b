//! Recordings of messages: written while a session goes on. `ringway_command::recording` reads them to play them back.
//!
//! ```text
//!  ringway-record 2⏎ {"began":…,"url":…,"subprotocol":…}⏎ (mark, microseconds since the one before, length, payload)… .
//! ```
//!
//! The same form as a gateway's (`docs/gateway.md`), whose pieces are bytes of streams: there `>` and `<` are all marks. Messages
//! have kinds, so the marks are letters: capital for what was sent. A gateway's recording can be read, too: its pieces are binary
//! messages.
//!
//! Owns: when what is written. Never: sends.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Instant, SystemTime};

use ringway::proto::Kind;
use ringway_client::bytes::Bytes;
use ringway_client::{CloseCode, Message, Text};
use ringway_command::recording::{self, Entry, Limits, Way, What};

use crate::gateway::record::timestamp;

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
        recorder.write(&[recording::MESSAGES, about.to_string().as_bytes(), b"\n"].concat());
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
        let mut out = Vec::new();
        recording::write(mark, since, payload, &mut out);
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
    let read = recording::read(path, &Limits::default());
    let recording = read.map_err(|why| format!("--replay {why}"))?;
    Ok(recording.entries)
}

/// What is sent or compared of an entry. None: a Close.
pub(super) fn message(what: &What) -> Option<Message> {
    let bytes = Bytes::copy_from_slice;
    Some(match what {
        What::Message(Kind::Text, text) => Message::Text(Text::try_from(bytes(text)).ok()?),
        What::Message(Kind::Binary, payload) => Message::Binary(bytes(payload)),
        What::Ping(payload) => Message::Ping(bytes(payload)),
        What::Pong(payload) => Message::Pong(bytes(payload)),
        What::Close(..) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let path =
            std::env::temp_dir().join(format!("ringway-client-record-{}", std::process::id()));
        let mut recorder = Recorder::begin(&path, "ws://h/", None).expect("a file");
        recorder.message(Way::Sent, &"hello".into());
        recorder.message(Way::Received, &vec![7; 300].into());
        recorder.close(Way::Received, CloseCode::GoingAway, "bye");
        recorder.end().expect("written");
        let entries = read(&path).expect("a recording");
        std::fs::remove_file(&path).expect("the file");
        let messages: Vec<_> = entries
            .iter()
            .map(|entry| (entry.way, message(&entry.what)))
            .collect();
        assert_eq!(
            messages,
            [
                (Way::Sent, Some("hello".into())),
                (Way::Received, Some(vec![7; 300].into())),
                (Way::Received, None),
            ]
        );
        let bye = What::Close(CloseCode::GoingAway, "bye".to_owned());
        assert_eq!(entries[2].what, bye);
    }
}
