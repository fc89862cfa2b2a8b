//! CGI programs (RFC 3875): a process for each request.
//!
//! | what happens | answer |
//! |---|---|
//! | the program does not start, ends without an answer, or answers with what is no head | 502 |
//! | it neither takes nor sends a byte for [`CgiOptions::timeout`] | 504 |
//! | the client sends nothing of its body for [`Options::idle_timeout`] | 408 |
//! | the body has no length: `CONTENT_LENGTH` must be right (§4.1.2) | 411 |
//! | [`CgiOptions::processes_max`] programs run | 503 |
//! | an answer stops in its middle | the connection of the client ends |
//!
//! Bodies pass piece by piece both ways, no faster than they are taken. `head`: what a program says in front of its body. `process`: how it
//! begins and ends.

pub mod head;
mod process;

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body as _, Frame};
use hyper::header::{
    CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Version};
use ringway_proto::forwarded_for;
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};
use tokio::process::ChildStdin;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tower_http::timeout::{TimeoutBody, TimeoutError};

use crate::body::{Body, BoxError, text};
use crate::counts::{Counts, add};
use crate::environment::{self, Asked};
use crate::forward;
use crate::options::{CgiOptions, Options, Trust};
use crate::peer::Peer;
use crate::scripts::{Script, Scripts};
use head::{HEAD_BYTES_MAX, Head};
use process::{Limits, Output, Processes, Running};

/// Bytes that a piece of an answer has at most.
const PIECE_BYTES_MAX: usize = 16 << 10;

/// Variables of a body, which has to have a length.
const OF_BODY: [HeaderName; 4] = [CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING, EXPECT];

/// The programs of a directory.
#[derive(Debug)]
pub(crate) struct Cgi {
    scripts: Arc<Scripts>,
    /// Variables of our own environment that programs get.
    passed: Vec<(OsString, OsString)>,
    processes: Arc<Processes>,
    /// Time in which a program must take or send something.
    patience: Duration,
    /// And a client.
    idle: Duration,
    trust: Trust,
    counts: Arc<Counts>,
}

/// Whose a request is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visitor<'a> {
    pub(crate) peer: Peer,
    /// Who has shown a password.
    pub(crate) user: Option<&'a str>,
}

/// Why there is no answer of a program.
enum Failure {
    TooMany,
    NoLength,
    Body(BoxError),
    Start(io::Error),
    Head(&'static str),
    Silent,
}

impl Cgi {
    /// # Errors
    /// The directory cannot be opened.
    pub(crate) fn open(
        own: &CgiOptions,
        options: &Options,
        counts: Arc<Counts>,
    ) -> io::Result<Self> {
        let passed = own.pass_env.iter();
        let passed = passed.filter_map(|name| Some((name.into(), std::env::var_os(name)?)));
        Ok(Self {
            scripts: Arc::new(Scripts::open(&own.dir)?),
            passed: passed.collect(),
            processes: Arc::new(Processes::new(Limits {
                processes_max: own.processes_max,
                kill_after: own.kill_after,
                patience: own.timeout,
            })),
            patience: own.timeout,
            idle: options.idle_timeout,
            trust: options.trust.clone(),
            counts,
        })
    }

    /// The program at a path.
    pub(crate) async fn find(&self, path: &str) -> Option<Script> {
        let (scripts, path) = (Arc::clone(&self.scripts), path.to_owned());
        let found = spawn_blocking(move || scripts.find(&path)).await;
        found.ok()?.ok()
    }

    /// Runs a program for a request.
    ///
    /// # Errors
    /// The request whose answer the program wants to be this one's.
    pub(crate) async fn run(
        &self,
        script: Script,
        request: Request<Body>,
        visitor: Visitor<'_>,
    ) -> Result<Response<Body>, Request<Body>> {
        add(&self.counts.cgi);
        let (asked, body) = request.into_parts();
        match self.try_run(&script, &asked, body, visitor).await {
            Ok((Head::Answer { status, fields }, answer)) => {
                Ok(self.pass_back(status, fields, answer, &asked.method))
            }
            Ok((Head::Elsewhere(path), answer)) => {
                tokio::spawn(answer.output.drain(self.patience));
                Err(elsewhere(asked, path))
            }
            Err(failure) => Ok(self.explain(&script, &failure)),
        }
    }

    /// The answer to a request that programs lead from one path to another.
    pub(crate) fn refuse_circle(&self) -> Response<Body> {
        add(&self.counts.cgi_failed);
        text(
            StatusCode::BAD_GATEWAY,
            "502: programs lead this request from one path to another\n",
        )
    }

    /// The server ends: so do all programs.
    pub(crate) async fn end(&self) {
        self.processes.end().await;
    }

