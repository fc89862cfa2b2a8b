//! Asynchronous handlers: services whose callbacks are futures, on an executor within the worker.
//!
//! Owns: tasks, their timers, and what waits between them and the worker. Never: runs on another thread, or costs a synchronous
//! application anything: [`Async`] is an [`App`](crate::App) like any other, and the worker knows nothing of it.
//!
//! ```text
//!  message ──▶ waiting ──▶ handler, polled at once ──▶ out ──▶ Context::send, in the same callback
//!                            │ waits for time, another thread, room in the send queue, another connection
//!                            ▼
//!                          turn: polls what was woken ──▶ out ──▶ Context::send
//! ```
//!
//! A whole echo:
//!
//! ```no_run
//! use ringway::tasks::{Async, Connection, OwnedMessage};
//!
//! # fn main() -> std::process::ExitCode {
//! let echo = |connection: Connection, message: OwnedMessage| async move {
//!     let _ = connection.send(message).await; // fails only when the connection is closed
//! };
//! ringway::Server::new("ws://127.0.0.1:9000").run(|_worker| Async::new(echo))
//! # }
//! ```
//!
//! `docs/async.md` is the guide: order, limits, what is cancelled when.
#![forbid(unsafe_code)]

/// The programs of the guide.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/async.md")]
struct Guide;

mod app;
mod bridge;
mod connection;
mod executor;
mod message;
mod opening;
mod reply;
mod timers;

use std::future::Future;

pub use app::{Async, AsyncApp, Seat};
pub use bridge::{Bridge, Spawned};
pub use connection::Connection;
pub use message::OwnedMessage;
pub use opening::OwnedOpening;
pub use timers::{Elapsed, Sleep, sleep, timeout};

use crate::protocol::Handle;

/// Runs a task that belongs to the worker: connections may end meanwhile. It is dropped when the worker ends, which is when its last
/// connection has ended. The service is to bound how many it runs.
///
/// # Panics
/// When it is not called from an asynchronous handler.
pub fn spawn(task: impl Future<Output = ()> + 'static) {
    executor::current().spawn(None, task).schedule();
}

/// Does something with the worker: publishes to a topic, prepares a message, begins a connection. `call` runs in this turn or the
/// next one, as in [`App::turn`](crate::App::turn), and must not wait.
///
/// # Panics
/// When it is not awaited in an asynchronous handler.
pub async fn with_worker<R: 'static>(call: impl FnOnce(&mut Handle<'_>) -> R + 'static) -> R {
    let (reply, answer) = reply::channel();
    executor::current().ask(Box::new(move |worker| reply.send(call(worker))));
    let answer = answer.await;
    answer.expect("the executor drops a call only together with its tasks")
}
