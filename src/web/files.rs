//! Files below a directory: `tower-http` reads the request and writes the answer (ranges, validators, types, neighbours that are
//! compressed), `cap-std` opens nothing outside of the directory, whatever a path or a symbolic link says.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::Bytes;
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _};
use http_body_util::{BodyExt as _, Empty};
use hyper::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_RANGE,
    LAST_MODIFIED, RANGE,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};
use tokio::task::spawn_blocking;
use tower_http::services::ServeDir;
use tower_http::services::fs::{Backend, File, Metadata};

use crate::body::{Body, text};
use crate::listing;
use crate::options::FileOptions;

/// The files.
#[derive(Debug)]
pub(crate) struct Files {
    service: ServeDir<Infallible, Beneath>,
    beneath: Beneath,
    has_listing: bool,
    cache_control: Option<HeaderValue>,
}

/// `ServeDir` without a fallback.
type Infallible = tower_http::services::fs::DefaultServeDirFallback;

impl Files {
    /// # Errors
    /// The directory cannot be opened.
    pub(crate) fn open(options: &FileOptions) -> io::Result<Self> {
        let dir = Dir::open_ambient_dir(&options.dir, ambient_authority())?;
        let beneath = Beneath(Arc::new(dir));
        let service = ServeDir::with_backend("", beneath.clone())
            .precompressed_gzip()
            .precompressed_br()
            .ignore_multi_range_requests(true);
        let cache_control = HeaderValue::from_bytes(options.cache_control.as_bytes()).ok();
        Ok(Self {
            service,
            beneath,
            has_listing: options.listing,
            cache_control: cache_control.filter(|value| !value.is_empty()),
        })
    }

    /// The answer to a GET or HEAD. `None`: there is no such file.
    pub(crate) async fn find(&self, head: &Parts) -> Option<Response<Body>> {
        // A redirect to `//name/` would lead to another host.
        let path = head.uri.path();
        if path.starts_with("//") || !path.starts_with('/') {
            return None;
        }
        let mut asked = Request::new(Empty::new());
        *asked.method_mut() = head.method.clone();
        *asked.uri_mut() = head.uri.path_and_query()?.clone().into();
        *asked.headers_mut() = head.headers.clone();
        if !self.is_range_current(&asked).await {
            asked.headers_mut().remove(RANGE);
        }
        let mut response = match self.service.clone().try_call(asked).await {
            Ok(response) if response.status() == StatusCode::NOT_FOUND => {
                return self.list(path).await;
            }
            Ok(response) => response.map(|body| body.map_err(Into::into).boxed_unsync()),
            Err(error) if is_absent(&error) => return self.list(path).await,
            Err(error) => {
                tracing::warn!("a file cannot be served: {error}");
                return Some(text(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "500: this file cannot be read\n",
                ));
            }
        };
        self.finish(&mut response);
        Some(response)
    }

    /// Whether what the client has of a file is of its present version (RFC 9110 §13.1.5).
    async fn is_range_current(&self, asked: &Request<Empty<Bytes>>) -> bool {
        let (Some(validator), true) = (
            asked.headers().get(IF_RANGE),
            asked.headers().contains_key(RANGE),
        ) else {
            return true;
        };
        let mut head = Request::new(Empty::<Bytes>::new());
        *head.method_mut() = Method::HEAD;
        *head.uri_mut() = asked.uri().clone();
        if let Some(value) = asked.headers().get(ACCEPT_ENCODING) {
            (head.headers_mut()).insert(ACCEPT_ENCODING, value.clone());
        }
        let current = self.service.clone().try_call(head).await;
        current.is_ok_and(|current| {
            let has = |name| current.headers().get(name) == Some(validator);
            has(ETAG) || has(LAST_MODIFIED)
        })
    }

    fn finish(&self, response: &mut Response<Body>) {
        if response.status() == StatusCode::TEMPORARY_REDIRECT {
            *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
        }
        let is_file = matches!(
            response.status(),
            StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED
        );
        let headers = response.headers_mut();
        say_charset(headers);
        if is_file && let Some(value) = &self.cache_control {
            headers.insert(CACHE_CONTROL, value.clone());
        }
    }

