//! What the HTTP API of a server asks the services of all workers, and what they answer: notes on the bus.
//!
//! Owns: the bytes of both, and the names under which services are found on the bus. Never: waits for an answer.
//!
//! ```text
//!  ask     kind: 1 │ ticket: 8 │ service │ topics: after, limit: 2, exact: 1
//!                                        │ close:  subject, path, address, code: 2, reason
//!  answer  kind: 1 │ ticket: 8 │ service │ topics: more: 1, { topic, subscribers: 8 }…
//!                                        │ closed: clients: 8
//! ```
//!
//! Numbers are in network byte order. A text has its length before it, 2 bytes; 65,535 is a text that is not given.

use std::collections::BinaryHeap;
use std::net::IpAddr;

use crate::topics::Topic;

/// Under which topic both travel.
pub const API: &str = "$api";

/// Topics of an answer, at most.
pub const TOPICS_MAX: usize = 1000;

/// Bytes of an answer's list, at most: it is one record of the smallest bus (8 KiB), with its head.
const LIST_BYTES_MAX: usize = 7 << 10;

/// Before the path of a broadcast, so that no pattern of an application matches.
pub const BROADCAST: &str = "$broadcast";

/// Before the path of a pubsub.
pub const PUBSUB: &str = "$pubsub";

/// The topic of the clients of a path of a broadcast. `None`: the path is too long.
pub fn broadcast_topic(path: &str) -> Option<String> {
    // A topic has no '+', and a path no raw '#'.
    let topic = format!("{BROADCAST}{}", path.replace('+', "%2B"));
    Topic::parse(&topic).is_ok().then_some(topic)
}

/// The topic of all clients of a broadcast on this server alone, by the path of the service.
pub fn broadcast_topic_of_all(service: &str) -> String {
    format!("$local/all{}", service.replace('+', "%2B"))
}

/// The topic of the notes between the stations of a pubsub, by the path of the service.
pub fn pubsub_topic(service: &str) -> String {
    format!("{PUBSUB}{service}")
}

/// Which clients are meant: those for which all that is given holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selection<'a> {
    /// The subject of the client's token.
    pub subject: Option<&'a str>,
    /// The path of its request, as it was sent.
    pub path: Option<&'a str>,
    /// Its address.
    pub address: Option<IpAddr>,
}

const TOPICS: u8 = 1;
const CLOSE: u8 = 2;
// Answers travel under the same topic: none is to be read as an ask.
const TOPICS_TOLD: u8 = 3;
const CLOSED: u8 = 4;
const NO_TEXT: u16 = u16::MAX;

/// A question to one service at all workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask<'a> {
    /// The answers carry it.
    pub ticket: u64,
    /// The path of the service; empty for one on every path.
    pub service: &'a str,
    /// What is asked.
    pub what: What<'a>,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What<'a> {
    /// The topics with subscribers, in the order of their names.
    Topics(Page<'a>),
    /// Close these clients.
    Close {
        /// Which.
        selection: Selection<'a>,
        /// With this status code.
        code: u16,
        /// And this reason.
        reason: &'a str,
    },
}

/// A part of the list of topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page<'a> {
    /// Those behind this one; or, if `is_exact`, this one alone.
    pub after: &'a str,
    /// How many, [`TOPICS_MAX`] at most.
    pub limit: u16,
    /// See `after`.
    pub is_exact: bool,
}

/// What a worker answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// What the ask had.
    pub ticket: u64,
    /// What the ask had.
    pub service: &'a str,
    /// At this worker.
    pub found: Found<'a>,
}

/// What there is at a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// Topics and patterns.
    Topics {
        /// With their subscribers, in the order of their names.
        topics: Vec<(&'a str, u64)>,
        /// There are others behind the last one.
        more: bool,
    },
    /// Clients were closed.
    Closed {
        /// How many.
        clients: u64,
    },
}

/// The first topics of a page, as many as an answer holds.
pub fn first_of<'a>(topics: Vec<(&'a str, u64)>, page: Page<'_>) -> Found<'a> {
    let Page {
        after,
        limit,
        is_exact,
    } = page;
    let is_meant = |name: &str| {
        if is_exact {
            name == after
        } else {
            name > after
        }
    };
    let limit = usize::from(limit).min(TOPICS_MAX);
    // The largest on top: one that is no longer among the first leaves.
    let mut first = BinaryHeap::new();
    let mut more = false;
    for topic in topics.into_iter().filter(|(name, _)| is_meant(name)) {
        first.push(topic);
        if first.len() > limit {
            first.pop();
            more = true;
        }
    }
    let mut topics = first.into_sorted_vec();
    let mut bytes = 0;
    let fits = topics.iter().take_while(|(name, _)| {
        bytes += 2 + name.len() + 8;
        bytes <= LIST_BYTES_MAX
    });
    let fits = fits.count();
    more |= fits < topics.len();
    topics.truncate(fits);
    Found::Topics { topics, more }
}

