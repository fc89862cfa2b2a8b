//! An echo under TLS, on the same port as the plain one (feature `tls` of `ringway`):
//! `cargo run --release --example tls_server -- ws://127.0.0.1:9000 cert.pem key.pem`
//!
//! A certificate for a try on this machine is one line; clients that are told to trust `cert.pem` accept it:
//!
//! ```text
//! openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -keyout key.pem -out cert.pem \
//!     -subj /CN=localhost -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=DNS:localhost,IP:127.0.0.1
//! ```
//!
//! Then `cargo run -p ringway-client --example client_options -- wss://localhost:9000 --ca=cert.pem`.

use std::process::ExitCode;

use ringway::{Echo, Server, TlsOptions};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let mut argument = |default: &str| arguments.next().unwrap_or_else(|| default.to_owned());
    let uri = argument("ws://127.0.0.1:9000");
    let (certificate, key) = (argument("cert.pem"), argument("key.pem"));
    server(&uri, &certificate, &key).run(|_worker| Echo::default())
}

/// The files are read before the first worker starts. What cannot be used is told in one sentence.
pub(crate) fn server(uri: &str, certificate: &str, key: &str) -> Server {
    Server::new(uri).workers(2).tls(TlsOptions {
        // A certificate with its chain, PEM, and the key that belongs to it. Several are chosen from by the client's wish.
        certificates: vec![certificate.into()],
        keys: vec![key.into()],
        ..TlsOptions::default()
    })
}
