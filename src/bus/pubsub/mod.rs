//! What clients and the server say to each other: requests in, events out, as JSON texts or in a binary layout.
//!
//! Owns: both forms of each message, and every check of what a client sent.
//! Never: decides whether a client may do what it asks, or does it. `docs/pubsub.md` describes the messages, with an example of each.
//!
//! | limit | default | memory |
//! |---|---|---|
//! | bytes of a request | 256 KiB | a reader of JSON keeps up to 40 times as much, after a text of nothing but short numbers; one per worker is enough |
//! | depth of a JSON text | 32 | within the above |

pub mod binary;
pub mod json;
mod json_event;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};

use crate::history::{Position, Retain};
use crate::topics::{BadTopic, Pattern, Topic};
pub use json_event::EventReader;

/// What a request may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request, its data included.
    pub request_bytes_max: usize,
    /// Arrays and objects inside each other, the request itself included.
    pub depth_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_bytes_max: 256 << 10,
            depth_max: 32,
        }
    }
}

/// The number that a client gives a request, so that it knows the answer. A request without one is answered only if it fails.
pub type RequestId = NonZeroU32;

/// What is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    /// A JSON value, exactly as the publisher wrote it.
    Json(&'a str),
    /// Any bytes. In a JSON text they are base64.
    Bytes(&'a [u8]),
}

/// What a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Request<'a> {
    /// How many have subscribed to a topic.
    Presence {
        /// The answer carries it.
        id: Option<RequestId>,
        /// Which topic.
        topic: Topic<'a>,
    },
    /// A message for a topic.
    Publish {
        /// With one, the message is acknowledged.
        id: Option<RequestId>,
        /// Which topic.
        topic: Topic<'a>,
        /// The message.
        payload: Payload<'a>,
        /// Whether later subscribers get it as well.
        retain: Retain,
    },
    /// Messages of a topic, or of all topics that a pattern matches, from now on.
    Subscribe {
        /// With one, the subscription is acknowledged.
        id: Option<RequestId>,
        /// Which topics.
        pattern: Pattern<'a>,
        /// Replay what came behind this place. Only of a single topic.
        since: Option<Position>,
    },
    /// No more of them.
    Unsubscribe {
        /// With one, the end is acknowledged.
        id: Option<RequestId>,
        /// As it was subscribed to.
        pattern: Pattern<'a>,
    },
}

/// What a client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A request is done.
    Ack {
        /// Of which request.
        id: RequestId,
        /// Where the topic is now: for a subscription the place to begin from, for a publish the place of the message.
        position: Option<Position>,
    },
    /// A request was refused.
    Error {
        /// Of which request, if that is known.
        id: Option<RequestId>,
        /// Why.
        code: ErrorCode,
        /// The same for a person.
        text: &'a str,
    },
    /// Messages are missing here.
    Gap {
        /// Of which topic; `None` if of several or of unknown ones.
        topic: Option<Topic<'a>>,
        /// How many; `None` if nobody knows.
        messages: Option<NonZeroU64>,
    },
    /// A message.
    Message {
        /// The topic that it was published to.
        topic: Topic<'a>,
        /// Its place in the topic's history, if there is one.
        offset: Option<NonZeroU64>,
        /// What was published.
        payload: Payload<'a>,
    },
    /// How many have subscribed to a topic.
    Presence {
        /// Of which request; `None` if the number has changed.
        id: Option<RequestId>,
        /// Which topic.
        topic: Topic<'a>,
        /// How many, on all workers.
        subscribers: u64,
    },
}

/// Why a request is refused, for programs. The values are those of the binary form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum ErrorCode {
    /// The request cannot be read.
    BadRequest = 1,
    /// The topic or pattern is none.
    BadTopic = 2,
    /// The request or its data is too large.
    TooBig = 3,
    /// The client has no right to that.
    NotAllowed = 4,
    /// Too many topics or subscriptions.
    Limit = 5,
    /// Ended a subscription that there was not.
    NotSubscribed = 6,
    /// The server cannot do that now.
    Unavailable = 7,
}

impl ErrorCode {
    const ALL: [Self; 7] = [
        Self::BadRequest,
        Self::BadTopic,
        Self::TooBig,
        Self::NotAllowed,
        Self::Limit,
        Self::NotSubscribed,
        Self::Unavailable,
    ];

    fn of_value(value: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|code| *code as u8 == value)
    }

    fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.name() == name)
    }

    /// The name in a JSON text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::BadTopic => "bad_topic",
            Self::TooBig => "too_big",
            Self::NotAllowed => "not_allowed",
            Self::Limit => "limit",
            Self::NotSubscribed => "not_subscribed",
            Self::Unavailable => "unavailable",
        }
    }
}

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// No base64 with padding (RFC 4648 §4).
    Base64Invalid,
    /// No JSON text, not UTF-8, or too deep.
    JsonInvalid,
    /// A member has another kind of value, or one that is out of range.
    MemberInvalid(&'static str),
    /// A member that this request needs.
    MemberMissing(&'static str),
    /// A member twice.
    MemberTwice,
    /// A member that no request has, or not this one.
    MemberUnknown,
    /// Something else than an object.
    NoObject,
    /// An `op`, or a kind in the binary form, that there is not.
    OpUnknown,
    /// `since` with a pattern that has wildcards.
    SinceWithWildcard,
    /// Above [`Limits::request_bytes_max`].
    TooBig,
    /// No topic or no pattern.
    Topic(BadTopic),
    /// The binary request ends too early, or has bytes left, or bits that mean nothing.
    LayoutInvalid,
}

impl Fault {
    /// The code for the client.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::TooBig => ErrorCode::TooBig,
            Self::Topic(_) => ErrorCode::BadTopic,
            _ => ErrorCode::BadRequest,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base64Invalid => write!(f, "'base64' is no base64"),
            Self::JsonInvalid => write!(f, "the request is no JSON text, or too deep"),
            Self::MemberInvalid(name) => write!(f, "the value of '{name}' is not possible"),
            Self::MemberMissing(name) => write!(f, "the member '{name}' is missing"),
            Self::MemberTwice => write!(f, "a member stands there twice"),
            Self::MemberUnknown => write!(f, "this request has no such member"),
            Self::NoObject => write!(f, "a request is a JSON object"),
            Self::OpUnknown => write!(f, "there is no such request"),
            Self::SinceWithWildcard => {
                write!(f, "'since' goes with one topic, not with a wildcard")
            }
            Self::TooBig => write!(f, "the request is too large"),
            Self::Topic(bad) => bad.fmt(f),
            Self::LayoutInvalid => write!(f, "the request has another layout"),
        }
    }
}

/// A request that could not be read; the answer is an [`Event::Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Of which request, if that much could be read.
    pub id: Option<RequestId>,
    /// Why.
    pub fault: Fault,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fault.fmt(f)
    }
}

impl std::error::Error for Refused {}

/// Replays only a single topic.
fn subscribe<'a>(
    id: Option<RequestId>,
    pattern: &'a str,
    since: Option<Position>,
) -> Result<Request<'a>, Fault> {
    let pattern = Pattern::parse(pattern).map_err(Fault::Topic)?;
    if since.is_some() && pattern.as_topic().is_none() {
        return Err(Fault::SinceWithWildcard);
    }
    Ok(Request::Subscribe { id, pattern, since })
}
