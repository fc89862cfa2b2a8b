//! A server: where it listens, what it allows, and whether its workers are processes or threads.
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
//!         let _ = context.reply(message); // fails only after a Close was sent
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     Server::new("ws://127.0.0.1:9000").workers(2).run(|_worker| Echo)
//! }
//! ```
//!
//! *Processes* ([`Server::run`]): this process becomes the supervisor. It binds the listener and starts one process per
//! worker. A worker process is this program again, with the same command line and with its place in the environment
//! variable [`SEAT_VARIABLE`]. So the program calls `run` once more, and there it becomes a worker. If a worker dies,
//! only its own connections are lost, and the supervisor replaces it. Each of these processes runs the code of `main`
//! before `run`.
//!
//! *Threads* ([`Server::run_threads`], [`Server::start`]): this process has one thread per worker, each with its own
//! ring. For tests, and for a server inside another program. If the program is built with `panic = "abort"`, a panic in
//! an application ends the whole process. Otherwise it ends the thread of that worker: the others go on, and
//! [`Running::shutdown`] reports it. After a burst, the program's allocator decides when memory goes back to the
//! system, because a library does not change its settings.
#![forbid(unsafe_code)]

mod address;
#[cfg(any(feature = "backplane", feature = "web"))]
mod beside;
#[cfg(feature = "backplane")]
#[doc(hidden)]
pub mod bridge;
mod builder;
#[doc(hidden)]
pub mod process;
mod services;
#[doc(hidden)]
pub mod single;
mod threads;
#[cfg(feature = "web")]
#[doc(hidden)]
pub mod web;

pub use crate::seat::SEAT_VARIABLE;
pub use builder::Server;
#[doc(hidden)]
pub use builder::{Origins, supervisor_options};
pub use process::Place;
pub use services::ServerOfServices;
pub use threads::Running;
