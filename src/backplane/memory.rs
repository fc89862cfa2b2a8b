//! A broker in memory, for tests: it matches names as NATS does, and can be taken away and made slow.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;

use tokio::sync::mpsc;

use crate::broker::{Broker, Incoming, Inward, Outgoing, Outward, Payload};
use crate::subject::{Wildcards, nats_matches};

#[derive(Clone, Default)]
pub(crate) struct Memory(Rc<RefCell<Hub>>);

#[derive(Default)]
struct Hub {
    is_away: bool,
    /// Nobody's messages are taken.
    is_stuck: bool,
    next: usize,
    clients: Vec<Guest>,
    published: Vec<String>,
}

struct Guest {
    number: usize,
    names: HashSet<Box<str>>,
    sender: mpsc::UnboundedSender<Incoming>,
}

impl Memory {
    /// Ends all connections, and takes none until it is back.
    pub(crate) fn set_away(&self, is_away: bool) {
        self.cut(is_away, usize::MAX);
    }

    /// The same with the oldest connections alone.
    pub(crate) fn cut(&self, is_away: bool, connections: usize) {
        let mut hub = self.0.borrow_mut();
        hub.is_away = is_away;
        let cut = hub.clients.len().min(connections);
        for guest in hub.clients.drain(..cut) {
            let _ = guest.sender.send(Incoming::Lost("pulled".to_owned()));
        }
    }

    pub(crate) fn set_stuck(&self, is_stuck: bool) {
        self.0.borrow_mut().is_stuck = is_stuck;
    }

    /// Tells every client that it was too slow.
    pub(crate) fn overflow(&self, messages: usize) {
        for guest in &self.0.borrow().clients {
            let _ = guest.sender.send(Incoming::Overflow(messages));
        }
    }

    /// All names that anybody has subscribed to, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let hub = self.0.borrow();
        let names = hub.clients.iter().flat_map(|guest| &guest.names);
        let mut names: Vec<_> = names.map(ToString::to_string).collect();
        names.sort();
        names
    }

    /// The names under which something was published.
    pub(crate) fn published(&self) -> Vec<String> {
        self.0.borrow().published.clone()
    }

    pub(crate) fn publish(&self, name: &str, payload: &[u8]) {
        let mut hub = self.0.borrow_mut();
        hub.published.push(name.to_owned());
        for guest in &hub.clients {
            // Once for each subscription, as brokers do.
            for _ in guest.names.iter().filter(|own| nats_matches(own, name)) {
                let payload = Payload::Vec(payload.to_vec());
                let _ = guest.sender.send(Incoming::Message(payload));
            }
        }
    }
}

impl Broker for Memory {
    const WILDCARDS: Wildcards = Wildcards::Nats;

    type Outward = MemoryOutward;
    type Inward = mpsc::UnboundedReceiver<Incoming>;

    async fn connect(&self) -> Result<(MemoryOutward, Self::Inward), String> {
        let mut hub = self.0.borrow_mut();
        if hub.is_away {
            return Err("away".to_owned());
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        hub.next += 1;
        let number = hub.next;
        hub.clients.push(Guest {
            number,
            names: HashSet::new(),
            sender,
        });
        let memory = self.clone();
        Ok((MemoryOutward { memory, number }, receiver))
    }
}

pub(crate) struct MemoryOutward {
    memory: Memory,
    number: usize,
}

impl Outward for MemoryOutward {
    fn payload_bytes_max(&self) -> usize {
        1000
    }

    async fn change(&mut self, changes: &[(Box<str>, bool)]) -> Result<(), String> {
        let mut hub = self.memory.0.borrow_mut();
        let mut guests = hub.clients.iter_mut();
        let guest = guests.find(|guest| guest.number == self.number);
        let guest = guest.ok_or_else(|| "it was pulled".to_owned())?;
        for (name, is_wanted) in changes {
            let is_new = match is_wanted {
                true => guest.names.insert(name.clone()),
                false => guest.names.remove(name),
            };
            assert!(is_new, "{name} is the same as before");
        }
        Ok(())
    }

    async fn publish(&mut self, batch: &[Outgoing]) -> Result<(), String> {
        if self.memory.0.borrow().is_stuck {
            return std::future::pending().await;
        }
        for Outgoing { name, payload, .. } in batch {
            self.memory.publish(name, payload);
        }
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), String> {
        Ok(())
    }
}

impl Inward for mpsc::UnboundedReceiver<Incoming> {
    async fn next(&mut self) -> Incoming {
        let next = self.recv().await;
        next.unwrap_or_else(|| Incoming::Lost("gone".to_owned()))
    }
}
