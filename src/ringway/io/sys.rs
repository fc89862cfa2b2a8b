//! The plain system calls of the data path. Each returns its errno.

use std::io::IoSlice;
use std::net::Shutdown;

use super::{Errno, Fd, Follows, SEGMENTS_MAX, Segment};

/// Most pieces in one plain send: every segment of a turn, and some blocks of the queue.
pub(super) const SEND_SLICES: usize = SEGMENTS_MAX + 16;

fn errno() -> Errno {
    Errno(
        std::io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or(libc::EIO),
    )
}

/// The result of a call: a count, or the errno when it is negative.
fn count(result: isize) -> Result<usize, Errno> {
    usize::try_from(result).map_err(|_| errno())
}

/// recv(2) without waiting.
pub fn recv(fd: Fd, into: &mut [u8]) -> Result<usize, Errno> {
    loop {
        // SAFETY: `into` is valid for writes of its length for the duration of the call, which keeps no pointer.
        let result = unsafe {
            libc::recv(
                fd.0,
                into.as_mut_ptr().cast(),
                into.len(),
                libc::MSG_DONTWAIT,
            )
        };
        match count(result) {
            Err(Errno(libc::EINTR)) => {}
            result => return result,
        }
    }
}

/// send(2) or sendmsg(2) without waiting and without SIGPIPE.
pub fn send(fd: Fd, from: &[IoSlice<'_>], follows: Follows) -> Result<usize, Errno> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    let flags = match follows {
        Follows::Nothing => flags,
        // What a full socket took of it leaves all the same: the kernel holds bytes back only when it took all of them.
        Follows::End => flags | libc::MSG_MORE,
    };
    loop {
        let result = if let [one] = from {
            // SAFETY: `one` is valid for reads of its length for the duration of the call, which keeps no pointer.
            unsafe { libc::send(fd.0, one.as_ptr().cast(), one.len(), flags) }
        } else {
            let header = message_header(from);
            // SAFETY: `header` points to `from`, which outlives the call; IoSlice has the layout of iovec (std).
            unsafe { libc::sendmsg(fd.0, &raw const header, flags) }
        };
        match count(result) {
            Err(Errno(libc::EINTR)) => {}
            result => return result,
        }
    }
}

/// A msghdr that carries only `from`. Valid while `from` is.
fn message_header(from: &[IoSlice<'_>]) -> libc::msghdr {
    // SAFETY: msghdr is integers and pointers, for which all-zero is a valid value ("none of it").
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = from.as_ptr().cast_mut().cast();
    header.msg_iovlen = from.len();
    header
}

/// [`send`] of segments, whose bytes `slice_of` finds, and then of `then`; at most [`SEND_SLICES`] pieces.
pub(super) fn send_segments<'a>(
    fd: Fd,
    segments: &[Segment],
    then: &'a [IoSlice<'a>],
    follows: Follows,
    slice_of: impl Fn(&Segment) -> &'a [u8],
) -> Result<usize, Errno> {
    let mut slices = [IoSlice::new(&[]); SEND_SLICES];
    let pieces = segments
        .iter()
        .map(|segment| IoSlice::new(slice_of(segment)))
        .chain(then.iter().copied());
    let count = slices
        .iter_mut()
        .zip(pieces)
        .map(|(slice, piece)| *slice = piece)
        .count();
    send(fd, &slices[..count], follows)
}

/// accept4(2): the new descriptor, close-on-exec.
pub(super) fn accept(listener: Fd) -> Result<Fd, Errno> {
    // SAFETY: no address is asked for, so no pointer is passed.
    let fd = unsafe {
        libc::accept4(
            listener.0,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            libc::SOCK_CLOEXEC,
        )
    };
    if fd < 0 { Err(errno()) } else { Ok(Fd(fd)) }
}

