//! A bare TCP echo on epoll: the cost of the kernel alone. One thread, edge-triggered, one hot buffer. Bytes that a full
//! socket refuses are kept per connection, which is then not read until they are written.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

const BUFFER_BYTES: usize = 512 << 10;
const EVENTS: usize = 1024;

/// Unwritten bytes of each connection, from an offset on. Connections without any have no entry.
type Unsent = HashMap<RawFd, (Vec<u8>, usize)>;

fn checked(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

fn recv(fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: `buffer` is writable for its length and outlives the call.
    checked(unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT) })
}

/// Sends as much as the socket takes; zero when it is full.
fn send(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: `bytes` is readable for its length and outlives the call.
    match checked(unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), flags) }) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        result => result,
    }
}

fn watch(epoll: RawFd, fd: RawFd, events: libc::c_int) -> io::Result<()> {
    let mut event = libc::epoll_event { events: events as u32, u64: fd as u64 };
    // SAFETY: `event` is valid and outlives the call.
    checked(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &raw mut event) } as isize).map(drop)
}

/// Echoes until the socket is empty or full. `Ok(false)` when the peer has closed.
fn echo(fd: RawFd, buffer: &mut [u8], unsent: &mut Unsent) -> io::Result<bool> {
    if let Some((bytes, offset)) = unsent.get_mut(&fd) {
        *offset += send(fd, &bytes[*offset..])?;
        if *offset < bytes.len() {
            return Ok(true);
        }
        unsent.remove(&fd);
    }
    loop {
        let len = match recv(fd, buffer) {
            Ok(0) => return Ok(false),
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        };
        let mut sent = 0;
        while sent < len {
            match send(fd, &buffer[sent..len])? {
                0 => {
                    unsent.insert(fd, (buffer[sent..len].to_vec(), 0));
                    return Ok(true);
                }
                n => sent += n,
            }
        }
        if len < buffer.len() {
            return Ok(true);
        }
    }
}

fn accept_all(epoll: RawFd, listener: RawFd) -> io::Result<()> {
    loop {
        let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: null for both address arguments is allowed.
        let fd = unsafe { libc::accept4(listener, std::ptr::null_mut(), std::ptr::null_mut(), flags) };
        if fd < 0 {
            return match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
                error => Err(error),
            };
        }
        watch(epoll, fd, libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLET)?;
    }
}

fn main() -> io::Result<()> {
    let listener = peers::listen();
    // SAFETY: no pointers.
    let epoll = checked(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) } as isize)? as RawFd;
    watch(epoll, listener.as_raw_fd(), libc::EPOLLIN)?;
    let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS];
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut unsent = Unsent::new();
    loop {
        // SAFETY: `events` has room for EVENTS and outlives the call.
        let ready = unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), EVENTS as libc::c_int, -1) };
        let ready = match checked(ready as isize) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            ready => ready?,
        };
        for event in &events[..ready] {
            let fd = event.u64 as RawFd;
            if fd == listener.as_raw_fd() {
                accept_all(epoll, fd)?;
            } else if !echo(fd, &mut buffer, &mut unsent).unwrap_or(false) {
                unsent.remove(&fd);
                // SAFETY: a connection is closed once: closing takes it out of the epoll set.
                unsafe { libc::close(fd) };
            }
        }
    }
}
