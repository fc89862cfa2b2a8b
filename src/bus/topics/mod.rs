//! Who in this worker wants which topics.
//!
//! Owns: names and patterns, the table of subscriptions, and its limits.
//! Never: knows what a subscriber is (a number), or holds a message.
//!
//! The syntax is MQTT's (MQTT 5.0 §4.7): segments between `/`, `+` for any one segment, `#` for all that follow, none included; topics
//! that begin with `$` are matched by no wildcard in their first segment. It was taken and not NATS' because names of prices, files
//! and versions have dots in them, and because a page thinks in paths anyway; a bridge to NATS encodes topics in any case.
//!
//! ```text
//!  names ──▶ entry ──▶ subscriptions ◀── subscriber ◀── numbers
//!  "a/b", "a/+"        each knows its place in both lists, so that it can leave both at once
//!     ▲
//!  tree of the patterns with wildcards
//! ```
//!
//! | limit | default | memory for each |
//! |---|---|---|
//! | distinct topics and patterns | 100,000 | about 160 bytes and its name twice; a pattern with wildcards 250 more for each new segment |
//! | subscriptions in all | 1,000,000 | about 115 bytes |
//! | subscriptions of one subscriber | 1,000 | as above |

mod name;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
mod tree;

use std::collections::HashMap;
use std::fmt;

use slab::Slab;

pub use name::{BadTopic, Pattern, SEGMENTS_MAX, TOPIC_BYTES_MAX, Topic};

use tree::{Key, Tree};

/// What one worker's table may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Distinct topics and patterns with subscribers.
    pub topics_max: usize,
    /// Subscriptions of all subscribers.
    pub subscriptions_max: usize,
    /// Subscriptions of one subscriber.
    pub subscriber_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            topics_max: 100_000,
            subscriptions_max: 1_000_000,
            subscriber_max: 1_000,
        }
    }
}

/// What a subscription has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subscribed {
    /// The topic has its first subscriber here: the other workers and the backplane want to know.
    First,
    /// The topic had others.
    Another,
    /// The subscriber had this topic already; nothing has changed.
    Already,
}

/// What the end of a subscription has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsubscribed {
    /// The topic has no subscriber here any more.
    Last,
    /// The topic has others.
    Others,
    /// There was no such subscription.
    NotSubscribed,
}

/// Which limit a subscription would exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Full {
    /// [`Limits::topics_max`].
    Topics,
    /// [`Limits::subscriptions_max`].
    Subscriptions,
    /// [`Limits::subscriber_max`].
    Subscriber,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topics => write!(f, "there are too many topics"),
            Self::Subscriptions => write!(f, "there are too many subscriptions"),
            Self::Subscriber => write!(f, "this subscriber has too many subscriptions"),
        }
    }
}

impl std::error::Error for Full {}

#[derive(Debug)]
struct Entry {
    name: Box<str>,
    subscriptions: Vec<usize>,
}

#[derive(Debug)]
struct Subscriber {
    number: u64,
    subscriptions: Vec<usize>,
    /// The last publish that it was found for.
    found_for: u64,
}

#[derive(Debug)]
struct Subscription {
    entry: Key,
    subscriber: usize,
    /// Its places in the two lists.
    in_entry: usize,
    in_subscriber: usize,
    mark: u8,
}

/// The subscriptions of one worker.
#[derive(Debug)]
pub struct Topics {
    limits: Limits,
    names: HashMap<Box<str>, Key>,
    entries: Slab<Entry>,
    tree: Tree,
    numbers: HashMap<u64, usize>,
    subscribers: Slab<Subscriber>,
    subscriptions: Slab<Subscription>,
    /// (subscriber, entry): which subscription that is.
    pairs: HashMap<(usize, Key), usize>,
    publishes: u64,
}

