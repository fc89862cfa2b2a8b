//! Broadcast: every message goes to all clients of its path, on all workers.

use std::rc::Rc;
use std::time::Duration;

use ringway_bus::api;
use ringway_bus::topics::{Pattern, Topic};

use super::admission::Admission;
use super::ask;
use super::echo::Subprotocols;
use super::members::{Guest, Members};
use crate::proto::{CloseCode, Kind, Message};
use crate::protocol::{
    App, Audience, Closed, Context, Handle, News, Opening, PublishError, Scope, Verdict, number_of,
};
use crate::time::Instant;

/// Passes every message on to all clients of the same path. It needs a bus ([`Server::bus`](crate::Server::bus)).
#[derive(Debug)]
pub struct Broadcast {
    /// Which subprotocol is chosen of those that a client offers. Default: the first one.
    pub subprotocols: Subprotocols,
    /// Whether the client that sends a message gets it too. Default: yes.
    pub audience: Audience,
    /// Time between two messages `tick 1`, `tick 2` … that all clients get. Default: none come.
    pub tick: Option<Duration>,
    members: Members,
    /// The path of the service: services with different ones have their own tick.
    service: String,
    /// One worker of the server makes the tick.
    ticks: Option<Ticks>,
    /// The topic of the connection that was opened last: the next one has the same, most often.
    last: Option<Rc<str>>,
}

#[derive(Clone, Copy, Debug)]
struct Ticks {
    number: u64,
    due: Option<Instant>,
}

impl Broadcast {
    /// A broadcast in worker `worker` of a server, under a name that no other one of the server has.
    pub fn new(name: &str, worker: usize) -> Self {
        Self {
            subprotocols: Subprotocols::default(),
            audience: Audience::All,
            tick: None,
            members: Members::default(),
            service: name.to_owned(),
            ticks: (worker == 0).then_some(Ticks {
                number: 0,
                due: None,
            }),
            last: None,
        }
    }

    /// Who may come in. The rights to a path are those to the topic of the same name: `/live/#`.
    pub fn admit(&mut self, admission: Admission) {
        self.members = Members::new(admission);
    }

    fn topic(&mut self, path: &str) -> Option<Rc<str>> {
        let topic = api::broadcast_topic(path)?;
        match &self.last {
            Some(last) if **last == *topic => {}
            _ => self.last = Some(topic.into()),
        }
        self.last.clone()
    }
}

impl ask::Asked for Broadcast {
    fn service(&self) -> &str {
        &self.service
    }

    fn topics(&self) -> Vec<(&str, u64)> {
        self.members.paths()
    }

    fn members(&mut self) -> &mut Members {
        &mut self.members
    }
}

/// A client of a broadcast.
#[derive(Debug)]
pub struct Listener {
    topic: Rc<str>,
    may_publish: bool,
    /// Until the WebSocket is open.
    guest: Option<Box<Guest>>,
}

impl App for Broadcast {
    type Session = Option<Listener>;

    fn connect(&mut self, opening: &mut Opening<'_>, session: &mut Self::Session) -> Verdict {
        let Some(topic) = self.topic(opening.request().path()) else {
            return Verdict::refuse(404, "the path cannot be the topic of a broadcast");
        };
        let guest = match self.members.admit(opening) {
            Ok(guest) => guest,
            Err(refused) => return refused,
        };
        // The path is not the server's own, whatever it begins with.
        let path = &topic[api::BROADCAST.len()..];
        let (path, pattern) = (Topic::parse(path), Pattern::parse(path));
        let rights = &guest.admitted.rights;
        if !pattern.is_ok_and(|pattern| rights.may_subscribe(pattern)) {
            return Verdict::refuse(403, "no right to this path");
        }
        *session = Some(Listener {
            may_publish: path.is_ok_and(|path| rights.may_publish(path)),
            topic,
            guest: Some(Box::new(guest)),
        });
        self.subprotocols.accept(opening)
    }

    fn open(&mut self, context: &mut Context<'_>, session: &mut Self::Session) {
        let Some(listener) = session else { return };
        if let Some(guest) = listener.guest.take() {
            self.members.enter(context, *guest);
        }
        let has_more = self.tick.is_some() || self.members.is_asked_for();
        let all = has_more.then(|| api::broadcast_topic_of_all(&self.service));
        let topics = std::iter::once(&*listener.topic).chain(all.as_deref());
        for topic in topics {
            if let Err(why) = context.subscribe(topic) {
                tracing::warn!("a client gets no broadcasts: {why}");
                let _ = context.close(CloseCode::TryAgainLater, "no room for a subscription");
                return;
            }
        }
    }

    fn message(
        &mut self,
        context: &mut Context<'_>,
        session: &mut Self::Session,
        message: Message<'_>,
    ) {
        let Some(listener) = session else { return };
        if !self.members.is_heard(number_of(context.id())) {
            return;
        }
        if !listener.may_publish {
            let _ = context.close(CloseCode::PolicyViolation, "no right to send here");
            return;
        }
        match context.publish(
            &listener.topic,
            message.kind(),
            message.payload(),
            self.audience,
        ) {
            Ok(()) => {}
            Err(PublishError::TooBig { .. }) => {
                let reason = "the message is too big for the bus of the workers";
                let _ = context.close(CloseCode::MessageTooBig, reason);
            }
            Err(why) => tracing::error!("a message was not broadcast: {why}"),
        }
    }

    fn close(&mut self, scope: &mut Scope<'_>, _session: Self::Session, _closed: Closed<'_>) {
        self.members.leave(number_of(scope.id()));
    }

    fn event(&mut self, worker: &mut Handle<'_>, news: &News<'_>) {
        ask::answer(self, worker, news);
    }

    fn turn(&mut self, worker: &mut Handle<'_>) {
        self.members.turn(worker);
        let (Some(tick), Some(mut ticks)) = (self.tick, self.ticks) else {
            return;
        };
        let now = worker.now();
        match ticks.due {
            Some(due) if due > now => {}
            due => {
                if due.is_some() {
                    ticks.number += 1;
                    let text = format!("tick {}", ticks.number);
                    let topic = api::broadcast_topic_of_all(&self.service);
                    if let Err(why) = worker.publish(&topic, Kind::Text, text.as_bytes()) {
                        tracing::error!("a tick was not sent: {why}");
                    }
                }
                // Missed ticks are skipped.
                ticks.due = Some(due.map_or(now, |due| due.max(now)) + tick);
            }
        }
        if let Some(due) = ticks.due {
            worker.commands().wake_at(due);
        }
        self.ticks = Some(ticks);
    }
}
