//! Open files: as many as the connections of a driver thread, which has a descriptor table of its own.
//!
//! Owns: raising the soft limit (RLIMIT_NOFILE), and the sentence when the hard one is in the way.

use crate::io::sys;

/// Descriptors of a thread that are no connections: streams, ring, buffers, timers, some to spare. Chosen, untested.
const RESERVED: u64 = 64;

/// Makes room for `connections` in the descriptor table of each of `threads` threads; for all of them in one table, which
/// old kernels make the threads share, as far as the hard limit goes.
///
/// # Errors
/// A sentence: the hard limit is too low.
pub fn raise(connections: u64, threads: u64) -> Result<(), String> {
    let needed = connections.saturating_add(RESERVED);
    let wanted = needed.saturating_mul(threads);
    let (soft, hard) = sys::nofile_limit()
        .map_err(|error| format!("cannot read the limit of open files: {error}"))?;
    if soft >= wanted {
        return Ok(());
    }
    if hard < needed {
        return Err(format!(
            "{connections} connections of one thread need {needed} open files, and the hard limit is {hard}; use more \
             --threads, fewer connections, or raise it with ulimit -Hn {needed}"
        ));
    }
    let raised = wanted.min(hard);
    sys::set_nofile_limit(raised, hard)
        .map_err(|error| format!("cannot raise the limit of open files to {raised}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_granted_is_left_alone_and_what_cannot_be_is_refused() {
        assert_eq!(raise(0, 1), Ok(()));
        let why = raise(u64::MAX / 2, 1).expect_err("no system allows so many");
        assert!(why.contains("use more --threads"), "{why}");
    }
}