/// Whether poll(2) reports at this moment that `fd` is readable.
pub(crate) fn is_readable(fd: Fd) -> bool {
    let mut poll = libc::pollfd {
        fd: fd.0,
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: `poll` is one entry, valid for reads and writes during the call.
    let ready = unsafe { libc::poll(&raw mut poll, 1, 0) };
    ready == 1 && poll.revents & libc::POLLIN != 0
}

/// Bytes in the send buffer of a socket (tcp(7), unix(7): `SIOCOUTQ`). 0 for a descriptor that does not know the call.
pub(super) fn unsent(fd: Fd) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: `bytes` is valid for the write of one int; TIOCOUTQ is SIOCOUTQ by another name (linux/sockios.h).
    let result = unsafe { libc::ioctl(fd.0, libc::TIOCOUTQ, &raw mut bytes) };
    if result < 0 {
        return 0;
    }
    usize::try_from(bytes).unwrap_or(0)
}

/// shutdown(2). Errors are ignored: they mean that the connection has ended already.
pub fn shutdown(fd: Fd, how: Shutdown) {
    let how = match how {
        Shutdown::Read => libc::SHUT_RD,
        Shutdown::Write => libc::SHUT_WR,
        Shutdown::Both => libc::SHUT_RDWR,
    };
    // SAFETY: takes no pointer; a wrong descriptor is an error, not undefined.
    unsafe { libc::shutdown(fd.0, how) };
}

/// close(2), with a RST instead of a FIN if `reset`. Linux frees the descriptor even when it returns an error.
pub fn close(fd: Fd, reset: bool) {
    if reset {
        let linger = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        // SAFETY: `linger` is read during the call only, and its size is passed with it.
        unsafe {
            libc::setsockopt(
                fd.0,
                libc::SOL_SOCKET,
                libc::SO_LINGER,
                (&raw const linger).cast(),
                socklen::<libc::linger>(),
            )
        };
    }
    // SAFETY: the owner gives the descriptor up with this call (see `Fd`), so nothing else uses its number.
    unsafe { libc::close(fd.0) };
}

/// Sets or clears O_NONBLOCK. It belongs to the open file, which other processes may share with `fd`.
pub fn set_nonblocking(fd: Fd, on: bool) -> std::io::Result<()> {
    // SAFETY: F_GETFL takes no pointer.
    let flags = unsafe { libc::fcntl(fd.0, libc::F_GETFL) };
    if flags < 0 {
        return Err(std::io::Error::last_os_error());
    }
    let flags = if on {
        flags | libc::O_NONBLOCK
    } else {
        flags & !libc::O_NONBLOCK
    };
    // SAFETY: F_SETFL takes no pointer.
    if unsafe { libc::fcntl(fd.0, libc::F_SETFL, flags) } < 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}

/// The address of a socket's peer. `None` for a Unix socket, and for a peer that has closed.
pub fn peer_address(fd: Fd) -> Option<std::net::SocketAddr> {
    // SAFETY: the descriptor is open for this call: its owner, the worker, closes it only between turns; `SockRef` borrows it and
    // closes nothing.
    let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd.0) };
    socket2::SockRef::from(&borrowed)
        .peer_addr()
        .ok()?
        .as_socket()
}

/// Our own address of a socket. `None` for a Unix socket.
pub fn local_address(fd: Fd) -> Option<std::net::SocketAddr> {
    // SAFETY: as in `peer_address`.
    let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd.0) };
    socket2::SockRef::from(&borrowed)
        .local_addr()
        .ok()?
        .as_socket()
}

/// What the kernel has counted of a TCP connection (`TCP_INFO`, tcp(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// Bytes that arrived, the opening handshake, frame headers and TLS included.
    pub bytes_received: u64,
    /// Bytes that the peer has acknowledged, the same included.
    pub bytes_acknowledged: u64,
    /// Segments that were sent again.
    pub retransmissions: u32,
    /// Smoothed round-trip time.
    pub round_trip: std::time::Duration,
}

