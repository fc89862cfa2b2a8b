//! What the web process has done, to be read while it runs.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the process started, and gauges.
#[derive(Debug, Default)]
pub struct Counts {
    /// Connections that are open now.
    pub connections: AtomicU64,
    /// Connections that were accepted.
    pub accepted: AtomicU64,
    /// Connections that ended with an error: a bad head, a timeout, or a client that left.
    pub broken: AtomicU64,
    /// Requests.
    pub requests: AtomicU64,
    /// Of these, answered with a file or a list of files, or with 304, 412 or 416 in its place.
    pub files: AtomicU64,
    /// Of these, passed on to the application.
    pub proxied: AtomicU64,
    /// Of these, answered 408, 502 or 504, because a body stopped or the application failed before it answered.
    pub proxy_failed: AtomicU64,
    /// Answers of the application that were cut off: it failed, or sent nothing for too long.
    pub proxy_cut: AtomicU64,
    /// Of the requests, for a CGI program. One that a program leads to another program counts again.
    pub cgi: AtomicU64,
    /// Of these, answered 400, 408, 411, 502, 503 or 504, because a body stopped, or the program could not run or failed before it answered.
    pub cgi_failed: AtomicU64,
    /// Answers of CGI programs that were cut off: nothing came for too long.
    pub cgi_cut: AtomicU64,
    /// Of the requests, answered 401.
    pub unauthorized: AtomicU64,
    /// Of the requests, answered 400, 404 or 405 here.
    pub refused: AtomicU64,
}

pub(crate) fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn subtract(gauge: &AtomicU64) {
    gauge.fetch_sub(1, Ordering::Relaxed);
}
