//! A kernel that refuses io_uring_setup(2), or lets it wait, from one moment to the next: the test decides call by call
//! (seccomp_unotify(2)).

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use super::process::{check, set_up_filter};

/// What becomes of io_uring_setup(2) in a program and in all that it starts.
#[derive(Clone, Default)]
pub struct RingSetup(Arc<Decision>);

#[derive(Default)]
struct Decision {
    /// 0: it works.
    errno: AtomicI32,
    asked: AtomicUsize,
    held: Mutex<Held>,
    released: Condvar,
}

#[derive(Default)]
struct Held {
    /// Calls that are to wait, from now on.
    wanted: usize,
    waiting: bool,
}

impl RingSetup {
    /// From now on it fails with `errno`; with 0 it works.
    pub fn fail_with(&self, errno: i32) {
        self.0.errno.store(errno, Ordering::SeqCst);
    }

    /// How often it was called.
    pub fn calls(&self) -> usize {
        self.0.asked.load(Ordering::SeqCst)
    }

    /// Has the next call wait until [`Self::release`].
    pub fn hold_next(&self) {
        self.0.held.lock().expect("unpoisoned").wanted = 1;
    }

    /// Whether a call waits.
    pub fn is_holding(&self) -> bool {
        self.0.held.lock().expect("unpoisoned").waiting
    }

    /// Lets the call that waits go on.
    pub fn release(&self) {
        self.0.held.lock().expect("unpoisoned").waiting = false;
        self.0.released.notify_all();
    }

    /// Has `command` ask. The answers are given until the last process that asks is gone.
    pub fn watch(&self, command: &mut Command) {
        let (ours, theirs) = UnixStream::pair().expect("a socketpair");
        let decision = Arc::clone(&self.0);
        std::thread::spawn(move || {
            if let Some(notifications) = receive_descriptor(&ours) {
                decision.answer(&Arc::new(notifications));
            }
        });
        let install = move || {
            let listener = set_up_filter(
                libc::SECCOMP_RET_USER_NOTIF,
                libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            )?;
            send_descriptor(&theirs, listener)
        };
        // SAFETY: the closure makes plain system calls on memory of its own, and allocates nothing.
        unsafe { command.pre_exec(install) };
    }
}

impl Decision {
    /// Answers until nobody is left who could ask.
    fn answer(self: &Arc<Self>, notifications: &Arc<OwnedFd>) {
        // _IOWR('!', 0, struct seccomp_notif).
        const RECEIVE: libc::Ioctl = 0xc050_2100_u32 as libc::Ioctl;
        loop {
            // SAFETY: seccomp_notif is integers, and has to be zero.
            let mut asked: libc::seccomp_notif = unsafe { std::mem::zeroed() };
            // SAFETY: `asked` is a live struct of the type that the request names.
            if unsafe { libc::ioctl(notifications.as_raw_fd(), RECEIVE, &raw mut asked) } < 0 {
                match io::Error::last_os_error().raw_os_error() {
                    Some(libc::EINTR) => continue,
                    // Whoever asked is gone; others may ask, unless nobody is left.
                    Some(libc::ENOENT) if !has_hung_up(notifications) => continue,
                    _ => return,
                }
            }
            self.asked.fetch_add(1, Ordering::SeqCst);
            let mut held = self.held.lock().expect("unpoisoned");
            if held.wanted == 0 {
                drop(held);
                self.reply(notifications, asked.id);
                continue;
            }
            (held.wanted, held.waiting) = (0, true);
            drop(held);
            let (decision, notifications) = (Arc::clone(self), Arc::clone(notifications));
            std::thread::spawn(move || {
                let mut held = decision.held.lock().expect("unpoisoned");
                while held.waiting {
                    held = decision.released.wait(held).expect("unpoisoned");
                }
                drop(held);
                decision.reply(&notifications, asked.id);
            });
        }
    }

    fn reply(&self, notifications: &OwnedFd, id: u64) {
        // _IOWR('!', 1, struct seccomp_notif_resp).
        const SEND: libc::Ioctl = 0xc018_2101_u32 as libc::Ioctl;
        let errno = self.errno.load(Ordering::SeqCst);
        let flags = match errno {
            0 => libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE,
            _ => 0,
        };
        let mut reply = libc::seccomp_notif_resp {
            id,
            val: 0,
            error: -errno,
            flags: u32::try_from(flags).expect("one"),
        };
        // SAFETY: `reply` is a live struct of the type that the request names. An error means that who asked is gone.
        unsafe { libc::ioctl(notifications.as_raw_fd(), SEND, &raw mut reply) };
    }
}

fn has_hung_up(fd: &OwnedFd) -> bool {
    let mut waited = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one live pollfd.
    unsafe { libc::poll(&raw mut waited, 1, 100) };
    waited.revents & libc::POLLHUP != 0
}

/// Room for one descriptor as ancillary data: a header of 16 bytes and an int, aligned as the header.
type Ancillary = [u64; 3];

/// A message of one byte with room for one descriptor beside it. Valid as long as its parts are.
fn message(byte: &mut libc::iovec, ancillary: &mut Ancillary) -> libc::msghdr {
    // SAFETY: msghdr is integers and pointers, for which all-zero is a valid value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = byte;
    message.msg_iovlen = 1;
    message.msg_control = ancillary.as_mut_ptr().cast();
    message.msg_controllen = size_of::<Ancillary>();
    message
}

fn send_descriptor(to: &UnixStream, fd: i32) -> io::Result<()> {
    let mut byte = 0_u8;
    let mut part = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    // struct cmsghdr: cmsg_len (header and int), then cmsg_level and cmsg_type, then the int.
    let level_and_type = (libc::SCM_RIGHTS as u64) << 32 | libc::SOL_SOCKET as u64;
    let mut ancillary: Ancillary = [20, level_and_type, fd.cast_unsigned().into()];
    let message = message(&mut part, &mut ancillary);
    // SAFETY: `message` points to parts of this frame that outlive the call.
    let sent = unsafe { libc::sendmsg(to.as_raw_fd(), &raw const message, 0) };
    check(i32::try_from(sent).unwrap_or(-1))
}

fn receive_descriptor(from: &UnixStream) -> Option<OwnedFd> {
    let mut byte = 0_u8;
    let mut part = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    let mut ancillary: Ancillary = [0; 3];
    let mut message = message(&mut part, &mut ancillary);
    // SAFETY: `message` points to parts of this frame that outlive the call.
    let got = unsafe { libc::recvmsg(from.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) };
    let fd = i32::try_from(ancillary[2] & 0xffff_ffff).ok()?;
    // SAFETY: the kernel has just made this descriptor for us, and nothing else knows it.
    (got == 1 && ancillary[0] == 20).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}
