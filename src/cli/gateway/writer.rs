//! The thread that writes what is known of sessions: a slow disk holds it up, and no worker.
//!
//! Owns: the files, the queue and its bound. Never: drops anything without counting it.
//!
//! ```text
//!  worker ── jobs, up to QUEUED_BYTES_MAX ──▶ thread ──▶ log file · stderr · syslog · recordings
//! ```

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::UdpSocket;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use ringway::{ConnId, lines};

use super::record::timestamp;

/// Bytes that wait for the disk in each worker (16 MiB). Chosen: some hundred milliseconds of a recorded video.
const QUEUED_BYTES_MAX: usize = 16 << 20;

/// What a job takes beside its bytes.
const JOB_BYTES: usize = 64;

/// How often the log file is looked for at its path.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Numbers that are tried for the file of a recording.
const NUMBERS_MAX: u32 = 100_000;

/// What the thread is to do.
enum Job {
    Line(String),
    Begin(ConnId, Vec<u8>),
    Piece(ConnId, Vec<u8>),
    /// With the last bytes. `false`: something is missing.
    End(ConnId, &'static [u8], bool),
}

/// A handle of the thread.
pub(super) struct Writer {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    queued_bytes: AtomicUsize,
    lines_dropped: AtomicU64,
    recordings_incomplete: AtomicU64,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(log: Option<Log>, record: Option<PathBuf>) -> io::Result<Self> {
        let (jobs, asked) = channel();
        let state = Arc::<State>::default();
        let of_thread = Arc::clone(&state);
        let thread = thread::Builder::new()
            .name("ringway-log".to_owned())
            .spawn(move || write_all(&asked, log, record.as_deref(), &of_thread))?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
            state,
        })
    }

    /// Queues a job, unless it is one byte too many.
    fn push(&self, job: Job, bytes: usize) -> bool {
        let cost = bytes + JOB_BYTES;
        let queued = self.state.queued_bytes.fetch_add(cost, Ordering::Relaxed);
        // The last bytes of a recording always find room: they are as few as the recordings that have begun.
        let is_last = matches!(job, Job::End(..));
        let sent = (is_last || queued + cost <= QUEUED_BYTES_MAX)
            && self
                .jobs
                .as_ref()
                .is_some_and(|jobs| jobs.send(job).is_ok());
        if !sent {
            self.state.queued_bytes.fetch_sub(cost, Ordering::Relaxed);
        }
        sent
    }

    pub(super) fn line(&self, line: String) {
        let len = line.len();
        if !self.push(Job::Line(line), len) {
            self.state.lines_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Says whether there is a recording, which [`Self::end`] then ends.
    pub(super) fn begin(&self, id: ConnId, head: Vec<u8>) -> bool {
        let len = head.len();
        let has_begun = self.push(Job::Begin(id, head), len);
        let lost = u64::from(!has_begun);
        self.state
            .recordings_incomplete
            .fetch_add(lost, Ordering::Relaxed);
        has_begun
    }

    /// Says whether there was room.
    pub(super) fn piece(&self, id: ConnId, bytes: Vec<u8>) -> bool {
        let len = bytes.len();
        self.push(Job::Piece(id, bytes), len)
    }

    pub(super) fn end(&self, id: ConnId, last: &'static [u8], is_complete: bool) {
        self.push(Job::End(id, last, is_complete), 0);
    }

    /// Lines that were dropped and recordings that lack something, since the last call.
    pub(super) fn losses(&self) -> (u64, u64) {
        let take = |figure: &AtomicU64| match figure.load(Ordering::Relaxed) {
            0 => 0,
            _ => figure.swap(0, Ordering::Relaxed),
        };
        (
            take(&self.state.lines_dropped),
            take(&self.state.recordings_incomplete),
        )
    }
}

impl Drop for Writer {
    /// What waits is still written.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn write_all(jobs: &Receiver<Job>, mut log: Option<Log>, record: Option<&Path>, state: &State) {
    let mut recordings = Recordings {
        path: record,
        open: HashMap::new(),
        next: 1,
        told: false,
    };
    while let Ok(job) = jobs.recv() {
        let bytes = match job {
            Job::Line(line) => {
                let len = line.len();
                let is_written = log.as_mut().is_none_or(|log| log.write(line));
                let lost = u64::from(!is_written);
                state.lines_dropped.fetch_add(lost, Ordering::Relaxed);
                len
            }
            Job::Begin(id, head) => {
                recordings.begin(id, &head);
                head.len()
            }
            Job::Piece(id, bytes) => {
                recordings.write(id, &bytes);
                bytes.len()
            }
            Job::End(id, last, is_complete) => {
                let is_whole = recordings.end(id, last, is_complete);
                let lost = u64::from(!is_whole);
                state
                    .recordings_incomplete
                    .fetch_add(lost, Ordering::Relaxed);
                0
            }
        };
        let cost = bytes + JOB_BYTES;
        state.queued_bytes.fetch_sub(cost, Ordering::Relaxed);
    }
}

/// Whether a recording can be made.
///
/// # Errors
/// Why not.
pub(super) fn try_recording(path: &Path) -> io::Result<()> {
    let mut file = match path.is_dir() {
        true => path.join("session"),
        false => path.to_owned(),
    };
    file.as_mut_os_string()
        .push(format!(".try-{}", std::process::id()));
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&file)?;
    fs::remove_file(file)
}

