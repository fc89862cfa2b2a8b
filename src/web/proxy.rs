//! Requests to an application and its answers. Bodies are passed on piece by piece, no faster than they are taken.
//!
//! | what happens | answer |
//! |---|---|
//! | the application refuses the connection, or breaks the protocol before it answers | 502 |
//! | it is not connected in time, or neither takes nor sends a byte for [`Options::upstream_timeout`] | 504 |
//! | the client sends nothing of its body for [`Options::idle_timeout`] | 408 |
//! | the address is none that can be passed on | 400 |
//! | an answer stops in its middle | the connection of the client ends |

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body as _, Incoming};
use hyper::header::{HOST, HeaderValue};
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::{Method, Request, Response, StatusCode, Uri, Version};
use hyper_util::client::legacy;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tower_http::timeout::{TimeoutBody, TimeoutError};

use crate::body::{Body, text};
use crate::counts::{Counts, add};
use crate::forward;
use crate::options::{self, Options, Trust};
use crate::peer::Peer;
use crate::upstream::Upstream;

/// Time between two warnings about an application that is away.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The way to the application.
#[derive(Debug)]
pub(crate) struct Proxy {
    upstream: Upstream,
    /// The host of the address in requests.
    authority: String,
    /// Time in which the application must take or send something.
    patience: Duration,
    /// And a client.
    idle: Duration,
    trust: Trust,
    counts: Arc<Counts>,
    told: Mutex<Option<Instant>>,
}

/// Why there is no answer of the application.
enum Failure {
    Of(legacy::Error),
    Silent,
    /// It speaks another protocol from now on.
    Switched,
}

impl Proxy {
    pub(crate) fn new(
        upstream: &options::Upstream,
        options: &Options,
        counts: Arc<Counts>,
    ) -> Self {
        let (upstream, authority) = Upstream::new(upstream, options.upstream_timeout);
        Self {
            upstream,
            authority,
            patience: options.upstream_timeout,
            idle: options.idle_timeout,
            trust: options.trust.clone(),
            counts,
            told: Mutex::new(None),
        }
    }

    /// Passes a request on.
    pub(crate) async fn pass(
        &self,
        request: Request<Body>,
        peer: Peer,
        user: Option<&str>,
    ) -> Response<Body> {
        let moved = Arc::new(AtomicU64::new(0));
        let Some(request) = self.rewrite(request, peer, user, &moved) else {
            add(&self.counts.refused);
            let sentence = "400: this address cannot be passed on\n";
            return text(StatusCode::BAD_REQUEST, sentence);
        };
        add(&self.counts.proxied);
        match self.ask(request, &moved).await {
            // Nobody has asked for another protocol: the fields that would have were left behind.
            Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                self.explain(&Failure::Switched).await
            }
            Ok(response) => self.pass_back(response),
            Err(failure) => self.explain(&failure).await,
        }
    }

    /// The request as the application gets it. Each piece of its body that is passed on is counted in `moved`.
    fn rewrite(
        &self,
        request: Request<Body>,
        peer: Peer,
        user: Option<&str>,
        moved: &Arc<AtomicU64>,
    ) -> Option<Request<Body>> {
        let (mut head, body) = request.into_parts();
        if head.method == Method::CONNECT {
            return None;
        }
        // RFC 9112 §3.2.2: the host of an address in absolute form counts.
        if let Some(host) = head.uri.authority() {
            let host = HeaderValue::from_str(host.as_str()).ok()?;
            head.headers.insert(HOST, host);
        }
        let path = head.uri.path_and_query().cloned();
        head.uri = Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(self.authority.parse::<Authority>().ok()?)
            .path_and_query(path.unwrap_or(PathAndQuery::from_static("/")))
            .build()
            .ok()?;
        head.version = Version::HTTP_11;
        forward::strip(&mut head.headers);
        let address = peer.address.map(|address| address.ip());
        forward::tell(&mut head.headers, peer, self.trust.holds(address), user);
        if body.is_end_stream() {
            // Without a body, and so without a length or chunks: some applications take none of those.
            let none = Empty::new().map_err(|never| match never {});
            return Some(Request::from_parts(head, none.boxed_unsync()));
        }
        let moved = moved.clone();
        let body = TimeoutBody::new(self.idle, body).map_frame(move |frame| {
            moved.fetch_add(1, Ordering::Relaxed);
            frame
        });
        Some(Request::from_parts(head, body.boxed_unsync()))
    }

    /// Waits for the head of the answer, as long as the body of the request moves or the time is not over.
    async fn ask(
        &self,
        request: Request<Body>,
        moved: &AtomicU64,
    ) -> Result<Response<Incoming>, Failure> {
        let mut answer = std::pin::pin!(self.upstream.request(request));
        let mut seen = 0;
        loop {
            if let Ok(answer) = timeout(self.patience, answer.as_mut()).await {
                return answer.map_err(Failure::Of);
            }
            let now = moved.load(Ordering::Relaxed);
            if std::mem::replace(&mut seen, now) == now {
                return Err(Failure::Silent);
            }
        }
    }

    fn pass_back(&self, response: Response<Incoming>) -> Response<Body> {
        let (mut head, body) = response.into_parts();
        forward::strip(&mut head.headers);
        head.version = Version::HTTP_11;
        let counts = self.counts.clone();
        let body = TimeoutBody::new(self.patience, body).map_err(move |error| {
            add(&counts.proxy_cut);
            error
        });
        Response::from_parts(head, body.boxed_unsync())
    }

    async fn explain(&self, failure: &Failure) -> Response<Body> {
        add(&self.counts.proxy_failed);
        let (status, sentence) = match failure {
            Failure::Of(error) if has_cause(error, |cause| cause.is::<TimeoutError>()) => {
                let sentence = "408: the body of the request did not arrive in time\n";
                return text(StatusCode::REQUEST_TIMEOUT, sentence);
            }
            Failure::Of(error) if !has_cause(error, is_late) => (
                StatusCode::BAD_GATEWAY,
                "502: the application that answers here cannot be reached, or breaks off\n",
            ),
            Failure::Switched => (
                StatusCode::BAD_GATEWAY,
                "502: the application that answers here speaks another protocol\n",
            ),
            Failure::Of(_) | Failure::Silent => (
                StatusCode::GATEWAY_TIMEOUT,
                "504: the application that answers here does not do so in time\n",
            ),
        };
        let mut told = self.told.lock().await;
        if told.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
            *told = Some(Instant::now());
            let why = match failure {
                Failure::Of(error) => root_of(error).to_string(),
                Failure::Silent => "it does not answer".to_owned(),
                Failure::Switched => "it answers 101".to_owned(),
            };
            tracing::warn!(
                "a request got {} instead of the application's answer: {why} (at most one such line in {} s)",
                status.as_u16(),
                LOG_INTERVAL.as_secs()
            );
        }
        text(status, sentence)
    }
}

fn is_late(cause: &(dyn Error + 'static)) -> bool {
    let error = cause.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
}

/// Whether an error or one of its causes is such a one.
fn has_cause(error: &legacy::Error, is_it: impl Fn(&(dyn Error + 'static)) -> bool) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if is_it(error) {
            return true;
        }
        cause = error.source();
    }
    false
}

fn root_of(error: &legacy::Error) -> &(dyn Error + 'static) {
    let mut root: &(dyn Error + 'static) = error;
    while let Some(cause) = root.source() {
        root = cause;
    }
    root
}
