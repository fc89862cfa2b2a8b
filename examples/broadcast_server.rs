//! Every message goes to all clients of the same path, on all workers, and a tick comes each second:
//! `cargo run --release --example broadcast_server -- ws://127.0.0.1:9000`, and `broadcast_client` beside it, twice
//!
//! `Broadcast` comes with the library; `chat` is an application of one's own that does the same with topics.

use std::process::ExitCode;
use std::time::Duration;

use ringway::{Broadcast, BusOptions, Server};

fn main() -> ExitCode {
    let uri = std::env::args().nth(1);
    let uri = uri.as_deref().unwrap_or("ws://127.0.0.1:9000");
    Server::new(uri)
        .workers(2)
        .bus(BusOptions::default()) // what workers hear each other by
        .run(|worker| {
            let mut broadcast = Broadcast::new("live", worker.index);
            broadcast.tick = Some(Duration::from_secs(1));
            broadcast
        })
}
