//! The clients of a station, and what goes to each: at once, or behind what waits for it.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU64;
use std::sync::Arc;

use slab::Slab;

use super::{Counts, Form, Outlet, Sent};
use crate::history::Weight;
use crate::pubsub::{Event, binary, json};
use crate::queue::{Limits, Next, Policy, Push, Queue, TRY_AGAIN_LATER};
use crate::rights::Rights;
use crate::topics::Topic;

/// What an event is to the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Of a request.
    Answer,
    Gap(Option<NonZeroU64>),
    Message,
}

/// An event that is encoded at most once for each form, and only when somebody wants that form.
#[derive(Debug)]
pub(super) struct Encoded<'a, M> {
    event: Event<'a>,
    topic: Option<Topic<'a>>,
    text: Option<M>,
    binary: Option<M>,
    /// For queues: shared by all clients that are slow.
    name: Option<Arc<str>>,
}

impl<'a, M: Clone> Encoded<'a, M> {
    pub(super) const fn new(event: Event<'a>) -> Self {
        let topic = match event {
            Event::Message { topic, .. } => Some(topic),
            Event::Gap { topic, .. } => topic,
            _ => None,
        };
        Self {
            event,
            topic,
            text: None,
            binary: None,
            name: None,
        }
    }

    fn message(
        &mut self,
        form: Form,
        pens: &mut Pens,
        outlet: &mut impl Outlet<Message = M>,
    ) -> &M {
        let event = &self.event;
        match form {
            Form::Text => self.text.get_or_insert_with(|| {
                pens.text.clear();
                json::encode_event(event, &mut pens.text);
                outlet.prepare(form, pens.text.as_bytes())
            }),
            Form::Binary => self.binary.get_or_insert_with(|| {
                pens.binary.clear();
                binary::encode_event(event, &mut pens.binary);
                outlet.prepare(form, &pens.binary)
            }),
        }
    }

    fn name(&mut self) -> Arc<str> {
        let topic = self.topic.map_or("", Topic::as_str);
        self.name.get_or_insert_with(|| topic.into()).clone()
    }
}

/// Where events are written before they become messages of the outlet; each keeps room for the largest so far.
#[derive(Debug, Default)]
struct Pens {
    text: String,
    binary: Vec<u8>,
}

/// What waits for a client whose send queue is full.
#[derive(Debug)]
struct Backlog<M> {
    queue: Queue<M, Arc<str>>,
    /// Taken from the queue, and not yet by the connection.
    in_hand: Option<(What, M)>,
    /// What is no message, and is never dropped: each goes when the queue has come to the place where its end was.
    answers: VecDeque<(usize, What, M)>,
}

#[derive(Debug)]
pub(super) struct Client<M> {
    number: u64,
    /// Tells it from another one that had its place before.
    pub(super) serial: u64,
    pub(super) rights: Arc<Rights>,
    /// Of its last subscription: gaps that are of no single one are told in this form.
    pub(super) form: Form,
    pub(super) acks_waiting: usize,
    pub(super) queries_open: usize,
    backlog: Option<Box<Backlog<M>>>,
    is_leaving: bool,
}

/// Why a client leaves.
#[derive(Clone, Copy, Debug)]
enum Leave {
    /// The connection has ended.
    Gone,
    /// It reads too slowly; [`Policy::Close`], or too many answers wait.
    Slow,
}

#[derive(Debug)]
pub(super) struct Clients<M> {
    policy: Policy,
    limits: Limits,
    answers_max: usize,
    slab: Slab<Client<M>>,
    numbers: HashMap<u64, usize>,
    serial: u64,
    pens: Pens,
    leaving: Vec<(usize, Leave)>,
    pub(super) counts: Counts,
}

impl<M: Weight> Clients<M> {
    pub(super) fn new(policy: Policy, limits: Limits, answers_max: usize) -> Self {
        Self {
            policy,
            limits,
            answers_max,
            slab: Slab::new(),
            numbers: HashMap::new(),
            serial: 0,
            pens: Pens::default(),
            leaving: Vec::new(),
            counts: Counts::default(),
        }
    }

    pub(super) fn open(&mut self, number: u64, rights: Arc<Rights>) {
        self.serial += 1;
        let at = self.slab.insert(Client {
            number,
            serial: self.serial,
            rights,
            form: Form::Text,
            acks_waiting: 0,
            queries_open: 0,
            backlog: None,
            is_leaving: false,
        });
        self.numbers.insert(number, at);
    }

    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(super) fn at(&self, number: u64) -> Option<usize> {
        self.numbers.get(&number).copied()
    }

    /// A client, unless another has its place now.
    pub(super) fn get_mut(&mut self, at: usize, serial: u64) -> Option<&mut Client<M>> {
        let client = self.slab.get_mut(at)?;
        (client.serial == serial).then_some(client)
    }

    pub(super) fn client(&mut self, at: usize) -> &mut Client<M> {
        &mut self.slab[at]
    }

    /// Ends a client; what waits for it is dropped and counted.
    pub(super) fn remove(&mut self, at: usize) {
        let client = self.slab.remove(at);
        self.numbers.remove(&client.number);
        if let Some(backlog) = client.backlog {
            let in_hand = matches!(backlog.in_hand, Some((What::Message, _)));
            let waiting = backlog.queue.messages() + usize::from(in_hand);
            self.counts.drops.closed += waiting as u64;
        }
    }

    /// Closes a client that is to leave, and names its place. [`Self::remove`] must follow.
    pub(super) fn pop_leaving(&mut self, outlet: &mut impl Outlet<Message = M>) -> Option<usize> {
        let (at, why) = self.leaving.pop()?;
        if matches!(why, Leave::Slow) {
            self.counts.closed_slow += 1;
            let number = self.slab[at].number;
            outlet.close(number, TRY_AGAIN_LATER, "reads too slowly");
        }
        Some(at)
    }

