//! What the peers share: the command line, the listener, the ready line, and, for peers without a WebSocket library, the
//! minimal frame parser [`frames`].

pub mod frames;
mod tls;

use std::fmt::Display;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};
use tokio_rustls::rustls::ServerConfig;

/// Largest message that the peers accept.
pub const MESSAGE_BYTES_MAX: usize = 100 << 20;
/// Room for every connection of a run at once. The kernel limits it to somaxconn.
const BACKLOG: i32 = 8192;
const READ_BUFFER_BYTES: usize = 16 << 10;

/// The options.
#[derive(Debug)]
pub struct Setup {
    /// Bound, listening, non-blocking.
    pub listener: TcpListener,
    /// Bytes of the read buffer, for peers where it can be chosen.
    pub read_buffer: usize,
    /// Threads.
    pub workers: usize,
    /// Whether a message goes to every open connection instead of back to its sender.
    pub broadcast: bool,
    /// TLS, where it was asked for.
    pub tls: Option<Arc<ServerConfig>>,
}

/// The options of every peer. Some also have `--workers N`, `--read-buffer N`, `--broadcast` and `--tls CERTIFICATE KEY`.
const COMMON: &str = "--port N [--address IP] [--congestion NAME]";

/// Parses the options that every peer has and those of `more`, binds, and prints `listening IP:PORT`. Exits with a
/// message on an error.
pub fn set_up(more: &[&str]) -> Setup {
    match try_set_up(more) {
        Ok(setup) => setup,
        Err(message) => {
            eprintln!("{message}\nUsage: {COMMON} {}", more.join(" "));
            std::process::exit(2);
        }
    }
}

/// The listener of [`set_up`], for a peer without options of its own.
pub fn listen() -> TcpListener {
    set_up(&[]).listener
}

/// Runs `serve` on tokio: on this thread alone, or on `workers` threads with work stealing.
pub fn block_on(workers: usize, serve: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    use tokio::runtime::Builder;
    let mut builder = if workers == 1 { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    if workers > 1 {
        builder.worker_threads(workers);
    }
    builder.enable_io().build()?.block_on(serve)
}

fn try_set_up(more: &[&str]) -> Result<Setup, String> {
    let (mut ip, mut port, mut congestion) = (IpAddr::V4(Ipv4Addr::LOCALHOST), 0_u16, None);
    let (mut read_buffer, mut workers, mut broadcast) = (READ_BUFFER_BYTES, 1, false);
    let mut tls = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        if !["--port", "--address", "--congestion"].contains(&name.as_str()) && !more.contains(&name.as_str()) {
            return Err(format!("unknown option {name}"));
        }
        if name == "--broadcast" {
            broadcast = true;
            continue;
        }
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--port" => port = parse(&name, &value)?,
            "--address" => ip = parse(&name, &value)?,
            "--congestion" => congestion = Some(value),
            "--read-buffer" => read_buffer = parse(&name, &value)?,
            "--tls" => {
                let key = arguments.next().ok_or("--tls needs a certificate and a key")?;
                tls = Some(tls::config(Path::new(&value), Path::new(&key))?);
            }
            "--workers" => workers = parse::<NonZeroUsize>(&name, &value)?.get(),
            _ => return Err(format!("unknown option {name}")),
        }
    }
    let listener = bind(SocketAddr::new(ip, port), congestion.as_deref()).map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    println!("listening {address}");
    io::stdout().flush().map_err(|error| error.to_string())?;
    Ok(Setup { listener, read_buffer, workers, broadcast, tls })
}

fn parse<T: FromStr<Err: Display>>(name: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|error| format!("{name} {value}: {error}"))
}

/// A non-blocking listener. Connections inherit its options: TCP_NODELAY and the congestion control.
fn bind(address: SocketAddr, congestion: Option<&str>) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(name) = congestion {
        socket.set_tcp_congestion(name.as_bytes())?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
