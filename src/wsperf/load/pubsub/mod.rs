//! The scenario `pubsub`: clients subscribe to all topics of a run, and one more connection publishes to them. They speak the binary form
//! of `docs/pubsub.md`.
//!
//! Owns: the life of a subscriber, and the judgement over what it got. Never: knows the layout of a request.
//!
//! ```text
//!  open ─▶ a request for each topic ─▶ Joining ── all acknowledged ─▶ Ready: messages, gaps
//!                                         └────── refused, or no answer ─▶ LeftOut: nothing is due to it
//! ```
//!
//! A message that was published and has not come is missing. The server has to say so by a gap. What is missing beyond the gaps, and
//! beyond publishes that the server refused, is *untold*. A subscriber whose connection ended early is judged by what came until then.

mod publisher;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ringway_bus::pubsub::{Event, Payload, Request, RequestId, binary};
use ringway_bus::topics::{Pattern, Topic};

use super::fanout::{Arrival, Disorder, Fanout, Sequence, Stamp};
use super::meter::{Due, Meter, Window};
use super::ramp::{Fate, Ramp};
use super::schedule::Schedule;
use super::thread::{Figures, Script};
use crate::proto::{Kind, Message};
use crate::time::{self, Instant};
use crate::worker::{App, Closed, Context, Failure, Handle, Prepared, Scope};
use publisher::Publisher;

/// The topics of a run, for all threads.
#[derive(Debug)]
pub(super) struct Topics {
    names: Vec<String>,
    /// Messages that were sent to the server, and those of them that it refused.
    published: AtomicU64,
    refused: AtomicU64,
}

impl Topics {
    /// `NAME/0`, `NAME/1` and so on.
    pub(super) fn new(name: &str, count: usize) -> Self {
        Self {
            names: (0..count).map(|topic| format!("{name}/{topic}")).collect(),
            published: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    const fn len(&self) -> usize {
        self.names.len()
    }

    fn topic(&self, at: usize) -> Topic<'_> {
        Topic::parse(&self.names[at]).expect("the options were checked")
    }

    fn note_published(&self) {
        self.published.fetch_add(1, Ordering::Relaxed);
    }

    fn note_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }
}

/// The part of one thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Number of the thread's first connection among those of all threads, and how many it has. Number 0 publishes.
    pub(super) first: usize,
    pub(super) count: usize,
    /// Connects per second of all threads. `None`: as fast as others are done.
    pub(super) connects_per_second: Option<f64>,
    /// Messages that are published at the same instant.
    pub(super) batch: u64,
    /// Bytes of a message.
    pub(super) size: usize,
    /// Time for the answers to subscriptions.
    pub(super) timeout: Duration,
}

/// The connections of one thread.
#[derive(Debug)]
pub(super) struct Pubsub {
    meter: Meter,
    ramp: Ramp,
    fanout: Arc<Fanout>,
    topics: Arc<Topics>,
    size: usize,
    timeout: Duration,
    /// In the thread of connection number 0, whose tag is 0.
    publisher: Option<Publisher>,
    /// By tag. That of the publisher stays [`Stage::Absent`].
    subscribers: Vec<Subscriber>,
    /// By tag and topic.
    sequences: Vec<Sequence>,
    /// How many are [`Stage::Joining`], and how many have become [`Stage::Ready`].
    joining: usize,
    joined: u64,
    /// When the run began, when a subscription was last answered, and when the last subscriber became ready.
    began: Instant,
    progressed: Instant,
    ramped: Option<Duration>,
    disorder: Disorder,
    gaps: u64,
    /// Missing and untold at subscribers whose connection ended early.
    untold: u64,
    /// What has not come by now is missing.
    in_time: bool,
    finishing: bool,
    /// An empty list, kept for its memory.
    request: Vec<u8>,
}

/// A client that subscribes.
#[derive(Clone, Debug, Default)]
struct Subscriber {
    stage: Stage,
    /// Subscriptions that wait for their answer.
    unanswered: usize,
    /// Messages that came, duplicates left out.
    received: u64,
    /// Messages that have not come although one behind them has.
    passed_over: u64,
    /// Messages that gaps told of; [`u64::MAX`] after a gap without a number.
    told: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Absent,
    Joining,
    Ready,
    LeftOut,
}