    async fn try_run(
        &self,
        script: &Script,
        asked: &Parts,
        body: Body,
        visitor: Visitor<'_>,
    ) -> Result<(Head, Answer), Failure> {
        let is_chunked = asked.headers.contains_key(TRANSFER_ENCODING);
        if is_chunked || !body.is_end_stream() && !asked.headers.contains_key(CONTENT_LENGTH) {
            return Err(Failure::NoLength);
        }
        let room = self.processes.room().ok_or(Failure::TooMany)?;
        let environment = self.environment(script, asked, visitor);
        let started = self.processes.start(&script.file, environment, room);
        let Running { stdin, mut output } = started.map_err(Failure::Start)?;
        let moved = Arc::new(AtomicU64::new(0));
        let (tell, told) = oneshot::channel();
        let breaker = output.breaker();
        let fed = feed(TimeoutBody::new(self.idle, body), stdin, moved.clone());
        let feeder = tokio::spawn(async move {
            if let Err(error) = fed.await {
                let _ = tell.send(error);
                breaker.break_off();
            }
        });
        output.fed_by(feeder.abort_handle());
        let broken = async {
            match told.await {
                Ok(error) => error,
                // All of it has arrived.
                Err(_) => std::future::pending().await,
            }
        };
        let (head, rest) = tokio::select! {
            head = self.read_head(&mut output, &moved) => head?,
            error = broken => return Err(Failure::Body(error)),
        };
        Ok((head, Answer { rest, output }))
    }

    fn environment(
        &self,
        script: &Script,
        asked: &Parts,
        Visitor { peer, user }: Visitor<'_>,
    ) -> Vec<(OsString, OsString)> {
        let field = |name: HeaderName| {
            let value = asked.headers.get(name).map(HeaderValue::as_bytes);
            str::from_utf8(value.unwrap_or_default()).unwrap_or_default()
        };
        let target = asked.uri.path_and_query();
        let asked_of = Asked {
            method: asked.method.as_str(),
            target: target.map_or("/", PathAndQuery::as_str),
            query: asked.uri.query().unwrap_or(""),
            protocol: match asked.version {
                Version::HTTP_10 => "HTTP/1.0",
                _ => "HTTP/1.1",
            },
            // RFC 9112 §3.2.2: the host of an address in absolute form counts.
            host: match asked.uri.authority() {
                Some(host) => host.as_str(),
                None => field(HOST),
            },
            client: self.client(peer, &asked.headers),
            is_tls: peer.is_tls,
            body: (field(CONTENT_LENGTH), field(CONTENT_TYPE)),
        };
        let fields = asked.headers.iter();
        let fields = fields.map(|(name, value)| (name.as_str(), value.as_bytes()));
        let mut all = self.passed.clone();
        all.extend(environment::of(&asked_of, fields, &script.place));
        all.extend(environment::of_user(user));
        all
    }

    /// Who asks, as workers find it out for WebSockets.
    fn client(&self, peer: Peer, headers: &HeaderMap) -> Option<SocketAddr> {
        let address = peer.address.map(|address| address.ip());
        let told = self
            .trust
            .forwarded_by
            .filter(|_| self.trust.holds(address));
        let told = told.and_then(|count| {
            let values = headers.get_all("x-forwarded-for").iter();
            forwarded_for(values.map(HeaderValue::as_bytes), count)
        });
        told.map(|address| (address, 0).into()).or(peer.address)
    }

    /// Reads the head of an answer, and what has come of the body with it.
    async fn read_head(
        &self,
        output: &mut Output,
        moved: &AtomicU64,
    ) -> Result<(Head, Bytes), Failure> {
        let mut bytes = BytesMut::new();
        let mut seen_moved = 0;
        loop {
            let seen = bytes.len();
            bytes.reserve(PIECE_BYTES_MAX);
            match timeout(self.patience, output.read_buf(&mut bytes)).await {
                Ok(Ok(1..)) => {}
                Ok(_) => return Err(Failure::Head("ends without an answer")),
                Err(_) => {
                    let now = moved.load(Ordering::Relaxed);
                    if std::mem::replace(&mut seen_moved, now) == now {
                        return Err(Failure::Silent);
                    }
                }
            }
            let end = head::end(&bytes, seen);
            if end.unwrap_or(bytes.len()) > HEAD_BYTES_MAX {
                return Err(Failure::Head("answers with a head above 32 KiB"));
            }
            if let Some(end) = end {
                let rest = bytes.split_off(end).freeze();
                let head = head::parse(&bytes).map_err(Failure::Head)?;
                return Ok((head, rest));
            }
        }
    }

