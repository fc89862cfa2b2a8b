//! Which part answers a request, and what every answer carries.
//!
//! Files come first, then the application; what is left is answered 404 or 405.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{ALLOW, HeaderMap, HeaderName, HeaderValue, SERVER};
use hyper::{Method, Request, Response, StatusCode};

use crate::body::{Body, text};
use crate::counts::{Counts, add};
use crate::files::Files;
use crate::options::Options;
use crate::peer::Peer;
use crate::proxy::Proxy;

/// Answers requests.
#[derive(Debug)]
pub(crate) struct Answering {
    files: Option<Files>,
    proxy: Option<Proxy>,
    /// Fields of every answer. One that is there replaces what an answer has.
    letterhead: HeaderMap,
    counts: Arc<Counts>,
}

impl Answering {
    /// # Errors
    /// The directory of the files cannot be opened, or a field is none.
    pub(crate) fn new(options: &Options, counts: Arc<Counts>) -> io::Result<Self> {
        let proxy = |upstream| Proxy::new(upstream, options, counts.clone());
        Ok(Self {
            files: options.files.as_ref().map(Files::open).transpose()?,
            proxy: options.upstream.as_ref().map(proxy),
            letterhead: letterhead(options)?,
            counts,
        })
    }

    pub(crate) async fn answer(
        &self,
        request: Request<Incoming>,
        peer: Peer,
    ) -> Result<Response<Body>, Infallible> {
        add(&self.counts.requests);
        let mut response = self.find(request, peer).await;
        let headers = response.headers_mut();
        headers.remove(SERVER);
        for (name, value) in &self.letterhead {
            headers.insert(name, value.clone());
        }
        Ok(response)
    }

    async fn find(&self, request: Request<Incoming>, peer: Peer) -> Response<Body> {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        if let Some(files) = &self.files
            && is_read
            && let Some(response) = files.find(&request).await
        {
            add(&self.counts.files);
            return response;
        }
        if let Some(proxy) = &self.proxy {
            return proxy.pass(request, peer).await;
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

fn letterhead(options: &Options) -> io::Result<HeaderMap> {
    let mut fields = HeaderMap::new();
    let of_operator = options.headers.iter();
    let own = (!options.server_name.is_empty()).then_some(("Server", &*options.server_name));
    let of_operator = of_operator.map(|(name, value)| (&**name, &**value));
    for (name, value) in own.into_iter().chain(of_operator) {
        let bad = |_| io::Error::new(io::ErrorKind::InvalidInput, format!("no field: {name}"));
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| bad(()))?;
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad(()))?;
        fields.insert(name, value);
    }
    Ok(fields)
}
