//! What a peer did wrong, and the close code for it.

use std::fmt;

use super::close::CloseCode;

/// The peer broke the protocol or exceeded a limit. The remedy is always to *fail the connection* (RFC 6455 §7.1.7) with
/// [`Self::close_code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// A compressed message that is no whole stream of bzip2, or one of a higher level than was agreed (RFC 7692 §6.2).
    Bzip2Invalid,
    /// Close payload of one byte (§5.5.1).
    ClosePayloadOneByte,
    /// Close code that may not be sent (§7.4).
    CloseCodeInvalid(u16),
    /// Close reason that is not UTF-8 (§5.5.1).
    CloseReasonNotUtf8,
    /// Continuation frame with no message to continue (§5.4).
    ContinuationWithoutMessage,
    /// Control frame payload above 125 bytes (§5.5).
    ControlTooLong,
    /// A compressed message that is not in deflate's format (RFC 7692 §7.2.2).
    DeflateInvalid,
    /// Control frame without FIN (§5.5).
    FragmentedControl,
    /// Frame above `frame_bytes_max`.
    FrameTooBig(u64),
    /// 64-bit length with its top bit set (§5.2).
    LengthTopBit,
    /// A server's frame that is masked (§5.1).
    MaskedServerFrame,
    /// Text or Binary frame inside a fragmented message (§5.4).
    MessageInsideMessage,
    /// Message above `message_bytes_max`.
    MessageTooBig(u64),
    /// Length encoded in more bytes than needed (§5.2).
    NonMinimalLength,
    /// RSV bits that no extension defines (§5.2).
    ReservedBits(u8),
    /// Opcode that is not defined (§5.2).
    ReservedOpcode(u8),
    /// A compressed message that is not in snappy's framing format, or has a wrong checksum (RFC 7692 §6.2).
    SnappyInvalid,
    /// Text message that is not UTF-8 (§8.1).
    TextNotUtf8,
    /// A frame that is neither text nor the end, in Hixie-76 (its §5.3).
    UnknownFrameType(u8),
    /// A client's frame that is not masked (§5.1).
    UnmaskedClientFrame,
}

impl Violation {
    /// The status code of the Close frame that reports it to the peer.
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::Bzip2Invalid
            | Self::CloseReasonNotUtf8
            | Self::DeflateInvalid
            | Self::SnappyInvalid
            | Self::TextNotUtf8 => CloseCode::InvalidFramePayloadData,
            Self::FrameTooBig(_) | Self::MessageTooBig(_) => CloseCode::MessageTooBig,
            _ => CloseCode::ProtocolError,
        }
    }

    /// The clause that was broken: of RFC 6455 where no other is named.
    pub const fn section(self) -> &'static str {
        match self {
            Self::ClosePayloadOneByte | Self::CloseReasonNotUtf8 => "5.5.1",
            Self::CloseCodeInvalid(_) => "7.4",
            Self::ContinuationWithoutMessage | Self::MessageInsideMessage => "5.4",
            Self::ControlTooLong | Self::FragmentedControl => "5.5",
            Self::Bzip2Invalid | Self::SnappyInvalid => "RFC 7692 6.2",
            Self::DeflateInvalid => "RFC 7692 7.2.2",
            Self::FrameTooBig(_) | Self::MessageTooBig(_) => "10.4",
            Self::MaskedServerFrame | Self::UnmaskedClientFrame => "5.1",
            Self::TextNotUtf8 => "8.1",
            Self::UnknownFrameType(_) => "Hixie-76 5.3",
            Self::LengthTopBit
            | Self::NonMinimalLength
            | Self::ReservedBits(_)
            | Self::ReservedOpcode(_) => "5.2",
        }
    }
}

impl fmt::Display for Violation {
    /// Short enough for the reason of a Close frame.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bzip2Invalid => f.write_str("compressed message is not valid bzip2"),
            Self::ClosePayloadOneByte => f.write_str("close payload of one byte"),
            Self::CloseCodeInvalid(code) => write!(f, "invalid close code {code}"),
            Self::CloseReasonNotUtf8 => f.write_str("close reason is not UTF-8"),
            Self::ContinuationWithoutMessage => f.write_str("continuation frame without a message"),
            Self::ControlTooLong => f.write_str("control frame longer than 125 bytes"),
            Self::DeflateInvalid => f.write_str("compressed message is not valid deflate"),
            Self::FragmentedControl => f.write_str("fragmented control frame"),
            Self::FrameTooBig(bytes) => write!(f, "frame of {bytes} bytes is over the limit"),
            Self::LengthTopBit => f.write_str("frame length with its top bit set"),
            Self::MaskedServerFrame => f.write_str("masked frame from a server"),
            Self::MessageInsideMessage => f.write_str("new message inside a fragmented message"),
            Self::MessageTooBig(bytes) => {
                write!(f, "message of {bytes} bytes is over the limit")
            }
            Self::NonMinimalLength => f.write_str("frame length not in its shortest form"),
            Self::ReservedBits(bits) => write!(f, "reserved bits {bits:#04x} set"),
            Self::ReservedOpcode(opcode) => write!(f, "reserved opcode {opcode:#x}"),
            Self::SnappyInvalid => f.write_str("compressed message is not valid snappy"),
            Self::TextNotUtf8 => f.write_str("text is not UTF-8"),
            Self::UnknownFrameType(kind) => write!(f, "frame of unknown type {kind:#04x}"),
            Self::UnmaskedClientFrame => f.write_str("unmasked frame from a client"),
        }
    }
}

impl std::error::Error for Violation {}
