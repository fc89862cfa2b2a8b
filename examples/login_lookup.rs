//! A login that another server decides: `cargo run --release --example login_lookup -- ws://127.0.0.1:9000`, then in another shell
//! `cargo run -p ringway-client --example client_options -- ws://127.0.0.1:9000 --header='Authorization=Bearer 4711'`
//!
//! ```text
//!  client ── GET, Authorization: Bearer TOKEN ──▶ worker ── TOKEN ──▶ directory
//!         ◀── 101, or 401, or 503 ──────────────        ◀── NAME ────
//! ```
//!
//! The directory stands for a database, or any server that knows who somebody is: a question is a line, and so is its answer, which is
//! empty for a token that nobody has. A second argument says where it listens; without one, a small one runs in this program, and takes
//! its time. Other connections of the worker go on meanwhile: `connect` is an asynchronous function.

use std::cell::OnceCell;
use std::io::{BufRead as _, Write as _};
use std::net::TcpListener;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ringway::tasks::{Bridge, timeout};
use ringway::{Async, AsyncApp, Connection, OwnedMessage, OwnedOpening, Place, Server, Verdict};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// Time for an answer of the directory. A client waits for its handshake no longer than `handshake_timeout`, 5 s by default.
const PATIENCE: Duration = Duration::from_secs(2);
/// Questions of a worker to the directory at a time. Further ones wait.
const QUESTIONS_MAX: usize = 64;
/// Bytes of a name, with its line feed.
const NAME_BYTES_MAX: u64 = 100;

/// Who somebody is, asked on the thread beside the worker. `None`: nobody.
async fn ask(
    directory: Arc<str>,
    token: String,
    room: Arc<Semaphore>,
) -> std::io::Result<Option<String>> {
    let _place = room.acquire().await;
    let mut stream = TcpStream::connect(&*directory).await?;
    stream.write_all(format!("{token}\n").as_bytes()).await?;
    let mut name = String::new();
    let mut answer = BufReader::new(stream).take(NAME_BYTES_MAX);
    answer.read_line(&mut name).await?;
    let name = name
        .strip_suffix('\n')
        .ok_or(std::io::ErrorKind::UnexpectedEof)?;
    Ok((!name.is_empty()).then(|| name.to_owned()))
}

pub(crate) struct Greeter {
    bridge: Bridge,
    directory: Arc<str>,
    room: Arc<Semaphore>,
}

impl AsyncApp for Greeter {
    /// Whose connection it is.
    type Session = OnceCell<String>;

    async fn connect(
        self: Rc<Self>,
        connection: Connection<Self::Session>,
        opening: OwnedOpening,
    ) -> Verdict {
        let header = opening.header("authorization");
        let token = header.and_then(|header| header.strip_prefix(b"Bearer "));
        let Some(token) = token.and_then(|token| String::from_utf8(token.to_vec()).ok()) else {
            return Verdict::refuse(401, "bring a token").header("WWW-Authenticate", "Bearer");
        };
        let question = ask(self.directory.clone(), token, self.room.clone());
        match timeout(PATIENCE, self.bridge.spawn(question)).await {
            Ok(Ok(Some(name))) => {
                let _ = connection.session().set(name); // the first and only time
                Verdict::accept()
            }
            Ok(Ok(None)) => Verdict::refuse(401, "nobody has this token"),
            Ok(Err(_)) | Err(_) => Verdict::refuse(503, "the directory does not answer"),
        }
    }

    async fn message(self: Rc<Self>, connection: Connection<Self::Session>, message: OwnedMessage) {
        let name = connection.session().get().map_or("?", String::as_str);
        let answer = format!("{name} said: {}", message.text().unwrap_or_default());
        let _ = connection.send(answer).await; // fails only when the connection is closed
    }
}

/// A directory that knows one token, and takes a while. Returns where it listens.
fn directory() -> std::io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let answer = |stream: std::net::TcpStream| {
        let mut token = String::new();
        std::io::BufReader::new(&stream).read_line(&mut token)?;
        thread::sleep(Duration::from_millis(300));
        let name = if token == "4711\n" { "anna" } else { "" };
        (&stream).write_all(format!("{name}\n").as_bytes())
    };
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer(stream));
        }
    });
    Ok(address.to_string())
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let uri = arguments
        .next()
        .unwrap_or_else(|| "ws://127.0.0.1:9000".to_owned());
    let directory = arguments.next().map_or_else(directory, Ok);
    let directory: Arc<str> = match directory {
        Ok(directory) => directory.into(),
        Err(error) => {
            eprintln!("login_lookup: no directory: {error}");
            return ExitCode::FAILURE;
        }
    };
    let greeters = greeters(directory);
    Server::new(&uri).workers(2).run_threads(greeters)
}

/// What each worker runs.
pub(crate) fn greeters(directory: Arc<str>) -> impl Fn(&Place) -> Async<Greeter> {
    move |_worker| {
        Async::new(Greeter {
            bridge: Bridge::start().expect("a thread and its descriptors"),
            directory: directory.clone(),
            room: Arc::new(Semaphore::new(QUESTIONS_MAX)),
        })
    }
}
