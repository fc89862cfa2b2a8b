//! Offers compression (permessage-deflate, RFC 7692), in the simple way or in a chosen one, and prints what it saved:
//! `cargo run -p ringway-client --example compressed_client -- ws://127.0.0.1:9000/advanced advanced`, against `compressed_server`
//!
//! The second argument is `simple` or `advanced`.

use std::process::ExitCode;

use ringway_client::{CloseCode, Connector, Deflate, Direction};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let mut argument = |default: &str| arguments.next().unwrap_or_else(|| default.to_owned());
    let (url, way) = (argument("ws://127.0.0.1:9000/simple"), argument("simple"));
    let offer = match way.as_str() {
        "simple" => Deflate::default(),
        "advanced" => advanced(),
        _ => {
            eprintln!("compressed_client: the ways are simple and advanced");
            return ExitCode::FAILURE;
        }
    };
    match run(&url, offer).await {
        Ok(told) => {
            println!("{told}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("compressed_client: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Small on the wire, both ways; the server may ask for less of us.
pub(crate) const fn advanced() -> Deflate {
    Deflate {
        // Up to 9: smaller, and slower.
        level: 6,
        // Memory of the compressor, which a thread has once.
        mem_level: 8,
        // Messages refer to the ones before them, 32 KiB back. A connection keeps these 32 KiB, in each direction.
        sends: Direction::FARTHEST,
        receives: Direction::FARTHEST,
        // Also short messages are compressed: with takeover they gain, too.
        bytes_min: 32,
    }
}

/// Sends a hundred messages to an echo, and returns what went over the wire.
pub(crate) async fn run(url: &str, offer: Deflate) -> Result<String, Box<dyn std::error::Error>> {
    let connector = Connector::new(url).configure(|options| options.deflate = Some(offer));
    let (mut websocket, response) = connector.connect().await?;
    for number in 0..100 {
        let quote = |n| format!(r#"{{"symbol":"EURUSD","number":{number},"bid":1.08{n:02}}}"#);
        let quotes: Vec<String> = (0..10).map(quote).collect();
        let text = format!("[{}]", quotes.join(","));
        websocket.send(text.clone()).await?;
        let answer = websocket.recv().await?.ok_or("the server has closed")?;
        if answer.as_text() != Some(&text) {
            return Err("this is no echo".into());
        }
    }
    let traffic = websocket.traffic();
    let told = format!(
        "{} bytes of messages were {} bytes on the wire, and {} came back as {}; agreed: {}",
        traffic.payload_sent,
        traffic.bytes_sent,
        traffic.payload_received,
        traffic.bytes_received,
        match response.header("Sec-WebSocket-Extensions") {
            // A server may decline: then messages are plain.
            None => "no compression".into(),
            Some(agreed) => String::from_utf8_lossy(agreed),
        }
    );
    websocket.close(CloseCode::NormalClosure, "").await?;
    Ok(told)
}
