//! Connections to the application: TCP or a Unix socket, kept for further requests.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::UnixStream;
use tokio::time::timeout;
use tower_service::Service;

use crate::body::Body;
use crate::options;

/// Time that a connection without a request is kept: less than applications keep it (gunicorn: 2 s), so that they seldom end it while a
/// request is on its way.
const IDLE_TIME_MAX: Duration = Duration::from_secs(1);

/// Connections without a request that are kept.
const IDLE_MAX: usize = 64;

/// Longest time for a connect to one address, unless [`options::Options::upstream_timeout`] is shorter. Chosen, untested.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// The application.
#[derive(Clone, Debug)]
pub(crate) enum Upstream {
    Tcp(Client<HttpConnector, Body>),
    Unix(Client<UnixConnector, Body>),
}

impl Upstream {
    /// The application, and the host in the address of requests to it.
    pub(crate) fn new(place: &options::Upstream, patience: Duration) -> (Self, String) {
        let patience = patience.min(CONNECT_TIME_MAX);
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIME_MAX)
            .pool_max_idle_per_host(IDLE_MAX);
        match place {
            options::Upstream::Tcp(authority) => {
                let mut connector = HttpConnector::new();
                connector.set_nodelay(true);
                connector.set_connect_timeout(Some(patience));
                (Self::Tcp(builder.build(connector)), authority.clone())
            }
            options::Upstream::Unix(path) => {
                let path = path.clone();
                let connector = UnixConnector { path, patience };
                (Self::Unix(builder.build(connector)), "localhost".to_owned())
            }
        }
    }

    pub(crate) async fn request(
        &self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, Error> {
        match self {
            Self::Tcp(client) => client.request(request).await,
            Self::Unix(client) => client.request(request).await,
        }
    }
}

/// Connects to one Unix socket, whatever the address.
#[derive(Clone, Debug)]
pub(crate) struct UnixConnector {
    path: PathBuf,
    patience: Duration,
}

impl Service<Uri> for UnixConnector {
    type Response = TokioIo<UnixStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { path, patience } = self.clone();
        Box::pin(async move {
            let connected = timeout(patience, UnixStream::connect(path)).await;
            let late = |_| io::Error::from(io::ErrorKind::TimedOut);
            connected.map_err(late)?.map(TokioIo::new)
        })
    }
}
