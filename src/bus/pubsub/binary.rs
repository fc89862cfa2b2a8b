//! The form for programs: one binary message each, numbers in network byte order.
//!
//! ```text
//!  requests                                 byte 0  1      2..6  6        7        from there on
//!    subscribe    1 │ 1 = with a position │ id │ length │ topic │ [epoch: 8 │ offset: 8]
//!    unsubscribe  2 │ 0                   │ id │ length │ topic
//!    publish      3 │ 1 = retain          │ id │ length │ topic │ format: 1 │ data
//!    presence     4 │ 0                   │ id │ length │ topic
//!  events
//!    ack        129 │ 1 = with a position │ id │ [epoch: 8 │ offset: 8]
//!    message    130 │ format              │ 0  │ length │ topic │ offset: 8 │ data
//!    gap        131 │ 0                   │ 0  │ length │ topic │ messages: 8
//!    presence   132 │ 0                   │ id │ length │ topic │ subscribers: 8
//!    error      133 │ code                │ id │ a text in UTF-8
//! ```
//!
//! An id of 0 is none, as are an offset, a count of messages in a gap, or a topic there with length 0. The format of data is 0 for bytes
//! and 1 for a JSON value; programs publish bytes only.

use std::num::{NonZeroU32, NonZeroU64};

use super::{ErrorCode, Event, Fault, Limits, Payload, Refused, Request, RequestId, subscribe};
use crate::history::{Position, Retain};
use crate::topics::{Pattern, Topic};

const SUBSCRIBE: u8 = 1;
const UNSUBSCRIBE: u8 = 2;
const PUBLISH: u8 = 3;
const PRESENCE: u8 = 4;
const EVENT_ACK: u8 = 129;
const EVENT_MESSAGE: u8 = 130;
const EVENT_GAP: u8 = 131;
const EVENT_PRESENCE: u8 = 132;
const EVENT_ERROR: u8 = 133;

const FORMAT_BYTES: u8 = 0;
const FORMAT_JSON: u8 = 1;

/// Reads one request, which borrows everything from the message.
///
/// # Errors
/// It is none; see [`Fault`].
pub fn read<'a>(limits: &Limits, message: &'a [u8]) -> Result<Request<'a>, Refused> {
    let anonymous = |fault| Refused { id: None, fault };
    if message.len() > limits.request_bytes_max {
        return Err(anonymous(Fault::TooBig));
    }
    let Some(([kind, flags, id @ ..], rest)) = message.split_first_chunk::<6>() else {
        return Err(anonymous(Fault::LayoutInvalid));
    };
    let id = NonZeroU32::new(u32::from_be_bytes(*id));
    read_body(*kind, *flags, id, rest).map_err(|fault| Refused { id, fault })
}

fn read_body(
    kind: u8,
    flags: u8,
    id: Option<RequestId>,
    rest: &[u8],
) -> Result<Request<'_>, Fault> {
    if !(SUBSCRIBE..=PRESENCE).contains(&kind) {
        return Err(Fault::OpUnknown);
    }
    let is_flag_known = flags == 0 || (flags == 1 && [SUBSCRIBE, PUBLISH].contains(&kind));
    let (length, rest) = rest.split_first().ok_or(Fault::LayoutInvalid)?;
    let name = rest.split_at_checked(usize::from(*length));
    let (Some((name, rest)), true) = (name, is_flag_known) else {
        return Err(Fault::LayoutInvalid);
    };
    let name = std::str::from_utf8(name).map_err(|_| Fault::LayoutInvalid)?;
    let topic = || Topic::parse(name).map_err(Fault::Topic);
    let request = match kind {
        PUBLISH => {
            let data = rest
                .split_first()
                .filter(|(format, _)| **format == FORMAT_BYTES);
            let (_, data) = data.ok_or(Fault::LayoutInvalid)?;
            let retain = if flags == 1 { Retain::Yes } else { Retain::No };
            let payload = Payload::Bytes(data);
            return Ok(Request::Publish {
                id,
                topic: topic()?,
                payload,
                retain,
            });
        }
        SUBSCRIBE if flags == 1 => {
            let (epoch, rest) = rest.split_first_chunk().ok_or(Fault::LayoutInvalid)?;
            let offset = rest.try_into().map_err(|_| Fault::LayoutInvalid)?;
            let since = Position {
                epoch: u64::from_be_bytes(*epoch),
                offset: u64::from_be_bytes(offset),
            };
            return subscribe(id, name, Some(since));
        }
        SUBSCRIBE => subscribe(id, name, None)?,
        UNSUBSCRIBE => {
            let pattern = Pattern::parse(name).map_err(Fault::Topic)?;
            Request::Unsubscribe { id, pattern }
        }
        _ => Request::Presence {
            id,
            topic: topic()?,
        },
    };
    match rest {
        [] => Ok(request),
        _ => Err(Fault::LayoutInvalid),
    }
}

