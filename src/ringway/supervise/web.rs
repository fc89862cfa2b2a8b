//! The web side of the supervisor: the pages (`page`), `/stats.json`, `/history.json` and `/metrics`; 404 for all else.
//!
//! Owns: the HTTP side, with its own thread and event loop. Never: touches the data path or the supervisor's loop; it
//! reads the fleet's figures under a short lock. A visitor can hold a connection for a limited time, and nothing else:
//!
//! | limit | value | who exceeds it |
//! |---|---|---|
//! | connections | `Descriptors::web_connections` | waits in the accept queue |
//! | time for a request's head, idle time between two requests | [`HEAD_TIME_MAX`] | is disconnected |
//! | bytes of a request's head | [`HEAD_BYTES_MAX`] | gets 431 |
//! | life of a connection | [`LIFE_MAX`] | is disconnected after the current answer |
//! | the current answer, after that | [`LAST_ANSWER_TIME_MAX`] | is disconnected |

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::error::warning;
use super::fleet::{Shared, locked};
use super::options::ApiOptions;
use super::{api, json, listen, metrics, page};
use crate::exit::Fatal;
use crate::time;

/// Time for a request's head, and for an idle connection. The page asks every second. A collector that asks less often
/// must connect anew. Chosen, untested.
const HEAD_TIME_MAX: Duration = Duration::from_secs(5);

/// Bytes of a request's head. Browsers include cookies of other servers on the same host. hyper's minimum is 8 KiB.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Time after which a connection is closed, so that no visitor holds one for ever. Chosen, untested.
const LIFE_MAX: Duration = Duration::from_secs(30);

/// Time that a visitor then has to take the current answer.
const LAST_ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// Pauses after a failed accept (no descriptor, no memory): the first one, doubled up to the second.
const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(50);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

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

/// Serves the pages, at most `connections_max` visitors at a time, until the process ends.
pub(super) fn serve(
    listener: std::net::TcpListener,
    (fleet, api): (Shared, Option<(ApiOptions, api::Teller)>),
    connections_max: usize,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    let listener = {
        let _context = runtime.enter();
        TcpListener::from_std(listener)?
    };
    let thread = std::thread::Builder::new().name("web".to_owned());
    thread.spawn(move || {
        let mut router = router(fleet.clone());
        if let Some((options, teller)) = api {
            let (routes, service) = api::router(options, teller, fleet);
            runtime.spawn(service);
            router = router.merge(routes);
        }
        runtime.block_on(accept(listener, router, connections_max));
    })?;
    Ok(())
}

fn router(fleet: Shared) -> Router {
    Router::new()
        .route("/", get(page::dashboard))
        .route("/chat", get(page::chat))
        .route("/fanout", get(page::fanout))
        .route("/topics", get(page::topics))
        .route("/stats.json", get(stats))
        .route("/history.json", get(history))
        .route("/metrics", get(prometheus))
        .fallback(|| async {
            (
                StatusCode::NOT_FOUND,
                "404: see /, /chat, /fanout, /topics, /stats.json, /history.json or /metrics\n",
            )
        })
        .with_state(fleet)
}

/// Accepts visitors for ever.
async fn accept(listener: TcpListener, router: Router, connections_max: usize) {
    let room = Arc::new(Semaphore::new(connections_max));
    let mut pause = ACCEPT_PAUSE_MIN;
    let mut trouble = None;
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return; // nobody closes it
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                (pause, trouble) = (ACCEPT_PAUSE_MIN, None);
                let router = router.clone();
                tokio::spawn(async move {
                    converse(stream, router).await;
                    drop(permit);
                });
            }
            // The visitor left before it was accepted: try the next one.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if trouble != Some(error.kind()) {
                    warning(format!(
                        "the web pages cannot accept, and try again: {error}"
                    ));
                    trouble = Some(error.kind());
                }
                sleep(pause).await;
                pause = (pause * 2).min(ACCEPT_PAUSE_MAX);
            }
        }
    }
}

/// Serves one visitor until one of the limits is reached.
async fn converse(stream: TcpStream, router: Router) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    // An error is the visitor's problem.
    if timeout(LIFE_MAX, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = timeout(LAST_ANSWER_TIME_MAX, connection).await;
    }
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

#[cfg(test)]
mod tests {
    use super::*;

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
