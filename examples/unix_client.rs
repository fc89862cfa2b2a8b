//! A WebSocket over a Unix socket, or over any other stream:
//! `cargo run -p ringway-client --example unix_client -- /tmp/echo.sock`, against `echo_variants`

use std::path::Path;
use std::process::ExitCode;

use ringway_client::{CloseCode, Connector, Message};
use tokio::net::UnixStream;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let path = std::env::args().nth(1);
    let path = path.unwrap_or_else(|| "/tmp/echo.sock".to_owned());
    match run(Path::new(&path), "Hello, Ringway!").await {
        Ok(answer) => {
            println!("received {:?}", answer.as_text().unwrap_or("bytes"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("unix_client: {path}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Sends `text`, and returns the answer.
pub(crate) async fn run(path: &Path, text: &str) -> Result<Message, Box<dyn std::error::Error>> {
    let stream = UnixStream::connect(path).await?;
    // The URL says what the request asks for: its host and path; nobody looks the name up.
    let connector = Connector::new("ws://localhost/");
    let (mut websocket, _) = connector.handshake(stream).await?;
    websocket.send(text).await?;
    let answer = websocket.recv().await?.ok_or("the server has closed")?;
    websocket.close(CloseCode::NormalClosure, "").await?;
    Ok(answer)
}
