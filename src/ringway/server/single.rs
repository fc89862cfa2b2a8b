//! A worker of this process for one connection that is there already, such as the standard input and output.

use std::os::fd::{IntoRawFd as _, OwnedFd};

use super::process::{config, environment, open_ring};
use crate::exit::Fatal;
use crate::io::epoll::Epoll;
use crate::io::{Error, Fd, Io, sys};
use crate::options::ServerOptions;
use crate::stats::Counters;
use crate::tls::{TlsSecrets, TlsServer};
use crate::worker::{App, Config, Worker};

/// Serves `stream`, a connected stream socket, as if it had been accepted, until nothing is connected any more.
///
/// # Errors
/// The system refuses what the worker needs.
pub fn run<A: App>(options: &ServerOptions, app: A, stream: OwnedFd) -> Result<Counters, Fatal> {
    let secrets = TlsSecrets::read(&options.tls)?;
    let tls = secrets.map(|secrets| TlsServer::new(&options.tls, &secrets));
    let config = config(options, tls.transpose()?);
    let fd = Fd(stream.into_raw_fd());
    sys::set_nonblocking(fd, true).map_err(|error| environment("the stream", &error))?;
    match open_ring(options.io)? {
        Ok(ring) => serve(ring, config, app, fd),
        Err(_) => {
            let epoll = Epoll::new().map_err(|error| environment("epoll", &error))?;
            serve(epoll, config, app, fd)
        }
    }
}

fn serve<I: Io, A: App>(io: I, config: Config, app: A, fd: Fd) -> Result<Counters, Fatal> {
    let failed = |error: Error| environment("the loop", &error);
    let mut worker = Worker::client(io, app, config);
    worker.adopt(fd);
    // The first turn arms what was begun; later ones wait.
    worker
        .turn(Some(std::time::Duration::ZERO))
        .map_err(failed)?;
    while worker.connections() > 0 {
        worker.turn(None).map_err(failed)?;
    }
    Ok(*worker.counters())
}