impl Pubsub {
    /// `schedule`: when batches are due.
    pub(super) fn new(
        meter: Meter,
        mut ramp: Ramp,
        schedule: Schedule,
        fanout: &Arc<Fanout>,
        topics: &Arc<Topics>,
        plan: Plan,
    ) -> Self {
        let began = time::now();
        for at in 0..plan.count {
            let tag = u32::try_from(at).unwrap_or(u32::MAX);
            match plan.connects_per_second {
                Some(rate) => {
                    let wait = Duration::try_from_secs_f64((plan.first + at) as f64 / rate);
                    ramp.add_later(tag, began + wait.unwrap_or(Duration::MAX));
                }
                None => ramp.add(tag),
            }
        }
        let publisher = Publisher::new(topics, fanout, schedule, plan.batch, plan.size);
        Self {
            meter,
            ramp,
            fanout: fanout.clone(),
            topics: topics.clone(),
            size: plan.size,
            timeout: plan.timeout,
            publisher: (plan.first == 0).then_some(publisher),
            subscribers: vec![Subscriber::default(); plan.count],
            sequences: vec![Sequence::default(); plan.count * topics.len()],
            joining: 0,
            joined: 0,
            began,
            progressed: began,
            ramped: None,
            disorder: Disorder::default(),
            gaps: 0,
            untold: 0,
            in_time: false,
            finishing: false,
            request: Vec::new(),
        }
    }

    /// The publisher if it has this tag.
    fn publisher_at(&mut self, at: usize) -> Option<&mut Publisher> {
        self.publisher.as_mut().filter(|_| at == 0)
    }

    /// Whether no publish waits for its answer.
    fn is_answered(&self) -> bool {
        self.publisher.as_ref().is_none_or(Publisher::is_answered)
    }

    fn surprise(&mut self, what: &str) {
        self.meter
            .fault(|errors| errors.content += 1, || what.to_owned());
    }

    fn subscribe(&mut self, context: &mut Context<'_>, at: usize) {
        let subscriber = &mut self.subscribers[at];
        subscriber.stage = Stage::Joining;
        self.joining += 1;
        self.progressed = context.now();
        for topic in 0..self.topics.len() {
            let name = self.topics.topic(topic).as_str();
            let request = Request::Subscribe {
                id: Some(RequestId::MIN),
                pattern: Pattern::parse(name).expect("every topic is a pattern"),
                since: None,
            };
            self.request.clear();
            binary::encode_request(&request, &mut self.request);
            // The queue of a new connection has room for them. Of one that is closing already the end is counted.
            subscriber.unanswered += 1;
            let _ = context.send(Kind::Binary, &self.request);
        }
    }

    /// One of its subscriptions was acknowledged.
    fn note_subscribed(&mut self, at: usize, now: Instant) {
        let subscriber = &mut self.subscribers[at];
        if subscriber.stage != Stage::Joining {
            return;
        }
        self.progressed = now;
        subscriber.unanswered -= 1;
        if subscriber.unanswered == 0 {
            subscriber.stage = Stage::Ready;
            self.joining -= 1;
            self.joined += 1;
            self.ramped = Some(now.since(self.began));
            self.fanout.note_open();
        }
    }

    fn leave_out(&mut self, at: usize, why: impl FnOnce() -> String) {
        let stage = &mut self.subscribers[at].stage;
        if *stage == Stage::Joining {
            *stage = Stage::LeftOut;
            self.joining -= 1;
        }
        self.meter.fault(|errors| errors.refused += 1, why);
    }

    /// Leaves out those who are joining when no answer has come for the timeout.
    fn give_up_joining(&mut self, now: Instant) {
        let waited = now.since(self.progressed);
        if self.joining == 0 || !self.ramp.is_settled() || waited < self.timeout {
            return;
        }
        for at in 0..self.subscribers.len() {
            if self.subscribers[at].stage == Stage::Joining {
                let why = "a subscription was not answered in time (see --timeout)";
                self.leave_out(at, || why.to_owned());
            }
        }
    }

