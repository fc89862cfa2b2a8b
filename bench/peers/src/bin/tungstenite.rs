//! tokio-tungstenite, Stream and Sink on tokio's current-thread runtime. Replies are fed while there are received
//! messages, and flushed when there are none: as `forward` in its own echo example, but without the lock of `split`.
//!
//! tungstenite clears its whole read buffer before each read. With its default of 128 KiB a message of 20 B costs three
//! times as much as with 16 KiB, and a message of 1 MiB a quarter less. So the size is an option here.
//!
//! `--workers N`: tokio's multi-thread runtime. `--broadcast`: as in its own chat example, an unbounded channel per
//! connection, and a map of these channels behind a mutex. The payload is shared, not copied.
//!
//! `--tls`: tokio-rustls below the WebSocket, as in the echo server of its own examples, with the configuration of
//! the peers' `tls.rs`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Result};

/// What a WebSocket is on: TCP, or TLS on it.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

async fn open<S: Stream>(stream: S, read_buffer: usize) -> Result<WebSocketStream<S>> {
    let config = WebSocketConfig::default()
        .read_buffer_size(read_buffer)
        .max_message_size(Some(peers::MESSAGE_BYTES_MAX))
        .max_frame_size(Some(peers::MESSAGE_BYTES_MAX));
    tokio_tungstenite::accept_async_with_config(stream, Some(config)).await
}

async fn echo<S: Stream>(mut websocket: WebSocketStream<S>) -> Result<()> {
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

/// The senders of all open connections.
#[derive(Clone, Default)]
struct Audience(Arc<Mutex<HashMap<SocketAddr, UnboundedSender<Message>>>>);

impl Audience {
    fn with<T>(&self, act: impl FnOnce(&mut HashMap<SocketAddr, UnboundedSender<Message>>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn send(&self, message: &Message) {
        self.with(|senders| senders.values().for_each(|sender| drop(sender.send(message.clone()))));
    }
}

/// Sends what this connection receives to all connections, and what others sent to this connection.
async fn relay<S: Stream>(
    mut websocket: WebSocketStream<S>,
    audience: &Audience,
    inbox: &mut UnboundedReceiver<Message>,
) -> Result<()> {
    loop {
        tokio::select! {
            received = websocket.next() => match received {
                Some(message) => {
                    let message = message?;
                    if message.is_text() || message.is_binary() {
                        audience.send(&message);
                    }
                }
                None => return Ok(()),
            },
            Some(message) = inbox.recv() => {
                websocket.feed(message).await?;
                while let Ok(message) = inbox.try_recv() {
                    websocket.feed(message).await?;
                }
                websocket.flush().await?;
            }
        }
    }
}

async fn broadcast<S: Stream>(websocket: WebSocketStream<S>, address: SocketAddr, audience: Audience) {
    let (sender, mut inbox) = unbounded_channel();
    audience.with(|senders| senders.insert(address, sender));
    drop(relay(websocket, &audience, &mut inbox).await);
    audience.with(|senders| senders.remove(&address));
}

async fn talk<S: Stream>(stream: S, address: SocketAddr, read_buffer: usize, audience: Option<Audience>) {
    let Ok(websocket) = open(stream, read_buffer).await else { return };
    match audience {
        Some(audience) => broadcast(websocket, address, audience).await,
        // The driver ends every run by resetting its connections, so errors are not logged.
        None => drop(echo(websocket).await),
    }
}

async fn serve(setup: peers::Setup) -> std::io::Result<()> {
    let acceptor = setup.tls.map(TlsAcceptor::from);
    let listener = tokio::net::TcpListener::from_std(setup.listener)?;
    let audience = setup.broadcast.then(Audience::default);
    loop {
        let (stream, address) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (audience, read_buffer) = (audience.clone(), setup.read_buffer);
        match acceptor.clone() {
            Some(acceptor) => drop(tokio::spawn(tokio::task::unconstrained(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                talk(stream, address, read_buffer, audience).await;
            }))),
            None => drop(tokio::spawn(tokio::task::unconstrained(talk(stream, address, read_buffer, audience)))),
        }
    }
}

fn main() -> std::io::Result<()> {
    let setup = peers::set_up(&["--read-buffer", "--workers", "--broadcast", "--tls"]);
    peers::block_on(setup.workers, serve(setup))
}
