//! A message at the broker.
//!
//! ```text
//!  0         1      2            18           26
//!  │ version │ kind │ origin: 16 │ number: 8 │ length: 1 │ space │ length: 1 │ topic │ body …       of a message (kind 1)
//!                                                                                                of a notice (kind 2): nothing
//! ```
//!
//! The number is the server's own, from 1 up, in network byte order. A notice says that its server has dropped messages.

use std::sync::Arc;

use ringway_bus::topics::Topic;

use crate::Origin;

/// Bytes of the name of a space.
pub const SPACE_BYTES_MAX: usize = 255;

const VERSION: u8 = 1;
const MESSAGE: u8 = 1;
const NOTICE: u8 = 2;

/// A message of a topic. Topics of different spaces have nothing to do with each other: a space is a service, or, with an empty name,
/// the topics of the library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The name of the space, at most [`SPACE_BYTES_MAX`] bytes.
    pub space: Arc<str>,
    /// A topic.
    pub topic: Box<str>,
    /// What it says, in a form that all servers of a deployment know.
    pub body: Vec<u8>,
}

/// What a server has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content<'a> {
    Message {
        space: &'a str,
        topic: &'a str,
        body: &'a [u8],
    },
    /// The server has dropped messages.
    Notice,
}

/// Who has sent it, and as which of its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sender {
    pub(crate) origin: Origin,
    pub(crate) number: u64,
}

pub(crate) fn encode(sender: Sender, content: Content<'_>) -> Vec<u8> {
    let kind = match content {
        Content::Message { .. } => MESSAGE,
        Content::Notice => NOTICE,
    };
    let mut out = vec![VERSION, kind];
    out.extend(sender.origin);
    out.extend(sender.number.to_be_bytes());
    if let Content::Message { space, topic, body } = content {
        out.reserve_exact(2 + space.len() + topic.len() + body.len());
        for name in [space, topic] {
            out.push(u8::try_from(name.len()).expect("both have 255 bytes at most"));
            out.extend_from_slice(name.as_bytes());
        }
        out.extend_from_slice(body);
    }
    out
}

/// Reads what came from a broker. `None`: no server of this version has sent it.
pub(crate) fn decode(bytes: &[u8]) -> Option<(Sender, Content<'_>)> {
    let ([VERSION, kind], rest) = bytes.split_first_chunk()? else {
        return None;
    };
    let (origin, rest) = rest.split_first_chunk()?;
    let (number, rest) = rest.split_first_chunk()?;
    let sender = Sender {
        origin: *origin,
        number: u64::from_be_bytes(*number),
    };
    let content = match *kind {
        MESSAGE => {
            let (space, rest) = name_of(rest)?;
            let (topic, body) = name_of(rest)?;
            Topic::parse(topic).ok()?;
            Content::Message { space, topic, body }
        }
        NOTICE if rest.is_empty() => Content::Notice,
        _ => return None,
    };
    Some((sender, content))
}

fn name_of(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(*length))?;
    Some((std::str::from_utf8(name).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENDER: Sender = Sender {
        origin: *b"0123456789abcdef",
        number: 0x0102,
    };

    #[test]
    fn what_is_sent_is_read() {
        let message = Content::Message {
            space: "s",
            topic: "a/b",
            body: b"\0xy",
        };
        let bytes = encode(SENDER, message);
        let literal = b"\x01\x010123456789abcdef\0\0\0\0\0\0\x01\x02\x01s\x03a/b\0xy";
        assert_eq!(bytes, literal);
        assert_eq!(decode(&bytes), Some((SENDER, message)));
        let notice = encode(SENDER, Content::Notice);
        assert_eq!(decode(&notice), Some((SENDER, Content::Notice)));
    }

    #[test]
    fn what_nobody_has_sent_is_not_read() {
        let message = Content::Message {
            space: "s",
            topic: "a/b",
            body: b"",
        };
        let whole = encode(SENDER, message);
        for cut in 0..whole.len() {
            assert_eq!(decode(&whole[..cut]), None, "{cut}");
        }
        for (at, byte) in [(0, 2), (1, 3), (26, 9), (28, 9), (29, 0xff), (29, b'+')] {
            let mut bad = whole.clone();
            bad[at] = byte;
            assert_eq!(decode(&bad), None, "{at}");
        }
        let mut notice = encode(SENDER, Content::Notice);
        notice.push(0);
        assert_eq!(decode(&notice), None);
    }
}
