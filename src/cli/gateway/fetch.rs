//! One GET for a short text, over HTTP or HTTPS.
//!
//! Owns: the connection, which serves one request. Never: follows a redirect, reads more than a few KiB, limits the time (its caller
//! does).

use std::error::Error;
use std::sync::Arc;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, Uri, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::blocking::addresses;

/// Bytes of an answer that names a target, at most.
const ANSWER_BYTES_MAX: usize = 4 << 10;

type Fault = Box<dyn Error + Send + Sync>;

/// TLS with the certificates that this system trusts.
pub(super) fn tls() -> Result<Arc<rustls::ClientConfig>, rustls::Error> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(rustls::Error::General(
            "this system trusts no certificate".to_owned(),
        ));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The status of the answer and its text.
pub(super) async fn get(
    address: &str,
    tls: Option<&Arc<rustls::ClientConfig>>,
) -> Result<(u16, String), Fault> {
    let uri: Uri = address.parse()?;
    let host = uri.host().ok_or("the address has no host")?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let port = match (uri.port_u16(), tls) {
        (Some(port), _) => port,
        (None, Some(_)) => 443,
        (None, None) => 80,
    };
    let stream = TcpStream::connect(&addresses(bare, port).await?[..]).await?;
    match tls {
        None => exchange(stream, &uri).await,
        Some(config) => {
            let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
            let name = ServerName::try_from(bare.to_owned())?;
            exchange(connector.connect(name, stream).await?, &uri).await
        }
    }
}

async fn exchange<S>(stream: S, uri: &Uri) -> Result<(u16, String), Fault>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the sender.
    tokio::spawn(connection);
    let authority = uri.authority().ok_or("the address has no host")?;
    let host = match authority.as_str().rsplit_once('@') {
        Some((_, host)) => host,
        None => authority.as_str(),
    };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header(header::HOST, host)
        .header(header::ACCEPT, "application/json, text/plain")
        .header(header::CONNECTION, "close")
        .body(Empty::<&'static [u8]>::new())?;
    let answer = sender.send_request(request).await?;
    let status = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX);
    let bytes = body.collect().await?.to_bytes();
    Ok((status, String::from_utf8(bytes.to_vec())?))
}