    fn pass_back(
        &self,
        status: StatusCode,
        mut fields: HeaderMap,
        answer: Answer,
        method: &Method,
    ) -> Response<Body> {
        forward::strip(&mut fields);
        let is_bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if status == StatusCode::NO_CONTENT {
            fields.remove(CONTENT_LENGTH);
        }
        let body = if is_bodiless || method == Method::HEAD {
            // A program may send one all the same (§4.3.2).
            tokio::spawn(answer.output.drain(self.patience));
            Empty::new().map_err(|never| match never {}).boxed_unsync()
        } else {
            let len = fields.get(CONTENT_LENGTH).map(HeaderValue::to_str);
            let body = OutputBody {
                left: len.and_then(|len| len.ok()?.parse().ok()),
                rest: answer.rest,
                output: Some(answer.output),
                piece: vec![0; PIECE_BYTES_MAX].into(),
                patience: self.patience,
            };
            let counts = self.counts.clone();
            let body = TimeoutBody::new(self.patience, body).map_err(move |error| {
                add(&counts.cgi_cut);
                error
            });
            body.boxed_unsync()
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = fields;
        response
    }

    fn explain(&self, script: &Script, failure: &Failure) -> Response<Body> {
        add(&self.counts.cgi_failed);
        let name = script.file.display();
        let (status, sentence) = match failure {
            Failure::TooMany => (
                StatusCode::SERVICE_UNAVAILABLE,
                "503: as many programs run as may: try again later\n",
            ),
            Failure::NoLength => (
                StatusCode::LENGTH_REQUIRED,
                "411: a body for this program needs a Content-Length\n",
            ),
            Failure::Body(error) if error.is::<TimeoutError>() => (
                StatusCode::REQUEST_TIMEOUT,
                "408: the body of the request did not arrive in time\n",
            ),
            Failure::Body(_) => (
                StatusCode::BAD_REQUEST,
                "400: the body of the request broke off\n",
            ),
            Failure::Start(error) => {
                tracing::warn!("{name} cannot be started: {error}");
                (
                    StatusCode::BAD_GATEWAY,
                    "502: the program that answers here cannot be started\n",
                )
            }
            Failure::Head(why) => {
                tracing::warn!("a request got 502, because {name} {why}");
                (
                    StatusCode::BAD_GATEWAY,
                    "502: the program that answers here does not speak CGI\n",
                )
            }
            Failure::Silent => {
                tracing::warn!("a request got 504, because {name} does not answer");
                (
                    StatusCode::GATEWAY_TIMEOUT,
                    "504: the program that answers here does not do so in time\n",
                )
            }
        };
        text(status, sentence)
    }
}

/// The request for another path, without a body.
fn elsewhere(mut asked: Parts, path: PathAndQuery) -> Request<Body> {
    asked.uri = path.into();
    if asked.method != Method::HEAD {
        asked.method = Method::GET;
    }
    for name in OF_BODY {
        asked.headers.remove(name);
    }
    let none = Empty::new().map_err(|never| match never {});
    Request::from_parts(asked, none.boxed_unsync())
}

/// Passes a body on to a program. Each piece of it is counted in `moved`.
async fn feed(
    body: TimeoutBody<Body>,
    mut stdin: ChildStdin,
    moved: Arc<AtomicU64>,
) -> Result<(), BoxError> {
    let mut body = Box::pin(body);
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame?.into_data() else {
            continue;
        };
        // A program need not read all of it, or any.
        if stdin.write_all(&piece).await.is_err() {
            break;
        }
        moved.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// What follows a head.
struct Answer {
    /// Came with the head.
    rest: Bytes,
    output: Output,
}

/// The body of an answer.
struct OutputBody {
    /// Bytes that are still to come, where the program has said how many.
    left: Option<u64>,
    rest: Bytes,
    /// `None`: it is drained.
    output: Option<Output>,
    piece: Box<[u8]>,
    patience: Duration,
}

impl OutputBody {
    fn next(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        if !self.rest.is_empty() {
            return Poll::Ready(Ok(std::mem::take(&mut self.rest)));
        }
        let Some(output) = &mut self.output else {
            return Poll::Ready(Ok(Bytes::new()));
        };
        let mut piece = ReadBuf::new(&mut self.piece);
        ready!(Pin::new(output).poll_read(context, &mut piece))?;
        Poll::Ready(Ok(Bytes::copy_from_slice(piece.filled())))
    }
}

impl hyper::body::Body for OutputBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let piece = ready!(self.next(context))?;
        if piece.is_empty() {
            return Poll::Ready(None);
        }
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(piece.len() as u64);
            // Nobody asks for more, and the program may still end in peace.
            if *left == 0
                && let Some(output) = self.output.take()
            {
                tokio::spawn(output.drain(self.patience));
            }
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}
