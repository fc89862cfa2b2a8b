//! The counters of the bridge to a broker.

use super::sidecar::totals;

// In `/metrics` each has `backplane_` in front.
totals! {
    connected: Gauge, "1 while there is a connection to the broker";
    published: Counter, "Messages handed to the broker";
    received: Counter, "Messages of other servers that were put on the bus";
    dropped_away: Counter, "Messages for the broker dropped because there was no connection, or because it was lost with them";
    dropped_full: Counter, "Messages for the broker dropped because too many waited for it";
    dropped_too_big: Counter, "Messages for the broker dropped because they are larger than it takes";
    dropped_by_bus: Counter, "Messages of other servers dropped because they are larger than the bus takes (--bus-log)";
    overflowed: Counter, "Messages of other servers dropped because the bridge was too slow";
    bus_missed: Counter, "Records of workers that were overwritten before the bridge read them";
    unwanted: Counter, "Messages of other servers that nobody here wants, or wants any more";
    repeated: Counter, "Messages of other servers that came twice, and were taken once";
    invalid: Counter, "Messages at the broker that are none of this version";
    interests_refused: Counter, "Topics that are not fetched because there are too many";
    reconnects: Counter, "Connections to the broker made after one was lost";
    gaps: Counter, "Times that messages of other servers may have been missed";
    cpu_ns: Nanoseconds, "CPU time of the bridge, user and system";
}
