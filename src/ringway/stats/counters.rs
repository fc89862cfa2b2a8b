//! The counters of one worker. They are plain integers: one thread writes them, and sends a copy once per interval.
//!
//! Owns: the list of counters, at the end of this file: one line each with name, kind and help. The record to the
//! supervisor, the table, JSON and `/metrics` all use that list.

/// The kind of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CounterKind {
    /// A present number. A worker that is gone has none.
    Gauge,
    /// A number since the worker started: of things, or of bytes if the name says so.
    Counter,
    /// Time used since the worker started, nanoseconds.
    Nanoseconds,
}

macro_rules! counters {
    ($($name:ident: $kind:ident, $help:literal;)*) => {
        /// Totals since the process started, and gauges. Every field is a count unless its name says bytes or time.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $(#[doc = concat!($help, ".")] pub $name: u64,)*
        }

        /// [`Counters`] per second.
        #[derive(Clone, Copy, Debug, Default, PartialEq)]
        pub struct Rates {
            $(#[doc = concat!("Per second: ", $help, ".")] pub $name: f64,)*
        }

        impl Counters {
            /// Their names, in the order of [`Counters::to_array`].
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];

            /// How many figures there are.
            pub const COUNT: usize = Self::NAMES.len();

            /// Their kinds, in the same order.
            pub const KINDS: [CounterKind; Self::COUNT] = [$(CounterKind::$kind),*];

            /// Their descriptions, in the same order: one line each, without a full stop.
            pub const HELP: [&'static str; Self::COUNT] = [$($help),*];

            /// Every figure, in the order of the fields.
            pub const fn to_array(&self) -> [u64; Self::COUNT] {
                [$(self.$name),*]
            }

            /// The inverse of [`Counters::to_array`].
            pub const fn from_array(figures: [u64; Self::COUNT]) -> Self {
                let [$($name),*] = figures;
                Self { $($name),* }
            }
        }

        impl Rates {
            /// Every rate, in the order of [`Counters::to_array`].
            pub const fn to_array(&self) -> [f64; Counters::COUNT] {
                [$(self.$name),*]
            }

            /// The inverse of [`Rates::to_array`].
            pub const fn from_array(rates: [f64; Counters::COUNT]) -> Self {
                let [$($name),*] = rates;
                Self { $($name),* }
            }
        }
    };
}

pub(super) use counters;

impl Counters {
    /// The difference from `earlier` to `self`. Counts never go below zero. Gauges are those of `self`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        self.map(|index, now| match Self::KINDS[index] {
            CounterKind::Gauge => now,
            _ => now.saturating_sub(earlier.to_array()[index]),
        })
    }

    /// The sum of both, gauges included: for several workers at the same moment.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        self.map(|index, figure| figure.saturating_add(other.to_array()[index]))
    }

    /// The counts alone: the part that counts on after a worker is gone.
    #[must_use]
    pub fn without_gauges(&self) -> Self {
        self.with_gauges_of(&Self::default())
    }

    /// The counts of `self` and the gauges of `other`.
    #[must_use]
    pub fn with_gauges_of(&self, other: &Self) -> Self {
        self.map(|index, figure| match Self::KINDS[index] {
            CounterKind::Gauge => other.to_array()[index],
            _ => figure,
        })
    }

    /// The rate per second of a difference over `seconds`. If `seconds` is 0, all rates are 0.
    #[must_use]
    pub fn per_second(&self, seconds: f64) -> Rates {
        let figures = self.to_array();
        #[expect(clippy::cast_precision_loss, reason = "a rate is shown rounded")]
        let rate = |index: usize| match seconds {
            ..=0.0 => 0.0,
            _ => figures[index] as f64 / seconds,
        };
        Rates::from_array(std::array::from_fn(rate))
    }

    fn map(&self, figure: impl Fn(usize, u64) -> u64) -> Self {
        let figures = self.to_array();
        Self::from_array(std::array::from_fn(|index| figure(index, figures[index])))
    }
}

