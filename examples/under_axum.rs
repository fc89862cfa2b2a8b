//! A WebSocket beside the pages of an axum application.
//!
//! `cargo run -p ringway-client --example under_axum -- 127.0.0.1:9000`, then
//! `cargo run -p ringway-client --example async_client -- ws://127.0.0.1:9000/echo hello`

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::{any, get};
use hyper_util::rt::TokioIo;
use ringway_client::{Error, Options, WebSocket, upgrade};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let place = std::env::args().nth(1);
    let place = place.unwrap_or_else(|| "127.0.0.1:9000".to_owned());
    let listener = TcpListener::bind(place).await?;
    println!("listening on http://{}/", listener.local_addr()?);
    axum::serve(listener, application()).await
}

pub(crate) fn application() -> Router {
    Router::new()
        .route("/", get(async || "A WebSocket is at /echo\n"))
        // `any`: over HTTP/2 it is a CONNECT.
        .route("/echo", any(websocket))
}

async fn websocket(request: Request) -> Response {
    match upgrade(&request, &[], Options::default()) {
        Err(refusal) => refusal.map(Body::from),
        Ok((answer, upgrade)) => {
            // The stream is there once the answer was sent.
            tokio::spawn(async move {
                match hyper::upgrade::on(request).await {
                    Ok(stream) => {
                        if let Err(error) = echo(upgrade.websocket(TokioIo::new(stream))).await {
                            eprintln!("under_axum: {error}");
                        }
                    }
                    Err(error) => eprintln!("under_axum: {error}"),
                }
            });
            answer.map(|()| Body::empty())
        }
    }
}

async fn echo<S>(mut websocket: WebSocket<S>) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(message) = websocket.recv().await? {
        websocket.send(message).await?;
    }
    Ok(())
}
