//! The counters of one worker. Plain integers: one thread writes them, a copy leaves once per interval.

/// Totals since the worker started, and two gauges. Every field is a count unless its name says bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Gauge: connections whose opening handshake is complete and that are not yet closed.
    pub clients: u64,
    /// Gauge: sockets of any state, accepted or begun by a client (includes `clients`, half-open handshakes and lingering
    /// closes).
    pub sockets: u64,
    /// Sockets accepted.
    pub accepted: u64,
    /// Opening handshakes completed.
    pub handshakes: u64,
    /// Opening handshakes refused, timed out or broken off; on a client's side also those whose connect failed.
    pub handshakes_failed: u64,
    /// Data messages that the application answered (echoed).
    pub messages: u64,
    /// Payload bytes of those messages.
    pub bytes: u64,
    /// Bytes read from sockets, counted as they arrive.
    pub wire_bytes_in: u64,
    /// Bytes accepted by the kernel for sending, counted as they leave.
    pub wire_bytes_out: u64,
    /// Messages or byte runs that were accepted from the application but could not be delivered because the
    /// connection ended first.
    pub drops: u64,
    /// Connections that ended without a clean closing handshake after they had been open.
    pub closed_unclean: u64,
    /// Peers failed for breaking the protocol.
    pub violations: u64,
    /// Receives that found the buffer pool dry (back-pressure, nothing is lost).
    pub enobufs: u64,
    /// Sends that the socket took only in part or not at all (back-pressure, the rest is queued).
    pub partial_sends: u64,
    /// Times reading from a peer was paused because its send queue was over its mark.
    pub pauses: u64,
    /// Completions whose connection was already gone.
    pub stale_completions: u64,
    /// Times the completion queue overflowed.
    pub cq_overflows: u64,
    /// Accepts that failed for want of descriptors or memory (EMFILE, ENFILE, ENOBUFS, ENOMEM).
    pub accept_backoffs: u64,
    /// Sockets refused because `--max-connections` was reached.
    pub refused: u64,
    /// Turns of the loop (one io_uring_enter or epoll_wait each).
    pub turns: u64,
    /// Stats records dropped because the pipe to the supervisor was full.
    pub records_dropped: u64,
    /// CPU time of the worker so far, nanoseconds (user + system).
    pub cpu_ns: u64,
}

impl Counters {
    /// How many figures there are.
    pub const COUNT: usize = 22;

    /// Their names, in the order of [`Counters::to_array`].
    pub const NAMES: [&'static str; Self::COUNT] = [
        "clients",
        "sockets",
        "accepted",
        "handshakes",
        "handshakes_failed",
        "messages",
        "bytes",
        "wire_bytes_in",
        "wire_bytes_out",
        "drops",
        "closed_unclean",
        "violations",
        "enobufs",
        "partial_sends",
        "pauses",
        "stale_completions",
        "cq_overflows",
        "accept_backoffs",
        "refused",
        "turns",
        "records_dropped",
        "cpu_ns",
    ];

    /// Every figure, in the order of the fields. Destructured, so that a new field does not compile until it is here.
    pub const fn to_array(&self) -> [u64; Self::COUNT] {
        let Self {
            clients,
            sockets,
            accepted,
            handshakes,
            handshakes_failed,
            messages,
            bytes,
            wire_bytes_in,
            wire_bytes_out,
            drops,
            closed_unclean,
            violations,
            enobufs,
            partial_sends,
            pauses,
            stale_completions,
            cq_overflows,
            accept_backoffs,
            refused,
            turns,
            records_dropped,
            cpu_ns,
        } = *self;
        [
            clients,
            sockets,
            accepted,
            handshakes,
            handshakes_failed,
            messages,
            bytes,
            wire_bytes_in,
            wire_bytes_out,
            drops,
            closed_unclean,
            violations,
            enobufs,
            partial_sends,
            pauses,
            stale_completions,
            cq_overflows,
            accept_backoffs,
            refused,
            turns,
            records_dropped,
            cpu_ns,
        ]
    }

    /// The inverse of [`Counters::to_array`].
    pub const fn from_array(figures: [u64; Self::COUNT]) -> Self {
        let [
            clients,
            sockets,
            accepted,
            handshakes,
            handshakes_failed,
            messages,
            bytes,
            wire_bytes_in,
            wire_bytes_out,
            drops,
            closed_unclean,
            violations,
            enobufs,
            partial_sends,
            pauses,
            stale_completions,
            cq_overflows,
            accept_backoffs,
            refused,
            turns,
            records_dropped,
            cpu_ns,
        ] = figures;
        Self {
            clients,
            sockets,
            accepted,
            handshakes,
            handshakes_failed,
            messages,
            bytes,
            wire_bytes_in,
            wire_bytes_out,
            drops,
            closed_unclean,
            violations,
            enobufs,
            partial_sends,
            pauses,
            stale_completions,
            cq_overflows,
            accept_backoffs,
            refused,
            turns,
            records_dropped,
            cpu_ns,
        }
    }

    /// What happened between `earlier` and `self`: counts are differences (never below zero), gauges are as they are
    /// in `self`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let (now, before) = (self.to_array(), earlier.to_array());
        let delta = Self::from_array(std::array::from_fn(|i| now[i].saturating_sub(before[i])));
        Self {
            clients: self.clients,
            sockets: self.sockets,
            ..delta
        }
    }

    /// The sum of both, gauges included: right for several workers at one moment.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let (left, right) = (self.to_array(), other.to_array());
        Self::from_array(std::array::from_fn(|i| left[i].saturating_add(right[i])))
    }

    /// The counts alone: what remains of a worker that is gone.
    #[must_use]
    pub const fn without_gauges(self) -> Self {
        Self {
            clients: 0,
            sockets: 0,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Counters {
        Counters::from_array(std::array::from_fn(|i| i as u64 + 1))
    }

    #[test]
    fn array_and_fields_agree_in_order() {
        let counters = figures();
        assert_eq!(
            (counters.clients, counters.sockets, counters.accepted),
            (1, 2, 3)
        );
        assert_eq!(counters.cpu_ns, 22);
        assert_eq!(Counters::NAMES[0], "clients");
        assert_eq!(Counters::NAMES[21], "cpu_ns");
        assert_eq!(Counters::from_array(counters.to_array()), counters);
    }

    #[test]
    fn a_difference_keeps_gauges_and_never_goes_below_zero() {
        let earlier = Counters {
            clients: 9,
            messages: 10,
            drops: 5,
            ..Counters::default()
        };
        let later = Counters {
            clients: 4,
            messages: 17,
            drops: 3,
            ..Counters::default()
        };
        let delta = later.since(&earlier);
        assert_eq!((delta.clients, delta.messages, delta.drops), (4, 7, 0));
    }

    #[test]
    fn a_sum_adds_gauges_and_saturates() {
        let one = Counters {
            clients: 2,
            bytes: u64::MAX,
            ..Counters::default()
        };
        let two = Counters {
            clients: 3,
            bytes: 1,
            ..Counters::default()
        };
        let sum = one.plus(&two);
        assert_eq!((sum.clients, sum.bytes), (5, u64::MAX));
    }

    #[test]
    fn the_dead_leave_counts_but_no_clients() {
        let left = figures().without_gauges();
        assert_eq!((left.clients, left.sockets, left.accepted), (0, 0, 3));
    }
}
