//! Reading the head of an opening handshake from a stream.

use std::io;

use bytes::BytesMut;
use ringway_proto::handshake::{Progress, Resume};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Bytes that a read may add.
const STEP_BYTES: usize = 4096;

/// Why there is no head.
#[derive(Debug)]
pub(crate) enum NoHead<E> {
    /// The bytes are none.
    Bad(E),
    /// The stream ended before the head did.
    Ended,
    Io(io::Error),
}

/// Reads until `parse` finds a whole head. `parse` limits how many bytes that may take, and returns what it makes of the
/// head, with the bytes that the head has. Returned is that, and the bytes behind the head.
pub(crate) async fn read<S, T, E>(
    io: &mut S,
    mut parse: impl FnMut(&mut [u8], Resume) -> Result<Progress<T>, E>,
) -> Result<(T, BytesMut), NoHead<E>>
where
    S: AsyncRead + Unpin,
{
    let mut bytes = BytesMut::new();
    let mut from = Resume::default();
    loop {
        bytes.reserve(STEP_BYTES);
        match io.read_buf(&mut bytes).await {
            Ok(0) => return Err(NoHead::Ended),
            Ok(_) => {}
            Err(error) => return Err(NoHead::Io(error)),
        }
        match parse(&mut bytes, from).map_err(NoHead::Bad)? {
            Progress::Incomplete { resume } => from = resume,
            Progress::Complete { head, head_bytes } => {
                // Copied, so that an idle connection does not keep the head's memory.
                return Ok((head, BytesMut::from(&bytes[head_bytes..])));
            }
        }
    }
}
