//! What the HTTP API has asked of the workers, and what has come back.
//!
//! Owns: open questions and their deadlines. Never: reads a clock, touches the bus, knows HTTP.
//!
//! ```text
//!  request ──▶ Desk ── records ──▶ the bus ══▶ stations and services of all workers
//!  outcome ◀──      ◀── records ──────────────────────┘
//! ```
//!
//! | limit | value | who exceeds it |
//! |---|---|---|
//! | open questions | [`OPEN_MAX`] | is answered at once that it was too much |
//! | time for the place of a message | [`PLACE_TIME_MAX`] | is answered that it was perhaps published |
//! | time for the answers of all workers | [`ANSWER_TIME_MAX`] | gets what has come, and that it is not complete |

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use ringway_bus::api::{self, Answer, Ask, Found, Page, Selection, What};
use ringway_bus::history::{Position, Retain};
use ringway_bus::pubsub::Payload;
use ringway_bus::station::record::{Content, Record};
use ringway_bus::topics::Topic;

use crate::bus::{Kind, Refusal};
use crate::time::Instant;

pub(super) const OPEN_MAX: usize = 10_000;
pub(super) const PLACE_TIME_MAX: Duration = Duration::from_secs(5);
pub(super) const ANSWER_TIME_MAX: Duration = Duration::from_secs(1);

/// What is asked. Services are meant by their paths, as on the bus: empty for one on every path.
#[derive(Debug)]
pub(super) enum Request {
    Publish {
        service: String,
        topic: String,
        retain: Retain,
        /// Its format is part of it.
        data: Data,
    },
    /// A finished frame for the subscribers of a topic of the engine.
    Broadcast { topic: String, frame: Vec<u8> },
    Topics {
        service: String,
        after: String,
        limit: u16,
        is_exact: bool,
    },
    Close {
        services: Vec<String>,
        subject: Option<String>,
        path: Option<String>,
        address: Option<std::net::IpAddr>,
        code: u16,
        reason: String,
    },
}

#[derive(Debug)]
pub(super) enum Data {
    Json(String),
    Bytes(Vec<u8>),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A message of a pubsub has its place.
    Published(Position),
    /// A broadcast is on the bus.
    Sent,
    Topics {
        topics: Vec<(String, u64)>,
        more: bool,
        is_complete: bool,
    },
    Closed {
        clients: u64,
        is_complete: bool,
    },
    /// Nothing was done: the message is larger than the bus takes.
    TooBig {
        bytes_max: usize,
    },
    /// Nothing was done: too much is open.
    Busy,
    /// Nothing was done: another process writes to this seat's log, or it is damaged.
    Deposed,
    /// No place has come in time: the message was perhaps published.
    Late,
}

/// Where records go.
pub(super) trait Say {
    fn say(&mut self, kind: Kind, topic: &str, body: &[u8]) -> Result<(), Refusal>;
}

/// The open questions; `R` is who is told the outcome.
#[derive(Debug)]
pub(super) struct Desk<R> {
    /// The seat on the bus from which it asks.
    own: u16,
    workers: usize,
    last_ticket: u64,
    open: HashMap<u64, Open<R>>,
    due: BTreeSet<(Instant, u64)>,
}

#[derive(Debug)]
struct Open<R> {
    reply: R,
    due: Instant,
    wanted: Wanted,
    /// Who has not answered yet: the seat, and the service.
    missing: HashSet<(usize, String)>,
}

#[derive(Debug)]
enum Wanted {
    Place,
    Topics {
        topics: BTreeMap<String, u64>,
        limit: usize,
        /// What lies behind this one not all workers have told.
        told_to: Option<String>,
    },
    Closed {
        clients: u64,
    },
}

impl<R> Desk<R> {
    /// A desk on a seat behind those of the workers. Tickets begin behind the given one, so that answers to an earlier process are nobody's.
    pub(super) fn new(workers: usize, own: usize, last_ticket: u64) -> Self {
        Self {
            own: u16::try_from(own).unwrap_or(u16::MAX),
            workers,
            last_ticket,
            open: HashMap::new(),
            due: BTreeSet::new(),
        }
    }

