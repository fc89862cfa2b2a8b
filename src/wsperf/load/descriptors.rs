//! Descriptors: each driver thread has a table of its own, which must hold its connections.
//!
//! Owns: raising the soft limit (RLIMIT_NOFILE), and the sentence for a hard limit that is too low.

use crate::io::sys;

/// Descriptors of a thread besides its connections: standard streams, ring, timers, and some to spare. Chosen, untested.
const RESERVED: u64 = 64;

/// Makes room for `connections` in the descriptor table of each of `threads` threads. Old kernels (before 5.9) give all
/// threads one table: there it makes room for all of them, as far as the hard limit allows.
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
