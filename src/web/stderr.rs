//! The standard error of a program, line by line in the log. Used by CGI programs, and by the programs of a gateway's sessions.
//!
//! Owns: the reading. Never: knows how its program ends.

use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::ChildStderr;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Bytes of a line in the log. The rest of it is left out.
const LOGGED_BYTES_MAX: usize = 4096;

/// Time to read what is left.
const LOG_REST: Duration = Duration::from_secs(1);

/// A task that writes what a program says to the log.
#[derive(Debug)]
pub struct Log(JoinHandle<()>);

impl Log {
    /// Begins to read, on the runtime that is running.
    pub fn begin(stderr: ChildStderr, name: Arc<str>, pid: impl Display + Send + 'static) -> Self {
        Self(tokio::spawn(async move {
            let mut stderr = BufReader::with_capacity(LOGGED_BYTES_MAX, stderr);
            while let Ok(Some(line)) = next_line(&mut stderr).await {
                let line = String::from_utf8_lossy(&line);
                tracing::warn!("{name}, process {pid}: {}", line.trim_end().escape_debug());
            }
        }))
    }

    /// The program has ended. Reads what is left; a daemon that has left its group may hold it for ever.
    pub async fn end(mut self) {
        if timeout(LOG_REST, &mut self.0).await.is_err() {
            self.0.abort();
        }
    }
}

/// The next line, or as much of it as is logged. `None`: there is none.
async fn next_line(from: &mut BufReader<impl AsyncRead + Unpin>) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    loop {
        let there = from.fill_buf().await?;
        let end = there.iter().position(|byte| *byte == b'\n');
        let piece = &there[..end.unwrap_or(there.len())];
        let room = LOGGED_BYTES_MAX - line.len();
        line.extend_from_slice(piece.get(..room).unwrap_or(piece));
        let (is_over, used) = (there.is_empty(), end.map_or(there.len(), |end| end + 1));
        from.consume(used);
        if end.is_some() {
            return Ok(Some(line));
        }
        if is_over {
            return Ok((!line.is_empty()).then_some(line));
        }
    }
}
