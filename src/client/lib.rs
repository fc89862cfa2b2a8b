//! WebSockets for tokio: a client, and the server's role for any stream that was upgraded.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use ringway_client::{CloseCode, connect};
//!
//! let mut websocket = connect("wss://echo.example/").await?;
//! websocket.send("Hello!").await?;
//! while let Some(message) = websocket.recv().await? {
//!     println!("{message:?}");
//!     websocket.start_close(CloseCode::NormalClosure, "")?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | to | use |
//! |---|---|
//! | connect to a URL | [`connect`], or [`Connector`] with headers, subprotocols, a proxy, TLS, compression, limits |
//! | receive, send, close | [`WebSocket`], which is also a `Stream` and a `Sink` |
//! | send from many tasks | [`WebSocket::spawn`]: a [`Sender`] to clone, and a [`Receiver`] |
//! | stay connected | [`Reconnecting`] |
//! | accept clients | [`accept`] on any stream, [`Incoming`] to look at the request first, [`upgrade`] under axum or hyper |
//!
//! The guide is `docs/client.md`. The protocol itself is in `ringway-proto`, which does no I/O; here is what joins it with
//! tokio's streams.
//!
//! Features: `tls` (on; `wss://` with rustls), `deflate` (on; compression), `http` (off; [`upgrade`]), `tokio-uring` (off;
//! [`UringStream`], on Linux).
#![forbid(unsafe_code)]
#![cfg_attr(
    not(all(feature = "http", feature = "tokio-uring")),
    allow(rustdoc::broken_intra_doc_links, reason = "both are features")
)]

mod accept;
mod block;
mod clock;
#[cfg(feature = "deflate")]
mod codec;
#[cfg(not(feature = "deflate"))]
#[path = "codec_none.rs"]
mod codec;
mod connect;
mod connect_error;
mod dial;
mod error;
mod head;
mod incoming;
mod message;
mod options;
mod outbox;
mod random;
mod reconnect;
mod response;
mod split;
mod stream;
mod tls;
#[cfg(feature = "http")]
mod upgrade;
#[cfg(all(feature = "tokio-uring", target_os = "linux"))]
mod uring;
mod url;
mod websocket;

#[cfg(test)]
mod tests;

/// The tests contain examples, which name the crate so.
#[cfg(test)]
extern crate self as ringway_client;

/// The examples of the guide compile, and those that need no server run.
#[cfg(doctest)]
#[doc = include_str!("../../docs/client.md")]
mod guide {}

pub use accept::{AcceptError, Incoming, accept};
pub use bytes;
pub use connect::{Connector, Step, connect};
pub use connect_error::{ConnectError, Refused};
pub use error::Error;
pub use message::{Chunk, CloseFrame, Message, NotUtf8, Text};
pub use options::Options;
pub use reconnect::{Backoff, Happening, Reconnecting};
pub use response::Response;
pub use ringway_proto::deflate::{Deflate, Direction};
pub use ringway_proto::handshake::Request;
pub use ringway_proto::{CloseCode, Misuse, Role, Violation};
pub use split::{Ended, Receiver, Sender, Unsent};
pub use stream::Stream;
#[cfg(feature = "tls")]
pub use tokio_rustls::rustls;
#[cfg(all(feature = "tokio-uring", target_os = "linux"))]
pub use tokio_uring;
#[cfg(feature = "http")]
pub use upgrade::{Upgrade, accept_key, upgrade};
#[cfg(all(feature = "tokio-uring", target_os = "linux"))]
pub use uring::UringStream;
pub use url::BadUrl;
pub use websocket::{Traffic, WebSocket};
