//! tokio-websockets as in its own echo example: frames of any size, tokio without budget (`unconstrained`). The example
//! flushes after each reply, and asking for the next message flushes too. Here all received messages are taken first, and
//! then answered with one flush. `--workers N`: tokio's multi-thread runtime.

use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_websockets::{Config, Error, Limits, ServerBuilder};

/// Bytes of replies that cause a flush. The default of 8 KiB would split a batch of 16 messages of 1 KiB.
const FLUSH_BYTES: usize = 64 << 10;
/// Most messages that are taken before they are answered: more than any run has in flight on a connection.
const BATCH_MESSAGES: usize = 64;

async fn echo(stream: TcpStream) -> Result<(), Error> {
    let (_, mut websocket) = ServerBuilder::new()
        .config(Config::default().frame_size(usize::MAX).flush_threshold(FLUSH_BYTES))
        .limits(Limits::default().max_payload_len(Some(peers::MESSAGE_BYTES_MAX)))
        .accept(stream)
        .await?;
    let mut batch = Vec::with_capacity(BATCH_MESSAGES);
    while let Some(first) = websocket.next().await {
        batch.push(first?);
        while batch.len() < BATCH_MESSAGES
            && let Some(Some(message)) = websocket.next().now_or_never()
        {
            batch.push(message?);
        }
        for message in batch.drain(..) {
            if message.is_text() || message.is_binary() {
                websocket.feed(message).await?;
            }
        }
        websocket.flush().await?;
    }
    Ok(())
}

async fn serve(listener: std::net::TcpListener) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        // The driver ends every run by resetting its connections, so errors are not logged.
        tokio::spawn(tokio::task::unconstrained(async move { drop(echo(stream).await) }));
    }
}

fn main() -> std::io::Result<()> {
    let setup = peers::set_up(&["--workers"]);
    peers::block_on(setup.workers, serve(setup.listener))
}
