//! Terminals of programs: a pseudo-terminal (pty(7)) for each session.
//!
//! Owns: the terminal's side of it, its size, and the tasks that pump between it and the worker. Never: starts or ends a process.
//!
//! ```text
//!  worker ── near ══ far ──▶ input task ──▶ terminal ══ the program's standard input, output and error
//!                        ◀── output task ◀──
//! ```
//!
//! A task has one piece in its hands and reads no further one before that is written: whoever does not read stops the other side.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::sync::Arc;
use std::time::Duration;

use ringway::CloseCode;
use ringway::io::words::waited_for;
use ringway::services::gateway::{Refusal, Why};
use rustix::io::Errno;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use serde::Deserialize;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Bytes that are pumped at once. The kernel gives 4 KiB of a terminal's output at a time.
const PIECE_BYTES: usize = 8 << 10;

/// More than the kernel keeps of the output of a program that has ended (64 KiB, and 4 KiB of the line discipline). What is beyond it is
/// of a process that has left the session.
const REST_BYTES_MAX: usize = 256 << 10;

/// How often a terminal that takes nothing is tried without a word of the kernel.
const LOOK: Duration = Duration::from_millis(50);

/// Columns and rows of a larger terminal are a mistake.
const SIDE_MAX: u16 = 9999;

/// Bytes of the name of a terminal's type.
const KIND_BYTES_MAX: usize = 64;

/// How large a terminal is, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Size {
    columns: u16,
    rows: u16,
}

impl Default for Size {
    fn default() -> Self {
        let (columns, rows) = (80, 24);
        Self { columns, rows }
    }
}

impl Size {
    const fn is_one(self) -> bool {
        matches!((self.columns, self.rows), (1..=SIDE_MAX, 1..=SIDE_MAX))
    }

    /// Reads a control message: `{"columns":132,"rows":43}`.
    pub(super) fn of_control(text: &str) -> Result<Self, (CloseCode, Cow<'static, str>)> {
        let size = serde_json::from_str(text).ok();
        size.filter(|size: &Self| size.is_one()).ok_or_else(|| {
            let sentence = "a control message is a size, as {\"columns\":80,\"rows\":24}";
            (CloseCode::InvalidFramePayloadData, sentence.into())
        })
    }

    fn cells(self) -> Winsize {
        Winsize {
            ws_row: self.rows,
            ws_col: self.columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        }
    }
}

/// What a request says about its terminal: `?columns=132&rows=43&term=xterm`. Other names are the program's.
///
/// # Errors
/// 400 with a sentence.
pub(super) fn of_query(query: Option<&str>) -> Result<(Size, Option<String>), Refusal> {
    let wrong = || {
        let sentence = "the size of a terminal is written as ?columns=80&rows=24, each at most 9999, and its type as &term=xterm";
        Refusal::new(Why::NoTarget, 400, sentence)
    };
    let (mut size, mut kind) = (Size::default(), None);
    for (name, value) in query
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split_once('='))
    {
        match name {
            "columns" => size.columns = value.parse().map_err(|_| wrong())?,
            "rows" => size.rows = value.parse().map_err(|_| wrong())?,
            "term" if is_kind(value) => kind = Some(value.to_owned()),
            "term" => return Err(wrong()),
            _ => {}
        }
    }
    match size.is_one() {
        true => Ok((size, kind)),
        false => Err(wrong()),
    }
}

/// Whether this may be a terminal's type: programs look for a file of this name.
pub(super) fn is_kind(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-+_.".contains(&byte);
    (1..=KIND_BYTES_MAX).contains(&text.len())
        && !text.starts_with('.')
        && text.bytes().all(is_part)
}

/// The terminal's side of a pseudo-terminal. It is hung up when the last of those who hold it lets go.
#[derive(Debug)]
pub(in crate::gateway) struct Terminal(AsyncFd<File>);

impl Terminal {
    /// Opens one, on the thread beside a worker. Returns the program's side as well.
    ///
    /// # Errors
    /// The system has no more of them.
    pub(super) fn open(size: Size) -> io::Result<(Self, OwnedFd)> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let own = rustix::pty::openpt(flags)?;
        rustix::pty::grantpt(&own)?;
        rustix::pty::unlockpt(&own)?;
        let programs = rustix::pty::ioctl_tiocgptpeer(&own, flags)?;
        rustix::io::ioctl_fionbio(&own, true)?;
        rustix::termios::tcsetwinsize(&own, size.cells())?;
        Ok((Self::of(own)?, programs))
    }

    /// What behaves as one: a serial device, which does not block.
    ///
    /// # Errors
    /// It cannot be watched.
    pub(in crate::gateway) fn of(device: OwnedFd) -> io::Result<Self> {
        Ok(Self(waited_for(
            device.into(),
            Interest::READABLE | Interest::WRITABLE,
        )?))
    }

    /// Closes a device, which may wait until what was written has left it.
    pub(in crate::gateway) async fn close(device: Arc<Self>) {
        if let Some(Self(device)) = Arc::into_inner(device) {
            let device = device.into_inner();
            let _ = tokio::task::spawn_blocking(move || drop(device)).await;
        }
    }

    /// Tells the program, by SIGWINCH. One whose program is gone has no size.
    pub(super) fn resize(&self, size: Size) {
        let _ = rustix::termios::tcsetwinsize(self.0.get_ref(), size.cells());
    }

    async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match rustix::io::write(self.0.get_ref(), bytes) {
                Ok(len) => bytes = &bytes[len..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    // The kernel says that there is room when the program has read; not always when it has changed its mode.
                    if let Ok(ready) = timeout(LOOK, self.0.writable()).await {
                        ready?.clear_ready();
                    }
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }
}

