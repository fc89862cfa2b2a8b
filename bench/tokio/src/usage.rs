//! What this process has used, as the kernel accounts it.

use std::io;
use std::mem::MaybeUninit;

/// What was used since the process began.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// User and system time of all threads, io_uring's kernel workers included, in seconds.
    pub cpu_s: f64,
    /// The highest resident memory so far, in KiB.
    pub resident_kib_max: i64,
    /// Time in which the first thread was runnable and had no CPU, in seconds.
    pub waited_s: f64,
}

impl Usage {
    /// Until now.
    ///
    /// # Errors
    /// The kernel has no such accounting.
    pub fn now() -> io::Result<Self> {
        let mut usage = MaybeUninit::<libc::rusage>::uninit();
        // SAFETY: the pointer is valid for writes of a whole rusage.
        let result = unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: getrusage has succeeded, so all of it was written.
        let usage = unsafe { usage.assume_init() };
        let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
        // Nanoseconds on a CPU, nanoseconds runnable without one, and turns.
        let schedstat = std::fs::read_to_string("/proc/self/schedstat")?;
        let waited_ns = schedstat.split_whitespace().nth(1).and_then(|field| field.parse::<f64>().ok());
        Ok(Self {
            cpu_s: seconds(usage.ru_utime) + seconds(usage.ru_stime),
            resident_kib_max: usage.ru_maxrss,
            waited_s: waited_ns.ok_or(io::ErrorKind::InvalidData)? / 1e9,
        })
    }
}
