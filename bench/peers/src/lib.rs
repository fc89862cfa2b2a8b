//! What the peers share: one command line, one kind of listener, one ready line; and for the peers without a WebSocket
//! library of their own, a minimal frame parser in [`frames`].

pub mod frames;

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Larger messages are refused, by every peer.
pub const MESSAGE_OCTETS_MAX: usize = 100 << 20;
/// Room for every connection of a run at once; the kernel clips it to somaxconn.
const BACKLOG: i32 = 8192;
const READ_BUFFER_OCTETS: usize = 16 << 10;

/// What the command line asked for.
#[derive(Debug)]
pub struct Setup {
    /// Bound, listening, non-blocking.
    pub listener: TcpListener,
    /// For peers whose read buffer has a size to choose.
    pub read_buffer: usize,
}

/// Reads `--port N`, `--address IP`, `--congestion NAME` and `--read-buffer N`, binds, and prints `listening IP:PORT`.
/// Exits with a message when that fails.
pub fn set_up() -> Setup {
    match try_set_up() {
        Ok(setup) => setup,
        Err(message) => {
            eprintln!("{message}\nUsage: --port N [--address IP] [--congestion NAME] [--read-buffer N]");
            std::process::exit(2);
        }
    }
}

/// The listener of [`set_up`].
pub fn listen() -> TcpListener {
    set_up().listener
}

fn try_set_up() -> Result<Setup, String> {
    let (mut ip, mut port, mut congestion) = (IpAddr::V4(Ipv4Addr::LOCALHOST), 0_u16, None);
    let mut read_buffer = READ_BUFFER_OCTETS;
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--port" => port = value.parse().map_err(|error| format!("--port {value}: {error}"))?,
            "--address" => ip = value.parse().map_err(|error| format!("--address {value}: {error}"))?,
            "--congestion" => congestion = Some(value),
            "--read-buffer" => {
                read_buffer = value.parse().map_err(|error| format!("--read-buffer {value}: {error}"))?
            }
            _ => return Err(format!("unknown option {name}")),
        }
    }
    let listener = bind(SocketAddr::new(ip, port), congestion.as_deref()).map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    println!("listening {address}");
    io::stdout().flush().map_err(|error| error.to_string())?;
    Ok(Setup { listener, read_buffer })
}

/// A non-blocking listener whose options its connections inherit: TCP_NODELAY and the congestion control.
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
