//! ringway-client on the tokio-uring runtime, with the ring flag that suits a thread of its own. Defaults as in `ringway.rs`.

use std::rc::Rc;

use ringway_client::{Connector, Message, Text, UringStream, accept};
use tokio::task::unconstrained;
use tokio_peers::plan::{end_if_failed, run_local};
use tokio_peers::{Plan, Role, Server, drive, echo};
use tokio_uring::net::{TcpListener, TcpStream};

const RING_ENTRIES: u32 = 4096;

async fn serve(server: Server) -> std::io::Result<()> {
    let listener = TcpListener::from_std(server.listener);
    loop {
        let (stream, _) = listener.accept().await?;
        tokio_uring::spawn(unconstrained(async move {
            // The driver ends every run by resetting its connections, so errors are not logged.
            if let Ok(websocket) = accept(UringStream::new(stream)).await {
                drop(echo(websocket, |_| true).await);
            }
        }));
    }
}

async fn open(plan: Rc<Plan<Message>>, connector: Connector) -> std::io::Result<()> {
    let stream = TcpStream::connect(plan.options().address).await?;
    stream.set_nodelay(true)?;
    tokio_uring::spawn(unconstrained(async move {
        let talk = async {
            let (websocket, _) = connector.handshake(UringStream::new(stream)).await?;
            drive(websocket, &plan, PartialEq::eq).await
        };
        end_if_failed(talk.await);
    }));
    Ok(())
}

fn main() -> std::io::Result<()> {
    let mut ring = tokio_uring::uring_builder();
    ring.setup_coop_taskrun();
    let mut runtime = tokio_uring::builder();
    runtime.entries(RING_ENTRIES).uring_builder(&ring);
    match tokio_peers::role() {
        Role::Server(server) => runtime.start(serve(server)),
        Role::Client(client) => {
            let message = |payload, is_text| match is_text {
                true => Message::Text(Text::try_from(payload).expect("ASCII")),
                false => Message::Binary(payload),
            };
            let connector = Connector::new(format!("ws://{}/", client.address));
            runtime.start(run_local(Plan::new(client, message), |plan| open(plan, connector.clone())))
        }
    }
}
