//! The page that sends commands to the control server from a browser, over HTTP.
//!
//! Owns: one document, served on a separate thread. Never: talks to the control server; the browser does.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::get;

/// The page loads nothing from elsewhere, and may connect to any control server.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
     connect-src ws: wss:; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The line of the document that is replaced by the true port. As it stands it is right for a page opened as a file.
const DEFAULT_PORT: &str = "const CONTROL_PORT = 9050;";

/// Serves the page until the process ends.
pub(super) fn spawn(listener: TcpListener, control_port: u16) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let page: Arc<str> = page(control_port).into();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let serve = async move {
        let router = Router::new()
            .route(
                "/",
                get(move || async move {
                    let headers = [
                        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
                        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
                        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
                        (header::CACHE_CONTROL, "no-cache"),
                    ];
                    (headers, page.to_string()).into_response()
                }),
            )
            .fallback(|| async { (StatusCode::NOT_FOUND, "404: see /\n") });
        axum::serve(tokio::net::TcpListener::from_std(listener)?, router).await
    };
    let thread = std::thread::Builder::new().name("wsperf-page".to_owned());
    thread.spawn(move || {
        if let Err(error) = runtime.block_on(serve) {
            tracing::error!("the page has ended: {error}");
        }
    })?;
    Ok(())
}

fn page(control_port: u16) -> String {
    let port = format!("const CONTROL_PORT = {control_port};");
    include_str!("../page.html").replace(DEFAULT_PORT, &port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_one_document_without_outside_resources() {
        let html = page(12345);
        assert!(html.starts_with("<!doctype html>"));
        assert_eq!(html.matches("const CONTROL_PORT = 12345;").count(), 1);
        for outside in [
            "src=\"",
            "<link rel=\"stylesheet\"",
            "@import",
            "url(http",
            "https://",
            "innerHTML",
        ] {
            assert!(!html.contains(outside), "{outside}");
        }
    }
}
