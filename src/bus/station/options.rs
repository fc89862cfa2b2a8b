//! What a station may hold, and what it has done.

use std::time::Duration;

use super::clients::What;
use crate::pubsub::{self, ErrorCode};
use crate::queue::{self, Drops, Policy};
use crate::{history, topics};

/// What a station may hold, and how it behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The number of this worker, from 0.
    pub worker: usize,
    /// How many there are, at most 65,535. Writers of the bus with higher numbers are no workers, and own no topic.
    pub workers: usize,
    /// Limits of requests.
    pub requests: pubsub::Limits,
    /// Limits of subscriptions.
    pub topics: topics::Limits,
    /// Limits of the history. All workers should have the same.
    pub history: history::Limits,
    /// Limits of what waits for a slow client.
    pub queue: queue::Limits,
    /// What happens to a client that is too slow.
    pub policy: Policy,
    /// Limits of what waits for other workers, and for whom.
    pub waiting: Limits,
}

/// What may wait. See the table of the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Publishes that wait for their place, of all clients.
    pub acks_max: usize,
    /// Of one client.
    pub client_acks_max: usize,
    /// How long each waits before it is answered with [`ErrorCode::Unavailable`].
    pub ack_timeout: Duration,
    /// Questions for presence that other workers have not answered, of all clients.
    pub queries_max: usize,
    /// Of one client.
    pub client_queries_max: usize,
    /// How long each waits before it is answered with what came.
    pub query_timeout: Duration,
    /// Answers and gaps for one slow client.
    pub answers_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            acks_max: 100_000,
            client_acks_max: 10_000,
            ack_timeout: Duration::from_secs(5),
            queries_max: 1000,
            client_queries_max: 100,
            query_timeout: Duration::from_millis(500),
            answers_max: 1000,
        }
    }
}

impl Options {
    /// The defaults for a worker.
    pub fn new(worker: usize, workers: usize) -> Self {
        Self {
            worker,
            workers,
            requests: pubsub::Limits::default(),
            topics: topics::Limits::default(),
            history: history::Limits::default(),
            queue: queue::Limits::default(),
            policy: Policy::DropOldest,
            waiting: Limits::default(),
        }
    }
}

/// What a station has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Publishes of clients that went onto the bus.
    pub published: u64,
    /// Messages with a place that came to this station, its own included.
    pub messages: u64,
    /// Messages that a connection has taken; replayed and retained ones as well.
    pub deliveries: u64,
    /// Messages that were dropped for slow clients, and those that waited when the connection ended.
    pub drops: Drops,
    /// Messages for connections that were found gone, and the rest of a replay for one that was closed meanwhile.
    pub drops_gone: u64,
    /// Gaps that clients were told of.
    pub gaps_told: u64,
    /// Messages in those gaps whose number is known.
    pub gap_messages_told: u64,
    /// How often records of other workers were overtaken.
    pub losses: u64,
    /// How many records that were, as far as it is known.
    pub records_lost: u64,
    /// Records that could not be read, or that their writer may not write.
    pub records_invalid: u64,
    /// Messages that were older than what was known of their topic.
    pub records_stale: u64,
    /// Records that the bus did not take.
    pub records_refused: u64,
    /// Publishes whose place did not come in time.
    pub acks_late: u64,
    /// Questions that not all workers answered in time.
    pub queries_late: u64,
    /// Clients that were closed because they read too slowly.
    pub closed_slow: u64,
    /// Requests that were refused, by [`ErrorCode`].
    pub(super) refused: [u64; 8],
}

impl Counts {
    /// Requests that were refused with this code.
    pub const fn refused(&self, code: ErrorCode) -> u64 {
        self.refused[code as usize]
    }

    pub(super) const fn sent(&mut self, what: What) {
        match what {
            What::Answer => {}
            What::Message => self.deliveries += 1,
            What::Gap(messages) => {
                self.gaps_told += 1;
                if let Some(messages) = messages {
                    self.gap_messages_told = self.gap_messages_told.saturating_add(messages.get());
                }
            }
        }
    }
}
