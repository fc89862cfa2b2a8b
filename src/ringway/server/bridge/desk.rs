//! Between the records of the bus and the messages of the backplane. No clock, no I/O but the bus itself.
//!
//! | on the bus | space | body at the broker |
//! |---|---|---|
//! | a frame of a topic | empty | its opcode, then its payload |
//! | a message of a station, which its owner has given its place | the name of the service | the same as a publish |
//!
//! What comes in is put on the bus as what it was: a frame, or a publish, to which the owner of the topic here gives its place. What
//! the bridge itself has put there never goes out.

use std::sync::Arc;

use ringway_backplane::{Change, FromBus, Interests, Message, SPACE_BYTES_MAX, ToBus};
use ringway_bus::api::PUBSUB;
use ringway_bus::station::record::Record;
use ringway_bus::topics::Topic;

use crate::bus::interest::{Entry, entries, is_local};
use crate::bus::{Bus, Kind, Said};
use crate::proto::{self, frame};
use crate::stats::bridge::Counters;

#[derive(Debug)]
pub(super) struct Desk {
    /// The bridge's own seat.
    own: usize,
    interests: Interests,
    /// Workers have something to be asked about.
    pub(super) is_curious: bool,
    /// For the backplane.
    pub(super) out: Vec<FromBus>,
    /// What is counted here.
    pub(super) counters: Counters,
    /// The space of the last message, and the one of library topics.
    last: Arc<str>,
    library: Arc<str>,
}

impl Desk {
    pub(super) fn new(workers: usize, own: usize) -> Self {
        Self {
            own,
            interests: Interests::new(workers),
            is_curious: true,
            out: Vec::new(),
            counters: Counters::default(),
            last: "".into(),
            library: "".into(),
        }
    }

    /// What another seat has said.
    pub(super) fn handle(&mut self, seat: usize, said: Said<'_>) {
        match said {
            Said::Record {
                kind: Kind::INTEREST,
                origin,
                topic,
                body,
            } => self.handle_interests(seat, origin, topic, body),
            Said::Record {
                kind: Kind::FRAME | Kind::FRAME_FOR_OTHERS,
                topic,
                body,
                ..
            } => self.handle_frame(topic, body),
            Said::Record {
                kind: Kind::NOTE,
                topic,
                body,
                ..
            } => self.handle_note(topic, body),
            Said::Record { .. } => {}
            Said::Missed(records) => {
                self.counters.bus_missed += records.get();
                self.handle_loss(seat);
            }
            Said::Replaced => self.handle_loss(seat),
        }
    }

    fn handle_loss(&mut self, seat: usize) {
        self.out.push(FromBus::Lost);
        let out = &mut self.out;
        self.interests
            .handle_loss(seat, |change| out.push(FromBus::Change(change)));
        self.is_curious = true;
    }

    fn handle_interests(&mut self, seat: usize, round: u64, space: &[u8], body: &[u8]) {
        let out = &mut self.out;
        let mut tell = |change: Change| out.push(FromBus::Change(change));
        let space = str::from_utf8(space).ok();
        for entry in entries(body) {
            match (entry, space) {
                (Entry::Complete, _) => {
                    let round = u32::try_from(round).unwrap_or(u32::MAX);
                    self.interests.handle_complete(seat, round, &mut tell);
                }
                (Entry::Pattern(pattern, is_wanted), Some(space))
                    if space.len() <= SPACE_BYTES_MAX =>
                {
                    let what = (space, pattern, is_wanted);
                    let is_taken = self.interests.handle(seat, what, &mut tell);
                    self.counters.interests_refused += u64::from(!is_taken);
                }
                _ => self.counters.interests_refused += 1,
            }
        }
    }

    fn handle_frame(&mut self, topic: &[u8], body: &[u8]) {
        let topic = str::from_utf8(topic).ok().map(Topic::parse);
        let Some((Ok(topic), header)) = topic.zip(frame::whole_of_server(body)) else {
            return;
        };
        if is_local(topic.as_str()) {
            return;
        }
        let payload = usize::try_from(header.payload_len).unwrap_or(0);
        let mut message = Vec::with_capacity(1 + payload);
        message.push(header.opcode as u8);
        message.extend_from_slice(&body[body.len() - payload..]);
        self.push(self.library.clone(), topic, message);
    }

