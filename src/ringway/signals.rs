//! The meaning of each signal to a process that serves, supervisor or worker.
//!
//! Owns: that meaning, for every signal whose default ends a process. Never: makes a system call.
//!
//! | signal | meaning |
//! |---|---|
//! | INT, TERM, QUIT | an orderly stop: drain, then exit; a second one exits at once |
//! | PWR, XCPU | the same: the power fails, or the limit of CPU time is near |
//! | HUP | nothing, because there is no reload yet: a server survives the end of its terminal |
//! | USR1, USR2, ALRM, VTALRM, PROF, IO, STKFLT, XFSZ, real-time ones | nothing: no program sends them to us |
//! | PIPE | nothing (the Rust runtime ignores it): write(2) fails with EPIPE |
//! | TTOU, TTIN | nothing: otherwise a terminal with `tostop` would stop a worker that prints a line |
//! | ABRT, BUS, FPE, ILL, SEGV, SYS, TRAP | the default: a bug in this process, or a user who wants a core file |
//! | KILL, STOP, CONT, TSTP | the kernel's default |
#![forbid(unsafe_code)]

/// Signals that stop a server in order.
pub const STOP: [i32; 5] = [
    libc::SIGINT,
    libc::SIGTERM,
    libc::SIGQUIT,
    libc::SIGPWR,
    libc::SIGXCPU,
];

/// Signals that are ignored, although their default ends a process. [`meaningless`] adds the real-time ones.
const MEANINGLESS: [i32; 9] = [
    libc::SIGHUP,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGIO,
    libc::SIGSTKFLT,
    libc::SIGXFSZ,
];

/// Job-control signals that would stop a background process when it prints to its terminal.
pub const OF_THE_TERMINAL: [i32; 2] = [libc::SIGTTIN, libc::SIGTTOU];

/// Signals without a meaning here, whose default ends a process.
pub fn meaningless() -> impl Iterator<Item = i32> + Clone {
    MEANINGLESS
        .into_iter()
        .chain(libc::SIGRTMIN()..=libc::SIGRTMAX())
}

/// Whether `signal` asks for an orderly stop.
pub fn is_stop(signal: i32) -> bool {
    STOP.contains(&signal)
}

/// The name of a signal.
pub fn name(signal: i32) -> String {
    let name = match signal {
        libc::SIGINT => "SIGINT",
        libc::SIGTERM => "SIGTERM",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGPWR => "SIGPWR",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGHUP => "SIGHUP",
        libc::SIGUSR1 => "SIGUSR1",
        libc::SIGUSR2 => "SIGUSR2",
        libc::SIGALRM => "SIGALRM",
        libc::SIGVTALRM => "SIGVTALRM",
        libc::SIGPROF => "SIGPROF",
        libc::SIGIO => "SIGIO",
        libc::SIGSTKFLT => "SIGSTKFLT",
        libc::SIGXFSZ => "SIGXFSZ",
        _ => return format!("signal {signal}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_that_would_end_a_process_is_decided_once() {
        // signal(7): the signals whose default is Term or Core, except KILL.
        let by_default = (1..=31).filter(|signal| {
            ![
                libc::SIGKILL,
                libc::SIGCHLD,
                libc::SIGCONT,
                libc::SIGSTOP,
                libc::SIGTSTP,
                libc::SIGTTIN,
                libc::SIGTTOU,
                libc::SIGURG,
                libc::SIGWINCH,
            ]
            .contains(signal)
        });
        let faults = [
            libc::SIGABRT,
            libc::SIGBUS,
            libc::SIGFPE,
            libc::SIGILL,
            libc::SIGSEGV,
            libc::SIGSYS,
            libc::SIGTRAP,
        ];
        for signal in by_default {
            let decided = [
                is_stop(signal),
                meaningless().any(|other| other == signal),
                faults.contains(&signal),
                signal == libc::SIGPIPE,
            ];
            let times = decided.iter().filter(|decided| **decided).count();
            assert_eq!(times, 1, "{}", name(signal));
        }
        assert!(meaningless().any(|signal| signal == libc::SIGRTMAX()));
    }
}
