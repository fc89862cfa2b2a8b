//! The form for people and browsers: one JSON object per text message (RFC 8259).

use std::fmt::{self, Write as _};
use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use simd_json::value::tape::Node;
use simd_json::{Buffers, StaticNode, Tape};

use super::{Event, Fault, Limits, Payload, Refused, Request, RequestId, subscribe};
use crate::history::{Position, Retain};
use crate::topics::{Pattern, Topic};

/// Reads requests. Its memory is used again for each.
pub struct Reader {
    limits: Limits,
    buffers: Buffers,
    /// The parser unescapes strings in place, so it gets a copy.
    scratch: Vec<u8>,
    tape: Tape<'static>,
    decoded: Vec<u8>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Reader");
        debug.field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// The members of a request, as far as they are known.
#[derive(Debug, Default)]
struct Members<'a> {
    op: Option<&'a str>,
    id: Option<RequestId>,
    topic: Option<&'a str>,
    since: Option<Position>,
    retain: Option<bool>,
    base64: Option<&'a str>,
    /// Which member `data` is.
    data: Option<usize>,
}

impl Reader {
    /// A reader that refuses what is beyond the limits.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            buffers: Buffers::with_max_depth(1024, limits.depth_max),
            scratch: Vec::new(),
            tape: Tape(Vec::new()),
            decoded: Vec::new(),
        }
    }

    /// Reads one request.
    ///
    /// # Errors
    /// It is none; see [`Fault`].
    pub fn read<'a>(&'a mut self, text: &'a [u8]) -> Result<Request<'a>, Refused> {
        let Self {
            limits,
            buffers,
            scratch,
            tape,
            decoded,
        } = self;
        let anonymous = |fault| Refused { id: None, fault };
        if text.len() > limits.request_bytes_max {
            return Err(anonymous(Fault::TooBig));
        }
        // The value of `data` is passed on as it is written here, so this must be UTF-8 as a whole.
        let text = std::str::from_utf8(text).map_err(|_| anonymous(Fault::JsonInvalid))?;
        scratch.clear();
        scratch.extend_from_slice(text.as_bytes());
        let mut filled = std::mem::replace(tape, Tape(Vec::new())).reset();
        let parsed = simd_json::fill_tape(scratch, buffers, &mut filled);
        let read = match parsed {
            Ok(()) => members(&filled.0),
            Err(_) => Err(anonymous(Fault::JsonInvalid)),
        };
        *tape = filled.reset();
        let members = read?;
        let id = members.id;
        let request = members.request(text, decoded);
        request.map_err(|fault| Refused { id, fault })
    }
}

/// Reads the members of the outermost object. The number of the request comes first, for the answer to one that is wrong.
fn members<'a>(nodes: &[Node<'a>]) -> Result<Members<'a>, Refused> {
    let mut members = Members::default();
    let mut fault = match nodes.first() {
        Some(Node::Object { .. }) => None,
        _ => Some(Fault::NoObject),
    };
    let mut index = 0;
    let mut rest = nodes.get(1..).unwrap_or_default();
    while let [Node::String(name), value @ ..] = rest {
        if fault.is_none() || *name == "id" {
            let wrong = members.set(name, value, index).err();
            fault = fault.or(wrong);
        }
        let nodes = match value.first() {
            Some(Node::Object { count, .. } | Node::Array { count, .. }) => 1 + count,
            _ => 1,
        };
        rest = value.get(nodes..).unwrap_or_default();
        index += 1;
    }
    let id = members.id;
    fault.map_or(Ok(members), |fault| Err(Refused { id, fault }))
}

