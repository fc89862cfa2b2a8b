//! An echo with what a real server sets: several places to listen, limits, and Pings that find dead peers, on threads.
//! `cargo run --release --example echo_variants -- ws://127.0.0.1:9000 'ws://[::1]:9000' ws+unix:/tmp/echo.sock`
//!
//! Each argument is a place to listen. `echo_server` is the smallest echo, and runs on processes.

use std::process::ExitCode;
use std::time::Duration;

use ringway::{Echo, Limits, Server};

fn main() -> ExitCode {
    let mut places = std::env::args().skip(1);
    let first = places.next();
    let mut server = Server::new(first.as_deref().unwrap_or("ws://127.0.0.1:9000"));
    for place in places {
        server = server.listen(&place);
    }

    let mut limits = Limits::default();
    limits.message_bytes_max = Some(64 << 10); // a longer one is answered with 1009
    limits.idle_timeout = Some(Duration::from_secs(300)); // then 1001
    limits.ping_interval = Some(Duration::from_secs(20)); // a peer that is silent for so long gets a Ping …
    limits.ping_timeout = Some(Duration::from_secs(10)); // … and is reset if it stays silent
    server
        .limits(&limits)
        .max_connections(10_000) // a further client gets 503
        .handshake_timeout(Duration::from_secs(2))
        .workers(2)
        .run_threads(|_worker| Echo::default())
}
