//! A WebSocket client on the protocol core: bytes in, events out, and a plain `TcpStream` in between.
//!
//! `cargo run --example echo_client -- ws://127.0.0.1:9000 "Hello, Ringway!"`

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use ringway::proto::frame::{HEADER_OCTETS_MAX, Header};
use ringway::proto::handshake::{self, ClientRequest, Progress, ResponseKind};
use ringway::proto::mask::{self, Key};
use ringway::proto::{
    CONTROL_FRAME_OCTETS_MAX, CloseCode, Event, Input, Limits, Opcode, Role, WebSocket,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments
        .next()
        .unwrap_or_else(|| "ws://127.0.0.1:9000".to_owned());
    let text = arguments
        .next()
        .unwrap_or_else(|| "Hello, Ringway!".to_owned());
    let authority = url
        .strip_prefix("ws://")
        .ok_or("the URL begins with ws://")?;
    let (host, target) = match authority.find('/') {
        Some(slash) => authority.split_at(slash),
        None => (authority, "/"),
    };

    let mut stream = TcpStream::connect(host)?;
    stream.set_nodelay(true)?;
    open(&mut stream, host, target)?;
    println!("connected to {url}");

    let mut websocket = WebSocket::new(Role::Client, Limits::default());
    let sent = Instant::now();
    send(&mut stream, &mut websocket, text.as_bytes())?;
    println!("sent     {text:?}");
    let echo = receive(&mut stream, &mut websocket)?;
    println!("received {echo:?} after {:.0?}", sent.elapsed());

    let mut frame = [0; CONTROL_FRAME_OCTETS_MAX];
    let len = websocket.sender.close(
        Some(CloseCode::NormalClosure),
        "bye",
        Some(nonce()?),
        &mut frame,
    )?;
    stream.write_all(&frame[..len])?;
    println!("closed with {}", receive(&mut stream, &mut websocket)?);
    Ok(())
}

/// The opening handshake (RFC 6455 §4.1).
fn open(stream: &mut TcpStream, host: &str, target: &str) -> Result<(), Box<dyn Error>> {
    let key = nonce()?;
    let mut request = Vec::new();
    handshake::encode_request(&ClientRequest::new(host, target, key), &mut request)?;
    stream.write_all(&request)?;
    let mut bytes = Vec::new();
    loop {
        // Octet by octet, so that no frame is read with the head.
        let mut octet = [0];
        stream.read_exact(&mut octet)?;
        bytes.push(octet[0]);
        let progress = handshake::parse_response(&bytes, &key, &[], &handshake::Limits::default())?;
        let Progress::Complete { head, .. } = progress else {
            continue;
        };
        return match head.kind() {
            ResponseKind::Accepted { .. } => Ok(()),
            ResponseKind::Refused { status, .. } => {
                Err(format!("the server answered {}", status.0).into())
            }
        };
    }
}

fn send(
    stream: &mut TcpStream,
    websocket: &mut WebSocket,
    text: &[u8],
) -> Result<(), Box<dyn Error>> {
    let key = nonce()?;
    let header = Header {
        fin: true,
        opcode: Opcode::Text,
        payload_len: text.len() as u64,
        masking_key: Some(key),
    };
    let mut frame = [0; HEADER_OCTETS_MAX];
    let len = websocket.sender.header(&header, &mut frame)?;
    let mut octets = [&frame[..len], text].concat();
    mask::apply(&mut octets[len..], Key::new(key));
    Ok(stream.write_all(&octets)?)
}

/// Waits for a message, or for the answer to our Close.
fn receive(stream: &mut TcpStream, websocket: &mut WebSocket) -> Result<String, Box<dyn Error>> {
    let mut message = Vec::new();
    loop {
        let mut buf = [0; 4096];
        let len = stream.read(&mut buf)?;
        if len == 0 {
            return Err("the server ended the connection".into());
        }
        let mut input = Input::new(&mut buf[..len]);
        while let Some(event) = websocket.receiver.poll_event(&mut input)? {
            match event {
                Event::Message(whole) => {
                    return Ok(String::from_utf8_lossy(whole.payload()).into_owned());
                }
                Event::Part(part) => {
                    message.extend_from_slice(part.payload);
                    if part.message_ends {
                        return Ok(String::from_utf8(message)?);
                    }
                }
                Event::Close(close) => {
                    return Ok(close
                        .code
                        .map_or_else(|| "no code".to_owned(), |code| code.to_string()));
                }
                Event::Ping(_) | Event::Pong(_) => {}
            }
        }
    }
}

/// Octets that nobody can guess: `proto` draws no random numbers.
fn nonce<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut octets = [0; N];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut octets)?;
    Ok(octets)
}