/// What the kernel has counted of the connection. None: it is no TCP connection, or the kernel is older than 4.2.
pub(crate) fn traffic(fd: Fd) -> Option<Traffic> {
    // SAFETY: a tcp_info is integers, for all of which zero is a value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let size = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).ok()?;
    let mut len = size;
    // SAFETY: `info` is live and exclusively borrowed, and `len` is its size: the kernel writes no more, and keeps no pointer.
    let result = unsafe {
        libc::getsockopt(
            fd.0,
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut len,
        )
    };
    let counted = std::mem::offset_of!(libc::tcp_info, tcpi_segs_out);
    let is_known = usize::try_from(len).is_ok_and(|len| len >= counted);
    (result == 0 && is_known).then(|| Traffic {
        bytes_received: info.tcpi_bytes_received,
        bytes_acknowledged: info.tcpi_bytes_acked,
        retransmissions: info.tcpi_total_retrans,
        round_trip: std::time::Duration::from_micros(info.tcpi_rtt.into()),
    })
}

/// Fills `into` with the kernel's random bytes (getrandom(2), Linux 3.17).
///
/// # Panics
/// If the kernel lacks or forbids the call: masking keys could then be predicted, so a client must not continue.
pub fn fill_random(into: &mut [u8]) {
    let mut filled = 0;
    while filled < into.len() {
        let rest = &mut into[filled..];
        // SAFETY: `rest` is valid for writes of its length for the duration of the call, which keeps no pointer.
        let result = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        match count(result) {
            Ok(len) => filled += len,
            Err(Errno(libc::EINTR)) => {}
            Err(errno) => panic!("getrandom gives no random bytes: {errno}"),
        }
    }
}

/// CPU time of the calling thread so far, in ns.
pub fn thread_cpu_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is valid for the write of one timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000
        + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// User and system time of the calling thread so far, in ns (getrusage(2), `RUSAGE_THREAD`).
pub fn thread_usage_ns() -> (u64, u64) {
    // SAFETY: rusage is integers, for which all-zero is a valid value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is valid for the write of one rusage.
    unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) };
    let ns = |time: libc::timeval| {
        let [seconds, micros] = [time.tv_sec, time.tv_usec].map(|n| u64::try_from(n).unwrap_or(0));
        seconds * 1_000_000_000 + micros * 1000
    };
    (ns(usage.ru_utime), ns(usage.ru_stime))
}

/// Gives the calling thread a descriptor table for itself, with only the first three descriptors in it: from then on it
/// has `RLIMIT_NOFILE` for itself (close_range(2), Linux 5.9). Returns false where the kernel cannot; the table then
/// stays shared.
///
/// The descriptors of other threads are in another table and stay open.
pub fn own_descriptors() -> bool {
    // SAFETY: takes no pointer. What is closed is this thread's copies; whoever opened them keeps the originals, and this
    // thread has opened none: it is called first thing in a new thread.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3_u32,
            u32::MAX,
            libc::CLOSE_RANGE_UNSHARE,
        )
    };
    result == 0
}

/// Names the calling thread. For a process with one thread this is its name in ps(1) and top(1). The kernel keeps at most
/// 15 bytes (prctl(2), `PR_SET_NAME`).
pub fn set_name(name: &str) {
    let mut bytes = [0_u8; 16];
    let len = name.len().min(15);
    bytes[..len].copy_from_slice(&name.as_bytes()[..len]);
    // SAFETY: `bytes` ends with a zero, is read during the call only, and 16 is all that is read.
    unsafe { libc::prctl(libc::PR_SET_NAME, bytes.as_ptr()) };
}

/// Leaves the session of the terminal that started this process (setsid(2)). Has no effect if it leads one already.
pub fn begin_session() {
    // SAFETY: takes no argument.
    unsafe { libc::setsid() };
}