impl Rates {
    /// The sum of both: for several workers.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let (left, right) = (self.to_array(), other.to_array());
        Self::from_array(std::array::from_fn(|index| left[index] + right[index]))
    }
}

// Names appear in the record, in JSON and in `/metrics`, where a counter gets `_total`. `/metrics` shows the help.
counters! {
    clients: Gauge, "Connections whose opening handshake is complete and that are not yet closed";
    sockets: Gauge, "Sockets of any state, accepted or begun by a client, half-open handshakes and lingering closes included";
    accepted: Counter, "Sockets accepted";
    handshakes: Counter, "Opening handshakes completed";
    handshakes_hixie: Counter, "Of them, those of the protocols before RFC 6455: Hixie-75 and Hixie-76";
    handshakes_failed: Counter, "Opening handshakes refused, timed out or broken off, and a client's connects that failed";
    address_limited: Counter, "Connections reset or answered 429 because their address had too many, or opened them too fast";
    messages_in: Counter, "Data messages that the application received";
    message_bytes_in: Counter, "Payload bytes of the messages that the application received";
    messages_out: Counter, "Data messages that the application sent, counted as they are accepted from it";
    message_bytes_out: Counter, "Payload bytes of the messages that the application sent";
    inflated: Counter, "Messages received compressed";
    inflated_bytes: Counter, "Their payload bytes, inflated";
    inflated_from_bytes: Counter, "Their payload bytes on the wire";
    deflated: Counter, "Messages sent compressed";
    deflated_bytes: Counter, "Their payload bytes, before compression";
    deflated_to_bytes: Counter, "Their payload bytes on the wire";
    published: Counter, "Messages published to topics by connections and applications of this worker";
    deliveries: Counter, "Messages of topics handed to subscribers: sent, or queued where the socket is full";
    late: Counter, "Messages of topics that had to wait because their subscriber did not keep up";
    late_dropped_oldest: Counter, "Messages dropped from a subscriber's full queue to make room for newer ones";
    late_dropped_newest: Counter, "Messages dropped because their subscriber's queue was full";
    late_dropped_conflated: Counter, "Waiting messages that a newer one of the same topic replaced";
    late_dropped_too_big: Counter, "Messages dropped because they are larger than a subscriber's whole queue";
    late_dropped_closed: Counter, "Messages dropped because their subscriber was closed, for not keeping up or for itself";
    bus_missed: Counter, "Records of other workers that were overwritten before this worker read them";
    streams: Gauge, "Streams that are connected and joined with a WebSocket";
    streams_opened: Counter, "Streams connected and joined with a WebSocket";
    streams_failed: Counter, "WebSockets closed because the target of their stream could not be reached";
    streams_reset: Counter, "Streams that ended with a reset, or took nothing within the write timeout";
    stream_bytes_in: Counter, "Bytes received from streams";
    stream_bytes_out: Counter, "Bytes for streams, counted as they are accepted from WebSockets";
    relayed: Counter, "Connections handed to the server that answers requests for something else than a WebSocket";
    relays_failed: Counter, "Requests answered 502 because that server could not be reached";
    refused_tokens: Counter, "Clients of a gateway that were refused because their token, path or host leads to no target";
    refused_logins: Counter, "Clients of a gateway that were refused because they may not: password, certificate or token";
    refused_limits: Counter, "Clients of a gateway that were refused because its target has enough sessions, or too many clients wait";
    refused_lookups: Counter, "Clients of a gateway that were refused because the address of its target was not to be had in time";
    log_lines_dropped: Counter, "Lines of the access log that were dropped because their file or reader is too slow";
    recordings_incomplete: Counter, "Recordings of sessions that lack something because the disk is too slow or full";
    stream_connect_ns: Nanoseconds, "Time that connects to targets took, from the opening of the WebSocket or the failure of the address before";
    wire_bytes_in: Counter, "Bytes read from sockets, counted as they arrive";
    wire_bytes_out: Counter, "Bytes that the kernel took for sending, counted as they leave";
    drops: Counter, "Times that messages of the application could not be delivered: the connection ended first, or its queue was full";
    unhandled: Counter, "Messages whose asynchronous handler had not begun or not ended when their connection did";
    closed_unclean: Counter, "Open connections that ended without a clean closing handshake";
    violations: Counter, "Peers failed for breaking the protocol";
    enobufs: Counter, "Receives that found the buffer pool dry (back-pressure, nothing is lost)";
    partial_sends: Counter, "Sends that the socket took only in part or not at all (back-pressure, the rest is queued)";
    pauses: Counter, "Times reading from a peer was paused because its send queue was over its mark";
    stale_completions: Counter, "Completions whose connection was already gone";
    cq_overflows: Counter, "Times the completion queue overflowed";
    accept_backoffs: Counter, "Accepts that failed for want of descriptors or memory (EMFILE, ENFILE, ENOBUFS, ENOMEM)";
    proxy_headers_bad: Counter, "Connections reset because --proxy-protocol asks their peer for a PROXY header and they began with none";
    tls_handshakes: Counter, "TLS handshakes that were completed, in either role";
    tls_resumed: Counter, "Those of them that resumed an earlier session";
    tls_failed: Counter, "TLS handshakes that were not completed: a violation, a certificate that is not trusted, or the end of the connection";
    refused: Counter, "Sockets refused because --max-connections was reached";
    turns: Counter, "Turns of the loop (one io_uring_enter or epoll_wait each)";
    records_dropped: Counter, "Records of statistics dropped because the pipe to the supervisor was full";
    cpu_ns: Nanoseconds, "CPU time of the worker, user and system";
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
        let last = Counters::COUNT - 1;
        assert_eq!(counters.cpu_ns, Counters::COUNT as u64);
        assert_eq!(
            (Counters::NAMES[0], Counters::NAMES[last]),
            ("clients", "cpu_ns")
        );
        assert_eq!(Counters::from_array(counters.to_array()), counters);
    }

    #[test]
    fn a_name_says_its_unit_and_help_is_one_line_without_a_full_stop() {
        for (index, name) in Counters::NAMES.iter().enumerate() {
            let (kind, help) = (Counters::KINDS[index], Counters::HELP[index]);
            assert_eq!(
                name.ends_with("_ns"),
                kind == CounterKind::Nanoseconds,
                "{name}"
            );
            assert!(
                !help.ends_with('.') && !help.contains(['\n', '\\']),
                "{name}"
            );
        }
    }

    #[test]
    fn a_difference_keeps_gauges_and_never_goes_below_zero() {
        let earlier = Counters {
            clients: 9,
            messages_in: 10,
            drops: 5,
            ..Counters::default()
        };
        let later = Counters {
            clients: 4,
            messages_in: 17,
            drops: 3,
            ..Counters::default()
        };
        let delta = later.since(&earlier);
        assert_eq!((delta.clients, delta.messages_in, delta.drops), (4, 7, 0));
    }

    #[test]
    fn a_sum_adds_gauges_and_saturates() {
        let one = Counters {
            clients: 2,
            message_bytes_out: u64::MAX,
            ..Counters::default()
        };
        let two = Counters {
            clients: 3,
            message_bytes_out: 1,
            ..Counters::default()
        };
        let sum = one.plus(&two);
        assert_eq!((sum.clients, sum.message_bytes_out), (5, u64::MAX));
    }

    #[test]
    fn the_dead_leave_counts_but_no_clients() {
        let left = figures().without_gauges();
        assert_eq!((left.clients, left.sockets, left.accepted), (0, 0, 3));
    }

    #[test]
    fn rates_add_up_and_a_time_of_zero_has_none() {
        let counters = Counters {
            turns: 10,
            ..Counters::default()
        };
        let rates = counters.per_second(4.0).plus(&counters.per_second(5.0));
        assert_eq!((rates.turns, rates.drops), (4.5, 0.0));
        assert_eq!(counters.per_second(0.0), Rates::default());
    }
}
