//! A WebSocket under hyper, without a framework.
//!
//! `cargo run -p ringway-client --example under_hyper -- 127.0.0.1:9000`, then
//! `cargo run -p ringway-client --example async_client -- ws://127.0.0.1:9000 hello`

use std::convert::Infallible;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use ringway_client::{Options, upgrade};
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let place = std::env::args().nth(1);
    let place = place.unwrap_or_else(|| "127.0.0.1:9000".to_owned());
    let listener = TcpListener::bind(place).await?;
    println!("listening on http://{}/", listener.local_addr()?);
    serve(listener).await
}

pub(crate) async fn serve(listener: TcpListener) -> std::io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let served = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service_fn(answer))
                .with_upgrades();
            if let Err(error) = served.await {
                eprintln!("under_hyper: {error}");
            }
        });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<String>, Infallible> {
    Ok(match upgrade(&request, &["echo"], Options::default()) {
        Err(refusal) => *refusal,
        Ok((answer, upgrade)) => {
            // The stream is there once the answer was sent.
            tokio::spawn(async move {
                let stream = hyper::upgrade::on(request).await.ok()?;
                let mut websocket = upgrade.websocket(TokioIo::new(stream));
                while let Some(message) = websocket.recv().await.ok()? {
                    websocket.send(message).await.ok()?;
                }
                Some(())
            });
            answer.map(|()| String::new())
        }
    })
}
