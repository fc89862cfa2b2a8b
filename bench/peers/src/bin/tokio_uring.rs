//! An echo on tokio-uring 0.5: one buffer per connection, all complete frames of a read echoed in place and sent with
//! one write. tokio-uring has no multishot receive and no buffer rings, so an idle connection holds its buffer.

use std::io;

use peers::{MESSAGE_BYTES_MAX, frames};
use tokio_uring::buf::BoundedBuf;
use tokio_uring::net::{TcpListener, TcpStream};

/// Bytes of a buffer: room for 16 messages of 1 KiB. A larger frame makes it grow as its bytes arrive.
const BUFFER_BYTES: usize = 64 << 10;
const RING_ENTRIES: u32 = 4096;

async fn serve_connection(stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer: Vec<u8> = Vec::with_capacity(BUFFER_BYTES);
    loop {
        buffer = read(&stream, buffer).await?;
        match frames::handshake(&buffer) {
            Ok(None) => {}
            Ok(Some((response, len))) => {
                stream.write_all(response).await.0?;
                buffer.drain(..len);
                break;
            }
            Err(_) => return Ok(()),
        }
    }
    loop {
        let echoed = frames::echo(&mut buffer);
        if !echoed.replies.is_empty() {
            let (result, slice) = stream.write_all(buffer.slice(echoed.replies)).await;
            result?;
            buffer = slice.into_inner();
        }
        if echoed.closing.is_some() {
            return Ok(());
        }
        if echoed.consumed == buffer.len() {
            buffer.clear();
        } else if echoed.consumed > 0 {
            buffer.drain(..echoed.consumed);
        }
        if buffer.len() == buffer.capacity() {
            // Grows with the received bytes and not with the announced length: doubles, up to the frame's size.
            let target = echoed.frame_bytes.min(2 * buffer.capacity()).min(MESSAGE_BYTES_MAX + 14);
            buffer.reserve_exact(target.saturating_sub(buffer.len()).max(1));
        }
        buffer = read(&stream, buffer).await?;
    }
}

/// Appends one read to `buffer`.
async fn read(stream: &TcpStream, buffer: Vec<u8>) -> io::Result<Vec<u8>> {
    let filled = buffer.len();
    let (result, slice) = stream.read(buffer.slice(filled..)).await;
    match result? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(slice.into_inner()),
    }
}

async fn serve(listener: std::net::TcpListener) -> io::Result<()> {
    let listener = TcpListener::from_std(listener);
    loop {
        let (stream, _) = listener.accept().await?;
        // The driver ends every run by resetting its connections, so errors are not logged.
        tokio_uring::spawn(async move { drop(serve_connection(stream).await) });
    }
}

fn main() -> io::Result<()> {
    let listener = peers::listen();
    // The listener must block: with a non-blocking file the kernel answers EAGAIN instead of waiting.
    listener.set_nonblocking(false)?;
    let mut ring = tokio_uring::uring_builder();
    ring.setup_coop_taskrun();
    tokio_uring::builder().entries(RING_ENTRIES).uring_builder(&ring).start(serve(listener))
}
