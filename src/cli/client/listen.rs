//! `--listen`: a server that shows what its client sends, and lets one type to it. One client at a time: the next one waits
//! until the first has left.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use ringway_client::rustls::{ServerConfig, crypto::ring};
use ringway_client::{AcceptError, Incoming};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use wsperf::load::tls::identity_of;

use super::ending::{Code, Failed};
use super::opening::{Opened, library_options, tell};
use super::options::ClientOptions;

/// A place where clients are accepted.
pub(super) struct Listener {
    tcp: TcpListener,
    tls: Option<TlsAcceptor>,
}

impl Listener {
    /// Listens.
    pub(super) async fn bind(options: &ClientOptions, place: &str) -> Result<Self, Failed> {
        let tcp = TcpListener::bind(place).await;
        let tcp = tcp.map_err(|error| {
            Failed::new(Code::Environment, format!("--listen {place}: {error}"))
        })?;
        let tls = match (&options.cert, &options.key) {
            (Some(cert), Some(key)) => {
                let bad = |why: String| Failed::new(Code::Usage, why);
                let (certificates, key) = identity_of(cert, key).map_err(bad)?;
                let config =
                    ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
                        .with_safe_default_protocol_versions()
                        .and_then(|builder| {
                            builder
                                .with_no_client_auth()
                                .with_single_cert(certificates, key)
                        })
                        .map_err(|error| bad(format!("--cert {}: {error}", cert.display())))?;
                Some(TlsAcceptor::from(Arc::new(config)))
            }
            _ => None,
        };
        Ok(Self { tcp, tls })
    }

    /// Where it listens, as a URL.
    pub(super) fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "wss" } else { "ws" };
        match self.tcp.local_addr() {
            Ok(place) => format!("{scheme}://{place}"),
            Err(error) => error.to_string(),
        }
    }

    /// The next client. Those that open no WebSocket are answered, and told of on stderr.
    pub(super) async fn accept(&self, options: &ClientOptions) -> Result<Opened, Failed> {
        loop {
            let accepted = self.tcp.accept().await;
            let (stream, peer) = accepted.map_err(|error| {
                Failed::new(
                    Code::Environment,
                    format!("no client can be accepted: {error}"),
                )
            })?;
            match self.open(options, stream, peer).await {
                Ok(opened) => return Ok(opened),
                Err(error) => tell('*', &format!("{peer}: {error}")),
            }
        }
    }

    async fn open(
        &self,
        options: &ClientOptions,
        stream: TcpStream,
        peer: SocketAddr,
    ) -> Result<Opened, AcceptError> {
        stream.set_nodelay(true)?;
        match &self.tls {
            None => upgrade(options, stream, peer).await,
            Some(tls) => {
                let within =
                    tokio::time::timeout(options.connect_timeout, tls.accept(stream)).await;
                let stream = within.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
                upgrade(options, stream, peer).await
            }
        }
    }
}

async fn upgrade<S>(
    options: &ClientOptions,
    stream: S,
    peer: SocketAddr,
) -> Result<Opened, AcceptError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let incoming = Incoming::read(stream, library_options(options)).await?;
    let request = incoming.request();
    if options.show_handshake {
        let mut head = format!("{} {}", request.host(), request.path());
        for (name, value) in request.headers() {
            head.push_str(&format!("\n{name}: {}", String::from_utf8_lossy(value)));
        }
        tell('<', &head);
    }
    let url = format!("{} of {peer}", request.target());
    let offered: Vec<&str> = request.subprotocols().collect();
    let mut ours = options.subprotocols.iter();
    let chosen = ours.find(|name| offered.contains(&name.as_str()));
    let chosen = chosen.cloned();
    let websocket = incoming.accept(chosen.as_deref(), &[]).await?;
    Ok(Opened::of(websocket, url, options.show_handshake))
}
