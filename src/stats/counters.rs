//! The counters of one worker. Plain integers: one thread writes them, a copy leaves once per interval.

/// Totals since the worker started, and two gauges. Every field is a count unless its name says octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Gauge: connections whose opening handshake is complete and that are not yet closed.
    pub clients: u64,
    /// Gauge: accepted sockets of any state (includes `clients`, half-open handshakes and lingering closes).
    pub sockets: u64,
    /// Sockets accepted.
    pub accepted: u64,
    /// Opening handshakes completed.
    pub handshakes: u64,
    /// Opening handshakes refused, timed out or broken off.
    pub handshakes_failed: u64,
    /// Data messages that the application answered (echoed).
    pub messages: u64,
    /// Payload octets of those messages.
    pub octets: u64,
    /// Octets read from sockets, counted as they arrive.
    pub wire_octets_in: u64,
    /// Octets accepted by the kernel for sending, counted as they leave.
    pub wire_octets_out: u64,
    /// Messages or octet runs that were accepted from the application but could not be delivered because the
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