    fn handle_note(&mut self, space: &[u8], body: &[u8]) {
        let space = str::from_utf8(space).ok();
        let Some(space) = space.filter(|space| is_station(space)) else {
            return;
        };
        let (origin, content) = match Record::decode(body) {
            Some(Record::Message {
                origin, content, ..
            }) => (origin, content),
            // Publishes that did not reach their owner have not gone out either.
            Some(Record::Lost { .. }) => return self.out.push(FromBus::Lost),
            _ => return,
        };
        if usize::from(origin) == self.own || is_local(content.topic.as_str()) {
            return;
        }
        let mut message = Vec::with_capacity(body.len());
        Record::Publish { ticket: 0, content }.encode(&mut message);
        if *self.last != *space {
            self.last = space.into();
        }
        self.push(self.last.clone(), content.topic, message);
    }

    fn push(&mut self, space: Arc<str>, topic: Topic<'_>, body: Vec<u8>) {
        self.out.push(FromBus::Message(Message {
            space,
            topic: topic.as_str().into(),
            body,
        }));
    }

    /// Asks the workers that have not answered.
    pub(super) fn ask(&mut self, bus: &mut Bus) {
        self.is_curious = false;
        for (worker, round) in self.interests.unanswered() {
            bus.ask(worker, u64::from(round));
        }
    }

    /// Puts what the backplane tells on the bus.
    pub(super) fn take(&mut self, told: &ToBus, bus: &mut Bus) {
        match told {
            ToBus::Message(message) => self.take_message(message, bus),
            ToBus::Gap => {
                for space in self.interests.spaces().filter(|space| is_station(space)) {
                    let lost = Record::Lost {
                        messages: 0,
                        topic: None,
                    };
                    let mut body = Vec::new();
                    lost.encode(&mut body);
                    // A log that does not take it has another writer, who tells the same when it is connected.
                    let _ = bus.publish(Kind::NOTE, u64::MAX, space.as_bytes(), &body);
                }
            }
            ToBus::Up | ToBus::Down(_) => {}
        }
    }

    fn take_message(&mut self, message: &Message, bus: &mut Bus) {
        let Message { space, topic, body } = message;
        let Ok(topic) = Topic::parse(topic) else {
            self.counters.invalid += 1;
            return;
        };
        if is_local(topic.as_str()) || !self.interests.has(space, topic) {
            self.counters.unwanted += 1;
            return;
        }
        let name = topic.as_str().as_bytes();
        let published = if space.is_empty() {
            match frame_of(body) {
                Some(frame) => bus.publish(Kind::FRAME, u64::MAX, name, &frame),
                None => return self.counters.invalid += 1,
            }
        } else if is_publish(body, topic) {
            bus.publish(Kind::NOTE, u64::MAX, space.as_bytes(), body)
        } else {
            return self.counters.invalid += 1;
        };
        if published.is_ok() {
            self.counters.received += 1;
            return;
        }
        self.counters.dropped_by_bus += 1;
        if is_station(space) {
            let lost = Record::Lost {
                messages: 1,
                topic: Some(topic),
            };
            let mut body = Vec::new();
            lost.encode(&mut body);
            let _ = bus.publish(Kind::NOTE, u64::MAX, space.as_bytes(), &body);
        }
    }
}

fn is_station(space: &str) -> bool {
    space.starts_with(PUBSUB)
}

/// A frame of what another server has sent. `None`: clients could not read it.
fn frame_of(body: &[u8]) -> Option<Vec<u8>> {
    let (opcode, payload) = body.split_first()?;
    let kind = match *opcode {
        1 if std::str::from_utf8(payload).is_ok() => proto::Kind::Text,
        2 => proto::Kind::Binary,
        _ => return None,
    };
    let (head, len) = frame::message_head(kind, payload.len());
    Some([&head[..len], payload].concat())
}

/// Whether another server has sent a publish to this topic.
fn is_publish(body: &[u8], topic: Topic<'_>) -> bool {
    matches!(Record::decode(body), Some(Record::Publish { ticket: 0, content }) if content.topic == topic)
}

#[cfg(test)]
#[path = "desk_tests.rs"]
mod tests;
