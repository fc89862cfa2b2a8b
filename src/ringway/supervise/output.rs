//! What goes to stdout: whole blocks, written by a thread of their own.
//!
//! Owns: that thread. Never: lets a stalled reader of stdout (a paused pager, a full pipe) hold the supervisor: blocks
//! that do not fit the queue are dropped. A reader that left is quiet: nothing more is written.

use std::io::Write as _;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Blocks that may wait for a slow reader.
const QUEUE_LEN: usize = 64;

/// Time that the last blocks have when the process ends.
const FLUSH_TIME_MAX: Duration = Duration::from_millis(500);

/// Writes to stdout, or nowhere when silent.
#[derive(Debug)]
pub(super) struct Output {
    writer: Option<(SyncSender<String>, JoinHandle<()>)>,
}

impl Output {
    pub(super) fn new(silence: bool) -> std::io::Result<Self> {
        if silence {
            return Ok(Self { writer: None });
        }
        let (sender, receiver) = sync_channel(QUEUE_LEN);
        let thread = std::thread::Builder::new()
            .name("stdout".to_owned())
            .spawn(move || write_all(&receiver))?;
        Ok(Self {
            writer: Some((sender, thread)),
        })
    }

    /// Whether anybody gets to see what is printed: if not, it need not be made.
    pub(super) fn is_open(&self) -> bool {
        self.writer
            .as_ref()
            .is_some_and(|(_, thread)| !thread.is_finished())
    }

    /// Prints a block of whole lines.
    pub(super) fn print(&self, block: String) {
        if let Some((sender, _)) = &self.writer {
            let _ = sender.try_send(block);
        }
    }

    /// Waits, a moment at most, until everything is written.
    pub(super) fn close(self) {
        let Some((sender, thread)) = self.writer else {
            return;
        };
        drop(sender);
        let deadline = Instant::now() + FLUSH_TIME_MAX;
        while !thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn write_all(blocks: &Receiver<String>) {
    let mut stdout = std::io::stdout();
    for block in blocks {
        if stdout
            .write_all(block.as_bytes())
            .and_then(|()| stdout.flush())
            .is_err()
        {
            return;
        }
    }
}