/// Has a program begin a session of its own whose terminal is its standard input, which must be one.
pub fn begin_with_terminal(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt as _;
    let begin = || {
        begin_session();
        // SAFETY: takes no pointer; 0 takes no terminal away from another session.
        match unsafe { libc::ioctl(libc::STDIN_FILENO, libc::TIOCSCTTY, 0) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: between fork and exec it makes two system calls, neither of which allocates or locks.
    unsafe { command.pre_exec(begin) };
}

/// Asks a process to stop (SIGTERM): the supervisor of this worker, or this process itself. Has no effect once it is gone.
pub fn ask_to_stop(pid: u32) {
    let Ok(pid @ 1..) = i32::try_from(pid) else {
        return;
    };
    // SAFETY: takes no pointer; a positive number means one process.
    unsafe { libc::kill(pid, libc::SIGTERM) };
}

/// Sends a signal to every process of a group. `false`: it has none.
pub fn signal_group(group: u32, signal: i32) -> bool {
    let Ok(group @ 2..) = i32::try_from(group) else {
        // 0 and 1 would mean others: our own group, and every process.
        return false;
    };
    // SAFETY: takes no pointer; a negative number below -1 means one group.
    unsafe { libc::kill(-group, signal) == 0 }
}

/// Lets the calling thread, and what it starts, run where the process `pid` may.
///
/// # Errors
/// There is no such process.
pub fn run_where(pid: u32) -> std::io::Result<()> {
    let size = size_of::<libc::cpu_set_t>();
    let pid = i32::try_from(pid).map_err(std::io::Error::other)?;
    // SAFETY: a set is plain bits, and none of them set is a set.
    let mut cpus: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: writes at most `size` bytes, which `cpus` has.
    if unsafe { libc::sched_getaffinity(pid, size, &raw mut cpus) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: reads `size` bytes, which `cpus` has; 0 means the calling thread.
    if unsafe { libc::sched_setaffinity(0, size, &raw const cpus) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}

/// Makes timers of the calling thread fire exactly when they are due, instead of up to 50 µs later (prctl(2),
/// `PR_SET_TIMERSLACK`).
pub fn exact_timers() {
    // SAFETY: takes no pointer; 1 is the least slack in nanoseconds.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_u64) };
}

/// Makes the kernel discard `signals`.
pub fn ignore_signals(signals: impl Iterator<Item = i32>) {
    for signal in signals {
        // SAFETY: SIG_IGN runs no code of this process; a number that is no signal is an error, not undefined.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// The same for those that would have their default effect.
pub fn ignore_unhandled(signals: impl Iterator<Item = i32>) {
    ignore_signals(signals.filter(|signal| handler(*signal) == Some(libc::SIG_DFL)));
}

/// Gives ignored signals a handler that does nothing, but for SIGPIPE. To this process that is the same. But a program inherits what is
/// ignored, and could not even decide to hear it; what is handled has its default effect there (execve(2)).
pub fn handle_ignored_signals() {
    extern "C" fn nothing(_: libc::c_int) {}
    let ignored = (1..=libc::SIGRTMAX()).filter(|signal| is_ignored(*signal));
    for signal in ignored.filter(|signal| *signal != libc::SIGPIPE) {
        // SAFETY: the handler does nothing, which is allowed at any time.
        unsafe { libc::signal(signal, nothing as *const () as libc::sighandler_t) };
    }
}

/// Keeps every descriptor but the standard ones from programs that this process starts: those that it has inherited, too (Linux 5.11).
///
/// # Errors
/// The kernel is older.
pub fn hold_descriptors_back() -> std::io::Result<()> {
    let (first, last): (libc::c_uint, _) = (3, libc::c_uint::MAX);
    // SAFETY: takes no pointer; it closes nothing in this process.
    match unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            last,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Blocks `signals` for this thread and for threads it starts later. Returns a descriptor that becomes readable when one
/// of them is pending. A signal that the parent process had set to be ignored is delivered too.
pub fn signal_fd(signals: &[i32]) -> std::io::Result<Fd> {
    // SAFETY: sigset_t is plain data; sigemptyset initialises it before use.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is valid for writes.
    unsafe { libc::sigemptyset(&raw mut set) };
    for signal in signals.iter().copied() {
        // SAFETY: SIG_DFL runs no code of this process.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        // SAFETY: `set` was initialised above and the number is a valid signal.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    // SAFETY: `set` is valid for reads; the old mask is not asked for.
    if unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) } < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: -1 makes a new descriptor; `set` is read during the call only.
    let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if fd < 0 {
        Err(std::io::Error::last_os_error())
    } else {
        Ok(Fd(fd))
    }
}

/// A signal that came, and who sent it: 0 for the kernel, and for a process of an outer PID namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal {
    /// Its number.
    pub number: i32,
    /// The sender's process.
    pub sender: u32,
}

/// Reads one pending signal from [`signal_fd`].
pub fn read_signal(fd: Fd) -> Option<Signal> {
    // SAFETY: signalfd_siginfo is plain data; all-zero is a valid value.
    let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
    let len = size_of::<libc::signalfd_siginfo>();
    // SAFETY: `info` is valid for writes of `len` bytes.
    let got = unsafe { libc::read(fd.0, (&raw mut info).cast(), len) };
    (usize::try_from(got) == Ok(len)).then(|| Signal {
        number: i32::try_from(info.ssi_signo).unwrap_or(0),
        sender: info.ssi_pid,
    })
}

/// Whether this process was started with `signal` ignored, or ignores it since.
pub fn is_ignored(signal: i32) -> bool {
    handler(signal) == Some(libc::SIG_IGN)
}

/// What handles `signal`: a function, `SIG_DFL` or `SIG_IGN`.
fn handler(signal: i32) -> Option<libc::sighandler_t> {
    // SAFETY: sigaction is plain data; all-zero is a valid value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: no new action is passed, and `action` is valid for writes.
    let result = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) };
    (result == 0).then_some(action.sa_sigaction)
}

/// An integer option of a socket (getsockopt(2), `SOL_SOCKET`).
fn socket_option(fd: Fd, option: libc::c_int) -> Result<libc::c_int, Errno> {
    let mut value: libc::c_int = 0;
    let mut len = socklen::<libc::c_int>();
    // SAFETY: `value` and `len` are valid for writes, and `len` says how large `value` is.
    let result = unsafe {
        libc::getsockopt(
            fd.0,
            libc::SOL_SOCKET,
            option,
            (&raw mut value).cast(),
            &raw mut len,
        )
    };
    if result == 0 { Ok(value) } else { Err(errno()) }
}

/// Whether `fd` is a listening stream socket.
pub fn is_listener(fd: Fd) -> bool {
    socket_option(fd, libc::SO_ACCEPTCONN) == Ok(1)
}

/// Makes the next bind of an address leave the choice of the port to the connect (ip(7), `IP_BIND_ADDRESS_NO_PORT`).
pub(super) fn bind_address_no_port(socket: &socket2::Socket) -> std::io::Result<()> {
    use std::os::fd::AsRawFd;
    let on: libc::c_int = 1;
    // SAFETY: `on` is read during the call only, and its size is passed with it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            socklen::<libc::c_int>(),
        )
    };
    if result < 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}

/// The result of a connect whose socket has become writable (connect(2), `EINPROGRESS`).
pub(super) fn connect_result(fd: Fd) -> Result<(), Errno> {
    match socket_option(fd, libc::SO_ERROR)? {
        0 => Ok(()),
        error => Err(Errno(error)),
    }
}

/// Takes over a descriptor that this process inherited.
///
/// # Errors
/// `EBADF`: there is no such descriptor.
pub fn adopt(fd: Fd) -> std::io::Result<std::fs::File> {
    use std::os::fd::FromRawFd;
    // SAFETY: F_SETFD takes no pointer; a number that is no descriptor is an error.
    if unsafe { libc::fcntl(fd.0, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open (above), and whoever started this process passed it for this one use: nothing in
    // this process has opened or adopted it before, because adopting happens once, at start.
    Ok(unsafe { std::fs::File::from_raw_fd(fd.0) })
}

/// The size of a socket option's value.
const fn socklen<T>() -> libc::socklen_t {
    const { assert!(size_of::<T>() <= 64) };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "at most 64, asserted at compile time"
    )]
    let len = size_of::<T>() as libc::socklen_t;
    len
}

/// The CPU clock of a process: CPU time of all its threads in ns, as the scheduler counts it.
#[derive(Clone, Copy, Debug)]
pub struct CpuClock(libc::clockid_t);

/// The CPU clock of the process `pid`.
///
/// # Errors
/// `ESRCH`: there is no such process.
pub fn process_cpu_clock(pid: i32) -> std::io::Result<CpuClock> {
    let mut clock = 0;
    // SAFETY: `clock` is valid for the write of one clockid_t.
    match unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) } {
        0 => Ok(CpuClock(clock)),
        errno => Err(std::io::Error::from_raw_os_error(errno)),
    }
}

