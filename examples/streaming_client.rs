//! The client of `streaming_hash`: sends or takes one message of any length, and compares digests.
//! `cargo run --release --example streaming_client -- streaming 10GiB ws://127.0.0.1:9000`
//!
//! The first argument is the path of the server's table: `message`, `frame`, `streaming` or `producer`.

use std::process::ExitCode;
use std::time::Instant;

use bytes::Bytes;
use ring::digest::{Context as Sha256, SHA256};
use ringway_client::{Connector, Message, WebSocket};
use tokio::io::{AsyncRead, AsyncWrite};

type Failure = Box<dyn std::error::Error>;

/// Bytes of a frame.
const FRAME_BYTES: usize = 64 << 10;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let mut argument = |default: &str| arguments.next().unwrap_or_else(|| default.to_owned());
    let (level, bytes, url) = (
        argument("streaming"),
        argument("10GiB"),
        argument("ws://127.0.0.1:9000"),
    );
    match run(&level, &bytes, &url).await {
        Ok(told) => {
            println!("{told}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("streaming_client: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns what came out of it.
async fn run(level: &str, bytes: &str, url: &str) -> Result<String, Failure> {
    let bytes = bytes_of(bytes).ok_or("bytes are a number, or as 64KiB, 8MiB, 10GiB")?;
    let path = match level {
        "message" | "frame" | "streaming" => level.to_owned(),
        "producer" => format!("producer/{bytes}"),
        _ => return Err("the levels are message, frame, streaming, producer".into()),
    };
    let began = Instant::now();
    let connector = Connector::new(format!("{url}/{path}")).configure(|options| {
        options.message_bytes_max = u64::MAX;
    });
    let (mut websocket, _) = connector.connect().await?;
    let (digest, answer) = match level {
        "message" => send_whole(&mut websocket, usize::try_from(bytes)?).await?,
        "producer" => take(&mut websocket).await?,
        _ => send_in_parts(&mut websocket, bytes, level == "frame").await?,
    };
    websocket
        .close(ringway_client::CloseCode::NormalClosure, "")
        .await?;
    if answer != digest {
        return Err(format!("the server says {answer}, and it is {digest}").into());
    }
    let seconds = began.elapsed().as_secs_f64();
    Ok(format!(
        "{level}: {bytes} bytes in {seconds:.2} s, {answer}"
    ))
}

fn bytes_of(text: &str) -> Option<u64> {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10), ("", 0)];
    units.iter().find_map(|(unit, shift)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        Some(number << shift)
    })
}

fn hex(digest: Sha256) -> String {
    let digest = digest.finish();
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The digest that the server says.
async fn answer<S>(websocket: &mut WebSocket<S>) -> Result<String, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let message = websocket.recv().await?.ok_or("the server has closed")?;
    Ok(message.as_text().ok_or("a digest is text")?.to_owned())
}

async fn send_whole<S>(
    websocket: &mut WebSocket<S>,
    bytes: usize,
) -> Result<(String, String), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let payload = vec![7; bytes];
    let mut digest = Sha256::new(&SHA256);
    digest.update(&payload);
    websocket.send(Message::binary(payload)).await?;
    Ok((hex(digest), answer(websocket).await?))
}

/// Sends one message in frames. Every frame is answered if `answered` says so.
async fn send_in_parts<S>(
    websocket: &mut WebSocket<S>,
    bytes: u64,
    answered: bool,
) -> Result<(String, String), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut digest = Sha256::new(&SHA256);
    let mut left = bytes;
    loop {
        let len = usize::try_from(left).map_or(FRAME_BYTES, |left| left.min(FRAME_BYTES));
        let part = Bytes::from(vec![(left >> 16).to_le_bytes()[0]; len]);
        digest.update(&part);
        left -= len as u64;
        websocket.send_part(part, left == 0).await?;
        if answered {
            answer(websocket).await?;
        }
        if left == 0 {
            return Ok((hex(digest), answer(websocket).await?));
        }
    }
}

/// Orders a message, and takes it as it comes.
async fn take<S>(websocket: &mut WebSocket<S>) -> Result<(String, String), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    websocket.send("please").await?;
    let mut digest = Sha256::new(&SHA256);
    loop {
        let chunk = websocket
            .recv_chunk()
            .await?
            .ok_or("the server has closed")?;
        digest.update(&chunk.payload);
        if chunk.message_ends {
            return Ok((hex(digest), answer(websocket).await?));
        }
    }
}
