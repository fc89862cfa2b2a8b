//! What the kernel knows of a process, and what it can be told before a program starts.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// A figure of `/proc/PID/status` or of `smaps_rollup`, in bytes.
fn kib(pid: u32, file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).expect("it runs");
    let line = text.lines().find(|line| line.starts_with(name));
    let figure = line.and_then(|line| line.split_whitespace().nth(1));
    figure
        .and_then(|kib| kib.parse::<u64>().ok())
        .expect("a figure in KiB")
        << 10
}

/// Resident memory of a process.
pub fn rss(pid: u32) -> u64 {
    kib(pid, "status", "VmRSS:")
}

/// Its proportional share of anonymous and shared memory. Pages of files are left out: a process's share of the
/// program's code grows whenever another process that runs the same program ends.
pub fn pss(pid: u32) -> u64 {
    kib(pid, "smaps_rollup", "Pss_Anon:") + kib(pid, "smaps_rollup", "Pss_Shmem:")
}

/// TCP segments with data that a socket has received (`tcpi_data_segs_in`, Linux 4.6).
pub fn data_segments_in(stream: &std::net::TcpStream) -> u64 {
    /// Where it stands in `struct tcp_info` (include/uapi/linux/tcp.h), which only ever grows.
    const AT: usize = 152;
    let mut info = [0_u8; 256];
    let mut len = libc::socklen_t::try_from(info.len()).expect("256");
    // SAFETY: `info` is valid for writes of `len` bytes, and `len` of an integer; the call keeps no pointer.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    let bytes = info[AT..AT + 4].try_into().expect("four");
    u64::from(u32::from_ne_bytes(bytes))
}

/// CPU time of a process so far, in ticks of 10 ms.
pub fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let (_, rest) = stat.rsplit_once(") ").expect("a name in parentheses");
    let figures = rest.split(' ').skip(11).take(2);
    figures
        .map(|figure| figure.parse::<u64>().expect("ticks"))
        .sum()
}

fn nofile() -> libc::rlimit {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a live rlimit of this frame, written before the call returns.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    limit
}

/// The hard limit of open files of this process.
pub fn nofile_hard() -> u64 {
    nofile().rlim_max
}

/// Raises the limit of open files of this process as far as it goes, asserts that it goes to `least`, and returns it.
pub fn raise_descriptor_limit(least: u64) -> u64 {
    let mut limit = nofile();
    limit.rlim_cur = limit.rlim_max;
    assert!(
        limit.rlim_max >= least,
        "this test opens {least} files, and the hard limit is {}: raise it with ulimit -Hn",
        limit.rlim_max
    );
    // SAFETY: `limit` is a live rlimit of this frame that the kernel only reads during the call.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    limit.rlim_max
}

/// Starts the program with this limit of open files, soft and hard.
pub fn limit_descriptors(command: &mut Command, files: u64) {
    let limit = libc::rlimit {
        rlim_cur: files,
        rlim_max: files,
    };
    let set = move || {
        // SAFETY: `limit` is a live rlimit that the kernel only reads during the call.
        check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })
    };
    // SAFETY: the closure makes one plain system call, which is allowed between fork and exec.
    unsafe { command.pre_exec(set) };
}

/// Starts the program where io_uring_setup(2) fails with `errno`, as a seccomp profile makes it fail.
pub fn forbid_io_uring(command: &mut Command, errno: i32) {
    let errno = u32::try_from(errno).expect("an errno is positive");
    let install = move || set_up_filter(libc::SECCOMP_RET_ERRNO | errno, 0).map(drop);
    // SAFETY: the closure makes plain system calls on memory of its own, and allocates nothing.
    unsafe { command.pre_exec(install) };
}