    /// A message for a client: now, or behind what waits.
    pub(super) fn deliver(
        &mut self,
        at: usize,
        form: Form,
        event: &mut Encoded<'_, M>,
        outlet: &mut impl Outlet<Message = M>,
    ) {
        match self.try_send(at, form, What::Message, event, outlet) {
            Tried::Done => return,
            Tried::Gone => return self.counts.drops_gone += 1,
            Tried::Waits => {}
        }
        let message = event.message(form, &mut self.pens, outlet).clone();
        let backlog = self.backlog(at);
        let before = *backlog.queue.drops();
        let pushed = backlog.queue.push(event.name(), message);
        let after = *backlog.queue.drops();
        self.counts.drops.add(&after, &before);
        if pushed == Push::Close {
            let in_hand = self.backlog(at).in_hand.take();
            self.counts.drops.closed += u64::from(matches!(in_hand, Some((What::Message, _))));
            self.leave(at, Leave::Slow);
        }
    }

    /// Tells that so many messages of a topic are missing here.
    pub(super) fn tell_gap(
        &mut self,
        at: usize,
        form: Form,
        messages: NonZeroU64,
        event: &mut Encoded<'_, M>,
        outlet: &mut impl Outlet<Message = M>,
    ) {
        let what = What::Gap(Some(messages));
        if matches!(self.try_send(at, form, what, event, outlet), Tried::Waits) {
            let name = event.name();
            self.backlog(at).queue.push_gap(Some(name), messages);
        }
    }

    /// Sends what is no message and may not be dropped.
    pub(super) fn answer(
        &mut self,
        at: usize,
        form: Form,
        what: What,
        event: &mut Encoded<'_, M>,
        outlet: &mut impl Outlet<Message = M>,
    ) {
        if !matches!(self.try_send(at, form, what, event, outlet), Tried::Waits) {
            return;
        }
        let message = event.message(form, &mut self.pens, outlet).clone();
        let answers_max = self.answers_max;
        let backlog = self.backlog(at);
        let after = backlog.queue.end();
        let last = backlog.answers.back();
        let is_told = last.is_some_and(|last| last.0 == after && last.1 == what);
        if is_told && what == What::Gap(None) && event.topic.is_none() {
            return;
        }
        if backlog.answers.len() >= answers_max {
            return self.leave(at, Leave::Slow);
        }
        backlog.answers.push_back((after, what, message));
    }

    /// The connection takes more.
    pub(super) fn drain(&mut self, at: usize, outlet: &mut impl Outlet<Message = M>) {
        let client = &mut self.slab[at];
        let Some(mut backlog) = client.backlog.take() else {
            return;
        };
        let (number, form) = (client.number, client.form);
        loop {
            if backlog.in_hand.is_none() {
                backlog.in_hand = self.next(&mut backlog, form, outlet);
            }
            let Some((what, message)) = &backlog.in_hand else {
                return;
            };
            match outlet.send(number, message) {
                Sent::Taken => self.counts.sent(*what),
                Sent::Full => break,
                Sent::Gone => {
                    self.leave(at, Leave::Gone);
                    break;
                }
            }
            backlog.in_hand = None;
        }
        self.slab[at].backlog = Some(backlog);
    }

    /// What goes next, if anything waits.
    fn next(
        &mut self,
        backlog: &mut Backlog<M>,
        form: Form,
        outlet: &mut impl Outlet<Message = M>,
    ) -> Option<(What, M)> {
        let Backlog { queue, answers, .. } = backlog;
        let first = answers.front();
        if first.is_some_and(|(after, ..)| *after <= queue.begin() || queue.is_empty()) {
            let (_, what, message) = answers.pop_front()?;
            return Some((what, message));
        }
        Some(match queue.pop()? {
            Next::Message(message) => (What::Message, message),
            Next::Gap { messages, topic } => {
                let topic = topic.as_deref().and_then(|name| Topic::parse(name).ok());
                let messages = Some(messages);
                let mut event = Encoded::new(Event::Gap { topic, messages });
                let message = event.message(form, &mut self.pens, outlet);
                (What::Gap(messages), message.clone())
            }
        })
    }

    fn try_send(
        &mut self,
        at: usize,
        form: Form,
        what: What,
        event: &mut Encoded<'_, M>,
        outlet: &mut impl Outlet<Message = M>,
    ) -> Tried {
        let client = &self.slab[at];
        if client.is_leaving {
            return Tried::Gone;
        }
        if client.backlog.is_some() {
            return Tried::Waits;
        }
        let message = event.message(form, &mut self.pens, outlet);
        match outlet.send(client.number, message) {
            Sent::Taken => {
                self.counts.sent(what);
                Tried::Done
            }
            Sent::Full => Tried::Waits,
            Sent::Gone => {
                self.leave(at, Leave::Gone);
                Tried::Gone
            }
        }
    }

    fn backlog(&mut self, at: usize) -> &mut Backlog<M> {
        let (policy, limits) = (self.policy, self.limits);
        self.slab[at].backlog.get_or_insert_with(|| {
            Box::new(Backlog {
                queue: Queue::new(policy, limits),
                in_hand: None,
                answers: VecDeque::new(),
            })
        })
    }

    #[cold]
    fn leave(&mut self, at: usize, why: Leave) {
        let client = &mut self.slab[at];
        if !client.is_leaving {
            client.is_leaving = true;
            self.leaving.push((at, why));
        }
    }
}

/// What became of an event that may go at once.
enum Tried {
    Done,
    Gone,
    /// It has to wait.
    Waits,
}