/// The time of a CPU clock, in ns.
///
/// # Errors
/// `EINVAL`: the process has been reaped.
pub fn cpu_clock_ns(clock: CpuClock) -> std::io::Result<u64> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is valid for the write of one timespec; a clock that is none is an error, not undefined.
    if unsafe { libc::clock_gettime(clock.0, &raw mut time) } < 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000
        + u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// Bytes of a memory page.
pub fn page_bytes() -> u64 {
    // SAFETY: takes no pointer.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).expect("every system has a page size")
}

/// Soft and hard limit of open descriptors.
pub fn nofile_limit() -> std::io::Result<(u64, u64)> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is valid for the write of one rlimit.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } < 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok((limit.rlim_cur, limit.rlim_max))
}

/// Sets the soft limit of open descriptors; `hard` must be the present hard limit or less.
pub fn set_nofile_limit(soft: u64, hard: u64) -> std::io::Result<()> {
    let limit = libc::rlimit {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: `limit` is read during the call only.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } < 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use super::*;

    /// TCP segments that a socket has sent: `tcpi_segs_out` of struct tcp_info (linux/tcp.h, Linux 4.2).
    fn segments_out(socket: &TcpStream) -> u32 {
        const SEGS_OUT: usize = 136;
        let mut info = [0_u8; SEGS_OUT + 4];
        let mut len = libc::socklen_t::try_from(info.len()).expect("a small struct");
        // SAFETY: `info` and `len` are valid for writes, and `len` says how large `info` is.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                info.as_mut_ptr().cast(),
                &raw mut len,
            )
        };
        assert_eq!(result, 0);
        u32::from_ne_bytes(info[SEGS_OUT..].try_into().expect("four bytes"))
    }

    /// The segments in which `b"last"` and the end of a stream leave.
    fn segments_of_the_end(follows: Follows) -> u32 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let mut peer = TcpStream::connect(address).expect("somebody listens");
        let (ours, _) = listener.accept().expect("somebody connects");
        ours.set_nodelay(true).expect("a TCP socket");
        let before = segments_out(&ours);
        let fd = Fd(ours.as_raw_fd());
        let slices = [IoSlice::new(b"la"), IoSlice::new(b"st")];
        assert_eq!(send(fd, &slices, follows), Ok(4));
        shutdown(fd, Shutdown::Write);
        let mut received = Vec::new();
        peer.read_to_end(&mut received).expect("a clean end");
        assert_eq!(received, b"last");
        segments_out(&ours) - before
    }

    #[test]
    fn the_last_bytes_and_the_end_share_a_segment() {
        // A thread that loses its CPU between the two calls for 200 ms sends two all the same: then it is tried again.
        let mut segments = (0..20).map(|_| segments_of_the_end(Follows::End));
        assert!(segments.any(|count| count == 1));
        assert_eq!(segments_of_the_end(Follows::Nothing), 2);
    }
}
