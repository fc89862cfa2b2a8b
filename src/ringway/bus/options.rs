//! What a bus can be told.

use super::{HistoryLimits, Policy, QueueLimits, TopicLimits};

/// The bus between the workers of a server, and the topics of each worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusOptions {
    /// Bytes of each worker's log, a power of two from 64 KiB: what a worker may fall behind another one. A message has at most an
    /// eighth of it. Default 4 MiB. The memory is shared, and taken when messages are published.
    pub log_bytes: usize,
    /// What happens to a message whose subscriber does not keep up, when its queue is full. Default: the oldest goes.
    pub policy: Policy,
    /// Messages and bytes that wait for one subscriber. Default 1000 and 1 MiB.
    pub queue: QueueLimits,
    /// Topics and subscriptions of each worker. Default 100,000 and 1,000,000.
    pub topics: TopicLimits,
    /// The last messages of each topic that each worker keeps for [`Context::replay`](crate::Context::replay). Default: none. One that is
    /// kept costs one allocation, its bytes and about 100 more.
    pub history: HistoryLimits,
}

impl Default for BusOptions {
    fn default() -> Self {
        Self {
            log_bytes: 4 << 20,
            policy: Policy::DropOldest,
            queue: QueueLimits::default(),
            topics: TopicLimits::default(),
            history: HistoryLimits {
                messages_max: 0,
                ..HistoryLimits::default()
            },
        }
    }
}

impl BusOptions {
    /// Fewest bytes of a log.
    pub const LOG_BYTES_MIN: usize = 64 << 10;
    /// Most bytes of a log (1 GiB).
    pub const LOG_BYTES_MAX: usize = 1 << 30;

    /// Bytes of the largest record of a log.
    pub(super) const fn record_bytes_max(log_bytes: usize) -> usize {
        log_bytes / 8
    }

    /// Whether there can be such a bus.
    pub const fn is_possible(&self) -> bool {
        self.log_bytes.is_power_of_two()
            && self.log_bytes >= Self::LOG_BYTES_MIN
            && self.log_bytes <= Self::LOG_BYTES_MAX
            && self.queue.messages_max > 0
    }
}
