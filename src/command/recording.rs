//! Recordings of sessions, read to be played back: those of `ringway client --record` and of a gateway's `--record`, in either of its
//! forms.
//!
//! ```text
//!  ringway-record 2⏎ {…}⏎ (mark, microseconds since the one before, length, payload)… .      messages   T t B b P p O o C c
//!  ringway-record 1⏎ {…}⏎ (mark, microseconds since the one before, length, payload)… . or ! a stream   > <
//!  var VNC_frame_data = [⏎ '}milliseconds}bytes',⏎… 'EOF'];⏎                                 a stream, as websockify writes it
//! ```
//!
//! Owns: how these are read, within [`Limits`], and what an entry of Ringway's own forms looks like. Never: sends, reads a clock.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use ringway::proto::{CloseCode, Kind};

/// What a recording of messages begins with: that of `ringway client --record`.
pub const MESSAGES: &[u8] = b"ringway-record 2\n";

/// What a gateway's recording of a stream begins with.
pub const STREAM: &[u8] = b"ringway-record 1\n";

/// What a recording in websockify's form begins with.
const WEBSOCKIFY: &[u8] = b"var VNC_frame_data = [";

/// What is read of a recording at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the file, which is held in memory. Default: 1 GiB.
    pub bytes_max: u64,
    /// Entries. Default: 4 Mi, of which the smallest take 400 MiB.
    pub entries_max: usize,
    /// Payload bytes of an entry. Default: 64 MiB.
    pub payload_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes_max: 1 << 30,
            entries_max: 4 << 20,
            payload_bytes_max: 64 << 20,
        }
    }
}

/// Who sent what an entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The client.
    Sent,
    /// The server.
    Received,
}

/// What an entry holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A message, or a piece of a stream: then it is binary.
    Message(Kind, Vec<u8>),
    /// A Ping.
    Ping(Vec<u8>),
    /// A Pong that answers no Ping.
    Pong(Vec<u8>),
    /// A Close. One that had no code, or a code that may not be sent, has 1000 here.
    Close(CloseCode, String),
}

/// A moment of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Since the beginning.
    pub at: Duration,
    /// Who sent it.
    pub way: Way,
    /// What was sent.
    pub what: What,
}

/// A recording of one session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// It is a gateway's: the entries are pieces of a stream, and say nothing of messages.
    pub is_stream: bool,
    /// It has its end. Without it the session went on, or the writer was too slow.
    pub is_complete: bool,
    /// In the order of their times.
    pub entries: Vec<Entry>,
}

/// Reads a file. The error is a sentence that begins with its path.
///
/// # Errors
/// It cannot be read, is no recording, is cut off within an entry, or exceeds the limits.
pub fn read(path: &Path, limits: &Limits) -> Result<Recording, String> {
    let shown = path.display();
    let file = File::open(path).map_err(|error| format!("{shown}: {error}"))?;
    let mut bytes = Vec::new();
    file.take(limits.bytes_max.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| format!("{shown}: {error}"))?;
    parse(&bytes, limits).map_err(|why| format!("{shown}: {why}"))
}

/// Reads the bytes of a recording. The error is a sentence.
///
/// # Errors
/// They are no recording, are cut off within an entry, or exceed the limits.
pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Recording, String> {
    if bytes.len() as u64 > limits.bytes_max {
        return Err(format!("it has more than {} bytes", limits.bytes_max));
    }
    if let Some(rest) = bytes.strip_prefix(MESSAGES) {
        return own(rest, false, limits);
    }
    if let Some(rest) = bytes.strip_prefix(STREAM) {
        return own(rest, true, limits);
    }
    if let Some(rest) = bytes.strip_prefix(WEBSOCKIFY) {
        return websockify(rest, limits);
    }
    Err(
        "this is no recording: it begins neither as those of ringway client --record nor as those of a gateway's --record"
            .to_owned(),
    )
}

/// Appends an entry of Ringway's own forms, `since` after the one before.
pub fn write(mark: u8, since: Duration, payload: &[u8], out: &mut Vec<u8>) {
    out.push(mark);
    let since = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
    write_number(since.min(NUMBER_MAX), out);
    write_number(payload.len() as u64, out);
    out.extend_from_slice(payload);
}

