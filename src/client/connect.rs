//! Opening a WebSocket in the client's role: by URL, or on a stream that the caller has.

use std::fmt;
use std::sync::Arc;

use bytes::BytesMut;
use ringway_proto::Role;
use ringway_proto::compression::Agreed;
use ringway_proto::handshake::{
    self, ClientRequest, Misuse, Offered, Progress, ResponseKind, basic_credentials,
    encode_request, is_redirect, is_secret, parse_response_from, redirect,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::connect_error::{ConnectError, Refused};
use crate::dial;
use crate::head::{self, NoHead};
use crate::options::Options;
use crate::random;
use crate::response::Response;
use crate::stream::Stream;
use crate::tls::Tls;
use crate::url::{BadUrl, Url};
use crate::websocket::{Opened, WebSocket};

/// Redirects that are followed, unless [`Connector::redirects`] says otherwise. RFC 9110 §15.4 names no number; browsers
/// follow 20, and none for a WebSocket.
const REDIRECTS_MAX: u32 = 5;

/// Opens the WebSocket at a `ws://` or `wss://` URL, with the usual [`Options`]. `ws://user:password@host/` authenticates
/// (Basic).
///
/// # Errors
/// [`ConnectError`]; its text is a sentence for a user.
pub async fn connect(url: &str) -> Result<WebSocket<Stream>, ConnectError> {
    let (websocket, _) = Connector::new(url).connect().await?;
    Ok(websocket)
}

/// What to open, and how. It may be used again and again.
///
/// ```no_run
/// # async fn example() -> Result<(), ringway_client::ConnectError> {
/// use ringway_client::{Connector, Deflate};
///
/// let (websocket, response) = Connector::new("wss://example.com/feed")
///     .header("Authorization", "Bearer 1234")
///     .subprotocol("v2.feed")
///     .proxy("http://user:password@proxy.example:3128")
///     .configure(|options| options.deflate = Some(Deflate::default()))
///     .connect()
///     .await?;
/// println!("{:?} {:?}", websocket.subprotocol(), response.header("Server"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Connector {
    url: String,
    place: Option<(String, u16)>,
    options: Options,
    headers: Vec<(String, String)>,
    subprotocols: Vec<String>,
    origin: Option<String>,
    user: Option<(String, String)>,
    proxy: Option<String>,
    redirects: u32,
    tls: Tls,
    watch: Watch,
}

