//! Tests on a socket pair that this kernel does what the worker relies on. A version number would not tell of backports,
//! containers and emulations.

use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::super::{
    BufferId, Completion, ConnId, Errno, Error, Fd, Follows, Io, Op, SCRATCH_BYTES, SCRATCH_LEN,
    Segment, Token, Wait, sys,
};
use super::{Unavailable, Uring};
use crate::time;

const ID: ConnId = ConnId {
    slot: u32::MAX,
    generation: 0,
};

/// How long a step may take: enough for a machine under any load. It is reached only if the kernel never answers.
const PATIENCE: Duration = Duration::from_secs(5);

/// Checks multishot receive, without which io_uring cannot be used, and the silent send, without which sends post
/// completions.
pub(super) fn run(uring: &mut Uring) -> Result<(), Unavailable> {
    let (ours, theirs) = UnixStream::pair().map_err(|source| Error {
        operation: "socketpair",
        source,
    })?;
    receive(uring, Fd(ours.as_raw_fd()), Fd(theirs.as_raw_fd()))?;
    uring.skip_success = true;
    uring.skip_success = silent_send_works(uring)?;
    let how = if uring.skip_success {
        "sends complete silently"
    } else {
        "sends keep their completions"
    };
    uring.note = format!("{}, {how}", uring.note);
    Ok(())
}

/// Two messages through one armed receive, and then its cancellation.
fn receive(uring: &mut Uring, ours: Fd, theirs: Fd) -> Result<(), Unavailable> {
    let token = Token::new(Op::Recv, ID);
    uring.submit_recv(token, ours);
    for message in [b"first".as_slice(), b"second"] {
        // The receive is submitted before the message is sent, so that it has to wait for it.
        let mut done = turn(uring, Wait::No)?;
        sys::send(theirs, &[std::io::IoSlice::new(message)], Follows::Nothing)
            .map_err(|errno| failed("send", errno))?;
        if done.is_empty() {
            done = turn(uring, Wait::Until(time::now() + PATIENCE))?;
        }
        let [
            Completion {
                result: Ok(len),
                buffer: Some(buffer),
                more: true,
                ..
            },
        ] = done[..]
        else {
            return Err(Unavailable::new(format!(
                "multishot receive into a buffer ring does not work: {done:?}"
            )));
        };
        let matches = uring.buffer(buffer).get(..len as usize) == Some(message);
        uring.replenish(&mut vec![buffer], false);
        if !matches {
            return Err(Unavailable::new(
                "multishot receive into a buffer ring delivered other bytes than were sent",
            ));
        }
    }
    uring.submit_cancel(token, ours);
    let done = turn(uring, Wait::Until(time::now() + PATIENCE))?;
    match done[..] {
        [
            Completion {
                result: Err(Errno(libc::ECANCELED)),
                more: false,
                ..
            },
        ] => Ok(()),
        _ => Err(Unavailable::new(format!(
            "cancelling a multishot receive does not end it: {done:?}"
        ))),
    }
}

/// Whether a full send posts nothing, a short one its count, and one to a full socket `EAGAIN`; for single and for
/// gathered sends.
fn silent_send_works(uring: &mut Uring) -> Result<bool, Unavailable> {
    let whole = Segment {
        buffer: BufferId::SCRATCH,
        start: 0,
        len: SCRATCH_LEN,
    };
    let half = SCRATCH_LEN / 2;
    let halves = [
        Segment { len: half, ..whole },
        Segment {
            start: half,
            len: half,
            ..whole
        },
    ];
    Ok(behaves(uring, &[whole])? && behaves(uring, &halves)?)
}

fn behaves(uring: &mut Uring, large: &[Segment]) -> Result<bool, Unavailable> {
    let (ours, theirs) = UnixStream::pair().map_err(|source| Error {
        operation: "socketpair",
        source,
    })?;
    let fd = Fd(ours.as_raw_fd());
    let token = Token::new(Op::Send, ID);
    let small = Segment {
        buffer: BufferId::SCRATCH,
        start: 0,
        len: 5,
    };
    uring.submit_send(token, fd, &[small]);
    if !turn(uring, Wait::No)?.is_empty() {
        return Ok(false);
    }
    let mut sent = 5;
    // The socket takes at most some hundred KiB: a few rounds fill it, and the last send before that is short.
    for _ in 0..64 {
        uring.submit_send(token, fd, large);
        match turn(uring, Wait::No)?[..] {
            [] => sent += SCRATCH_BYTES,
            [
                Completion {
                    result: Ok(count), ..
                },
            ] if (count as usize) < SCRATCH_BYTES => sent += count as usize,
            [
                Completion {
                    result: Err(Errno(libc::EAGAIN)),
                    ..
                },
            ] => return Ok(drained(&theirs) == Some(sent)),
            _ => return Ok(false),
        }
    }
    Ok(false)
}

/// Reads everything, and returns the number of bytes.
fn drained(from: &UnixStream) -> Option<usize> {
    let mut buf = vec![0; 1 << 16];
    let mut total = 0;
    loop {
        match sys::recv(Fd(from.as_raw_fd()), &mut buf) {
            Ok(count) => total += count,
            Err(Errno(libc::EAGAIN)) => return Some(total),
            Err(_) => return None,
        }
    }
}

fn turn(uring: &mut Uring, wait: Wait) -> Result<Vec<Completion>, Unavailable> {
    let mut done = Vec::new();
    uring.turn(wait, &mut done)?;
    Ok(done)
}

fn failed(operation: &str, errno: Errno) -> Unavailable {
    Unavailable::new(format!("self-test: {operation}: {errno}"))
}

#[cfg(test)]
mod tests {
    use super::super::{Options, Uring};

    #[test]
    fn this_kernel_passes_and_says_how() {
        let uring =
            Uring::new(&Options::default()).expect("io_uring is available where the tests run");
        assert!(uring.note().contains("sends"), "{}", uring.note());
    }
}