    /// An event of the publisher's connection.
    fn note_answer(&mut self, now: Instant, event: &Event<'_>) {
        let Some(publisher) = &mut self.publisher else {
            return;
        };
        let is_known = match *event {
            Event::Ack { id, .. } => publisher.note_ack(id, &self.meter, now),
            Event::Error { id, code, text } => {
                publisher.note_refusal(id);
                let why = || format!("the server refused a publish: {}: {text}", code.name());
                self.meter.fault(|errors| errors.refused += 1, why);
                true
            }
            _ => false,
        };
        // At the end nobody waits for answers any more.
        if !is_known && !self.finishing {
            self.surprise("the publisher got an event that it did not ask for");
        }
    }

    /// An event of a subscriber's connection.
    fn note_event(&mut self, now: Instant, at: usize, event: &Event<'_>) {
        match *event {
            Event::Ack { .. } => self.note_subscribed(at, now),
            Event::Error { code, text, .. } => self.leave_out(at, || {
                format!("the server refused a subscription: {}: {text}", code.name())
            }),
            Event::Message { topic, payload, .. } if self.subscribers[at].stage == Stage::Ready => {
                self.note_message(now, at, topic, payload);
            }
            Event::Gap { messages, .. } => {
                self.gaps += 1;
                let told = &mut self.subscribers[at].told;
                *told = told.saturating_add(messages.map_or(u64::MAX, u64::from));
            }
            // Those of a client that is left out, or whose other subscriptions are not answered yet.
            Event::Message { .. } => {}
            _ => self.surprise("a subscriber got an event that it did not ask for"),
        }
    }

    fn note_message(&mut self, now: Instant, at: usize, topic: Topic<'_>, payload: Payload<'_>) {
        let bytes = match payload {
            Payload::Bytes(bytes) => bytes,
            Payload::Json(_) => &[],
        };
        let stamp = Stamp::read(bytes).filter(|stamp| {
            let name = self.topics.names.get(stamp.source as usize);
            bytes.len() == self.size && name.is_some_and(|name| name == topic.as_str())
        });
        let Some(stamp) = stamp else {
            return self.surprise(
                "a message came that this run did not publish; if others use its topics, choose another --topic",
            );
        };
        let pair = at * self.topics.len() + stamp.source as usize;
        let arrival = self.sequences[pair].note(stamp.number);
        if let Some(fault) = self.disorder.note(arrival) {
            self.surprise(fault);
        }
        let subscriber = &mut self.subscribers[at];
        match arrival {
            Arrival::Next => {}
            Arrival::Ahead(messages) => subscriber.passed_over += u64::from(messages),
            Arrival::Late => subscriber.passed_over -= 1,
            Arrival::Again => return,
        }
        subscriber.received += 1;
        self.fanout.deliver();
        self.meter
            .complete(now, stamp.due, bytes.len(), Due::Scheduled);
    }

    /// What is missing at a subscriber and was not told. `in_time`: all that was published should have come by now.
    fn untold(&self, subscriber: &Subscriber, in_time: bool) -> u64 {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let missing = if in_time {
            of(&self.topics.published).saturating_sub(subscriber.received)
        } else {
            subscriber.passed_over
        };
        missing.saturating_sub(subscriber.told.saturating_add(of(&self.topics.refused)))
    }
}

impl App for Pubsub {
    type Session = ();

    fn connected(&mut self, scope: &mut Scope<'_>, (): &mut ()) {
        let (tag, now) = (scope.tag(), scope.now());
        self.ramp.note_connected(tag, now);
    }

    fn failed(&mut self, scope: &mut Scope<'_>, (): (), failed: Failure) {
        if self.finishing {
            return self.ramp.settle();
        }
        match self
            .ramp
            .note_failed(&mut self.meter, scope, &failed, time::now())
        {
            Fate::MovedOn | Fate::Failed => {}
        }
    }

    fn open(&mut self, context: &mut Context<'_>, (): &mut ()) {
        self.ramp.note_open(context.tag());
        self.meter.note_open();
        let at = context.tag() as usize;
        match self.publisher_at(at) {
            Some(publisher) => publisher.id = Some(context.id()),
            None => self.subscribe(context, at),
        }
    }

