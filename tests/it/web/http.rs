//! A client and an application that speak just enough HTTP/1.1, and share no code with Ringway.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::thread;

use crate::common::PATIENCE;
use crate::common::client::{dial, noise};

/// A connection on which requests follow each other.
pub(super) struct Http<S: Read + Write>(pub(super) BufReader<S>);

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Lines of the head, names in small letters.
    pub(super) head: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let field = self.head.iter().find(|(known, _)| known == name)?;
        Some(&field.1)
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }
}

impl Http<TcpStream> {
    pub(super) fn to(address: &str) -> Self {
        Self(BufReader::new(dial(address).expect("it listens")))
    }
}

impl<S: Read + Write> Http<S> {
    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).expect("it reads");
    }

    /// Asks without a body.
    pub(super) fn ask(&mut self, method: &str, path: &str, fields: &str) -> Answer {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: site.example\r\n{fields}\r\n");
        self.send(request.as_bytes());
        self.answer(method == "HEAD").expect("an answer")
    }

    pub(super) fn get(&mut self, path: &str) -> Answer {
        self.ask("GET", path, "")
    }

    /// Reads an answer. `None`: the connection ended before or within it.
    pub(super) fn answer(&mut self, is_head: bool) -> Option<Answer> {
        let (line, head) = read_head(&mut self.0)?;
        let status = line.split(' ').nth(1)?.parse().ok()?;
        let mut answer = Answer {
            status,
            head,
            body: Vec::new(),
        };
        if !is_head && !matches!(status, 100..200 | 204 | 304) {
            answer.body = read_body(&mut self.0, &answer.head)?;
        }
        Some(answer)
    }
}

type Head = Vec<(String, String)>;

/// The first line, and the fields with names in small letters.
fn read_head(from: &mut impl BufRead) -> Option<(String, Head)> {
    let mut line = || {
        let mut line = String::new();
        from.read_line(&mut line).ok().filter(|len| *len > 0)?;
        Some(line.trim_end().to_owned())
    };
    let first = line()?;
    let mut fields = Vec::new();
    loop {
        let line = line()?;
        if line.is_empty() {
            return Some((first, fields));
        }
        let (name, value) = line.split_once(": ").expect("a field");
        fields.push((name.to_ascii_lowercase(), value.to_owned()));
    }
}

fn value<'h>(head: &'h Head, name: &str) -> Option<&'h str> {
    let field = head.iter().find(|(known, _)| known == name)?;
    Some(&field.1)
}

fn read_body(from: &mut impl BufRead, head: &Head) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    if value(head, "transfer-encoding") == Some("chunked") {
        loop {
            let mut line = String::new();
            from.read_line(&mut line).ok().filter(|len| *len > 0)?;
            let len = usize::from_str_radix(line.trim_end(), 16).ok()?;
            let at = body.len();
            body.resize(at + len, 0);
            from.read_exact(&mut body[at..]).ok()?;
            from.read_exact(&mut [0; 2]).ok()?;
            if len == 0 {
                return Some(body);
            }
        }
    }
    match value(head, "content-length") {
        Some(len) => {
            body.resize(len.parse().ok()?, 0);
            from.read_exact(&mut body).ok()?;
        }
        None => drop(from.read_to_end(&mut body).ok()?),
    }
    Some(body)
}

/// Bytes of a piece that an application sends or reads.
const PIECE: usize = 100_000;

/// An application. Paths say what it does:
///
/// - `/head`: answers with the head that it got.
/// - `/echo`: answers with the body that it got, all at once.
/// - `/size`: reads the body piece by piece, compares it with `noise(1)`, and answers with its length.
/// - `/noise/N`: answers with N bytes of `noise(2)`, in chunks.
/// - `/silent`: never answers. `/half`: stops in the middle of an answer. `/cut`: ends there.
pub(super) fn application() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(|| serve(stream));
        }
    });
    format!("http://{address}")
}

/// The same on a Unix socket.
pub(super) fn unix_application(path: &str) -> String {
    let listener = UnixListener::bind(path).expect("a path");
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(|| serve(TcpStream::from(OwnedFd::from(stream))));
        }
    });
    format!("unix:{path}")
}

fn serve(stream: TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    let mut stream = BufReader::new(stream);
    while let Some((line, head)) = read_head(&mut stream) {
        if respond(&mut stream, &line, &head).is_none() {
            return;
        }
    }
}

/// `None`: the connection ends.
fn respond(stream: &mut BufReader<TcpStream>, line: &str, head: &Head) -> Option<()> {
    let path = line.split(' ').nth(1).expect("a path").to_owned();
    let mut whole = |body: &[u8]| {
        let more = "X-Powered-By: test\r\nServer: own\r\nConnection: X-Hop\r\nX-Hop: 1";
        let len = body.len();
        let head = format!("HTTP/1.1 200 OK\r\n{more}\r\nContent-Length: {len}\r\n\r\n");
        let to = stream.get_mut();
        to.write_all(head.as_bytes()).ok()?;
        to.write_all(body).ok()
    };
    match path.split('?').next().expect("a path") {
        "/head" => {
            let fields = head
                .iter()
                .map(|(name, value)| format!("{name}: {value}\n"));
            whole(format!("{line}\n{}", fields.collect::<String>()).as_bytes())
        }
        "/echo" => {
            let body = match head
                .iter()
                .any(|(name, _)| name.ends_with("g") || name == "content-length")
            {
                true => read_body(stream, head)?,
                false => Vec::new(),
            };
            let to = stream.get_mut();
            let head = format!(
                "HTTP/1.1 201 Created\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            to.write_all(head.as_bytes()).ok()?;
            to.write_all(&body).ok()
        }
        "/size" => measure(stream, head),
        "/half" | "/cut" => {
            let begin = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf!";
            stream.get_mut().write_all(begin).ok()?;
            if path == "/half" {
                let _ = stream.read(&mut [0]);
            }
            None
        }
        "/silent" => {
            let _ = stream.read(&mut [0]);
            None
        }
        "/garbage" => {
            stream
                .get_mut()
                .write_all(b"this is no HTTP\r\n\r\n")
                .ok()?;
            None
        }
        noisy => {
            let len = noisy.strip_prefix("/noise/").expect("a known path");
            send_noise(stream.get_mut(), len.parse().expect("a length"))
        }
    }
}

/// Answers with so many bytes of `noise(2)`, in chunks.
fn send_noise(to: &mut TcpStream, len: usize) -> Option<()> {
    to.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        .ok()?;
    for piece in noise(2, len).chunks(PIECE) {
        to.write_all(format!("{:x}\r\n", piece.len()).as_bytes())
            .ok()?;
        to.write_all(piece).ok()?;
        to.write_all(b"\r\n").ok()?;
    }
    to.write_all(b"0\r\n\r\n").ok()
}

/// Reads a body piece by piece, compares it with `noise(1)`, and answers with its length.
fn measure(stream: &mut BufReader<TcpStream>, head: &Head) -> Option<()> {
    let len: usize = value(head, "content-length")?.parse().ok()?;
    let expected = noise(1, len);
    let mut piece = vec![0; PIECE];
    for expected in expected.chunks(PIECE) {
        let piece = &mut piece[..expected.len()];
        stream.read_exact(piece).ok()?;
        assert!(piece == expected);
    }
    let text = len.to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    );
    stream.get_mut().write_all(head.as_bytes()).ok()
}
