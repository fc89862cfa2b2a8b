//! What a client's request does.

use std::fmt::Write as _;
use std::time::Duration;

use super::clients::{Encoded, What};
use super::record::{self, Content, Record};
use super::waiting::{Asker, Query};
use super::{Body, Form, Hall, Interest, Outlet, owner};
use crate::history::{Gap, Position, Weight};
use crate::log::Refusal;
use crate::pubsub::{ErrorCode, Event, Refused, Request, RequestId};
use crate::topics::{Pattern, Subscribed, Topic, Unsubscribed};

use std::num::NonZeroU64;

/// A client's place, and the form of its request.
type From = (usize, Form);

impl<M: Weight> Hall<M> {
    pub(super) fn handle(
        &mut self,
        now: Duration,
        from: From,
        request: &Request<'_>,
        outlet: &mut impl Outlet<Message = M>,
    ) {
        match *request {
            Request::Subscribe { id, pattern, since } => {
                self.subscribe(now, from, id, pattern, since, outlet);
            }
            Request::Unsubscribe { id, pattern } => self.unsubscribe(from, id, pattern, outlet),
            Request::Publish {
                id,
                topic,
                payload,
                retain,
            } => {
                let content = Content {
                    topic,
                    retain,
                    payload,
                };
                self.publish(now, from, id, &content, outlet);
            }
            Request::Presence { id, topic } => self.presence(now, from, id, topic, outlet),
        }
    }

    fn subscribe(
        &mut self,
        now: Duration,
        from: From,
        id: Option<RequestId>,
        pattern: Pattern<'_>,
        since: Option<Position>,
        outlet: &mut impl Outlet<Message = M>,
    ) {
        let (at, form) = from;
        if !self.clients.client(at).rights.may_subscribe(pattern) {
            let text = format_args!("no right to subscribe to {}", pattern.as_str());
            return self.refuse(from, id, ErrorCode::NotAllowed, text, outlet);
        }
        let subscribed = self
            .topics
            .subscribe_marked(at as u64, pattern, form.mark());
        let subscribed = match subscribed {
            Ok(subscribed) => subscribed,
            Err(full) => {
                return self.refuse(from, id, ErrorCode::Limit, format_args!("{full}"), outlet);
            }
        };
        self.clients.client(at).form = form;
        if subscribed == Subscribed::First {
            outlet.interest(pattern.as_str(), Interest::First);
        }
        let topic = pattern.as_topic();
        let position = topic.and_then(|topic| self.history.position(topic));
        self.acknowledge_now(from, id, position, outlet);
        match (since, topic) {
            (Some(since), Some(topic)) => self.replay(now, from, topic, since, outlet),
            _ if subscribed == Subscribed::Already => {}
            _ => self.send_retained(from, pattern, outlet),
        }
    }

    fn replay(
        &mut self,
        now: Duration,
        (at, form): From,
        topic: Topic<'_>,
        since: Position,
        outlet: &mut impl Outlet<Message = M>,
    ) {
        let Self {
            history, clients, ..
        } = self;
        let (gap, messages) = history.since(now, topic, since);
        let gap = gap.map(|gap| match gap {
            Gap::Messages(messages) => NonZeroU64::new(messages),
            Gap::Unknown => None,
        });
        if let Some(messages) = gap {
            let mut event = Encoded::new(Event::Gap {
                topic: Some(topic),
                messages,
            });
            match messages {
                Some(messages) => clients.tell_gap(at, form, messages, &mut event, outlet),
                None => clients.answer(at, form, What::Gap(None), &mut event, outlet),
            }
        }
        for (offset, body) in messages {
            if let Some(event) = message(topic, offset, body) {
                clients.deliver(at, form, &mut Encoded::new(event), outlet);
            }
        }
    }

    fn send_retained(
        &mut self,
        (at, form): From,
        pattern: Pattern<'_>,
        outlet: &mut impl Outlet<Message = M>,
    ) {
        let Self {
            history, clients, ..
        } = self;
        for (name, offset, body) in history.retained_of(pattern) {
            let topic = Topic::parse(name).ok();
            if let Some(event) = topic.and_then(|topic| message(topic, offset, body)) {
                clients.deliver(at, form, &mut Encoded::new(event), outlet);
            }
        }
    }

