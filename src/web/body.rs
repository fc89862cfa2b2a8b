//! Bodies of answers, and answers of our own.

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body that is sent piece by piece.
pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;

/// An answer of our own.
pub(crate) fn text(status: StatusCode, sentence: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(sentence.into()).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
