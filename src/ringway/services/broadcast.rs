//! Broadcast: every message goes to all clients of its path, on all workers.

use std::rc::Rc;
use std::time::Duration;

use super::echo::Subprotocols;
use crate::proto::{CloseCode, Kind, Message};
use crate::protocol::{App, Audience, Context, Handle, Opening, PublishError, Verdict};
use crate::time::Instant;

/// Before a path, so that no pattern of an application matches.
const PREFIX: &str = "$broadcast";

/// The topic of all connections of a service, for its tick: each server of a backplane has its own.
const TICK: &str = "$local/tick";

/// Passes every message on to all clients of the same path. It needs a bus ([`Server::bus`](crate::Server::bus)).
#[derive(Clone, Debug)]
pub struct Broadcast {
    /// Which subprotocol is chosen of those that a client offers. Default: the first one.
    pub subprotocols: Subprotocols,
    /// Whether the client that sends a message gets it too. Default: yes.
    pub audience: Audience,
    /// Time between two messages `tick 1`, `tick 2` … that all clients get. Default: none come.
    pub tick: Option<Duration>,
    /// Names the tick: services with different names have their own.
    name: String,
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
            name: name.replace(['+', '#', '/'], "_"),
            ticks: (worker == 0).then_some(Ticks {
                number: 0,
                due: None,
            }),
            last: None,
        }
    }

    fn topic(&mut self, path: &str) -> Option<Rc<str>> {
        // Neither can be in a topic; a path has no raw '#'.
        let topic = format!("{PREFIX}{}", path.replace('+', "%2B"));
        ringway_bus::topics::Topic::parse(&topic).ok()?;
        match &self.last {
            Some(last) if **last == *topic => {}
            _ => self.last = Some(topic.into()),
        }
        self.last.clone()
    }

    fn tick_topic(&self) -> String {
        format!("{TICK}/{}", self.name)
    }
}

impl App for Broadcast {
    type Session = Option<Rc<str>>;

    fn connect(&mut self, opening: &mut Opening<'_>, session: &mut Self::Session) -> Verdict {
        *session = self.topic(opening.request().path());
        if session.is_none() {
            return Verdict::refuse(404, "the path cannot be the topic of a broadcast");
        }
        self.subprotocols.accept(opening)
    }

    fn open(&mut self, context: &mut Context<'_>, session: &mut Self::Session) {
        let Some(topic) = session else { return };
        let tick = self.tick.map(|_| self.tick_topic());
        let topics = std::iter::once(&**topic).chain(tick.as_deref());
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
        let Some(topic) = session else { return };
        match context.publish(topic, message.kind(), message.payload(), self.audience) {
            Ok(()) => {}
            Err(PublishError::TooBig { .. }) => {
                let reason = "the message is too big for the bus of the workers";
                let _ = context.close(CloseCode::MessageTooBig, reason);
            }
            Err(why) => tracing::error!("a message was not broadcast: {why}"),
        }
    }

    fn turn(&mut self, worker: &mut Handle<'_>) {
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
                    let topic = self.tick_topic();
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
