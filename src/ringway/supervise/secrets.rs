//! The secrets of TLS in a running server: what workers inherit, and when it is read again.
//!
//! Owns: the memfd from which a worker reads them when it starts, and the look at the files. Never: decides what follows.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::sys;
use crate::exit::Fatal;
use crate::tls::TlsSupply;

/// By what a change of a file is seen. A file that is missing has none.
type Mark = Option<(u64, u64, i64, i64)>;

/// The secrets, in the memory that workers inherit.
#[derive(Debug)]
pub(super) struct Secrets {
    supply: TlsSupply,
    memory: File,
    /// The files as they were when they were read.
    read: Vec<Mark>,
    /// The files at the last look. They are read when two looks in a row see the same, so that nothing half written is.
    seen: Vec<Mark>,
}

impl Secrets {
    pub(super) fn new(mut supply: TlsSupply) -> io::Result<Self> {
        let read = marks(&supply);
        let memory = filled(&supply.present().0)?;
        Ok(Self {
            supply,
            memory,
            seen: read.clone(),
            read,
        })
    }

    /// What a worker inherits that starts now.
    pub(super) fn fd(&mut self) -> RawFd {
        let (bytes, stepped) = self.supply.present();
        if stepped {
            match filled(&bytes) {
                Ok(memory) => self.memory = memory,
                // A worker steps from the old one by itself.
                Err(error) => tracing::debug!("no memory for the next ticket secret: {error}"),
            }
        }
        self.memory.as_raw_fd()
    }

    /// Whether a file has changed since it was read, and has not changed since the last look.
    pub(super) fn look(&mut self) -> bool {
        let now = marks(&self.supply);
        let is_settled = now == self.seen;
        self.seen = now;
        is_settled && self.seen != self.read
    }

    /// Reads the files again, and gives the descriptor that workers get.
    ///
    /// # Errors
    /// They cannot be used: what was read before stays.
    pub(super) fn reread(&mut self) -> Result<RawFd, Fatal> {
        // Bad files are told once, until they change again.
        self.read = marks(&self.supply);
        self.seen.clone_from(&self.read);
        let mut supply = self.supply.clone();
        supply.reread()?;
        self.memory = filled(&supply.present().0)
            .map_err(|error| Fatal::environment(format!("no memory for certificates: {error}")))?;
        self.supply = supply;
        Ok(self.memory.as_raw_fd())
    }
}

fn filled(bytes: &[u8]) -> io::Result<File> {
    let mut file = sys::memfd(c"ringway-tls")?;
    file.write_all(bytes)?;
    Ok(file)
}

fn marks(supply: &TlsSupply) -> Vec<Mark> {
    supply.files().map(mark).collect()
}

fn mark(path: &Path) -> Mark {
    let found = fs::metadata(path).ok()?;
    Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
}
