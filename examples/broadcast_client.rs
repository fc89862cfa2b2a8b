//! Says something every two seconds, prints what everybody says, and connects again whenever the server is gone:
//! `cargo run -p ringway-client --example broadcast_client -- ws://127.0.0.1:9000/room anna`, against `broadcast_server`

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use ringway_client::{Connector, Happening, Reconnecting};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let mut argument = |default: &str| arguments.next().unwrap_or_else(|| default.to_owned());
    let (url, name) = (argument("ws://127.0.0.1:9000/room"), argument("anna"));
    let mut feed = Reconnecting::new(Connector::new(url));
    let every = Duration::from_secs(2);
    match run(&mut feed, &name, every, &mut std::io::stdout()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("broadcast_client: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Goes on until another attempt to connect would be in vain, or nobody reads `out` any more.
pub(crate) async fn run(
    feed: &mut Reconnecting,
    name: &str,
    every: Duration,
    out: &mut impl Write,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut interval = tokio::time::interval(every);
    let mut number = 0;
    loop {
        tokio::select! {
            happening = feed.next() => match happening? {
                Some(happening) => show(happening, out)?,
                None => return Ok(()),
            },
            _ = interval.tick() => {
                number += 1;
                // Fails while there is no connection: then this one is not said. `next` tells why.
                let _ = feed.send(format!("{name}: hello {number}")).await;
            }
        }
    }
}

fn show(happening: Happening, out: &mut impl Write) -> std::io::Result<()> {
    match happening {
        Happening::Open(response) => writeln!(out, "connected to {}", response.url()),
        Happening::Message(message) => {
            writeln!(out, "{}", message.as_text().unwrap_or("something binary"))
        }
        Happening::Lost(Ok(Some(close))) => writeln!(out, "lost: {close}"),
        Happening::Lost(Ok(None)) => writeln!(out, "lost"),
        Happening::Lost(Err(error)) => writeln!(out, "lost: {error}"),
        Happening::Failed(error) => writeln!(out, "not connected: {error}"),
        _ => Ok(()),
    }
}