/// The files of sessions that are recorded.
struct Recordings<'a> {
    path: Option<&'a Path>,
    open: HashMap<ConnId, File>,
    /// The number that is tried first for the next file.
    next: u32,
    /// A fault of the disk was logged.
    told: bool,
}

impl Recordings<'_> {
    fn begin(&mut self, id: ConnId, head: &[u8]) {
        match self.create() {
            Ok(file) => {
                self.open.insert(id, file);
                self.write(id, head);
            }
            Err(error) => self.tell(&error),
        }
    }

    /// A file that was not there, which its owner alone can read.
    fn create(&mut self) -> io::Result<File> {
        let Some(path) = self.path else {
            return Err(io::ErrorKind::NotFound.into());
        };
        for number in self.next..self.next.saturating_add(NUMBERS_MAX) {
            let name = match path.is_dir() {
                true => path.join(format!("session.{number}")),
                false => {
                    let mut name = path.as_os_str().to_owned();
                    name.push(format!(".{number}"));
                    name.into()
                }
            };
            let mut options = OpenOptions::new();
            let created = options.write(true).create_new(true).mode(0o600).open(name);
            match created {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                created => {
                    self.next = number.saturating_add(1);
                    return created;
                }
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// A recording that cannot be written ends, and is none when its session ends.
    fn write(&mut self, id: ConnId, bytes: &[u8]) {
        let Some(file) = self.open.get_mut(&id) else {
            return;
        };
        if let Err(error) = file.write_all(bytes) {
            self.open.remove(&id);
            self.tell(&error);
        }
    }

    fn end(&mut self, id: ConnId, last: &[u8], is_complete: bool) -> bool {
        match self.open.remove(&id) {
            None => false,
            Some(mut file) => file.write_all(last).is_ok() && is_complete,
        }
    }

    fn tell(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.told, true) {
            tracing::error!("a session cannot be recorded: {error}; others may not be either");
        }
    }
}

/// Where lines go.
pub(super) enum Log {
    File {
        path: PathBuf,
        open: Option<(File, u64)>,
        looked: Instant,
        told: bool,
    },
    Stderr,
    Syslog(Syslog),
}

/// A socket that takes messages of RFC 5424.
pub(super) enum Syslog {
    Unix(UnixDatagram),
    Udp(UdpSocket),
}

impl Log {
    /// Opens a file, `-`, or `syslog:` with a path or `host:port`.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(super) fn open(text: &str) -> io::Result<Self> {
        if text == "-" {
            return Ok(Self::Stderr);
        }
        if let Some(to) = text.strip_prefix("syslog:") {
            if to.starts_with('/') {
                let socket = UnixDatagram::unbound()?;
                socket.connect(to)?;
                return Ok(Self::Syslog(Syslog::Unix(socket)));
            }
            let to: Vec<_> = std::net::ToSocketAddrs::to_socket_addrs(to)?.collect();
            let is_v6 = to.first().is_some_and(std::net::SocketAddr::is_ipv6);
            let socket = UdpSocket::bind(if is_v6 { "[::]:0" } else { "0.0.0.0:0" })?;
            socket.connect(&to[..])?;
            return Ok(Self::Syslog(Syslog::Udp(socket)));
        }
        let path = PathBuf::from(text);
        let open = Some(open_to_append(&path)?);
        Ok(Self::File {
            path,
            open,
            looked: Instant::now(),
            told: false,
        })
    }

    /// Says whether the line was written.
    fn write(&mut self, line: String) -> bool {
        match self {
            Self::Stderr => {
                lines::say(format_args!("{line}"));
                true
            }
            Self::Syslog(syslog) => syslog.send(&line).is_ok(),
            Self::File {
                path,
                open,
                looked,
                told,
            } => {
                if looked.elapsed() >= LOOK_INTERVAL || open.is_none() {
                    *looked = Instant::now();
                    look(path, open);
                }
                let written = match open {
                    None => Err(io::ErrorKind::NotFound.into()),
                    // One write: lines of several workers do not mix.
                    Some((file, _)) => file.write_all(line.as_bytes()),
                };
                if let Err(error) = &written
                    && !std::mem::replace(told, true)
                {
                    tracing::error!("the access log {}: {error}", path.display());
                }
                written.is_ok()
            }
        }
    }
}

