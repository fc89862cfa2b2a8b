//! Opening the connection, and showing how that goes.
//!
//! Owns: what the options mean to `ringway-client`. Never: speaks HTTP itself.

use std::io::{IsTerminal as _, Write as _};

use ringway::services::gateway::Place;
use ringway_client::rustls::ClientConnection;
use ringway_client::{Connector, Options, Receiver, Sender, Step, WebSocket};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use wsperf::load::compat::uri::Uri;
use wsperf::load::tls::TlsTrust;
use x509_cert::der::Decode as _;

use super::ending::{Code, Failed};
use super::options::ClientOptions;
use super::show::harmless;

/// An open connection, and what was agreed on.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) handles: (Sender, Receiver),
    pub(super) subprotocol: Option<String>,
    /// Behind all redirects, without user and password.
    pub(super) url: String,
}

impl Opened {
    pub(super) fn of<S>(websocket: WebSocket<S>, url: String, is_shown: bool) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let subprotocol = websocket.subprotocol().map(str::to_owned);
        if is_shown {
            let agreed = subprotocol.as_deref().unwrap_or("none");
            let compressed = if websocket.is_compressed() {
                "permessage-deflate"
            } else {
                "no compression"
            };
            tell(
                '*',
                &format!("open: subprotocol {}, {compressed}", harmless(agreed)),
            );
        }
        Self {
            handles: websocket.spawn(),
            subprotocol,
            url,
        }
    }
}

/// What the options say to a connection, in either role.
pub(super) fn library_options(options: &ClientOptions) -> Options {
    let mut library = Options::default();
    library.message_bytes_max = options.max_message;
    library.frame_bytes_max = options.max_message;
    library.show_control = true;
    library.ping_interval = options.ping_interval;
    library.ping_timeout = options.ping_timeout;
    library.close_timeout = options.close_timeout;
    library.open_timeout = options.connect_timeout;
    library.deflate = options.deflate.then_some(options.compression);
    library
}

/// Opens the WebSocket at the URL.
pub(super) async fn open(options: &ClientOptions, url: &str) -> Result<Opened, Failed> {
    let uri = url.starts_with("ws+unix:").then(|| Uri::parse(url));
    let unix = match uri {
        None => None,
        Some(Ok(uri)) => uri.socket.map(|socket| (socket, uri.resource)),
        Some(Err(why)) => return Err(Failed::new(Code::Usage, format!("{url}: {why}"))),
    };
    let socket = match (&unix, &options.to_address) {
        (Some((socket, _)), _) | (None, Some(Place::Unix(socket))) => Some(socket.clone()),
        _ => None,
    };
    let asked = match &unix {
        Some((_, resource)) => format!("ws://localhost{resource}"),
        None => url.to_owned(),
    };
    let connector = connector(options, &asked)?;
    let failed = |error| Failed::opening(&error);
    let Some(socket) = socket else {
        let (websocket, response) = connector.connect().await.map_err(failed)?;
        return Ok(Opened::of(
            websocket,
            response.url().to_owned(),
            options.show_handshake,
        ));
    };
    let stream = UnixStream::connect(&socket).await.map_err(|error| {
        Failed::new(
            Code::Environment,
            format!("cannot connect to {}: {error}", socket.display()),
        )
    })?;
    if options.show_handshake {
        tell('*', &format!("connected to {}", socket.display()));
    }
    let (websocket, _) = connector.handshake(stream).await.map_err(failed)?;
    Ok(Opened::of(
        websocket,
        url.to_owned(),
        options.show_handshake,
    ))
}

fn connector(options: &ClientOptions, url: &str) -> Result<Connector, Failed> {
    let mut connector = Connector::new(url)
        .options(library_options(options))
        .redirects(options.redirects.unwrap_or(0));
    for (name, value) in &options.headers {
        connector = connector.header(name, value);
    }
    for name in &options.subprotocols {
        connector = connector.subprotocol(name);
    }
    if let Some(origin) = &options.origin {
        connector = connector.origin(origin);
    }
    if let Some((user, password)) = options
        .basic_auth
        .as_deref()
        .and_then(|text| text.split_once(':'))
    {
        connector = connector.basic_auth(user, password);
    }
    if let Some(proxy) = &options.proxy {
        connector = connector.proxy(proxy);
    }
    if let Some(Place::Tcp { host, port }) = &options.to_address {
        connector = connector.place(host, *port);
    }
    if options.cacert.is_some() || options.insecure || options.cert.is_some() {
        let trust = TlsTrust {
            cacert: options.cacert.clone(),
            insecure: options.insecure,
            resume: false,
        };
        let identity = options.cert.as_deref().zip(options.key.as_deref());
        connector = connector.tls(
            trust
                .showing(identity)
                .map_err(|why| Failed::new(Code::Usage, why))?,
        );
    }
    if options.show_handshake {
        connector = connector.watch(show);
    }
    Ok(connector)
}

/// Shows a step of the opening, as curl does.
fn show(step: Step<'_>) {
    match step {
        Step::Connected(stream) => {
            let place = stream
                .tcp()
                .peer_addr()
                .map_or_else(|error| error.to_string(), |place| place.to_string());
            tell('*', &format!("connected to {place}"));
            if let Some(session) = stream.tls_session() {
                tell('*', &tls_in_words(session));
            }
        }
        Step::Request(head) => tell('>', &text_of(head)),
        Step::Response(head) => tell('<', &text_of(head)),
        _ => {}
    }
}

fn text_of(head: &[u8]) -> String {
    String::from_utf8_lossy(head)
        .replace("\r\n", "\n")
        .trim_end()
        .to_owned()
}

fn tls_in_words(session: &ClientConnection) -> String {
    let version = session
        .protocol_version()
        .and_then(|version| version.as_str().map(|name| name.replace('_', ".")))
        .unwrap_or_default();
    let cipher = session
        .negotiated_cipher_suite()
        .map(|suite| format!("{:?}", suite.suite()))
        .unwrap_or_default();
    let certificate = session.peer_certificates().and_then(<[_]>::first);
    let certificate = certificate.and_then(|der| x509_cert::Certificate::from_der(der).ok());
    let names = certificate.map_or_else(
        || "a certificate that cannot be read".to_owned(),
        |certificate| {
            let about = certificate.tbs_certificate;
            format!(
                "certificate of {} by {} until {}",
                about.subject, about.issuer, about.validity.not_after
            )
        },
    );
    format!("{version}, {cipher}, {names}")
}

/// Lines on stderr, each with the sign of its side.
pub(super) fn tell(sign: char, text: &str) {
    let mut out = String::new();
    for line in harmless(text).lines() {
        out.push(sign);
        if !line.is_empty() {
            out.push(' ');
            out.push_str(line);
        }
        out.push('\n');
    }
    let mut stderr = std::io::stderr();
    let is_terminal = stderr.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let (dim, normal) = if is_terminal {
        ("\x1b[2m", "\x1b[0m")
    } else {
        ("", "")
    };
    // The program goes on without a stderr.
    let _ = stderr.write_all(format!("{dim}{out}{normal}").as_bytes());
}
