//! Sends a Ping every second, prints the round trip, and shows what the server sends, Pings included:
//! `cargo run -p ringway-client --example ping_client -- ws://127.0.0.1:9000 5`, against any server, such as `ping_server`
//!
//! The second argument is how many Pings are sent. The server's own Pings are answered without any code, also if they are not
//! shown. A client that only wants to notice a dead server sets `options.ping_interval`.

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ringway_client::{CloseCode, Connector, Message};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next();
    let url = url.unwrap_or_else(|| "ws://127.0.0.1:9000".to_owned());
    let Ok(pings) = arguments.next().map_or(Ok(5), |count| count.parse()) else {
        eprintln!("ping_client: how many Pings is a number");
        return ExitCode::FAILURE;
    };
    let interval = Duration::from_secs(1);
    match run(&url, pings, interval, &mut std::io::stdout()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ping_client: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Ends when the last Pong has come.
pub(crate) async fn run(
    url: &str,
    pings: u32,
    interval: Duration,
    out: &mut impl Write,
) -> Result<(), Box<dyn std::error::Error>> {
    let connector = Connector::new(url).configure(|options| options.show_control = true);
    let (mut websocket, _) = connector.connect().await?;
    let mut interval = tokio::time::interval(interval);
    let (mut sent, mut sent_at) = (0_u32, Instant::now());
    loop {
        // Either future may be dropped: no message is lost by that.
        tokio::select! {
            _ = interval.tick(), if sent < pings => {
                sent += 1;
                sent_at = Instant::now();
                websocket.send(Message::Ping(sent.to_be_bytes().to_vec().into())).await?;
            }
            received = websocket.recv() => match received? {
                Some(Message::Pong(pong)) if pong == sent.to_be_bytes().as_slice() => {
                    writeln!(out, "Pong {sent} after {:.1?}", sent_at.elapsed())?;
                    if sent == pings {
                        break;
                    }
                }
                Some(Message::Pong(_)) => writeln!(out, "a Pong that nobody waits for")?,
                Some(Message::Ping(ping)) => writeln!(out, "Ping of {} bytes, answered", ping.len())?,
                Some(Message::Text(text)) => writeln!(out, "received {text:?}")?,
                Some(Message::Binary(bytes)) => writeln!(out, "received {} bytes", bytes.len())?,
                None => break,
            },
        }
    }
    Ok(websocket.close(CloseCode::NormalClosure, "").await?)
}
