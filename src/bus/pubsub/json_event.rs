//! Events of the JSON form, for clients that read many: a scan of exactly the texts that [`super::json::encode_event`] writes, which are
//! not parsed as JSON. A text with the same meaning and another look is refused.

use std::num::{NonZeroU32, NonZeroU64};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{ErrorCode, Event, Payload, RequestId};
use crate::history::Position;
use crate::topics::Topic;

/// Reads events. Its memory is used again for each; only what has escapes or is base64 is copied there.
#[derive(Debug, Default)]
pub struct EventReader {
    unescaped: String,
    decoded: Vec<u8>,
}

impl EventReader {
    /// A reader without memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads one event. `None`: it is none, or not as this server writes it. The value of `data` is taken as it stands there.
    pub fn read<'a>(&'a mut self, text: &'a str) -> Option<Event<'a>> {
        let Self { unescaped, decoded } = self;
        let rest = text.strip_prefix(r#"{"op":""#)?.strip_suffix('}')?;
        let (op, rest) = rest.split_once('"')?;
        let (id, rest) = match rest.strip_prefix(r#","id":"#) {
            Some(rest) => {
                let (id, rest) = number(rest)?;
                let id = u32::try_from(id).ok().and_then(NonZeroU32::new)?;
                (Some(id), rest)
            }
            None => (None, rest),
        };
        match op {
            "message" if id.is_none() => message(rest, unescaped, decoded),
            "ack" => ack(id?, rest),
            "gap" if id.is_none() => gap(rest, unescaped),
            "presence" => {
                let (topic, rest) = topic(rest, unescaped)?;
                let subscribers = last_number(rest.strip_prefix(r#","subscribers":"#)?)?;
                Some(Event::Presence {
                    id,
                    topic,
                    subscribers,
                })
            }
            "error" => {
                let rest = rest.strip_prefix(r#","code":""#)?;
                let (code, rest) = rest.split_once(r#"","text":""#)?;
                let code = ErrorCode::of_name(code)?;
                let (text, rest) = string(rest, unescaped)?;
                rest.is_empty().then_some(Event::Error { id, code, text })
            }
            _ => None,
        }
    }
}

fn message<'a>(
    rest: &'a str,
    unescaped: &'a mut String,
    decoded: &'a mut Vec<u8>,
) -> Option<Event<'a>> {
    let (topic, rest) = topic(rest, unescaped)?;
    let (offset, rest) = match rest.strip_prefix(r#","offset":"#) {
        Some(rest) => {
            let (offset, rest) = number(rest)?;
            (Some(NonZeroU64::new(offset)?), rest)
        }
        None => (None, rest),
    };
    let payload = match rest.strip_prefix(r#","data":"#) {
        Some("") => return None,
        Some(data) => Payload::Json(data),
        None => {
            let text = rest.strip_prefix(r#","base64":""#)?.strip_suffix('"')?;
            decoded.clear();
            STANDARD.decode_vec(text, decoded).ok()?;
            Payload::Bytes(decoded)
        }
    };
    Some(Event::Message {
        topic,
        offset,
        payload,
    })
}

fn ack(id: RequestId, rest: &str) -> Option<Event<'_>> {
    let position = match rest {
        "" => None,
        _ => {
            let rest = rest.strip_prefix(r#","epoch":""#)?;
            let (epoch, rest) = number(rest)?;
            let offset = last_number(rest.strip_prefix(r#"","offset":"#)?)?;
            Some(Position { epoch, offset })
        }
    };
    Some(Event::Ack { id, position })
}

fn gap<'a>(rest: &'a str, unescaped: &'a mut String) -> Option<Event<'a>> {
    let (topic, rest) = match rest.starts_with(r#","topic""#) {
        true => topic(rest, unescaped).map(|(topic, rest)| (Some(topic), rest))?,
        false => (None, rest),
    };
    let messages = match rest {
        "" => None,
        _ => {
            let messages = last_number(rest.strip_prefix(r#","messages":"#)?)?;
            Some(NonZeroU64::new(messages)?)
        }
    };
    Some(Event::Gap { topic, messages })
}

fn topic<'a>(rest: &'a str, unescaped: &'a mut String) -> Option<(Topic<'a>, &'a str)> {
    let (name, rest) = string(rest.strip_prefix(r#","topic":""#)?, unescaped)?;
    Some((Topic::parse(name).ok()?, rest))
}

/// A string from behind its first quotation mark on, and what follows it.
fn string<'a>(text: &'a str, unescaped: &'a mut String) -> Option<(&'a str, &'a str)> {
    let end = text.find(['"', '\\'])?;
    if text.as_bytes()[end] == b'"' {
        return Some((&text[..end], &text[end + 1..]));
    }
    unescaped.clear();
    let mut rest = text;
    loop {
        let at = rest.find(['"', '\\'])?;
        unescaped.push_str(&rest[..at]);
        let mut behind = rest[at..].chars();
        if behind.next() == Some('"') {
            return Some((unescaped, behind.as_str()));
        }
        match behind.next()? {
            character @ ('"' | '\\') => unescaped.push(character),
            'u' => {
                let digits = behind.as_str().get(..4)?;
                let code = u32::from_str_radix(digits, 16).ok()?;
                unescaped.push(char::from_u32(code)?);
                behind = behind.as_str()[4..].chars();
            }
            _ => return None,
        }
        rest = behind.as_str();
    }
}

/// A number and what follows it.
fn number(text: &str) -> Option<(u64, &str)> {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest))
}

fn last_number(text: &str) -> Option<u64> {
    let (number, rest) = number(text)?;
    rest.is_empty().then_some(number)
}