impl Recording {
    /// Payload bytes of the largest message, or piece of a stream.
    pub fn largest(&self) -> usize {
        let messages = self.entries.iter().map(|entry| match &entry.what {
            What::Message(_, payload) => payload.len(),
            _ => 0,
        });
        messages.max().unwrap_or(0)
    }

    fn add(&mut self, entry: Entry, limits: &Limits) -> Result<(), String> {
        if self.entries.len() >= limits.entries_max {
            return Err(format!("it has more than {} entries", limits.entries_max));
        }
        self.entries.push(entry);
        Ok(())
    }
}

/// Ringway's own forms, behind their first line.
fn own(bytes: &[u8], is_stream: bool, limits: &Limits) -> Result<Recording, String> {
    let head = bytes.iter().position(|byte| *byte == b'\n');
    let mut rest = &bytes[head.ok_or("its head does not end")? + 1..];
    let mut at = Duration::ZERO;
    let mut recording = Recording {
        is_stream,
        ..Recording::default()
    };
    // One that was cut off between two entries has no end, and is good up to there.
    while let Some((mark, after)) = rest.split_first() {
        if b".!".contains(mark) {
            recording.is_complete = *mark == b'.';
            break;
        }
        rest = after;
        let number = recording.entries.len() + 1;
        let cut = || format!("entry {number} is cut off");
        at = at.saturating_add(Duration::from_micros(
            read_number(&mut rest).ok_or_else(cut)?,
        ));
        let len = read_number(&mut rest).and_then(|len| usize::try_from(len).ok());
        let len = len.ok_or_else(cut)?;
        if len > limits.payload_bytes_max {
            return Err(too_long(number, limits));
        }
        let (payload, after) = rest.split_at_checked(len).ok_or_else(cut)?;
        rest = after;
        let (way, what) =
            what(*mark, is_stream, payload).map_err(|why| format!("entry {number} {why}"))?;
        recording.add(Entry { at, way, what }, limits)?;
    }
    Ok(recording)
}

fn too_long(number: usize, limits: &Limits) -> String {
    format!(
        "entry {number} has more than {} bytes",
        limits.payload_bytes_max
    )
}

fn what(mark: u8, is_stream: bool, payload: &[u8]) -> Result<(Way, What), &'static str> {
    let message = |kind| What::Message(kind, payload.to_vec());
    if is_stream {
        return match mark {
            b'>' => Ok((Way::Sent, message(Kind::Binary))),
            b'<' => Ok((Way::Received, message(Kind::Binary))),
            _ => Err("has a mark that is unknown"),
        };
    }
    let way = match mark.is_ascii_uppercase() {
        true => Way::Sent,
        false => Way::Received,
    };
    let is_control_size = payload.len() <= 125;
    let what = match mark.to_ascii_lowercase() {
        b't' if std::str::from_utf8(payload).is_err() => return Err("is no UTF-8"),
        b't' => message(Kind::Text),
        b'b' => message(Kind::Binary),
        b'p' if is_control_size => What::Ping(payload.to_vec()),
        b'o' if is_control_size => What::Pong(payload.to_vec()),
        b'c' if is_control_size => close(payload)?,
        _ => return Err("has a mark that is unknown, or is too long"),
    };
    Ok((way, what))
}

fn close(payload: &[u8]) -> Result<What, &'static str> {
    let (code, reason) = payload.split_first_chunk::<2>().ok_or("has no code")?;
    let reason = std::str::from_utf8(reason).map_err(|_| "has a reason that is no UTF-8")?;
    let code = CloseCode::sendable(u16::from_be_bytes(*code)).unwrap_or(CloseCode::NormalClosure);
    Ok(What::Close(code, reason.to_owned()))
}

/// The most that [`read_number`] reads: 63 bits.
const NUMBER_MAX: u64 = u64::MAX >> 1;

