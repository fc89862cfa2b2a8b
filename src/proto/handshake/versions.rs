//! The versions of the protocol that a server speaks.

/// The versions that a server serves. Version 8 (drafts hybi-08 to hybi-12) has the frames of RFC 6455, whose version is
/// 13; only the number and the name of the origin's header differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Versions {
    /// 13.
    #[default]
    Rfc6455,
    /// 8.
    Hybi10,
    /// 13 and 8.
    Both,
}

impl Versions {
    /// Whether this version is served.
    pub const fn have(self, version: u8) -> bool {
        matches!(
            (self, version),
            (Self::Rfc6455 | Self::Both, 13) | (Self::Hybi10 | Self::Both, 8)
        )
    }
}
