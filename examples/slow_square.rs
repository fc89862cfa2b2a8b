//! Squares numbers, a second for each, and makes nobody else wait: `cargo run --release --example slow_square -- ws://127.0.0.1:9000`
//!
//! A message is a number as JSON writes it, and so is its answer. Above 5 it is too much: the connection is closed. Answers of one
//! connection come in order; see `Async::concurrent` for several at a time.

use std::process::ExitCode;
use std::time::Duration;

use ringway::tasks::sleep;
use ringway::{Async, CloseCode, Connection, OwnedMessage, Server};

async fn square(connection: Connection, message: OwnedMessage) {
    let number = message
        .text()
        .and_then(|text| text.trim().parse::<f64>().ok());
    let refusal = match number {
        Some(number) if number <= 5.0 => {
            sleep(Duration::from_secs(1)).await;
            // Fails only when the connection is closed, and then this does not run any more.
            let _ = connection.send((number * number).to_string()).await;
            return;
        }
        Some(_) => "the number is too large",
        None => "that is no number",
    };
    connection.close(CloseCode::PolicyViolation, refusal);
}

fn main() -> ExitCode {
    let uri = std::env::args().nth(1);
    let uri = uri.as_deref().unwrap_or("ws://127.0.0.1:9000");
    Server::new(uri)
        .workers(2)
        .run(|_worker| Async::new(square))
}
