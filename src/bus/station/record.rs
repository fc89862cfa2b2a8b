//! What stations write onto the bus for each other, numbers in network byte order.
//!
//! ```text
//!             byte 0  1            2..4            4..12    from there on
//!  publish      1 │ 1 = retain │ 0             │ ticket │ 0: 8     │ 0: 8      │ length │ topic │ format: 1 │ data
//!  message      2 │ 1 = retain │ origin worker │ ticket │ epoch: 8 │ offset: 8 │ length │ topic │ format: 1 │ data
//!  query        3 │ 0          │ 0             │ ticket │ length │ topic
//!  count        4 │ 0          │ to worker     │ ticket │ subscribers: 8
//!  lost         5 │ 0          │ 0             │ messages: 8 │ length │ topic
//! ```
//!
//! A publish has as many bytes as the message that it becomes: what fits onto the bus once fits twice. A ticket of 0 is none, as are
//! messages 0 and a topic of length 0. Records of other programs of this machine (a bridge to a broker, the HTTP API) are the same.

use crate::history::{Position, Retain};
use crate::pubsub::Payload;
use crate::topics::Topic;

const PUBLISH: u8 = 1;
const MESSAGE: u8 = 2;
const QUERY: u8 = 3;
const COUNT: u8 = 4;
const LOST: u8 = 5;

const FORMAT_BYTES: u8 = 0;
const FORMAT_JSON: u8 = 1;

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Record<'a> {
    /// Somebody publishes; the owner of the topic is to give the message its place.
    Publish {
        /// By which the writer's station knows the publish again; 0 if nobody waits for it.
        ticket: u64,
        /// Its topic and data.
        content: Content<'a>,
    },
    /// A message with its place, from the owner of its topic.
    Message {
        /// Who published it.
        origin: u16,
        /// What the publish had.
        ticket: u64,
        /// Given by the owner.
        position: Position,
        /// Its topic and data.
        content: Content<'a>,
    },
    /// How many have subscribed to this topic at each worker?
    Query {
        /// The answer carries it.
        ticket: u64,
        /// Which topic.
        topic: Topic<'a>,
    },
    /// The answer.
    Count {
        /// Who asked.
        to: u16,
        /// What the query had.
        ticket: u64,
        /// At the writer's worker.
        subscribers: u64,
    },
    /// Publishes did not reach the owner of their topic, who writes this, or messages a bridge.
    Lost {
        /// How many; 0 if nobody knows.
        messages: u64,
        /// Of which topic; `None`: of any that the writer owns.
        topic: Option<Topic<'a>>,
    },
}

/// What is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content<'a> {
    /// The topic.
    pub topic: Topic<'a>,
    /// Whether later subscribers get it as well.
    pub retain: Retain,
    /// The data.
    pub payload: Payload<'a>,
}