    /// Whether records of the bus are awaited.
    pub(super) fn is_waiting(&self) -> bool {
        !self.open.is_empty()
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Takes a request. What is decided at once comes back with who is to be told.
    pub(super) fn take(
        &mut self,
        now: Instant,
        request: &Request,
        reply: R,
        bus: &mut impl Say,
    ) -> Option<(R, Outcome)> {
        if self.open.len() >= OPEN_MAX {
            return Some((reply, Outcome::Busy));
        }
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        if let Err(refusal) = request.say(ticket, bus) {
            return Some((reply, refused(&refusal)));
        }
        let Some((wanted, asked)) = request.wanted() else {
            return Some((reply, Outcome::Sent));
        };
        let time = match wanted {
            Wanted::Place => PLACE_TIME_MAX,
            _ => ANSWER_TIME_MAX,
        };
        let due = now + time;
        let missing = self.everybody(asked);
        let open = Open {
            reply,
            due,
            wanted,
            missing,
        };
        self.due.insert((due, ticket));
        self.open.insert(ticket, open);
        None
    }

    /// A record of another seat.
    pub(super) fn handle(
        &mut self,
        seat: usize,
        topic: &[u8],
        body: &[u8],
    ) -> Option<(R, Outcome)> {
        if topic == api::API.as_bytes() {
            return self.collect(seat, &Answer::decode(body)?);
        }
        match Record::decode(body)? {
            Record::Message {
                origin,
                ticket,
                position,
                ..
            } if origin == self.own => {
                let is_awaited = |open: &Open<R>| matches!(open.wanted, Wanted::Place);
                self.open.get(&ticket).filter(|open| is_awaited(open))?;
                let open = self.remove(ticket)?;
                Some((open.reply, Outcome::Published(position)))
            }
            _ => None,
        }
    }

    /// A worker's answer to an ask.
    fn collect(&mut self, seat: usize, answer: &Answer<'_>) -> Option<(R, Outcome)> {
        let open = self.open.get_mut(&answer.ticket)?;
        if !open.missing.remove(&(seat, answer.service.to_owned())) {
            return None;
        }
        match (&mut open.wanted, &answer.found) {
            (
                Wanted::Topics {
                    topics, told_to, ..
                },
                Found::Topics { topics: told, more },
            ) => {
                for (name, subscribers) in told {
                    *topics.entry((*name).to_owned()).or_default() += subscribers;
                }
                if let (true, Some((last, _))) = (*more, told.last()) {
                    let earlier = told_to.take().filter(|earlier| earlier.as_str() <= *last);
                    *told_to = Some(earlier.unwrap_or_else(|| (*last).to_owned()));
                }
            }
            (Wanted::Closed { clients }, Found::Closed { clients: closed }) => *clients += closed,
            _ => {}
        }
        if !open.missing.is_empty() {
            return None;
        }
        self.end(answer.ticket)
    }

    /// Answers one question whose time is over.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Option<(R, Outcome)> {
        let (due, ticket) = *self.due.first()?;
        if due > now {
            return None;
        }
        self.end(ticket)
    }

    /// Answers with what has come.
    fn end(&mut self, ticket: u64) -> Option<(R, Outcome)> {
        let open = self.remove(ticket)?;
        let is_complete = open.missing.is_empty();
        Some((open.reply, outcome(open.wanted, is_complete)))
    }

    fn remove(&mut self, ticket: u64) -> Option<Open<R>> {
        let open = self.open.remove(&ticket)?;
        self.due.remove(&(open.due, ticket));
        Some(open)
    }

    fn everybody(&self, services: &[String]) -> HashSet<(usize, String)> {
        let of = |service: &String| {
            (0..self.workers)
                .map(|seat| (seat, service.clone()))
                .collect::<Vec<_>>()
        };
        services.iter().flat_map(of).collect()
    }
}