    fn message(&mut self, context: &mut Context<'_>, (): &mut (), message: Message<'_>) {
        let (at, now) = (context.tag() as usize, context.now());
        let event = match message.kind() {
            Kind::Binary => binary::read_event(message.payload()),
            Kind::Text => None,
        };
        match event {
            Some(event) if self.publisher_at(at).is_some() => self.note_answer(now, &event),
            Some(event) => self.note_event(now, at, &event),
            None if self.subscribers[at].stage == Stage::Joining => self.leave_out(at, || {
                "the answer to a subscription is no event: is the server's application a pubsub?"
                    .to_owned()
            }),
            None => self.surprise("a message came that is no event of the binary form"),
        }
    }

    fn close(&mut self, scope: &mut Scope<'_>, (): (), closed: Closed<'_>) {
        self.meter.connections -= 1;
        if self.finishing {
            return self.meter.left(&closed);
        }
        self.meter.lost(&closed);
        let at = scope.tag() as usize;
        if let Some(publisher) = self.publisher_at(at) {
            let unanswered = publisher.give_up();
            self.meter.errors.missing += unanswered;
        }
        let subscriber = std::mem::take(&mut self.subscribers[at]);
        match subscriber.stage {
            Stage::Joining => self.joining -= 1,
            Stage::Ready => {
                self.fanout.note_close();
                self.untold += self.untold(&subscriber, false);
            }
            Stage::Absent | Stage::LeftOut => {}
        }
    }

    fn turn(&mut self, reach: &mut Handle<'_>) {
        for (_, errno) in self.ramp.step(reach) {
            self.ramp.count_refusal(&mut self.meter, errno);
        }
        let now = reach.clock();
        self.meter.pass(now);
        if self.finishing {
            return;
        }
        self.give_up_joining(now);
        if let Some(publisher) = &mut self.publisher
            && self.meter.has_begun(now)
        {
            publisher.follow_schedule(reach, &mut self.meter, now);
        }
    }
}

impl Script for Pubsub {
    fn messages(&self) -> Vec<(Kind, &[u8])> {
        Vec::new()
    }

    fn set_prepared(&mut self, _prepared: Prepared) {}

    fn is_ready(&self) -> bool {
        self.ramp.is_settled() && self.joining == 0
    }

    fn set_go(&mut self, window: Window) {
        if let Some(publisher) = &mut self.publisher {
            publisher.start(window.go, window.end);
        }
    }

    fn due(&self) -> Option<Instant> {
        let batch = self.publisher.as_ref().and_then(Publisher::due);
        [batch, self.ramp.due()].into_iter().flatten().min()
    }

    fn is_done(&self) -> bool {
        self.fanout.is_complete() && self.is_answered()
    }

    /// Without subscribers there is nothing to measure.
    fn is_complete(&self) -> bool {
        self.meter.window().is_some() && self.fanout.open() == 0 && self.is_answered()
    }

    fn finish(&mut self, in_time: bool) {
        (self.in_time, self.finishing) = (in_time, true);
        self.ramp.stop();
        if let Some(publisher) = &mut self.publisher
            && in_time
        {
            self.meter.errors.missing += publisher.give_up();
        }
    }

    fn meter(&mut self) -> &mut Meter {
        &mut self.meter
    }

    fn figures(&mut self) -> Figures {
        let mut figures = Figures::default();
        let ready = self.subscribers.iter();
        let ready = ready.filter(|subscriber| subscriber.stage == Stage::Ready);
        let untold: u64 = ready.map(|one| self.untold(one, self.in_time)).sum();
        figures.add("pubsub_untold", self.untold + untold);
        figures.add("pubsub_subscribers", self.joined);
        figures.add("pubsub_gaps", self.gaps);
        figures.add("pubsub_overtaken", self.disorder.overtaken);
        figures.add("pubsub_duplicates", self.disorder.duplicates);
        figures.ramp = self.ramped;
        if let Some(publisher) = &self.publisher {
            publisher.tell(&mut figures);
        }
        figures
    }
}
