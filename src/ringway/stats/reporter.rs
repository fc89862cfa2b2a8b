//! A worker's end of the stats pipe.
//!
//! Owns: the write end, and the remainder of a record that the pipe took only in part.
//! Never: blocks, breaks the framing, keeps more than one record, reads a clock.
//!
//! One report:
//! 1. First, the rest of the previous record is written.
//! 2. If the pipe does not take all of it, the new record is dropped and counted. Its turn times stay for the next one.
//! 3. Otherwise the new record is encoded and written. What the pipe does not take waits for the next report.

use std::fs::File;
use std::io::{self, ErrorKind, Write};

use super::counters::Counters;
use super::record::{self, Identity, Moment};
use super::turns::TurnTimes;
use crate::time::Instant;

/// The outcome of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reported {
    /// The pipe took it whole.
    Sent,
    /// The pipe took a part. The next report writes the rest first.
    Queued,
    /// The pipe is full. The record is dropped, and counted in `records_dropped`.
    Dropped,
}

/// The pipe cannot be written to any more.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReportError {
    /// No process reads the pipe: the supervisor is gone.
    SupervisorGone,
    /// Another failure of the pipe, which will hardly pass.
    Pipe(io::Error),
}

impl std::fmt::Display for ReportError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::SupervisorGone => {
                f.write_str("the supervisor is gone (nobody reads the stats pipe)")
            }
            Self::Pipe(error) => write!(f, "cannot write to the stats pipe: {error}"),
        }
    }
}

impl std::error::Error for ReportError {}

/// Sends one record per interval up the pipe.
#[derive(Debug)]
pub struct Reporter {
    pipe: File,
    identity: Identity,
    sequence: u64,
    last: Option<Instant>,
    /// Encoded bytes that the pipe has not taken yet.
    pending: Vec<u8>,
}

impl Reporter {
    /// A reporter of worker `worker` on `pipe`, which must be O_NONBLOCK. `tier` is the I/O tier, and `tier_note` its
    /// reason in a few words.
    pub fn new(pipe: File, worker: u16, tier: &str, tier_note: &str) -> Self {
        let identity = Identity {
            worker,
            pid: std::process::id(),
            tier: tier.to_owned(),
            tier_note: tier_note.to_owned(),
        };
        Self {
            pipe,
            identity,
            sequence: 0,
            last: None,
            pending: Vec::with_capacity(8 * 1024),
        }
    }

    /// Reports the interval that ends at `now`. The first report tells the supervisor that the worker accepts, so it is
    /// sent as soon as it does. Resets `turns` unless the record was dropped.
    pub fn report(
        &mut self,
        now: Instant,
        counters: &mut Counters,
        turns: &mut TurnTimes,
    ) -> Result<Reported, ReportError> {
        self.flush()?;
        if !self.pending.is_empty() {
            counters.records_dropped += 1;
            return Ok(Reported::Dropped);
        }
        let interval = self
            .last
            .map_or(0, |last| now.nanos().saturating_sub(last.nanos()));
        let moment = Moment {
            sequence: self.sequence,
            interval_ns: interval,
            at: now,
        };
        record::encode(&self.identity, moment, counters, turns, &mut self.pending);
        let encoded = self.pending.len();
        self.flush()?;
        if self.pending.len() == encoded {
            // The pipe took no byte of this record, so it can still be dropped.
            self.pending.clear();
            counters.records_dropped += 1;
            return Ok(Reported::Dropped);
        }
        self.sequence += 1;
        self.last = Some(now);
        turns.reset();
        Ok(if self.pending.is_empty() {
            Reported::Sent
        } else {
            Reported::Queued
        })
    }

    /// Writes pending bytes, as many as the pipe takes.
    fn flush(&mut self) -> Result<(), ReportError> {
        let mut written = 0;
        let outcome = loop {
            if written == self.pending.len() {
                break Ok(());
            }
            match self.pipe.write(&self.pending[written..]) {
                Ok(0) => break Err(ReportError::Pipe(ErrorKind::WriteZero.into())),
                Ok(len) => written += len,
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock => break Ok(()),
                    ErrorKind::BrokenPipe => break Err(ReportError::SupervisorGone),
                    _ => break Err(ReportError::Pipe(error)),
                },
            }
        };
        self.pending.drain(..written);
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::super::record::Decoder;
    use super::*;