/// Has the calling process, and all that it starts, get `action` for io_uring_setup(2). Returns what seccomp(2) returns.
pub fn set_up_filter(action: u32, flags: libc::c_ulong) -> io::Result<i32> {
    install(
        &[
            statement(LOAD, 0, 0, 0),
            statement(JUMP, 0, 1, number(libc::SYS_io_uring_setup)),
            statement(RETURN, 0, 0, action),
            statement(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
        ],
        flags,
    )
}

/// Starts the program where kill(2) with SIGTERM is refused.
pub fn forbid_sigterm(command: &mut Command) {
    /// Where the second argument stands in struct seccomp_data: behind number, architecture, address and the first one.
    const SECOND: u32 = 24;
    let refused = libc::SECCOMP_RET_ERRNO | 1; // EPERM
    let forbid = move || {
        let filter = [
            statement(LOAD, 0, 0, 0),
            statement(JUMP, 0, 3, number(libc::SYS_kill)),
            statement(LOAD, 0, 0, SECOND),
            statement(JUMP, 0, 1, number(libc::SIGTERM.into())),
            statement(RETURN, 0, 0, refused),
            statement(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
        ];
        install(&filter, 0).map(drop)
    };
    // SAFETY: the closure makes plain system calls on memory of its own, and allocates nothing.
    unsafe { command.pre_exec(forbid) };
}

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const JUMP: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

/// Of struct seccomp_data the number of the system call comes first.
fn statement(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    let code = u16::try_from(code).expect("a BPF code");
    libc::sock_filter { code, jt, jf, k }
}

fn number(number: libc::c_long) -> u32 {
    u32::try_from(number).expect("small and positive")
}

fn install(filter: &[libc::sock_filter], flags: libc::c_ulong) -> io::Result<i32> {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).expect("a handful"),
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: takes integers only. It spares the filter the need for a privilege.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
    // SAFETY: `program` and the filter that it points to are alive during the call, which copies them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    descriptor(result)
}

/// A copy of a descriptor of another process (pidfd_getfd(2), Linux 5.6).
pub fn descriptor_of(pid: u32, fd: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes integers only.
    let process = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let process = descriptor(process)?;
    // SAFETY: the kernel has just made it, and nothing else knows it.
    let process = unsafe { OwnedFd::from_raw_fd(process) };
    // SAFETY: takes integers only.
    let copy = unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), fd, 0) };
    let copy = descriptor(copy)?;
    // SAFETY: the kernel has just made it, and nothing else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Sets the soft limit of open files of a running process.
pub fn limit_descriptors_of(pid: u32, files: u64) {
    let mut limit = nofile();
    let pid = i32::try_from(pid).expect("a pid");
    // SAFETY: `limit` is a live rlimit that is only written.
    let result =
        unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, std::ptr::null(), &raw mut limit) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    limit.rlim_cur = files.min(limit.rlim_max);
    // SAFETY: `limit` is a live rlimit that is only read.
    let result = unsafe {
        libc::prlimit(
            pid,
            libc::RLIMIT_NOFILE,
            &raw const limit,
            std::ptr::null_mut(),
        )
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

/// Starts the program with a signal ignored, as `nohup` does, or a shell for its background jobs.
pub fn ignore_signal(command: &mut Command, signal: i32) {
    let ignore = move || {
        // SAFETY: SIG_IGN runs no code.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
        Ok(())
    };
    // SAFETY: the closure makes one plain system call.
    unsafe { command.pre_exec(ignore) };
}

/// Starts the program with stdout and stderr in one pipe.
pub fn output_into(command: &mut Command, pipe: &impl AsRawFd) {
    let fd = pipe.as_raw_fd();
    let redirect = move || {
        // SAFETY: takes integers only.
        check(unsafe { libc::dup2(fd, 1) })?;
        // SAFETY: takes integers only.
        check(unsafe { libc::dup2(fd, 2) })
    };
    // SAFETY: the closure makes two plain system calls.
    unsafe { command.pre_exec(redirect) };
}

/// Fills a pipe, and leaves it blocking for whoever inherits it.
pub fn fill(pipe: &impl AsRawFd) {
    let fd = pipe.as_raw_fd();
    let set = |flags: i32| {
        // SAFETY: takes integers only.
        let result = unsafe { libc::fcntl(fd, libc::F_SETFL, flags) };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
    };
    set(libc::O_NONBLOCK);
    let bytes = [b'.'; 4096];
    for len in [4096, 1] {
        // SAFETY: `bytes` is valid for reads of `len` bytes.
        while unsafe { libc::write(fd, bytes.as_ptr().cast(), len) } > 0 {}
    }
    set(0);
}

/// What a system call returned: a descriptor or 0, or -1.
fn descriptor(result: libc::c_long) -> io::Result<i32> {
    let result = i32::try_from(result).expect("a descriptor");
    check(result).map(|()| result)
}

pub fn check(result: i32) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
