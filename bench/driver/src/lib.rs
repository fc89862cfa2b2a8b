//! A closed-loop echo driver for one server. It keeps a fixed number of messages in flight on a fixed number of
//! connections, checks the answers, and reports the CPU time of the server per message.
//!
//! The driver must cost clearly less per message than any server it measures; otherwise it would measure itself.
//! Therefore:
//!
//! 1. Request frames are built and masked once; a batch of requests is one contiguous `send` from that memory.
//! 2. The reply bytes are known in advance, so checking a reply is a `memcmp`, not a parser.
//! 3. One ring. Small messages arrive through one multishot receive per connection. Sends are submitted in one batch per
//!    turn, and the wait asks for several completions at once, so that a single reply does not wake the driver.
//! 4. Large messages are received with plain calls on readiness. Once the first ones of each connection are verified,
//!    most of the others are discarded in the kernel without a copy (see [`check`] for what is still compared).
//!
//! Modules: [`options`] the command line; [`frames`] the bytes sent and expected; [`check`] the comparison of received
//! bytes; [`setup`] connections and opening handshakes; [`engine`] the event loop; [`cpu`] CPU clocks; [`report`] the
//! JSON result; [`sys`] the system calls, the only `unsafe` besides the ring's.

pub mod check;
pub mod cpu;
pub mod engine;
pub mod frames;
pub mod options;
pub mod report;
pub mod setup;
pub mod sys;

use options::Options;
use report::Report;

/// Runs one measurement. A fault of the server or of the machine ends it, and is named in [`Report::error`].
pub fn run(options: &Options) -> Report {
    let mut report = Report::new(options);
    let outcome = setup::connect_all(options).and_then(|sockets| {
        report.congestion = sys::congestion(&sockets[0]).unwrap_or_default();
        engine::drive(options, sockets, &mut report)
    });
    if let Err(error) = outcome {
        report.error = Some(error);
    }
    report
}