    async fn list(&self, path: &str) -> Option<Response<Body>> {
        if !self.has_listing || !path.ends_with('/') {
            return None;
        }
        let (dir, path) = (self.beneath.0.clone(), path.to_owned());
        let page = spawn_blocking(move || listing::page(&dir, &path)).await;
        let mut response = text(StatusCode::OK, page.ok()??);
        let kind = HeaderValue::from_static("text/html; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        let fresh = HeaderValue::from_static("no-store");
        response.headers_mut().insert(CACHE_CONTROL, fresh);
        Some(response)
    }
}

/// Text files are taken to be UTF-8: without a word about it, browsers guess.
fn say_charset(headers: &mut HeaderMap) {
    let Some(kind) = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
    else {
        return;
    };
    if kind.starts_with("text/") && !kind.contains("charset") {
        let kind = format!("{kind}; charset=utf-8");
        if let Ok(kind) = HeaderValue::from_str(&kind) {
            headers.insert(CONTENT_TYPE, kind);
        }
    }
}

/// Whether an error says no more than that there is no such file for us: names that are too long, files in the place of directories, links
/// that lead out or in circles, what we may not read.
fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::NotFound
            | Kind::PermissionDenied
            | Kind::NotADirectory
            | Kind::InvalidFilename
            | Kind::InvalidInput
    ) || error.raw_os_error() == Some(libc::ELOOP)
}

/// What lies beneath the directory.
#[derive(Clone, Debug)]
struct Beneath(Arc<Dir>);

type Later<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

impl Beneath {
    fn on_a_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Dir) -> io::Result<T> + Send + 'static,
    ) -> Later<T> {
        let dir = self.0.clone();
        Box::pin(async move {
            let done = spawn_blocking(move || work(&dir)).await;
            done.map_err(io::Error::other)?
        })
    }
}

impl Backend for Beneath {
    type File = Opened;
    type Metadata = Facts;
    type OpenFuture = Later<Opened>;
    type MetadataFuture = Later<Facts>;

    fn open(&self, path: PathBuf) -> Later<Opened> {
        self.on_a_thread(move |dir| {
            // Otherwise a named pipe would hold the thread.
            let mut options = OpenOptions::new();
            let options = options.read(true).custom_flags(libc::O_NONBLOCK);
            let file = dir.open_with(path, options)?;
            let metadata = file.metadata()?;
            if !metadata.is_file() {
                return Err(io::ErrorKind::NotFound.into());
            }
            Ok(Opened {
                facts: facts(&metadata)?,
                file: tokio::fs::File::from_std(file.into_std()),
            })
        })
    }

    fn metadata(&self, path: PathBuf) -> Later<Facts> {
        self.on_a_thread(move |dir| {
            let metadata = dir.metadata(path)?;
            match metadata.is_file() || metadata.is_dir() {
                true => facts(&metadata),
                false => Err(io::ErrorKind::NotFound.into()),
            }
        })
    }
}

/// What is said of a file.
#[derive(Clone, Copy, Debug)]
struct Facts {
    is_dir: bool,
    len: u64,
    modified: SystemTime,
}

fn facts(metadata: &cap_std::fs::Metadata) -> io::Result<Facts> {
    Ok(Facts {
        is_dir: metadata.is_dir(),
        len: metadata.len(),
        modified: metadata.modified()?.into_std(),
    })
}

impl Metadata for Facts {
    fn is_dir(&self) -> bool {
        self.is_dir
    }

    fn modified(&self) -> io::Result<SystemTime> {
        Ok(self.modified)
    }

    fn len(&self) -> u64 {
        self.len
    }
}

/// An open file.
#[derive(Debug)]
struct Opened {
    file: tokio::fs::File,
    facts: Facts,
}

impl File for Opened {
    type Metadata = Facts;
    type MetadataFuture<'a> = std::future::Ready<io::Result<Facts>>;

    fn metadata(&self) -> Self::MetadataFuture<'_> {
        std::future::ready(Ok(self.facts))
    }
}

impl AsyncRead for Opened {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.file).poll_read(context, buffer)
    }
}

impl AsyncSeek for Opened {
    fn start_seek(mut self: Pin<&mut Self>, position: io::SeekFrom) -> io::Result<()> {
        Pin::new(&mut self.file).start_seek(position)
    }

    fn poll_complete(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Pin::new(&mut self.file).poll_complete(context)
    }
}
