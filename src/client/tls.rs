//! TLS of the client's side, by rustls. Without the feature `tls` it says that there is none.

#[cfg(not(feature = "tls"))]
pub(crate) use off::{Tls, TlsStream};
#[cfg(feature = "tls")]
pub(crate) use on::{Tls, TlsStream};

#[cfg(feature = "tls")]
mod on {
    use std::sync::{Arc, OnceLock};

    use tokio::net::TcpStream;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::pki_types::ServerName;
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};

    use crate::connect_error::ConnectError;

    pub(crate) type TlsStream = Box<tokio_rustls::client::TlsStream<TcpStream>>;

    /// The configuration that a program has chosen, if it has.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct Tls(pub(crate) Option<Arc<ClientConfig>>);

    impl Tls {
        pub(crate) async fn open(
            &self,
            tcp: TcpStream,
            host: &str,
        ) -> Result<TlsStream, ConnectError> {
            let name = ServerName::try_from(host.to_owned()).map_err(|_| {
                ConnectError::TlsImpossible("the URL's host can be no name of a certificate")
            })?;
            let config = match &self.0 {
                Some(config) => Arc::clone(config),
                None => usual()?,
            };
            let opened = TlsConnector::from(config).connect(name, tcp).await;
            opened.map(Box::new).map_err(|error| ConnectError::Tls {
                host: host.to_owned(),
                error,
            })
        }
    }

    /// The certificates that this system trusts, read once.
    fn usual() -> Result<Arc<ClientConfig>, ConnectError> {
        static USUAL: OnceLock<Arc<ClientConfig>> = OnceLock::new();
        if let Some(config) = USUAL.get() {
            return Ok(Arc::clone(config));
        }
        let mut roots = RootCertStore::empty();
        // What cannot be read or parsed is not trusted; the rest is.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(ConnectError::TlsImpossible(
                "no certificates are found that this system trusts; name some with Connector::tls",
            ));
        }
        let provider = Arc::new(ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| ConnectError::TlsImpossible("ring has no usual version of TLS"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::clone(USUAL.get_or_init(|| Arc::new(config))))
    }
}

#[cfg(not(feature = "tls"))]
mod off {
    use tokio::net::TcpStream;

    use crate::connect_error::ConnectError;

    /// There is none; the type has the methods of a stream.
    pub(crate) type TlsStream = TcpStream;

    #[derive(Clone, Debug, Default)]
    pub(crate) struct Tls(());

    impl Tls {
        #[expect(clippy::unused_async, reason = "as the other one")]
        pub(crate) async fn open(&self, _: TcpStream, _: &str) -> Result<TlsStream, ConnectError> {
            Err(ConnectError::TlsImpossible(
                "this program was built without TLS: ringway-client has a feature `tls`",
            ))
        }
    }
}
