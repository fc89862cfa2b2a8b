//! Where bells and logs lie in one memfd.

use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};

use ringway_bus::doorbell;
use ringway_bus::log::{self, Layout};

use super::{BusOptions, failed};
use crate::io::words::{self, Access, Words};
use crate::io::{Error, sys};

/// Seats behind those of the workers: one for the supervisor's HTTP API, one for the bridge to a broker. Nobody need take them.
pub const OUTSIDE_SEATS: usize = 2;

/// The sizes of a bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    workers: usize,
    log_bytes: usize,
    has_bridge: bool,
}

impl Plan {
    /// The bus of so many workers.
    pub const fn new(workers: usize, options: &BusOptions) -> Self {
        Self {
            workers,
            log_bytes: options.log_bytes,
            has_bridge: false,
        }
    }

    /// The same with or without a bridge to a broker, to which workers tell what they want.
    #[must_use]
    pub const fn bridged(self, has_bridge: bool) -> Self {
        Self { has_bridge, ..self }
    }

    /// Whether there is one.
    pub const fn has_bridge(&self) -> bool {
        self.has_bridge
    }

    /// Logs and bells: one of each for each worker, and for each of [`OUTSIDE_SEATS`].
    pub const fn seats(&self) -> usize {
        self.workers + OUTSIDE_SEATS
    }

    /// How many seats are workers': the first ones.
    pub const fn workers(&self) -> usize {
        self.workers
    }

    /// The seat of the supervisor's HTTP API.
    pub const fn api_seat(&self) -> usize {
        self.workers
    }

    /// The seat of the bridge to a broker.
    pub const fn bridge_seat(&self) -> usize {
        self.workers + 1
    }

    /// Bytes of the largest record: an eighth of a log.
    pub const fn record_bytes_max(&self) -> usize {
        BusOptions::record_bytes_max(self.log_bytes)
    }

    pub(super) fn layout(&self, seat: usize) -> Layout {
        Layout {
            capacity_bytes: self.log_bytes,
            record_bytes_max: self.record_bytes_max(),
            number: u32::try_from(seat).unwrap_or(u32::MAX),
        }
    }

    fn bells_bytes(&self) -> usize {
        doorbell::memory_bytes(self.seats())
    }

    fn log_offset(&self, seat: usize) -> u64 {
        let page = sys::page_bytes();
        let log = (self.layout(seat).memory_bytes() as u64).next_multiple_of(page);
        (self.bells_bytes() as u64).next_multiple_of(page) + seat as u64 * log
    }

    pub(super) fn map_log(
        &self,
        memory: &File,
        seat: usize,
        access: Access,
    ) -> Result<Words, Error> {
        let bytes = self.layout(seat).memory_bytes();
        Words::map(memory, self.log_offset(seat), bytes, access)
    }

    pub(super) fn map_bells(&self, memory: &File) -> Result<Words, Error> {
        Words::map(memory, 0, self.bells_bytes(), Access::Write)
    }

    /// Makes a damaged log new.
    pub(super) fn format_again(&self, memory: &File, seat: usize) -> Result<(), Error> {
        let words = self.map_log(memory, seat, Access::Write)?;
        log::format_again(&words, self.layout(seat)).map_err(|fault| failed(fault.to_string()))
    }
}

/// The memory and the bells of a bus, to be inherited or shared.
#[derive(Debug)]
pub struct Segments {
    /// The memfd.
    pub memory: File,
    /// The eventfd of each seat.
    pub rings: Vec<File>,
}

impl Segments {
    /// A bus on which nobody has said anything.
    ///
    /// # Errors
    /// The kernel has no memory or no descriptors.
    pub fn new(plan: &Plan) -> Result<Self, Error> {
        let made = |source| Error {
            operation: "make the workers' bus",
            source,
        };
        let memory = words::memory(c"ringway-bus", plan.log_offset(plan.seats())).map_err(made)?;
        let bells = plan.map_bells(&memory)?;
        doorbell::format(&bells, plan.seats()).map_err(|fault| failed(fault.to_string()))?;
        for seat in 0..plan.seats() {
            let words = plan.map_log(&memory, seat, Access::Write)?;
            log::format(&words, plan.layout(seat)).map_err(|fault| failed(fault.to_string()))?;
        }
        let rings = (0..plan.seats()).map(|_| words::bell());
        let rings = rings.collect::<Result<_, _>>().map_err(made)?;
        Ok(Self { memory, rings })
    }

    /// The descriptors of the bells, for a process to inherit.
    pub fn ring_fds(&self) -> Vec<RawFd> {
        self.rings.iter().map(AsRawFd::as_raw_fd).collect()
    }

    /// The same bus, for one more worker of this process.
    ///
    /// # Errors
    /// The process has no descriptors.
    pub fn try_clone(&self) -> std::io::Result<Self> {
        let rings = self.rings.iter().map(File::try_clone);
        Ok(Self {
            memory: self.memory.try_clone()?,
            rings: rings.collect::<Result<_, _>>()?,
        })
    }
}
