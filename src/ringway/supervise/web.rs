//! The web pages of the supervisor: the status page, `/stats.json`, `/history.json` and `/metrics`; 404 for all else.
//!
//! Owns: the HTTP side and the page. Never: touches the data path; it reads the fleet's figures under a short lock.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;

use super::error::error;
use super::fleet::Fleet;
use super::{json, listen, metrics};
use crate::exit::Fatal;
use crate::time;

/// The figures, shared between the supervisor's loop and the pages. Both run on one thread; the lock is never held
/// across an await.
pub(super) type Shared = Arc<Mutex<Fleet>>;

/// Nothing is loaded from elsewhere; the echo box may connect to any WebSocket server.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self' ws: wss:; \
     img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Binds the pages' port, before any worker is started.
pub(super) fn bind(address: SocketAddr) -> Result<std::net::TcpListener, Fatal> {
    let bind = || -> io::Result<std::net::TcpListener> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    bind().map_err(|error| {
        let mut fatal = listen::refuse_tcp("serve web pages on", &address, "--port", &error);
        fatal.sentence.push_str(" (--port 0 turns the pages off)");
        fatal
    })
}

/// Serves the pages until the runtime ends.
pub(super) fn serve(listener: std::net::TcpListener, fleet: Shared) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let router = Router::new()
        .route("/", get(page))
        .route("/stats.json", get(stats))
        .route("/history.json", get(history))
        .route("/metrics", get(prometheus))
        .fallback(|| async {
            (
                StatusCode::NOT_FOUND,
                "404: see /, /stats.json, /history.json or /metrics\n",
            )
        })
        .with_state(fleet);
    tokio::spawn(async move {
        if let Err(failure) = axum::serve(listener, router).await {
            error(format!("the web pages have ended: {failure}"));
        }
    });
    Ok(())
}

async fn page() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, html()).into_response()
}

async fn stats(State(fleet): State<Shared>) -> Response {
    uncached(Json(json::page(&locked(&fleet), time::now())))
}

async fn history(State(fleet): State<Shared>) -> Response {
    uncached(Json(json::history(&locked(&fleet))))
}

async fn prometheus(State(fleet): State<Shared>) -> Response {
    let text = metrics::render(&locked(&fleet), time::now());
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()
}

fn uncached(body: impl IntoResponse) -> Response {
    let no_store: [(HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];
    (no_store, body).into_response()
}

/// The figures. A panic while they were locked leaves them usable: they are numbers.
pub(super) fn locked(fleet: &Shared) -> std::sync::MutexGuard<'_, Fleet> {
    fleet.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One self-contained document: style and script are put in their places once.
fn html() -> &'static str {
    static HTML: OnceLock<String> = OnceLock::new();
    HTML.get_or_init(|| {
        include_str!("page/index.html")
            .replace("/* page.css */", include_str!("page/page.css"))
            .replace("/* page.js */", include_str!("page/page.js"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_one_document_without_outside_resources() {
        let html = html();
        assert!(html.starts_with("<!doctype html>"));
        assert!(!html.contains("/* page.css */") && !html.contains("/* page.js */"));
        for outside in [
            "src=\"",
            "<link rel=\"stylesheet\"",
            "@import",
            "url(http",
            "https://",
        ] {
            assert!(!html.contains(outside), "{outside}");
        }
    }

    #[test]
    fn a_port_in_use_says_how_to_turn_the_pages_off() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("port 0 is free");
        let fatal = bind(taken.local_addr().expect("bound")).expect_err("taken");
        assert!(
            fatal
                .sentence
                .starts_with("cannot serve web pages on 127.0.0.1:"),
            "{}",
            fatal.sentence
        );
        assert!(
            fatal.sentence.ends_with("(--port 0 turns the pages off)"),
            "{}",
            fatal.sentence
        );
    }
}
