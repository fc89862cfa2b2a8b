//! What the bare servers have in common: pinning, and a listener.

use std::collections::HashMap;
use std::error::Error;
use std::net::{SocketAddr, TcpListener};

/// `--name value` pairs of the command line.
pub(crate) fn options() -> HashMap<String, String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let pairs = arguments.chunks_exact(2);
    pairs
        .map(|pair| (pair[0].clone(), pair[1].clone()))
        .collect()
}

/// Pins the program to `--cpuid` and listens at `--port` of 127.0.0.1, with `--congestion` if it is given. Says where.
pub(crate) fn listen(options: &HashMap<String, String>) -> Result<TcpListener, Box<dyn Error>> {
    if let Some(cpu) = options.get("--cpuid") {
        core_affinity::set_for_current(core_affinity::CoreId { id: cpu.parse()? });
    }
    let port: u16 = options.get("--port").map_or(Ok(0), |port| port.parse())?;
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(name) = options.get("--congestion") {
        socket.set_tcp_congestion(name.as_bytes())?;
    }
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], port)).into())?;
    socket.listen(4096)?;
    let listener = TcpListener::from(socket);
    println!("listening {}", listener.local_addr()?);
    Ok(listener)
}
