//! The tests themselves, each on a loop of its own.
//!
//! Owns: what is sent when, and the clock readings that results are made from. Never: reads a command or writes a result.
//!
//! A test runs on the calling thread and returns when it is over. It looks at its cancellation flag each
//! `PATIENCE`, so a client that goes away does not leave its tests behind.

mod handshakes;
mod message;
mod stress;

use std::hash::{BuildHasher as _, Hasher as _};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use super::uri::Uri;
use crate::conn::{App, Failed, Failure, OpeningRequest, Worker};
use crate::io::epoll::Epoll;
use crate::io::uring::{self, Uring};
use crate::io::{Dial, Error, Io};
use crate::load::options::IoTier;

pub use handshakes::handshakes;
pub use message::message;
pub use stress::stress;

/// A test that was cancelled ends within so long.
const PATIENCE: Duration = Duration::from_millis(100);

/// From a connect to an open WebSocket.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// From a Close to the end of its connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Where a test goes, resolved.
#[derive(Clone, Debug)]
pub struct Destination {
    pub(super) dial: Dial,
    pub(super) request: Arc<OpeningRequest>,
}

impl Destination {
    /// Asks for the address of a URI's host. This can take seconds. `subprotocols` are offered to it.
    ///
    /// # Errors
    /// Why it cannot be reached, in a sentence.
    pub fn resolve(uri: &Uri, allow_remote: bool, subprotocols: &[String]) -> Result<Self, String> {
        let to = resolve(uri)?
            .find(|address| allow_remote || is_loopback(address))
            .ok_or_else(|| {
                format!(
                    "{} is not this machine; start the control server with --allow-remote to test others",
                    uri.host
                )
            })?;
        let request = OpeningRequest::new(&uri.authority(), &uri.resource, subprotocols)
            .map_err(|misuse| format!("{uri} cannot be asked for: {misuse}"))?;
        Ok(Self {
            dial: Dial::new(to),
            request: Arc::new(request),
        })
    }
}

fn resolve(uri: &Uri) -> Result<impl Iterator<Item = SocketAddr> + use<>, String> {
    (uri.host.as_str(), uri.port)
        .to_socket_addrs()
        .map_err(|error| format!("{} has no address: {error}", uri.host))
}

fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// Something that runs on a loop of whichever tier there is.
pub(super) trait Task {
    type Output;

    fn run<I: Io>(self, io: I) -> Result<Self::Output, Error>;
}

pub(super) fn on<T: Task>(tier: IoTier, task: T) -> Result<T::Output, String> {
    let ended = |error: Error| format!("the loop ended: {error}");
    let ring = match tier {
        IoTier::Epoll => None,
        IoTier::Auto => Uring::new(&uring::Options::default()).ok(),
        IoTier::Uring => Some(
            Uring::new(&uring::Options::default())
                .map_err(|why| format!("io_uring is impossible here: {why}"))?,
        ),
    };
    match ring {
        Some(ring) => task.run(ring).map_err(ended),
        None => task.run(Epoll::new().map_err(ended)?).map_err(ended),
    }
}

/// 64 bits of the system's randomness: for masking keys, payloads and lifetimes.
pub(super) fn seed() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

/// Why a connection did not open, as a clause.
pub(super) fn why(failed: &Failed) -> String {
    match failed.failure {
        Failure::Closed => "the connection ended before the opening handshake did".to_owned(),
        Failure::Connect(errno) => format!("connect: {errno}"),
        Failure::Refused(status) => format!("the server answered with status {}", status.0),
        Failure::Response(fault) => format!("the server's answer is wrong: {fault}"),
        Failure::Timeout => "there was no opening handshake within 10 s".to_owned(),
    }
}

/// Ends every connection of a loop that is given up, so that no descriptor stays behind.
fn abandon<I: Io, A: App>(worker: &mut Worker<I, A>) -> Result<(), Error> {
    worker.abort();
    while worker.connections() > 0 {
        worker.turn(Some(PATIENCE))?;
    }
    Ok(())
}

/// What a tag counts.
fn index(tag: u32) -> usize {
    usize::try_from(tag).expect("usize has 64 bits")
}
