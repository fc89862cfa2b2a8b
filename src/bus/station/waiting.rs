//! Requests whose answer comes over the bus.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Form;
use crate::pubsub::RequestId;

/// Who gets the answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker {
    /// The place of the client, and its serial there.
    pub(super) at: usize,
    pub(super) serial: u64,
    pub(super) id: Option<RequestId>,
    pub(super) form: Form,
}

/// A publish that has not come back with its place.
#[derive(Debug)]
pub(super) struct Ack {
    pub(super) asker: Asker,
    deadline: Duration,
}

/// A question to all workers.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) asker: Asker,
    pub(super) topic: Box<str>,
    pub(super) subscribers: u64,
    deadline: Duration,
    /// By worker: whether it has answered.
    answered: Box<[bool]>,
}

/// Tickets go up, and so do deadlines, so the first one is due first.
#[derive(Debug)]
pub(super) struct Waiting {
    next_ticket: u64,
    pub(super) acks: BTreeMap<u64, Ack>,
    pub(super) queries: BTreeMap<u64, Query>,
}

impl Waiting {
    /// The first ticket is larger than all of an earlier station of this worker.
    pub(super) const fn new(first_ticket: u64) -> Self {
        Self {
            next_ticket: first_ticket,
            acks: BTreeMap::new(),
            queries: BTreeMap::new(),
        }
    }

    /// Never 0, which is none.
    pub(super) fn ticket(&mut self) -> u64 {
        self.next_ticket = self.next_ticket.wrapping_add(1).max(1);
        self.next_ticket
    }

    pub(super) fn insert_ack(&mut self, ticket: u64, asker: Asker, deadline: Duration) {
        self.acks.insert(ticket, Ack { asker, deadline });
    }

    /// A query that this worker has answered.
    pub(super) fn insert_query(
        &mut self,
        ticket: u64,
        (asker, topic): (Asker, &str),
        deadline: Duration,
        (own, subscribers, workers): (usize, u64, usize),
    ) {
        let query = Query {
            asker,
            topic: topic.into(),
            subscribers,
            deadline,
            answered: (0..workers).map(|worker| worker == own).collect(),
        };
        self.queries.insert(ticket, query);
    }

    /// Takes the answer of a worker, and the query if it was the last one.
    pub(super) fn answer(&mut self, ticket: u64, worker: usize, subscribers: u64) -> Option<Query> {
        let query = self.queries.get_mut(&ticket)?;
        let answered = query.answered.get_mut(worker)?;
        if !std::mem::replace(answered, true) {
            query.subscribers = query.subscribers.saturating_add(subscribers);
        }
        if query.answered.contains(&false) {
            return None;
        }
        self.queries.remove(&ticket)
    }

    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        let ack = self.acks.values().next().map(|ack| ack.deadline);
        let query = self.queries.values().next().map(|query| query.deadline);
        ack.into_iter().chain(query).min()
    }

    pub(super) fn pop_late_ack(&mut self, now: Duration) -> Option<Ack> {
        let first = self.acks.first_entry()?;
        (first.get().deadline <= now).then(|| first.remove())
    }

    pub(super) fn pop_late_query(&mut self, now: Duration) -> Option<Query> {
        let first = self.queries.first_entry()?;
        (first.get().deadline <= now).then(|| first.remove())
    }
}
