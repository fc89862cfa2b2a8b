//! `process:` and `serial:` as ends of a forwarder: what is on this machine, and is no socket.
//!
//! Owns: the thread on which programs start and devices are pumped. Never: sees a byte of a stream.
//!
//! ```text
//!  worker ── near ══ far ──▶ channel ──▶ thread: a program's standard input and output, or a device
//! ```

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use ringway::Handed;
use ringway::exit::Fatal;
use ringway::options::SerialLine;
use ringway::services::gateway::ProgramOptions;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::gateway::devices;
use super::gateway::programs::{Program, Programs, locate};

/// What streams lead to.
#[derive(Clone, Debug)]
pub(super) enum Local {
    /// A program for each, with its arguments.
    Process(PathBuf, Vec<String>),
    /// A device, for one at a time.
    Serial(SerialLine),
}

impl Local {
    /// A program by its path, or by a name in PATH.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn process(words: &[String]) -> Result<Self, Fatal> {
        let (name, arguments) = words.split_first().map_or(("", &[][..]), |(a, b)| (a, b));
        let path = locate(name).ok_or_else(|| {
            Fatal::usage(format!(
                "process:{name} is no program here: give its path, or look into PATH"
            ))
        })?;
        Ok(Self::Process(path, arguments.to_vec()))
    }

    /// One end of a stream to it, for each that asks.
    pub(super) fn handed(self) -> Handed {
        let thread = Thread::new(self);
        Handed::each(move || thread.begin().map(Into::into))
    }

    fn begin(&self, programs: &Arc<Programs>, far: UnixStream) {
        let begun = match self {
            Self::Process(path, arguments) => {
                programs.serve(Program::plain(path.clone(), arguments.clone()), far)
            }
            Self::Serial(line) => devices::begin(line, far),
        };
        if let Err(error) = begun {
            tracing::error!("{self}: {error}");
        }
    }
}

impl std::fmt::Display for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Process(path, _) => write!(f, "process:{}", path.display()),
            Self::Serial(line) => write!(f, "{line}"),
        }
    }
}

/// The thread, which begins with the first stream: signals are blocked then as the worker's are.
pub(super) struct Thread {
    local: Local,
    programs: Arc<Programs>,
    asks: OnceLock<UnboundedSender<UnixStream>>,
}

impl Thread {
    pub(super) fn new(local: Local) -> Self {
        Self {
            local,
            programs: Arc::new(Programs::new(&ProgramOptions::default())),
            asks: OnceLock::new(),
        }
    }

    /// Begins a stream. `None`: the system has no room for it.
    pub(super) fn begin(&self) -> Option<UnixStream> {
        let asks = self.asks.get_or_init(|| {
            let (asks, asked) = unbounded_channel();
            let (local, programs) = (self.local.clone(), Arc::clone(&self.programs));
            let spawned = std::thread::Builder::new()
                .name("ringway-local".to_owned())
                .spawn(move || run(&local, &programs, asked));
            if let Err(error) = spawned {
                tracing::error!("a thread cannot begin: {error}");
            }
            asks
        });
        let (near, far) = UnixStream::pair().ok()?;
        asks.send(far).ok()?;
        Some(near)
    }

    /// The worker has ended: so do the programs.
    pub(super) fn end(&self) {
        self.programs.end();
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.end();
    }
}

fn run(local: &Local, programs: &Arc<Programs>, mut asked: UnboundedReceiver<UnixStream>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(async {
            while let Some(far) = asked.recv().await {
                local.begin(programs, far);
            }
            // Programs that run are tended until the process ends.
            std::future::pending::<()>().await;
        }),
        Err(error) => tracing::error!("{local}: {error}"),
    }
}
