//! The processes of a run: started, read while they run, waited for with a limit, and always ended.
//!
//! Owns: their lives, and the flag that a signal sets. Never: knows what a process is for.

use std::io::{self, BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::super::value::normal;
use super::environment;
use ringway::exit::Fatal;

/// Why something was not completed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Nothing can be measured on this machine.
    Fatal(Fatal),
    /// This run failed; others may succeed.
    Run(String),
    /// A signal ended the measurement.
    Stopped,
}

impl From<Fatal> for Trouble {
    fn from(fatal: Fatal) -> Self {
        Self::Fatal(fatal)
    }
}

/// Set by SIGINT, SIGTERM or SIGHUP. The signals do not end the process at once, because it must first remove what it
/// made.
#[derive(Clone, Debug)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(super) fn on_signals() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let flag = Arc::new(AtomicBool::new(false));
        let raised = Arc::clone(&flag);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        // The handlers are installed when this returns, so that no signal is missed.
        let mut signals = {
            let _inside = runtime.enter();
            (
                signal(SignalKind::interrupt())?,
                signal(SignalKind::terminate())?,
                signal(SignalKind::hangup())?,
            )
        };
        let wait = move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = signals.0.recv() => {}
                    _ = signals.1.recv() => {}
                    _ = signals.2.recv() => {}
                }
            });
            raised.store(true, Ordering::Relaxed);
        };
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(wait)?;
        Ok(Self(flag))
    }

    /// An error if a signal has come.
    fn check(&self) -> Result<(), Trouble> {
        match self.0.load(Ordering::Relaxed) {
            true => Err(Trouble::Stopped),
            false => Ok(()),
        }
    }
}

/// A process that is killed when this value is dropped.
#[derive(Debug)]
pub(super) struct Running {
    what: &'static str,
    child: Child,
    lines: Receiver<String>,
    stderr: Option<JoinHandle<String>>,
}

impl Running {
    pub(super) fn start(what: &'static str, command: &mut Command) -> Result<Self, Trouble> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| missing(command, &error))?;
        let (sender, lines) = channel();
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    // The receiver may be gone. The thread reads on, so that the process does not block on a full pipe.
                    let _ = sender.send(line);
                }
            });
        }
        let stderr = child.stderr.take().map(|mut stderr| {
            std::thread::spawn(move || {
                let mut text = String::new();
                let _ = stderr.read_to_string(&mut text);
                text
            })
        });
        Ok(Self {
            what,
            child,
            lines,
            stderr,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line of its stdout.
    pub(super) fn line(&mut self, patience: Duration, stop: &Stop) -> Result<String, Trouble> {
        let deadline = Instant::now() + patience;
        loop {
            stop.check()?;
            match self.lines.recv_timeout(STEP) {
                Ok(line) => return Ok(line),
                Err(RecvTimeoutError::Timeout) if Instant::now() < deadline => {}
                Err(RecvTimeoutError::Timeout) => {
                    return Err(self.lost("has said nothing"));
                }
                Err(RecvTimeoutError::Disconnected) => return Err(self.lost("has ended")),
            }
        }
    }

    /// Waits for its end, and returns the rest of its stdout.
    pub(super) fn end(
        &mut self,
        patience: Duration,
        stop: &Stop,
    ) -> Result<(ExitStatus, String), Trouble> {
        let deadline = Instant::now() + patience;
        let status = loop {
            stop.check()?;
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if Instant::now() < deadline => std::thread::sleep(STEP),
                Ok(None) => {
                    let _ = self.child.kill();
                    let _ = self.child.wait();
                    return Err(self.lost("did not end"));
                }
                Err(error) => return Err(Trouble::Run(format!("{}: {error}", self.what))),
            }
        };
        let lines: Vec<_> = self.lines.iter().collect();
        Ok((status, lines.join("\n")))
    }

    /// Its stderr, once it has ended.
    pub(super) fn complaint(&mut self) -> String {
        let text = self.stderr.take().and_then(|reader| reader.join().ok());
        normal(&text.unwrap_or_default())
    }

    fn lost(&mut self, how: &str) -> Trouble {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let complaint = self.complaint();
        Trouble::Run(format!("the {} {how}: {complaint}", self.what))
    }

    /// Sends SIGTERM and waits. A server closes its connections then; a process that does not end is killed.
    pub(super) fn terminate(mut self) {
        let asked = Command::new("sh")
            .args(["-c", &format!("kill -TERM {}", self.pid())])
            .stderr(Stdio::null())
            .status();
        let deadline = Instant::now() + END_TIME_MAX;
        while asked.is_ok() && matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                break;
            }
            std::thread::sleep(STEP);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Time between two checks while waiting.
const STEP: Duration = Duration::from_millis(5);

/// Longest wait for a process that got SIGTERM.
const END_TIME_MAX: Duration = Duration::from_secs(5);

/// Runs a system program to its end. Returns its stdout; the error is its stderr.
pub(super) fn call(command: &mut Command, input: Option<&str>) -> Result<String, Trouble> {
    use std::io::Write as _;
    command
        .stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| missing(command, &error))?;
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        // A program that has failed has closed its stdin, and its stderr says more than this error.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child
        .wait_with_output()
        .map_err(|error| Trouble::Run(error.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = normal(&String::from_utf8_lossy(&output.stderr));
    Err(Trouble::Run(complaint))
}

fn missing(command: &Command, error: &io::Error) -> Trouble {
    let program = command.get_program().to_string_lossy().into_owned();
    let remedy = match program.as_str() {
        "ip" => "; install iproute2",
        "taskset" => "; install util-linux",
        _ => "",
    };
    environment(format!("{program} cannot be started: {error}{remedy}")).into()
}
