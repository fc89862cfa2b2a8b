//! A server of one's own: where it listens, what it allows, and whether its workers are processes or threads.
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
//!         let _ = context.reply(message); // refused only after a close
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     Server::new("ws://127.0.0.1:9000").workers(2).run(|_worker| Echo)
//! }
//! ```
//!
//! *Processes* ([`Server::run`]): this process becomes a supervisor. It binds the listener and starts one process per worker: this
//! program again, with the same command line, and with its place in the environment variable [`SEAT_VARIABLE`]. So the program
//! reaches `run` once more, and there it is a worker. A worker that dies takes its own connections with it and nothing else, and
//! is replaced. What the program does before `run` it does in each of these processes.
//!
//! *Threads* ([`Server::run_threads`], [`Server::start`]): one thread per worker in this process, each with a ring of its own. For
//! tests, and for a server inside another program. A panic in an application ends the whole process where the program is built with
//! `panic = "abort"`, and else the thread of that worker: the others go on, and [`Running::shutdown`] tells. The memory of a burst
//! goes back as the program's allocator sees fit, because a library does not change its settings.
#![forbid(unsafe_code)]

mod address;
mod builder;
#[doc(hidden)]
pub mod process;
mod services;
mod threads;

pub use crate::seat::SEAT_VARIABLE;
pub use builder::Server;
#[doc(hidden)]
pub use builder::{Origins, supervisor_options};
pub use process::Place;
pub use services::ServerOfServices;
pub use threads::Running;