impl Request {
    /// Bytes of the message in it, about.
    pub(super) const fn bytes(&self) -> usize {
        match self {
            Self::Broadcast { frame, .. } => frame.len(),
            Self::Publish {
                data: Data::Json(text),
                ..
            } => text.len(),
            Self::Publish {
                data: Data::Bytes(bytes),
                ..
            } => bytes.len(),
            Self::Topics { .. } | Self::Close { .. } => 0,
        }
    }

    /// Puts it on the bus.
    fn say(&self, ticket: u64, bus: &mut impl Say) -> Result<(), Refusal> {
        match self {
            Self::Broadcast { topic, frame } => bus.say(Kind::FRAME, topic, frame),
            Self::Publish {
                service,
                topic,
                retain,
                data,
            } => {
                let Ok(topic) = Topic::parse(topic) else {
                    unreachable!("whoever made the request has parsed it");
                };
                let payload = match data {
                    Data::Json(text) => Payload::Json(text),
                    Data::Bytes(bytes) => Payload::Bytes(bytes),
                };
                let content = Content {
                    topic,
                    retain: *retain,
                    payload,
                };
                let mut record = Vec::new();
                Record::Publish { ticket, content }.encode(&mut record);
                bus.say(Kind::NOTE, &api::pubsub_topic(service), &record)
            }
            Self::Topics {
                service,
                after,
                limit,
                is_exact,
            } => {
                let page = Page {
                    after,
                    limit: *limit,
                    is_exact: *is_exact,
                };
                let what = What::Topics(page);
                bus.say(Kind::NOTE, api::API, &ask(ticket, service, what))
            }
            Self::Close {
                services,
                subject,
                path,
                address,
                code,
                reason,
            } => {
                let selection = Selection {
                    subject: subject.as_deref(),
                    path: path.as_deref(),
                    address: *address,
                };
                let what = What::Close {
                    selection,
                    code: *code,
                    reason,
                };
                let mut asks = services.iter().map(|service| ask(ticket, service, what));
                asks.try_for_each(|ask| bus.say(Kind::NOTE, api::API, &ask))
            }
        }
    }

    /// What is to come back, and which services have to answer at every worker. `None`: nothing.
    fn wanted(&self) -> Option<(Wanted, &[String])> {
        match self {
            Self::Broadcast { .. } => None,
            Self::Publish { .. } => Some((Wanted::Place, &[])),
            Self::Topics { service, limit, .. } => {
                let wanted = Wanted::Topics {
                    topics: BTreeMap::new(),
                    limit: usize::from(*limit),
                    told_to: None,
                };
                Some((wanted, std::slice::from_ref(service)))
            }
            Self::Close { services, .. } => Some((Wanted::Closed { clients: 0 }, services)),
        }
    }
}

fn ask(ticket: u64, service: &str, what: What<'_>) -> Vec<u8> {
    let ask = Ask {
        ticket,
        service,
        what,
    };
    ask.encode()
}

const fn refused(refusal: &Refusal) -> Outcome {
    match refusal {
        Refusal::TooBig { bytes_max, .. } => Outcome::TooBig {
            bytes_max: *bytes_max,
        },
        Refusal::Deposed => Outcome::Deposed,
        // A refusal of a later version.
        _ => Outcome::Busy,
    }
}

