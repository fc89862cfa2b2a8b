//! The system calls for which std and socket2 have no safe form: the supervisor's only unsafe code.
//!
//! Owns: no state. Every function is safe to call with any argument; errors are `io::Error`.

#![expect(unsafe_code, reason = "the one address of unsafe code in supervise/")]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use crate::signals;

/// Sets an integer option of a socket.
pub(super) fn set_option(
    socket: &impl AsRawFd,
    level: i32,
    name: i32,
    value: i32,
) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of::<i32>()).expect("four");
    // SAFETY: `value` is a live i32 of this frame and `len` is its size, so the kernel reads four bytes that exist;
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

/// An integer option of a socket.
#[cfg(test)]
pub(super) fn option(socket: &impl AsRawFd, level: i32, name: i32) -> io::Result<i32> {
    let mut value = 0_i32;
    let mut len = libc::socklen_t::try_from(size_of::<i32>()).expect("four");
    // SAFETY: `value` is a live, exclusively borrowed i32 of this frame and `len` is its size, so the kernel writes four
    // bytes at most; it keeps no pointer after the call.
    check(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw mut value).cast(),
            &raw mut len,
        )
    })?;
    Ok(value)
}

/// Bytes for the strings of a user or a group; a group lists its members there.
const NAMES_BYTES: usize = 64 << 10;

/// The number of a user, by name.
pub(super) fn user(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    let mut strings = vec![0; NAMES_BYTES];
    let mut found = std::ptr::null_mut();
    // SAFETY: a passwd is integers and pointers, for all of which zero is a value.
    let mut user: libc::passwd = unsafe { std::mem::zeroed() };
    // SAFETY: `name` ends in NUL, `user` and `found` are live and exclusively borrowed, and `strings` is valid for its
    // length; the call keeps none of the pointers.
    let result = unsafe {
        libc::getpwnam_r(
            name.as_ptr(),
            &raw mut user,
            strings.as_mut_ptr(),
            strings.len(),
            &raw mut found,
        )
    };
    (result == 0 && !found.is_null()).then_some(user.pw_uid)
}

