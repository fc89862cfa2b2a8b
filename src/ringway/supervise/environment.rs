//! What the machine grants: descriptors and CPUs.
//!
//! Owns: raising RLIMIT_NOFILE, and which CPU each worker is pinned to. What cannot be had is said once.

use super::error::warning;
use super::sys;

/// Descriptors of a worker that are no connections: streams, listener, ring, pipe, board, doorbells, some to spare.
const DESCRIPTORS_RESERVED: u64 = 64;

/// Below this a server that can hold far more is clipped for no good reason; chosen, untested.
const DESCRIPTORS_COMFORTABLE: u64 = 65_536;

/// Raises the limit of open descriptors to its hard limit; workers inherit it. `connections` is what one worker must
/// be able to hold, if that is known.
pub(super) fn raise_descriptor_limit(connections: Option<usize>) {
    let (soft, hard) = match sys::nofile_limit() {
        Ok(limits) => limits,
        Err(error) => return warning(format!("cannot read the limit of open files: {error}")),
    };
    let granted = match sys::set_nofile_limit(hard, hard) {
        Ok(()) => hard,
        Err(error) => {
            warning(format!(
                "the limit of open files stays at {soft}, {hard} was refused: {error}"
            ));
            soft
        }
    };
    if let Some(sentence) = shortage(granted, connections) {
        warning(sentence);
    }
}

/// What to say about a limit that is too low for what was asked, or low without need.
fn shortage(granted: u64, connections: Option<usize>) -> Option<String> {
    let wanted = match connections {
        Some(connections) => (connections as u64).saturating_add(DESCRIPTORS_RESERVED),
        None => DESCRIPTORS_COMFORTABLE,
    };
    let holds = granted.saturating_sub(DESCRIPTORS_RESERVED);
    (granted < wanted).then(|| {
        format!(
            "each worker can hold {holds} connections, not more: the hard limit of open files is {granted}; raise it \
             with: ulimit -Hn {wanted}, or LimitNOFILE={wanted} in a systemd unit"
        )
    })
}

/// The CPU of each worker; `None` when workers are not pinned.
pub(super) fn assign_cpus(workers: usize, affinity: bool) -> Vec<Option<usize>> {
    if !affinity {
        return vec![None; workers];
    }
    match sys::allowed_cpus() {
        Ok(cpus) if !cpus.is_empty() => {
            if workers > cpus.len() {
                warning(format!(
                    "{workers} workers share {} CPUs, so some are pinned to the same one: --workers {} is likely faster",
                    cpus.len(),
                    cpus.len(),
                ));
            }
            round_robin(workers, &cpus)
        }
        Ok(_) => vec![None; workers],
        Err(error) => {
            warning(format!(
                "workers are not pinned, the CPUs of this process are unknown: {error}"
            ));
            vec![None; workers]
        }
    }
}

fn round_robin(workers: usize, cpus: &[usize]) -> Vec<Option<usize>> {
    cpus.iter()
        .copied()
        .cycle()
        .take(workers)
        .map(Some)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_pinned_modulo_the_allowed_cpus() {
        assert_eq!(
            round_robin(5, &[2, 5]),
            [Some(2), Some(5), Some(2), Some(5), Some(2)]
        );
        assert_eq!(assign_cpus(3, false), [None, None, None]);
    }

    #[test]
    fn a_limit_is_mentioned_only_when_it_is_short() {
        assert_eq!(shortage(1 << 20, None), None);
        assert_eq!(shortage(1064, Some(1000)), None);
        let sentence = shortage(1024, Some(5000)).expect("too low");
        assert!(
            sentence.starts_with("each worker can hold 960 connections"),
            "{sentence}"
        );
        assert!(sentence.contains("ulimit -Hn 5064"), "{sentence}");
        assert!(shortage(20_000, None).is_some());
    }
}
