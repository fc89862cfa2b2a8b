//! A server with several services, each under its own path and with its own limits.

use std::process::ExitCode;
use std::sync::Arc;

use super::builder::Server;
use super::process::Place;
use super::threads::Running;
use crate::exit::Fatal;
use crate::options::Limits;
use crate::protocol::App;
use crate::services::{Pattern, Services};

/// Adds one service to a worker.
type Mount = dyn Fn(&Place, &mut Services) + Send + Sync;

/// A server with services: see [`Server::service`].
#[derive(Clone)]
pub struct ServerOfServices {
    server: Server,
    mounts: Vec<Arc<Mount>>,
}

impl std::fmt::Debug for ServerOfServices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerOfServices")
            .field("server", &self.server)
            .field("services", &self.mounts.len())
            .finish_non_exhaustive()
    }
}

impl ServerOfServices {
    pub(super) const fn new(server: Server) -> Self {
        Self {
            server,
            mounts: Vec::new(),
        }
    }

    /// Adds a service under `path`, with the server's limits.
    #[must_use]
    pub fn service<A>(self, path: &str, make: impl Fn(&Place) -> A + Send + Sync + 'static) -> Self
    where
        A: App + 'static,
        A::Session: 'static,
    {
        self.service_with(path, Limits::default(), make)
    }

    /// Adds a service under `path`, with its own limits.
    #[must_use]
    pub fn service_with<A>(
        mut self,
        path: &str,
        limits: Limits,
        make: impl Fn(&Place) -> A + Send + Sync + 'static,
    ) -> Self
    where
        A: App + 'static,
        A::Session: 'static,
    {
        let pattern = match Pattern::new(path) {
            Ok(pattern) => pattern,
            Err(bad) => {
                let options = self.server.options_mut();
                if options.is_ok() {
                    *options = Err(Fatal::usage(bad.to_string()));
                }
                return self;
            }
        };
        if let Ok(options) = self.server.options_mut() {
            options.services.push(limits);
        }
        self.mounts.push(Arc::new(move |place, services| {
            services.add(pattern.clone(), make(place));
        }));
        self
    }

    fn split(self) -> (Server, impl Fn(&Place) -> Services + Send + Sync + 'static) {
        let mounts = self.mounts;
        let make = move |place: &Place| {
            let mut services = Services::new();
            mounts.iter().for_each(|mount| mount(place, &mut services));
            services
        };
        (self.server, make)
    }

    /// Runs the server like [`Server::run`].
    pub fn run(self) -> ExitCode {
        let (server, make) = self.split();
        server.run(make)
    }

    /// Runs the server like [`Server::run_threads`].
    pub fn run_threads(self) -> ExitCode {
        let (server, make) = self.split();
        server.run_threads(make)
    }

    /// Starts the server like [`Server::start`].
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start(self) -> Result<Running, Fatal> {
        let (server, make) = self.split();
        server.start(make)
    }
}
