//! What callbacks do with topics.

use super::app::Scope;
use super::context::{Context, SendError};
use super::fanout::{Audience, PublishError, SubscribeError, number_of};
use crate::proto::Kind;

impl Context<'_> {
    /// Subscribes this connection to a topic, such as `chat/lobby`, or to all that a pattern matches: `+` stands for one segment, `#`
    /// at the end for all that follow. Messages of any worker reach it from the end of this turn on. A message that matches several
    /// of its subscriptions comes once. The subscription ends with the connection.
    ///
    /// # Errors
    /// [`SubscribeError`]; nothing has changed.
    pub fn subscribe(&mut self, pattern: &str) -> Result<(), SubscribeError> {
        let id = self.id();
        // Other extensions compress for each connection.
        let compresses = self
            .codec
            .as_ref()
            .is_some_and(|codec| codec.window_bits() > 0);
        let fanout = self.output.shared.protocol.fanout.as_mut();
        let fanout = fanout.ok_or(SubscribeError::NoBus)?;
        fanout.subscribe(id, pattern, compresses).map(|_| ())
    }

    /// Ends a subscription, named as it was made. Says whether there was one.
    pub fn unsubscribe(&mut self, pattern: &str) -> bool {
        let id = self.id();
        let fanout = self.output.shared.protocol.fanout.as_mut();
        fanout.is_some_and(|fanout| fanout.unsubscribe(id, pattern))
    }

    /// Sends this connection the last messages of a topic that its worker has kept ([`BusOptions::history`](crate::BusOptions::history)),
    /// at most `count` of them, oldest first, and returns how many. Subscribe in the same callback, and none is missing and none comes
    /// twice: what is published in this turn comes behind them. Workers keep messages in the order in which they heard of them, and a worker that
    /// replaces another one has kept none.
    ///
    /// # Errors
    /// [`SendError`]: the connection takes no more; the first messages of them were sent.
    pub fn replay(&mut self, topic: &str, count: usize) -> Result<usize, SendError> {
        let now = self.now();
        let fanout = self.output.shared.protocol.fanout.as_mut();
        let last = fanout.map_or_else(Vec::new, |fanout| fanout.last(now, topic, count));
        for message in &last {
            self.send(message.kind, &message.payload)?;
        }
        Ok(last.len())
    }

    /// Sends a message to the subscribers of a topic, on all workers. Those of this worker get it with this turn's sends. The messages of
    /// one publisher reach each subscriber in order. A subscriber that does not keep up misses some
    /// ([`BusOptions::policy`](crate::BusOptions::policy)).
    ///
    /// # Errors
    /// [`PublishError`]; nobody gets it.
    pub fn publish(
        &mut self,
        topic: &str,
        kind: Kind,
        payload: &[u8],
        audience: Audience,
    ) -> Result<(), PublishError> {
        let origin = number_of(self.id());
        let fanout = self.output.shared.protocol.fanout.as_mut();
        let fanout = fanout.ok_or(PublishError::NoBus)?;
        fanout.publish(topic, (audience, origin), kind, payload)
    }
}

impl Scope<'_> {
    /// Sends a message to the subscribers of a topic, as [`Context::publish`] does.
    ///
    /// # Errors
    /// [`PublishError`]; nobody gets it.
    pub fn publish(&mut self, topic: &str, kind: Kind, payload: &[u8]) -> Result<(), PublishError> {
        let origin = number_of(self.id);
        let fanout = self.fanout.as_mut().ok_or(PublishError::NoBus)?;
        fanout.publish(topic, (Audience::All, origin), kind, payload)
    }
}
