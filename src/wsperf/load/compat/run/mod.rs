//! The tests, each on an event loop for itself.
//!
//! Owns: what is sent when, and the times that results are made from. Never: parses a command or writes a result.
//!
//! A test runs on the calling thread and returns when it is over. It looks at its cancellation flag every `PATIENCE`,
//! so that a client that disconnects does not leave its tests running.

mod handshakes;
mod message;
mod stress;

use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use super::uri::Uri;
use crate::io::{Address, ConnId, ConnectOptions, Error, Io};
use crate::load::addresses;
use crate::load::route::{ADDRESSES_MAX, Route};
use crate::load::tls::TlsTrust;
use crate::worker::{App, Failure, Handle, OpeningRequest, Worker};

pub use handshakes::handshakes;
pub use message::message;
pub use stress::stress;

/// Longest time until a cancelled test ends.
const PATIENCE: Duration = Duration::from_millis(100);

/// Limit from a connect to the open WebSocket.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Limit from a Close to the end of its connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The server of a test, with its name resolved.
#[derive(Clone, Debug)]
pub struct Destination {
    /// Its addresses, in the order in which they are tried.
    addresses: Vec<ConnectOptions>,
    pub(super) request: Arc<OpeningRequest>,
}

impl Destination {
    /// Resolves a URI's host, which can take seconds. `subprotocols` are offered to the server.
    ///
    /// # Errors
    /// A sentence that says why the server cannot be tested.
    pub fn resolve(uri: &Uri, allow_remote: bool, subprotocols: &[String]) -> Result<Self, String> {
        // A page of the control server could else speak to every Unix socket of its user.
        let may_be_tested = |address: &Address| match address {
            Address::Tcp(address) => allow_remote || address.ip().to_canonical().is_loopback(),
            Address::Unix(_) => false,
        };
        if uri.socket.is_some() {
            return Err("a Unix socket cannot be tested from here; use wsperf echo".to_owned());
        }
        let addresses: Vec<_> = addresses(uri)?
            .into_iter()
            .filter(may_be_tested)
            .take(ADDRESSES_MAX)
            .map(ConnectOptions::new)
            .collect();
        if addresses.is_empty() {
            return Err(format!(
                "{} is not this machine; start the control server with --allow-remote to test others",
                uri.host
            ));
        }
        let request = OpeningRequest::new(&uri.authority(), &uri.resource, subprotocols)
            .map_err(|misuse| format!("{uri} cannot be asked for: {misuse}"))?;
        let request = match uri.secure {
            true => request.tls(TlsTrust::default().client(&uri.host)?),
            false => request,
        };
        Ok(Self {
            addresses,
            request: Arc::new(request),
        })
    }
}

/// The addresses of a destination, as one test tries them in turn.
#[derive(Debug)]
pub(super) struct Way {
    destination: Destination,
    route: Route,
}

impl Way {
    pub(super) fn new(destination: &Destination) -> Self {
        let to: Vec<_> = destination
            .addresses
            .iter()
            .map(|to| to.to.clone())
            .collect();
        Self {
            destination: destination.clone(),
            route: Route::new(&to),
        }
    }

    /// The index of the address to begin with.
    pub(super) fn first(&self) -> usize {
        self.route.first()
    }

    /// The address at `place` took a connection.
    pub(super) fn connected(&mut self, place: usize) {
        self.route.connected(place);
    }

    /// Begins to connect to the address at `place`, or to the next one that the kernel does not refuse at once. The error
    /// names the addresses that were tried.
    pub(super) fn connect(
        &mut self,
        reach: &mut Handle<'_>,
        mut place: usize,
        tag: u32,
    ) -> Result<(ConnId, usize), String> {
        loop {
            let Destination { addresses, request } = &self.destination;
            match reach.connect(&addresses[place], request, tag) {
                Ok(id) => return Ok((id, place)),
                Err(errno) => match self.route.failed(place, &errno) {
                    Some(next) => place = next,
                    None => return Err(format!("connect to {}", self.route.tried())),
                },
            }
        }
    }

    /// Handles a failed connect to the address at `place`. Returns the index to try next; the error says why there is
    /// none.
    pub(super) fn failed(
        &mut self,
        place: usize,
        failed: &Failure,
        within: Duration,
    ) -> Result<usize, String> {
        let why = why(failed, within);
        let Failure::Connect(errno) = failed else {
            return Err(why);
        };
        let next = self.route.failed(place, &errno);
        next.ok_or_else(|| format!("connect to {}", self.route.tried()))
    }
}

fn addresses(uri: &Uri) -> Result<Vec<Address>, String> {
    addresses::of(uri).map_err(|why| format!("{} has no address: {why}", uri.host))
}

/// 64 random bits from the kernel: the seed for masking keys, payloads and lifetimes.
pub(super) fn seed() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

/// Why a connection did not open within `within`, as a clause.
fn why(failed: &Failure, within: Duration) -> String {
    match failed {
        Failure::Timeout => format!("there was no opening handshake within {within:?}"),
        other => other.to_string(),
    }
}

/// Ends every connection of a worker that is about to be dropped, so that no descriptor stays open.
fn abandon<I: Io, A: App>(worker: &mut Worker<I, A>) -> Result<(), Error> {
    worker.abort();
    while worker.connections() > 0 {
        worker.turn(Some(PATIENCE))?;
    }
    Ok(())
}

/// A tag as an index.
fn index(tag: u32) -> usize {
    usize::try_from(tag).expect("usize has 64 bits")
}