    fn unsubscribe(
        &mut self,
        from: From,
        id: Option<RequestId>,
        pattern: Pattern<'_>,
        outlet: &mut impl Outlet<Message = M>,
    ) {
        match self.topics.unsubscribe(from.0 as u64, pattern) {
            Unsubscribed::NotSubscribed => {
                let text = format_args!("there is no subscription to {}", pattern.as_str());
                return self.refuse(from, id, ErrorCode::NotSubscribed, text, outlet);
            }
            Unsubscribed::Last => outlet.interest(pattern.as_str(), Interest::None),
            Unsubscribed::Others => {}
        }
        self.acknowledge_now(from, id, None, outlet);
    }

    fn publish(
        &mut self,
        now: Duration,
        from: From,
        id: Option<RequestId>,
        content: &Content<'_>,
        outlet: &mut impl Outlet<Message = M>,
    ) {
        let name = content.topic.as_str();
        let rights = &self.clients.client(from.0).rights;
        if !rights.may_publish(content.topic) {
            let text = format_args!("no right to publish to {name}");
            return self.refuse(from, id, ErrorCode::NotAllowed, text, outlet);
        }
        let own = self.options.worker;
        let result = if owner(name, self.options.workers) == own {
            let origin = u16::try_from(own).expect("checked when the station began");
            let place = self.sequence(now, (origin, 0), content, outlet);
            place.map(Some)
        } else {
            if id.is_some() && !self.may_wait_for_ack(from.0) {
                let text = format_args!("too many publishes wait for their acknowledgement");
                return self.refuse(from, id, ErrorCode::Limit, text, outlet);
            }
            let sent = self.send_to_owner(now, from, id, content, outlet);
            sent.map(|()| None)
        };
        match result {
            Ok(place) => {
                self.clients.counts.published += 1;
                // Without a place, the acknowledgement comes with the message.
                if place.is_some() {
                    self.acknowledge_now(from, id, place, outlet);
                }
            }
            Err(refusal @ Refusal::TooBig { .. }) => {
                let text = format_args!("{refusal}");
                self.refuse(from, id, ErrorCode::TooBig, text, outlet);
            }
            Err(refusal) => {
                let text = format_args!("{refusal}");
                self.refuse(from, id, ErrorCode::Unavailable, text, outlet);
            }
        }
    }

    fn may_wait_for_ack(&mut self, at: usize) -> bool {
        let limits = self.options.waiting;
        self.waiting.acks.len() < limits.acks_max
            && self.clients.client(at).acks_waiting < limits.client_acks_max
    }

    fn send_to_owner(
        &mut self,
        now: Duration,
        (at, form): From,
        id: Option<RequestId>,
        content: &Content<'_>,
        outlet: &mut impl Outlet<Message = M>,
    ) -> Result<(), Refusal> {
        let ticket = id.map_or(0, |_| self.waiting.ticket());
        let record = Record::Publish {
            ticket,
            content: *content,
        };
        self.write(&record, outlet)?;
        if id.is_some() {
            let client = self.clients.client(at);
            client.acks_waiting += 1;
            let serial = client.serial;
            let asker = Asker {
                at,
                serial,
                id,
                form,
            };
            let deadline = now.saturating_add(self.options.waiting.ack_timeout);
            self.waiting.insert_ack(ticket, asker, deadline);
        }
        Ok(())
    }

    pub(super) fn fail_ack(&mut self, asker: Asker, outlet: &mut impl Outlet<Message = M>) {
        let Some(client) = self.clients.get_mut(asker.at, asker.serial) else {
            return;
        };
        client.acks_waiting -= 1;
        let text = format_args!("the message was perhaps not published: no answer came in time");
        let from = (asker.at, asker.form);
        self.refuse(from, asker.id, ErrorCode::Unavailable, text, outlet);
    }

