//! A WebSocket client on the protocol core: bytes go in, events come out, and a plain `TcpStream` carries the bytes.
//!
//! `cargo run --example echo_client -- ws://127.0.0.1:9000 "Hello, Ringway!"`

use std::collections::VecDeque;
use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Instant;

use ringway::proto::frame::{HEADER_BYTES_MAX, Header};
use ringway::proto::handshake::{self, ClientRequest, Progress, ResponseKind, Resume};
use ringway::proto::mask::{self, Key};
use ringway::proto::{
    CONTROL_FRAME_BYTES_MAX, CloseCode, Event, Input, Limits, Opcode, Role, Violation, WebSocket,
};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let mut argument = |default: &str| arguments.next().unwrap_or_else(|| default.to_owned());
    let (url, text) = (argument("ws://127.0.0.1:9000"), argument("Hello, Ringway!"));
    match run(&url, &text, &mut std::io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo_client: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Sends `text` to the server at `url`, and writes the answer to `out`.
pub(crate) fn run(url: &str, text: &str, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let place = parse(url).map_err(|why| format!("{url}: {why}"))?;
    let Place { name, port, .. } = place;
    let mut stream = TcpStream::connect((name, port))
        .map_err(|error| format!("cannot connect to {name} port {port}: {error}"))?;
    stream.set_nodelay(true)?;
    open(&mut stream, place.host, &place.target)?;
    writeln!(out, "connected to {url}")?;

    let mut client = Client {
        stream,
        websocket: WebSocket::new(Role::Client, Limits::default()),
        message: Vec::new(),
        received: VecDeque::new(),
    };
    let sent = Instant::now();
    client.send(text)?;
    writeln!(out, "sent     {text:?}")?;
    let echo = client.receive()?;
    writeln!(out, "received {echo:?} after {:.0?}", sent.elapsed())?;

    client.close(CloseCode::NormalClosure, "bye")?;
    let answer = client.receive()?;
    Ok(writeln!(out, "closed with {answer}")?)
}

/// The parts of a URL (RFC 6455 §3).
struct Place<'a> {
    /// The value of the Host header, as it was typed.
    host: &'a str,
    /// A name or an address, without brackets.
    name: &'a str,
    /// 80 unless it was given.
    port: u16,
    /// Path and query.
    target: String,
}

fn parse(url: &str) -> Result<Place<'_>, &'static str> {
    let (scheme, rest) = url.split_once("://").ok_or("a URL begins with ws://")?;
    // RFC 3986 §3.1: "schemes are case-insensitive"
    if scheme.eq_ignore_ascii_case("wss") {
        return Err("this client speaks no TLS; use ws://");
    }
    if !scheme.eq_ignore_ascii_case("ws") {
        return Err("a URL begins with ws://");
    }
    let (host, resource) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if host.contains('@') {
        return Err("a WebSocket URL has no user and no password");
    }
    if resource.contains('#') {
        return Err("a WebSocket URL has no fragment (#)");
    }
    let (name, port) = match host.strip_prefix('[') {
        Some(literal) => literal
            .split_once(']')
            .ok_or("the bracket of the IPv6 address is open")?,
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => 80,
        Some("") => 80,
        digits => digits
            .and_then(|digits| digits.parse().ok())
            .ok_or("the port is not a number from 0 to 65535")?,
    };
    if name.is_empty() {
        return Err("the host is missing");
    }
    let slash = if resource.starts_with('/') { "" } else { "/" };
    Ok(Place {
        host,
        name,
        port,
        target: format!("{slash}{resource}"),
    })
}

/// The opening handshake (RFC 6455 §4.1).
fn open(stream: &mut TcpStream, host: &str, target: &str) -> Result<(), Box<dyn Error>> {
    let key = nonce()?;
    let mut request = Vec::new();
    handshake::encode_request(&ClientRequest::new(host, target, key), &mut request)?;
    stream.write_all(&request)?;
    let limits = handshake::Limits::default();
    let (mut bytes, mut hint) = (Vec::new(), Resume::default());
    loop {
        // Reads byte by byte, so that no frame is read together with the head.
        let mut byte = [0];
        if stream.read(&mut byte)? == 0 {
            return Err("the server ended the connection in place of an answer".into());
        }
        bytes.push(byte[0]);
        match handshake::parse_response_from(
            &mut bytes,
            hint,
            &key,
            &handshake::Offered::NOTHING,
            &limits,
        )? {
            Progress::Incomplete { resume } => hint = resume,
            Progress::Complete { head, .. } => {
                return match head.kind() {
                    ResponseKind::Accepted { .. } => Ok(()),
                    ResponseKind::Refused { status, .. } => Err(format!(
                        "the server answered {} {}",
                        status.0,
                        status.reason_phrase()
                    )
                    .into()),
                };
            }
        }
    }
}

