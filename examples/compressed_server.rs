//! An echo that compresses messages (permessage-deflate, RFC 7692), in the simple way and in a chosen one:
//! `cargo run --release --example compressed_server -- ws://127.0.0.1:9000`, and `compressed_client` beside it
//!
//! `/simple` has the defaults, which suit small messages on many connections. `/advanced` takes more time and memory for fewer
//! bytes on the wire. A client that offers no compression gets plain messages from both.

use std::process::ExitCode;

use ringway::proto::deflate::Direction;
use ringway::{Deflate, Echo, Limits, Server};

fn with(deflate: Deflate) -> Limits {
    let mut limits = Limits::default();
    limits.deflate = Some(deflate);
    limits
}

fn main() -> ExitCode {
    let uri = std::env::args().nth(1);
    let uri = uri.as_deref().unwrap_or("ws://127.0.0.1:9000");
    let advanced = Deflate {
        // Up to 9: smaller, and slower.
        level: 6,
        // Memory of the compressor. A worker has one compressor for all its connections.
        mem_level: 8,
        // Messages refer to the ones before them, 32 KiB back. A connection keeps these 32 KiB, in each direction.
        sends: Direction {
            takeover: true,
            window_bits: 15,
        },
        receives: Direction {
            takeover: true,
            window_bits: 15,
        },
        // Also short messages are compressed: with takeover they gain, too.
        bytes_min: 32,
    };
    Server::new(uri)
        .workers(2)
        .service_with("/simple", with(Deflate::default()), |_| Echo::default())
        .service_with("/advanced", with(advanced), |_| Echo::default())
        .run()
}