impl Topics {
    /// A table without subscriptions.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            names: HashMap::new(),
            entries: Slab::new(),
            tree: Tree::new(),
            numbers: HashMap::new(),
            subscribers: Slab::new(),
            subscriptions: Slab::new(),
            pairs: HashMap::new(),
            publishes: 0,
        }
    }

    /// Distinct topics and patterns with subscribers.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nobody has subscribed.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Subscriptions of all subscribers.
    pub fn subscriptions(&self) -> usize {
        self.subscriptions.len()
    }

    /// The topics and patterns with subscribers here, and how many each has; in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, usize)> {
        let entries = self.entries.iter();
        entries.map(|(_, entry)| (&*entry.name, entry.subscriptions.len()))
    }

    /// How many have subscribed to exactly this topic or pattern.
    pub fn subscribers_of(&self, pattern: Pattern<'_>) -> usize {
        let key = self.names.get(pattern.as_str());
        key.map_or(0, |key| self.entries[*key].subscriptions.len())
    }

    /// What a subscriber has subscribed to, in no order.
    pub fn topics_of(&self, subscriber: u64) -> impl Iterator<Item = &str> {
        let at = self.numbers.get(&subscriber);
        let own = at.map_or(&[][..], |at| &self.subscribers[*at].subscriptions);
        own.iter()
            .map(|at| &*self.entries[self.subscriptions[*at].entry].name)
    }

    /// Subscribes, in time that does not depend on how many others there are.
    ///
    /// # Errors
    /// A limit; nothing has changed.
    pub fn subscribe(&mut self, subscriber: u64, pattern: Pattern<'_>) -> Result<Subscribed, Full> {
        self.subscribe_marked(subscriber, pattern, 0)
    }

    /// The same with a mark of the caller's own, which [`Self::publish_marked`] yields again. If the subscriber had this topic already,
    /// the mark is new.
    ///
    /// # Errors
    /// A limit; nothing has changed.
    pub fn subscribe_marked(
        &mut self,
        subscriber: u64,
        pattern: Pattern<'_>,
        mark: u8,
    ) -> Result<Subscribed, Full> {
        let key = self.names.get(pattern.as_str()).copied();
        let at = self.numbers.get(&subscriber).copied();
        if let (Some(key), Some(at)) = (key, at)
            && let Some(subscription) = self.pairs.get(&(at, key))
        {
            self.subscriptions[*subscription].mark = mark;
            return Ok(Subscribed::Already);
        }
        let own = at.map_or(0, |at| self.subscribers[at].subscriptions.len());
        if own >= self.limits.subscriber_max {
            return Err(Full::Subscriber);
        }
        if self.subscriptions.len() >= self.limits.subscriptions_max {
            return Err(Full::Subscriptions);
        }
        if key.is_none() && self.entries.len() >= self.limits.topics_max {
            return Err(Full::Topics);
        }
        let at = at.unwrap_or_else(|| self.insert_subscriber(subscriber));
        let result = key.map_or(Subscribed::First, |_| Subscribed::Another);
        let key = key.unwrap_or_else(|| self.insert_entry(pattern));
        let (to_entry, to_own) = (&mut self.entries[key], &mut self.subscribers[at]);
        let subscription = self.subscriptions.insert(Subscription {
            entry: key,
            subscriber: at,
            in_entry: to_entry.subscriptions.len(),
            in_subscriber: to_own.subscriptions.len(),
            mark,
        });
        to_entry.subscriptions.push(subscription);
        to_own.subscriptions.push(subscription);
        self.pairs.insert((at, key), subscription);
        Ok(result)
    }

    /// Ends a subscription, in time that does not depend on how many there are.
    pub fn unsubscribe(&mut self, subscriber: u64, pattern: Pattern<'_>) -> Unsubscribed {
        let key = self.names.get(pattern.as_str()).copied();
        let at = self.numbers.get(&subscriber).copied();
        let (Some(key), Some(at)) = (key, at) else {
            return Unsubscribed::NotSubscribed;
        };
        let Some(subscription) = self.pairs.get(&(at, key)).copied() else {
            return Unsubscribed::NotSubscribed;
        };
        let last = self.end(subscription);
        if self.subscribers[at].subscriptions.is_empty() {
            self.subscribers.remove(at);
            self.numbers.remove(&subscriber);
        }
        last.map_or(Unsubscribed::Others, |_| Unsubscribed::Last)
    }

    /// Ends all subscriptions of a subscriber, in time proportional to their number. `last` is called for each topic that has no
    /// subscriber here any more.
    pub fn remove(&mut self, subscriber: u64, mut last: impl FnMut(&str)) {
        let Some(at) = self.numbers.remove(&subscriber) else {
            return;
        };
        while let Some(subscription) = self.subscribers[at].subscriptions.last() {
            if let Some(name) = self.end(*subscription) {
                last(&name);
            }
        }
        self.subscribers.remove(at);
    }

    /// Calls `found` once for each subscriber of the topic, by whatever of its patterns, in time proportional to the
    /// subscriptions that match.
    pub fn publish(&mut self, topic: Topic<'_>, mut found: impl FnMut(u64)) {
        self.publish_marked(topic, |subscriber, _| found(subscriber));
    }

    /// The same with the mark of the subscription by which the subscriber was found: if several match, of any of them.
    pub fn publish_marked(&mut self, topic: Topic<'_>, mut found: impl FnMut(u64, u8)) {
        self.publishes += 1;
        let Self {
            entries,
            subscriptions,
            subscribers,
            publishes,
            ..
        } = self;
        let mut tell = |key: Key| {
            for subscription in &entries[key].subscriptions {
                let subscription = &subscriptions[*subscription];
                let subscriber = &mut subscribers[subscription.subscriber];
                if subscriber.found_for != *publishes {
                    subscriber.found_for = *publishes;
                    found(subscriber.number, subscription.mark);
                }
            }
        };
        if let Some(key) = self.names.get(topic.as_str()) {
            tell(*key);
        }
        self.tree.matches(topic, &mut tell);
    }

    /// Calls `found` once for each subscriber that has a topic or pattern of which `is_meant` holds. Looks at every subscription.
    pub fn subscribers_with(
        &mut self,
        mut is_meant: impl FnMut(&str) -> bool,
        mut found: impl FnMut(u64),
    ) {
        self.publishes += 1;
        for (_, entry) in &self.entries {
            if !is_meant(&entry.name) {
                continue;
            }
            for subscription in &entry.subscriptions {
                let subscription = &self.subscriptions[*subscription];
                let subscriber = &mut self.subscribers[subscription.subscriber];
                if subscriber.found_for != self.publishes {
                    subscriber.found_for = self.publishes;
                    found(subscriber.number);
                }
            }
        }
    }

    fn insert_subscriber(&mut self, number: u64) -> usize {
        let at = self.subscribers.insert(Subscriber {
            number,
            subscriptions: Vec::new(),
            found_for: 0,
        });
        self.numbers.insert(number, at);
        at
    }

    fn insert_entry(&mut self, pattern: Pattern<'_>) -> Key {
        let key = self.entries.insert(Entry {
            name: pattern.as_str().into(),
            subscriptions: Vec::new(),
        });
        self.names.insert(pattern.as_str().into(), key);
        if pattern.as_topic().is_none() {
            self.tree.insert(pattern, key);
        }
        key
    }

    /// Takes a subscription out of both lists. Returns the name of a topic whose last it was.
    fn end(&mut self, at: usize) -> Option<Box<str>> {
        let subscription = self.subscriptions.remove(at);
        let Subscription {
            entry: key,
            subscriber,
            in_entry,
            in_subscriber,
            mark: _,
        } = subscription;
        self.pairs.remove(&(subscriber, key));
        let own = &mut self.subscribers[subscriber].subscriptions;
        own.swap_remove(in_subscriber);
        if let Some(moved) = own.get(in_subscriber) {
            self.subscriptions[*moved].in_subscriber = in_subscriber;
        }
        let list = &mut self.entries[key].subscriptions;
        list.swap_remove(in_entry);
        if let Some(moved) = list.get(in_entry) {
            self.subscriptions[*moved].in_entry = in_entry;
        }
        if !list.is_empty() {
            return None;
        }
        let name = self.entries.remove(key).name;
        self.names.remove(&name);
        let pattern = Pattern::parse(&name).expect("it was one when it was inserted");
        if pattern.as_topic().is_none() {
            self.tree.remove(pattern);
        }
        Some(name)
    }
}