    fn presence(
        &mut self,
        now: Duration,
        from: From,
        id: Option<RequestId>,
        topic: Topic<'_>,
        outlet: &mut impl Outlet<Message = M>,
    ) {
        let (at, form) = from;
        let name = topic.as_str();
        let rights = &self.clients.client(at).rights;
        if !Pattern::parse(name).is_ok_and(|pattern| rights.may_subscribe(pattern)) {
            let text = format_args!("no right to subscribe to {name}");
            return self.refuse(from, id, ErrorCode::NotAllowed, text, outlet);
        }
        let subscribers = self.subscribers_of(topic);
        let workers = self.options.workers;
        if workers == 1 {
            return self.send_presence(from, id, topic, subscribers, outlet);
        }
        let limits = self.options.waiting;
        let own_open = self.clients.client(at).queries_open;
        if self.waiting.queries.len() >= limits.queries_max || own_open >= limits.client_queries_max
        {
            let text = format_args!("too many questions are open");
            return self.refuse(from, id, ErrorCode::Limit, text, outlet);
        }
        let ticket = self.waiting.ticket();
        if let Err(refusal) = self.write(&Record::Query { ticket, topic }, outlet) {
            let text = format_args!("{refusal}");
            return self.refuse(from, id, ErrorCode::Unavailable, text, outlet);
        }
        let client = self.clients.client(at);
        client.queries_open += 1;
        let serial = client.serial;
        let asker = Asker {
            at,
            serial,
            id,
            form,
        };
        let deadline = now.saturating_add(limits.query_timeout);
        let own = (self.options.worker, subscribers, workers);
        self.waiting
            .insert_query(ticket, (asker, name), deadline, own);
    }

    pub(super) fn answer_query(&mut self, query: &Query, outlet: &mut impl Outlet<Message = M>) {
        let asker = query.asker;
        let Some(client) = self.clients.get_mut(asker.at, asker.serial) else {
            return;
        };
        client.queries_open -= 1;
        if let Ok(topic) = Topic::parse(&query.topic) {
            let from = (asker.at, asker.form);
            self.send_presence(from, asker.id, topic, query.subscribers, outlet);
        }
    }

    fn send_presence(
        &mut self,
        (at, form): From,
        id: Option<RequestId>,
        topic: Topic<'_>,
        subscribers: u64,
        outlet: &mut impl Outlet<Message = M>,
    ) {
        let mut event = Encoded::new(Event::Presence {
            id,
            topic,
            subscribers,
        });
        self.clients
            .answer(at, form, What::Answer, &mut event, outlet);
    }

    /// How many have subscribed to this topic here by its name.
    pub(super) fn subscribers_of(&self, topic: Topic<'_>) -> u64 {
        let pattern = Pattern::parse(topic.as_str());
        pattern.map_or(0, |pattern| self.topics.subscribers_of(pattern) as u64)
    }

    fn acknowledge_now(
        &mut self,
        (at, form): From,
        id: Option<RequestId>,
        position: Option<Position>,
        outlet: &mut impl Outlet<Message = M>,
    ) {
        if let Some(id) = id {
            let mut event = Encoded::new(Event::Ack { id, position });
            self.clients
                .answer(at, form, What::Answer, &mut event, outlet);
        }
    }

    pub(super) fn refuse_fault(
        &mut self,
        from: From,
        refused: Refused,
        outlet: &mut impl Outlet<Message = M>,
    ) {
        let Refused { id, fault } = refused;
        self.refuse(from, id, fault.code(), format_args!("{fault}"), outlet);
    }

    #[cold]
    fn refuse(
        &mut self,
        (at, form): From,
        id: Option<RequestId>,
        code: ErrorCode,
        text: std::fmt::Arguments<'_>,
        outlet: &mut impl Outlet<Message = M>,
    ) {
        self.clients.counts.refused[code as usize] += 1;
        let mut written = String::new();
        written.write_fmt(text).expect("a String takes everything");
        let text = &written;
        let mut event = Encoded::new(Event::Error { id, code, text });
        self.clients
            .answer(at, form, What::Answer, &mut event, outlet);
    }
}

/// A message that the history has kept.
fn message<'a>(topic: Topic<'a>, offset: u64, body: &'a Body) -> Option<Event<'a>> {
    Some(Event::Message {
        topic,
        offset: NonZeroU64::new(offset),
        payload: record::payload_of(body)?,
    })
}
