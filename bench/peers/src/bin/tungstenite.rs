//! tokio-tungstenite, Stream and Sink on tokio's current-thread runtime. Replies are fed as long as messages are at
//! hand and flushed when there are none: what `forward` in its own echo example does, without the lock of `split`.
//!
//! tungstenite clears its whole read buffer before each read. At its default of 128 KiB that makes a 20 B message cost
//! three times what it does at 16 KiB, while a message of 1 MiB costs a quarter less: so the size is an option here.

use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Result;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

async fn echo(stream: TcpStream, read_buffer: usize) -> Result<()> {
    let config = WebSocketConfig::default()
        .read_buffer_size(read_buffer)
        .max_message_size(Some(peers::MESSAGE_OCTETS_MAX))
        .max_frame_size(Some(peers::MESSAGE_OCTETS_MAX));
    let mut websocket = tokio_tungstenite::accept_async_with_config(stream, Some(config)).await?;
    while let Some(first) = websocket.next().await {
        let mut next = Some(first);
        while let Some(message) = next {
            let message = message?;
            if message.is_text() || message.is_binary() {
                websocket.feed(message).await?;
            }
            next = websocket.next().now_or_never().flatten();
        }
        websocket.flush().await?;
    }
    Ok(())
}

async fn serve(peers::Setup { listener, read_buffer }: peers::Setup) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        // A client that resets its connection is how every run ends: not worth a line.
        tokio::spawn(tokio::task::unconstrained(async move { drop(echo(stream, read_buffer).await) }));
    }
}

fn main() -> std::io::Result<()> {
    let setup = peers::set_up();
    tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(serve(setup))
}
