//! fastwebsockets as in its own echo example: hyper's upgrade, a `FragmentCollector`, tokio's current-thread runtime
//! without budget (`unconstrained`). `--workers N`: its multi-thread runtime.

use fastwebsockets::{FragmentCollector, OpCode, WebSocketError, upgrade};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

async fn echo(upgraded: upgrade::UpgradeFut) -> Result<(), WebSocketError> {
    let mut websocket = upgraded.await?;
    websocket.set_max_message_size(peers::MESSAGE_BYTES_MAX);
    websocket.set_auto_close(true);
    websocket.set_auto_pong(true);
    let mut websocket = FragmentCollector::new(websocket);
    loop {
        let frame = websocket.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => websocket.write_frame(frame).await?,
            _ => {}
        }
    }
}

async fn respond(mut request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, WebSocketError> {
    let (response, upgraded) = upgrade::upgrade(&mut request)?;
    // The driver ends every run by resetting its connections, so errors are not logged.
    tokio::task::spawn(tokio::task::unconstrained(async move { drop(echo(upgraded).await) }));
    Ok(response)
}

async fn serve(listener: std::net::TcpListener) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(respond)).with_upgrades());
    }
}

fn main() -> std::io::Result<()> {
    let setup = peers::set_up(&["--workers"]);
    peers::block_on(setup.workers, serve(setup.listener))
}
