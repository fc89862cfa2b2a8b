//! Where messages and remarks go: the standard output and error, or a terminal on which somebody types.
//!
//! Owns: the thread that writes, so that a slow reader of the output keeps no Ping waiting. Never: decides what is shown.

use std::io::{self, Write};
use std::thread;

use tokio::sync::{mpsc, oneshot};

/// Pieces that wait for the thread. Behind them messages wait, and then the peer.
const WAITING_MAX: usize = 16;

enum Piece {
    Message(Vec<u8>),
    Remark(String),
    Flush(oneshot::Sender<()>),
}

/// Writes a piece on a terminal, above the line that is being typed.
pub(super) type Above = Box<dyn FnMut(String) + Send>;

/// A handle to the thread that writes.
#[derive(Clone, Debug)]
pub(super) struct Screen {
    pieces: mpsc::Sender<Piece>,
}

/// Nobody reads the standard output any more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gone;

impl Screen {
    /// Messages on the standard output, remarks on the standard error.
    pub(super) fn of_pipe() -> Self {
        Self::start(|piece| match piece {
            Piece::Message(bytes) => {
                let mut out = io::stdout().lock();
                out.write_all(&bytes).and_then(|()| out.flush())
            }
            Piece::Remark(text) => {
                // The program goes on without a stderr.
                let _ = io::stderr().write_all(text.as_bytes());
                Ok(())
            }
            Piece::Flush(done) => {
                let _ = done.send(());
                Ok(())
            }
        })
    }

    /// Everything above the line that is being typed.
    pub(super) fn above(mut print: Above) -> Self {
        Self::start(move |piece| {
            match piece {
                Piece::Message(bytes) => print(String::from_utf8_lossy(&bytes).into_owned()),
                Piece::Remark(text) => print(text),
                Piece::Flush(done) => {
                    // The terminal's channel has one place: when the second of these was taken, all before the first was printed.
                    // Each goes up a line before it ends one.
                    print("\x1b[A\n".to_owned());
                    print("\x1b[A\n".to_owned());
                    let _ = done.send(());
                }
            }
            Ok(())
        })
    }

    fn start(mut write: impl FnMut(Piece) -> io::Result<()> + Send + 'static) -> Self {
        let (pieces, mut waiting) = mpsc::channel(WAITING_MAX);
        thread::spawn(move || {
            while let Some(piece) = waiting.blocking_recv() {
                if write(piece).is_err() {
                    return;
                }
            }
        });
        Self { pieces }
    }

    /// Prints a message that was received.
    pub(super) async fn message(&self, bytes: Vec<u8>) -> Result<(), Gone> {
        self.pieces
            .send(Piece::Message(bytes))
            .await
            .map_err(|_| Gone)
    }

    /// Prints a remark, which ends with a line break.
    pub(super) async fn remark(&self, text: String) {
        // Without the standard output, remarks have nobody either.
        let _ = self.pieces.send(Piece::Remark(text)).await;
    }

    /// Waits until everything is written.
    pub(super) async fn flush(&self) {
        let (done, is_done) = oneshot::channel();
        if self.pieces.send(Piece::Flush(done)).await.is_ok() {
            let _ = is_done.await;
        }
    }
}
