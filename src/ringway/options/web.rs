//! The options of the web process, which answers requests that open no WebSocket.

use std::path::PathBuf;
use std::time::Duration;

use super::Endpoint;

/// What the web process serves, see `docs/web.md`. With neither files nor CGI programs nor an application there is no such process.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WebOptions {
    /// The directory whose files are served. Default: none.
    pub dir: Option<PathBuf>,
    /// Pages that the program brings along, which come behind the files. Default: none.
    pub pages: &'static [WebPage],
    /// Whether a directory without index.html is listed. Default: no.
    pub listing: bool,
    /// The `Cache-Control` field of files; empty for none. Default `no-cache`: a client may keep a file, and asks each time whether it is
    /// still the same.
    pub cache_control: String,
    /// The directory of the CGI programs, whose paths come before those of files. Default: none. How many run at a time, what they get of
    /// our environment, and how they are ended, is of all programs: [`ProgramOptions`].
    ///
    /// [`ProgramOptions`]: crate::services::gateway::ProgramOptions
    pub cgi_dir: Option<PathBuf>,
    /// Time in which a CGI program must take or send something, and to exit after its answer. Default 1 min.
    pub cgi_timeout: Duration,
    /// Whether every request needs a user of the gateway's [`SessionOptions::basic_auth`]. Default: no.
    ///
    /// [`SessionOptions::basic_auth`]: crate::services::gateway::SessionOptions::basic_auth
    pub auth: bool,
    /// The application that gets all other requests. Default: none.
    pub proxy: Option<Endpoint>,
    /// Time for a connect to it, and in which it must take or send something. Default 1 min.
    pub proxy_timeout: Duration,
    /// Connections that are served at a time; as many again wait, and further ones get 502. Default 1024.
    pub connections: usize,
    /// Time for a request's head, between two requests of a connection, and in which a client must send something of a body. Default 30 s.
    pub idle_timeout: Duration,
}

/// A page that the program brings along, at every path that ends with its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebPage {
    /// The last segment of its paths; empty: that of a directory.
    pub name: &'static str,
    /// Its `Content-Type`.
    pub content_type: &'static str,
    /// What is in it.
    pub body: &'static [u8],
}

impl Default for WebOptions {
    fn default() -> Self {
        Self {
            dir: None,
            pages: &[],
            listing: false,
            cache_control: "no-cache".to_owned(),
            cgi_dir: None,
            cgi_timeout: Duration::from_secs(60),
            auth: false,
            proxy: None,
            proxy_timeout: Duration::from_secs(60),
            connections: 1024,
            idle_timeout: Duration::from_secs(30),
        }
    }
}

impl WebOptions {
    /// Whether there is something to serve.
    pub const fn is_wanted(&self) -> bool {
        self.dir.is_some()
            || self.cgi_dir.is_some()
            || self.proxy.is_some()
            || !self.pages.is_empty()
    }
}