/// The number of a group, by name.
pub(super) fn group(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    let mut strings = vec![0; NAMES_BYTES];
    let mut found = std::ptr::null_mut();
    // SAFETY: a group is integers and pointers, for all of which zero is a value.
    let mut group: libc::group = unsafe { std::mem::zeroed() };
    // SAFETY: `name` ends in NUL, `group` and `found` are live and exclusively borrowed, and `strings` is valid for its
    // length; the call keeps none of the pointers.
    let result = unsafe {
        libc::getgrnam_r(
            name.as_ptr(),
            &raw mut group,
            strings.as_mut_ptr(),
            strings.len(),
            &raw mut found,
        )
    };
    (result == 0 && !found.is_null()).then_some(group.gr_gid)
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

/// Blocks every signal that ends a process or reports a child, in this thread and in all threads started later. They
/// are read from the returned descriptor. Inherited dispositions are reset (a shell starts background jobs with SIGINT
/// ignored), because an ignored signal is never read.
pub(super) fn take_signals() -> io::Result<File> {
    for signal in signals::OF_THE_TERMINAL {
        // SAFETY: SIG_IGN runs no code of this process.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    // SAFETY: a sigset_t is integers, for which all-zero is a valid value.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is a live sigset_t of this frame.
    unsafe { libc::sigemptyset(&raw mut set) };
    let taken = signals::STOP.into_iter().chain(signals::meaningless());
    for signal in taken.chain([libc::SIGCHLD]) {
        // SAFETY: SIG_DFL runs no code of this process.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        // SAFETY: `set` was initialised above; a number that is no signal is an error, not undefined.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    // SAFETY: `set` is only read, and the old mask is not asked for. std empties the mask of every child it spawns.
    match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) } {
        0 => {}
        errno => return Err(io::Error::from_raw_os_error(errno)),
    }
    // SAFETY: -1 asks for a new descriptor; `set` is read during the call only.
    let fd = check(unsafe {
        libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    })?;
    // SAFETY: `fd` was just returned by the kernel, is open, and nobody else knows its number.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Reads the signals that have come, at most 32 at a time, from the descriptor of [`take_signals`].
pub(super) fn read_signals(mut from: &File) -> Vec<i32> {
    use std::io::Read as _;
    const LEN: usize = size_of::<libc::signalfd_siginfo>();
    let mut bytes = [0_u8; 32 * LEN];
    let len = from.read(&mut bytes).unwrap_or(0);
    // signalfd_siginfo begins with ssi_signo, a u32.
    let number = |info: &[u8]| info.first_chunk().copied().map(i32::from_ne_bytes);
    bytes[..len].chunks_exact(LEN).filter_map(number).collect()
}

/// A descriptor to wait for with [`poll`].
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub(super) struct Waited(libc::pollfd);

impl Waited {
    /// Waits until the descriptor has something to read, or its end.
    pub(super) fn readable(fd: &impl AsRawFd) -> Self {
        Self(libc::pollfd {
            fd: fd.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        })
    }

    pub(super) const fn is_ready(&self) -> bool {
        self.0.revents != 0
    }
}

/// Waits until one of `all` is ready, for `patience` at most. If the kernel cannot wait (no memory), all of them count
/// as ready: they are non-blocking, so a needless read costs little and does no harm.
pub(super) fn poll(all: &mut [Waited], patience: Option<Duration>) {
    let timeout = patience.map(|patience| libc::timespec {
        tv_sec: libc::time_t::try_from(patience.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: patience.subsec_nanos().into(),
    });
    let timeout = timeout
        .as_ref()
        .map_or(std::ptr::null(), std::ptr::from_ref);
    let count = all.len() as libc::nfds_t;
    // SAFETY: `all` is a live, exclusively borrowed slice of `count` pollfd (Waited is transparent); `timeout` is null or
    // points to a timespec of this frame; a null mask leaves the mask as it is. No pointer is kept after the call.
    let result = unsafe { libc::ppoll(all.as_mut_ptr().cast(), count, timeout, std::ptr::null()) };
    if result < 0 {
        let interrupted = io::Error::last_os_error().kind() == io::ErrorKind::Interrupted;
        if !interrupted {
            std::thread::sleep(Duration::from_millis(10));
        }
        for waited in all {
            waited.0.revents = libc::POLLIN;
        }
    }
}

/// Lets a stopped child go on (SIGCONT). The caller must not have reaped it yet.
pub(super) fn go_on(pid: u32) -> io::Result<()> {
    signal_child(pid, libc::SIGCONT)
}

/// Asks a child to end (SIGTERM). The caller must not have reaped it yet, so that `pid` is still that child.
pub(super) fn terminate(pid: u32) -> io::Result<()> {
    signal_child(pid, libc::SIGTERM)
}

fn signal_child(pid: u32, signal: i32) -> io::Result<()> {
    let pid =
        libc::pid_t::try_from(pid).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    if pid <= 1 {
        return Err(io::ErrorKind::InvalidInput.into()); // 0 and 1 are not children but groups and init
    }
    // SAFETY: kill touches no memory of this process.
    check(unsafe { libc::kill(pid, signal) })?;
    Ok(())
}

/// Makes `command` start a child that inherits exactly `fds` and its standard streams, and that gets SIGTERM when this
/// process dies. Every other descriptor of this process is close-on-exec.
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
        // Ignores signals without a meaning, until the worker itself decides about its signals.
        for signal in signals::meaningless().chain(signals::OF_THE_TERMINAL) {
            // SAFETY: SIG_IGN runs no code; signal(2) is async-signal-safe.
            unsafe { libc::signal(signal, libc::SIG_IGN) };
        }
        // Descriptors that the supervisor itself inherited, from a shell for example, are not for workers. Kernels
        // before 5.11 cannot mark them: there, only these leak.
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

/// Makes `command` start a program that is none of ours: with no signal blocked, with these limits of open descriptors, and with SIGTERM
/// when this process dies.
pub(super) fn prepare_program(command: &mut Command, descriptors: Option<(u64, u64)>) {
    let parent = std::process::id();
    let in_child = move || {
        // SAFETY: a sigset_t is integers, for which all-zero is a valid value.
        let mut none: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: `none` is a live sigset_t of this frame.
        unsafe { libc::sigemptyset(&raw mut none) };
        // SAFETY: `none` is only read, and the old mask is not asked for.
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()) };
        for signal in signals::OF_THE_TERMINAL {
            // SAFETY: SIG_DFL runs no code of this process.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        if let Some((soft, hard)) = descriptors {
            set_nofile_limit(soft, hard)?;
        }
        // SAFETY: prctl with PR_SET_PDEATHSIG takes one integer and touches no memory.
        check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) })?;
        // SAFETY: getppid has no arguments and cannot fail.
        let actual = unsafe { libc::getppid() };
        if u32::try_from(actual) != Ok(parent) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe work is allowed. The closure makes a few plain
    // system calls on values of its own; errors are built without allocation.
    unsafe { command.pre_exec(in_child) };
}

/// Sends a signal to a process group, or none with 0. Returns whether the group has members.
pub(super) fn signal_group(group: u32, signal: i32) -> bool {
    match libc::pid_t::try_from(group) {
        Ok(group) if group > 1 => {
            // SAFETY: kill touches no memory of this process.
            check(unsafe { libc::kill(-group, signal) }).is_ok()
        }
        _ => false,
    }
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
    fn waiting_ends_with_its_time_or_with_what_is_waited_for() {
        use std::io::Write as _;
        let (read, mut write) = pipe().expect("a pipe");
        let mut all = [Waited::readable(&read)];
        poll(&mut all, Some(Duration::from_millis(1)));
        assert!(!all[0].is_ready());
        write.write_all(b"x").expect("room");
        poll(&mut all, None);
        assert!(all[0].is_ready());
    }

    #[test]
    fn groups_and_init_are_never_signalled() {
        assert!(terminate(0).is_err());
        assert!(terminate(1).is_err());
        assert!(terminate(u32::MAX).is_err());
        assert!(!signal_group(1, 0) && !signal_group(u32::MAX, 0));
    }
}