/// The tasks of a session, which end with it.
#[derive(Debug)]
pub(in crate::gateway) struct Relay {
    has_ended: watch::Sender<bool>,
    input: JoinHandle<()>,
    output: JoinHandle<()>,
}

impl Relay {
    /// Begins to pump. Whoever holds `terminal` beside it has it open. Where nobody has the other side open at present, a terminal may be opened
    /// again; a device is gone.
    ///
    /// # Errors
    /// The worker's end cannot be watched.
    pub(in crate::gateway) fn begin(
        terminal: &Arc<Terminal>,
        far: &StdStream,
        is_device: bool,
    ) -> io::Result<Self> {
        let far = far.try_clone()?;
        far.set_nonblocking(true)?;
        let (reads, writes) = UnixStream::from_std(far)?.into_split();
        let (has_ended, ended) = watch::channel(false);
        Ok(Self {
            has_ended,
            input: tokio::spawn(take_input(Arc::clone(terminal), reads)),
            output: tokio::spawn(give_output(Arc::clone(terminal), writes, ended, is_device)),
        })
    }

    /// Waits until either side has ended.
    pub(in crate::gateway) async fn either(&mut self) {
        tokio::select! {
            _ = &mut self.input => {},
            _ = &mut self.output => {},
        }
        self.input.abort();
        self.output.abort();
        // They let go of the device.
        for task in [&mut self.input, &mut self.output] {
            if !task.is_finished() {
                let _ = task.await;
            }
        }
    }

    /// The program has ended: waits until all that it has written is on the way to the client.
    pub(super) async fn finish(&mut self) {
        self.has_ended.send_replace(true);
        let _ = (&mut self.output).await;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.input.abort();
        self.output.abort();
    }
}

/// Pumps from the client to the program. Its end is none of the terminal's: that is hung up when the session is over.
async fn take_input(terminal: Arc<Terminal>, from: OwnedReadHalf) {
    let mut piece = [0; PIECE_BYTES];
    while from.readable().await.is_ok() {
        match from.try_read(&mut piece) {
            Ok(0) => return,
            Ok(len) => {
                if terminal.write_all(&piece[..len]).await.is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// Pumps from the program to the client, until the program has ended and nothing is left of it.
async fn give_output(
    terminal: Arc<Terminal>,
    mut to: OwnedWriteHalf,
    mut ended: watch::Receiver<bool>,
    is_device: bool,
) {
    let mut piece = [0; PIECE_BYTES];
    let mut rest = REST_BYTES_MAX;
    loop {
        let has_ended = *ended.borrow();
        match rustix::io::read(terminal.0.get_ref(), &mut piece) {
            Ok(len @ 1..) => {
                if to.write_all(&piece[..len]).await.is_err() {
                    break;
                }
                rest -= len.min(rest) * usize::from(has_ended);
                if rest == 0 {
                    break;
                }
            }
            Err(Errno::INTR) => {}
            _ if has_ended => break,
            Err(Errno::AGAIN) => tokio::select! {
                ready = terminal.0.readable() => match ready {
                    Ok(mut ready) => ready.clear_ready(),
                    Err(_) => break,
                },
                _ = ended.changed() => {}
            },
            _ if is_device => break,
            // EIO: nobody has the program's side open at present.
            _ => drop(ended.changed().await),
        }
    }
    // The half that is dropped would end the direction: how the session ends is for the one who waits for the program.
    to.forget();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_how_large_its_terminal_is() {
        let size = |columns, rows| Size { columns, rows };
        let said = |query| of_query(query).map_err(|refusal| refusal.why);
        assert_eq!(said(None), Ok((size(80, 24), None)));
        assert_eq!(
            said(Some("rows=43&x=1&columns=132&term=vt100")),
            Ok((size(132, 43), Some("vt100".to_owned())))
        );
        for query in [
            "columns=0",
            "rows=10000",
            "columns=x",
            "rows=",
            "term=../x",
            "term=",
        ] {
            assert_eq!(said(Some(query)), Err(Why::NoTarget), "{query}");
        }
    }

    #[test]
    fn a_control_message_is_a_size() {
        let size = Size::of_control(r#"{"columns":132,"rows":43}"#);
        assert_eq!(
            size,
            Ok(Size {
                columns: 132,
                rows: 43
            })
        );
        for text in [
            "",
            "{}",
            r#"{"columns":1}"#,
            r#"{"columns":0,"rows":1}"#,
            r#"{"columns":1,"rows":1,"x":1}"#,
            r#"{"columns":70000,"rows":1}"#,
        ] {
            let (code, _) = Size::of_control(text).expect_err(text);
            assert_eq!(code, CloseCode::InvalidFramePayloadData);
        }
    }
}
