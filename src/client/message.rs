//! Messages: checked text and bytes, both cheap to clone.
//!
//! Owns: the types of what is sent and received. Never: knows frames or a connection.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;
use bytestring::ByteString;
use ringway_proto::CloseCode;

/// One message, or a Ping or Pong. A clone shares the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// UTF-8 text.
    Text(Text),
    /// Arbitrary bytes.
    Binary(Bytes),
    /// A Ping of up to 125 bytes. A received one is answered by the library, and is shown only with
    /// [`Options::show_control`](crate::Options::show_control).
    Ping(Bytes),
    /// A Pong of up to 125 bytes. A received one is shown only with
    /// [`Options::show_control`](crate::Options::show_control).
    Pong(Bytes),
}

impl Message {
    /// A text message.
    pub fn text(text: impl Into<Text>) -> Self {
        Self::Text(text.into())
    }

    /// A binary message.
    pub fn binary(bytes: impl Into<Bytes>) -> Self {
        Self::Binary(bytes.into())
    }

    /// The text of a text message.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The payload, whatever kind it is of.
    pub fn payload(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) | Self::Ping(bytes) | Self::Pong(bytes) => bytes,
        }
    }

    /// The payload, whatever kind it is of, without a copy.
    pub fn into_payload(self) -> Bytes {
        match self {
            Self::Text(text) => text.into_bytes(),
            Self::Binary(bytes) | Self::Ping(bytes) | Self::Pong(bytes) => bytes,
        }
    }

    /// Bytes of payload.
    pub fn len(&self) -> usize {
        self.payload().len()
    }

    /// Whether there is no payload.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<Text> for Message {
    fn from(text: Text) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

impl From<Bytes> for Message {
    fn from(bytes: Bytes) -> Self {
        Self::Binary(bytes)
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Self {
        Self::binary(bytes)
    }
}

impl From<&[u8]> for Message {
    fn from(bytes: &[u8]) -> Self {
        Self::Binary(Bytes::copy_from_slice(bytes))
    }
}

/// UTF-8 text in shared memory: [`Bytes`] that are known to be UTF-8. It derefs to [`str`].
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Text(ByteString);

impl Text {
    /// Text that the program contains, without a copy.
    pub const fn from_static(text: &'static str) -> Self {
        Self(ByteString::from_static(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The bytes, without a copy.
    pub fn into_bytes(self) -> Bytes {
        self.0.into_bytes()
    }
}

/// Bytes that are not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotUtf8;

impl fmt::Display for NotUtf8 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bytes are not UTF-8")
    }
}

impl std::error::Error for NotUtf8 {}

impl TryFrom<Bytes> for Text {
    type Error = NotUtf8;

    /// Checks the bytes, without a copy.
    fn try_from(bytes: Bytes) -> Result<Self, NotUtf8> {
        ByteString::try_from(bytes).map(Self).map_err(|_| NotUtf8)
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

/// A piece of a message ([`WebSocket::recv_chunk`](crate::WebSocket::recv_chunk)), in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The message is text. A piece of it may end inside a code point; the whole is UTF-8, or the connection fails.
    pub is_text: bool,
    /// Payload, unmasked and inflated.
    pub payload: Bytes,
    /// This is the first piece of its message.
    pub message_begins: bool,
    /// This is the last piece of its frame.
    pub frame_ends: bool,
    /// This is the last piece of its message.
    pub message_ends: bool,
}

/// What a Close frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseFrame {
    /// The status code. [`CloseCode::NoStatusRcvd`] if the frame had none.
    pub code: CloseCode,
    /// The reason, often empty.
    pub reason: Text,
}

impl fmt::Display for CloseFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        match self.reason.is_empty() {
            true => Ok(()),
            false => write!(f, " ({})", self.reason),
        }
    }
}
