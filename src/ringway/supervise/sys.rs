//! The system calls for which std and socket2 have no safe form: the supervisor's only unsafe code.
//!
//! Owns: no state. Every function is safe to call with any argument; errors are `io::Error`.

#![expect(unsafe_code, reason = "the one address of unsafe code in supervise/")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Sets an integer option of a socket.
pub(super) fn set_option(
    socket: &impl AsRawFd,
    level: i32,
    name: i32,
    value: i32,
) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of::<i32>()).expect("four");
    // SAFETY: `value` is a live i32 of this frame and `len` is its size, so the kernel reads four octets that exist;
    // it keeps no pointer after the call.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            len,
        )
    })?;
    Ok(())
}

/// Soft and hard limit of open descriptors.
pub(super) fn nofile_limit() -> io::Result<(u64, u64)> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a live, exclusively borrowed rlimit of this frame; the kernel writes it before returning.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    Ok((limit.rlim_cur, limit.rlim_max))
}

/// Sets the soft limit of open descriptors; `hard` must be the present hard limit or less.
pub(super) fn set_nofile_limit(soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: `limit` is a live rlimit of this frame that the kernel only reads during the call.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    Ok(())
}

/// The CPUs this process may run on, in ascending order.
pub(super) fn allowed_cpus() -> io::Result<Vec<usize>> {
    // 16 Ki CPUs: the kernel refuses a mask smaller than its own with EINVAL.
    let mut mask = [0_u64; 256];
    // SAFETY: `mask` is a live, exclusively borrowed array of this frame of exactly the size passed; pid 0 is the
    // calling thread. A cpu_set_t is an array of unsigned longs, which u64 is on every 64-bit Linux, and the kernel
    // takes any length that is a multiple of that.
    check(unsafe { libc::sched_getaffinity(0, size_of_val(&mask), mask.as_mut_ptr().cast()) })?;
    let set = |cpu: &usize| mask[cpu / 64] >> (cpu % 64) & 1 == 1;
    Ok((0..mask.len() * 64).filter(set).collect())
}

/// An anonymous file in memory, close-on-exec.
pub(super) fn memfd(name: &std::ffi::CStr) -> io::Result<File> {
    // SAFETY: `name` is a live NUL-terminated string that the kernel copies during the call.
    let fd = check(unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) })?;
    // SAFETY: `fd` was just returned by the kernel, is open, and nobody else knows its number.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// A pipe with both ends non-blocking and close-on-exec: (read end, write end).
pub(super) fn pipe() -> io::Result<(File, File)> {
    let mut fds = [-1; 2];
    // SAFETY: `fds` is a live array of two i32 of this frame, which is what pipe2 writes.
    check(unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) })?;
    // SAFETY: pipe2 succeeded, so `fds[0]` is an open descriptor that nobody else knows.
    let read = unsafe { File::from_raw_fd(fds[0]) };
    // SAFETY: likewise `fds[1]`, which is another descriptor than `fds[0]`.
    let write = unsafe { File::from_raw_fd(fds[1]) };
    Ok((read, write))
}

/// Asks a child to end: SIGTERM. The caller must not have reaped it yet, so that `pid` is still that child.
pub(super) fn terminate(pid: u32) -> io::Result<()> {
    let pid =
        libc::pid_t::try_from(pid).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    if pid <= 1 {
        return Err(io::ErrorKind::InvalidInput.into()); // 0 and 1 are not children but groups and init
    }
    // SAFETY: kill touches no memory of this process.
    check(unsafe { libc::kill(pid, libc::SIGTERM) })?;
    Ok(())
}

/// Makes `command` start a child that inherits exactly `fds` beside its standard streams (every other descriptor of
/// this process is close-on-exec), and that gets SIGTERM when this process dies.
pub(super) fn prepare_worker(command: &mut Command, fds: Vec<RawFd>) {
    let parent = std::process::id();
    let in_child = move || {
        // SAFETY: prctl with PR_SET_PDEATHSIG takes one integer and touches no memory.
        check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) })?;
        // SAFETY: getppid has no arguments and cannot fail.
        let actual = unsafe { libc::getppid() };
        if u32::try_from(actual) != Ok(parent) {
            // The supervisor died between fork and prctl: the signal will never come.
            return Err(io::ErrorKind::NotFound.into());
        }
        // What the supervisor itself inherited, say from a shell, is not for workers. Older kernels (before 5.11) do
        // without: then only such foreign descriptors leak.
        // SAFETY: close_range with CLOSE_RANGE_CLOEXEC only sets flags of this process' descriptors; the error pipe of
        // `Command` has the flag already.
        let _ = unsafe {
            libc::syscall(
                libc::SYS_close_range,
                3,
                u32::MAX,
                libc::CLOSE_RANGE_CLOEXEC,
            )
        };
        for fd in &fds {
            // SAFETY: fcntl with F_SETFD takes an integer and touches no memory; a bad descriptor is an error.
            check(unsafe { libc::fcntl(*fd, libc::F_SETFD, 0) })?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe work is allowed. The closure makes a few plain
    // system calls and reads a Vec that was filled before the fork; errors are built without allocation.
    unsafe { command.pre_exec(in_child) };
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_may_use_some_cpu() {
        let cpus = allowed_cpus().expect("sched_getaffinity");
        assert!(!cpus.is_empty());
        assert!(cpus.is_sorted());
    }

    #[test]
    fn a_limit_can_be_set_to_what_it_is() {
        let (soft, hard) = nofile_limit().expect("getrlimit");
        assert!(soft <= hard);
        set_nofile_limit(soft, hard).expect("setrlimit");
    }

    #[test]
    fn groups_and_init_are_never_signalled() {
        assert!(terminate(0).is_err());
        assert!(terminate(1).is_err());
        assert!(terminate(u32::MAX).is_err());
    }
}
