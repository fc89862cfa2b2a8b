//! Signals during a run. The first SIGINT, SIGTERM or SIGHUP ends the run early, and the result so far is printed. A
//! second SIGINT or SIGTERM ends the process at once. A second SIGHUP does not: the end of a login session may send
//! several. A SIGHUP that was ignored at start (nohup) stays ignored.
//!
//! Owns: SIGINT, SIGTERM and SIGHUP from the beginning of a run on. Never: prints.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use crate::exit::Exit;

/// Set once a signal has asked the run to end.
#[derive(Clone, Debug)]
pub(super) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Watches the signals in a separate thread.
    pub(super) fn watch() -> std::io::Result<Self> {
        let interrupt = Self(Arc::new(AtomicBool::new(false)));
        let told = interrupt.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (mut int, mut term, mut hangup) = {
            let _context = runtime.enter();
            (
                signal(SignalKind::interrupt())?,
                signal(SignalKind::terminate())?,
                if is_ignored(SignalKind::hangup()) {
                    None
                } else {
                    Some(signal(SignalKind::hangup())?)
                },
            )
        };
        let mut hung_up = async move || match &mut hangup {
            Some(hangup) => hangup.recv().await,
            None => std::future::pending().await,
        };
        let watch = async move {
            loop {
                tokio::select! {
                    _ = int.recv() => {}
                    _ = term.recv() => {}
                    _ = hung_up() => {
                        told.0.store(true, Ordering::Relaxed);
                        continue;
                    }
                }
                if told.0.swap(true, Ordering::Relaxed) {
                    std::process::exit(Exit::Interrupted.code().into());
                }
            }
        };
        let thread = std::thread::Builder::new().name("signals".to_owned());
        thread.spawn(move || runtime.block_on(watch))?;
        Ok(interrupt)
    }

    /// Whether the run goes on or ends.
    pub(super) fn flow(&self) -> ControlFlow<()> {
        if self.has_come() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    /// Whether a signal has come.
    pub(super) fn has_come(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Whether the process was started with a signal ignored (`SigIgn` in `/proc/self/status`, one bit for each).
fn is_ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let bit = u32::try_from(kind.as_raw_value() - 1).unwrap_or(0);
    mask.is_some_and(|mask| mask >> bit & 1 == 1)
}
