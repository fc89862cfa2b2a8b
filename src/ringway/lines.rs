//! Lines on stdout and stderr, printed without waiting for their reader.
//!
//! A paused pager, a terminal after Ctrl-S or a log collector that hangs does not read: write(2) then blocks until it
//! does. A process that serves must not block, so its lines go through a queue to a separate thread.
//!
//! Owns: one queue per stream and, from the first line on, one thread. Never: blocks its caller, grows beyond
//! `BYTES_MAX`. If the queue is full, a line is dropped and counted; the count is printed when there is room again. If
//! the reader has left (EPIPE), nothing more is written.
//!
//! ```text
//!  push ──► queue (256 KiB) ──► thread ──► write(2)      waits here, and only here
//!    └ full: dropped += 1           └ after each write: "N lines were dropped"
//! ```
//!
//! Programs that do not serve (`wsperf`, `ringway tune`) do not call [`detach`]: they wait for the reader of their
//! lines.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes that may wait for a slow reader, per stream: some thousand lines of a debug log (256 KiB). An empty queue
/// takes one block of any length.
pub const BYTES_MAX: usize = 256 << 10;

/// Time that the last lines get when the process ends.
pub const FLUSH_TIME_MAX: Duration = Duration::from_millis(500);

/// Time until a full descriptor is tried again, if another process has made it non-blocking.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// One of the standard streams.
#[derive(Debug)]
pub struct Stream {
    state: Mutex<State>,
    changed: Condvar,
    target: Target,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Stdout,
    Stderr,
}

#[derive(Debug)]
struct State {
    waiting: VecDeque<String>,
    bytes: usize,
    /// Lines dropped since the last count was printed.
    dropped: u64,
    /// The count that the line in write(2) reports; 0 if it reports none.
    telling: u64,
    writer: Writer,
}

/// State of a stream's thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writer {
    /// There is no thread yet.
    None,
    /// It waits for lines.
    Idle,
    /// It is in write(2), perhaps for long.
    Busy,
    /// The reader has left. All further lines are thrown away.
    Gone,
}

static STDOUT: Stream = Stream::new(Target::Stdout);
static STDERR: Stream = Stream::new(Target::Stderr);
static DETACHED: AtomicBool = AtomicBool::new(false);

/// From now on, no line on stderr waits for its reader, not even that of a panic.
pub fn detach() {
    DETACHED.store(true, Ordering::Relaxed);
    std::panic::set_hook(Box::new(|panic| {
        let trace = std::backtrace::Backtrace::capture();
        let trace = match trace.status() {
            std::backtrace::BacktraceStatus::Captured => format!("{trace}\n"),
            _ => String::new(),
        };
        say(format_args!("ringway: {panic}\n{trace}"));
        flush();
    }));
}

/// Prints whole lines on stderr with one write, so that lines of several processes do not mix.
pub fn say(lines: Arguments<'_>) {
    let lines = lines.to_string();
    if DETACHED.load(Ordering::Relaxed) {
        STDERR.push(lines);
    } else {
        // The process goes on without a stderr.
        let _ = io::stderr().write_all(lines.as_bytes());
    }
}

/// Prints a block of whole lines on stdout, without waiting.
pub fn print(block: String) {
    STDOUT.push(block);
}

/// Whether stdout has a reader. If not, blocks for it need not be made.
pub fn stdout_is_open() -> bool {
    STDOUT.state().writer != Writer::Gone
}

/// Waits until everything is written, for [`FLUSH_TIME_MAX`] at most.
pub fn flush() {
    let deadline = Instant::now() + FLUSH_TIME_MAX;
    STDOUT.flush(deadline);
    STDERR.flush(deadline);
}

