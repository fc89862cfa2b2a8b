//! A stand-in for the worker: it serves nobody, but reports plausible figures, so that the supervisor can be tested.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::ExitCode;
use std::thread::sleep;

use crate::exit::Exit;
use crate::options::{ServerOptions, WorkerSeat};
use crate::stats::{Counters, Reporter, TurnTimes};
use crate::time;

/// Reports until the supervisor is gone.
pub fn run(options: &ServerOptions, seat: &WorkerSeat) -> ExitCode {
    let Some(fd) = seat.stats_fd else {
        return Exit::Usage.into();
    };
    let pipe = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(format!("/proc/self/fd/{fd}"));
    let Ok(pipe) = pipe else {
        return Exit::Environment.into();
    };
    let index = u16::try_from(seat.index).unwrap_or(u16::MAX);
    let mut reporter = Reporter::new(pipe, index, "uring", "");
    let (mut counters, mut turns, mut wave) = (Counters::default(), TurnTimes::new(), 0_u64);
    while reporter
        .report(time::now(), &mut counters, &mut turns)
        .is_ok()
    {
        sleep(options.record_interval());
        wave = (wave * 5 + 7 + u64::from(index)) % 97;
        let messages = 200_000 + wave * 1_500 + u64::from(index) * 9_000;
        counters.clients = 90 + wave / 5;
        counters.handshakes += wave / 9;
        counters.messages += messages;
        counters.octets += messages * 20;
        counters.wire_octets_in += messages * 26;
        counters.wire_octets_out += messages * 22;
        counters.partial_sends += wave / 40;
        counters.turns += messages / 16;
        counters.cpu_ns += 900_000_000 + wave * 900_000;
        (0..2000).for_each(|i| turns.record(8_000 + (i * i * wave) % 90_000));
    }
    Exit::Failure.into()
}
