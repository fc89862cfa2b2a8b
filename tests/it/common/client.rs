//! A blocking WebSocket client for driving servers. It shares no code with Ringway: what it expects is written out, from
//! RFC 6455.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::PATIENCE;

/// The opening handshake of RFC 6455 §1.3, key and all.
pub const REQUEST: &str = "GET /echo HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// The answer to that key (RFC 6455 §1.3).
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The masking key of RFC 6455 §5.7.
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// First bytes of frames (RFC 6455 §5.2): FIN and the opcode.
pub const TEXT: u8 = 0x81;
pub const BINARY: u8 = 0x82;
pub const CLOSE: u8 = 0x88;
pub const PING: u8 = 0x89;
pub const PONG: u8 = 0x8a;
/// The same without FIN, and the frames that follow them.
pub const TEXT_BEGINS: u8 = 0x01;
pub const BINARY_BEGINS: u8 = 0x02;
pub const CONTINUES: u8 = 0x00;
pub const CONTINUES_LAST: u8 = 0x80;

/// What a server sent: the first byte as it is, and the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub first: u8,
    pub payload: Vec<u8>,
}

/// The header of a client's frame, with a length in the shortest form and the masking key.
pub fn header(first: u8, len: u64) -> Vec<u8> {
    let mut header = vec![first];
    match len {
        0..=125 => header.push(0x80 | len.to_le_bytes()[0]),
        126..=0xffff => {
            header.push(0xfe);
            header.extend_from_slice(&len.to_be_bytes()[6..]);
        }
        _ => {
            header.push(0xff);
            header.extend_from_slice(&len.to_be_bytes());
        }
    }
    header.extend_from_slice(&KEY);
    header
}

/// A client's frame: header and masked payload.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(first, payload.len() as u64);
    let masked = payload.iter().zip(KEY.iter().cycle());
    frame.extend(masked.map(|(byte, key)| byte ^ key));
    frame
}