/// An open WebSocket.
struct Client {
    stream: TcpStream,
    websocket: WebSocket,
    /// The message whose last chunk has not arrived.
    message: Vec<u8>,
    /// Received messages, and the code of a Close, that the caller has not asked for yet.
    received: VecDeque<String>,
}

impl Client {
    fn send(&mut self, text: &str) -> Result<(), Box<dyn Error>> {
        let key = nonce()?;
        let header = Header {
            compressed: false,
            fin: true,
            opcode: Opcode::Text,
            payload_len: text.len() as u64,
            masking_key: Some(key),
        };
        let mut frame = [0; HEADER_BYTES_MAX];
        let len = self.websocket.sender.header(&header, &mut frame)?;
        let mut bytes = [&frame[..len], text.as_bytes()].concat();
        mask::apply(&mut bytes[len..], Key::new(key));
        Ok(self.stream.write_all(&bytes)?)
    }

    fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), Box<dyn Error>> {
        let mut frame = [0; CONTROL_FRAME_BYTES_MAX];
        let sender = &mut self.websocket.sender;
        let len = sender.close(Some(code), reason, Some(nonce()?), &mut frame)?;
        Ok(self.stream.write_all(&frame[..len])?)
    }

    /// Waits for a message, or for the answer to our Close.
    fn receive(&mut self) -> Result<String, Box<dyn Error>> {
        loop {
            if let Some(received) = self.received.pop_front() {
                return Ok(received);
            }
            let mut buf = [0; 4096];
            let len = self.stream.read(&mut buf)?;
            if len == 0 {
                return Err("the server ended the connection without a Close".into());
            }
            if let Err(violation) = self.handle(&mut buf[..len])? {
                // RFC 6455 §7.1.7: *fail the connection*.
                self.close(violation.close_code(), "")?;
                return Err(format!("the server broke the protocol: {violation}").into());
            }
        }
    }

    /// Handles everything that is in `bytes`.
    fn handle(&mut self, bytes: &mut [u8]) -> Result<Result<(), Violation>, Box<dyn Error>> {
        let mut input = Input::new(bytes);
        loop {
            let event = match self.websocket.receiver.poll_event(&mut input) {
                Ok(Some(event)) => event,
                Ok(None) => return Ok(Ok(())),
                Err(violation) => return Ok(Err(violation)),
            };
            match event {
                Event::Message(whole) => self.message.extend_from_slice(whole.payload()),
                Event::Chunk(chunk) => {
                    self.message.extend_from_slice(chunk.payload);
                    if !chunk.message_ends {
                        continue;
                    }
                }
                Event::Close(close) => {
                    let code = close.code.map(|code| code.to_string());
                    self.received
                        .push_back(code.unwrap_or_else(|| "no code".to_owned()));
                    continue;
                }
                Event::Ping(payload) => {
                    // RFC 6455 §5.5.2: "Upon receipt of a Ping frame, an endpoint MUST send a Pong frame in response".
                    // After our own Close nothing may follow it.
                    if !self.websocket.sender.is_closed() {
                        let mut frame = [0; CONTROL_FRAME_BYTES_MAX];
                        let sender = &mut self.websocket.sender;
                        let key = Some(nonce()?);
                        let len = sender.control(Opcode::Pong, payload, key, &mut frame)?;
                        self.stream.write_all(&frame[..len])?;
                    }
                    continue;
                }
                Event::Pong(_) => continue,
            }
            let message = std::mem::take(&mut self.message);
            self.received
                .push_back(String::from_utf8_lossy(&message).into_owned());
        }
    }
}

/// Unpredictable bytes: `proto` draws no random numbers.
fn nonce<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
