//! A client for tokio: sends lines, and prints what comes until the server closes.
//!
//! `cargo run -p ringway-client --example async_client -- ws://127.0.0.1:9000 "Hello, Ringway!"`

use std::process::ExitCode;

use ringway_client::{CloseCode, Message, connect};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let url = arguments
        .next()
        .unwrap_or_else(|| "ws://127.0.0.1:9000".to_owned());
    match run(&url, arguments.collect()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("async_client: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Sends each text, waits for an answer to each, and closes.
pub(crate) async fn run(url: &str, texts: Vec<String>) -> Result<(), Box<dyn std::error::Error>> {
    let mut websocket = connect(url).await?;
    println!("connected to {url}");
    for text in texts {
        websocket.send(text).await?;
        match websocket.recv().await? {
            Some(Message::Text(answer)) => println!("received {answer:?}"),
            Some(other) => println!("received {} bytes", other.len()),
            None => break,
        }
    }
    websocket.close(CloseCode::NormalClosure, "").await?;
    match websocket.closed() {
        Some(frame) => println!("closed with {frame}"),
        None => println!("closed"),
    }
    Ok(())
}
