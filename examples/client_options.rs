//! An echo client with all that a URL does not say: headers, subprotocols, an origin, a proxy, and whom to trust.
//! `cargo run -p ringway-client --example client_options -- wss://localhost:9000 --ca=cert.pem`
//!
//! | option | what | a server for a try |
//! |---|---|---|
//! | `--header=NAME=VALUE` | one more header of the request | `custom_headers`, with `--header=Authorization='Basic anna'` |
//! | `--subprotocol=NAME` | one to offer; the one liked best comes first | `subprotocols`, with `--subprotocol=count.json` |
//! | `--origin=ORIGIN` | what a browser would say of its page | |
//! | `--proxy=URL` | an HTTP proxy that makes a tunnel (CONNECT) | |
//! | `--ca=FILE` | certificates, PEM, to trust in place of the system's | `tls_server`, with its own certificate |

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use ringway_client::rustls::pki_types::{CertificateDer, pem::PemObject};
use ringway_client::rustls::{ClientConfig, RootCertStore};
use ringway_client::{CloseCode, Connector, Message};

type Failure = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments, &mut std::io::stdout()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("client_options: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What the arguments ask for.
fn connector(arguments: &[String]) -> Result<Connector, Failure> {
    let (options, urls): (Vec<_>, Vec<_>) = arguments.iter().partition(|one| one.starts_with("--"));
    let url = urls.first().map_or("ws://127.0.0.1:9000", |url| url);
    let mut connector = Connector::new(url);
    for option in options {
        connector = match option.split_once('=').ok_or("an option is --NAME=VALUE")? {
            ("--header", field) => {
                let (name, value) = field.split_once('=').ok_or("a header is NAME=VALUE")?;
                connector.header(name, value)
            }
            ("--subprotocol", name) => connector.subprotocol(name),
            ("--origin", origin) => connector.origin(origin),
            ("--proxy", url) => connector.proxy(url),
            ("--ca", file) => connector.tls(trusting(file)?),
            (name, _) => return Err(format!("there is no option {name}").into()),
        };
    }
    Ok(connector)
}

/// TLS with a server whose certificate is in this file, or is signed by one of the file.
fn trusting(file: &str) -> Result<Arc<ClientConfig>, Failure> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file)? {
        roots.add(certificate?)?;
    }
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Shows what was agreed on and the answer to one message.
pub(crate) async fn run(arguments: &[String], out: &mut impl Write) -> Result<(), Failure> {
    let (mut websocket, response) = connector(arguments)?.connect().await?;
    writeln!(out, "connected to {}", response.url())?;
    if let Some(name) = websocket.subprotocol() {
        writeln!(out, "subprotocol {name}")?;
    }
    if let Some(cookie) = response.header("Set-Cookie") {
        writeln!(out, "cookie {}", String::from_utf8_lossy(cookie))?;
    }
    websocket.send("Hello, Ringway!").await?;
    match websocket.recv().await? {
        Some(Message::Text(answer)) => writeln!(out, "received {answer:?}")?,
        Some(other) => writeln!(out, "received {} bytes", other.len())?,
        None => writeln!(out, "the server has closed")?,
    }
    Ok(websocket.close(CloseCode::NormalClosure, "").await?)
}