/// A step of an opening, as it happens: with redirects, each of them several times.
#[derive(Debug)]
#[non_exhaustive]
pub enum Step<'a> {
    /// The host, or the proxy's tunnel to it, is connected to, and speaks TLS if it should.
    Connected(&'a Stream),
    /// This head is sent.
    Request(&'a [u8]),
    /// This came for an answer. It may be none, and end anywhere then.
    Response(&'a [u8]),
}

type Watcher = dyn Fn(Step<'_>) + Send + Sync;

/// Whom a program has told to look at the steps.
#[derive(Clone, Default)]
struct Watch(Option<Arc<Watcher>>);

impl Watch {
    fn tell(&self, step: Step<'_>) {
        if let Some(watch) = &self.0 {
            watch(step);
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Watch" } else { "None" })
    }
}

impl Connector {
    /// Of a `ws://` or `wss://` URL. It is checked when it is used.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            place: None,
            options: Options::default(),
            headers: Vec::new(),
            subprotocols: Vec::new(),
            origin: None,
            user: None,
            proxy: None,
            redirects: REDIRECTS_MAX,
            tls: Tls::default(),
            watch: Watch::default(),
        }
    }

    /// Connects to another host and port than those of the URL, which are asked for, and which the certificate must name,
    /// all the same. A redirect to another host or port goes where it says.
    #[must_use]
    pub fn place(mut self, host: impl Into<String>, port: u16) -> Self {
        self.place = Some((host.into(), port));
        self
    }

    /// Shows each step of an opening, with the bytes of the heads: for a program that tells its user what goes on.
    #[must_use]
    pub fn watch(mut self, watch: impl Fn(Step<'_>) + Send + Sync + 'static) -> Self {
        self.watch = Watch(Some(Arc::new(watch)));
        self
    }

    /// Limits, timeouts and compression.
    #[must_use]
    pub const fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Changes some of the options.
    #[must_use]
    pub fn configure(mut self, change: impl FnOnce(&mut Options)) -> Self {
        change(&mut self.options);
        self
    }

    /// Adds a header to the request. `Authorization` and `Origin` may be there once each, whoever adds them.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Offers a subprotocol; the first one is liked best. If the server chooses none, the connection opens without.
    #[must_use]
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.subprotocols.push(name.into());
        self
    }

    /// The `Origin` header, which only browsers must send. Default: none.
    #[must_use]
    pub fn origin(mut self, origin: impl Into<String>) -> Self {
        self.origin = Some(origin.into());
        self
    }

    /// User and password for the server (Basic), instead of those in the URL. They are not sent to another host or
    /// port, or another scheme, when a server redirects there.
    #[must_use]
    pub fn basic_auth(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.user = Some((user.into(), password.into()));
        self
    }

    /// An HTTP proxy that opens a tunnel (CONNECT), as `http://user:password@host:port`. Default: none; no environment
    /// variable is read.
    #[must_use]
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.proxy = Some(url.into());
        self
    }

    /// How many redirects are followed. Default 5. Never from `wss://` to `ws://`.
    #[must_use]
    pub const fn redirects(mut self, max: u32) -> Self {
        self.redirects = max;
        self
    }

    /// How rustls connects: which certificates it trusts, and which one it shows. Default: what the system trusts.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, config: Arc<tokio_rustls::rustls::ClientConfig>) -> Self {
        self.tls = Tls(Some(config));
        self
    }

    /// Opens the WebSocket. Returned with it: what the server answered.
    ///
    /// # Errors
    /// [`ConnectError`]; its text is a sentence for a user.
    pub async fn connect(&self) -> Result<(WebSocket<Stream>, Response), ConnectError> {
        let opened = timeout(self.options.open_timeout, self.follow());
        opened.await.unwrap_or(Err(ConnectError::Timeout))
    }

    /// Opens the WebSocket on a stream that the caller has: a Unix socket, a tunnel, TLS of another library. The URL says
    /// what is asked for. Redirects are not followed.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn handshake<S>(&self, stream: S) -> Result<(WebSocket<S>, Response), ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let url = Url::parse(&self.url)?;
        let opened = timeout(self.options.open_timeout, self.open(stream, &url, true));
        opened.await.unwrap_or(Err(ConnectError::Timeout))
    }

    /// Connects, and goes where the server says.
    async fn follow(&self) -> Result<(WebSocket<Stream>, Response), ConnectError> {
        let asked = Url::parse(&self.url)?;
        let mut url = asked.clone();
        for _ in 0..=self.redirects {
            let at_home = (url.secure, url.port) == (asked.secure, asked.port)
                && url.host.eq_ignore_ascii_case(&asked.host);
            let stream = self.stream(&url, at_home).await?;
            self.watch.tell(Step::Connected(&stream));
            let refused = match self.open(stream, &url, at_home).await {
                Err(ConnectError::Refused(refused)) => refused,
                other => return other,
            };
            let status = refused.response.status();
            if !is_redirect(handshake::StatusCode(status)) || self.redirects == 0 {
                return Err(ConnectError::Refused(refused));
            }
            let to = redirect(&url.text(), refused.response.header("Location"));
            url = Url::parse(&to.map_err(ConnectError::Redirect)?)?;
            url.credentials.clone_from(&asked.credentials);
        }
        Err(ConnectError::TooManyRedirects)
    }

    async fn stream(&self, url: &Url, at_home: bool) -> Result<Stream, ConnectError> {
        let tcp = match (&self.proxy, &self.place) {
            (None, Some((host, port))) if at_home => dial::tcp(host, *port).await?,
            (None, _) => dial::tcp(&url.host, url.port).await?,
            (Some(proxy), _) => {
                let proxy = Url::parse_proxy(proxy)?;
                let mut tcp = dial::tcp(&proxy.host, proxy.port).await?;
                dial::tunnel(&mut tcp, &proxy, url, &self.options).await?;
                tcp
            }
        };
        Ok(match url.secure {
            true => Stream::tls(self.tls.open(tcp, &url.host).await?),
            false => Stream::plain(tcp),
        })
    }

    /// The opening handshake. `at_home`: this is the host that the caller named, so credentials and cookies are for it.
    async fn open<S>(
        &self,
        mut stream: S,
        url: &Url,
        at_home: bool,
    ) -> Result<(WebSocket<S>, Response), ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let key = random::bytes();
        let subprotocols: Vec<&str> = self.subprotocols.iter().map(String::as_str).collect();
        let offered = Offered {
            subprotocols: &subprotocols,
            compression: self.options.terms()?,
        };
        let request = self.request(url, at_home, key, offered)?;
        self.watch.tell(Step::Request(&request));
        let io = async {
            stream.write_all(&request).await?;
            stream.flush().await
        };
        io.await.map_err(ConnectError::Io)?;
        let limits = self.options.head_limits();
        let answer = head::read(&mut stream, |bytes, resume| {
            let parsed = parse_response_from(bytes, resume, &key, &offered, &limits)
                .map(|progress| progress.map(|head| Answer::of(&head)));
            match &parsed {
                Ok(Progress::Incomplete { .. }) => {}
                Ok(Progress::Complete { head_bytes, .. }) => {
                    self.watch.tell(Step::Response(&bytes[..*head_bytes]));
                }
                Err(_) => self.watch.tell(Step::Response(bytes)),
            }
            parsed
        });
        let (mut answer, rest) = answer.await.map_err(|error| match error {
            NoHead::Bad(fault) => ConnectError::Fault(fault),
            NoHead::Ended => ConnectError::Io(std::io::ErrorKind::UnexpectedEof.into()),
            NoHead::Io(error) => ConnectError::Io(error),
        })?;
        answer.response.url = url.text();
        answer.opens(stream, rest, self.options)
    }

    fn request(
        &self,
        url: &Url,
        at_home: bool,
        key: [u8; 16],
        offered: Offered<'_>,
    ) -> Result<Vec<u8>, ConnectError> {
        let credentials = match &self.user {
            None => url.credentials.clone(),
            Some((user, password)) => Some(basic_credentials(user, password).ok_or(BadUrl::User)?),
        };
        let own = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let credentials = credentials.as_deref();
        let headers: Vec<_> = own
            .chain(credentials.map(|value| ("Authorization", value)))
            .filter(|(name, _)| at_home || !is_secret(name))
            .collect();
        let count = |known: &str| {
            let named = headers.iter();
            named
                .filter(|(name, _)| name.eq_ignore_ascii_case(known))
                .count()
        };
        if count("Authorization") > 1 || count("Origin") + usize::from(self.origin.is_some()) > 1 {
            return Err(Misuse::Repeated.into());
        }
        let mut out = Vec::new();
        let request = ClientRequest {
            origin: self.origin.as_deref(),
            offered,
            headers: &headers,
            ..ClientRequest::new(&url.authority, &url.target, key)
        };
        encode_request(&request, &mut out)?;
        Ok(out)
    }
}

/// A server's answer, without its bytes.
struct Answer {
    response: Response,
    /// `None`: it refused.
    accepted: Option<(Option<Box<str>>, Option<Agreed>)>,
}

impl Answer {
    fn of(head: &handshake::Response<'_>) -> Self {
        Self {
            response: Response::of(head.http()),
            accepted: match head.kind() {
                ResponseKind::Refused { .. } => None,
                ResponseKind::Accepted {
                    subprotocol,
                    compression,
                } => Some((subprotocol.map(Into::into), compression)),
            },
        }
    }

    fn opens<S>(
        self,
        stream: S,
        rest: BytesMut,
        options: Options,
    ) -> Result<(WebSocket<S>, Response), ConnectError> {
        let Some((subprotocol, compression)) = self.accepted else {
            return Err(ConnectError::Refused(Box::new(Refused {
                response: self.response,
                body: rest.freeze(),
            })));
        };
        let opened = Opened {
            rest,
            subprotocol,
            compression,
        };
        let websocket = WebSocket::opened(stream, Role::Client, opened, options);
        Ok((websocket, self.response))
    }
}