impl<'a> Record<'a> {
    /// Reads a record. `None`: it is none. Whether its writer may write it is for the caller to judge.
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let ([kind, flags], rest) = bytes.split_first_chunk()?;
        let (worker, rest) = rest.split_first_chunk()?;
        let worker = u16::from_be_bytes(*worker);
        let (number, rest) = u64_of(rest)?;
        let is_flag_known = *flags == 0 || (*flags == 1 && [PUBLISH, MESSAGE].contains(kind));
        let is_worker_known = worker == 0 || [MESSAGE, COUNT].contains(kind);
        if !is_flag_known || !is_worker_known {
            return None;
        }
        match *kind {
            PUBLISH | MESSAGE => {
                let (epoch, rest) = u64_of(rest)?;
                let (offset, rest) = u64_of(rest)?;
                let content = content_of(*flags, rest)?;
                let position = Position { epoch, offset };
                Some(match *kind {
                    MESSAGE => Self::Message {
                        origin: worker,
                        ticket: number,
                        position,
                        content,
                    },
                    _ if epoch != 0 || offset != 0 => return None,
                    _ => Self::Publish {
                        ticket: number,
                        content,
                    },
                })
            }
            QUERY => Some(Self::Query {
                ticket: number,
                topic: only_topic_of(rest)?,
            }),
            COUNT => Some(Self::Count {
                to: worker,
                ticket: number,
                subscribers: u64::from_be_bytes(rest.try_into().ok()?),
            }),
            LOST => Some(Self::Lost {
                messages: number,
                topic: match rest {
                    [0] => None,
                    _ => Some(only_topic_of(rest)?),
                },
            }),
            _ => None,
        }
    }

    /// Appends a record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Publish { ticket, content } => {
                open(PUBLISH, content.retain, 0, ticket, out);
                let nowhere = Position {
                    epoch: 0,
                    offset: 0,
                };
                encode_content(nowhere, &content, out);
            }
            Self::Message {
                origin,
                ticket,
                position,
                content,
            } => {
                open(MESSAGE, content.retain, origin, ticket, out);
                encode_content(position, &content, out);
            }
            Self::Query { ticket, topic } => {
                open(QUERY, Retain::No, 0, ticket, out);
                encode_topic(topic.as_str(), out);
            }
            Self::Count {
                to,
                ticket,
                subscribers,
            } => {
                open(COUNT, Retain::No, to, ticket, out);
                out.extend(subscribers.to_be_bytes());
            }
            Self::Lost { messages, topic } => {
                open(LOST, Retain::No, 0, messages, out);
                encode_topic(topic.map_or("", Topic::as_str), out);
            }
        }
    }
}

/// Data as it is kept: its format, then the bytes.
pub(super) fn kept(payload: Payload<'_>) -> (u8, &[u8]) {
    match payload {
        Payload::Bytes(bytes) => (FORMAT_BYTES, bytes),
        Payload::Json(text) => (FORMAT_JSON, text.as_bytes()),
    }
}

/// The same read again. `None`: an unknown format, or a text that is empty or not UTF-8. That it is JSON is what its publisher's station saw.
pub(super) fn payload_of(bytes: &[u8]) -> Option<Payload<'_>> {
    let (format, data) = bytes.split_first()?;
    match *format {
        FORMAT_BYTES => Some(Payload::Bytes(data)),
        FORMAT_JSON if !data.is_empty() => std::str::from_utf8(data).ok().map(Payload::Json),
        _ => None,
    }
}

fn u64_of(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u64::from_be_bytes(*number), rest))
}

fn topic_of(bytes: &[u8]) -> Option<(Topic<'_>, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(*length))?;
    let topic = Topic::parse(std::str::from_utf8(name).ok()?).ok()?;
    Some((topic, rest))
}

fn only_topic_of(bytes: &[u8]) -> Option<Topic<'_>> {
    let (topic, rest) = topic_of(bytes)?;
    rest.is_empty().then_some(topic)
}

fn content_of(flags: u8, bytes: &[u8]) -> Option<Content<'_>> {
    let (topic, rest) = topic_of(bytes)?;
    Some(Content {
        topic,
        retain: if flags == 1 { Retain::Yes } else { Retain::No },
        payload: payload_of(rest)?,
    })
}

fn open(kind: u8, retain: Retain, worker: u16, number: u64, out: &mut Vec<u8>) {
    out.extend([kind, u8::from(retain == Retain::Yes)]);
    out.extend(worker.to_be_bytes());
    out.extend(number.to_be_bytes());
}

fn encode_content(position: Position, content: &Content<'_>, out: &mut Vec<u8>) {
    out.extend(position.epoch.to_be_bytes());
    out.extend(position.offset.to_be_bytes());
    encode_topic(content.topic.as_str(), out);
    let (format, data) = kept(content.payload);
    out.push(format);
    out.extend_from_slice(data);
}

/// Names of topics have at most 255 bytes: [`crate::topics::TOPIC_BYTES_MAX`].
fn encode_topic(topic: &str, out: &mut Vec<u8>) {
    out.push(u8::try_from(topic.len()).expect("checked when it was parsed"));
    out.extend_from_slice(topic.as_bytes());
}
