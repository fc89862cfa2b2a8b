//! Without the feature `deflate` nothing is compressed: no endpoint offers or accepts it, so no codec is ever made.

use bytes::Bytes;
use ringway_proto::deflate::{Agreed, Deflate};
use ringway_proto::{Role, Violation};

/// There is none.
#[derive(Debug)]
pub(crate) enum Codec {}

impl Codec {
    pub(crate) fn new(_: Role, _: &Deflate, _: Agreed) -> Self {
        unreachable!("no terms were agreed on: none are offered or accepted")
    }

    pub(crate) fn compress(&mut self, _: &[u8]) -> Option<Bytes> {
        match *self {}
    }

    pub(crate) fn inflate(&mut self, _: &[u8], _: bool, _: u64) -> Result<Bytes, Violation> {
        match *self {}
    }
}