/// Opens the file at the path if it is another one than that which is open: somebody has moved that.
fn look(path: &Path, open: &mut Option<(File, u64)>) {
    let at_path = fs::metadata(path).map(|metadata| metadata.ino()).ok();
    if open.is_none() || open.as_ref().map(|(_, inode)| *inode) != at_path {
        *open = open_to_append(path).ok();
    }
}

fn open_to_append(path: &Path) -> io::Result<(File, u64)> {
    let mut options = OpenOptions::new();
    let file = options.append(true).create(true).mode(0o640).open(path)?;
    let inode = file.metadata()?.ino();
    Ok((file, inode))
}

impl Syslog {
    /// Facility daemon, severity info (RFC 5424 §6.2.1).
    fn send(&self, line: &str) -> io::Result<usize> {
        let (now, pid) = (timestamp(SystemTime::now()), std::process::id());
        let message = format!("<30>1 {now} - ringway {pid} - - {}", line.trim_end());
        match self {
            Self::Unix(socket) => socket.send(message.as_bytes()),
            Self::Udp(socket) => socket.send(message.as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A writer whose thread has taken nothing yet, and its end of the queue.
    fn idle() -> (Writer, Receiver<Job>) {
        let (jobs, asked) = channel();
        let writer = Writer {
            jobs: Some(jobs),
            thread: None,
            state: Arc::default(),
        };
        (writer, asked)
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (writer, asked) = idle();
        let id = ConnId {
            slot: 7,
            generation: 1,
        };
        assert!(writer.begin(id, Vec::new()));
        assert!(writer.piece(id, vec![0; QUEUED_BYTES_MAX - 4 * JOB_BYTES]));
        assert!(!writer.piece(id, vec![0; 4 * JOB_BYTES]), "no room");
        writer.line("x".repeat(4 * JOB_BYTES));
        writer.line("y".repeat(4 * JOB_BYTES));
        assert!(!writer.begin(
            ConnId {
                slot: 8,
                generation: 1
            },
            vec![0; 4 * JOB_BYTES]
        ));
        writer.end(id, b"the end", false);
        assert_eq!(
            writer.losses(),
            (2, 1),
            "two lines, and the recording that did not begin"
        );

        let state = Arc::clone(&writer.state);
        drop(writer);
        write_all(&asked, None, None, &state);
        assert_eq!(state.recordings_incomplete.load(Ordering::Relaxed), 1);
        assert_eq!(
            state.queued_bytes.load(Ordering::Relaxed),
            0,
            "all room is free again"
        );
    }
}
