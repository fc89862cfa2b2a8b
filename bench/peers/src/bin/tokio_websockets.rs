//! tokio-websockets as in its own echo example: frames of any size, tokio without budget (`unconstrained`). Replies are fed
//! as long as messages are at hand and flushed when there are none, where the example flushes each; its default of 8 KiB
//! makes it flush in between. `--workers N`: tokio's multi-thread runtime.

use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_websockets::{Config, Error, Limits, ServerBuilder};

async fn echo(stream: TcpStream) -> Result<(), Error> {
    let (_, mut websocket) = ServerBuilder::new()
        .config(Config::default().frame_size(usize::MAX))
        .limits(Limits::default().max_payload_len(Some(peers::MESSAGE_OCTETS_MAX)))
        .accept(stream)
        .await?;
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

async fn serve(listener: std::net::TcpListener) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        // A client that resets its connection is how every run ends: not worth a line.
        tokio::spawn(tokio::task::unconstrained(async move { drop(echo(stream).await) }));
    }
}

fn main() -> std::io::Result<()> {
    let setup = peers::set_up(&["--workers"]);
    peers::block_on(setup.workers, serve(setup.listener))
}
