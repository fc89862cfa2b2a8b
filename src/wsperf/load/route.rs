//! The addresses of one server, tried in turn until one takes a connection.
//!
//! Owns: which address is next, and the sentence that names those that were tried. Never: resolves a name, or connects.

use std::fmt::{Display, Write as _};

use crate::io::Address;

/// Most addresses of a name that are tried. Each may cost the whole connect timeout.
pub const ADDRESSES_MAX: usize = 16;

/// What is known about each address, by its index.
#[derive(Debug)]
pub struct Route {
    addresses: Vec<Address>,
    /// Why the connect to each address failed, if it was tried.
    failures: Vec<Option<String>>,
    /// The address that took a connection. All further connections use it.
    taken: Option<usize>,
}

impl Route {
    /// `addresses` in the order in which they are tried; at least one.
    pub fn new(addresses: &[Address]) -> Self {
        let addresses: Vec<_> = addresses.iter().take(ADDRESSES_MAX).cloned().collect();
        Self {
            failures: vec![None; addresses.len()],
            addresses,
            taken: None,
        }
    }

    /// The index to begin with: the address that took a connection, or the first that has not failed.
    pub fn first(&self) -> usize {
        let untried = || self.failures.iter().position(Option::is_none);
        self.taken.or_else(untried).unwrap_or(0)
    }

    /// The address at `place` took a connection.
    pub fn connected(&mut self, place: usize) {
        self.taken.get_or_insert(place);
    }

    /// Notes that the connect to the address at `place` failed. Returns the index to try next, if there is one.
    pub fn failed(&mut self, place: usize, why: &dyn Display) -> Option<usize> {
        self.failures[place] = Some(why.to_string());
        match self.taken {
            Some(taken) => (taken != place).then_some(taken),
            None => (place + 1 < self.addresses.len()).then_some(place + 1),
        }
    }

    /// The addresses that were tried, each with its error: `[::1]:9000: refused; 127.0.0.1:9000: refused`.
    pub fn tried(&self) -> String {
        let mut said = String::new();
        let failures = self.addresses.iter().zip(&self.failures);
        for (address, why) in failures.filter_map(|(at, why)| Some((at, why.as_ref()?))) {
            let between = if said.is_empty() { "" } else { "; " };
            let _ = write!(said, "{between}{address}: {why}");
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route() -> Route {
        let addresses = ["[::1]:9000", "127.0.0.1:9000"];
        let parsed = addresses.map(|address| Address::Tcp(address.parse().expect("an address")));
        Route::new(&parsed)
    }

    #[test]
    fn each_address_is_tried_and_the_sentence_names_all() {
        let mut route = route();
        assert_eq!(route.first(), 0);
        assert_eq!(route.failed(0, &"refused"), Some(1));
        assert_eq!(route.first(), 1);
        assert_eq!(route.failed(1, &"no route"), None);
        assert_eq!(
            route.tried(),
            "[::1]:9000: refused; 127.0.0.1:9000: no route"
        );
        assert_eq!(route.first(), 0, "and from the beginning the next time");
    }

    #[test]
    fn the_address_that_took_a_connection_is_the_server() {
        let mut route = route();
        assert_eq!(route.failed(0, &"refused"), Some(1));
        route.connected(1);
        assert_eq!(
            route.failed(0, &"refused"),
            Some(1),
            "one that was under way"
        );
        assert_eq!(route.failed(1, &"refused"), None);
        assert_eq!(route.first(), 1);
    }
}
