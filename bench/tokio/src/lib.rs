//! What the programs share: the command line, the accept loop, the echo over `Stream` and `Sink`, and the client's plan.
//!
//! ```text
//! PROGRAM server [--port N] [--read-buffer BYTES]
//! PROGRAM client IP:PORT [--connections N] [--in-flight M] [--size BYTES] [--messages K] [--warm-up K] [--binary] [--hold]
//!                        [--read-buffer BYTES]
//! ```
//!
//! Owns: everything that is the same for all libraries. Never: reads or writes a frame.

pub mod plan;
pub mod usage;

use std::fmt::Display;
use std::future::Future;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::str::FromStr;

use futures_util::{FutureExt, Sink, SinkExt, Stream, StreamExt};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;
use tokio::task::unconstrained;

pub use plan::Plan;

/// Room for every connection of a run at once. The kernel limits it to somaxconn.
const BACKLOG: i32 = 8192;
/// Most messages that a server takes before it answers them: more than any run has in flight on a connection.
const BATCH_MESSAGES: usize = 64;

/// A failure that ends a connection; of a client it ends the program.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// What the program is asked to be.
#[derive(Debug)]
pub enum Role {
    /// An echo server.
    Server(Server),
    /// The client of one.
    Client(Client),
}

/// An echo server.
#[derive(Debug)]
pub struct Server {
    /// Bound, listening, non-blocking. Its ready line is printed.
    pub listener: TcpListener,
    /// Bytes of the read buffer of a connection, where a library lets one choose. `None`: its default.
    pub read_buffer: Option<usize>,
}

/// The client of an echo server.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// The server.
    pub address: SocketAddr,
    /// Connections, at least one.
    pub connections: usize,
    /// Messages that a connection sends at once and then waits for, at least one.
    pub in_flight: usize,
    /// Bytes of a message.
    pub size: usize,
    /// Messages of all connections that are measured, and those that are sent before.
    pub messages: usize,
    /// See `messages`.
    pub warm_up: usize,
    /// Text otherwise.
    pub binary: bool,
    /// Stay open and silent after the report, until stdin ends.
    pub hold: bool,
    /// As of a server.
    pub read_buffer: Option<usize>,
}

/// The role that the command line asks for. Exits with a message on an error.
pub fn role() -> Role {
    parse(std::env::args().skip(1)).unwrap_or_else(|message| {
        eprintln!("{message}");
        std::process::exit(2);
    })
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Role, String> {
    let usage = || "Usage: server [--port N] [--read-buffer BYTES] | client IP:PORT [OPTIONS]".to_owned();
    let address = match arguments.next().as_deref() {
        Some("server") => None,
        Some("client") => Some(value("client", arguments.next())?),
        _ => return Err(usage()),
    };
    let mut client = Client {
        address: address.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into()),
        connections: 1,
        in_flight: 1,
        size: 20,
        messages: 0,
        warm_up: 0,
        binary: false,
        hold: false,
        read_buffer: None,
    };
    let is_client = address.is_some();
    while let Some(name) = arguments.next() {
        match (is_client, name.as_str()) {
            (false, "--port") => client.address.set_port(value(&name, arguments.next())?),
            (true, "--connections") => client.connections = value::<usize>(&name, arguments.next())?.max(1),
            (true, "--in-flight") => client.in_flight = value::<usize>(&name, arguments.next())?.max(1),
            (true, "--size") => client.size = value(&name, arguments.next())?,
            (true, "--messages") => client.messages = value(&name, arguments.next())?,
            (true, "--warm-up") => client.warm_up = value(&name, arguments.next())?,
            (true, "--binary") => client.binary = true,
            (true, "--hold") => client.hold = true,
            (_, "--read-buffer") => client.read_buffer = Some(value(&name, arguments.next())?),
            _ => return Err(format!("unknown option {name}. {}", usage())),
        }
    }
    if is_client {
        return Ok(Role::Client(client));
    }
    let listener = bind(client.address).map_err(|error| error.to_string())?;
    Ok(Role::Server(Server { listener, read_buffer: client.read_buffer }))
}

fn value<T: FromStr<Err: Display>>(name: &str, value: Option<String>) -> Result<T, String> {
    let value = value.ok_or_else(|| format!("{name} needs a value"))?;
    value.parse().map_err(|error| format!("{name} {value}: {error}"))
}

/// A non-blocking listener, whose ready line is printed. Connections inherit TCP_NODELAY.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    let listener = TcpListener::from(socket);
    println!("listening {}", listener.local_addr()?);
    io::stdout().flush()?;
    Ok(listener)
}

/// Runs on tokio's current-thread runtime.
pub fn block_on<T>(future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}

/// Gives every connection a task, without tokio's budget, as fastwebsockets' own example does.
pub async fn serve<F>(listener: TcpListener, talk: impl Fn(TcpStream) -> F) -> io::Result<()>
where
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        let talk = talk(stream);
        // The driver ends every run by resetting its connections, so errors are not logged.
        tokio::spawn(unconstrained(async move { drop(talk.await) }));
    }
}

/// Echoes: takes all messages that are at hand, answers them, and flushes once.
pub async fn echo<W, M, E>(mut websocket: W, is_data: impl Fn(&M) -> bool) -> Result<(), Error>
where
    W: Stream<Item = Result<M, E>> + Sink<M, Error = E> + Unpin,
    E: Into<Error>,
{
    let mut batch = Vec::new();
    while let Some(first) = websocket.next().await {
        batch.push(first.map_err(Into::into)?);
        while batch.len() < BATCH_MESSAGES
            && let Some(Some(message)) = websocket.next().now_or_never()
        {
            batch.push(message.map_err(Into::into)?);
        }
        for message in batch.drain(..).filter(&is_data) {
            websocket.feed(message).await.map_err(Into::into)?;
        }
        websocket.flush().await.map_err(Into::into)?;
    }
    Ok(())
}

/// A connection of a client: sends each turn of the plan with one flush, and compares what comes back. `is_echo` compares
/// what was received with what was sent.
pub async fn drive<W, M, E>(mut websocket: W, plan: &Plan<M>, is_echo: impl Fn(&M, &M) -> bool) -> Result<(), Error>
where
    W: Stream<Item = Result<M, E>> + Sink<M, Error = E> + Unpin,
    M: Clone,
    E: Into<Error>,
{
    let mut turns = plan.turns();
    while let Some(turn) = turns.next().await {
        for message in turn {
            websocket.feed(message.clone()).await.map_err(Into::into)?;
        }
        websocket.flush().await.map_err(Into::into)?;
        for sent in turn {
            let received = websocket.next().await.ok_or("closed by the server")?.map_err(Into::into)?;
            plan.check(is_echo(&received, sent))?;
        }
    }
    // Silent, and waiting for the server, until the program ends.
    match websocket.next().await {
        Some(Err(error)) => Err(error.into()),
        _ => Err("a message too much, or closed by the server".into()),
    }
}
