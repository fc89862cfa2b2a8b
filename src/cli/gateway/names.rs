//! Addresses of targets: looked up when a session opens.
//!
//! Owns: what was found, for a bounded time and number. Never: waits on a worker's thread.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ringway::exit::Fatal;
use ringway::services::gateway::{Place, Refusal, Why};
use ringway::{Address, ConnectOptions, Target};

use super::blocking::addresses;

/// How long addresses of a name are used again: a name that moves is followed within it, and a busy one asks the resolver six times
/// a minute.
const KEPT_FOR: Duration = Duration::from_secs(10);

/// Names whose addresses are kept.
const KEPT_MAX: usize = 4096;

/// Makes a target of its addresses.
pub(super) type Make =
    Box<dyn Fn(&Place, Vec<ConnectOptions>) -> Result<Target, Fatal> + Send + Sync>;

/// Finds addresses.
pub(super) struct Names {
    make: Make,
    kept: Mutex<HashMap<Place, (Arc<Target>, Instant)>>,
}

impl Names {
    pub(super) fn new(make: Make) -> Self {
        Self {
            make,
            kept: Mutex::default(),
        }
    }

    /// The target, if nothing has to be asked for it.
    pub(super) fn known(&self, place: &Place) -> Option<Result<Arc<Target>, Refusal>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((target, found)) = kept.get(place)
            && found.elapsed() < KEPT_FOR
        {
            return Some(Ok(Arc::clone(target)));
        }
        drop(kept);
        let address = match place {
            Place::Unix(path) => Address::Unix(path.clone()),
            Place::Tcp { host, port } => {
                Address::Tcp(SocketAddr::new(host.parse::<IpAddr>().ok()?, *port))
            }
        };
        Some(self.keep(place, vec![address]))
    }

    /// The target, whose name is looked up if that was not done lately.
    pub(super) async fn find(&self, place: &Place) -> Result<Arc<Target>, Refusal> {
        if let Some(target) = self.known(place) {
            return target;
        }
        let Place::Tcp { host, port } = place else {
            unreachable!("the address of a Unix socket is known")
        };
        let found = addresses(host, *port).await.unwrap_or_else(|error| {
            tracing::warn!("the address of the target '{host}' cannot be found: {error}");
            Vec::new()
        });
        if found.is_empty() {
            let sentence = format!("the address of the target '{host}' cannot be found");
            return Err(Refusal::new(Why::NoAnswer, 502, &sentence));
        }
        let addresses = ringway::in_turn(found).into_iter().map(Address::Tcp);
        self.keep(place, addresses.collect())
    }

    fn keep(&self, place: &Place, addresses: Vec<Address>) -> Result<Arc<Target>, Refusal> {
        let addresses = addresses.into_iter().map(ConnectOptions::new).collect();
        let target = (self.make)(place, addresses).map_err(|fatal| {
            tracing::warn!("the target {place}: {}", fatal.sentence);
            let sentence = "the target has a name that no certificate could have";
            Refusal::new(Why::NoAnswer, 502, sentence)
        })?;
        let target = Arc::new(target);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT_MAX {
            kept.retain(|_, (_, found)| found.elapsed() < KEPT_FOR);
        }
        if kept.len() < KEPT_MAX {
            kept.insert(place.clone(), (Arc::clone(&target), Instant::now()));
        }
        Ok(target)
    }
}
