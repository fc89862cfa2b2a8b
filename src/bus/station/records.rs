//! What a record of the bus does.

use std::num::NonZeroU64;
use std::time::Duration;

use super::clients::{Encoded, What};
use super::record::{self, Content, Record};
use super::{Body, Form, Hall, Options, Outlet, owner};
use crate::history::{Applied, Position, Weight};
use crate::log::Refusal;
use crate::pubsub::Event;
use crate::topics::{Pattern, Topic};

impl<M: Weight> Hall<M> {
    /// Takes a record. Says whether its writer may write it.
    pub(super) fn take(
        &mut self,
        now: Duration,
        from: usize,
        record: &Record<'_>,
        outlet: &mut impl Outlet<Message = M>,
    ) -> bool {
        let Options {
            worker, workers, ..
        } = self.options;
        match *record {
            Record::Publish { ticket, content } => {
                let Ok(origin) = u16::try_from(from) else {
                    return false;
                };
                if owner(content.topic.as_str(), workers) == worker {
                    // What the bus refuses is counted, and its publisher is told when its time is over.
                    self.sequence(now, (origin, ticket), &content, outlet).ok();
                }
            }
            Record::Message {
                origin,
                ticket,
                position,
                content,
            } => {
                if owner(content.topic.as_str(), workers) != from {
                    return false;
                }
                self.spread(now, position, &content, outlet);
                if usize::from(origin) == worker {
                    self.acknowledge(ticket, position, outlet);
                }
            }
            Record::Query { ticket, topic } => {
                let Ok(to) = u16::try_from(from) else {
                    return false;
                };
                let subscribers = self.subscribers_of(topic);
                let count = Record::Count {
                    to,
                    ticket,
                    subscribers,
                };
                // Whoever asked answers without this worker when the time is over.
                self.write(&count, outlet).ok();
            }
            Record::Count {
                to,
                ticket,
                subscribers,
            } => {
                if usize::from(to) != worker {
                    return true;
                }
                let query = self.waiting.answer(ticket, from, subscribers);
                if let Some(query) = query {
                    self.answer_query(&query, outlet);
                }
            }
            Record::Lost {
                messages,
                topic: Some(topic),
            } => self.tell_gap_of(topic, NonZeroU64::new(messages), outlet),
            Record::Lost { topic: None, .. } => {
                self.tell_gap_of_owners(outlet, |owner| owner == from || from >= workers);
            }
        }
        true
    }

    /// Gives a message of an own topic its place, and tells everybody.
    pub(super) fn sequence(
        &mut self,
        now: Duration,
        (origin, ticket): (u16, u64),
        content: &Content<'_>,
        outlet: &mut impl Outlet<Message = M>,
    ) -> Result<Position, Refusal> {
        let position = self.history.next(content.topic);
        let message = Record::Message {
            origin,
            ticket,
            position,
            content: *content,
        };
        self.write(&message, outlet)?;
        self.spread(now, position, content, outlet);
        Ok(position)
    }

    /// Keeps a message that has its place, and delivers it to the subscribers here.
    fn spread(
        &mut self,
        now: Duration,
        position: Position,
        content: &Content<'_>,
        outlet: &mut impl Outlet<Message = M>,
    ) {
        let Content {
            topic,
            retain,
            payload,
        } = *content;
        let (format, data) = record::kept(payload);
        self.pen.clear();
        self.pen.push(format);
        self.pen.extend_from_slice(data);
        let body = Body::from(&*self.pen);
        self.clients.counts.messages += 1;
        let applied = self.history.apply(now, topic, position, body, retain);
        let missing = match applied {
            Applied::Stale => {
                self.clients.counts.records_stale += 1;
                return;
            }
            Applied::Next => None,
            Applied::Behind(messages) => Some(messages),
            Applied::BeganAgain(messages) => NonZeroU64::new(messages),
        };
        if missing.is_some() {
            self.tell_gap_of(topic, missing, outlet);
        }
        let offset = NonZeroU64::new(position.offset);
        let mut event = Encoded::new(Event::Message {
            topic,
            offset,
            payload,
        });
        let Self {
            topics, clients, ..
        } = self;
        topics.publish_marked(topic, |at, mark| {
            clients.deliver(place(at), Form::of_mark(mark), &mut event, outlet);
        });
    }

    fn acknowledge(
        &mut self,
        ticket: u64,
        position: Position,
        outlet: &mut impl Outlet<Message = M>,
    ) {
        let Some(ack) = self.waiting.acks.remove(&ticket) else {
            return;
        };
        let asker = ack.asker;
        let client = self.clients.get_mut(asker.at, asker.serial);
        if let (Some(client), Some(id)) = (client, asker.id) {
            client.acks_waiting -= 1;
            let position = Some(position);
            let mut event = Encoded::new(Event::Ack { id, position });
            self.clients
                .answer(asker.at, asker.form, What::Answer, &mut event, outlet);
        }
    }

    /// Tells the subscribers of a topic that messages of it are missing.
    fn tell_gap_of(
        &mut self,
        topic: Topic<'_>,
        messages: Option<NonZeroU64>,
        outlet: &mut impl Outlet<Message = M>,
    ) {
        let mut event = Encoded::new(Event::Gap {
            topic: Some(topic),
            messages,
        });
        let Self {
            topics, clients, ..
        } = self;
        topics.publish_marked(topic, |at, mark| {
            let (at, form) = (place(at), Form::of_mark(mark));
            match messages {
                Some(messages) => clients.tell_gap(at, form, messages, &mut event, outlet),
                None => clients.answer(at, form, What::Gap(None), &mut event, outlet),
            }
        });
    }

    /// Tells all who may have missed messages of these owners' topics: nobody knows which, and how many.
    pub(super) fn tell_gap_of_owners(
        &mut self,
        outlet: &mut impl Outlet<Message = M>,
        is_meant: impl Fn(usize) -> bool,
    ) {
        let workers = self.options.workers;
        let mut event = Encoded::new(Event::Gap {
            topic: None,
            messages: None,
        });
        let Self {
            topics, clients, ..
        } = self;
        let may_miss = |name: &str| {
            let topic = Pattern::parse(name).ok().and_then(Pattern::as_topic);
            topic.is_none_or(|topic| is_meant(owner(topic.as_str(), workers)))
        };
        topics.subscribers_with(may_miss, |at| {
            let at = place(at);
            let form = clients.client(at).form;
            clients.answer(at, form, What::Gap(None), &mut event, outlet);
        });
    }
}

/// The place of a client, as the table of topics has it.
fn place(subscriber: u64) -> usize {
    usize::try_from(subscriber).expect("it was a usize")
}