/// The writer of a logger: each event is one write.
#[derive(Clone, Copy, Debug)]
pub struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        say(format_args!("{}", String::from_utf8_lossy(bytes)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream {
    const fn new(target: Target) -> Self {
        Self {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                bytes: 0,
                dropped: 0,
                telling: 0,
                writer: Writer::None,
            }),
            changed: Condvar::new(),
            target,
        }
    }

    /// Locks the state. A panic under the lock does not harm it: every change is complete.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&'static self, lines: String) {
        let mut state = self.state();
        if state.writer == Writer::Gone {
            return;
        }
        if !state.waiting.is_empty() && state.bytes + lines.len() > BYTES_MAX {
            state.dropped += 1;
            return;
        }
        state.bytes += lines.len();
        state.waiting.push_back(lines);
        if state.writer == Writer::None {
            // If the kernel makes no thread now, the lines wait, and the next line tries again.
            let thread = std::thread::Builder::new()
                .name("lines".to_owned())
                .stack_size(128 << 10);
            if thread.spawn(|| self.write_all()).is_ok() {
                state.writer = Writer::Idle;
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    fn flush(&self, deadline: Instant) {
        let mut state = self.state();
        while !state.is_written() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            (state, _) = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The thread's loop.
    fn write_all(&'static self) {
        loop {
            let lines = self.next();
            let outcome = match self.target {
                Target::Stdout => write(&mut io::stdout(), lines.as_bytes()),
                Target::Stderr => write(&mut io::stderr(), lines.as_bytes()),
            };
            let dropped = self.handle_written(outcome);
            self.changed.notify_all();
            if dropped > 0 && self.target == Target::Stdout {
                // On stderr, because programs that read the figures on stdout do not expect such a line.
                STDERR.push(self.target.told(dropped));
            }
            if self.state().writer == Writer::Gone {
                return;
            }
        }
    }

    /// Handles the result of a write. Returns how many lines were dropped, if that can be printed now.
    fn handle_written(&self, outcome: io::Result<()>) -> u64 {
        let mut state = self.state();
        state.writer = Writer::Idle;
        let telling = std::mem::take(&mut state.telling);
        let dropped = match outcome {
            Ok(()) => std::mem::take(&mut state.dropped),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                state.leave();
                0
            }
            // For example a full disk: the next line may fit again.
            Err(_) => {
                // A count that was not written is printed later.
                state.dropped += telling.max(1);
                0
            }
        };
        if dropped > 0 && self.target == Target::Stderr {
            state.telling = dropped;
            let told = self.target.told(dropped);
            state.bytes += told.len();
            state.waiting.push_front(told);
        }
        dropped
    }

    /// Waits for the next lines.
    fn next(&self) -> String {
        let mut state = self.state();
        loop {
            if let Some(lines) = state.waiting.pop_front() {
                state.bytes = state.bytes.saturating_sub(lines.len());
                state.writer = Writer::Busy;
                return lines;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl State {
    fn is_written(&self) -> bool {
        self.writer == Writer::Gone
            || self.waiting.is_empty() && matches!(self.writer, Writer::None | Writer::Idle)
    }

    /// The reader has left: drops all lines.
    fn leave(&mut self) {
        self.writer = Writer::Gone;
        self.waiting = VecDeque::new();
        self.bytes = 0;
    }
}

impl Target {
    /// The line that reports a count of dropped lines.
    fn told(self, dropped: u64) -> String {
        let what = match self {
            Self::Stdout => "blocks of statistics",
            Self::Stderr => "lines of this log",
        };
        format!(
            "ringway: warning: {dropped} {what} were dropped: nobody read them for a while, and what runs does not \
             wait\n"
        )
    }
}

/// Writes everything. Waits for the descriptor if another process that shares it has made it non-blocking.
fn write(stream: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(len) => bytes = &bytes[len..],
            Err(error) => wait_or_fail(error)?,
        }
    }
    loop {
        match stream.flush() {
            Ok(()) => return Ok(()),
            Err(error) => wait_or_fail(error)?,
        }
    }
}

fn wait_or_fail(error: io::Error) -> io::Result<()> {
    match error.kind() {
        ErrorKind::Interrupted => Ok(()),
        ErrorKind::WouldBlock => {
            std::thread::sleep(RETRY_INTERVAL);
            Ok(())
        }
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes three bytes at a time. Every other time it takes none.
    struct Reluctant(Vec<u8>, bool);

    impl Write for Reluctant {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(ErrorKind::WouldBlock.into());
            }
            let len = bytes.len().min(3);
            self.0.extend_from_slice(&bytes[..len]);
            Ok(len)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stream_that_somebody_made_non_blocking_still_gets_every_byte() {
        let mut stream = Reluctant(Vec::new(), false);
        write(&mut stream, b"ringway: a line\n").expect("in the end");
        assert_eq!(stream.0, b"ringway: a line\n");
    }

    #[test]
    fn lines_beyond_the_limit_are_dropped_and_counted_and_one_long_block_is_not() {
        static STREAM: Stream = Stream::new(Target::Stdout);
        STREAM.state().writer = Writer::Busy; // in a write that does not end
        STREAM.push("x".repeat(BYTES_MAX + 1));
        assert_eq!(STREAM.state().waiting.len(), 1);
        (0..7).for_each(|_| STREAM.push("one more\n".to_owned()));
        let state = STREAM.state();
        assert_eq!((state.waiting.len(), state.dropped), (1, 7));
    }

    /// The seed decides when the reader pauses and when the disk is full.
    #[test]
    fn every_line_is_written_in_order_or_counted_and_what_waits_is_bounded() {
        for seed in 0..50 {
            let mut random = crate::random::Random::new(seed);
            // There is no thread: the world below decides when a write begins and ends.
            let stream: &'static Stream = Box::leak(Box::new(Stream::new(Target::Stderr)));
            let (mut pushed, mut written, mut told) = (0_u64, Vec::new(), 0_u64);
            let mut under_way: Option<String> = None;
            stream.state().writer = Writer::Idle;
            for _ in 0..4000 {
                if random.chance(900) {
                    let padding = "x".repeat(random.magnitude(5000));
                    stream.push(format!("{pushed} {padding}\n"));
                    pushed += 1;
                }
                match under_way.take() {
                    None if !stream.state().waiting.is_empty() => under_way = Some(stream.next()),
                    Some(lines) if random.chance(600) => {
                        let outcome = match random.chance(100) {
                            true => Err(ErrorKind::StorageFull.into()),
                            false => Ok(()),
                        };
                        let is_written = outcome.is_ok();
                        stream.handle_written(outcome);
                        let number = |at: usize| lines.split(' ').nth(at)?.parse::<u64>().ok();
                        match (number(0), number(2)) {
                            (Some(line), _) if is_written => written.push(line),
                            // ringway: warning: 17 lines of this log were dropped: …
                            (None, Some(count)) if is_written => told += count,
                            _ => {}
                        }
                    }
                    lines => under_way = lines,
                }
                let bytes: usize = stream.state().waiting.iter().map(String::len).sum();
                assert_eq!(bytes, stream.state().bytes);
                assert!(bytes <= BYTES_MAX + 200, "{bytes} bytes wait");
            }
            assert!(written.is_sorted(), "in order");
            let is_line = |lines: &&String| !lines.starts_with("ringway: warning");
            let state = stream.state();
            let waiting = state
                .waiting
                .iter()
                .chain(&under_way)
                .filter(is_line)
                .count() as u64;
            let counted = told + state.dropped + state.telling;
            assert_eq!(
                pushed,
                written.len() as u64 + waiting + counted,
                "seed {seed}"
            );
            assert!(counted > 0 && written.len() > 100, "{counted} dropped");
        }
    }

    #[test]
    fn a_flush_ends_although_the_reader_does_not_read() {
        static STREAM: Stream = Stream::new(Target::Stderr);
        STREAM.state().writer = Writer::Busy;
        STREAM.push("never read\n".to_owned());
        STREAM.flush(Instant::now() + Duration::from_millis(20));
        assert!(!STREAM.state().is_written());
        STREAM.state().leave();
        STREAM.flush(Instant::now() + Duration::from_secs(3600));
        assert!(STREAM.state().is_written());
    }
}
