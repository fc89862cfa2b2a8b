//! Status codes of the closing handshake (RFC 6455 §7.4).

use std::fmt;

/// A status code that may stand in a Close frame. Codes without a name here stay representable.
///
/// 1005, 1006 and 1015 only ever describe a connection, they are never sent (RFC 6455 §7.4.1): [`Self::sendable`]
/// refuses them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CloseCode(u16);

#[expect(
    non_upper_case_globals,
    reason = "the names of the IANA registry, used like enum variants"
)]
impl CloseCode {
    /// 1000: the purpose of the connection is fulfilled.
    pub const NormalClosure: Self = Self(1000);
    /// 1001: the endpoint goes away (server shutdown, page left).
    pub const GoingAway: Self = Self(1001);
    /// 1002: the peer broke the protocol.
    pub const ProtocolError: Self = Self(1002);
    /// 1003: a kind of data that cannot be accepted.
    pub const UnsupportedData: Self = Self(1003);
    /// 1005: no code was in the Close frame. Never sent.
    pub const NoStatusRcvd: Self = Self(1005);
    /// 1006: the connection ended without a Close frame. Never sent.
    pub const AbnormalClosure: Self = Self(1006);
    /// 1007: text that is not UTF-8, or data that contradicts its type.
    pub const InvalidFramePayloadData: Self = Self(1007);
    /// 1008: a message against the endpoint's policy.
    pub const PolicyViolation: Self = Self(1008);
    /// 1009: a message too big to process.
    pub const MessageTooBig: Self = Self(1009);
    /// 1010: the client needs an extension that the server did not agree to.
    pub const MandatoryExt: Self = Self(1010);
    /// 1011: the server met a condition it did not expect.
    pub const InternalError: Self = Self(1011);
    /// 1012: the service restarts.
    pub const ServiceRestart: Self = Self(1012);
    /// 1013: try again later.
    pub const TryAgainLater: Self = Self(1013);
    /// 1014: a gateway got no good answer from behind it.
    pub const BadGateway: Self = Self(1014);
    /// 1015: the TLS handshake failed. Never sent.
    pub const TlsHandshake: Self = Self(1015);

    /// The code of this number, when an endpoint may send it.
    ///
    /// RFC 6455 §7.4.2 leaves 0–999 unused and 1016–2999 to later revisions; 3000–3999 are registered, 4000–4999
    /// private.
    pub const fn sendable(number: u16) -> Option<Self> {
        match number {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(Self(number)),
            _ => None,
        }
    }

    /// The number on the wire.
    pub const fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CloseCode({})", self.0)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