/// Reads an event, for clients; it borrows everything from the message. `None`: it is none.
pub fn read_event(message: &[u8]) -> Option<Event<'_>> {
    let ([kind, flags, id @ ..], rest) = message.split_first_chunk::<6>()?;
    let id = NonZeroU32::new(u32::from_be_bytes(*id));
    if *kind == EVENT_ERROR {
        return Some(Event::Error {
            id,
            code: ErrorCode::of_value(*flags)?,
            text: std::str::from_utf8(rest).ok()?,
        });
    }
    if *kind == EVENT_ACK {
        let position = match (*flags, rest) {
            (0, []) => None,
            (1, [..]) => {
                let (epoch, rest) = number(rest)?;
                let offset = u64::from_be_bytes(rest.try_into().ok()?);
                Some(Position { epoch, offset })
            }
            _ => return None,
        };
        let id = id?;
        return Some(Event::Ack { id, position });
    }
    let (length, rest) = rest.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(*length))?;
    let name = std::str::from_utf8(name).ok()?;
    let topic = || Topic::parse(name).ok();
    let (number, data) = number(rest)?;
    match *kind {
        EVENT_MESSAGE if id.is_none() => Some(Event::Message {
            topic: topic()?,
            offset: NonZeroU64::new(number),
            payload: match *flags {
                FORMAT_BYTES => Payload::Bytes(data),
                FORMAT_JSON => Payload::Json(std::str::from_utf8(data).ok()?),
                _ => return None,
            },
        }),
        EVENT_GAP if id.is_none() && *flags == 0 && data.is_empty() => Some(Event::Gap {
            topic: match name {
                "" => None,
                _ => Some(topic()?),
            },
            messages: NonZeroU64::new(number),
        }),
        EVENT_PRESENCE if *flags == 0 && data.is_empty() => Some(Event::Presence {
            id,
            topic: topic()?,
            subscribers: number,
        }),
        _ => None,
    }
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u64::from_be_bytes(*number), rest))
}

/// Appends a request, for clients.
///
/// # Panics
/// If it publishes a JSON value: programs publish bytes.
pub fn encode_request(request: &Request<'_>, out: &mut Vec<u8>) {
    match *request {
        Request::Presence { id, topic } => {
            open(PRESENCE, 0, id, out);
            encode_topic(topic.as_str(), out);
        }
        Request::Publish {
            id,
            topic,
            payload,
            retain,
        } => {
            let Payload::Bytes(data) = payload else {
                panic!("the binary form publishes bytes");
            };
            open(PUBLISH, u8::from(retain == Retain::Yes), id, out);
            encode_topic(topic.as_str(), out);
            out.push(FORMAT_BYTES);
            out.extend_from_slice(data);
        }
        Request::Subscribe { id, pattern, since } => {
            open(SUBSCRIBE, u8::from(since.is_some()), id, out);
            encode_topic(pattern.as_str(), out);
            since
                .into_iter()
                .for_each(|position| encode_position(position, out));
        }
        Request::Unsubscribe { id, pattern } => {
            open(UNSUBSCRIBE, 0, id, out);
            encode_topic(pattern.as_str(), out);
        }
    }
}

/// Appends an event.
pub fn encode_event(event: &Event<'_>, out: &mut Vec<u8>) {
    match *event {
        Event::Ack { id, position } => {
            open(EVENT_ACK, u8::from(position.is_some()), Some(id), out);
            position
                .into_iter()
                .for_each(|position| encode_position(position, out));
        }
        Event::Error { id, code, text } => {
            open(EVENT_ERROR, code as u8, id, out);
            out.extend_from_slice(text.as_bytes());
        }
        Event::Gap { topic, messages } => {
            open(EVENT_GAP, 0, None, out);
            encode_topic(topic.map_or("", Topic::as_str), out);
            out.extend(messages.map_or(0, u64::from).to_be_bytes());
        }
        Event::Message {
            topic,
            offset,
            payload,
        } => {
            let (format, data) = match payload {
                Payload::Bytes(bytes) => (FORMAT_BYTES, bytes),
                Payload::Json(text) => (FORMAT_JSON, text.as_bytes()),
            };
            open(EVENT_MESSAGE, format, None, out);
            encode_topic(topic.as_str(), out);
            out.extend(offset.map_or(0, u64::from).to_be_bytes());
            out.extend_from_slice(data);
        }
        Event::Presence {
            id,
            topic,
            subscribers,
        } => {
            open(EVENT_PRESENCE, 0, id, out);
            encode_topic(topic.as_str(), out);
            out.extend(subscribers.to_be_bytes());
        }
    }
}

fn open(kind: u8, flags: u8, id: Option<RequestId>, out: &mut Vec<u8>) {
    out.extend([kind, flags]);
    out.extend(id.map_or(0, u32::from).to_be_bytes());
}

fn encode_position(position: Position, out: &mut Vec<u8>) {
    out.extend(position.epoch.to_be_bytes());
    out.extend(position.offset.to_be_bytes());
}

/// Names of topics and patterns have at most 255 bytes: [`crate::topics::TOPIC_BYTES_MAX`].
fn encode_topic(topic: &str, out: &mut Vec<u8>) {
    out.push(u8::try_from(topic.len()).expect("checked when it was parsed"));
    out.extend_from_slice(topic.as_bytes());
}