/// The answer to a question with what has come.
fn outcome(wanted: Wanted, is_complete: bool) -> Outcome {
    match wanted {
        Wanted::Place => Outcome::Late,
        Wanted::Closed { clients } => Outcome::Closed {
            clients,
            is_complete,
        },
        Wanted::Topics {
            topics,
            limit,
            told_to,
        } => {
            let all = topics.len();
            let is_told = |name: &str| told_to.as_deref().is_none_or(|last| name <= last);
            let first = topics.into_iter().filter(|(name, _)| is_told(name));
            let topics: Vec<_> = first.take(limit).collect();
            Outcome::Topics {
                more: told_to.is_some() || topics.len() < all,
                is_complete,
                topics,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Said(Vec<(Kind, String, Vec<u8>)>);

    impl Say for Said {
        fn say(&mut self, kind: Kind, topic: &str, body: &[u8]) -> Result<(), Refusal> {
            if body.len() > 1000 {
                return Err(Refusal::TooBig {
                    bytes: body.len(),
                    bytes_max: 1000,
                });
            }
            self.0.push((kind, topic.to_owned(), body.to_vec()));
            Ok(())
        }
    }

    fn publish(bytes: usize) -> Request {
        Request::Publish {
            service: "/t".to_owned(),
            topic: "a".to_owned(),
            retain: Retain::No,
            data: Data::Bytes(vec![7; bytes]),
        }
    }

    #[test]
    fn a_message_is_published_when_its_owner_gives_it_a_place() {
        let (mut desk, mut bus) = (Desk::new(2, 2, 40), Said(Vec::new()));
        let now = Instant::ZERO;
        assert_eq!(desk.take(now, &publish(3), "one", &mut bus), None);
        assert_eq!(desk.take(now, &publish(3), "two", &mut bus), None);
        let too_big = desk.take(now, &publish(1000), "three", &mut bus);
        assert_eq!(
            too_big,
            Some(("three", Outcome::TooBig { bytes_max: 1000 }))
        );
        let (kind, topic, record) = &bus.0[0];
        assert_eq!((*kind, topic.as_str()), (Kind::NOTE, "$pubsub/t"));
        let Some(Record::Publish { ticket, content }) = Record::decode(record) else {
            panic!("no publish: {record:?}");
        };
        let position = Position {
            epoch: 1,
            offset: 9,
        };
        let message = |origin, ticket| {
            let mut bytes = Vec::new();
            let message = Record::Message {
                origin,
                ticket,
                position,
                content,
            };
            message.encode(&mut bytes);
            bytes
        };
        for strange in [message(1, ticket), message(2, ticket + 9), b"x".to_vec()] {
            assert_eq!(desk.handle(0, b"$pubsub/t", &strange), None);
        }
        let own = message(2, ticket);
        let published = Some(("one", Outcome::Published(position)));
        assert_eq!(desk.handle(0, b"$pubsub/t", &own), published);
        assert_eq!(desk.handle(0, b"$pubsub/t", &own), None);
        let late = desk.poll_timeout().expect("one waits");
        assert_eq!(late, now + PLACE_TIME_MAX);
        assert_eq!(desk.handle_timeout(late), Some(("two", Outcome::Late)));
        assert!(!desk.is_waiting() && desk.poll_timeout().is_none());
    }

    #[test]
    fn topics_are_added_up_as_far_as_all_workers_have_told_them() {
        let (mut desk, mut bus) = (Desk::new(2, 2, 0), Said(Vec::new()));
        let request = Request::Topics {
            service: String::new(),
            after: String::new(),
            limit: 10,
            is_exact: false,
        };
        let now = Instant::ZERO;
        let answer = |ticket, topics: &[(&'static str, u64)], more| {
            let found = Found::Topics {
                topics: topics.to_vec(),
                more,
            };
            Answer {
                ticket,
                service: "",
                found,
            }
            .encode()
        };
        assert_eq!(desk.take(now, &request, (), &mut bus), None);
        let first = answer(1, &[("a", 1), ("b", 2)], true);
        assert_eq!(desk.handle(0, b"$api", &first), None);
        assert_eq!(desk.handle(0, b"$api", &first), None, "twice is once");
        let second = answer(1, &[("a", 4), ("c", 1)], false);
        let topics = |of: &[(&str, u64)], more, is_complete| Outcome::Topics {
            topics: of
                .iter()
                .map(|(name, count)| ((*name).to_owned(), *count))
                .collect(),
            more,
            is_complete,
        };
        let told = Some(((), topics(&[("a", 5), ("b", 2)], true, true)));
        assert_eq!(desk.handle(1, b"$api", &second), told);
        // A worker that does not answer.
        assert_eq!(desk.take(now, &request, (), &mut bus), None);
        assert_eq!(
            desk.handle(1, b"$api", &answer(2, &[("c", 1)], false)),
            None
        );
        let told = Some(((), topics(&[("c", 1)], false, false)));
        assert_eq!(desk.handle_timeout(now + ANSWER_TIME_MAX), told);
    }
}