/// LEB128 of at most 63 bits: seven bits in a byte, the lowest first; the highest bit says that more follow.
fn read_number(rest: &mut &[u8]) -> Option<u64> {
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

fn write_number(mut number: u64, out: &mut Vec<u8>) {
    loop {
        let low = number.to_le_bytes()[0] & 0x7f;
        number >>= 7;
        if number == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

/// websockify's form, behind its first words: a string of JavaScript on each line.
fn websockify(bytes: &[u8], limits: &Limits) -> Result<Recording, String> {
    let mut recording = Recording {
        is_stream: true,
        is_complete: true,
        ..Recording::default()
    };
    let mut at = Duration::ZERO;
    let mut lines = bytes.split(|byte| *byte == b'\n').peekable();
    while let Some(line) = lines.next() {
        let number = recording.entries.len() + 1;
        match line.trim_ascii() {
            b"" => continue,
            b"/* incomplete */" => recording.is_complete = false,
            b"'EOF'];" => return Ok(recording),
            // What has no line break behind it was cut off.
            _ if lines.peek().is_none() => return Err(format!("entry {number} is cut off")),
            line => {
                let (way, time, payload) = piece(line).map_err(|why| {
                    format!("entry {number} {why}, so this is no recording of websockify")
                })?;
                if payload.len() > limits.payload_bytes_max {
                    return Err(too_long(number, limits));
                }
                at = at.max(time);
                let what = What::Message(Kind::Binary, payload);
                recording.add(Entry { at, way, what }, limits)?;
            }
        }
    }
    recording.is_complete = false;
    Ok(recording)
}

/// A line as `'{12{bytes',`.
fn piece(line: &[u8]) -> Result<(Way, Duration, Vec<u8>), &'static str> {
    let line = line.strip_suffix(b",").unwrap_or(line);
    let inner = line.strip_prefix(b"'");
    let inner = inner.and_then(|inner| inner.strip_suffix(b"'"));
    let (mark, rest) = inner
        .and_then(<[u8]>::split_first)
        .ok_or("is no string in quotes")?;
    let way = match mark {
        b'}' => Way::Sent,
        b'{' => Way::Received,
        _ => return Err("begins with neither { nor }"),
    };
    let end = rest.iter().position(|byte| byte == mark);
    let (time, text) = rest.split_at(end.ok_or("has no time")?);
    let time = std::str::from_utf8(time).ok();
    let time = time.and_then(|time| time.parse().ok());
    let time = time.filter(|milliseconds| *milliseconds <= NUMBER_MAX / 1000);
    let time = Duration::from_millis(time.ok_or("has no time")?);
    Ok((way, time, unescaped(&text[1..])?))
}

/// The bytes of a string of JavaScript in which all but printable ASCII is escaped.
fn unescaped(mut text: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut bytes = Vec::with_capacity(text.len());
    while let Some((byte, rest)) = text.split_first() {
        text = rest;
        let byte = match (byte, rest) {
            (b'\\', [b'x', high, low, after @ ..]) => {
                text = after;
                let digit = |digit: u8| char::from(digit).to_digit(16);
                let number = digit(*high).zip(digit(*low));
                let number = number.map(|(high, low)| 16 * high + low);
                let number = number.and_then(|number| u8::try_from(number).ok());
                number.ok_or("has an escape that is unknown")?
            }
            (b'\\', [letter, after @ ..]) => {
                text = after;
                match letter {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'\\' | b'\'' | b'"' => *letter,
                    _ => return Err("has an escape that is unknown"),
                }
            }
            (b'\'' | b'\\', _) => return Err("has a quote within"),
            (0x20..=0x7e, _) => *byte,
            _ => return Err("has a byte that is no printable ASCII"),
        };
        bytes.push(byte);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Recording, String> {
        parse(bytes, &Limits::default())
    }

    fn binary(us: u64, way: Way, bytes: &[u8]) -> Entry {
        Entry {
            at: Duration::from_micros(us),
            way,
            what: What::Message(Kind::Binary, bytes.to_vec()),
        }
    }

    #[test]
    fn a_gateways_recording_is_a_stream_in_either_form() {
        let own = read(b"ringway-record 1\n{}\n>\x05\x02hi<\x80\x01\x01x!").expect("a recording");
        let expected = [
            binary(5, Way::Sent, b"hi"),
            binary(133, Way::Received, b"x"),
        ];
        assert_eq!((own.is_stream, own.is_complete), (true, false));
        assert_eq!(own.entries, expected);
        let text = b"var VNC_frame_data = [\n'{12{it\\'s\\\\\\n\\x00\\xe9',\n'}13}{',\n'EOF'];\n";
        let old = read(text).expect("a recording");
        let expected = [
            binary(12_000, Way::Received, b"it's\\\n\x00\xe9"),
            binary(13_000, Way::Sent, b"{"),
        ];
        assert_eq!((old.is_stream, old.is_complete), (true, true));
        assert_eq!(old.entries, expected);
    }

    #[test]
    fn messages_have_kinds_and_what_is_written_is_read() {
        let mut bytes = [MESSAGES, b"{}\n"].concat();
        write(b'T', Duration::from_millis(1), b"hello", &mut bytes);
        write(b'b', Duration::from_millis(2), &[7; 300], &mut bytes);
        write(b'P', Duration::ZERO, b"", &mut bytes);
        write(b'c', Duration::ZERO, b"\x03\xe9bye", &mut bytes);
        let whole = [&bytes[..], b"."].concat();
        let recording = read(&whole).expect("a recording");
        assert!(!recording.is_stream && recording.is_complete);
        let whats: Vec<_> = recording
            .entries
            .into_iter()
            .map(|entry| (entry.at.as_micros(), entry.way, entry.what))
            .collect();
        assert_eq!(
            whats,
            [
                (
                    1000,
                    Way::Sent,
                    What::Message(Kind::Text, b"hello".to_vec())
                ),
                (
                    3000,
                    Way::Received,
                    What::Message(Kind::Binary, vec![7; 300])
                ),
                (3000, Way::Sent, What::Ping(Vec::new())),
                (
                    3000,
                    Way::Received,
                    What::Close(CloseCode::GoingAway, "bye".to_owned())
                ),
            ]
        );
        assert!(!read(&bytes).expect("cut between entries").is_complete);
    }

    #[test]
    fn what_is_no_recording_is_told_with_its_place() {
        let wrong: [(&[u8], &str); 12] = [
            (b"GET / HTTP/1.1\r\n", "this is no recording"),
            (b"ringway-record 2\n{}", "its head does not end"),
            (b"ringway-record 2\n{}\nT\x00\x05hel", "entry 1 is cut off"),
            (
                b"ringway-record 2\n{}\nT\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
                "entry 1 is cut off",
            ),
            (
                b"ringway-record 2\n{}\nT\x00\x01\xff",
                "entry 1 is no UTF-8",
            ),
            (
                b"ringway-record 2\n{}\n>\x00\x01a",
                "entry 1 has a mark that is unknown",
            ),
            (
                b"ringway-record 1\n{}\nT\x00\x01a",
                "entry 1 has a mark that is unknown",
            ),
            (
                b"ringway-record 1\n{}\n>\x00\xff\xff\xff\xff\x0f",
                "entry 1 has more than 67108864 bytes",
            ),
            (
                b"var VNC_frame_data = [\n'{0{a',\n'{1{b",
                "entry 2 is cut off",
            ),
            (
                b"var VNC_frame_data = [\n'{0{a\\q',\n'EOF'];\n",
                "entry 1 has an escape that is unknown",
            ),
            (
                b"var VNC_frame_data = [\n'{{a',\n'EOF'];\n",
                "entry 1 has no time",
            ),
            (
                b"var VNC_frame_data = [\n{0{a,\n'EOF'];\n",
                "entry 1 is no string in quotes",
            ),
        ];
        for (bytes, sentence) in wrong {
            let why = read(bytes).expect_err("it is wrong");
            assert!(why.starts_with(sentence), "{why}");
        }
    }

    #[test]
    fn limits_hold() {
        let limits = Limits {
            bytes_max: 40,
            entries_max: 2,
            payload_bytes_max: 3,
        };
        let of = |bytes: &[u8]| parse(&[STREAM, b"{}\n", bytes].concat(), &limits);
        assert_eq!(
            of(b">\x00\x03abc<\x00\x00.").expect("within").entries.len(),
            2
        );
        assert_eq!(
            of(b">\x00\x00>\x00\x00>\x00\x00."),
            Err("it has more than 2 entries".to_owned())
        );
        assert_eq!(
            of(b">\x00\x04abcd."),
            Err("entry 1 has more than 3 bytes".to_owned())
        );
        assert_eq!(of(&[b'.'; 40]), Err("it has more than 40 bytes".to_owned()));
    }
}
