//! What the processes beside the workers begin and end with.

use std::process::ExitCode;

use crate::exit::{Exit, Fatal};
use crate::io::sys;
use crate::lines;
use crate::signals;

/// Runs one until the server ends. Sentences call it `name`, and the kernel `process_name`. Signals mean nothing to it.
pub(super) fn run(
    name: &str,
    process_name: &str,
    run: impl FnOnce() -> Result<(), Fatal>,
) -> ExitCode {
    let ignored = signals::meaningless().chain(signals::OF_THE_TERMINAL);
    sys::ignore_signals(ignored.chain(signals::STOP));
    sys::set_name(process_name);
    match run() {
        Ok(()) => Exit::Ok.into(),
        Err(Fatal { exit, sentence }) => {
            lines::say(format_args!("ringway: {name}: {sentence}\n"));
            exit.into()
        }
    }
}