/// `len` bytes that are the same for the same `seed`, and in which every displacement shows.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// A stream socket to an address as it stands in a ready line. A Unix socket is also held as a `TcpStream`, which reads
/// and writes whatever stream socket it is given.
pub fn dial(address: &str) -> io::Result<TcpStream> {
    let stream = match address.strip_prefix("ws+unix:") {
        Some(path) => TcpStream::from(OwnedFd::from(UnixStream::connect(path)?)),
        None => TcpStream::connect(address.trim_start_matches("ws://"))?,
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// An open WebSocket.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    /// What came behind the head of the response.
    early: Vec<u8>,
}

impl Client {
    /// Connects and completes the opening handshake.
    pub fn connect(address: &str) -> Self {
        Self::try_connect(address).expect("a WebSocket opens")
    }

    /// Connects to a path.
    pub fn connect_to(address: &str, path: &str) -> Self {
        let mut stream = dial(address).expect("it listens");
        let request = REQUEST.replacen("GET /echo ", &format!("GET {path} "), 1);
        stream.write_all(request.as_bytes()).expect("it reads");
        Self::opened(stream).expect("a WebSocket opens")
    }

    pub fn try_connect(address: &str) -> io::Result<Self> {
        let mut stream = dial(address)?;
        stream.write_all(REQUEST.as_bytes())?;
        Self::opened(stream)
    }

    /// Reads the response to a request that was sent.
    pub fn opened(mut stream: TcpStream) -> io::Result<Self> {
        let (head, early) = read_head(&mut stream)?;
        let accepted = head.starts_with("HTTP/1.1 101 ")
            && head
                .lines()
                .any(|line| line.eq_ignore_ascii_case(&format!("Sec-WebSocket-Accept: {ACCEPT}")));
        if !accepted {
            return Err(io::Error::other(format!("not accepted: {head}")));
        }
        Ok(Self { stream, early })
    }

    /// Opens a WebSocket with an offer of extensions. Returns the one that the server chose, too.
    pub fn offering(address: &str, offer: &str) -> (Self, Option<String>) {
        Self::offering_at(address, "/echo", offer)
    }

    /// The same at a path.
    pub fn offering_at(address: &str, path: &str, offer: &str) -> (Self, Option<String>) {
        let mut stream = dial(address).expect("it listens");
        let end = format!("Sec-WebSocket-Extensions: {offer}\r\n\r\n");
        let request = REQUEST.replacen("\r\n\r\n", &format!("\r\n{end}"), 1);
        let request = request.replacen("GET /echo ", &format!("GET {path} "), 1);
        stream.write_all(request.as_bytes()).expect("it reads");
        let (head, early) = read_head(&mut stream).expect("a response");
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let extension = head
            .lines()
            .find_map(|line| line.strip_prefix("Sec-WebSocket-Extensions: "));
        (Self::of(stream, early), extension.map(str::to_owned))
    }

    /// A WebSocket that is open, and what came behind the head of the response.
    pub const fn of(stream: TcpStream, early: Vec<u8>) -> Self {
        Self { stream, early }
    }

    pub const fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Waits no longer for an answer than this.
    pub fn set_patience(&self, patience: Duration) {
        self.stream
            .set_read_timeout(Some(patience))
            .expect("a timeout");
        self.stream
            .set_write_timeout(Some(patience))
            .expect("a timeout");
    }

    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) {
        self.try_write(bytes).expect("the server reads");
    }

    /// Sends one frame.
    pub fn send(&mut self, first: u8, payload: &[u8]) {
        self.write(&frame(first, payload));
    }

    fn fill(&mut self, into: &mut [u8]) -> io::Result<()> {
        let early = self.early.len().min(into.len());
        into[..early].copy_from_slice(&self.early[..early]);
        self.early.drain(..early);
        self.stream.read_exact(&mut into[early..])
    }

    /// The next frame of the server.
    pub fn try_recv(&mut self) -> io::Result<Frame> {
        let mut head = [0; 2];
        self.fill(&mut head)?;
        // RFC 6455 §5.1: "A server MUST NOT mask any frames that it sends to the client."
        assert_eq!(head[1] & 0x80, 0, "a masked frame from a server");
        let len = match head[1] {
            126 => {
                let mut len = [0; 2];
                self.fill(&mut len)?;
                u64::from(u16::from_be_bytes(len))
            }
            127 => {
                let mut len = [0; 8];
                self.fill(&mut len)?;
                u64::from_be_bytes(len)
            }
            len => u64::from(len),
        };
        let mut payload = vec![0; usize::try_from(len).expect("64 bits")];
        self.fill(&mut payload)?;
        Ok(Frame {
            first: head[0],
            payload,
        })
    }

    pub fn recv(&mut self) -> Frame {
        self.try_recv().expect("a frame of the server")
    }

    /// Asserts what comes next.
    #[track_caller]
    pub fn expect(&mut self, first: u8, payload: &[u8]) {
        let frame = self.recv();
        assert_eq!(frame.first, first);
        assert!(
            frame.payload == payload,
            "{} bytes came, {} were expected, and they differ",
            frame.payload.len(),
            payload.len()
        );
    }

    /// Sends one message and asserts that it comes back.
    #[track_caller]
    pub fn echo(&mut self, first: u8, payload: &[u8]) {
        self.send(first, payload);
        self.expect(first, payload);
    }

    /// Asserts that a Close with `code` comes next, and then the end of the stream, whether this side answers or not.
    #[track_caller]
    pub fn expect_failed_with(mut self, code: u16) {
        let frame = self.recv();
        assert_eq!(frame.first, CLOSE, "{frame:?}");
        assert_eq!(frame.payload.get(..2), Some(&code.to_be_bytes()[..]));
        expect_end(&mut self.stream);
    }

    /// Closes with 1000 and asserts the answer of RFC 6455 §5.5.1.
    #[track_caller]
    pub fn close(mut self) {
        self.send(CLOSE, &[0x03, 0xe8]);
        self.expect(CLOSE, &[0x03, 0xe8]);
        expect_end(&mut self.stream);
    }

    /// Ends this direction: the server sees the end of the stream.
    pub fn end(&self) {
        self.stream.shutdown(Shutdown::Write).expect("connected");
    }

    /// Vanishes with RST.
    pub fn reset(self) {
        reset(&self.stream);
    }
}

/// The head of a response, and what came behind it.
pub fn read_head(stream: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            return Ok((String::from_utf8(bytes).expect("a head is ASCII"), rest));
        }
        match stream.read(&mut piece)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            len => bytes.extend_from_slice(&piece[..len]),
        }
    }
}

/// Asserts that the server ends the stream: by FIN, or by RST where it did not read everything.
#[track_caller]
pub fn expect_end(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => assert_eq!(rest, b"", "bytes after the Close"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
    }
}

/// Makes the descriptor vanish with RST when it is closed.
pub fn reset(stream: &TcpStream) {
    socket2::SockRef::from(stream)
        .set_linger(Some(Duration::ZERO))
        .expect("a socket");
}

/// Sends bytes to a fresh connection and returns everything that comes back until the end of the stream.
pub fn exchange(address: &str, bytes: &[u8]) -> String {
    let mut stream = dial(address).expect("the server listens");
    // The server may refuse before it has read everything.
    let _ = stream.write_all(bytes);
    let mut response = Vec::new();
    if let Err(error) = stream.read_to_end(&mut response) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    }
    String::from_utf8_lossy(&response).into_owned()
}
