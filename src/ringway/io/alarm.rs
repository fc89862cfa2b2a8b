//! A timer descriptor that ends a wait, armed once for many waits.
//!
//! A system call that waits with a timeout of its own has the kernel program a timer and cancel it again each time: on a
//! virtual machine that costs as much as the message that ends the wait. Deadlines of a worker are tens of milliseconds
//! away and rarely move, so its calls wait for ever, and this timer ends them.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use super::{Fd, Wait};
use crate::time::{self, Instant};

/// A deadline that is nearer than this is the timeout of its own call: a driver that paces its messages has a new one each
/// turn, and arming the timer is a system call.
const NEAR: Duration = Duration::from_millis(5);

/// How long a call may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timeout {
    /// Not at all.
    Zero,
    /// With a timeout of its own.
    After(Duration),
    /// Until something happens; the alarm is a part of that.
    Never,
}

/// The timer, and when it goes off.
#[derive(Debug)]
pub(super) struct Alarm {
    /// `None` where there was no descriptor for it: then each call has its own timeout.
    timer: Option<OwnedFd>,
    /// `None`: it is not armed, or has gone off.
    due: Option<Instant>,
}

impl Alarm {
    pub(super) fn new() -> Self {
        // SAFETY: takes no pointer.
        let fd = unsafe {
            libc::timerfd_create(
                libc::CLOCK_MONOTONIC,
                libc::TFD_CLOEXEC | libc::TFD_NONBLOCK,
            )
        };
        // SAFETY: a descriptor that is not negative was made by the call above, and nothing else knows it.
        let timer = (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) });
        Self { timer, due: None }
    }

    /// What becomes readable when it goes off. It is never read: arming it anew makes it unreadable.
    pub(super) fn fd(&self) -> Option<Fd> {
        self.timer.as_ref().map(|timer| Fd(timer.as_raw_fd()))
    }

    /// It has gone off.
    pub(super) const fn rang(&mut self) {
        self.due = None;
    }

    /// How a call that waits as told is to wait.
    #[inline]
    pub(super) fn timeout(&mut self, wait: Wait) -> Timeout {
        match (wait, self.due) {
            (Wait::No, _) => Timeout::Zero,
            (Wait::Forever, _) => Timeout::Never,
            (Wait::Until(until), Some(due)) if due <= until => Timeout::Never,
            (Wait::Until(until), _) => self.arm(until),
        }
    }

    /// Arms the timer for a deadline before the one that it is armed for, if that is worth it.
    fn arm(&mut self, until: Instant) -> Timeout {
        let left = until.since(time::now());
        if left == Duration::ZERO {
            return Timeout::Zero;
        }
        let Some(timer) = self.timer.as_ref().filter(|_| left >= NEAR) else {
            return Timeout::After(left);
        };
        let at = libc::itimerspec {
            it_interval: libc::timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: libc::timespec {
                tv_sec: libc::time_t::try_from(left.as_secs()).unwrap_or(libc::time_t::MAX),
                tv_nsec: left.subsec_nanos().into(),
            },
        };
        // SAFETY: `at` is read during the call only.
        let set = unsafe {
            libc::timerfd_settime(timer.as_raw_fd(), 0, &raw const at, std::ptr::null_mut())
        };
        if set < 0 {
            return Timeout::After(left);
        }
        self.due = Some(until);
        Timeout::Never
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_readable(alarm: &Alarm) -> bool {
        super::super::sys::is_readable(alarm.fd().expect("there are descriptors"))
    }

    #[test]
    fn it_is_armed_once_for_all_deadlines_that_are_not_before_it() {
        let mut alarm = Alarm::new();
        let soon = time::now() + Duration::from_secs(50);
        assert_eq!(alarm.timeout(Wait::Until(soon)), Timeout::Never);
        assert_eq!(alarm.due, Some(soon));
        let later = soon + Duration::from_secs(1);
        assert_eq!(alarm.timeout(Wait::Until(later)), Timeout::Never);
        assert_eq!(
            alarm.due,
            Some(soon),
            "a call that waits longer is woken early"
        );
        let sooner = time::now() + Duration::from_secs(20);
        assert_eq!(alarm.timeout(Wait::Until(sooner)), Timeout::Never);
        assert_eq!(alarm.due, Some(sooner));
        assert!(!is_readable(&alarm));
    }

    #[test]
    fn what_is_near_or_over_needs_no_timer() {
        let mut alarm = Alarm::new();
        let near = time::now() + NEAR;
        assert!(matches!(
            alarm.timeout(Wait::Until(near)),
            Timeout::After(left) if left <= NEAR
        ));
        assert_eq!(alarm.timeout(Wait::Until(Instant::ZERO)), Timeout::Zero);
        assert_eq!(alarm.timeout(Wait::No), Timeout::Zero);
        assert_eq!(alarm.timeout(Wait::Forever), Timeout::Never);
        assert_eq!(alarm.due, None);
    }

    #[test]
    fn it_goes_off_and_can_be_armed_again() {
        let mut alarm = Alarm::new();
        for _ in 0..2 {
            let due = time::now() + Duration::from_millis(6);
            if alarm.timeout(Wait::Until(due)) != Timeout::Never {
                // This thread was kept from the CPU: the deadline has become a near one.
                return;
            }
            while !is_readable(&alarm) {
                std::thread::yield_now();
            }
            assert!(time::now() >= due);
            alarm.rang();
            let next = time::now() + Duration::from_secs(50);
            assert_eq!(alarm.timeout(Wait::Until(next)), Timeout::Never);
            assert!(!is_readable(&alarm));
            alarm.rang();
        }
    }
}