impl<'a> Ask<'a> {
    /// The bytes of the note.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self.what {
            What::Topics(Page {
                after,
                limit,
                is_exact,
            }) => {
                open(TOPICS, self.ticket, self.service, &mut out);
                text(Some(after), &mut out);
                out.extend(limit.to_be_bytes());
                out.push(u8::from(is_exact));
            }
            What::Close {
                selection,
                code,
                reason,
            } => {
                open(CLOSE, self.ticket, self.service, &mut out);
                let address = selection.address.map(|address| address.to_string());
                text(selection.subject, &mut out);
                text(selection.path, &mut out);
                text(address.as_deref(), &mut out);
                out.extend(code.to_be_bytes());
                text(Some(reason), &mut out);
            }
        }
        out
    }

    /// Reads an ask. `None`: it is none.
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let mut bytes = Bytes(bytes);
        let (kind, ticket, service) = (bytes.u8()?, bytes.u64()?, bytes.text()??);
        let what = match kind {
            TOPICS => What::Topics(Page {
                after: bytes.text()??,
                limit: bytes.u16()?,
                is_exact: bytes.u8()? == 1,
            }),
            CLOSE => {
                let (subject, path, address) = (bytes.text()?, bytes.text()?, bytes.text()?);
                What::Close {
                    selection: Selection {
                        subject,
                        path,
                        address: address.map(str::parse::<IpAddr>).transpose().ok()?,
                    },
                    code: bytes.u16()?,
                    reason: bytes.text()??,
                }
            }
            _ => return None,
        };
        bytes.0.is_empty().then_some(Self {
            ticket,
            service,
            what,
        })
    }
}

impl<'a> Answer<'a> {
    /// The bytes of the note.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match &self.found {
            Found::Topics { topics, more } => {
                open(TOPICS_TOLD, self.ticket, self.service, &mut out);
                out.push(u8::from(*more));
                for (name, subscribers) in topics {
                    text(Some(name), &mut out);
                    out.extend(subscribers.to_be_bytes());
                }
            }
            Found::Closed { clients } => {
                open(CLOSED, self.ticket, self.service, &mut out);
                out.extend(clients.to_be_bytes());
            }
        }
        out
    }

    /// Reads an answer. `None`: it is none.
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let mut bytes = Bytes(bytes);
        let (kind, ticket, service) = (bytes.u8()?, bytes.u64()?, bytes.text()??);
        let found = match kind {
            TOPICS_TOLD => {
                let more = bytes.u8()? == 1;
                let mut topics = Vec::new();
                while !bytes.0.is_empty() {
                    topics.push((bytes.text()??, bytes.u64()?));
                }
                Found::Topics { topics, more }
            }
            CLOSED => Found::Closed {
                clients: bytes.u64()?,
            },
            _ => return None,
        };
        bytes.0.is_empty().then_some(Self {
            ticket,
            service,
            found,
        })
    }
}

fn open(kind: u8, ticket: u64, service: &str, out: &mut Vec<u8>) {
    out.push(kind);
    out.extend(ticket.to_be_bytes());
    text(Some(service), out);
}

/// Longer texts are cut: the API has refused them, and nothing of ours is as long.
fn text(text: Option<&str>, out: &mut Vec<u8>) {
    let Some(text) = text else {
        return out.extend(NO_TEXT.to_be_bytes());
    };
    let text = &text[..text.floor_char_boundary(usize::from(NO_TEXT) - 1)];
    out.extend(u16::try_from(text.len()).unwrap_or(0).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// What is left of a note.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    /// A text, or that it is not given. `None`: there is none.
    fn text(&mut self) -> Option<Option<&'a str>> {
        let length = self.u16()?;
        if length == NO_TEXT {
            return Some(None);
        }
        let (text, rest) = self.0.split_at_checked(usize::from(length))?;
        self.0 = rest;
        std::str::from_utf8(text).ok().map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_and_answers_come_back_and_what_is_cut_is_none() {
        let page = Page {
            after: "a/b",
            limit: 7,
            is_exact: true,
        };
        let selection = Selection {
            subject: Some("ada"),
            path: None,
            address: "::1".parse().ok(),
        };
        let close = What::Close {
            selection,
            code: 4000,
            reason: "go",
        };
        for what in [What::Topics(page), close] {
            let ask = Ask {
                ticket: 9,
                service: "/chat",
                what,
            };
            let bytes = ask.encode();
            assert_eq!(Ask::decode(&bytes), Some(ask));
            (0..bytes.len()).for_each(|cut| assert_eq!(Ask::decode(&bytes[..cut]), None));
        }
        let topics = Found::Topics {
            topics: vec![("a", 1), ("b/#", 2)],
            more: true,
        };
        for found in [topics, Found::Closed { clients: 3 }] {
            let answer = Answer {
                ticket: 9,
                service: "",
                found,
            };
            let bytes = answer.encode();
            assert_eq!(Ask::decode(&bytes), None);
            assert_eq!(Answer::decode(&bytes), Some(answer));
        }
    }

    #[test]
    fn a_page_is_the_first_topics_behind_a_name() {
        let all = || vec![("d", 4), ("b", 2), ("a", 1), ("c", 3)];
        let page = |after, limit, is_exact| {
            let page = Page {
                after,
                limit,
                is_exact,
            };
            match first_of(all(), page) {
                Found::Topics { topics, more } => (topics, more),
                Found::Closed { .. } => unreachable!("a page was asked for"),
            }
        };
        assert_eq!(page("", 2, false), (vec![("a", 1), ("b", 2)], true));
        assert_eq!(page("b", 2, false), (vec![("c", 3), ("d", 4)], false));
        assert_eq!(page("c", 2, true), (vec![("c", 3)], false));
        let names: Vec<_> = (0..100).map(|at| format!("{at:0200}")).collect();
        let long = names.iter().map(|name| (name.as_str(), 1)).collect();
        let first = first_of(
            long,
            Page {
                after: "",
                limit: 100,
                is_exact: false,
            },
        );
        assert!(matches!(first, Found::Topics { topics, more: true } if topics.len() == 34));
    }
}
