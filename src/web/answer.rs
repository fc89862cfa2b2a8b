//! Which part answers a request, and what every answer carries.
//!
//! Whoever has no password gets 401, where one is needed. CGI programs come first, then files, then the application; what is left is
//! answered 404 or 405.

use std::fmt;
use std::io;
use std::sync::Arc;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue,
    SERVER, UPGRADE,
};
use hyper::{Method, Request, Response, StatusCode, Version};

use crate::auth::Guard;
use crate::body::{Body, text};
use crate::cgi::{Cgi, Visitor};
use crate::counts::{Counts, add};
use crate::files::Files;
use crate::options::{Options, Page};
use crate::peer::Peer;
use crate::proxy::Proxy;

/// Programs that a request is led to, one by the other. Chosen, untested.
const CIRCLE_MAX: usize = 8;

/// A request for a WebSocket behind another request of its connection. Only a worker could open it: the connection ends without an
/// answer, so that whoever has asked (a proxy that uses its connections again) does so on a new one.
#[derive(Debug)]
pub(crate) struct WebSocketElsewhere;

impl fmt::Display for WebSocketElsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a request for a WebSocket came behind another request")
    }
}

impl std::error::Error for WebSocketElsewhere {}

/// Answers requests.
#[derive(Debug)]
pub(crate) struct Answering {
    guard: Option<Guard>,
    cgi: Option<Cgi>,
    files: Option<Files>,
    pages: Vec<Page>,
    proxy: Option<Proxy>,
    /// Fields of every answer. One that is there replaces what an answer has.
    letterhead: HeaderMap,
    counts: Arc<Counts>,
}

impl Answering {
    /// # Errors
    /// A directory cannot be opened, or a field is none.
    pub(crate) fn new(options: &Options, counts: Arc<Counts>) -> io::Result<Self> {
        let proxy = |upstream| Proxy::new(upstream, options, counts.clone());
        let cgi = |own| Cgi::open(own, options, counts.clone());
        Ok(Self {
            guard: options.users.clone().map(Guard::new).transpose()?,
            cgi: options.cgi.as_ref().map(cgi).transpose()?,
            files: options.files.as_ref().map(Files::open).transpose()?,
            pages: options.pages.clone(),
            proxy: options.upstream.as_ref().map(proxy),
            letterhead: letterhead(options)?,
            counts,
        })
    }

    pub(crate) async fn answer(
        &self,
        request: Request<Incoming>,
        peer: Peer,
    ) -> Result<Response<Body>, WebSocketElsewhere> {
        if asks_for_websocket(&request) {
            return Err(WebSocketElsewhere);
        }
        add(&self.counts.requests);
        let mut response = match has_one_host(&request) {
            true => self.admit(request, peer).await,
            false => self.refuse_host(),
        };
        let headers = response.headers_mut();
        headers.remove(SERVER);
        for (name, value) in &self.letterhead {
            headers.insert(name, value.clone());
        }
        Ok(response)
    }

    /// The server ends.
    pub(crate) async fn end(&self) {
        if let Some(cgi) = &self.cgi {
            cgi.end().await;
        }
    }

    fn refuse_host(&self) -> Response<Body> {
        add(&self.counts.refused);
        let sentence = "400: a request has exactly one Host\n";
        let mut response = text(StatusCode::BAD_REQUEST, sentence);
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
        response
    }

    async fn admit(&self, request: Request<Incoming>, peer: Peer) -> Response<Body> {
        let user = match &self.guard {
            None => None,
            Some(guard) => match guard.admit(request.headers()).await {
                Some(user) => Some(user),
                None => {
                    add(&self.counts.unauthorized);
                    return Guard::challenge();
                }
            },
        };
        let user = user.as_deref();
        let mut request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        let Some(cgi) = &self.cgi else {
            return self.find(request, peer, user).await;
        };
        for _ in 0..CIRCLE_MAX {
            let Some(script) = cgi.find(request.uri().path()).await else {
                return self.find(request, peer, user).await;
            };
            match cgi.run(script, request, Visitor { peer, user }).await {
                Ok(response) => return response,
                Err(elsewhere) => request = elsewhere,
            }
        }
        cgi.refuse_circle()
    }

    /// The answer where there is no program.
    async fn find(&self, request: Request<Body>, peer: Peer, user: Option<&str>) -> Response<Body> {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let (head, body) = request.into_parts();
        if let Some(files) = &self.files
            && is_read
            && let Some(response) = files.find(&head).await
        {
            add(&self.counts.files);
            return response;
        }
        if is_read && let Some(page) = page(&self.pages, head.uri.path()) {
            add(&self.counts.files);
            return page;
        }
        if let Some(proxy) = &self.proxy {
            let request = Request::from_parts(head, body);
            return proxy.pass(request, peer, user).await;
        }
        add(&self.counts.refused);
        if is_read {
            return text(
                StatusCode::NOT_FOUND,
                "404: there is nothing at this path\n",
            );
        }
        let sentence = "405: what is here can only be read, by GET or HEAD\n";
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, sentence);
        let allowed = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        response
    }
}

/// The page in memory at this path. hyper leaves its body out where the method is HEAD.
fn page(pages: &[Page], path: &str) -> Option<Response<Body>> {
    let (_, name) = path.rsplit_once('/')?;
    let page = pages.iter().find(|page| page.name == name)?;
    let mut response = text(StatusCode::OK, page.body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(page.content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Some(response)
}

fn asks_for_websocket<B>(request: &Request<B>) -> bool {
    let fields = request.headers().get_all(UPGRADE).into_iter();
    let mut protocols = fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b','));
    protocols.any(|protocol| protocol.trim_ascii().eq_ignore_ascii_case(b"websocket"))
}

/// RFC 9112 §3.2. A worker has seen to the first request of a connection.
fn has_one_host<B>(request: &Request<B>) -> bool {
    let hosts = request.headers().get_all(HOST).iter().count();
    hosts == 1 || hosts == 0 && request.version() < Version::HTTP_11
}

fn letterhead(options: &Options) -> io::Result<HeaderMap> {
    let mut fields = HeaderMap::new();
    let of_operator = options.headers.iter();
    let own = (!options.server_name.is_empty()).then_some(("Server", &*options.server_name));
    let of_operator = of_operator.map(|(name, value)| (&**name, &**value));
    for (name, value) in own.into_iter().chain(of_operator) {
        let bad = || io::Error::new(io::ErrorKind::InvalidInput, format!("no field: {name}"));
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| bad())?;
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
        fields.insert(name, value);
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(version: Version, fields: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().version(version);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request")
    }

    #[test]
    fn a_request_for_a_websocket_is_known_by_its_upgrade() {
        for (value, is_one) in [
            ("websocket", true),
            ("h2c, WebSocket", true),
            ("h2c", false),
            ("websockets", false),
        ] {
            let request = request(Version::HTTP_11, &[("Upgrade", value)]);
            assert_eq!(asks_for_websocket(&request), is_one, "{value}");
        }
        assert!(!asks_for_websocket(&request(Version::HTTP_11, &[])));
    }

    #[test]
    fn a_request_has_one_host() {
        let one = ("Host", "a");
        for (version, fields, is_right) in [
            (Version::HTTP_11, &[one][..], true),
            (Version::HTTP_11, &[], false),
            (Version::HTTP_11, &[one, ("Host", "b")], false),
            (Version::HTTP_10, &[], true),
            (Version::HTTP_10, &[one, one], false),
        ] {
            assert_eq!(has_one_host(&request(version, fields)), is_right);
        }
    }
}