impl<'a> Members<'a> {
    fn set(&mut self, name: &str, value: &[Node<'a>], index: usize) -> Result<(), Fault> {
        let text = match value.first() {
            Some(Node::String(text)) => Some(*text),
            _ => None,
        };
        match name {
            "op" => once(&mut self.op, text, "op"),
            "topic" => once(&mut self.topic, text, "topic"),
            "base64" => once(&mut self.base64, text, "base64"),
            "data" => once(&mut self.data, Some(index), "data"),
            "since" => once(&mut self.since, since(value), "since"),
            "id" => {
                let id = integer(value).and_then(|id| u32::try_from(id).ok());
                once(&mut self.id, id.and_then(NonZeroU32::new), "id")
            }
            "retain" => {
                let retain = match value.first() {
                    Some(Node::Static(StaticNode::Bool(retain))) => Some(*retain),
                    _ => None,
                };
                once(&mut self.retain, retain, "retain")
            }
            _ => Err(Fault::MemberUnknown),
        }
    }

    fn request(self, text: &'a str, decoded: &'a mut Vec<u8>) -> Result<Request<'a>, Fault> {
        let id = self.id;
        let op = self.op.ok_or(Fault::MemberMissing("op"))?;
        let is_publish = op == "publish";
        if !["publish", "subscribe", "unsubscribe", "presence"].contains(&op) {
            return Err(Fault::OpUnknown);
        }
        let has_message = self.data.is_some() || self.base64.is_some() || self.retain.is_some();
        if (has_message && !is_publish) || (self.since.is_some() && op != "subscribe") {
            return Err(Fault::MemberUnknown);
        }
        let name = self.topic.ok_or(Fault::MemberMissing("topic"))?;
        let topic = || Topic::parse(name).map_err(Fault::Topic);
        Ok(match op {
            "subscribe" => subscribe(id, name, self.since)?,
            "unsubscribe" => {
                let pattern = Pattern::parse(name).map_err(Fault::Topic)?;
                Request::Unsubscribe { id, pattern }
            }
            "presence" => Request::Presence {
                id,
                topic: topic()?,
            },
            _ => Request::Publish {
                id,
                topic: topic()?,
                retain: match self.retain {
                    Some(true) => Retain::Yes,
                    _ => Retain::No,
                },
                payload: self.payload(text, decoded)?,
            },
        })
    }

    fn payload(&self, text: &'a str, decoded: &'a mut Vec<u8>) -> Result<Payload<'a>, Fault> {
        match (self.data, self.base64) {
            (Some(index), None) => {
                let value = value_of(text, index).ok_or(Fault::JsonInvalid)?;
                Ok(Payload::Json(value))
            }
            (None, Some(base64)) => {
                decoded.clear();
                let result = STANDARD.decode_vec(base64, decoded);
                result.map_err(|_| Fault::Base64Invalid)?;
                Ok(Payload::Bytes(decoded))
            }
            (None, None) => Err(Fault::MemberMissing("data")),
            (Some(_), Some(_)) => Err(Fault::MemberTwice),
        }
    }
}

fn once<T>(place: &mut Option<T>, value: Option<T>, name: &'static str) -> Result<(), Fault> {
    if place.is_some() {
        return Err(Fault::MemberTwice);
    }
    *place = Some(value.ok_or(Fault::MemberInvalid(name))?);
    Ok(())
}