    /// A non-blocking pair. It is a socket, which std can make without unsafe code. Like a full pipe, it takes parts of
    /// a write.
    fn pair() -> (File, UnixStream) {
        let (write, read) = UnixStream::pair().expect("a socketpair");
        write.set_nonblocking(true).expect("a flag");
        read.set_nonblocking(true).expect("a flag");
        (File::from(OwnedFd::from(write)), read)
    }

    fn read_some(
        reader: &mut UnixStream,
        decoder: &mut Decoder,
        len: usize,
    ) -> Vec<super::super::Record> {
        let mut buffer = vec![0; len];
        if let Ok(got) = reader.read(&mut buffer) {
            decoder.handle_input(&buffer[..got]);
        }
        std::iter::from_fn(|| decoder.poll_record())
            .map(|item| item.expect("framing holds"))
            .collect()
    }

    #[test]
    fn the_first_record_is_sequence_zero_with_no_interval() {
        let (pipe, mut reader) = pair();
        let mut reporter = Reporter::new(pipe, 2, "epoll", "forced");
        let (mut counters, mut turns) = (Counters::default(), TurnTimes::new());
        let start = Instant::from_nanos(5_000);
        assert_eq!(
            reporter.report(start, &mut counters, &mut turns).ok(),
            Some(Reported::Sent)
        );
        turns.record(100);
        let later = start + Duration::from_secs(1);
        assert_eq!(
            reporter.report(later, &mut counters, &mut turns).ok(),
            Some(Reported::Sent)
        );
        assert!(turns.is_empty());

        let records = read_some(&mut reader, &mut Decoder::new(), 65536);
        let seen: Vec<_> = records
            .iter()
            .map(|r| (r.sequence, r.interval_ns, r.turns.len()))
            .collect();
        assert_eq!(seen, [(0, 0, 0), (1, 1_000_000_000, 1)]);
        assert_eq!((records[0].worker, records[0].tier.as_str()), (2, "epoll"));
    }

    #[test]
    fn a_full_pipe_drops_records_counts_them_and_never_breaks_the_framing() {
        let (pipe, mut reader) = pair();
        let mut reporter = Reporter::new(pipe, 0, "uring", "");
        let (mut counters, mut turns) = (Counters::default(), TurnTimes::new());
        let mut decoder = Decoder::new();
        let (mut now, mut accepted, mut records) = (Instant::ZERO, 0, Vec::new());
        for round in 0..4000_usize {
            now = now + Duration::from_millis(10);
            turns.record(1000);
            match reporter
                .report(now, &mut counters, &mut turns)
                .expect("the reader is there")
            {
                Reported::Dropped => {}
                _ => accepted += 1,
            }
            if round % 7 == 0 {
                records.extend(read_some(&mut reader, &mut decoder, 333 + round % 91));
            }
        }
        assert!(counters.records_dropped > 0, "the pipe was never full");
        loop {
            let before = records.len();
            records.extend(read_some(&mut reader, &mut decoder, 1 << 20));
            let _ = reporter.flush();
            if records.len() == before {
                break;
            }
        }
        assert_eq!(records.len(), accepted);
        assert!(
            records
                .iter()
                .enumerate()
                .all(|(index, record)| record.sequence == index as u64)
        );
        // A dropped record leaves its turns and its time to the next one: none are lost.
        let turns_seen: u64 = records.iter().map(|record| record.turns.len()).sum();
        assert_eq!(turns_seen + turns.len(), 4000);
    }

    #[test]
    fn a_reader_that_left_is_reported() {
        let (pipe, reader) = pair();
        drop(reader);
        let mut reporter = Reporter::new(pipe, 0, "uring", "");
        let outcome = reporter.report(
            Instant::ZERO,
            &mut Counters::default(),
            &mut TurnTimes::new(),
        );
        assert!(
            matches!(outcome, Err(ReportError::SupervisorGone)),
            "{outcome:?}"
        );
    }
}
