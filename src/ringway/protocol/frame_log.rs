//! The log of frames: one line for each frame of some connections.
//!
//! A worker looks at one connection in so many, at [`TAPPED_MAX`] at the same time (about 150 bytes each), and writes
//! [`LINES_PER_SECOND_MAX`] lines a second. It counts the frames that it saw beyond that, and says so with
//! the next one or at the end of the last connection. Without the log, a message that the application sends pays one
//! comparison; with it, whatever is received or sent is looked for among those connections.

use std::fmt;

use super::config::FrameLogging;
use crate::io::ConnId;
use crate::proto::frame::Header;
use crate::proto::tap::{SHOWN_BYTES_MAX, Tap};
use crate::time::Instant;

/// Connections of a worker whose frames are logged at the same time.
const TAPPED_MAX: usize = 64;

/// Lines that a worker writes in a second.
const LINES_PER_SECOND_MAX: u32 = 1000;

/// The log of one worker.
#[derive(Debug)]
pub(crate) struct FrameLog {
    logging: FrameLogging,
    /// Connections that opened.
    opened: u64,
    tapped: Vec<(ConnId, Tap)>,
    lines: Lines,
}

/// Lines written in the current second.
#[derive(Debug)]
struct Lines {
    since: Instant,
    written: u32,
    /// Frames in this second that have no line.
    left_out: u64,
}

/// Which way a frame went.
#[derive(Clone, Copy, Debug)]
enum Way {
    Received,
    Sent,
}

impl FrameLog {
    pub(crate) fn new(logging: Option<FrameLogging>) -> Option<Box<Self>> {
        logging.map(|logging| {
            Box::new(Self {
                logging: FrameLogging {
                    payload_bytes_max: logging.payload_bytes_max.min(SHOWN_BYTES_MAX),
                    ..logging
                },
                opened: 0,
                tapped: Vec::new(),
                lines: Lines {
                    since: Instant::ZERO,
                    written: 0,
                    left_out: 0,
                },
            })
        })
    }

    /// A WebSocket opened. Returns whether its frames are logged.
    pub(crate) fn open(&mut self, id: ConnId) -> bool {
        let turn = self.opened.is_multiple_of(self.logging.every.get().into());
        self.opened += 1;
        let is_tapped = turn && self.tapped.len() < TAPPED_MAX;
        if is_tapped {
            let tap = Tap::new(self.logging.payload_bytes_max);
            self.tapped.push((id, tap));
        }
        is_tapped
    }

    /// It ended.
    pub(crate) fn close(&mut self, id: ConnId) {
        self.tapped.retain(|(tapped, _)| *tapped != id);
        if self.tapped.is_empty() {
            self.lines.tell_left_out();
        }
    }

    /// Bytes of frames have arrived.
    pub(crate) fn received(&mut self, id: ConnId, now: Instant, bytes: &[u8]) {
        let lines = &mut self.lines;
        if let Some((_, tap)) = self.tapped.iter_mut().find(|(tapped, _)| *tapped == id) {
            tap.look(bytes, |header, payload| {
                lines.write(now, &Line(id, Way::Received, header, payload));
            });
        }
    }

    /// A frame leaves.
    pub(crate) fn sent(&mut self, id: ConnId, now: Instant, header: &Header, payload: &[u8]) {
        if self.tapped.iter().any(|(tapped, _)| *tapped == id) {
            let shown = payload.len().min(self.logging.payload_bytes_max);
            let line = Line(id, Way::Sent, header, &payload[..shown]);
            self.lines.write(now, &line);
        }
    }

    /// The same, encoded.
    pub(crate) fn sent_encoded(&mut self, id: ConnId, now: Instant, frame: &[u8]) {
        let Self {
            logging,
            tapped,
            lines,
            ..
        } = self;
        if tapped.iter().any(|(tapped, _)| *tapped == id) {
            Tap::new(logging.payload_bytes_max).look(frame, |header, payload| {
                lines.write(now, &Line(id, Way::Sent, header, payload));
            });
        }
    }
}

impl Lines {
    fn tell_left_out(&mut self) {
        let left_out = std::mem::take(&mut self.left_out);
        if left_out > 0 {
            tracing::info!(
                "{left_out} frames have no line: a worker writes {LINES_PER_SECOND_MAX} a second"
            );
        }
    }

    fn write(&mut self, now: Instant, line: &Line<'_>) {
        if now.since(self.since).as_secs() >= 1 {
            self.tell_left_out();
            (self.since, self.written) = (now, 0);
        }
        if self.written == LINES_PER_SECOND_MAX {
            self.left_out += 1;
            return;
        }
        self.written += 1;
        tracing::info!("{line}");
    }
}

/// A frame, and the payload bytes of it that are shown.
struct Line<'a>(ConnId, Way, &'a Header, &'a [u8]);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(id, way, header, shown) = self;
        let way = match way {
            Way::Received => "received",
            Way::Sent => "sent",
        };
        write!(
            f,
            "frame {way} connection={}.{} opcode={} fin={} rsv1={} masked={} payload_bytes={}",
            id.slot,
            id.generation,
            header.opcode as u8,
            u8::from(header.fin),
            u8::from(header.compressed),
            u8::from(header.masking_key.is_some()),
            header.payload_len
        )?;
        if !shown.is_empty() {
            write!(f, " payload={}", shown.escape_ascii())?;
        }
        if (shown.len() as u64) < header.payload_len && !shown.is_empty() {
            f.write_str("…")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZero;
    use std::time::Duration;

    use super::*;
    use crate::proto::Opcode;

    fn id(slot: u32) -> ConnId {
        ConnId {
            slot,
            generation: 7,
        }
    }

    fn log(every: u32) -> Box<FrameLog> {
        let every = NonZero::new(every).expect("above zero");
        let logging = FrameLogging {
            every,
            payload_bytes_max: 4,
        };
        FrameLog::new(Some(logging)).expect("it is wanted")
    }

    #[test]
    fn one_connection_in_so_many_is_looked_at_and_never_more_than_64() {
        let mut one_in_three = log(3);
        let tapped: Vec<_> = (0..7).map(|slot| one_in_three.open(id(slot))).collect();
        assert_eq!(tapped, [true, false, false, true, false, false, true]);
        let mut all = log(1);
        assert_eq!(
            (0..100).filter(|slot| all.open(id(*slot))).count(),
            TAPPED_MAX
        );
        all.close(id(5));
        assert!(all.open(id(100)), "there is room for one again");
    }

    #[test]
    fn a_worker_writes_so_many_lines_a_second() {
        let mut lines = log(1).lines;
        let header = Header {
            fin: true,
            compressed: false,
            opcode: Opcode::Text,
            payload_len: 9,
            masking_key: None,
        };
        let line = Line(id(1), Way::Sent, &header, b"a\nb\xff");
        assert_eq!(
            line.to_string(),
            "frame sent connection=1.7 opcode=1 fin=1 rsv1=0 masked=0 payload_bytes=9 payload=a\\nb\\xff…"
        );
        let at = |ms| Instant::ZERO + Duration::from_millis(ms);
        for _ in 0..1500 {
            lines.write(at(100), &line);
        }
        assert_eq!((lines.written, lines.left_out), (1000, 500));
        lines.write(at(1000), &line);
        assert_eq!((lines.written, lines.left_out), (1, 0));
    }
}