fn integer(value: &[Node<'_>]) -> Option<u64> {
    match value.first()? {
        Node::Static(StaticNode::U64(number)) => Some(*number),
        Node::Static(StaticNode::I64(number)) => u64::try_from(*number).ok(),
        _ => None,
    }
}

/// `{"epoch":"…","offset":…}`. The epoch is a string because it may be larger than what JavaScript counts exactly.
fn since(value: &[Node<'_>]) -> Option<Position> {
    let [Node::Object { len: 2, .. }, first, one, second, other, ..] = value else {
        return None;
    };
    let (epoch, offset) = match (first, second) {
        (Node::String("epoch"), Node::String("offset")) => (one, other),
        (Node::String("offset"), Node::String("epoch")) => (other, one),
        _ => return None,
    };
    let Node::String(epoch) = epoch else {
        return None;
    };
    let is_number = epoch.bytes().all(|byte| byte.is_ascii_digit());
    Some(Position {
        epoch: epoch.parse().ok().filter(|_| is_number)?,
        offset: integer(std::slice::from_ref(offset))?,
    })
}

/// The value of a member of the outermost object, as it is written. The text is one that the parser has accepted; a scan that sees it
/// otherwise yields `None` and never panics.
fn value_of(text: &str, member: usize) -> Option<&str> {
    let bytes = text.as_bytes();
    let mut at = skip_space(bytes, 0);
    at = skip_space(bytes, at + 1); // the brace
    for index in 0..=member {
        at = skip_space(bytes, skip_value(bytes, at)?); // the name
        let begin = skip_space(bytes, at + 1); // the colon
        let end = skip_value(bytes, begin)?;
        if index == member {
            return text.get(begin..end);
        }
        at = skip_space(bytes, skip_space(bytes, end) + 1); // the comma
    }
    None
}

fn skip_space(bytes: &[u8], from: usize) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    let space = rest.iter().take_while(|byte| b" \t\r\n".contains(byte));
    from + space.count()
}

/// The end of the value that begins here.
fn skip_value(bytes: &[u8], from: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = from;
    loop {
        match bytes.get(at)? {
            b'"' => at = skip_string(bytes, at + 1)?,
            b'[' | b'{' => (depth, at) = (depth + 1, at + 1),
            b']' | b'}' => (depth, at) = (depth.checked_sub(1)?, at + 1),
            _ if depth > 0 => at += 1,
            // A number, true, false or null.
            _ => {
                let rest = &bytes[at..];
                let value = rest.iter().take_while(|byte| !b",]} \t\r\n".contains(byte));
                at += value.count();
            }
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

/// Behind the closing quotation mark of the string whose first character is here.
fn skip_string(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Appends an event as a JSON text.
pub fn encode_event(event: &Event<'_>, out: &mut String) {
    match *event {
        Event::Ack { id, position } => {
            open("ack", Some(id), out);
            if let Some(position) = position {
                encode_position(position, out);
            }
        }
        Event::Error { id, code, text } => {
            open("error", id, out);
            push(out, format_args!(r#","code":"{}","text":"#, code.name()));
            encode_string(text, out);
        }
        Event::Gap { topic, messages } => {
            open("gap", None, out);
            if let Some(topic) = topic {
                encode_topic(topic.as_str(), out);
            }
            if let Some(messages) = messages {
                push(out, format_args!(r#","messages":{messages}"#));
            }
        }
        Event::Message {
            topic,
            offset,
            payload,
        } => {
            open("message", None, out);
            encode_topic(topic.as_str(), out);
            if let Some(offset) = offset {
                push(out, format_args!(r#","offset":{offset}"#));
            }
            encode_payload(payload, out);
        }
        Event::Presence {
            id,
            topic,
            subscribers,
        } => {
            open("presence", id, out);
            encode_topic(topic.as_str(), out);
            push(out, format_args!(r#","subscribers":{subscribers}"#));
        }
    }
    out.push('}');
}

/// Appends a request as a JSON text, for clients.
pub fn encode_request(request: &Request<'_>, out: &mut String) {
    match *request {
        Request::Presence { id, topic } => {
            open("presence", id, out);
            encode_topic(topic.as_str(), out);
        }
        Request::Publish {
            id,
            topic,
            payload,
            retain,
        } => {
            open("publish", id, out);
            encode_topic(topic.as_str(), out);
            if retain == Retain::Yes {
                out.push_str(r#","retain":true"#);
            }
            encode_payload(payload, out);
        }
        Request::Subscribe { id, pattern, since } => {
            open("subscribe", id, out);
            encode_topic(pattern.as_str(), out);
            if let Some(position) = since {
                out.push_str(r#","since":{"#);
                let members = out.len();
                encode_position(position, out);
                out.remove(members); // the comma
                out.push('}');
            }
        }
        Request::Unsubscribe { id, pattern } => {
            open("unsubscribe", id, out);
            encode_topic(pattern.as_str(), out);
        }
    }
    out.push('}');
}

fn open(op: &str, id: Option<RequestId>, out: &mut String) {
    push(out, format_args!(r#"{{"op":"{op}""#));
    if let Some(id) = id {
        push(out, format_args!(r#","id":{id}"#));
    }
}

fn encode_position(position: Position, out: &mut String) {
    let Position { epoch, offset } = position;
    push(out, format_args!(r#","epoch":"{epoch}","offset":{offset}"#));
}

fn encode_topic(topic: &str, out: &mut String) {
    out.push_str(r#","topic":"#);
    encode_string(topic, out);
}

fn encode_payload(payload: Payload<'_>, out: &mut String) {
    match payload {
        Payload::Json(text) => {
            out.push_str(r#","data":"#);
            out.push_str(text);
        }
        Payload::Bytes(bytes) => {
            out.push_str(r#","base64":""#);
            STANDARD.encode_string(bytes, out);
            out.push('"');
        }
    }
}

fn encode_string(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            '\0'..=' ' if character != ' ' => {
                push(out, format_args!("\\u{:04x}", u32::from(character)))
            }
            _ => out.push(character),
        }
    }
    out.push('"');
}

fn push(out: &mut String, text: fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes everything");
}
