//! Ringway: a library for WebSocket servers on Linux that use every core. Each worker, a process or a thread, runs one event
//! loop on io_uring, or on epoll where io_uring is forbidden.
//!
//! # A first server
//!
//! An application implements [`App`]. [`Server`] runs it, here on two worker processes:
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use ringway::{App, Context, Message, Server};
//!
//! struct Echo;
//!
//! impl App for Echo {
//!     type Session = ();
//!
//!     fn message(&mut self, context: &mut Context<'_>, (): &mut (), message: Message<'_>) {
//!         // Fails only after this side has sent a Close.
//!         let _ = context.reply(message);
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     Server::new("ws://127.0.0.1:9000").workers(2).run(|_worker| Echo)
//! }
//! ```
//!
//! There is one `Echo` in each worker, made by the closure. [`App::Session`] is a value per connection, for example a name;
//! the worker makes it by `Default` and passes it to every callback of that connection.
//!
//! The [guide] goes from here to a running chat, and then subject by subject.
//!
//! # The life of a connection
//!
//! ```text
//!  the client's request ──▶ connect ── accept ──▶ open ──▶ message · ping · pong · writable … ──▶ close
//!                              │
//!                              ├── refuse: the client gets an HTTP status, and no further callback follows
//!                              └── later ── Commands::decide ──▶ open,  or failed
//!
//!  Handle::connect ──▶ connected ──▶ open ──▶ the same as above        or failed, if it does not open
//!
//!  each turn of the event loop ──▶ turn, after all other callbacks
//! ```
//!
//! All callbacks of a worker run on one thread, one after another. A callback that waits stops every connection of its worker.
//! [`App::connect`] returns a [`Verdict`]; its default accepts every client. [`App::close`] is called once for each
//! [`App::open`]. A request for something else than a WebSocket, such as a page or a health check, reaches [`App::request`].
//!
//! # Sending, and back-pressure
//!
//! | call | to | copies of the payload |
//! |---|---|---|
//! | [`Context::reply`] | the sender of the message, changed or not | none |
//! | [`Context::send`], [`Context::send_uncompressed`] | this connection | one |
//! | [`Context::send_part`] | this connection: a part of a message | one |
//! | [`Context::send_prepared`] | this connection; the message is encoded once for many ([`Context::prepare`]) | none |
//! | [`Commands::send`], [`Commands::send_prepared`] | any connection of the worker, at the end of the turn | one, none |
//!
//! Everything that a turn sends leaves at its end, with one send per connection. What the socket does not take is copied to the
//! connection's send queue. Above the queue's limit [`Context::send`] fails with [`SendError::QueueFull`], [`Commands::send`]
//! drops the message and counts it in [`Counters::drops`], and the worker stops reading from that peer. [`App::writable`] is
//! called when the queue is empty again. An application that cannot keep up itself stops reading with [`Commands::pause`].
//!
//! # Messages larger than memory
//!
//! By default the worker assembles a message and hands it over whole. A connection may take its messages in pieces instead, and send them in parts:
//!
//! | chosen by | what the application gets | memory of a connection |
//! |---|---|---|
//! | (default) | messages: [`App::message`] | a message, up to its limit |
//! | [`Receiving::Frames`] | frames: [`App::chunk`] | a frame, up to its limit |
//! | [`Receiving::Chunks`] | what a receive brought, up to 512 KiB: [`App::chunk`] | none |
//!
//! [`App::connect`] chooses, by [`Verdict::receiving`]; for connections that the application begins, [`OpeningRequest::receiving`] does. The limits of
//! messages and frames hold at every level; raise them for such a service ([`Limits`]). [`Context::send_part`] sends a message that is
//! made while it leaves; [`SendError::QueueFull`] and [`App::writable`] tell when to make more. An application that cannot keep up with
//! what arrives calls [`Commands::pause`]. Parts are not compressed. What arrives compressed (by permessage-deflate, and nothing else) is inflated as it
//! comes, in pieces of up to 64 KiB, each of which counts as a frame.
//!
//! [`Verdict::measured`] counts what goes over one connection: [`TrafficStats`], in [`Context::traffic_stats`] and [`Closed::traffic`].
//!
//! # Handlers that wait
//!
//! A callback must not wait, but an `async` function may: [`Async`] makes an application of a service whose handlers are futures
//! ([`tasks`], and the guide `docs/async.md`).
//!
//! # Topics
//!
//! [`Server::bus`] connects the workers. Then a connection can subscribe to a topic ([`Context::subscribe`]), and a message that is published
//! to it ([`Context::publish`]) is encoded once and reaches all subscribers on all workers. What a subscriber misses because it does not keep up
//! is counted, and told to [`App::missed`].
//!
//! # Streams
//!
//! [`Context::join`] joins a WebSocket with a TCP or Unix socket: its messages are then the bytes of a stream, which the worker carries both
//! ways without callbacks. [`Gateway`] is the application that does nothing else.
//!
//! # Limits
//!
//! Everything that a peer can make a worker hold is limited. The most important limits, which [`Limits`] sets per server or per
//! service; [`options::ServerOptions`] has all of them:
//!
//! | limit | default | beyond it |
//! |---|---|---|
//! | payload of a message, and of a frame | 16 MiB | the connection is closed with 1009 |
//! | send queue of a connection | 1 MiB | no message is accepted for it, and its peer is not read |
//! | time without taking anything of a queue that waits | 60 s | the connection is reset |
//! | time without receiving anything | none | the connection is closed with 1001 |
//! | opening handshake: time, bytes, header fields | 5 s, 32 KiB, 128 | 408, 431 |
//! | closing handshake: time | 10 s | the connection is reset |
//! | connections of the server | descriptors | 503 |
//!
//! # Processes or threads
//!
//! [`Server::run`] makes this process a supervisor, and starts this program again for each worker. When a worker dies, only its
//! own connections are lost, and the supervisor replaces it. [`Server::run_threads`] runs the same application on threads of this
//! process. [`Server::start`] does that in the background, for tests and for a server inside another program:
//!
//! ```
//! # struct Echo;
//! # impl ringway::App for Echo {
//! #     type Session = ();
//! #     fn message(&mut self, context: &mut ringway::Context<'_>, (): &mut (), message: ringway::Message<'_>) {
//! #         let _ = context.reply(message);
//! #     }
//! # }
//! let running = ringway::Server::new("ws://127.0.0.1:0").workers(2).start(|_worker| Echo)?;
//! println!("listening on {}", running.url());
//! running.shutdown().expect("no worker has failed");
//! # Ok::<(), ringway::Fatal>(())
//! ```
//!
//! # Several services on one port
//!
//! A service is an application under a path, with limits of its own if it needs them. Other paths are answered with 404:
//!
//! ```no_run
//! use ringway::{Echo, Server};
//!
//! fn main() -> std::process::ExitCode {
//!     Server::new("ws://127.0.0.1:9000")
//!         .service("/echo", |_worker| Echo::default())
//!         .service("/again/{name}", |_worker| Echo::default())
//!         .run()
//! }
//! ```
//!
//! # Map
//!
//! ```text
//!              supervisor  (no client byte ever passes through it)
//!              │  binds the listener once, starts workers that inherit it, reads one statistics pipe per worker
//!   ┌──────────┼───────────────┐
//!  worker 0  worker 1   …   worker N-1     one process = one thread = one ring = one pinned core
//!   └─ accept ─ receive ─ parse ─ application ─ send
//!
//!  socket ─▶ io ─▶ worker ─▶ proto::Receiver ─▶ App ─▶ Context ─▶ proto::Sender ─▶ conn ─▶ io ─▶ socket
//!            bytes  turn       frames, in place   your code        headers, in place  one send
//! ```
//!
//! For applications:
//! - [`server`]: [`Server`], on processes or threads. [`options`]: everything it can be told.
//! - [`tasks`]: applications whose callbacks are futures.
//! - [`services`]: [`Echo`], [`Broadcast`], and the routing of services by path.
//! - [`proto`]: RFC 6455 without I/O, a crate for itself: messages, close codes, HTTP heads, both roles.
//! - [`time`]: the monotonic instant that callbacks get.
//!
//! Inside, in the source and not in this documentation:
//! - `io`: the trait `Io` and its implementations on io_uring, epoll and a simulation; the data path's only `unsafe`.
//! - `conn`: what a connection is bound to: descriptor, armed operations, send queue, TLS, flow control, deadline, ending.
//! - [`tls`]: certificates, keys and versions of a server's TLS.
//! - `bus`: what workers tell each other through shared memory: a worker's seat on it.
//! - `protocol`: what a connection speaks: opening handshake, WebSocket, or nothing (a stream); topics; the `App` interface.
//! - `worker`: the event loop: its turn, accepting, timeouts, and the one place where connections end.
//! - `stats`: counters, turn-time histograms, the record that crosses the pipe.
//! - `supervise`: binds, starts and replaces workers, the bridge and the web process, prints, serves the pages and the HTTP API. `seat`: what makes a process a worker.
//! - `server::process`: the worker process: pins itself, takes over what it inherited, chooses the I/O tier, runs the loop.
//! - `server::bridge`: the process between the bus and a broker. `server::web`: the one that answers requests for something else than a WebSocket.
//! - `control`: orders from the supervisor to a worker process, and its answers.
//! - `lines`: writes to stdout and stderr without waiting for a slow reader. `signals`: the meaning of each signal.
//! - `exit`: exit codes, and errors that end a process. `random`: seeded random numbers.
//!
//! Dependencies point one way; `tests/it/tidy.rs` holds the table of which module may name which.

