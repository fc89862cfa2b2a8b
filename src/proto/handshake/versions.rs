//! The versions of the protocol that a server speaks.

/// The versions that a server serves. Version 8 (drafts hybi-08 to hybi-12) has the frames of RFC 6455, whose version is
/// 13; only the number and the name of the origin's header differ. Version 7 (draft hybi-07) is the same as 8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Versions {
    /// 13.
    #[default]
    Rfc6455,
    /// 8.
    Hybi10,
    /// 13 and 8.
    Both,
    /// 13, 8, 7, and the protocols before those numbers: Hixie-76 and Hixie-75 ([`hixie`](crate::hixie)).
    #[cfg(feature = "legacy")]
    Legacy,
}

impl Versions {
    /// Whether this version is served.
    pub const fn have(self, version: u8) -> bool {
        match self {
            Self::Rfc6455 => version == 13,
            Self::Hybi10 => version == 8,
            Self::Both => matches!(version, 13 | 8),
            #[cfg(feature = "legacy")]
            Self::Legacy => matches!(version, 13 | 8 | 7),
        }
    }

    /// The value of `Connection` in a 426, and the headers behind it that name the versions.
    pub(super) const fn upgrade(self) -> &'static str {
        match self {
            Self::Rfc6455 => "Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13",
            Self::Hybi10 => "Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8",
            Self::Both => "Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13, 8",
            #[cfg(feature = "legacy")]
            Self::Legacy => {
                "Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13, 8, 7"
            }
        }
    }

    /// What a client hears that asks for another version.
    pub(super) const fn other(self) -> &'static str {
        match self {
            Self::Rfc6455 => "this version of the WebSocket protocol is not served; version 13 is",
            Self::Hybi10 => "this version of the WebSocket protocol is not served; version 8 is",
            Self::Both => {
                "this version of the WebSocket protocol is not served; versions 13 and 8 are"
            }
            #[cfg(feature = "legacy")]
            Self::Legacy => {
                "this version of the WebSocket protocol is not served; versions 13, 8 and 7 are"
            }
        }
    }

    /// What a client hears that names none.
    pub(super) const fn missing(self) -> &'static str {
        match self {
            Self::Rfc6455 => "the Sec-WebSocket-Version header is missing; version 13 is served",
            Self::Hybi10 => "the Sec-WebSocket-Version header is missing; version 8 is served",
            Self::Both => {
                "the Sec-WebSocket-Version header is missing; versions 13 and 8 are served"
            }
            #[cfg(feature = "legacy")]
            Self::Legacy => {
                "the Sec-WebSocket-Version header is missing; versions 13, 8 and 7 are served"
            }
        }
    }
}
