//! `io_uring_enter(2)`: the one system call of a turn.

use std::os::fd::AsRawFd;

use io_uring::{EnterFlags, IoUring};

use super::super::Error;
use super::super::alarm::Timeout;

/// `IORING_REGISTER_RING_FDS` (linux/io_uring.h, Linux 5.18).
const REGISTER_RING_FDS: libc::c_uint = 20;

/// struct io_uring_getevents_arg, for `IORING_ENTER_EXT_ARG` (Linux 5.11).
#[repr(C)]
struct GetEventsArg {
    sigmask: u64,
    sigmask_size: u32,
    min_wait_usec: u32,
    timeout: u64,
}

/// struct __kernel_timespec.
#[repr(C)]
struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

/// struct io_uring_rsrc_update.
#[repr(C)]
struct RingFdUpdate {
    offset: u32,
    reserved: u32,
    data: u64,
}

/// How this ring is entered: by its registered index where the kernel can do that, which saves a descriptor look-up.
#[derive(Debug)]
pub(super) struct Enter {
    fd: i32,
    flags: EnterFlags,
}

impl Enter {
    pub(super) fn new(ring: &IoUring) -> Self {
        let mut flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        if ring.params().is_feature_no_iowait() {
            // Without this flag (Linux 6.15) the kernel accounts waiting for the network as waiting for a disk.
            flags |= EnterFlags::NO_IOWAIT;
        }
        match register(ring.as_raw_fd()) {
            Some(index) => Self {
                fd: index,
                flags: flags | EnterFlags::REGISTERED_RING,
            },
            None => Self {
                fd: ring.as_raw_fd(),
                flags,
            },
        }
    }

    /// Submits everything in the queue and waits as `timeout` says. The kernel runs deferred task work in this call.
    pub(super) fn call(&self, ring: &mut IoUring, timeout: Timeout) -> Result<(), Error> {
        let (want, timeout) = match timeout {
            Timeout::Zero => (0, None),
            Timeout::Never => (1, None),
            Timeout::After(time) => (1, Some(time)),
        };
        let timeout = timeout.map(|time| Timespec {
            seconds: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            nanoseconds: time.subsec_nanos().into(),
        });
        let arg = GetEventsArg {
            sigmask: 0,
            sigmask_size: 0,
            min_wait_usec: 0,
            timeout: timeout
                .as_ref()
                .map_or(0, |timeout| std::ptr::from_ref(timeout) as u64),
        };
        loop {
            let to_submit = ring.submission().len();
            // SAFETY: `arg` and the timespec that it points to outlive the call. Every queued entry points to memory
            // that the owner of the ring keeps (see `Uring::push`).
            let result = unsafe {
                libc::syscall(
                    libc::SYS_io_uring_enter,
                    self.fd,
                    to_submit,
                    want,
                    self.flags.bits(),
                    &raw const arg,
                    size_of::<GetEventsArg>(),
                )
            };
            if result >= 0 {
                return Ok(());
            }
            let error = std::io::Error::last_os_error();
            match error.raw_os_error() {
                // Either the time is over; or the kernel can submit more only after completions are reaped or memory is
                // freed: the caller reaps and calls again.
                Some(libc::ETIME | libc::EBUSY | libc::EAGAIN) => return Ok(()),
                Some(libc::EINTR) => {}
                _ => {
                    return Err(Error {
                        operation: "io_uring_enter",
                        source: error,
                    });
                }
            }
        }
    }
}

/// Registers the ring's descriptor for this thread; `None` where the kernel cannot (before 5.18).
fn register(fd: i32) -> Option<i32> {
    let mut update = RingFdUpdate {
        offset: u32::MAX,
        reserved: 0,
        data: u64::try_from(fd).ok()?,
    };
    // SAFETY: `update` is one io_uring_rsrc_update, valid for reads and writes during the call.
    let registered = unsafe {
        libc::syscall(
            libc::SYS_io_uring_register,
            fd,
            REGISTER_RING_FDS,
            &raw mut update,
            1,
        )
    };
    (registered == 1)
        .then(|| i32::try_from(update.offset).ok())
        .flatten()
}
