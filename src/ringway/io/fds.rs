//! Messages between two processes of this machine, with descriptors beside their bytes (unix(7), `SCM_RIGHTS`).
//!
//! Owns: the socketpair, sendmsg(2) and recvmsg(2) with ancillary data. A socket of the kind `SOCK_SEQPACKET` keeps the
//! bounds of messages, so that nothing has to be put together. Never: waits, knows what a message means, leaves a
//! descriptor open that came unasked.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd as _, OwnedFd, RawFd};

/// Descriptors that one message carries at most. The kernel allows 253 (`SCM_MAX_FD`).
pub const FDS_MAX: usize = 8;

/// A word of ancillary data is aligned as a header is: to eight bytes.
const WORD: usize = size_of::<u64>();

/// Ancillary data with [`FDS_MAX`] descriptors: a header of two words, and two descriptors per word.
const WORDS: usize = HEADER_WORDS + FDS_MAX / 2;

/// struct cmsghdr: its length, then level and type.
const HEADER_WORDS: usize = 2;

/// A message as it came.
#[derive(Debug)]
pub struct Received {
    /// Bytes of the message. 0 is the end of the stream: an empty message is never sent.
    pub len: usize,
    /// It was longer than the room for it, or carried more descriptors than [`FDS_MAX`]: what was too much is lost.
    pub is_cut: bool,
    /// Descriptors that came with it, close-on-exec.
    pub fds: Vec<OwnedFd>,
}

/// Two ends of a channel of messages, both of them non-blocking and close-on-exec.
///
/// # Errors
/// No descriptors are left.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [-1; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: `fds` is valid for the write of two descriptors, which is what socketpair writes.
    if unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call above has just made both, they differ, and nothing else knows their numbers.
    let [one, other] = fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    Ok((one, other))
}

/// Sends one message of at least a byte, whole, with copies of `fds`, at most [`FDS_MAX`].
///
/// # Errors
/// `WouldBlock`: the other end does not read. `BrokenPipe`, `ConnectionReset`: it is gone.
pub fn send(socket: &impl AsRawFd, bytes: &[u8], fds: &[RawFd]) -> io::Result<()> {
    if bytes.is_empty() || fds.len() > FDS_MAX {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut ancillary = [0_u64; WORDS];
    let len = HEADER_WORDS * WORD + size_of_val(fds);
    ancillary[0] = len as u64;
    ancillary[1] = level_and_type();
    for (at, fd) in fds.iter().enumerate() {
        let half = u64::from(fd.cast_unsigned()) << (32 * (at % 2));
        ancillary[HEADER_WORDS + at / 2] |= half;
    }
    let mut part = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let mut header = header(&mut part);
    if !fds.is_empty() {
        header.msg_control = ancillary.as_mut_ptr().cast();
        header.msg_controllen = len.next_multiple_of(WORD);
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: `header` points to one iovec of `bytes` and to `ancillary`, which are alive during the call and, for a send,
    // only read.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, flags) };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Takes the next message into `bytes`.
///
/// # Errors
/// `WouldBlock`: there is none.
pub fn receive(socket: &impl AsRawFd, bytes: &mut [u8]) -> io::Result<Received> {
    let mut ancillary = [0_u64; WORDS];
    let mut part = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    let mut header = header(&mut part);
    header.msg_control = ancillary.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&ancillary);
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: `header` points to one iovec of `bytes` and to `ancillary`, both of them exclusively borrowed and valid for
    // writes of the lengths that stand beside them.
    let got = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) };
    let len = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
    let count = match ancillary[1] == level_and_type() {
        true => {
            let bytes = usize::try_from(ancillary[0]).unwrap_or(0);
            let room = FDS_MAX * size_of::<RawFd>();
            bytes.saturating_sub(HEADER_WORDS * WORD).min(room) / size_of::<RawFd>()
        }
        false => 0,
    };
    let fd = |at: usize| {
        let half = ancillary[HEADER_WORDS + at / 2] >> (32 * (at % 2)) & u64::from(u32::MAX);
        let fd = u32::try_from(half).unwrap_or(u32::MAX).cast_signed();
        // SAFETY: the kernel has just made this descriptor for this process (a header of SCM_RIGHTS says so), once, and
        // nothing else knows its number.
        unsafe { OwnedFd::from_raw_fd(fd) }
    };
    Ok(Received {
        len,
        is_cut: header.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0,
        fds: (0..count).map(fd).collect(),
    })
}

