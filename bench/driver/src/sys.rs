//! Safe functions for system calls that std does not wrap. All are non-blocking except [`poll`].

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn checked_len(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Starts a non-blocking connect with TCP_NODELAY and, when asked for, a congestion control.
pub fn connect(address: SocketAddr, congestion: Option<&str>) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers; the result is checked before it is used.
    let fd = checked(unsafe { libc::socket(family, kind, 0) })?;
    // SAFETY: `fd` was opened by the line above and has no other owner.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    set_option(&socket, libc::IPPROTO_TCP, libc::TCP_NODELAY, &1_i32.to_ne_bytes())?;
    if let Some(name) = congestion {
        set_option(&socket, libc::IPPROTO_TCP, libc::TCP_CONGESTION, name.as_bytes())?;
    }
    match connect_raw(&socket, address) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket),
    }
}

fn connect_raw(socket: &OwnedFd, address: SocketAddr) -> io::Result<()> {
    let result = match address {
        SocketAddr::V4(v4) => {
            let name = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            };
            let len = size_of_val(&name) as libc::socklen_t;
            // SAFETY: `name` is a sockaddr_in of `len` bytes that outlives the call.
            unsafe { libc::connect(socket.as_raw_fd(), ptr::from_ref(&name).cast(), len) }
        }
        SocketAddr::V6(v6) => {
            let name = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            };
            let len = size_of_val(&name) as libc::socklen_t;
            // SAFETY: `name` is a sockaddr_in6 of `len` bytes that outlives the call.
            unsafe { libc::connect(socket.as_raw_fd(), ptr::from_ref(&name).cast(), len) }
        }
    };
    checked(result).map(drop)
}

/// The error of a finished non-blocking connect, if it failed.
pub fn connect_error(socket: &OwnedFd) -> io::Result<()> {
    let mut bytes = [0; 4];
    option(socket, libc::SOL_SOCKET, libc::SO_ERROR, &mut bytes)?;
    match i32::from_ne_bytes(bytes) {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Makes the close of `socket` a reset: otherwise thousands of runs would leave connections in TIME_WAIT.
pub fn reset_on_close(socket: &OwnedFd) -> io::Result<()> {
    let linger = [1_i32.to_ne_bytes(), 0_i32.to_ne_bytes()].concat();
    set_option(socket, libc::SOL_SOCKET, libc::SO_LINGER, &linger)
}

/// The congestion control in force on `socket`.
pub fn congestion(socket: &OwnedFd) -> io::Result<String> {
    let mut name = [0; 16];
    option(socket, libc::IPPROTO_TCP, libc::TCP_CONGESTION, &mut name)?;
    let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
    Ok(String::from_utf8_lossy(&name[..end]).into_owned())
}

fn set_option(socket: &OwnedFd, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    let len = value.len() as libc::socklen_t;
    // SAFETY: `value` is readable for `len` bytes and outlives the call.
    checked(unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, value.as_ptr().cast(), len) }).map(drop)
}

fn option(socket: &OwnedFd, level: i32, name: i32, value: &mut [u8]) -> io::Result<()> {
    let mut len = value.len() as libc::socklen_t;
    // SAFETY: `value` is writable for `len` bytes, `len` for a socklen_t, and both outlive the call.
    checked(unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, value.as_mut_ptr().cast(), &raw mut len) })
        .map(drop)
}

/// Receives into `buffer`.
pub fn recv(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: `buffer` is writable for its length and outlives the call.
    checked_len(unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT) })
}

/// Removes up to `room.len()` bytes from the receive queue without copying them (tcp(7), MSG_TRUNC).
pub fn discard(socket: &OwnedFd, room: &mut [u8]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
    // SAFETY: `room` is writable for its length and outlives the call, whether the kernel writes to it or not.
    checked_len(unsafe { libc::recv(socket.as_raw_fd(), room.as_mut_ptr().cast(), room.len(), flags) })
}

/// Sends as much of `bytes` as the socket takes.
pub fn send(socket: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: `bytes` is readable for its length and outlives the call.
    checked_len(unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) })
}

/// Waits for one of `entries` at most `timeout`.
pub fn poll(entries: &mut [libc::pollfd], timeout: Duration) -> io::Result<()> {
    let milliseconds = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: `entries` is an array of its length of initialised pollfds and outlives the call.
    match checked(unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, milliseconds) }) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        _ => Ok(()),
    }
}

/// The CPU clock of the process `pid`.
pub fn process_cpu_clock(pid: i32) -> io::Result<libc::clockid_t> {
    let mut clock = 0;
    // SAFETY: `clock` is writable and outlives the call.
    match unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) } {
        0 => Ok(clock),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Reads a CPU clock.
pub fn clock(clock: libc::clockid_t) -> io::Result<Duration> {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is writable and outlives the call.
    checked(unsafe { libc::clock_gettime(clock, &raw mut now) })?;
    Ok(Duration::new(now.tv_sec as u64, now.tv_nsec as u32))
}

/// CPU time of the calling thread.
pub fn thread_cpu() -> Duration {
    clock(libc::CLOCK_THREAD_CPUTIME_ID).unwrap_or_default()
}

/// Pins the calling thread to `cpu`.
pub fn pin_to(cpu: usize) -> io::Result<()> {
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: a cpu_set_t is an array of integers, for which zero is a value.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: `cpu` is below CPU_SETSIZE, the bits that `set` has.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: `set` is readable for its size and outlives the call.
    checked(unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) }).map(drop)
}

/// Raises the soft limit of open files to at least `needed`.
pub fn raise_open_files(needed: u64) -> Result<(), String> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is writable and outlives the call.
    checked(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }).map_err(|e| e.to_string())?;
    if limit.rlim_cur >= needed {
        return Ok(());
    }
    if limit.rlim_max < needed {
        return Err(format!(
            "needs {needed} open files, the hard limit is {}; raise it with ulimit -Hn",
            limit.rlim_max
        ));
    }
    limit.rlim_cur = needed;
    // SAFETY: `limit` is readable and outlives the call.
    checked(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }).map_err(|e| e.to_string()).map(drop)
}