// The ring's structures, file offsets and lengths are used as `usize` throughout.
const _: () = assert!(usize::BITS == 64, "Ringway is for 64-bit Linux");

#[doc(hidden)]
pub mod bus;
mod conn;
#[doc(hidden)]
pub mod control;
#[doc(hidden)]
pub mod exit;
#[cfg(any(doc, doctest))]
pub mod guide;
#[doc(hidden)]
pub mod io;
#[doc(hidden)]
pub mod lines;
pub mod options;
mod protocol;
#[doc(hidden)]
pub mod random;
#[doc(hidden)]
pub mod seat;
pub mod server;
pub mod services;
#[doc(hidden)]
pub mod signals;
#[doc(hidden)]
pub mod stats;
#[doc(hidden)]
pub mod supervise;
pub mod tasks;
pub mod time;
pub mod tls;
#[doc(hidden)]
pub mod worker;

pub use ringway_proto as proto;

pub use bus::BusOptions;
pub use exit::{Exit, Fatal};
pub use io::sys::Traffic;
pub use io::{Address, ConnId, ConnectOptions, in_turn};
pub use options::{
    Backlog, BackplaneOptions, IoChoice, Limits, OpeningOptions, ServerOptions, SocketOptions,
    WebOptions,
};
pub use proto::{Chunk, CloseCode, Kind, Message, Misuse, Role, Violation};
pub use protocol::{
    App, Audience, Bzip2, Carriage, Carried, Closed, Commands, Context, Deflate, Failure, Flow,
    Handed, Handle, News, Onward, Opening, OpeningRequest, Prepared, PublishError, Receiving,
    Relay, Scope, SendError, Snappy, SubscribeError, Target, TooMuch, TrafficStats, Tunnel, Uplink,
    Verdict, Waker, Way,
};
pub use server::{Place, Running, Server, ServerOfServices};
pub use services::{Broadcast, Echo, Gateway, Services};
pub use stats::Counters;
pub use tasks::{Async, AsyncApp, Connection, OwnedMessage, OwnedOpening};
pub use tls::{Cipher, KeyPassword, TlsMode, TlsOptions, TlsVersion};
