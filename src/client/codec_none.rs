//! Without the feature `deflate` nothing is compressed: no endpoint offers or accepts it, so no connection has a codec.

use bytes::Bytes;
use ringway_proto::deflate::{Agreed, Deflate};
use ringway_proto::{Role, Violation};

/// One that compresses nothing, and inflates nothing.
#[derive(Debug)]
pub(crate) struct Codec(());

impl Codec {
    pub(crate) const fn new(_: Role, _: &Deflate, _: Agreed) -> Self {
        Self(())
    }

    pub(crate) const fn compress(&self, _: &[u8]) -> Option<Bytes> {
        None
    }

    pub(crate) const fn inflate(&self, _: &[u8], _: u64) -> Result<Bytes, Violation> {
        Err(Violation::DeflateInvalid)
    }
}
