//! fastwebsockets as in its own examples: hyper's upgrade, and a `FragmentCollector`. Defaults: a read buffer of 8 KiB; messages
//! above 1 KiB leave with a vectored write. It writes each message by itself, and has no interface to do otherwise.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use fastwebsockets::{FragmentCollector, Frame, OpCode, Payload, WebSocketError, handshake, upgrade};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HOST, UPGRADE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::unconstrained;
use tokio_peers::{Error, Plan, Role, block_on, plan, serve};

async fn echo(upgraded: upgrade::UpgradeFut) -> Result<(), WebSocketError> {
    let mut websocket = FragmentCollector::new(upgraded.await?);
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
    tokio::spawn(unconstrained(async move { drop(echo(upgraded).await) }));
    Ok(response)
}

/// A message to be sent: fastwebsockets has no such type.
struct Message(Bytes, OpCode);

/// Gives hyper's connection a task.
struct Spawn;

impl<F: Future<Output: Send + 'static> + Send + 'static> hyper::rt::Executor<F> for Spawn {
    fn execute(&self, future: F) {
        tokio::spawn(future);
    }
}

async fn drive(stream: TcpStream, plan: Arc<Plan<Message>>) -> Result<(), Error> {
    let request = Request::get(format!("http://{}/", plan.options().address))
        .header(HOST, plan.options().address.to_string())
        .header(UPGRADE, "websocket")
        .header(CONNECTION, "upgrade")
        .header("Sec-WebSocket-Key", handshake::generate_key())
        .header("Sec-WebSocket-Version", "13")
        .body(Empty::<Bytes>::new())?;
    let (websocket, _) = handshake::client(&Spawn, request, stream).await?;
    let mut websocket = FragmentCollector::new(websocket);
    let mut turns = plan.turns();
    while let Some(turn) = turns.next().await {
        for Message(payload, opcode) in turn {
            websocket.write_frame(Frame::new(true, *opcode, None, Payload::Borrowed(payload))).await?;
        }
        for Message(payload, opcode) in turn {
            let received = websocket.read_frame().await?;
            plan.check(received.opcode == *opcode && received.payload[..] == payload[..])?;
        }
    }
    // Silent, and waiting for the server, until the program ends.
    websocket.read_frame().await?;
    Err("a message too much, or closed by the server".into())
}

fn main() -> std::io::Result<()> {
    match tokio_peers::role() {
        Role::Server(server) => block_on(serve(server.listener, async |stream| {
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(respond));
            Ok(connection.with_upgrades().await?)
        })),
        Role::Client(client) => {
            let message = |payload, is_text| Message(payload, if is_text { OpCode::Text } else { OpCode::Binary });
            block_on(plan::run(Plan::new(client, message), drive))
        }
    }
}