/// `cmsg_level` and `cmsg_type` of a header that descriptors follow, as they lie in memory.
fn level_and_type() -> u64 {
    let [a, b, c, d] = libc::SOL_SOCKET.to_ne_bytes();
    let [e, f, g, h] = libc::SCM_RIGHTS.to_ne_bytes();
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

/// A msghdr of one part and nothing else. Valid as long as `part` is.
fn header(part: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: msghdr is integers and pointers, for which all-zero is a valid value ("none of it").
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = part;
    header.msg_iovlen = 1;
    header
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read as _, Write as _};

    use super::*;

    #[test]
    fn messages_keep_their_bounds_and_an_end_is_an_end() {
        let (one, other) = pair().expect("a socketpair");
        let mut bytes = [0; 16];
        let error = receive(&other, &mut bytes).expect_err("nothing came");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        send(&one, b"first", &[]).expect("room");
        send(&one, b"the second is longer than the room", &[]).expect("room");
        let first = receive(&other, &mut bytes).expect("it came");
        assert_eq!((&bytes[..first.len], first.is_cut), (&b"first"[..], false));
        let second = receive(&other, &mut bytes).expect("it came");
        assert_eq!((second.len, second.is_cut), (16, true));
        drop(one);
        assert_eq!(receive(&other, &mut bytes).expect("the end").len, 0);
        let error = send(&other, b"x", &[]).expect_err("nobody is there");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn descriptors_arrive_as_open_files_of_the_same_kind_in_their_order() {
        let (one, other) = pair().expect("a socketpair");
        for count in 0..=FDS_MAX {
            // Of each pipe the end to read from, with a number in it.
            let pipe = |number: usize| {
                let (reader, mut writer) = io::pipe().expect("a pipe");
                let number = u8::try_from(number).expect("few");
                writer.write_all(&[number]).expect("room");
                reader
            };
            let pipes: Vec<_> = (0..count).map(pipe).collect();
            let fds: Vec<_> = pipes.iter().map(AsRawFd::as_raw_fd).collect();
            send(&one, b"pipes", &fds).expect("room");
            drop(pipes);
            let mut bytes = [0; 8];
            let received = receive(&other, &mut bytes).expect("it came");
            assert_eq!((received.len, received.is_cut), (5, false));
            assert_eq!(received.fds.len(), count);
            for (number, fd) in received.fds.into_iter().enumerate() {
                let mut byte = [0];
                File::from(fd)
                    .read_exact(&mut byte)
                    .expect("what was written");
                assert_eq!(usize::from(byte[0]), number);
            }
        }
    }

    #[test]
    fn a_channel_that_nobody_reads_is_full_and_never_waits() {
        let (one, other) = pair().expect("a socketpair");
        let mut sent = 0;
        let error = loop {
            match send(&one, b"message", &[]) {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
            assert!(sent < 1_000_000);
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        let mut bytes = [0; 8];
        receive(&other, &mut bytes).expect("it came");
        send(&one, b"message", &[]).expect("there is room again");
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        let (one, _other) = pair().expect("a socketpair");
        assert!(send(&one, b"", &[]).is_err(), "it would be an end");
        assert!(send(&one, b"x", &[0; FDS_MAX + 1]).is_err());
        assert!(send(&one, b"x", &[-1]).is_err(), "EBADF");
    }
}
